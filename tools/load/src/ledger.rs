//! What was asked of a server and what it acknowledged, kept outside of it.
//!
//! Invariant: an operation is in the file before it is sent, its acknowledgement before it is counted. A key
//! has one writer, so at most one operation of it is undecided. Owned by one worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    path::Path,
};

use aws_lc_rs::digest;

/// SHA-256.
pub type Sha = [u8; 32];

/// An object's content as far as it must be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of them.
    pub sha: Sha,
}

impl Content {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        let sha = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        Self { size: bytes.len() as u64, sha }
    }
}

/// What a key may hold.
#[derive(Clone, Debug, Default)]
struct KeyState {
    /// After the last acknowledged operation; `None` is absent.
    settled: Option<Content>,
    /// After the operation that got no answer.
    undecided: Option<Option<Content>>,
    /// After operations that failed without saying whether they were done: a restart may show any of them.
    open: Vec<Option<Content>>,
    /// Everything ever sent under this key: tells an old object from a torn one.
    history: BTreeSet<Sha>,
}

/// What a check of one key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As acknowledged, or as the undecided operation would have it.
    Good,
    /// An acknowledged operation left no trace: absent, or an earlier state.
    Lost,
    /// Bytes that nobody ever sent under this key.
    Torn,
}

/// One worker's ledger.
pub struct Ledger {
    file: File,
    keys: BTreeMap<String, KeyState>,
    operations: u64,
    /// Acknowledged operations.
    pub acknowledged: u64,
}

impl Ledger {
    /// In a new file.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, keys: BTreeMap::new(), operations: 0, acknowledged: 0 })
    }

    /// Before an operation that leaves `after` under `key` is sent.
    ///
    /// # Errors
    /// Of the file.
    pub fn begin(&mut self, key: &str, after: Option<Content>) -> io::Result<()> {
        self.operations += 1;
        let what = after.map_or_else(|| "absent".to_owned(), |content| describe(&content));
        writeln!(self.file, "begin {} {key} {what}", self.operations)?;
        let state = self.keys.entry(key.to_owned()).or_default();
        assert!(state.undecided.is_none(), "{key} has an operation under way");
        state.undecided = Some(after);
        state.history.extend(after.map(|content| content.sha));
        Ok(())
    }

    /// After it was acknowledged.
    ///
    /// # Errors
    /// Of the file.
    pub fn acknowledge(&mut self, key: &str) -> io::Result<()> {
        writeln!(self.file, "acknowledged {} {key}", self.operations)?;
        let state = self.keys.get_mut(key).expect("begun before");
        state.settled = state.undecided.take().expect("begun before");
        state.open.clear();
        self.acknowledged += 1;
        Ok(())
    }

    /// After it was refused in a way that says nothing was done.
    ///
    /// # Errors
    /// Of the file.
    pub fn refuse(&mut self, key: &str) -> io::Result<()> {
        writeln!(self.file, "refused {} {key}", self.operations)?;
        self.keys.get_mut(key).expect("begun before").undecided = None;
        Ok(())
    }

    /// After it failed in a way that does not say whether it was done: it may show at any time until a later one is
    /// acknowledged.
    ///
    /// # Errors
    /// Of the file.
    pub fn leave_open(&mut self, key: &str) -> io::Result<()> {
        writeln!(self.file, "open {} {key}", self.operations)?;
        let state = self.keys.get_mut(key).expect("begun before");
        state.open.extend(state.undecided.take());
        Ok(())
    }

    /// Judges what a GET of `key` found. What is found decides the undecided operation, for good.
    ///
    /// # Errors
    /// Of the file.
    pub fn check(&mut self, key: &str, found: Option<Content>) -> io::Result<Verdict> {
        let state = self.keys.entry(key.to_owned()).or_default();
        let undecided = state.undecided.take();
        if found != state.settled && state.open.contains(&found) {
            writeln!(self.file, "open {key} is {}", found.as_ref().map_or("absent".into(), describe))?;
            state.settled = found;
            return Ok(Verdict::Good);
        }
        if found == state.settled || undecided == Some(found) {
            if undecided.is_some() {
                writeln!(self.file, "decided {key} {}", found.as_ref().map_or("absent".into(), describe))?;
            }
            state.settled = found;
            return Ok(Verdict::Good);
        }
        let what = found.as_ref().map_or("absent".into(), describe);
        let settled = state.settled.as_ref().map_or("absent".into(), describe);
        writeln!(self.file, "WRONG {key} holds {what}, acknowledged was {settled}")?;
        let known = found.is_none_or(|content| state.history.contains(&content.sha));
        Ok(if known { Verdict::Lost } else { Verdict::Torn })
    }

    /// Keys ever written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Keys that hold an object now, with its size; only after every key was checked.
    pub fn present(&self) -> impl Iterator<Item = (&str, u64)> {
        self.keys.iter().filter_map(|(key, state)| Some((key.as_str(), state.settled?.size)))
    }
}

fn describe(content: &Content) -> String {
    let sha: String = content.sha.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes {sha}", content.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Option<Content> {
        Some(Content::of(text.as_bytes()))
    }

    #[test]
    fn an_acknowledged_object_must_be_there_and_an_undecided_one_may() {
        let path = std::env::temp_dir().join(format!("stria-ledger-{}", std::process::id()));
        let mut ledger = Ledger::create(&path).unwrap();
        ledger.begin("k", content("one")).unwrap();
        assert_eq!(ledger.check("k", None).unwrap(), Verdict::Good, "in flight: may be absent");
        ledger.begin("k", content("two")).unwrap();
        ledger.acknowledge("k").unwrap();
        assert_eq!(ledger.check("k", content("two")).unwrap(), Verdict::Good);
        assert_eq!(ledger.check("k", None).unwrap(), Verdict::Lost);
        assert_eq!(ledger.check("k", content("one")).unwrap(), Verdict::Lost, "an older state");
        assert_eq!(ledger.check("k", content("tw")).unwrap(), Verdict::Torn);
        ledger.begin("k", None).unwrap();
        assert_eq!(ledger.check("k", content("two")).unwrap(), Verdict::Good, "a delete in flight");
        ledger.begin("k", None).unwrap();
        ledger.acknowledge("k").unwrap();
        assert_eq!(ledger.check("k", content("two")).unwrap(), Verdict::Lost, "a delete that came back");
        std::fs::remove_file(path).unwrap();
    }
}
