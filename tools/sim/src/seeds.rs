//! Running many seeds.
//!
//! Invariant: seeds share nothing, so any of them runs alone as it ran among others.

use std::ops::Range;

use crate::{
    engine_run, oplog,
    store_run::{self, Outcome},
};

/// Operations of one seed unless asked for more.
pub const OPS_DEFAULT: u64 = 200;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Rows and bodies against the store.
    Store,
    /// Objects, uploads and listings against the engine.
    Engine,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Store, Self::Engine];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Engine => "engine",
        }
    }
}

/// Runs one seed.
///
/// # Panics
/// When a promise is broken; [`oplog::report`] then says how to repeat it.
#[must_use]
pub fn run_one(workload: Workload, seed: u64, ops: u64) -> Outcome {
    oplog::begin(format!(
        "stria-sim --workload {} --seeds {seed}..{} --ops {ops}",
        workload.name(),
        seed + 1
    ));
    match workload {
        Workload::Store => store_run::run(seed, ops),
        Workload::Engine => engine_run::run(seed, ops),
    }
}

/// Runs a range of seeds; the sum of what they did.
///
/// # Panics
/// At the first broken promise.
#[must_use]
pub fn run_many(workload: Workload, seeds: Range<u64>, ops: u64) -> Outcome {
    let mut sum = Outcome::default();
    for seed in seeds {
        let one = run_one(workload, seed, ops);
        sum.trace ^= one.trace.rotate_left((seed % 64) as u32);
        sum.acked += one.acked;
        sum.crashes += one.crashes;
        sum.torn += one.torn;
        sum.cleaned += one.cleaned;
        sum.checkpoints += one.checkpoints;
        sum.from_runs += one.from_runs;
    }
    sum
}
