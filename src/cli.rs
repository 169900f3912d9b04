//! The commands of `stria` and their flags; what they do is in the modules they are named after.
//!
//! Invariant: options of the product come from the option table, never from here. Main thread.

use clap::{Arg, ArgAction, Command, arg};

use crate::config;

/// All commands.
#[must_use]
pub fn command() -> Command {
    Command::new("stria")
        .about("S3-compatible object store: one pinned thread per core, every acknowledged object durable")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(config::flags_command(
            Command::new("serve")
                .about("Serve S3; makes the data directory and root credentials on first start"),
        ))
        .subcommand(config::flags_command(
            Command::new("info")
                .about("Show what the options mean, what the data directory holds and how well it is"),
        ))
        .subcommand(scrub())
        .subcommand(inspect())
        .subcommand(fsck())
        .subcommand(rebuild_index())
        .subcommand(
            Command::new("options").about("List every option").arg(switch("markdown", "As docs/config.md")),
        )
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn scrub() -> Command {
    let about = "Begin a pass of scrubbing in the running server, and say how far scrubbing is";
    config::flags_command(Command::new("scrub").about(about))
        .arg(switch("light", "Copies of superblock, map and manifest, the index on disk, space against rows"))
        .arg(switch("deep", "Every byte, as fast as scrub-share allows"))
}

fn inspect() -> Command {
    let what = "superblock | map | log | frame N | runs | manifest | extents | key BUCKET/KEY";
    Command::new("inspect")
        .about("Show what lies on the volumes of a store, offline or beside a server; writes nothing")
        .arg(arg!(<PATH> "Data directory, or a volume: a file or device"))
        .arg(Arg::new("WHAT").help(what).num_args(0..=2))
        .arg(switch("json", "For machines"))
}

fn fsck() -> Command {
    let about = "Read a whole store back, offline: every row, every body, every checksum. Exit code 0: sound; \
                 1: could not be checked; 2: damage that --repair puts right; 3: damage that it cannot";
    let accept = "Make a placement group (or all) writable again although acknowledged writes of it are lost; \
                  repeat for several";
    config::flags_command(Command::new("fsck").about(about))
        .arg(switch("repair", "Write copies and index again where their right content is known"))
        .arg(
            Arg::new("accept-loss")
                .long("accept-loss")
                .value_name("PG")
                .help(accept)
                .action(ArgAction::Append),
        )
}

fn rebuild_index() -> Command {
    let about = "Write the index anew, offline, from runs that verify and from the log. Exit code 0: complete; \
                 1: not done; 3: rows may be missing";
    config::flags_command(Command::new("rebuild-index").about(about))
        .arg(switch("from-log", "Believe no checkpoint, only the log"))
        .arg(switch("dry-run", "Say what would be done"))
}
