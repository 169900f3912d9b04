//! `cargo xtask conformance`: the documented rules of S3, asked of a server; `cargo xtask mutate-s3`: the same
//! asked of servers in which one rule is broken, each of which has to fail.
//!
//! Invariant: passes only when the suite says so about the program it was given, or about one built just now
//! from this checkout; a mutant counts as caught only when it was built and the suite then failed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use crate::run::{command, output, succeeds, top};

fn cargo() -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), &[])
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

/// Runs the suite. Without an endpoint or a program the server is built first, with the profile of tests.
pub fn run(arguments: &[String]) -> ExitCode {
    if passes(arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As [`run`], for a step of CI.
pub fn passes(arguments: &[String]) -> bool {
    let mut suite = cargo();
    suite.args(["run", "--quiet", "--package", "stria-conformance", "--"]).args(arguments);
    if !arguments.iter().any(|word| word == "--binary" || word == "--endpoint" || word == "--list") {
        if !succeeds(cargo().args(["build", "--quiet", "--package", "stria"])) {
            return false;
        }
        suite.arg("--binary").arg(target().join("debug/stria"));
    }
    succeeds(&mut suite)
}

/// A rule to break: `name ;; file ;; from ;; to ;; areas`.
struct Mutant {
    name: String,
    file: String,
    from: String,
    to: String,
    areas: String,
}

fn mutants(only: &[String]) -> Option<Vec<Mutant>> {
    let text = fs::read_to_string(top().join("tools/conformance/mutants.txt")).ok()?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let all: Option<Vec<Mutant>> = lines
        .map(|line| {
            let columns: Vec<&str> = line.split(" ;; ").collect();
            let [name, file, from, to, areas] = columns[..] else {
                eprintln!("not understood: {line}");
                return None;
            };
            let [name, file, from, to, areas] = [name, file, from, to, areas].map(str::to_owned);
            Some(Mutant { name, file, from, to, areas })
        })
        .collect();
    let mut all = all?;
    all.retain(|mutant| only.is_empty() || only.contains(&mutant.name));
    Some(all)
}

/// Breaks the rules whose names are given, or all, one at a time, in a copy of the tracked tree.
pub fn mutate(only: &[String]) -> ExitCode {
    let Some(mutants) = mutants(only) else { return ExitCode::FAILURE };
    let base = std::env::temp_dir().join(format!("stria-mutants-{}", std::process::id()));
    let suite = target().join("debug/stria-conformance");
    let built = succeeds(cargo().args(["build", "--quiet", "--package", "stria-conformance"]));
    let ready = built && copy(&base) && is_sound(&base, &suite);
    println!("| mutant | file | areas | verdict |\n|---|---|---|---|");
    let mut missed = 0;
    for mutant in mutants.iter().filter(|_| ready) {
        let verdict = judge(&base, &suite, mutant);
        missed += usize::from(!verdict.starts_with("caught"));
        println!("| {} | {} | {} | {verdict} |", mutant.name, mutant.file, mutant.areas);
    }
    let _ = fs::remove_dir_all(&base);
    println!("\n{} mutants, {missed} not caught", mutants.len());
    if ready && missed == 0 && !mutants.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn copy(base: &Path) -> bool {
    let Some(list) = output(&mut command("git", &["ls-files"])) else { return false };
    list.lines().all(|name| {
        let to = base.join(name);
        let made = to.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::copy(top().join(name), &to)).is_ok()
    })
}

fn quiet(command: &mut Command) -> bool {
    succeeds(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Builds the server from the copy.
fn builds(base: &Path) -> bool {
    let mut build = cargo();
    build.current_dir(base).env("CARGO_TARGET_DIR", target().join("mutants"));
    quiet(build.args(["build", "--package", "stria"]))
}

/// The cases that the server built last fails. `None` when the suite did not come to a verdict.
fn failures(suite: &Path, filter: &[&str]) -> Option<Vec<String>> {
    let mut asked = Command::new(suite);
    asked.arg("--binary").arg(target().join("mutants/debug/stria")).args(filter).stderr(Stdio::null());
    let said = asked.output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout);
    let named = text.lines().filter_map(|line| line.strip_prefix("FAILED ")?.split_once(':'));
    let failed: Vec<String> = named.map(|(id, _)| id.to_owned()).collect();
    (said.status.success() == failed.is_empty()).then_some(failed)
}

/// A suite that fails of the unbroken server would catch every mutant and prove nothing.
fn is_sound(base: &Path, suite: &Path) -> bool {
    let sound = builds(base) && failures(suite, &[]).is_some_and(|failed| failed.is_empty());
    if !sound {
        eprintln!("the suite fails of the server as it is, or that does not build");
    }
    sound
}

/// What the suite makes of the server built last, which breaks a rule of these areas.
fn verdict(suite: &Path, areas: &str) -> String {
    let told = |word: &str, failed: &[String]| match failed {
        [one] => format!("{word} by {one}"),
        [first, more @ ..] => format!("{word} by {first} and {} more", more.len()),
        [] => "SURVIVED".to_owned(),
    };
    match failures(suite, &["--filter", areas]) {
        None => "no verdict of the suite".to_owned(),
        Some(failed) if !failed.is_empty() => told("caught", &failed),
        Some(_) => match failures(suite, &[]) {
            None => "no verdict of the suite".to_owned(),
            Some(failed) => told("caught elsewhere", &failed),
        },
    }
}

fn judge(base: &Path, suite: &Path, mutant: &Mutant) -> String {
    let path = base.join(&mutant.file);
    let Ok(text) = fs::read_to_string(&path) else { return "no such file".into() };
    if text.matches(&mutant.from).count() != 1 {
        return format!("applies {} times", text.matches(&mutant.from).count());
    }
    if fs::write(&path, text.replace(&mutant.from, &mutant.to)).is_err() {
        return "cannot be written".into();
    }
    let verdict = if builds(base) { verdict(suite, &mutant.areas) } else { "does not build".to_owned() };
    if fs::write(&path, text).is_err() { "cannot be put back".into() } else { verdict }
}
