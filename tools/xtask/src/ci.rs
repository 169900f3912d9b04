//! `cargo xtask ci`: the gate of a change, one step after the other, with the time each took.

use std::{
    process::{Command, ExitCode},
    time::Instant,
};

use crate::run::{command, succeeds};

/// A step: its name and how it is run.
type Step = (&'static str, fn() -> bool);

const STEPS: &[Step] = &[
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])),
    ("tidy", || crate::tidy::run() == ExitCode::SUCCESS),
    ("tests, io_uring where it works", || cargo(&["test", "--workspace", "--quiet"])),
    ("tests, epoll", || {
        succeeds(cargo_command(&["test", "--workspace", "--quiet"]).env("STRIA_TEST_IO_BACKEND", "epoll"))
    }),
    ("crash", || crate::crash::passes("crash", &["--kills".into(), "20".into()])),
    ("documentation", || {
        succeeds(
            cargo_command(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
        )
    }),
];

fn cargo_command(arguments: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

fn cargo(arguments: &[&str]) -> bool {
    succeeds(&mut cargo_command(arguments))
}

/// Runs all steps, or those whose name contains one of `only`. All run even when one fails, so that one
/// run shows everything that is wrong.
pub fn run(only: &[String]) -> ExitCode {
    let mut results = Vec::new();
    for (name, step) in STEPS {
        if !only.is_empty() && !only.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        println!("== {name}");
        let start = Instant::now();
        let passed = step();
        results.push((name, passed, start.elapsed().as_secs()));
    }
    println!("\n== summary");
    for (name, passed, seconds) in &results {
        println!("{:>5} s  {}  {name}", seconds, if *passed { "ok    " } else { "FAILED" });
    }
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
