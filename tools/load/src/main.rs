//! Judges the server as a whole from outside: `crash` kills it under load and audits, `restart` times
//! replay, `limits` looks at memory and connections, `devices` runs on block devices, `churn` overwrites a
//! full store, `fault-disk` on a disk that fails. Started by `cargo xtask`.
//!
//! Invariant: exits 0 only when the demand held. Deliberately absent: every crate of the server but the
//! signer.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a tool is no data core")]

mod churn;
mod client;
mod crash;
mod devices;
mod fault_disk;
mod faults;
mod index;
mod ledger;
mod limits;
mod options;
mod random;
mod restart;
mod scale;
mod server;
mod worker;

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

const HELP: &str = "\
stria-load COMMAND [--binary PATH] [--data DIR] [--seed S]

  crash [--kills N]   kill under load, restart, audit every acknowledged operation
  restart             fill a log with 1 GiB, kill, time the replay
  index [--objects N] [--before PATH]
                      fill with objects of 1 KiB, time restarts from the log and from runs
  scale --objects N [--object-bytes B] [--memory SIZE] [--index-memory SIZE]
                      starts and CPU per operation of a store filled before by examples/fill.rs, its directory --data
  churn [--seconds N] [--rate OPS]
                      overwrites and deletions at 80 % full: space, bytes written, latency while it cleans
  limits              memory under load, and 10,000 idle connections
  fault-disk          a disk that fails under the server: errors, short transfers, slowness, no space, gone
  devices             a store on loop devices: kills, and every device that has to be refused
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = words.split_first() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let options = match options::Options::parse(rest, seed) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let outcome = match command.as_str() {
        "churn" => churn::run(&options),
        "crash" => crash::run(&options),
        "restart" => restart::run(&options),
        "index" => index::run(&options),
        "limits" => limits::run(&options),
        "scale" => scale::run(&options),
        "devices" => devices::run(&options),
        "fault-disk" => faults::run(&options),
        other => {
            eprintln!("unknown command '{other}'\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{command}: {error}");
            ExitCode::FAILURE
        }
    }
}
