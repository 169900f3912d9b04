//! The `stria` binary: its commands, nothing else.

use std::{io::Write, process::ExitCode};

use clap::ArgMatches;
use stria::{
    admin_client, cli,
    config::{self, Config, LogLevel},
    fsck, info,
    inspect::{self, What},
    rebuild, serve,
};

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", flags)) => configured(flags).and_then(|config| {
            start_log(config.log_level);
            abort_on_panic();
            serve::serve(config, &mut show).map_err(|error| error.to_string())
        }),
        Some(("info", flags)) => configured(flags).and_then(|config| {
            show(info::info(&config).map_err(|error| error.to_string())?.trim_end());
            Ok(())
        }),
        Some(("scrub", flags)) => configured(flags).and_then(|config| scrub(&config, flags)),
        Some(("fsck", flags)) => return exit(configured(flags).and_then(|config| fsck(&config, flags))),
        Some(("rebuild-index", flags)) => {
            return exit(configured(flags).and_then(|config| rebuild(&config, flags)));
        }
        Some(("inspect", flags)) => inspect(flags),
        Some(("options", flags)) => {
            options(flags.get_flag("markdown"));
            Ok(())
        }
        _ => Err("give a command; stria --help lists them".to_owned()),
    };
    exit(outcome.map(|()| ExitCode::SUCCESS))
}

fn exit(outcome: Result<ExitCode, String>) -> ExitCode {
    outcome.unwrap_or_else(|message| {
        eprintln!("stria: {message}");
        ExitCode::FAILURE
    })
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

/// A core that panics takes the server along, and the next start recovers: others would wait for its answers for
/// ever. Release builds abort anyway; this is for the others, which tests run.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
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

fn fsck(config: &Config, flags: &ArgMatches) -> Result<ExitCode, String> {
    let mut accept_loss: Vec<u16> = Vec::new();
    for given in flags.get_many::<String>("accept-loss").into_iter().flatten() {
        match (given.as_str(), given.parse()) {
            ("all", _) => accept_loss.extend(0..=u16::MAX),
            (_, Ok(pg)) => accept_loss.push(pg),
            _ => return Err(format!("--accept-loss {given}: give the number of a placement group, or all")),
        }
    }
    let options = fsck::Options { repairs: flags.get_flag("repair"), accept_loss };
    if !options.repairs && !options.accept_loss.is_empty() {
        return Err("--accept-loss goes with --repair".to_owned());
    }
    let found = fsck::fsck(config, options).map_err(|error| error.to_string())?;
    fsck::lines(&found).iter().for_each(|line| show(line));
    Ok(ExitCode::from(found.exit_code()))
}

fn rebuild(config: &Config, flags: &ArgMatches) -> Result<ExitCode, String> {
    let options =
        rebuild::Options { trusts_runs: !flags.get_flag("from-log"), is_dry: flags.get_flag("dry-run") };
    let report = rebuild::rebuild_index(config, options).map_err(|error| error.to_string())?;
    rebuild::lines(&report).iter().for_each(|line| show(line));
    if options.is_dry {
        show("nothing was written");
    }
    Ok(ExitCode::from(if report.incomplete.is_empty() { 0 } else { 3 }))
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

fn inspect(flags: &ArgMatches) -> Result<(), String> {
    let path = flags.get_one::<String>("PATH").map(std::path::PathBuf::from).unwrap_or_default();
    let words: Vec<&str> =
        flags.get_many::<String>("WHAT").into_iter().flatten().map(String::as_str).collect();
    let what = What::parse(&words).ok_or_else(|| {
        "give one of superblock, map, log, frame N, runs, manifest, extents, key BUCKET/KEY".to_owned()
    })?;
    let (tables, is_served) = inspect::inspect(&path, what).map_err(|error| error.to_string())?;
    if is_served {
        eprintln!("a server is writing this store: what is shown may have changed, or be half written");
    }
    if flags.get_flag("json") {
        let all = tables.iter().map(|table| (table.name.to_owned(), table.to_json())).collect();
        show(&format!("{:#}", serde_json::Value::Object(all)));
        return Ok(());
    }
    for table in tables {
        show(table.to_text().trim_end());
    }
    Ok(())
}
