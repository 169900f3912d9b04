//! The `stria` binary: its commands, nothing else.

use std::{io::Write, process::ExitCode};

use clap::{ArgAction, ArgMatches, Command};
use stria::{
    admin_client,
    config::{self, Config, LogLevel},
    info, serve,
};

fn main() -> ExitCode {
    let command = Command::new("stria")
        .about("S3-compatible object store: one pinned thread per core, every acknowledged object durable")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(config::flags_command(
            Command::new("serve")
                .about("Serve S3; makes the data directory and root credentials on first start"),
        ))
        .subcommand(config::flags_command(
            Command::new("info").about("Show what the options mean and what the data directory holds"),
        ))
        .subcommand(config::flags_command(Command::new("fsck").about(
            "Read a whole store back, offline: every row, every body, every checksum; writes nothing",
        )))
        .subcommand(
            config::flags_command(
                Command::new("scrub")
                    .about("Begin a pass of scrubbing in the running server, and say how far scrubbing is"),
            )
            .arg(
                clap::arg!(--light "Copies of superblock, map and manifest, the index on disk, space")
                    .action(ArgAction::SetTrue),
            )
            .arg(clap::arg!(--deep "Every byte, as fast as scrub-share allows").action(ArgAction::SetTrue)),
        )
        .subcommand(
            Command::new("options")
                .about("List every option")
                .arg(clap::arg!(--markdown "As docs/config.md").action(ArgAction::SetTrue)),
        );
    let matches = command.get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", flags)) => configured(flags).and_then(|config| {
            start_log(config.log_level);
            serve::serve(config, &mut show).map_err(|error| error.to_string())
        }),
        Some(("info", flags)) => configured(flags).and_then(|config| {
            show(info::info(&config).map_err(|error| error.to_string())?.trim_end());
            Ok(())
        }),
        Some(("scrub", flags)) => configured(flags).and_then(|config| scrub(&config, flags)),
        Some(("fsck", flags)) => configured(flags).and_then(|config| fsck(&config)),
        Some(("options", flags)) => {
            options(flags.get_flag("markdown"));
            Ok(())
        }
        _ => Err("give a command; stria --help lists them".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("stria: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for a person. That nobody reads it any more is no reason to end a server.
fn show(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn configured(flags: &ArgMatches) -> Result<Config, String> {
    config::resolve(flags, &|name| std::env::var(name).ok()).map_err(|error| error.to_string())
}

fn start_log(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(std::io::stderr).init();
}

fn options(markdown: bool) {
    if markdown {
        print!("{}", config::markdown());
        return;
    }
    for option in config::table::OPTIONS {
        let name = format!("--{} {}", option.name, option.value);
        println!("{name:<26} {}  {}", config::table::env_name(option), option.help);
    }
}

fn fsck(config: &Config) -> Result<(), String> {
    let found = stria::fsck::fsck(config).map_err(|error| error.to_string())?;
    let report = found.report;
    let [objects, versions, uploads, parts] = found.rows;
    println!("runs            {} rows in {}", report.run_rows, config::print_size(report.run_bytes));
    println!("log             {} frames, {}", report.frames, config::print_size(report.bytes));
    println!("rows            {objects} objects, {versions} versions, {uploads} uploads, {parts} parts");
    println!("bodies          {} read and verified, {}", found.bodies, config::print_size(found.bytes));
    if report.torn > 0 {
        println!("torn ends       {} (a crash cut a frame nobody was promised; harmless)", report.torn);
    }
    if found.damage_count == 0 {
        println!("damage          none");
        return Ok(());
    }
    println!("damage          {}", found.damage_count);
    for line in &found.damage {
        println!("  {line}");
    }
    Err("the store is damaged; what is listed above cannot be read as it was written".to_owned())
}

fn scrub(config: &Config, flags: &ArgMatches) -> Result<(), String> {
    for pass in ["light", "deep"] {
        if flags.get_flag(pass) {
            let said = admin_client::ask(config.admin_listen, "POST", &format!("/scrub/{pass}"));
            print!("{pass} pass {}", said.map_err(|error| error.to_string())?);
        }
    }
    let said = admin_client::ask(config.admin_listen, "GET", "/scrub").map_err(|error| error.to_string())?;
    let page: serde_json::Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    println!("{page:#}");
    Ok(())
}
