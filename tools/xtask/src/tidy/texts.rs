//! Rules on documents: what they name must exist.

use std::collections::BTreeSet;

use super::Source;

fn text<'a>(tree: &'a [Source], path: &str) -> Option<&'a str> {
    tree.iter().find(|file| file.path == path).map(|file| file.text.as_str())
}

/// Every `name()` in back quotes in docs/data-path.md is a function of ours.
pub fn data_path(tree: &[Source]) -> Vec<String> {
    const PAGE: &str = "docs/data-path.md";
    let Some(page) = text(tree, PAGE) else { return vec![format!("{PAGE} is missing")] };
    let mut complaints = Vec::new();
    let mut named = 0;
    for (number, line) in page.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let Some(path) = quoted.strip_suffix("()") else { continue };
            let name = path.rsplit("::").next().unwrap_or(path);
            named += 1;
            let defined = format!("fn {name}");
            let exists = tree.iter().filter(|file| file.path.ends_with(".rs")).any(|file| {
                file.text
                    .match_indices(&defined)
                    .any(|(at, _)| file.text[at + defined.len()..].starts_with(['(', '<']))
            });
            if !exists {
                complaints.push(format!("{PAGE}:{}: no function `{name}`", number + 1));
            }
        }
    }
    if named == 0 {
        complaints.push(format!("{PAGE} names no function"));
    }
    complaints
}

/// docs/features.md: each ID once, each with a state; what works names its test.
pub fn features(tree: &[Source]) -> Vec<String> {
    const PAGE: &str = "docs/features.md";
    let Some(page) = text(tree, PAGE) else { return vec![format!("{PAGE} is missing")] };
    let mut seen = BTreeSet::new();
    let mut complaints = Vec::new();
    for (number, line) in page.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, id, _, state, proof, ..] = cells[..] else { continue };
        let is_id = id.split_once('-').is_some_and(|(area, n)| {
            area.chars().all(|c| c.is_ascii_uppercase())
                && n.chars().all(|c| c.is_ascii_digit())
                && !n.is_empty()
        });
        if !is_id {
            continue;
        }
        if !seen.insert(id.to_owned()) {
            complaints.push(format!("{PAGE}:{}: {id} stands twice", number + 1));
        }
        if !["works", "partly", "not yet"].contains(&state) {
            complaints.push(format!("{PAGE}:{}: {id} has the state '{state}'", number + 1));
        }
        if state == "works" && proof.is_empty() {
            complaints.push(format!("{PAGE}:{}: {id} works, but names no test", number + 1));
        }
    }
    if seen.is_empty() {
        complaints.push(format!("{PAGE} has no rows"));
    }
    complaints
}

/// Every dependency has its line in docs/dependencies.md.
pub fn dependencies(tree: &[Source]) -> Vec<String> {
    const PAGE: &str = "docs/dependencies.md";
    let Some(page) = text(tree, PAGE) else { return vec![format!("{PAGE} is missing")] };
    let manifest = text(tree, "Cargo.toml").unwrap_or_default();
    let table = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    table
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
        .filter(|name| !name.is_empty() && !name.starts_with('#') && !name.starts_with("stria-"))
        .filter(|name| !page.contains(&format!("| `{name}`")))
        .map(|name| format!("{PAGE}: no line for `{name}`"))
        .collect()
}

/// A figure in the README comes from a folder of raw results.
pub fn results(tree: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in ["README.md", "docs/features.md", "docs/status.md", "CHANGELOG.md"] {
        let Some(body) = text(tree, page) else { continue };
        for (number, line) in body.lines().enumerate() {
            for (at, _) in line.match_indices("perf/results/") {
                let path: String =
                    line[at..].chars().take_while(|c| c.is_alphanumeric() || "/-_.".contains(*c)).collect();
                let path = path.trim_end_matches(['/', '.']);
                if path != "perf/results" && !tree.iter().any(|file| file.path.starts_with(path)) {
                    complaints.push(format!("{page}:{}: {path} does not exist", number + 1));
                }
            }
        }
    }
    complaints
}
