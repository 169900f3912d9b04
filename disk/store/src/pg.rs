//! The rows of one PG: those in memory, those on their way, and what is known of those in runs.
//!
//! Invariant: a row that no run has yet is in memory. Of a PG that is not paged all rows are; of a paged one those
//! changed since its last checkpoint, and those somebody asked for and still holds ([`crate::paged`]). Owned by
//! one core.

use std::{collections::BTreeMap, ops::Bound, rc::Rc};

use stria_base::Hlc;

use crate::{
    index::{Changed, IndexBuilder, MemoryIndex, MetaIndex},
    log::{FrameFate, PendingChange},
    packed::RowView,
    row::{Extent, Row},
    run::RunRow,
    store::PgState,
    view::RunView,
};

/// A row on its way to durability.
pub(crate) struct PendingRow {
    pub(crate) row: Option<Row>,
    pub(crate) seq: u64,
    pub(crate) fate: Rc<FrameFate>,
}

/// A row of a run that somebody holds in memory.
#[derive(Default)]
pub(crate) struct Held {
    /// Who asked for it; with a pending change it stays without.
    pub(crate) holders: u32,
    /// `None` before it was looked up, then the row or its absence.
    pub(crate) row: Option<Option<Row>>,
}

/// What a PG knows of its runs.
#[derive(Default)]
pub(crate) struct Pages {
    /// Whether rows are left to the runs.
    pub(crate) is_paged: bool,
    /// Of all its runs, the newest first; empty when one of them is damaged.
    pub(crate) views: Rc<Vec<Rc<RunView>>>,
    /// Grows whenever the runs change.
    pub(crate) version: u64,
    pub(crate) held: BTreeMap<Box<[u8]>, Held>,
    /// Who relies on all rows being in memory.
    pub(crate) holders: u32,
}

pub(crate) struct Pg {
    /// Rows that are there, in memory or not.
    pub(crate) rows: u64,
    pub(crate) index: MemoryIndex,
    pub(crate) pending: BTreeMap<Box<[u8]>, PendingRow>,
    /// Last number given out.
    pub(crate) seq: u64,
    /// Last number that became visible.
    pub(crate) published_seq: u64,
    pub(crate) state: PgState,
    /// Changed since its last checkpoint; `None` when it has no run of this core's to build on.
    pub(crate) changed: Option<Changed>,
    /// Changed before the checkpoint that is being written began.
    pub(crate) taken: Option<Changed>,
    /// Version of its entry in the manifest.
    pub(crate) version: u64,
    /// Deleted keys that some log may still have older records of; `None` once no log has.
    pub(crate) tombstones: Option<Changed>,
    /// Its runs are damaged: what is left of them is not to be replaced.
    pub(crate) keeps_runs: bool,
    pub(crate) pages: Pages,
    /// Space that rows name at the start, until it was asked for.
    pub(crate) start_extents: Option<Vec<Extent>>,
}

impl Pg {
    /// Memory of its rows, of the marks on them and of what is known of its runs, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let marks = [&self.changed, &self.taken, &self.tombstones].into_iter().flatten().map(Changed::bytes);
        let views = self.pages.views.iter().map(|view| view.bytes());
        self.index.bytes() + marks.sum::<u64>() + views.sum::<u64>()
    }

    /// Remembers a visible change for the next checkpoint.
    pub(crate) fn note(&mut self, change: &PendingChange) {
        let number = (change.seq, change.hlc);
        if let Some(changed) = &mut self.changed {
            changed.insert(&change.key, number);
        }
        if let Some(tombstones) = &mut self.tombstones {
            match change.row {
                Some(_) => tombstones.remove(&change.key),
                None => tombstones.insert(&change.key, number),
            }
        }
        self.published_seq = self.published_seq.max(change.seq);
    }

    /// Number and stamp of a key's last change, when no run that counts has it.
    pub(crate) fn change_of(&self, key: &[u8]) -> Option<(u64, Hlc)> {
        let of = |changed: &Option<Changed>| changed.as_ref()?.get(key);
        of(&self.changed).or_else(|| of(&self.taken))
    }

    /// The visible row of a key, when memory tells.
    pub(crate) fn known(&self, key: &[u8]) -> Option<Option<RowView<'_>>> {
        if let Some(row) = self.index.get(key) {
            return Some(Some(row));
        }
        if !self.pages.is_paged || self.change_of(key).is_some() {
            return Some(None);
        }
        let held = self.pages.held.get(key)?.row.as_ref()?;
        Some(held.as_ref().map(Row::view))
    }

    /// The visible row of a key.
    ///
    /// # Panics
    /// When memory does not tell: the caller holds every key it asks for.
    pub(crate) fn visible(&self, key: &[u8]) -> Option<RowView<'_>> {
        self.known(key).expect("a key of a paged PG is brought into memory before it is asked for")
    }

    /// Of a paged PG the next changes no run that counts has, in key order: at most `most`.
    pub(crate) fn changes(&self, from: Bound<&[u8]>, most: usize) -> Vec<RunRow> {
        let some = |changed: &Option<Changed>| changed.as_ref().map(|changed| changed.some(from, most));
        let mut keys: BTreeMap<Box<[u8]>, (u64, Hlc)> = BTreeMap::new();
        for changed in [&self.taken, &self.changed] {
            keys.extend(
                some(changed).unwrap_or_default().into_iter().map(|(key, seq, hlc)| (key, (seq, hlc))),
            );
        }
        let row = |(key, (seq, hlc)): (Box<[u8]>, _)| match self.index.get(&key) {
            Some(row) => RunRow { seq: row.seq, hlc: row.hlc, row: Some(row.to_row()), key },
            None => RunRow { key, seq, hlc, row: None },
        };
        keys.into_iter().take(most).map(row).collect()
    }

    /// Leaves rows that runs have to the runs, but for those somebody holds.
    pub(crate) fn page_out(&mut self) {
        self.pages.is_paged = true;
        let Some(changed) = &self.changed else { return };
        for (key, held) in &mut self.pages.held {
            let was_changed = self.taken.as_ref().is_some_and(|taken| taken.get(key).is_some());
            let row = self.index.get(key);
            if changed.get(key).is_none() && (row.is_some() || was_changed) {
                held.row = Some(row.map(|row| row.to_row()));
            }
        }
        let mut kept = IndexBuilder::default();
        let index = &self.index;
        let mut last: Option<Box<[u8]>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let keys = changed.some(from, 1024);
            let Some((key, ..)) = keys.last() else { break };
            last = Some(key.clone());
            for (key, ..) in &keys {
                index.get(key).iter().for_each(|row| kept.push(key, row));
            }
        }
        self.index = kept.finish();
    }

    /// Lets go of a row nobody holds any more.
    pub(crate) fn let_go(&mut self, key: &[u8]) {
        let is_unheld = self.pages.held.get(key).is_some_and(|held| held.holders == 0);
        if is_unheld && !self.pending.contains_key(key) {
            self.pages.held.remove(key);
        }
    }
}
