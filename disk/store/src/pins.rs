//! Who is reading what, so that space is not reused under a reader.
//!
//! Bodies in extents are pinned by identity: one slow reader holds one body. Inline bodies and blocks of runs are
//! read in one short I/O, so log segments and runs are protected by grace periods: their space is freed when every
//! read that began before has ended. Owned by one core.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use stria_base::DataId;
use stria_env::sync::Notify;

use crate::row::Extent;

#[derive(Default)]
struct Pinned {
    readers: u32,
    /// Space to free when the last reader is gone.
    dropped: Vec<Extent>,
}

/// Pins of one core.
#[derive(Default)]
pub struct Pins {
    bodies: RefCell<BTreeMap<DataId, Pinned>>,
    /// Readers of inline bodies.
    pub log: Grace,
    /// Readers of runs.
    pub runs: Grace,
}

/// Short reads in progress, and waiting for those that began before.
#[derive(Default)]
pub struct Grace {
    phase: Cell<usize>,
    readers: [Cell<u32>; 2],
    reader_gone: Notify,
}

/// A read in progress.
pub struct Reading<'g> {
    grace: &'g Grace,
    phase: usize,
}

impl Pins {
    /// One more reader of `id`.
    pub fn pin(&self, id: DataId) {
        self.bodies.borrow_mut().entry(id).or_default().readers += 1;
    }

    /// One reader less; gives the space to free when it was the last and the body is gone.
    pub fn unpin(&self, id: DataId) -> Vec<Extent> {
        let mut bodies = self.bodies.borrow_mut();
        let Some(pinned) = bodies.get_mut(&id) else { return Vec::new() };
        pinned.readers -= 1;
        if pinned.readers > 0 {
            return Vec::new();
        }
        bodies.remove(&id).map(|pinned| pinned.dropped).unwrap_or_default()
    }

    /// `extents` of `id` are named by no row any more: gives back what may be freed now.
    pub fn drop_body(&self, id: DataId, extents: Vec<Extent>) -> Vec<Extent> {
        match self.bodies.borrow_mut().get_mut(&id) {
            Some(pinned) => {
                pinned.dropped.extend(extents);
                Vec::new()
            }
            None => extents,
        }
    }
}

impl Grace {
    /// Begins a read.
    pub fn begin(&self) -> Reading<'_> {
        let phase = self.phase.get();
        self.readers[phase].set(self.readers[phase].get() + 1);
        Reading { grace: self, phase }
    }

    /// Waits until every read that began before this call has ended.
    pub async fn period(&self) {
        // Two flips: readers of the current phase and those of the other one, left over from an earlier
        // grace period that is still waiting.
        for _ in 0..2 {
            let old = self.phase.get();
            self.phase.set(1 - old);
            loop {
                let gone = self.reader_gone.notified();
                if self.readers[old].get() == 0 {
                    break;
                }
                gone.await;
            }
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let readers = &self.grace.readers[self.phase];
        readers.set(readers.get() - 1);
        if readers.get() == 0 {
            self.grace.reader_gone.notify_all();
        }
    }
}
