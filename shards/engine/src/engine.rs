//! One core's engine: its store, its body cache, the buckets being deleted and the parts being read.
//!
//! Invariant: between judging a write and sequencing it there is no await, so two writes of a key are
//! ordered by the order in which this core judged them.

use std::{cell::RefCell, rc::Rc};

use stria_base::{BucketId, FixedMap, FixedSet, PgId};
use stria_env::{Env, sync::Notify};
use stria_store::{Change, Store, StoreError, Volumes};

use crate::{
    cache::BodyCache,
    calls::Pin,
    error::EngineError,
    events::{EventKind, EventSink, StorageEvent},
    keys::{self, UploadId},
    object::PartTable,
    versions::LockedKeys,
};

/// Bounds of one core's engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Memory for cached bodies, bytes.
    pub cache_bytes_max: usize,
    /// Memory for rows, bytes: above it, writes that add rows are refused.
    pub index_bytes_max: usize,
}

/// One core's engine. Cheap to clone; never leaves its core.
pub struct Engine<E: Env>(pub(crate) Rc<Inner<E>>);

impl<E: Env> Clone for Engine<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) struct Inner<E: Env> {
    pub(crate) store: Store<E>,
    pub(crate) volumes: Volumes<E>,
    pub(crate) cache: RefCell<BodyCache>,
    pub(crate) config: EngineConfig,
    sealed: RefCell<FixedSet<BucketId>>,
    in_flight: RefCell<FixedMap<BucketId, u32>>,
    part_writes: RefCell<FixedMap<UploadId, u32>>,
    drained: Notify,
    part_readers: RefCell<FixedMap<UploadId, PartReaders>>,
    pub(crate) locked_keys: RefCell<LockedKeys>,
    pub(crate) key_unlocked: Notify,
    sink: Box<dyn EventSink>,
}

/// Readers of a multipart object, and its part rows when it was deleted meanwhile.
#[derive(Default)]
struct PartReaders {
    count: u32,
    dropped: Option<(PgId, Vec<Change>)>,
}

/// A write between judgement and durability: a bucket is sealed, an upload completed or aborted, only
/// when none is left.
pub(crate) struct InFlight<'a, E: Env> {
    engine: &'a Engine<E>,
    bucket: BucketId,
    part_of: Option<UploadId>,
}

impl<E: Env> Engine<E> {
    /// Over an opened store. Rows an interrupted deletion left behind are the caller's to sweep with
    /// [`Engine::sweep`] before traffic.
    #[must_use]
    pub fn new(store: Store<E>, volumes: Volumes<E>, config: EngineConfig, sink: Box<dyn EventSink>) -> Self {
        Self(Rc::new(Inner {
            store,
            volumes,
            cache: RefCell::new(BodyCache::new(config.cache_bytes_max)),
            config,
            sealed: RefCell::default(),
            in_flight: RefCell::default(),
            part_writes: RefCell::default(),
            drained: Notify::default(),
            part_readers: RefCell::default(),
            locked_keys: RefCell::default(),
            key_unlocked: Notify::default(),
            sink,
        }))
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Store<E> {
        &self.0.store
    }

    /// The volumes as this core reads them.
    #[must_use]
    pub fn volumes(&self) -> &Volumes<E> {
        &self.0.volumes
    }

    /// This core's cache of bodies.
    #[must_use]
    pub fn cache(&self) -> &RefCell<BodyCache> {
        &self.0.cache
    }

    /// Announces a write to `bucket`; hold the result until the write is durable or refused.
    pub(crate) fn begin_write(&self, bucket: BucketId) -> Result<InFlight<'_, E>, EngineError> {
        // Also for a deletion that finds nothing: what was in flight when the log failed may be there after a restart.
        if self.0.store.is_failed() {
            return Err(EngineError::Store(StoreError::Failed));
        }
        if self.0.sealed.borrow().contains(&bucket) {
            return Err(EngineError::NoSuchBucket);
        }
        *self.0.in_flight.borrow_mut().entry(bucket).or_insert(0) += 1;
        Ok(InFlight { engine: self, bucket, part_of: None })
    }

