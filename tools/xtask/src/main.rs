//! The build tool: `cargo xtask COMMAND`. What CI runs is what a developer runs.
//!
//! Invariant: a command exits 0 only when everything it names was run and passed. Deliberately absent:
//! product code; it starts the product's binaries as a user would.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a build tool is no data core")]

mod ci;
mod clients;
mod conformance;
mod crash;
mod loom;
mod planted;
mod run;
mod simulator;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  ci                 everything below that gates a change, in order
  planted [NAME]     plants known bugs, one at a time: the simulator has to see each within 200 seeds
                     (--crash-states or --faults: that check alone has to)
  crash-states       every state a power cut can leave of short sequences of operations [--full] [--jobs N]
  faults             one fault of every kind in every structure on a volume: the table of docs/reliability.md
                     [--write]
  loom [NAME]        every interleaving of what cores share, then planted wrong orderings: each has to be seen
  tidy               house rules: headers, lengths, floors, documents that name code
  clients            real S3 clients against a server: [NAME...] [--binary PATH] [--quick] [--write]
  conformance        the documented rules of S3 [--endpoint URL --access-key K --secret-key S] [--filter AREA|CASE]
                     [--junit FILE] [--json FILE] [--binary PATH] [--list]
  mutate-s3 [NAME]   breaks rules of S3 in the server, one at a time: the conformance suite has to see each
  crash              kill the server under load, restart, audit what it acknowledged
                     [--kills N] [--binary PATH] [--seed S] [--data DIR]
  restart            time the replay of 1 GiB of log [--binary PATH] (meaningful for a release build)
  churn              overwrites and deletions at 80 % full, for 30 minutes [--seconds N] [--rate OPS]
  limits             memory under load, 10,000 idle connections [--binary PATH]
  fault-disk         a disk that fails under a server [--binary PATH] [--seed S] (needs FUSE)
  devices            a store on loop devices: kills, devices that must be refused [--binary PATH] (needs root)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    match command.as_str() {
        "ci" => ci::run(rest),
        "ci-step" => ci::step(rest),
        "planted" => planted::run(rest),
        "faults" => simulator::faults(rest),
        "crash-states" => simulator::crash_states(rest),
        "loom" => loom::run(rest),
        "tidy" => tidy::run(),
        "clients" => clients::run(rest),
        "conformance" => conformance::run(rest),
        "mutate-s3" => conformance::mutate(rest),
        "crash" | "restart" | "limits" | "devices" | "churn" | "fault-disk" => crash::run(command, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("unknown command '{other}'\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
