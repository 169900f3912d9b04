//! `cargo xtask crash`, `restart`, `limits`, `churn`, `devices` and `fault-disk`: the server judged from outside by `tools/load`.
//!
//! Invariant: passes only when `stria-load` says so about the program it was given, or about one built just
//! now from this checkout.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use crate::run::{succeeds, top};

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(top());
    cargo
}

/// Runs `stria-load COMMAND`. Without `--binary` the server is built first, with the profile of tests.
pub fn run(command: &str, arguments: &[String]) -> ExitCode {
    if passes(command, arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As [`run`], for a step of CI.
pub fn passes(command: &str, arguments: &[String]) -> bool {
    let target = target();
    let mut load = cargo();
    load.args(["run", "--quiet", "--package", "stria-load", "--", command]).args(arguments);
    if !arguments.iter().any(|word| word == "--binary") {
        if !succeeds(cargo().args(["build", "--quiet", "--package", "stria"])) {
            return false;
        }
        load.arg("--binary").arg(target.join("debug/stria"));
    }
    if !arguments.iter().any(|word| word == "--data") {
        load.arg("--data").arg(target.join("load"));
    }
    succeeds(&mut load)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}
