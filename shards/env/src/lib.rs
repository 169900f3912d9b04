//! The seam: everything a core may not decide itself.
//!
//! One type parameter `E: Env` carries the clock, randomness, task spawning, aligned buffers and the
//! disks. The real adapter sits on `stria-runtime`; the simulator implements the same traits with a
//! fake clock and fault-injecting disks, so the engine that is simulated is the engine that runs.
//!
//! Invariant: code below `src/` gets time, randomness, I/O and concurrency only from here.
//! Deliberately absent: sockets of clients (they never reach the engine), threads, files by name.

pub mod disk;
pub mod sync;

use std::future::Future;

pub use disk::{Disk, Durability, IoBuf};
use stria_base::CoreId;

/// One core's view of the world. Cheap to clone; lives on one core and never leaves it.
pub trait Env: Clone + 'static {
    /// Aligned I/O memory of this core.
    type Buf: IoBuf;
    /// A volume as this core sees it, through its own queue.
    type Disk: Disk<Buf = Self::Buf>;

    /// The core this is.
    fn core(&self) -> CoreId;
    /// Nanoseconds since an arbitrary start; never goes back.
    fn mono_ns(&self) -> u64;
    /// Milliseconds since 1970; may jump.
    fn wall_ms(&self) -> u64;
    /// 64 random bits, unpredictable to clients (upload ids and version ids come from here).
    fn random(&self) -> u64;
    /// Starts a task on this core.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// Completes after at least `ns` nanoseconds.
    fn sleep(&self, ns: u64) -> impl Future<Output = ()> + 'static;
    /// An aligned buffer with room for `bytes`, its length set to `bytes`, its contents unspecified but
    /// initialised. `None` when this core's share of the memory budget is in use: the caller answers
    /// 503 SlowDown or waits for one of its own buffers to return; it never allocates elsewhere.
    fn buf(&self, bytes: usize) -> Option<Self::Buf>;
}
