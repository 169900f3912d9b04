//! `cargo xtask loom`: every interleaving of what cores share, and the proof that a wrong ordering is seen.
//!
//! Invariant: exits 0 only when every model of tools/loom holds and every patch of tools/loom/planted, put into a copy
//! of the tree, makes one fail.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use crate::{
    planted::{apply, copy_tree},
    run::top,
};

/// Checks the models, then each planted bug, or those named.
pub fn run(only: &[String]) -> ExitCode {
    if !models(&top()).is_ok_and(|failed| failed.is_none()) {
        eprintln!("loom: a model fails, see above");
        return ExitCode::FAILURE;
    }
    let copy = std::env::temp_dir().join(format!("stria-loom-{}", std::process::id()));
    let seen = copy_tree(&copy).and_then(|()| planted(&copy, only));
    // A copy left behind costs space only.
    let _ = std::fs::remove_dir_all(&copy);
    if seen == Some(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn planted(copy: &Path, only: &[String]) -> Option<bool> {
    let folder = std::fs::read_dir(top().join("tools/loom/planted")).ok()?;
    let mut patches: Vec<PathBuf> = folder.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    patches.sort();
    let mut all_seen = !patches.is_empty();
    for patch in patches {
        let name = patch.file_stem()?.to_string_lossy().into_owned();
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        let seen = if apply(copy, &patch, &[]) { models(copy) } else { Err("it does not apply") };
        match &seen {
            Ok(Some(model)) => println!("planted {name}: seen by '{model}'"),
            Ok(None) => println!("planted {name}: SURVIVED"),
            Err(why) => println!("planted {name}: {why}"),
        }
        all_seen &= matches!(seen, Ok(Some(_)));
        if !apply(copy, &patch, &["--reverse"]) {
            return None;
        }
    }
    Some(all_seen)
}

/// Builds and runs the models of the tree in `root`: the one that fails, if one does.
fn models(root: &Path) -> Result<Option<String>, &'static str> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(root.join("tools/loom/Cargo.toml"));
    build.arg("--target-dir").arg(target.join("loom"));
    if !build.status().is_ok_and(|status| status.success()) {
        return Err("the models do not build");
    }
    let mut models = Command::new(target.join("loom/debug/stria-loom"));
    // What a planted bug prints when it is seen is no news; what fails in the tree itself is.
    models.stderr(if root == top() { Stdio::inherit() } else { Stdio::null() });
    let output = models.output().map_err(|_| "the models do not start")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        print!("{printed}");
        return Ok(None);
    }
    Ok(Some(printed.lines().last().unwrap_or("none began").to_owned()))
}
