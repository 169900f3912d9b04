//! A server on a disk that fails under it: what a client is told, what goes on, and that nothing acknowledged is lost.
//!
//! Invariant: passes only when every scenario ended as docs/reliability.md says and every acknowledged operation was
//! there after a restart on a sound disk; without FUSE it says that it was skipped, and why. One thread drives.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    client::Client,
    fault_disk::{Fault, FaultDisk, On, Rule},
    ledger::Ledger,
    options::Options,
    random::Random,
    server::{Metrics, Server, Setup},
    worker::{BUCKET, Findings, Worker, audit_list},
};

const WORKERS: u64 = 6;
const LOAD_MS: u64 = 500;
const EIO: Fault = Fault::Error(libc::EIO);

/// What is broken, and what must come of it.
struct Scenario {
    name: &'static str,
    /// Made when the load has run for a while: the last write to volume 1 is known then.
    rules: fn(&FaultDisk) -> Vec<Rule>,
    /// Whether writes may be answered with 503 while it lasts.
    refuses: bool,
    /// Whether connections may break in the middle of a body.
    breaks: bool,
    /// Whether writes succeed again as soon as the fault is gone, without a restart.
    recovers: bool,
    /// Whether the volumes are to be filled until they must grow.
    fills: bool,
    /// Backend of the server's I/O.
    backend: &'static str,
    /// A figure of /metrics that must be above zero while it lasts.
    shows: Option<&'static str>,
}

const fn scenario(name: &'static str, rules: fn(&FaultDisk) -> Vec<Rule>) -> Scenario {
    Scenario {
        name,
        rules,
        refuses: false,
        breaks: false,
        recovers: true,
        fills: false,
        backend: "auto",
        shows: None,
    }
}

fn one(rule: Rule) -> Vec<Rule> {
    vec![rule]
}

/// The 4 MiB around the last write of volume 1: the end of its log, mostly.
fn at_the_end(disk: &FaultDisk, on: On, fault: Fault) -> Rule {
    let at = disk.last_write(1);
    Rule { file: Some(1), range: (at.saturating_sub(2 << 20), at + (2 << 20)), ..Rule::new(on, fault) }
}

const SCENARIOS: &[Scenario] = &[
    // With io_uring the kernel completes short writes by itself, and over FUSE (seen with 6.18) does so at the offset
    // where the write began.
    Scenario {
        backend: "epoll",
        ..scenario("short reads and writes", |_| {
            vec![Rule::new(On::Write, Fault::Short), Rule::new(On::Read, Fault::Short)]
        })
    },
    scenario("every call takes 30 ms", |_| one(Rule::new(On::Any, Fault::Slow(Duration::from_millis(30))))),
    Scenario {
        refuses: true,
        shows: Some("stria_write_errors_total"),
        ..scenario("writes fail at the end of one log", |disk| one(at_the_end(disk, On::Write, EIO)))
    },
    Scenario {
        refuses: true,
        ..scenario("one write fails, anywhere", |_| one(Rule { times: 1, ..Rule::new(On::Write, EIO) }))
    },
    Scenario {
        refuses: true,
        recovers: false,
        ..scenario("one flush fails", |_| one(Rule { file: Some(1), times: 1, ..Rule::new(On::Flush, EIO) }))
    },
    Scenario {
        refuses: true,
        fills: true,
        ..scenario("no space to grow", |_| one(Rule::new(On::Grow, Fault::Error(libc::ENOSPC))))
    },
    Scenario {
        refuses: true,
        breaks: true,
        ..scenario("reads fail now and then", |_| {
            one(Rule { range: (4 << 20, u64::MAX), times: 40, ..Rule::new(On::Read, EIO) })
        })
    },
    Scenario {
        refuses: true,
        breaks: true,
        recovers: false,
        shows: Some("stria_log_failed"),
        ..scenario("one of two disks is gone", |_| {
            one(Rule { file: Some(1), ..Rule::new(On::Any, Fault::Error(libc::ENODEV)) })
        })
    },
];

