//! `cargo xtask planted [--crash-states | --faults] [NAME]`: plants known bugs, one at a time, and requires that
//! the simulator, its crash enumerator or its table of single faults sees each.
//!
//! Invariant: exits 0 only when every patch of tools/sim/planted applied, built and was caught. Works on a
//! copy of the tracked tree; the checkout is never touched.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::run::{command, output, succeeds, top};

/// Seeds a bug may take to be seen.
const SEEDS_MAX: u32 = 200;
/// Patches built and judged at the same time.
const WORKERS: usize = 2;

/// A planted bug and what became of it.
struct Verdict {
    name: String,
    caught: Option<Caught>,
}

/// A violation.
struct Caught {
    /// Workload and seed, or the sequence of operations.
    at: String,
    /// Seeds before it; `None` when they missed it.
    seeds: Option<u64>,
    seen: String,
}

/// Plants the bugs whose names are given, or all.
pub fn run(arguments: &[String]) -> ExitCode {
    let (flags, only): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| argument.starts_with("--"));
    let Some(judges) = Judge::from_flags(&flags) else {
        eprintln!("planted [--crash-states | --faults] [NAME]");
        return ExitCode::from(2);
    };
    let Some(patches) = patches(&only) else { return ExitCode::FAILURE };
    let base = std::env::temp_dir().join(format!("stria-planted-{}", std::process::id()));
    let next = AtomicUsize::new(0);
    let mut verdicts: Vec<Verdict> = std::thread::scope(|scope| {
        let work = |worker| {
            let place = Place::new(&base, worker, judges);
            let found = place.copy_tree().and_then(|()| judge_all(&place, &patches, &next));
            // A copy left behind costs space only.
            let _ = std::fs::remove_dir_all(&place.copy);
            found.unwrap_or_default()
        };
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let _ = std::fs::remove_dir_all(&base);
    verdicts.sort_by(|a, b| a.name.cmp(&b.name));
    print_table(&verdicts);
    let all = !verdicts.is_empty()
        && verdicts.len() == patches.len()
        && verdicts.iter().all(|verdict| verdict.caught.is_some());
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_table(verdicts: &[Verdict]) {
    println!("\n| bug | caught at | what was seen |\n|---|---|---|");
    for Verdict { name, caught } in verdicts {
        match caught {
            Some(Caught { at, seen, .. }) => println!("| {name} | {at} | {seen} |"),
            None => println!("| {name} | SURVIVED | |"),
        }
    }
    let caught = verdicts.iter().filter_map(|verdict| verdict.caught.as_ref());
    let mut numbers: Vec<u64> = caught.clone().filter_map(|caught| caught.seeds).collect();
    numbers.sort_unstable();
    let median = numbers.get(numbers.len() / 2).copied().unwrap_or(0);
    let most = numbers.last().copied().unwrap_or(0);
    println!(
        "\n{} of {} caught, {} of them by seeds, the middle one at {median}, the last at {most}",
        caught.count(),
        verdicts.len(),
        numbers.len()
    );
}

/// What has to see the bugs.
#[derive(Clone, Copy)]
enum Judge {
    /// Seeds of both workloads; the enumerator for what they miss, and the simulator's tests for what that misses.
    Seeds,
    /// The crash enumerator.
    CrashStates,
    /// The table of single faults.
    Faults,
}

impl Judge {
    fn from_flags(flags: &[&String]) -> Option<Self> {
        match flags {
            [] => Some(Self::Seeds),
            [flag] if *flag == "--crash-states" => Some(Self::CrashStates),
            [flag] if *flag == "--faults" => Some(Self::Faults),
            _ => None,
        }
    }
}

fn patches(only: &[&String]) -> Option<Vec<PathBuf>> {
    let name = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned());
    let mut patches: Vec<PathBuf> = std::fs::read_dir(top().join("tools/sim/planted"))
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .filter(|path| only.is_empty() || name(path).is_some_and(|name| only.iter().any(|o| **o == name)))
        .collect();
    patches.sort();
    Some(patches)
}

/// Where one worker builds: a copy of the tree and a target directory of its own.
struct Place {
    copy: PathBuf,
    target: PathBuf,
    judge: Judge,
}

impl Place {
    fn new(base: &Path, worker: usize, judge: Judge) -> Self {
        let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| top().join("target"), PathBuf::from);
        Self { copy: base.join(worker.to_string()), target: target.join(format!("planted-{worker}")), judge }
    }

    fn copy_tree(&self) -> Option<()> {
        copy_tree(&self.copy)
    }

    /// Builds the copy and runs its seeds. `None` when it does not build, else the first violation.
    fn simulated(&self) -> Option<Option<Caught>> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--quiet", "-p", "stria-sim"]);
        // Building is most of the time: no link-time optimisation, as little as possible anew.
        build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
        build.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("RUSTFLAGS", "-Awarnings");
        let simulator = self.target.join("release/stria-sim");
        let built = succeeds(build.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target));
        built.then(|| match self.judge {
            // What takes two cuts in the right places is for the enumerator.
            Judge::Seeds => ["store", "engine"]
                .into_iter()
                .find_map(|workload| simulate(&simulator, workload))
                .or_else(|| enumerate(&simulator))
                .or_else(|| self.tests()),
            Judge::CrashStates => enumerate(&simulator),
            Judge::Faults => strike(&simulator),
        })
    }
}

