//! Who is reading what, so that space is not reused under a reader.
//!
//! Bodies in extents are pinned by identity: one slow reader holds one body. Inline bodies are read in
//! one short I/O, so log segments are protected by grace periods: a segment is freed when every read that
//! began before has ended. Owned by one core.

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
    phase: Cell<usize>,
    log_readers: [Cell<u32>; 2],
    log_reader_gone: Notify,
}

/// A read of the log in progress.
pub struct LogRead<'p> {
    pins: &'p Pins,
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

    /// Begins a read of the log.
    pub fn read_log(&self) -> LogRead<'_> {
        let phase = self.phase.get();
        self.log_readers[phase].set(self.log_readers[phase].get() + 1);
        LogRead { pins: self, phase }
    }

    /// Waits until every read of the log that began before this call has ended.
    pub async fn log_grace_period(&self) {
        // Two flips: readers of the current phase and those of the other one, left over from an earlier
        // grace period that is still waiting.
        for _ in 0..2 {
            let old = self.phase.get();
            self.phase.set(1 - old);
            loop {
                let gone = self.log_reader_gone.notified();
                if self.log_readers[old].get() == 0 {
                    break;
                }
                gone.await;
            }
        }
    }
}

impl Drop for LogRead<'_> {
    fn drop(&mut self) {
        let readers = &self.pins.log_readers[self.phase];
        readers.set(readers.get() - 1);
        if readers.get() == 0 {
            self.pins.log_reader_gone.notify_all();
        }
    }
}
