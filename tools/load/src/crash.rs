//! Kills a server under load again and again, and audits what it had acknowledged.
//!
//! Invariant: exit 0 only when every acknowledged operation was found after every kill, byte for byte.
//! Judges from outside: nothing of the server is linked in.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    ledger::Ledger,
    options::Options,
    random::Random,
    server::{Banner, Server, Setup},
    worker::{BUCKET, Findings, Worker, audit_list},
};

/// Connections under load.
const WORKERS: u64 = 6;
/// Load between two kills, milliseconds.
const LOAD_MS: std::ops::Range<u64> = 30..1_500;
/// Kills before a fresh store with other options is begun: bounds the space a run takes.
const KILLS_PER_STORE: u64 = 25;

/// What a run counted.
#[derive(Default)]
struct Totals {
    kills: u64,
    start_kills: u64,
    stops: u64,
    acknowledged: u64,
    restarts_ms: Vec<u64>,
    log_bytes: f64,
    replay_ms: f64,
    findings: Findings,
}

/// `crash [--kills N] [--binary PATH] [--seed S] [--data DIR]`
///
/// # Errors
/// When the run itself cannot go on.
pub fn run(options: &Options) -> io::Result<bool> {
    let seed = options.seed;
    let folder = options.data.join(format!("crash-{seed}"));
    println!("crash: seed {seed}, {} kills, {}", options.kills, options.binary.display());
    let mut totals = Totals::default();
    let mut random = Random::new(seed);
    let begun = Instant::now();
    let mut store = 0;
    while totals.kills < options.kills && totals.findings.are_none() {
        let kills = KILLS_PER_STORE.min(options.kills - totals.kills);
        let home = folder.join(format!("store-{store}"));
        std::fs::create_dir_all(&home)?;
        if let Err(error) = one_store(options, &home, kills, &mut random, &mut totals) {
            totals.findings.wrong.push(format!("{error}"));
        }
        if totals.findings.are_none() {
            std::fs::remove_dir_all(&home)?;
        }
        store += 1;
    }
    report(&totals, begun.elapsed());
    let good = totals.findings.are_none();
    if good {
        std::fs::remove_dir_all(&folder)?;
    } else {
        println!("KEPT  {} (ledgers, store, server log)", folder.display());
        println!("again cargo xtask crash --kills {} --seed {seed}", options.kills);
    }
    Ok(good)
}

fn report(totals: &Totals, took: Duration) {
    let mut restarts = totals.restarts_ms.clone();
    restarts.sort_unstable();
    let at = |part: usize| restarts.get((restarts.len() * part / 100).min(restarts.len().saturating_sub(1)));
    let (p50, p99) = (at(50).unwrap_or(&0), at(99).unwrap_or(&0));
    println!("kills         {} under load, {} more during start", totals.kills, totals.start_kills);
    println!("stops         {} in order", totals.stops);
    println!("acknowledged  {} operations", totals.acknowledged);
    println!("restart       p50 {p50} ms, p99 {p99} ms, start of the process to serving");
    let (mib, seconds) = (totals.log_bytes / 1048576.0, totals.replay_ms / 1000.0);
    println!("replay        {mib:.0} MiB in {seconds:.2} s: {:.0} MiB/s", mib / seconds.max(0.001));
    println!("slow downs    {}", totals.findings.slow_downs);
    println!("lost          {}", totals.findings.lost);
    println!("torn          {}", totals.findings.torn);
    println!("wrong         {}", totals.findings.wrong.len());
    for wrong in totals.findings.wrong.iter().take(20) {
        println!("  {wrong}");
    }
    println!("took          {:.0} s", took.as_secs_f64());
}

