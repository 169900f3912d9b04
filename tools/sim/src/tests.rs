//! A few seeds at every build, and the proof that a seed is one trace.

use crate::{
    crash::{self, Extent},
    seeds::{Workload, run_many, run_one},
};

#[test]
fn promises_hold_over_a_few_seeds() {
    for workload in Workload::ALL {
        let sum = run_many(workload, 0..20, 100, 1);
        assert!(sum.acked > 250 && sum.crashes > 20, "the workload does little: {sum:?}");
    }
}

/// A start after a cut in the second half of writing a superblock began with the copies that agreed: a cut in
/// that start left no two alike, and the volume was refused.
#[test]
fn what_cuts_leave_of_single_operations_comes_up_again() {
    let tally = crash::run(Extent { length_max: 1, tears: 1, every: 1, jobs: 1 });
    assert!(tally.judged > 300, "few states: {tally:?}");
}

#[test]
fn a_seed_is_one_trace() {
    for workload in Workload::ALL {
        for seed in 1_000..1_020 {
            assert_eq!(run_one(workload, seed, 60), run_one(workload, seed, 60), "seed {seed}");
        }
    }
}
