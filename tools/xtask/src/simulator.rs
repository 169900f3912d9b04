//! `cargo xtask crash-states` and `faults`: what `stria-sim` does beside its seeds, built just now in release.
//!
//! Invariant: exits 0 only when the simulator was built and said so.

use std::{
    fs,
    process::{Command, ExitCode},
};

use crate::run::{output, succeeds, top};

/// The page that holds the table of single faults, and what stands around it there.
const PAGE: &str = "docs/reliability.md";
const TABLE_BEGIN: &str = "<!-- `cargo xtask faults --write` -->\n";
const TABLE_END: &str = "<!-- end -->";

fn simulator(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["run", "--release", "--quiet", "--package", "stria-sim", "--"]).args(arguments);
    cargo.current_dir(top());
    cargo
}

fn exit(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Looks at as many states as CI does, or with `--full` at more than ten million.
pub fn crash_states(arguments: &[String]) -> ExitCode {
    let is_full = arguments.iter().any(|word| word == "--full");
    let mut all = vec!["--crash-states", if is_full { "full" } else { "ci" }];
    all.extend(arguments.iter().map(String::as_str).filter(|word| *word != "--full"));
    exit(succeeds(&mut simulator(&all)))
}

/// Makes every single fault and compares the table with the one in the page; with `--write`, writes it there.
pub fn faults(arguments: &[String]) -> ExitCode {
    exit(faults_match(arguments.iter().any(|word| word == "--write")))
}

/// As [`faults`], for a step of CI.
pub fn faults_match(is_written: bool) -> bool {
    let Some(table) = output(&mut simulator(&["--faults"])) else {
        return succeeds(&mut simulator(&["--faults"]));
    };
    let page = top().join(PAGE);
    let Ok(text) = fs::read_to_string(&page) else { return false };
    let parts = text.split_once(TABLE_BEGIN).and_then(|(before, rest)| {
        let (kept, after) = rest.split_once(TABLE_END)?;
        Some((before, kept, after))
    });
    let Some((before, kept, after)) = parts else {
        println!("{PAGE} has no place for the table of single faults");
        return false;
    };
    if is_written {
        return fs::write(&page, [before, TABLE_BEGIN, &table, TABLE_END, after].concat()).is_ok();
    }
    if kept != table {
        println!("{PAGE} has another table than this, write it anew:\n{table}");
    }
    kept == table
}
