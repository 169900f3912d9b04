//! The reference model: what the store promised.
//!
//! Invariant: per core, what survives is what was there when the node came up plus a prefix of the records
//! sequenced since, in their order; the prefix holds at least every record that was acknowledged or seen by
//! a reader (unless the sync policy says otherwise and the power was cut). Runs on the simulator's thread.

use std::collections::{BTreeMap, BTreeSet};

use stria_base::{Hlc, PgId};

use crate::value::Value;

/// A row: its PG and its key.
pub type Key = (PgId, u16);

/// A sequenced record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its changes; `None` deletes.
    pub changes: Vec<(Key, Option<Value>)>,
    /// Whether the caller was told.
    pub acked: bool,
}

/// What one core promised since the node came up.
#[derive(Debug, Default)]
pub struct CoreModel {
    records: Vec<Record>,
    /// Records that must be there after any crash.
    sure: usize,
}

/// The model of the node.
#[derive(Debug, Default)]
pub struct Model {
    base: BTreeMap<Key, Value>,
    cores: Vec<CoreModel>,
    /// Highest stamp seen of each PG.
    hlc: BTreeMap<PgId, Hlc>,
    /// Bodies a power cut may have taken although their rows are there (sync other than `always`).
    pub lax_bodies: BTreeSet<u64>,
    next_id: u64,
    /// Records acknowledged, over the run.
    pub acked: u64,
}

impl Model {
    /// A number for a value or a body, never given out before.
    pub fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A record was sequenced on `core`. Its number there.
    pub fn sequenced(&mut self, core: u16, changes: Vec<(Key, Option<Value>)>) -> usize {
        let core = &mut self.cores[usize::from(core)];
        core.records.push(Record { changes, acked: false });
        core.records.len() - 1
    }

    /// The caller was told that record `index` of `core` is durable.
    pub fn acknowledged(&mut self, core: u16, index: usize) {
        self.acked += 1;
        let core = &mut self.cores[usize::from(core)];
        core.records[index].acked = true;
        core.sure = core.sure.max(index + 1);
    }

    /// A reader saw `value` at `key`: it must be what the promised records leave, or a later one; and from
    /// now on it must not go away.
    pub fn observed(&mut self, core: u16, key: Key, value: Option<Value>, what: &str) {
        let base = self.base.get(&key).copied();
        let model = &mut self.cores[usize::from(core)];
        let touches = |record: &Record| {
            record.changes.iter().rev().find(|(changed, _)| *changed == key).map(|(_, value)| *value)
        };
        let promised = model.records[..model.sure].iter().rev().find_map(touches).unwrap_or(base);
        if promised == value {
            return;
        }
        let later = model.records[model.sure..].iter().position(|record| touches(record) == Some(value));
        match later {
            Some(offset) => model.sure += offset + 1,
            None => panic!("{what} of {key:?}: found {value:?}, promised {promised:?}, nothing later fits"),
        }
    }

    /// A stamp of a visible row of `pg`; `new` when it was just given out.
    pub fn stamp(&mut self, pg: PgId, hlc: Hlc) {
        let high = self.hlc.entry(pg).or_default();
        *high = (*high).max(hlc);
    }

    /// The highest stamp seen of `pg`.
    #[must_use]
    pub fn stamp_high(&self, pg: PgId) -> Hlc {
        self.hlc.get(&pg).copied().unwrap_or_default()
    }

    /// After a power cut without `sync = always` stamps of lost rows may come again.
    pub fn forget_stamps(&mut self) {
        self.hlc.clear();
    }

    /// Checks what is there after a restart: per core the promised prefix, where `lost_suffix` allows even
    /// promised records to be gone and `orderly` forbids that any is. PGs for which `is_excused` holds are
    /// left out. Afterwards what is there is what is promised, on `cores` cores.
    pub fn restarted(
        &mut self,
        found: BTreeMap<Key, Value>,
        end: End,
        cores: u16,
        is_excused: impl Fn(PgId) -> bool,
    ) {
        let before = self.cores.len() as u16;
        for (index, model) in self.cores.iter().enumerate() {
            let mine = |key: &Key| key.0.owner(before).0 == index as u16 && !is_excused(key.0);
            let least = match end {
                End::Crash => model.sure,
                End::MayLoseSuffix => 0,
                End::Orderly => model.records.len(),
            };
            if let Err(difference) = self.fits(model, &found, least, &mine) {
                panic!(
                    "core {index}: no prefix of {least}..={} records fits: {difference}",
                    model.records.len()
                );
            }
        }
        if before == 0 {
            assert!(found.is_empty(), "rows in a new store");
        }
        self.base = found;
        self.cores = (0..cores).map(|_| CoreModel::default()).collect();
    }

    /// Whether the visible rows of one PG are those of a promised prefix, now.
    pub fn scanned(&self, core: u16, pg: PgId, found: &BTreeMap<Key, Value>) {
        let model = &self.cores[usize::from(core)];
        if let Err(difference) = self.fits(model, found, model.sure, &|key| key.0 == pg) {
            panic!("scan of PG {}: {difference}", pg.0);
        }
    }

    fn fits(
        &self,
        model: &CoreModel,
        found: &BTreeMap<Key, Value>,
        least: usize,
        mine: &dyn Fn(&Key) -> bool,
    ) -> Result<usize, String> {
        let mut state: BTreeMap<Key, Value> =
            self.base.iter().filter(|(key, _)| mine(key)).map(|(key, value)| (*key, *value)).collect();
        let found: BTreeMap<Key, Value> =
            found.iter().filter(|(key, _)| mine(key)).map(|(key, value)| (*key, *value)).collect();
        let keys: BTreeSet<Key> = state.keys().chain(found.keys()).copied().collect();
        let mut wrong: BTreeSet<Key> =
            keys.into_iter().filter(|key| state.get(key) != found.get(key)).collect();
        let mut at_least = None;
        for count in 0..=model.records.len() {
            if count > 0 {
                for (key, value) in model.records[count - 1].changes.iter().filter(|(key, _)| mine(key)) {
                    match value {
                        Some(value) => state.insert(*key, *value),
                        None => state.remove(key),
                    };
                    if state.get(key) == found.get(key) {
                        wrong.remove(key)
                    } else {
                        wrong.insert(*key)
                    };
                }
            }
            if count == least {
                at_least = wrong.first().map(|key| (*key, state.get(key).copied(), found.get(key).copied()));
            }
            if count >= least && wrong.is_empty() {
                return Ok(count);
            }
        }
        Err(format!("after the promised ones (key, promised, found) {at_least:?}"))
    }
}

/// How the last life of the node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything promised survives.
    Crash,
    /// A suffix of what was promised may be gone.
    MayLoseSuffix,
    /// Everything sequenced survives.
    Orderly,
}
