//! The stream of what happened: one event per committed change, emitted after the commit is durable.
//! Notifications, replication and the change feed will read it; today's sinks are counters, none and a collector.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use stria_base::{BucketId, Hlc};

/// A committed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageEvent {
    /// An object became visible.
    ObjectCreated {
        /// Its bucket.
        bucket: BucketId,
        /// Its key.
        key: Box<[u8]>,
        /// Its version; `None` is the null version.
        version_id: Option<u128>,
        /// When it was sequenced.
        hlc: Hlc,
        /// Its size in bytes.
        size: u64,
        /// Its ETag as clients see it, without quotes.
        etag: String,
    },
    /// An object went away.
    ObjectDeleted {
        /// Its bucket.
        bucket: BucketId,
        /// Its key.
        key: Box<[u8]>,
        /// The version that went away, or that the delete marker got; `None` is the null version.
        version_id: Option<u128>,
        /// When it was sequenced.
        hlc: Hlc,
        /// Whether a delete marker was put instead of removing data.
        is_delete_marker: bool,
    },
    /// An object's tags changed.
    ObjectTagged {
        /// Its bucket.
        bucket: BucketId,
        /// Its key.
        key: Box<[u8]>,
        /// Its version; `None` is the null version.
        version_id: Option<u128>,
        /// When it was sequenced.
        hlc: Hlc,
        /// Whether it has none now.
        is_removal: bool,
    },
    /// An object's access control list changed.
    ObjectAclPut {
        /// Its bucket.
        bucket: BucketId,
        /// Its key.
        key: Box<[u8]>,
        /// Its version; `None` is the null version.
        version_id: Option<u128>,
        /// When it was sequenced.
        hlc: Hlc,
    },
    /// A bucket was made.
    BucketCreated {
        /// The bucket.
        bucket: BucketId,
        /// When.
        hlc: Hlc,
    },
    /// A bucket went away.
    BucketDeleted {
        /// The bucket.
        bucket: BucketId,
        /// When.
        hlc: Hlc,
    },
}

/// What kind of change an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum EventKind {
    /// [`StorageEvent::ObjectCreated`].
    ObjectCreated,
    /// [`StorageEvent::ObjectDeleted`].
    ObjectDeleted,
    /// [`StorageEvent::ObjectTagged`].
    ObjectTagged,
    /// [`StorageEvent::ObjectAclPut`].
    ObjectAclPut,
    /// [`StorageEvent::BucketCreated`].
    BucketCreated,
    /// [`StorageEvent::BucketDeleted`].
    BucketDeleted,
}

impl EventKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::ObjectCreated,
        Self::ObjectDeleted,
        Self::ObjectTagged,
        Self::ObjectAclPut,
        Self::BucketCreated,
        Self::BucketDeleted,
    ];

    /// As a metric labels it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ObjectCreated => "object_created",
            Self::ObjectDeleted => "object_deleted",
            Self::ObjectTagged => "object_tagged",
            Self::ObjectAclPut => "object_acl_put",
            Self::BucketCreated => "bucket_created",
            Self::BucketDeleted => "bucket_deleted",
        }
    }
}

/// Where a core's events go. Called on that core, after durability, in commit order per PG; it must not block.
pub trait EventSink {
    /// Takes one event.
    fn emit(&self, event: StorageEvent);
    /// Takes note that there was one, whether or not it is built.
    fn note(&self, _kind: EventKind) {}
    /// Whether anyone listens; when not, events are not even built.
    fn wants_events(&self) -> bool {
        true
    }
}

/// Nobody listens.
pub struct NoSink;

impl EventSink for NoSink {
    fn emit(&self, _event: StorageEvent) {}
    fn wants_events(&self) -> bool {
        false
    }
}

/// Counts events by their kind and keeps nothing: what a server has while nobody subscribes. Clones count together.
#[derive(Clone, Default)]
pub struct CountingSink(Rc<[Cell<u64>; EventKind::ALL.len()]>);

impl CountingSink {
    /// Events so far, in the order of [`EventKind::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; EventKind::ALL.len()] {
        std::array::from_fn(|kind| self.0[kind].get())
    }
}

impl EventSink for CountingSink {
    fn emit(&self, _event: StorageEvent) {}
    fn note(&self, kind: EventKind) {
        let count = &self.0[kind as usize];
        count.set(count.get() + 1);
    }
    fn wants_events(&self) -> bool {
        false
    }
}

/// Keeps all events, for tests and the simulator.
#[derive(Clone, Default)]
pub struct CollectingSink(Rc<RefCell<Vec<StorageEvent>>>);

impl CollectingSink {
    /// Takes what was collected so far.
    #[must_use]
    pub fn take(&self) -> Vec<StorageEvent> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

impl EventSink for CollectingSink {
    fn emit(&self, event: StorageEvent) {
        self.0.borrow_mut().push(event);
    }
}
