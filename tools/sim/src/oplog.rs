//! The last operations of the run, for the report of a violation.
//!
//! Invariant: recording costs no formatting and no chance: a run with and without a report is the same.
//! One per thread.

use std::{cell::RefCell, collections::VecDeque};

const KEPT: usize = 60;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// When, nanoseconds of simulated time.
    pub at_ns: u64,
    /// What.
    pub what: &'static str,
    /// Core, PG, key, number: as far as they apply.
    pub about: [u64; 4],
}

thread_local! {
    static LAST: RefCell<VecDeque<Op>> = const { RefCell::new(VecDeque::new()) };
    static RUN: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Records an operation.
pub fn record(at_ns: u64, what: &'static str, about: [u64; 4]) {
    LAST.with_borrow_mut(|last| {
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(Op { at_ns, what, about });
    });
}

/// Adds to what is said of the run.
pub fn describe(more: &str) {
    RUN.with_borrow_mut(|current| {
        current.push('\n');
        current.push_str(more);
    });
}

/// Forgets what was recorded and says which run follows: the command that repeats it.
pub fn begin(run: String) {
    LAST.with_borrow_mut(VecDeque::clear);
    RUN.with_borrow_mut(|current| *current = run);
}

/// The report: how to repeat the run, and its last operations.
#[must_use]
pub fn report() -> String {
    use std::fmt::Write;
    let mut out = String::new();
    LAST.with_borrow(|last| {
        for op in last {
            let [core, pg, key, number] = op.about;
            let _ =
                writeln!(out, "  {:>12} ns  core {core} pg {pg} key {key} #{number}  {}", op.at_ns, op.what);
        }
    });
    RUN.with_borrow(|run| {
        let _ = writeln!(out, "repeat with: {run}");
    });
    out
}