/// The life of one store: options, kills, audits.
fn one_store(
    options: &Options,
    home: &Path,
    kills: u64,
    random: &mut Random,
    totals: &mut Totals,
) -> io::Result<()> {
    let mut setup = Setup::new(&options.binary, &home.join("data"))?;
    let pgs = ["8", "64", "256"][random.below(3) as usize];
    // None of the policies may lose anything to a kill: the kernel has what was written.
    let sync = ["always", "always", "always", "none", "periodic"][random.below(5) as usize];
    let backend = ["auto", "auto", "auto", "epoll"][random.below(4) as usize];
    setup.flags = ["--pg-count", pgs, "--sync", sync, "--io-backend", backend].map(str::to_owned).to_vec();
    let log: PathBuf = home.join("server.log");
    println!("store with {pgs} placement groups, sync {sync}, I/O {backend}");
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let ledger = Ledger::create(&home.join(format!("ledger-{number}")))?;
        workers.push(Worker::new(number, random.next(), ledger));
    }
    let (mut server, _) = setup.start(2, &log)?;
    let made = Client::new(setup.listen).request("PUT", &format!("/{BUCKET}"), b"")?;
    if !made.is_success() {
        return Err(io::Error::other(format!("the bucket was not made: {}", made.status)));
    }
    for _ in 0..kills {
        let stop_in_order = random.below(8) == 0;
        let load_ms = LOAD_MS.start + random.below(LOAD_MS.end - LOAD_MS.start);
        load_and_end(&mut workers, &setup, server, load_ms, stop_in_order, totals)?;
        let (started, banner) = restart(&setup, &log, random, totals)?;
        server = started;
        totals.findings.wrong.extend(banner.warnings);
        audit(&mut workers, &setup, 1 + random.below(1000), totals)?;
        if !totals.findings.are_none() {
            break;
        }
    }
    totals.acknowledged += workers.iter().map(Worker::acknowledged).sum::<u64>();
    server.kill()
}

/// Loads from all connections until the server is ended under them.
fn load_and_end(
    workers: &mut [Worker],
    setup: &Setup,
    server: Server,
    load_ms: u64,
    stop_in_order: bool,
    totals: &mut Totals,
) -> io::Result<()> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = |worker| {
            let stop = &stop;
            scope.spawn(move || Worker::load(worker, &mut Client::new(setup.listen), stop))
        };
        let running: Vec<_> = workers.iter_mut().map(load).collect();
        thread::sleep(Duration::from_millis(load_ms));
        // From here on a broken connection is our doing.
        stop.store(true, Ordering::SeqCst);
        let ended = if stop_in_order { server.stop() } else { server.kill() };
        for worker in running {
            totals.findings.add(worker.join().expect("a worker does not panic"));
        }
        ended
    })?;
    if stop_in_order {
        totals.stops += 1;
    } else {
        totals.kills += 1;
    }
    Ok(())
}

/// Starts again, with as many cores as chance has it, now and then killed before it serves.
fn restart(
    setup: &Setup,
    log: &Path,
    random: &mut Random,
    totals: &mut Totals,
) -> io::Result<(Server, Banner)> {
    let cores = [2, 2, 2, 1, 3][random.below(5) as usize];
    if random.below(5) == 0 {
        let server = setup.spawn(cores, log)?;
        thread::sleep(Duration::from_millis(random.below(60)));
        server.kill()?;
        totals.start_kills += 1;
    }
    let (server, banner) = setup.start(cores, log)?;
    totals.restarts_ms.push(banner.ready.as_millis() as u64);
    totals.log_bytes += banner.log_bytes;
    totals.replay_ms += banner.replay_ms;
    Ok((server, banner))
}

/// Every key read back, then the list compared with it.
fn audit(workers: &mut [Worker], setup: &Setup, page: u64, totals: &mut Totals) -> io::Result<()> {
    let findings = thread::scope(|scope| {
        let audit = |worker| scope.spawn(move || Worker::audit(worker, &mut Client::new(setup.listen)));
        let running: Vec<_> = workers.iter_mut().map(audit).collect();
        running.into_iter().map(|audit| audit.join().expect("a worker does not panic")).collect::<Vec<_>>()
    });
    findings.into_iter().for_each(|findings| totals.findings.add(findings));
    let expected: BTreeMap<String, u64> =
        workers.iter().flat_map(Worker::present).map(|(key, size)| (key.to_owned(), size)).collect();
    audit_list(&mut Client::new(setup.listen), page, &expected, &mut totals.findings)
}
