//! The simulator's command line: seeds in, the first broken promise out.
//!
//! Invariant: exits 0 only when every seed asked for ran and kept every promise.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool: it drives the product, no data core runs it"
)]

use std::{ops::Range, process::ExitCode, time::Instant};

use stria_sim::{
    crash::{self, Extent},
    faults, oplog,
    seeds::{OPS_DEFAULT, Workload, run_many},
};

const HELP: &str = "\
stria-sim [--seeds A..B] [--ops N] [--workload store|engine] [--jobs N]

Runs seeds A to B-1 (0..100) of each workload (all) with about N operations (200) on N threads (1). At the
first broken promise it prints the last operations and the command that repeats the run, and exits with 1.
";

const CRASH_HELP: &str = "\
stria-sim --crash-states short|ci|full [--jobs N]

Every state a power cut can leave of short sequences of operations, and a start on each.

stria-sim --faults

The table of single faults: every kind in every structure on a volume, and what becomes of it.
";

/// The crash enumerator, in one of two sizes.
fn crash_states(arguments: &[String]) -> ExitCode {
    let size = arguments.first().map(String::as_str);
    let jobs = match arguments.get(1..) {
        Some([flag, jobs]) if flag == "--jobs" => jobs.parse().ok(),
        Some([]) => Some(1),
        _ => None,
    };
    let extent = match (size, jobs) {
        (Some("ci"), Some(jobs)) => Extent { length_max: 3, tears: 3, every: 2, jobs },
        (Some("short"), Some(jobs)) => Extent { length_max: 2, tears: 1, every: 1, jobs },
        (Some("full"), Some(jobs)) => Extent { length_max: 4, tears: 16, every: 1, jobs },
        _ => {
            eprint!("{CRASH_HELP}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let tally = crash::run(extent);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} sequences, {} states reached, {} of them different and judged, {} starts, {seconds:.1} s, {:.0} states/s",
        tally.sequences,
        tally.reached,
        tally.judged,
        tally.recoveries,
        tally.judged as f64 / seconds
    );
    ExitCode::SUCCESS
}

struct Options {
    seeds: Range<u64>,
    ops: u64,
    workloads: Vec<Workload>,
    jobs: usize,
}

fn parse(arguments: &[String]) -> Option<Options> {
    let mut options = Options { seeds: 0..100, ops: OPS_DEFAULT, workloads: Workload::ALL.to_vec(), jobs: 1 };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next()?;
        match name.as_str() {
            "--seeds" => {
                let (from, to) = value.split_once("..")?;
                options.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--jobs" => options.jobs = value.parse().ok().filter(|jobs| (1..=256).contains(jobs))?,
            "--ops" => options.ops = value.parse().ok()?,
            "--workload" => {
                options.workloads = vec![Workload::ALL.into_iter().find(|known| known.name() == value)?];
            }
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A release build aborts on panic: the report has to be made in the hook.
    std::panic::set_hook(Box::new(|info| {
        println!("{}violation: {info}", oplog::report());
        std::process::exit(1);
    }));
    if arguments.first().is_some_and(|first| first == "--crash-states") {
        return crash_states(&arguments[1..]);
    }
    if arguments.first().is_some_and(|first| first == "--faults") {
        print!("{}", faults::table());
        return ExitCode::SUCCESS;
    }
    let Some(options) = parse(&arguments) else {
        eprint!("{HELP}{CRASH_HELP}");
        return ExitCode::from(2);
    };
    for workload in options.workloads {
        let start = Instant::now();
        let count = options.seeds.end.saturating_sub(options.seeds.start);
        let sum = run_many(workload, options.seeds.clone(), options.ops, options.jobs);
        let seconds = start.elapsed().as_secs_f64();
        let simulated = sum.simulated_ns as f64 / 1e9;
        println!(
            "{}: {count} seeds in {seconds:.1} s ({:.1} seeds/s), {simulated:.0} s simulated ({:.0} x), {} writes acknowledged, {} crashes, {} torn tails, {} segments cleaned, {} checkpoints, {} restarts from runs, trace {:016x}",
            workload.name(),
            count as f64 / seconds,
            simulated / seconds,
            sum.acked,
            sum.crashes,
            sum.torn,
            sum.cleaned,
            sum.checkpoints,
            sum.from_runs,
            sum.trace
        );
    }
    ExitCode::SUCCESS
}