impl Place {
    /// Runs the simulator's own tests: some bugs want a story that seeds tell once in thousands. The first that fails.
    fn tests(&self) -> Option<Caught> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut test = Command::new(cargo);
        test.args(["test", "--quiet", "--package", "stria-sim", "--lib"]).env("RUSTFLAGS", "-Awarnings");
        let run = test.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target).output().ok()?;
        let text = String::from_utf8_lossy(&run.stdout);
        let mut lines = text.lines().skip_while(|line| !line.starts_with("thread '"));
        let name = lines.next()?.split('\'').nth(1)?;
        Some(Caught { at: format!("test {name}"), seeds: None, seen: fit(lines.next()?) })
    }
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

/// Takes patches until none is left. `None` when the simulator complains without any: it proves nothing then.
fn judge_all(place: &Place, patches: &[PathBuf], next: &AtomicUsize) -> Option<Vec<Verdict>> {
    if let Some(Caught { at, seen, .. }) = place.simulated()? {
        eprintln!("without any planted bug, {at}: {seen}");
        return None;
    }
    let mut verdicts = Vec::new();
    while let Some(patch) = patches.get(next.fetch_add(1, Ordering::Relaxed)) {
        let name = patch.file_stem()?.to_string_lossy().into_owned();
        // One that no longer applies or builds counts as not caught; the others are still judged.
        let caught = judge(place, patch).flatten();
        println!("{name}: {}", caught.as_ref().map_or("SURVIVED", |caught| &caught.at));
        verdicts.push(Verdict { name, caught });
    }
    Some(verdicts)
}

/// Plants one bug, runs the simulator, takes the bug out. `None` when it does not apply or build.
fn judge(place: &Place, patch: &Path) -> Option<Option<Caught>> {
    if !apply(&place.copy, patch, &[]) {
        eprintln!("{} does not apply", patch.display());
        return None;
    }
    let caught = place.simulated();
    if caught.is_none() {
        eprintln!("{} does not build", patch.display());
    }
    if apply(&place.copy, patch, &["--reverse"]) { caught } else { None }
}

/// Applies a patch to a copy, or takes it back with `--reverse`.
pub fn apply(copy: &Path, patch: &Path, more: &[&str]) -> bool {
    let mut apply = Command::new("patch");
    apply.args(["--strip=1", "--silent", "--force", "--no-backup-if-mismatch"]).args(more);
    succeeds(apply.arg("--input").arg(patch).current_dir(copy))
}

/// Runs the seeds of one workload. The first violation.
fn simulate(simulator: &Path, workload: &str) -> Option<Caught> {
    let seeds = format!("0..{SEEDS_MAX}");
    let text = complaint(Command::new(simulator).args(["--workload", workload, "--seeds", &seeds]))?;
    let repeat = text.lines().find_map(|line| line.split_once("--seeds "))?.1;
    let seed = repeat.split("..").next()?;
    Some(Caught { at: format!("{workload} {seed}"), seeds: Some(seed.parse().ok()?), seen: seen(&text)? })
}

/// Runs the crash enumerator over the shorter sequences. The first violation.
fn enumerate(simulator: &Path) -> Option<Caught> {
    let text = complaint(Command::new(simulator).args(["--crash-states", "short"]))?;
    let (number, sequence) =
        text.lines().find_map(|line| line.split_once("state ").map(|(_, rest)| rest))?.split_once(": ")?;
    Some(Caught { at: format!("crash state {number}: {sequence}"), seeds: None, seen: seen(&text)? })
}

/// Fills the table of single faults. The first cell in which a promise broke.
fn strike(simulator: &Path) -> Option<Caught> {
    let text = complaint(Command::new(simulator).arg("--faults"))?;
    let cell = text.lines().find_map(|line| line.split_once("--faults: "))?.1;
    Some(Caught { at: cell.to_owned(), seeds: None, seen: seen(&text)? })
}

/// What a simulator printed that found a violation.
fn complaint(run: &mut Command) -> Option<String> {
    let run = run.output().ok()?;
    (run.status.code() == Some(1)).then(|| String::from_utf8_lossy(&run.stdout).into_owned())
}

/// The message of the violation, fit for a table.
fn seen(text: &str) -> Option<String> {
    let seen = text.lines().skip_while(|line| !line.starts_with("violation")).nth(1)?;
    Some(fit(seen))
}

/// Fit for a cell of a table.
fn fit(text: &str) -> String {
    text.replace('|', "/").chars().take(110).collect()
}
