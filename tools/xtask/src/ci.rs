//! `cargo xtask ci`: the gate of a change, one step after the other, with the time each took.
//!
//! Invariant: every step runs, also after one failed; the exit code is 0 only when all passed.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitCode, Stdio},
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
    ("queues between cores, every interleaving", || crate::loom::run(&[]) == ExitCode::SUCCESS),
    ("documentation", || {
        succeeds(
            cargo_command(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
        )
    }),
    ("release build", || cargo(&["build", "--release", "--workspace", "--bins", "--quiet"])),
    ("configuration page", config_page),
    ("simulator", simulator),
    ("crash states", || {
        succeeds(&mut command(&release("stria-sim"), &["--crash-states", "ci", "--jobs", "2"]))
    }),
    ("single faults", || crate::simulator::faults_match(false)),
    ("conformance", || crate::conformance::passes(&["--binary".into(), release("stria")])),
    ("crash, 20 kills", || {
        crate::crash::passes("crash", &["--kills".into(), "20".into(), "--binary".into(), release("stria")])
    }),
    ("raw devices", || crate::crash::passes("devices", &["--binary".into(), release("stria")])),
    ("a disk that fails", || crate::crash::passes("fault-disk", &["--binary".into(), release("stria")])),
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

/// 2,000 seeds of each workload, in release: half a minute.
fn simulator() -> bool {
    succeeds(&mut command(&release("stria-sim"), &["--seeds", "0..2000", "--jobs", "2"]))
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

/// Lines of a failed step's output that the summary repeats: a CI page shows the end of what was printed.
const TAIL_LINES: usize = 30;

/// Runs all steps, or those whose name contains one of `only`.
pub fn run(only: &[String]) -> ExitCode {
    let mut results = Vec::new();
    for (number, (name, _)) in STEPS.iter().enumerate() {
        if !only.is_empty() && !only.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let start = Instant::now();
        let log = top().join(format!("target/ci/{number:02}-{}.log", name.replace([' ', ','], "-")));
        let passed = run_step(number, &log);
        results.push((name, passed, log));
        let verdict = if passed { "ok    " } else { "FAILED" };
        println!("{:>5} s  {verdict}  {name}", start.elapsed().as_secs());
    }
    let failed: Vec<_> = results.iter().filter(|(_, passed, _)| !passed).collect();
    for (name, _, log) in &failed {
        println!("\n== {name}, the end of {}", log.display());
        let text =
            fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            println!("{line}");
        }
    }
    println!("\n{} passed, {} failed", results.len() - failed.len(), failed.len());
    if failed.is_empty() && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one step as a process of its own, so that everything it prints is kept.
fn run_step(number: usize, log: &Path) -> bool {
    let kept = fs::create_dir_all(log.parent().expect("a file in a folder")).and_then(|()| File::create(log));
    let Ok(file) = kept else {
        println!("cannot write {}", log.display());
        return false;
    };
    let (Ok(own), Ok(copy)) = (std::env::current_exe(), file.try_clone()) else { return false };
    let mut step = Command::new(own);
    step.args(["ci-step", &number.to_string()]).stdin(Stdio::null()).stdout(file).stderr(copy);
    succeeds(&mut step)
}

/// Runs one step here, by its number.
pub fn step(arguments: &[String]) -> ExitCode {
    let number: Option<usize> = arguments.first().and_then(|text| text.parse().ok());
    match number.and_then(|number| STEPS.get(number)) {
        Some((_, step)) if step() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