/// `fault-disk`: true when everything held.
///
/// # Errors
/// When the server cannot be run, or a promise was broken: the message says which.
pub fn run(options: &Options) -> io::Result<bool> {
    let mut random = Random::new(options.seed);
    println!("faults: seed {}, {}", options.seed, options.binary.display());
    for scenario in SCENARIOS {
        // How durable writes are made decides what an error of them means.
        for method in ["fdatasync", "dsync"] {
            let home = options.data.join(format!("faults-{}", options.seed));
            let _ = std::fs::remove_dir_all(&home);
            for folder in ["below", "data/volumes"] {
                std::fs::create_dir_all(home.join(folder))?;
            }
            let disk = match FaultDisk::mount(&home.join("below"), &home.join("data/volumes")) {
                Ok(disk) => disk,
                Err(why) => {
                    println!("faults: SKIPPED, this machine mounts no FUSE file system ({why})");
                    return Ok(true);
                }
            };
            let told = one_scenario(options, &home, &disk, scenario, method, &mut random);
            match told {
                Ok(told) => println!("faults: {}, {method}: {told}", scenario.name),
                Err(error) => {
                    println!("KEPT  {} (ledgers, volumes, server log)", home.display());
                    return Err(io::Error::other(format!("{}, {method}: {error}", scenario.name)));
                }
            }
            drop(disk);
            std::fs::remove_dir_all(&home)?;
        }
    }
    Ok(true)
}

/// Load on a sound disk, on the broken one, on the mended one; then a restart and the audit.
fn one_scenario(
    options: &Options,
    home: &Path,
    disk: &FaultDisk,
    scenario: &Scenario,
    method: &str,
    random: &mut Random,
) -> io::Result<String> {
    // The folder of volumes is there before the store is: only a lock says that it is ours.
    std::fs::write(home.join("data/lock"), "")?;
    let mut setup = Setup::new(&options.binary, &home.join("data"))?;
    setup.flags =
        ["--memory", "256M", "--pg-count", "16", "--flush-method", method, "--io-backend", scenario.backend]
            .map(str::to_owned)
            .to_vec();
    let log = home.join("server.log");
    let (server, _) = setup.start(2, &log)?;
    let made = Client::new(setup.listen).request("PUT", &format!("/{BUCKET}"), b"")?;
    demand(made.is_success(), || format!("the bucket was not made: {}", made.status))?;
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let ledger = Ledger::create(&home.join(format!("ledger-{number}")))?;
        let mut worker = Worker::new(number, random.next(), ledger);
        worker.failures_leave_open = true;
        workers.push(worker);
    }
    let sound = load(&mut workers, &setup, false);
    demand(sound.are_none() && sound.slow_downs == 0, || format!("on a sound disk: {sound:?}"))?;
    put_large(&setup)?;
    disk.set(&(scenario.rules)(disk));
    if scenario.breaks {
        get_large(&setup)?;
    }
    let broken = load(&mut workers, &setup, scenario.breaks);
    if scenario.fills {
        fill(&setup)?;
    }
    let struck = disk.struck();
    demand(struck > 0, || "nothing was struck".to_owned())?;
    demand(broken.are_none(), || format!("on the broken disk: {broken:?}"))?;
    demand(scenario.refuses || broken.slow_downs == 0, || format!("{} were refused", broken.slow_downs))?;
    if let Some(figure) = scenario.shows {
        let shown = Metrics::read(&setup)?.sum(figure);
        demand(shown > 0.0, || format!("{figure} is {shown}"))?;
    }
    disk.set(&[]);
    let after = load(&mut workers, &setup, false);
    demand(after.are_none(), || format!("on the mended disk: {after:?}"))?;
    demand(!scenario.recovers || after.slow_downs == 0, || {
        format!("{} were refused on the mended disk", after.slow_downs)
    })?;
    end(server, random)?;
    let (server, banner) = setup.start(2, &log)?;
    demand(banner.warnings.is_empty(), || format!("after the restart: {:?}", banner.warnings))?;
    audit(&mut workers, &setup)?;
    server.stop()?;
    let acknowledged: u64 = workers.iter().map(Worker::acknowledged).sum();
    Ok(format!("struck {struck} times, {} refused, {acknowledged} acknowledged, 0 lost", broken.slow_downs))
}

