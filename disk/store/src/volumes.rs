//! Every volume of the node as one core reads and flushes it, through its own queue.
//!
//! Invariant: a flush that failed is never repeated: the volume counts as failed from then on, because a
//! later flush that succeeds proves nothing about what was written before. Owned by one core.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use stria_base::VolumeId;
use stria_env::{Disk, Durability, Env, disk::is_flush_failure, sync::Notify};

use crate::{error::StoreError, row::Extent};

struct Slot<E: Env> {
    id: VolumeId,
    disk: E::Disk,
    failed: Cell<bool>,
    /// Where writes of this core failed: start and end, bytes.
    bad: RefCell<Vec<(u64, u64)>>,
    /// Bytes not given back because of that.
    withheld_bytes: Cell<u64>,
    /// Flushes begun and flushes ended, counted.
    begun: Cell<u64>,
    ended: Cell<u64>,
    running: Cell<bool>,
    changed: Notify,
}

/// All volumes, as one core sees them. Cheap to clone.
pub struct Volumes<E: Env> {
    pub(crate) env: E,
    slots: Rc<Vec<Slot<E>>>,
    flushes: bool,
}

impl<E: Env> Clone for Volumes<E> {
    fn clone(&self) -> Self {
        Self { env: self.env.clone(), slots: self.slots.clone(), flushes: self.flushes }
    }
}

impl<E: Env> Volumes<E> {
    /// Over this core's handles of the node's volumes. `flush_bodies`: whether a body must be on stable
    /// media before a row may name it (sync = always).
    #[must_use]
    pub fn new(env: E, disks: Vec<(VolumeId, E::Disk)>, flush_bodies: bool) -> Self {
        let slot = |(id, disk)| Slot {
            id,
            disk,
            failed: Cell::new(false),
            bad: RefCell::default(),
            withheld_bytes: Cell::new(0),
            begun: Cell::new(0),
            ended: Cell::new(0),
            running: Cell::new(false),
            changed: Notify::default(),
        };
        Self { env, slots: Rc::new(disks.into_iter().map(slot).collect()), flushes: flush_bodies }
    }

    /// The handle of `id`.
    ///
    /// # Errors
    /// `NotAVolume` when the node has no such volume: a row named it, so the row is wrong.
    pub fn disk(&self, id: VolumeId) -> Result<&E::Disk, StoreError> {
        self.slot(id).map(|slot| &slot.disk)
    }

    fn slot(&self, id: VolumeId) -> Result<&Slot<E>, StoreError> {
        self.slots.iter().find(|slot| slot.id == id).ok_or(StoreError::NotAVolume { volume: id })
    }

    /// Whether a flush of it failed.
    #[must_use]
    pub fn is_failed(&self, id: VolumeId) -> bool {
        self.slot(id).map_or(true, |slot| slot.failed.get())
    }

    /// Writes a buffer. Space in which a write failed is not given out again before a restart.
    ///
    /// # Errors
    /// Of the device.
    pub async fn write(
        &self,
        id: VolumeId,
        offset: u64,
        buf: E::Buf,
        durability: Durability,
    ) -> Result<E::Buf, StoreError> {
        let slot = self.slot(id)?;
        let bytes = buf.len() as u64;
        let (result, buf) = slot.disk.write(offset, buf, durability).await;
        if let Err(error) = &result {
            slot.bad.borrow_mut().push((offset, offset + bytes));
            if is_flush_failure(error) {
                slot.failed.set(true);
            }
        }
        result.map_err(StoreError::io("write to", id))?;
        Ok(buf)
    }

    /// Whether space to be given back may be: no write of this core failed in it. What may not stays taken until
    /// a restart, because the next body would fail there too.
    pub(crate) fn is_sound(&self, extent: &Extent) -> bool {
        let Ok(slot) = self.slot(extent.volume) else { return false };
        let end = extent.offset + u64::from(extent.bytes);
        let is_bad = slot.bad.borrow().iter().any(|&(from, to)| from < end && extent.offset < to);
        if is_bad {
            slot.withheld_bytes.set(slot.withheld_bytes.get() + u64::from(extent.bytes));
        }
        !is_bad
    }

    /// Whether space stays taken because a write in it failed.
    pub(crate) fn is_withheld(&self, id: VolumeId, start: u64, bytes: u64) -> bool {
        let bad =
            |slot: &Slot<E>| slot.bad.borrow().iter().any(|&(from, to)| from < start + bytes && start < to);
        self.slot(id).is_ok_and(bad)
    }

    /// Bytes this core does not give back because a write in them failed, and how many writes did.
    #[must_use]
    pub fn withheld(&self) -> (u64, u64) {
        self.slots.iter().fold((0, 0), |(bytes, writes), slot| {
            (bytes + slot.withheld_bytes.get(), writes + slot.bad.borrow().len() as u64)
        })
    }

    /// Fills a buffer.
    ///
    /// # Errors
    /// Of the device.
    pub async fn read(&self, id: VolumeId, offset: u64, buf: E::Buf) -> Result<E::Buf, StoreError> {
        let (result, buf) = self.disk(id)?.read(offset, buf).await;
        result.map_err(StoreError::io("read from", id))?;
        Ok(buf)
    }

    /// As [`Volumes::flush`], unless the sync policy lets rows run ahead of bodies.
    pub(crate) async fn flush_body(&self, id: VolumeId) -> Result<(), StoreError> {
        if self.flushes { self.flush(id).await } else { Ok(()) }
    }

    /// Makes every write that completed before this call durable. Callers that come while a flush runs
    /// share the next one.
    ///
    /// # Errors
    /// Of the device; the volume counts as failed afterwards.
    pub async fn flush(&self, id: VolumeId) -> Result<(), StoreError> {
        let slot = self.slot(id)?;
        // A flush that begins after this call covers it; one already running may have missed our writes.
        let wanted = slot.begun.get() + 1;
        loop {
            if slot.failed.get() {
                return Err(StoreError::Failed);
            }
            if slot.ended.get() >= wanted {
                return Ok(());
            }
            if slot.running.get() {
                slot.changed.notified().await;
                continue;
            }
            slot.running.set(true);
            slot.begun.set(slot.begun.get() + 1);
            let number = slot.begun.get();
            let guard = Running(slot);
            let result = slot.disk.flush().await;
            match &result {
                Ok(()) => slot.ended.set(number),
                Err(_) => slot.failed.set(true),
            }
            drop(guard);
            result.map_err(StoreError::io("flush", id))?;
        }
    }
}

/// Ends a flush, also when its future is dropped half-way: the next waiter takes over.
struct Running<'s, E: Env>(&'s Slot<E>);

impl<E: Env> Drop for Running<'_, E> {
    fn drop(&mut self) {
        self.0.running.set(false);
        self.0.changed.notify_all();
    }
}
