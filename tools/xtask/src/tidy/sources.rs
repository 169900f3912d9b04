//! Rules on Rust sources: a header, bounded files and functions, no left-overs.

use super::Source;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions longer than the rule, each with its reason. This list only ever shrinks.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

fn rust(tree: &[Source]) -> impl Iterator<Item = &Source> {
    tree.iter().filter(|file| file.path.ends_with(".rs"))
}

/// Every file says what it is before anything else.
pub fn headers(tree: &[Source]) -> Vec<String> {
    rust(tree)
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| format!("{}: does not start with `//!`", file.path))
        .collect()
}

/// Files stay readable in one sitting.
pub fn file_lengths(tree: &[Source]) -> Vec<String> {
    rust(tree)
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path))
        .collect()
}

/// Functions stay readable on one screen. Counts from the line of `fn` to the closing brace at the same
/// indentation, which rustfmt guarantees.
pub fn function_lengths(tree: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in rust(tree) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let closing = format!("{}}}", " ".repeat(indent));
            // A declaration without a body ends at its semicolon, before any closing brace.
            let body = lines[start..].iter().position(|l| l.trim_end() == closing);
            let declared =
                lines[start..].iter().position(|l| l.trim_end().ends_with(';') && !l.contains('{'));
            let Some(length) = body.map(|end| end + 1) else { continue };
            let opens = lines[start..start + length].iter().any(|l| l.contains('{'));
            if !opens
                || (declared.is_some_and(|end| end + 1 < length)
                    && !lines[start..]
                        .iter()
                        .take_while(|l| !l.trim_end().ends_with(';'))
                        .any(|l| l.contains('{')))
            {
                continue;
            }
            let listed = LONG_FUNCTIONS.iter().any(|(listed, _)| *listed == format!("{}::{name}", file.path));
            if length > FUNCTION_LINES_MAX && !listed {
                complaints.push(format!(
                    "{}:{}: fn {name} has {length} lines, at most {FUNCTION_LINES_MAX}",
                    file.path,
                    start + 1
                ));
            }
        }
    }
    complaints
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        let before = rest;
        for word in ["pub(crate) ", "pub(super) ", "pub ", "async ", "const ", "unsafe ", "extern \"C\" "] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        if rest == before {
            break;
        }
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// No left-overs, no paths of anybody's machine.
pub fn banned_words(tree: &[Source]) -> Vec<String> {
    // Spelled in halves, so that this file does not complain about itself.
    let words = [["FIX", "ME"], ["TO", "DO:"], ["dbg", "!("], ["XX", "X:"], ["/wo", "rk/"], ["/ro", "ot/"]];
    let mut complaints = Vec::new();
    for file in tree
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock") && !file.path.starts_with("perf/results/"))
    {
        for (number, line) in file.text.lines().enumerate() {
            for word in words.iter().map(|halves| halves.concat()) {
                if line.contains(&word) {
                    complaints.push(format!("{}:{}: contains '{word}'", file.path, number + 1));
                }
            }
        }
    }
    complaints
}