    /// As [`Engine::begin_write`], for a part of `id`.
    pub(crate) fn begin_part_write(
        &self,
        bucket: BucketId,
        id: UploadId,
    ) -> Result<InFlight<'_, E>, EngineError> {
        let mut in_flight = self.begin_write(bucket)?;
        *self.0.part_writes.borrow_mut().entry(id).or_insert(0) += 1;
        in_flight.part_of = Some(id);
        Ok(in_flight)
    }

    /// Waits until no part of `id` is between judgement and durability, so that the visible part rows
    /// are all there is.
    pub(crate) async fn settle_parts(&self, id: UploadId) {
        loop {
            let drained = self.0.drained.notified();
            if !self.0.part_writes.borrow().contains_key(&id) {
                return;
            }
            drained.await;
        }
    }

    /// Refuses writes that add rows when the rows fill their share of the memory budget.
    pub(crate) fn admit_row(&self) -> Result<(), EngineError> {
        if self.0.store.index_bytes() as usize > self.0.config.index_bytes_max {
            return Err(EngineError::OverBudget);
        }
        Ok(())
    }

    /// Refuses further writes and waits for those in flight.
    pub(crate) async fn seal(&self, bucket: BucketId) {
        self.0.sealed.borrow_mut().insert(bucket);
        loop {
            let drained = self.0.drained.notified();
            if !self.0.in_flight.borrow().contains_key(&bucket) {
                return;
            }
            drained.await;
        }
    }

    pub(crate) fn unseal(&self, bucket: BucketId) {
        self.0.sealed.borrow_mut().remove(&bucket);
    }

    pub(crate) fn pin_parts(&self, id: UploadId) -> Pin {
        self.0.part_readers.borrow_mut().entry(id).or_default().count += 1;
        Pin::Parts(id)
    }

    pub(crate) fn unpin_parts(&self, id: UploadId) {
        let mut readers = self.0.part_readers.borrow_mut();
        let Some(entry) = readers.get_mut(&id) else { return };
        entry.count -= 1;
        if entry.count > 0 {
            return;
        }
        let dropped = readers.remove(&id).and_then(|entry| entry.dropped);
        drop(readers);
        if let Some((pg, changes)) = dropped {
            // If this fails or a crash comes first, the rows are swept at the next start.
            self.0.store.commit_later(pg, changes);
        }
    }

    /// Drops the part rows of an object that was replaced or deleted, durably: now, or, when someone is
    /// reading them, with the last reader. Until then they are garbage that only costs space.
    pub(crate) fn retire_parts(&self, pg: PgId, bucket: BucketId, parts: &PartTable) {
        let changes: Vec<Change> = parts
            .numbers()
            .map(|number| Change::Delete { key: keys::part(bucket, parts.id, number) })
            .collect();
        if let Some(entry) = self.0.part_readers.borrow_mut().get_mut(&parts.id) {
            entry.dropped = Some((pg, changes));
            return;
        }
        self.0.store.commit_later(pg, changes);
    }

    /// A bucket was made; buckets are made elsewhere, and their events come once per node like all others.
    pub fn bucket_created(&self, bucket: BucketId) {
        let hlc = self.0.store.next_hlc();
        self.emit(EventKind::BucketCreated, || StorageEvent::BucketCreated { bucket, hlc });
    }

    /// A bucket went away.
    pub fn bucket_deleted(&self, bucket: BucketId) {
        let hlc = self.0.store.next_hlc();
        self.emit(EventKind::BucketDeleted, || StorageEvent::BucketDeleted { bucket, hlc });
    }

    pub(crate) fn emit(&self, kind: EventKind, event: impl FnOnce() -> StorageEvent) {
        self.0.sink.note(kind);
        if self.0.sink.wants_events() {
            self.0.sink.emit(event());
        }
    }
}

impl<E: Env> Drop for InFlight<'_, E> {
    fn drop(&mut self) {
        let inner = &self.engine.0;
        let mut drained = leave(&mut inner.in_flight.borrow_mut(), self.bucket);
        if let Some(id) = self.part_of {
            drained |= leave(&mut inner.part_writes.borrow_mut(), id);
        }
        if drained {
            inner.drained.notify_all();
        }
    }
}

/// Counts one down; whether that was the last.
fn leave<K: std::hash::Hash + Eq>(counts: &mut FixedMap<K, u32>, key: K) -> bool {
    let left = counts.get_mut(&key).expect("counted when the write began");
    *left -= 1;
    if *left == 0 {
        counts.remove(&key);
        return true;
    }
    false
}
