//! `cargo xtask tidy`: the house rules that a program can check.
//!
//! Each rule is a function from the tree to complaints, so that the tests can show it a broken tree.

mod floors;
mod sources;
mod texts;

#[cfg(test)]
mod tests;

use std::{fs, process::ExitCode};

use crate::run::{command, output, top};

/// A file git tracks or would track.
pub struct Source {
    /// Path from the top, with `/`.
    pub path: String,
    /// Its text; empty for files that are no text.
    pub text: String,
}

fn tree() -> Vec<Source> {
    let listed = output(&mut command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]));
    let mut files: Vec<String> = listed.unwrap_or_default().lines().map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
        .into_iter()
        .filter_map(|path| {
            let bytes = fs::read(top().join(&path)).ok()?;
            Some(Source { path, text: String::from_utf8(bytes).unwrap_or_default() })
        })
        .collect()
}

/// Checks the checkout.
pub fn run() -> ExitCode {
    let tree = tree();
    let mut complaints = Vec::new();
    complaints.extend(sources::headers(&tree));
    complaints.extend(sources::file_lengths(&tree));
    complaints.extend(sources::function_lengths(&tree));
    complaints.extend(sources::banned_words(&tree));
    complaints.extend(texts::data_path(&tree));
    complaints.extend(texts::features(&tree));
    complaints.extend(texts::dependencies(&tree));
    complaints.extend(texts::results(&tree));
    match output(&mut command("cargo", &["metadata", "--no-deps", "--format-version", "1"])) {
        Some(metadata) => complaints.extend(floors::check(&metadata)),
        None => complaints.push("cargo metadata failed".to_owned()),
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("tidy: {} files, {} complaints", tree.len(), complaints.len());
    if complaints.is_empty() && !tree.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
