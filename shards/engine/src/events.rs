//! The stream of what happened: one event per committed change, emitted after the commit is durable.
//! Notifications, replication and the change feed will read it; today's sinks are none and a collector.

use std::{cell::RefCell, rc::Rc};

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

/// Where a core's events go. Called on that core, after durability, in commit order per PG; it must not block.
pub trait EventSink {
    /// Takes one event.
    fn emit(&self, event: StorageEvent);
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
