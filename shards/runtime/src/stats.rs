//! Counters of one core.
//!
//! Invariant: plain numbers, written by the core alone and copied out whole; no atomics. One core.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a core has done since it started. Counts, unless the name carries a unit.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CoreStats { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Cell<u64>,)* }

        impl Counters {
            pub(crate) fn copy(&self) -> CoreStats {
                CoreStats { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Turns of the loop.
    turns,
    /// Task polls.
    polls,
    /// Task polls of more than 100 us: the core answered nobody meanwhile.
    stalls,
    /// Longest task poll, nanoseconds.
    stall_ns_max,
    /// Calls of io_uring_enter or epoll_wait.
    enters,
    /// Sleeps: calls that were allowed to block.
    sleeps,
    /// Searches for work before a sleep that found some.
    spins_useful,
    /// Searches for work that found none.
    spins_wasted,
    /// Operations started.
    operations,
    /// Completions reaped.
    completions,
    /// Completions of an operation that is gone. Not 0 is a bug.
    completions_stale,
    /// Times the kernel had no room in the completion queue. Not 0 means the depth is wrong.
    cq_overflows,
    /// Receives that found every receive buffer in use and had to wait.
    recv_starved,
    /// Events sent to other cores or threads that slept.
    wakes_sent,
    /// Turns in which another thread had woken a task here.
    wakes_received,
    /// Tasks alive.
    tasks,
    /// Operations in flight.
    operations_in_flight,
    /// Bytes of the slab handed out.
    slab_used_bytes,
    /// Upper bound of the slab in bytes.
    slab_budget_bytes,
    /// Requests for a buffer that the budget refused.
    slab_refused,
    /// Chunks of 4 MiB registered with the ring.
    slab_chunks_registered,
    /// Receive buffers not in use.
    recv_buffers_free,
}

/// Adds 1.
pub(crate) fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
