//! `cargo xtask ci`: the gate of a change, one step after the other, with the time each took.
//!
//! Invariant: every step runs, also after one failed; the exit code is 0 only when all passed.

use std::{
    fs,
    process::{Command, ExitCode},
    time::Instant,
};

use crate::run::{command, output, succeeds, top};

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
    ("tests, io_uring refused by seccomp", seccomp),
    ("fuzz corpora", || {
        cargo(&[
            "test",
            "--manifest-path",
            "tools/fuzz/Cargo.toml",
            "--target-dir",
            "target",
            "--no-default-features",
            "--quiet",
        ])
    }),
    ("documentation", || {
        succeeds(
            cargo_command(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
        )
    }),
    ("release build", || cargo(&["build", "--release", "--workspace", "--bins", "--quiet"])),
    ("configuration page", config_page),
    ("simulator", simulator),
    ("crash, 20 kills", || {
        crate::crash::passes("crash", &["--kills".into(), "20".into(), "--binary".into(), release("stria")])
    }),
    ("clients", || {
        crate::clients::run(&["--quick".into(), "--binary".into(), release("stria")]) == ExitCode::SUCCESS
    }),
    ("licences, bans, sources", deny),
];

fn cargo_command(arguments: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

fn cargo(arguments: &[&str]) -> bool {
    succeeds(&mut cargo_command(arguments))
}

/// The whole suite where a container run time would refuse io_uring: servers fall back by themselves.
fn seccomp() -> bool {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let run = ["run", "--quiet", "--package", "stria-runtime", "--example", "without_uring", "--"];
    cargo_command(&[&run[..], &[&cargo, "test", "--workspace", "--quiet"]].concat())
        .env("STRIA_TEST_IO_BACKEND", "auto")
        .status()
        .is_ok_and(|s| s.success())
}

/// A binary of the release build.
fn release(name: &str) -> String {
    top().join("target/release").join(name).display().to_string()
}

/// 2,000 seeds of each workload, in release: a minute or two.
fn simulator() -> bool {
    let binary = release("stria-sim");
    let run = |workload| succeeds(&mut command(&binary, &["--seeds", "0..2000", "--workload", workload]));
    run("store") && run("engine")
}

/// docs/config.md is what the binary prints.
fn config_page() -> bool {
    let printed = output(&mut command(&release("stria"), &["options", "--markdown"]));
    let kept = fs::read_to_string(top().join("docs/config.md")).ok();
    let same = printed.is_some() && printed == kept;
    if !same {
        println!("docs/config.md is not what `stria options --markdown` prints: write it anew");
    }
    same
}

/// cargo-deny without the advisory database, which needs more network than CI has. Installed into `target` when
/// the machine has none of this version.
fn deny() -> bool {
    const VERSION: &str = "0.20.2";
    let root = top().join("target/tools");
    let own = root.join("bin/cargo-deny").display().to_string();
    let is_right = |binary: &str| {
        output(&mut command(binary, &["--version"])).is_some_and(|text| text.trim().ends_with(VERSION))
    };
    let mut binary = "cargo-deny";
    if !is_right(binary) {
        binary = &own;
        let root = root.display().to_string();
        let install = ["install", "cargo-deny", "--locked", "--quiet", "--version", VERSION, "--root", &root];
        if !is_right(binary) && !cargo(&install) {
            return false;
        }
    }
    succeeds(&mut command(binary, &["--all-features", "check", "licenses", "bans", "sources"]))
}

/// Runs all steps, or those whose name contains one of `only`.
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
