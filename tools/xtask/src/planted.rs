//! `cargo xtask planted [NAME]`: plants known bugs, one at a time, and requires that the simulator sees each.
//!
//! Invariant: exits 0 only when every patch of tools/sim/planted applied, built and was caught. Works on a
//! copy of the tracked tree; the checkout is never touched.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::run::{command, output, succeeds, top};

/// Seeds a bug may take to be seen.
const SEEDS_MAX: u32 = 200;

/// A planted bug and what became of it.
struct Verdict {
    name: String,
    caught: Option<(String, String)>,
}

/// Plants the bugs whose names are given, or all.
pub fn run(arguments: &[String]) -> ExitCode {
    let copy = std::env::temp_dir().join(format!("stria-planted-{}", std::process::id()));
    let verdicts = copy_tree(&copy).and_then(|()| judge_all(&copy, arguments));
    // A copy left behind costs space only.
    let _ = std::fs::remove_dir_all(&copy);
    let Some(verdicts) = verdicts else { return ExitCode::FAILURE };
    println!("\n| bug | caught at | what was seen |\n|---|---|---|");
    for Verdict { name, caught } in &verdicts {
        match caught {
            Some((seed, seen)) => println!("| {name} | {seed} | {seen} |"),
            None => println!("| {name} | SURVIVED {SEEDS_MAX} seeds | |"),
        }
    }
    let all = !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.caught.is_some());
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Copies what git tracks, as it is in the working tree.
pub fn copy_tree(copy: &Path) -> Option<()> {
    let tracked = output(&mut command("git", &["ls-files"]))?;
    for file in tracked.lines() {
        let to = copy.join(file);
        std::fs::create_dir_all(to.parent()?).ok()?;
        // A tracked file that was deleted is missing in the copy too.
        let _ = std::fs::copy(top().join(file), to);
    }
    Some(())
}

fn judge_all(copy: &Path, only: &[String]) -> Option<Vec<Verdict>> {
    let mut patches: Vec<PathBuf> = std::fs::read_dir(top().join("tools/sim/planted"))
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    // A simulator that complains without a planted bug proves nothing.
    if let Some((seed, seen)) = simulated(copy)? {
        eprintln!("without any planted bug, {seed}: {seen}");
        return None;
    }
    let mut verdicts = Vec::new();
    for patch in patches {
        let name = patch.file_stem()?.to_string_lossy().into_owned();
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        // One that no longer applies or builds counts as not caught; the others are still judged.
        let caught = judge(copy, &patch).flatten();
        println!("{name}: {}", if caught.is_some() { "caught" } else { "SURVIVED" });
        verdicts.push(Verdict { name, caught });
    }
    Some(verdicts)
}

/// Plants one bug, runs the simulator, takes the bug out. `None` when it does not apply or build.
fn judge(copy: &Path, patch: &Path) -> Option<Option<(String, String)>> {
    if !apply(copy, patch, &[]) {
        eprintln!("{} does not apply", patch.display());
        return None;
    }
    let caught = simulated(copy);
    if caught.is_none() {
        eprintln!("{} does not build", patch.display());
    }
    if apply(copy, patch, &["--reverse"]) { caught } else { None }
}

/// Builds the copy and runs its seeds. `None` when it does not build, else the first violation.
fn simulated(copy: &Path) -> Option<Option<(String, String)>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| top().join("target"), PathBuf::from);
    let target = target.join("planted");
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--quiet", "-p", "stria-sim"]);
    // Building is most of the time: no link-time optimisation, as little as possible anew.
    build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("RUSTFLAGS", "-Awarnings");
    let simulator = target.join("release/stria-sim");
    succeeds(build.current_dir(copy).env("CARGO_TARGET_DIR", &target))
        .then(|| ["store", "engine"].into_iter().find_map(|workload| simulate(&simulator, workload)))
}

/// Applies a patch to a copy, or takes it back with `--reverse`.
pub fn apply(copy: &Path, patch: &Path, more: &[&str]) -> bool {
    let mut apply = Command::new("patch");
    apply.args(["--strip=1", "--silent", "--force", "--no-backup-if-mismatch"]).args(more);
    succeeds(apply.arg("--input").arg(patch).current_dir(copy))
}

/// Runs the seeds of one workload. The seed and the message of the first violation.
fn simulate(simulator: &Path, workload: &str) -> Option<(String, String)> {
    let seeds = format!("0..{SEEDS_MAX}");
    let run = Command::new(simulator).args(["--workload", workload, "--seeds", &seeds]).output().ok()?;
    if run.status.code() != Some(1) {
        return None;
    }
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let repeat = text.lines().find_map(|line| line.split_once("--seeds "))?.1;
    let seed = repeat.split("..").next()?;
    let seen = text.lines().skip_while(|line| !line.starts_with("violation")).nth(1)?;
    let seen: String = seen.replace('|', "/").chars().take(110).collect();
    Some((format!("{workload} {seed}"), seen))
}
