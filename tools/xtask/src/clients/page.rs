//! The table of docs/clients.md.
//!
//! Invariant: its rows are the clients of the list, in its order, and each says what the last whole run of that client
//! said; a run that finds another pinned version than the page does not pass. Runs in the process of
//! `cargo xtask clients`.

use std::path::PathBuf;

use super::{CLIENTS, Row, Verdict, programs::Source};
use crate::run::top;

const BEGIN: &str = "<!-- written by `cargo xtask clients --write` -->\n";
const END: &str = "<!-- end of the table -->\n";
const HEAD: &str = "| client | version | runs in | result | what ran |\n|---|---|---|---|---|\n";

/// Writes the rows of this run; those of other clients stay as they are.
pub fn write(rows: &[Row]) -> Result<(), String> {
    let old = read()?;
    std::fs::write(path(), merged(&old, rows)?).map_err(|error| format!("docs/clients.md: {error}"))
}

/// What the page says otherwise than this run, as lines for the user. Versions of Debian's packages differ from
/// machine to machine, and so does what can be had.
pub fn stale(rows: &[Row]) -> Result<Vec<String>, String> {
    let text = read()?;
    let mut lines = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.verdict, Verdict::Passed)) {
        let name = row.client.name;
        // A row without a version, of a client that never passed, contradicts nothing.
        let said = row_of(&text, name).and_then(|line| line.split(" | ").nth(1)).unwrap_or("-");
        if !matches!(row.client.source, Source::Debian(..)) && said != "-" && said != row.version {
            lines.push(format!(
                "docs/clients.md has {said} for {name} {}: cargo xtask clients --write {name}",
                row.version
            ));
        }
    }
    Ok(lines)
}

fn path() -> PathBuf {
    top().join("docs/clients.md")
}

fn read() -> Result<String, String> {
    std::fs::read_to_string(path()).map_err(|error| format!("docs/clients.md: {error}"))
}

fn row_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("| {name} | ");
    text.lines().find(|line| line.starts_with(&start))
}

fn merged(old: &str, rows: &[Row]) -> Result<String, String> {
    let begin = old.find(BEGIN).ok_or("docs/clients.md has no table")? + BEGIN.len();
    let end = old.find(END).filter(|end| *end >= begin).ok_or("docs/clients.md has no end of its table")?;
    let mut text = old[..begin].to_owned() + HEAD;
    for client in CLIENTS {
        let runs_in = if client.long { "whole runs" } else { "CI" };
        if let Some(row) = rows.iter().find(|row| row.client.name == client.name) {
            let (name, result) = (client.name, row.result());
            text += &format!("| {name} | {} | {runs_in} | {result} | {} |\n", row.version, row.what);
        } else if let Some(line) = row_of(&old[begin..end], client.name) {
            text = text + line + "\n";
        } else {
            text += &format!("| {} | - | {runs_in} | not run yet | - |\n", client.name);
        }
    }
    Ok(text + &old[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, version: &str) -> Row {
        let client = CLIENTS.iter().find(|client| client.name == name).expect("a client of the list");
        Row { client, version: version.into(), what: "x".into(), seconds: 0, verdict: Verdict::Passed }
    }

    #[test]
    fn only_rows_that_ran_change() {
        let old = format!("before\n{BEGIN}| minio-py | 1 | CI | passed | y |\n| gone | 1 |\n{END}after\n");
        let text = merged(&old, &[row("boto3", "2")]).expect("a table");
        assert!(text.starts_with("before\n") && text.ends_with("after\n"));
        assert!(text.contains("| boto3 | 2 | CI | passed | x |\n"));
        assert!(text.contains("| minio-py | 1 | CI | passed | y |\n"), "a row that did not run stays");
        assert!(!text.contains("gone"), "a client that is not in the list has no row");
        assert_eq!(merged(&text, &[]).expect("a table"), text, "writing again changes nothing");
    }

    #[test]
    fn the_page_has_all_clients_in_order() {
        let text = read().expect("the page");
        assert_eq!(merged(&text, &[]).expect("a table"), text, "run `cargo xtask clients --write NAME`");
    }

    #[test]
    fn another_version_is_stale() {
        let found = stale(&[row("boto3", "0.0.1")]).expect("the page");
        assert!(found.len() == 1 && found[0].contains("0.0.1"), "{found:?}");
        // Debian's version is the machine's.
        assert!(stale(&[row("rclone", "0.0.1")]).expect("the page").is_empty());
    }
}
