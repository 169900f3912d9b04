//! The simulated node: one thread that owns time, order and chance.
//!
//! Invariant: everything that happens follows from the seed. Ready tasks and completions are chosen by
//! the generator; nothing depends on addresses, hash order or the machine's clock. One world per run,
//! owned by the run's thread.

mod disk;
mod env;
mod executor;
mod record;
mod rng;

#[cfg(test)]
mod tests;

pub use disk::{Faults, Injected, PAGE_BYTES, Page, SECTOR_BYTES, SimDisk};
pub use env::{SimBuf, SimEnv};
pub use executor::World;
pub use record::{DiskImage, Loose, Recorder, Snapshot};
pub use rng::Rng;
