//! Running many seeds.
//!
//! Invariant: seeds share nothing, so any of them runs alone as it ran among others.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

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

impl Outcome {
    /// Adds what seed `seed` did.
    fn add(&mut self, seed: u64, one: &Self) {
        self.trace ^= one.trace.rotate_left((seed % 64) as u32);
        self.merge(one);
    }

    /// Adds what other seeds did.
    fn merge(&mut self, other: &Self) {
        self.acked += other.acked;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.cleaned += other.cleaned;
        self.checkpoints += other.checkpoints;
        self.from_runs += other.from_runs;
        self.simulated_ns += other.simulated_ns;
    }
}

/// Runs a range of seeds on `jobs` threads; the sum of what they did.
///
/// # Panics
/// At the first broken promise.
#[must_use]
pub fn run_many(workload: Workload, seeds: Range<u64>, ops: u64, jobs: usize) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sum = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            sum.add(seed, &run_one(workload, seed, ops));
        }
    };
    let mut sum = Outcome::default();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        parts
            .extend(others.into_iter().map(|other| other.join().expect("a broken promise ends the process")));
        for part in parts {
            sum.trace ^= part.trace;
            sum.merge(&part);
        }
    });
    sum
}
