//! The `stria` binary: its commands, nothing else.

use std::{io::Write, process::ExitCode};

use clap::{ArgMatches, Command};
use stria::{
    config::{self, Config, LogLevel},
    datadir::DataDir,
    serve,
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
            Command::new("options")
                .about("List every option")
                .arg(clap::arg!(--markdown "As docs/config.md").action(clap::ArgAction::SetTrue)),
        );
    let matches = command.get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", flags)) => configured(flags).and_then(|config| {
            start_log(config.log_level);
            serve::serve(config, &mut show).map_err(|error| error.to_string())
        }),
        Some(("info", flags)) => configured(flags).and_then(|config| info(&config)),
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

fn info(config: &Config) -> Result<(), String> {
    println!("stria {}", env!("CARGO_PKG_VERSION"));
    println!("durability      sync {}", config.sync);
    println!("cores           {}", config.cores);
    println!("memory          {}", config::print_size(config.memory_bytes));
    println!("index memory    {}", config::print_size(config.index_bytes));
    match stria_runtime::probe() {
        Ok(_) => println!("io_uring        usable"),
        Err(missing) => println!("io_uring        not usable: {missing}"),
    }
    println!("data directory  {}", config.data.display());
    if !config.data.join("store.json").exists() {
        println!("store           none yet; the first `stria serve` makes it");
        return Ok(());
    }
    let directory = DataDir::hold(&config.data).map_err(|error| error.to_string())?;
    let record = directory.store().map_err(|error| error.to_string())?;
    if let Some(record) = record {
        println!("store           {} (format {})", record.uuid, record.format);
        println!("placement       {} placement groups on {} volumes", record.pg_count, record.volumes.len());
        for (i, volume) in record.volumes.iter().enumerate() {
            let path = directory.path().join(&volume.path);
            let bytes = volume.bytes.or_else(|| std::fs::metadata(&path).ok().map(|m| m.len())).unwrap_or(0);
            println!("  volume {i:<4}   {} ({})", path.display(), config::print_size(bytes));
        }
    }
    let meta = stria_meta::MetaStore::open(&directory.meta_path()).map_err(|error| error.to_string())?;
    println!("buckets         {}", meta.snapshot().buckets.len());
    for bucket in meta.snapshot().buckets.values() {
        println!("  {}", bucket.name);
    }
    Ok(())
}
