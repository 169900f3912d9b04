//! A few seeds at every build, and the proof that a seed is one trace.

use crate::seeds::{Workload, run_many, run_one};

#[test]
fn promises_hold_over_a_few_seeds() {
    for workload in Workload::ALL {
        let sum = run_many(workload, 0..20, 100, 1);
        assert!(sum.acked > 250 && sum.crashes > 20, "the workload does little: {sum:?}");
    }
}

#[test]
fn a_seed_is_one_trace() {
    for workload in Workload::ALL {
        for seed in 1_000..1_020 {
            assert_eq!(run_one(workload, seed, 60), run_one(workload, seed, 60), "seed {seed}");
        }
    }
}