/// Objects of 4 MiB into a bucket of their own, until one is refused.
fn fill(setup: &Setup) -> io::Result<()> {
    let (mut client, body) = (Client::new(setup.listen), vec![7; 4 << 20]);
    for nth in 0..200 {
        let response = client.request("PUT", &format!("/filled/{nth}"), &body)?;
        if !response.is_success() {
            let text = String::from_utf8_lossy(&response.body).into_owned();
            demand(response.status == 503 && text.contains("No space is left"), || text.clone())?;
            // What is there can be read, and deleted, and makes room.
            let read = client.request("GET", "/filled/0", b"")?;
            demand(read.body == body, || format!("a GET on the full disk: {}", read.status))?;
            let deleted = client.request("DELETE", "/filled/0", b"")?;
            return demand(deleted.is_success(), || format!("a DELETE on the full disk: {}", deleted.status));
        }
    }
    Err(io::Error::other("800 MiB went onto a disk that cannot grow"))
}

const LARGE: &str = "/filled/large";

fn large_body() -> Vec<u8> {
    vec![9; 4 << 20]
}

/// An object too large for the cache of bodies.
fn put_large(setup: &Setup) -> io::Result<()> {
    let mut client = Client::new(setup.listen);
    client.request("PUT", "/filled", b"")?;
    let put = client.request("PUT", LARGE, &large_body())?;
    demand(put.is_success(), || format!("a large PUT on a sound disk: {}", put.status))
}

/// Whole, refused, or broken off in the middle: never other bytes.
fn get_large(setup: &Setup) -> io::Result<()> {
    match Client::new(setup.listen).request("GET", LARGE, b"") {
        Ok(got) if got.status == 200 => {
            demand(got.body == large_body(), || "other bytes were served".to_owned())
        }
        Ok(got) => demand(got.status == 503, || format!("a GET on the broken disk: {}", got.status)),
        Err(_) => Ok(()),
    }
}

fn end(server: Server, random: &mut Random) -> io::Result<()> {
    if random.below(2) == 0 { server.kill() } else { server.stop() }
}

/// All workers for a while.
fn load(workers: &mut [Worker], setup: &Setup, may_break: bool) -> Findings {
    let stop = AtomicBool::new(false);
    let mut findings = Findings::default();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for worker in workers.iter_mut() {
            let stop = &stop;
            running.push(scope.spawn(move || {
                let mut findings = Findings::default();
                while !stop.load(Ordering::SeqCst) {
                    let mut found = worker.load(&mut Client::new(setup.listen), stop);
                    if may_break {
                        found.wrong.retain(|wrong| !wrong.contains("while the server ran"));
                    }
                    findings.add(found);
                }
                findings
            }));
        }
        thread::sleep(Duration::from_millis(LOAD_MS));
        stop.store(true, Ordering::SeqCst);
        for worker in running {
            findings.add(worker.join().expect("a worker does not panic"));
        }
    });
    findings
}

/// Every key of every worker, and the listing.
fn audit(workers: &mut [Worker], setup: &Setup) -> io::Result<()> {
    let mut findings = Findings::default();
    for worker in workers.iter_mut() {
        findings.add(worker.audit(&mut Client::new(setup.listen)));
    }
    if findings.are_none() {
        let expected: BTreeMap<String, u64> =
            workers.iter().flat_map(Worker::present).map(|(key, size)| (key.to_owned(), size)).collect();
        audit_list(&mut Client::new(setup.listen), 100, &expected, &mut findings)?;
    }
    demand(findings.are_none(), || format!("the audit: {findings:?}"))
}

fn demand(holds: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(what())) }
}
