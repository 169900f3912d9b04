//! `cargo xtask crash-states` and `faults`: what `stria-sim` does beside its seeds, built just now in release.
//!
//! Invariant: exits 0 only when the simulator was built and said so.

use std::process::{Command, ExitCode};

use crate::run::{succeeds, top};

fn release(arguments: &[&str]) -> bool {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["run", "--release", "--quiet", "--package", "stria-sim", "--"]).args(arguments);
    succeeds(cargo.current_dir(top()))
}

fn exit(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Looks at as many states as CI does, or with `--full` at more than ten million.
pub fn crash_states(arguments: &[String]) -> ExitCode {
    let is_full = arguments.iter().any(|word| word == "--full");
    let mut all = vec!["--crash-states", if is_full { "full" } else { "ci" }];
    all.extend(arguments.iter().map(String::as_str).filter(|word| *word != "--full"));
    exit(release(&all))
}
