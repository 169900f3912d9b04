//! The way back of a core's buffers from other threads: a stack that anybody pushes on and the home core takes whole.
//!
//! Invariant: a buffer comes back exactly once: to the home core, or, after it closed, to the count of those out; and
//! exactly one side learns that it is the last. No pop, hence no ABA. Checked by `cargo xtask loom`.

use crate::sync::{AtomicI64, AtomicU32, Ordering};

/// Ends a list.
pub(crate) const NONE: u32 = u32::MAX;
/// Head of the stack once the home core is gone.
const CLOSED: u32 = u32::MAX - 1;

/// Links of all buffers, and the stack of returned ones.
pub(crate) struct Returns {
    /// Per buffer, the next one in whichever list it is in.
    links: Box<[AtomicU32]>,
    head: AtomicU32,
    /// After closing: buffers still out. Negative before the home core has added its count.
    remaining: AtomicI64,
}

impl Returns {
    pub(crate) fn new(buffers: usize) -> Self {
        assert!((buffers as u64) < u64::from(CLOSED));
        Self {
            links: (0..buffers).map(|_| AtomicU32::new(NONE)).collect(),
            head: AtomicU32::new(NONE),
            remaining: AtomicI64::new(0),
        }
    }

    pub(crate) fn buffers(&self) -> usize {
        self.links.len()
    }

    /// The buffer after `id` in its list.
    pub(crate) fn next(&self, id: u32) -> u32 {
        self.links[id as usize].load(Ordering::Relaxed)
    }

    /// Home core, for a buffer it owns.
    pub(crate) fn set_next(&self, id: u32, next: u32) {
        self.links[id as usize].store(next, Ordering::Relaxed);
    }

    /// Any thread: brings `id` back. True when the home core is gone and this was the last: the caller frees it all,
    /// and nobody else may touch anything any more.
    pub(crate) fn give(&self, id: u32) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return self.remaining.fetch_sub(1, Ordering::AcqRel) == 1;
            }
            self.links[id as usize].store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, id, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return false,
                Err(now) => head = now,
            }
        }
    }

    /// Home core: what came back, as the head of a list.
    pub(crate) fn take(&self) -> u32 {
        if self.head.load(Ordering::Relaxed) == NONE {
            return NONE;
        }
        self.head.swap(NONE, Ordering::Acquire)
    }

    /// Home core, once: what came back, as [`Returns::take`]; everything later is counted instead.
    pub(crate) fn close(&self) -> u32 {
        self.head.swap(CLOSED, Ordering::AcqRel)
    }

    /// Home core, once, after [`Returns::close`]: `out` buffers are still out. True when they came back meanwhile, or
    /// there were none: the caller frees it all.
    pub(crate) fn settle(&self, out: i64) -> bool {
        self.remaining.fetch_add(out, Ordering::AcqRel) + out == 0
    }
}
