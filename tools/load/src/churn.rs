//! Overwrites and deletions on a store that is nearly full, for as long as one likes: whether space comes back, what
//! is written for each byte that came in, and what requests wait for while the store cleans up.
//!
//! Invariant: every request starts when its turn comes by the clock, not when the one before ended, so that waiting
//! counts; passes only when every object reads back as it was written last and all space returns at the end. The
//! times are reported, not judged.

use std::{
    io,
    path::Path,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    devices::Loop,
    options::Options,
    random::Random,
    server::{Metrics, Server, Setup},
};

/// Of each of the two devices.
const DEVICE_BYTES: u64 = 4 << 30;
const WORKERS: u64 = 16;
/// Of the devices, what the bodies take.
const FULL_PERCENT: u64 = 80;
/// Between two looks at the server's counters.
const LOOK: Duration = Duration::from_millis(250);
/// Looks between two lines of the report.
const LOOKS_PER_LINE: u64 = 120;
/// Of the space, what may be in use with no object left: the ends of two logs, and the index.
const EMPTY_IN_USE_MAX: f64 = 0.15;
/// Until space has returned after everything was deleted.
const RETURN_SECONDS_MAX: u64 = 120;

/// What the server's counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    volume_bytes: f64,
    free_bytes: f64,
    cleaned: f64,
    relocated_bytes: f64,
    checkpoint_bytes: f64,
}

impl Counters {
    fn read(setup: &Setup) -> io::Result<Self> {
        let metrics = Metrics::read(setup)?;
        let sum = |name| metrics.sum(name);
        Ok(Self {
            volume_bytes: sum("stria_volume_bytes"),
            free_bytes: sum("stria_volume_free_bytes"),
            cleaned: sum("stria_log_segments_cleaned_total"),
            relocated_bytes: sum("stria_log_relocated_bytes_total"),
            checkpoint_bytes: sum("stria_checkpoint_bytes_total"),
        })
    }

    fn in_use(&self) -> f64 {
        1.0 - self.free_bytes / self.volume_bytes
    }

    fn line(&self) -> String {
        format!(
            "{:.1} % in use, {} segments cleaned, {:.0} MiB rewritten by cleaning, {:.0} MiB of checkpoints",
            100.0 * self.in_use(),
            self.cleaned,
            self.relocated_bytes / 1048576.0,
            self.checkpoint_bytes / 1048576.0
        )
    }

    /// Whether between two looks something was cleaned or a checkpoint written.
    fn is_cleaning_since(&self, before: &Self) -> bool {
        (self.cleaned, self.relocated_bytes, self.checkpoint_bytes)
            != (before.cleaned, before.relocated_bytes, before.checkpoint_bytes)
    }
}

/// What all workers share.
struct Run {
    setup: Setup,
    seed: u64,
    /// Live bytes of one worker.
    share_bytes: u64,
    /// Requests of all workers a second.
    rate: u64,
    /// When the churn began.
    began: OnceLock<Instant>,
    ends: AtomicBool,
    accepted_bytes: AtomicU64,
    refused: AtomicU64,
    /// Latencies since the last look, microseconds: of writes and of reads.
    fresh: Mutex<[Vec<u32>; 2]>,
}

/// The objects of one worker.
struct Worker<'r> {
    run: &'r Run,
    number: u64,
    client: Client,
    random: Random,
    /// Version and size of each object; version 0 is none.
    objects: Vec<(u64, usize)>,
    live_bytes: u64,
}

/// Half small enough for the log, the rest in extents.
fn size(random: &mut Random) -> usize {
    let (from, to) = match random.below(10) {
        0..=4 => (4 << 10, 32 << 10),
        5..=8 => (64 << 10, 256 << 10),
        _ => (512 << 10, 1536 << 10),
    };
    (from + random.below(to - from)) as usize
}

impl<'r> Worker<'r> {
    fn new(run: &'r Run, number: u64) -> Self {
        let (client, random) = (Client::new(run.setup.listen), Random::new(run.seed ^ number));
        Self { run, number, client, random, objects: Vec::new(), live_bytes: 0 }
    }

    fn target(&self, nth: usize) -> String {
        format!("/churn/{:02}/{nth:06}", self.number)
    }

    fn body(&self, nth: usize, version: u64, bytes: usize) -> Vec<u8> {
        Random::new(self.run.seed ^ (self.number << 56) ^ ((nth as u64) << 32) ^ version).bytes(bytes)
    }

    /// Whether it was done; a store that says that it is full is no error.
    fn put(&mut self, nth: usize) -> io::Result<bool> {
        let (version, before) = self.objects[nth];
        let bytes = size(&mut self.random);
        let body = self.body(nth, version + 1, bytes);
        let answer = self.client.request("PUT", &self.target(nth), &body)?;
        if !answer.is_success() {
            return self.refused(answer.status);
        }
        self.run.accepted_bytes.fetch_add(bytes as u64, Relaxed);
        self.live_bytes = self.live_bytes + bytes as u64 - before as u64;
        self.objects[nth] = (version + 1, bytes);
        Ok(true)
    }

    fn delete(&mut self, nth: usize) -> io::Result<bool> {
        let answer = self.client.request("DELETE", &self.target(nth), b"")?;
        if !answer.is_success() {
            return self.refused(answer.status);
        }
        self.live_bytes -= self.objects[nth].1 as u64;
        self.objects[nth].1 = 0;
        Ok(true)
    }

    fn refused(&self, status: u16) -> io::Result<bool> {
        self.run.refused.fetch_add(1, Relaxed);
        if matches!(status, 503 | 507) {
            Ok(false)
        } else {
            Err(io::Error::other(format!("answered {status}")))
        }
    }

    /// Reads an object and compares it.
    fn check(&mut self, nth: usize) -> io::Result<()> {
        let (version, bytes) = self.objects[nth];
        let answer = self.client.request("GET", &self.target(nth), b"")?;
        let is_right = match bytes {
            0 => answer.status == 404,
            _ => answer.is_success() && answer.body == self.body(nth, version, bytes),
        };
        if is_right { Ok(()) } else { Err(io::Error::other(format!("{}: not as written", self.target(nth)))) }
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.live_bytes < self.run.share_bytes {
            self.objects.push((0, 0));
            if !self.put(self.objects.len() - 1)? {
                return Err(io::Error::other("full before it should be"));
            }
        }
        Ok(())
    }

    /// After a restart.
    fn check_all(&mut self) -> io::Result<()> {
        self.client = Client::new(self.run.setup.listen);
        (0..self.objects.len()).try_for_each(|nth| self.check(nth))
    }

    fn delete_all(&mut self) -> io::Result<()> {
        (0..self.objects.len()).try_for_each(|nth| self.delete(nth).map(drop))
    }

    /// A broken promise ends the run at once.
    fn churn_or_end_all(&mut self) -> io::Result<()> {
        let outcome = self.churn();
        if outcome.is_err() {
            self.run.ends.store(true, Relaxed);
        }
        outcome
    }

    /// Requests of this worker's turns until the run ends.
    fn churn(&mut self) -> io::Result<()> {
        let began = *self.run.began.get_or_init(Instant::now);
        let mut turn = self.number;
        while !self.run.ends.load(Relaxed) {
            let due = began + Duration::from_micros(turn * 1_000_000 / self.run.rate);
            sleep(due.saturating_duration_since(Instant::now()));
            let nth = self.random.below(self.objects.len() as u64) as usize;
            let is_read = self.random.below(5) == 0;
            let is_gone = self.objects[nth].1 == 0;
            match (is_read, is_gone) {
                (true, _) => self.check(nth)?,
                // Above its share a worker deletes, so that the store stays as full as it is.
                (false, false) if self.live_bytes > self.run.share_bytes || self.random.below(4) == 0 => {
                    self.delete(nth)?;
                }
                _ => {
                    self.put(nth)?;
                }
            }
            let us = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.run.fresh.lock().expect("no worker panics")[usize::from(is_read)].push(us);
            turn += WORKERS;
        }
        Ok(())
    }
}

/// `churn`: true when every byte read back and all space returned.
///
/// # Errors
/// When the server cannot be run, or a promise was broken.
pub fn run(options: &Options) -> io::Result<bool> {
    let home = options.data.join(format!("churn-{}", options.seed));
    std::fs::create_dir_all(&home)?;
    let outcome = match [0, 1].map(|name| Loop::new(&home, &name.to_string(), DEVICE_BYTES, 4096)) {
        [Ok(one), Ok(other)] => on_devices(options, &home, [&one, &other]),
        [Err(why), _] | [_, Err(why)] => {
            println!("churn: SKIPPED, this machine gives no loop devices ({why})");
            Ok(true)
        }
    };
    std::fs::remove_dir_all(&home)?;
    outcome
}

fn on_devices(options: &Options, home: &Path, devices: [&Loop; 2]) -> io::Result<bool> {
    let mut setup = Setup::new(&options.binary, &home.join("data"))?;
    setup.flags = ["--memory", "1G"].map(str::to_owned).to_vec();
    for device in devices {
        setup.flags.extend(["--device".to_owned(), device.path.display().to_string()]);
    }
    let log = home.join("server.log");
    let (server, _) = setup.start(2, &log)?;
    Client::new(setup.listen).request("PUT", "/churn", b"")?;
    let run = Run {
        setup,
        seed: options.seed,
        share_bytes: 2 * DEVICE_BYTES / 100 * FULL_PERCENT / WORKERS,
        rate: options.rate,
        began: OnceLock::new(),
        ends: AtomicBool::new(false),
        accepted_bytes: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        fresh: Mutex::default(),
    };
    let mut workers: Vec<Worker<'_>> = (0..WORKERS).map(|number| Worker::new(&run, number)).collect();
    let began = Instant::now();
    all(&mut workers, Worker::fill)?;
    println!(
        "churn: seed {}, {} objects, {} MiB of bodies on {} MiB, {:.1} % in use after {:.0} s",
        options.seed,
        workers.iter().map(|worker| worker.objects.len()).sum::<usize>(),
        run.accepted_bytes.load(Relaxed) >> 20,
        (2 * DEVICE_BYTES) >> 20,
        100.0 * Counters::read(&run.setup)?.in_use(),
        began.elapsed().as_secs_f64()
    );
    churn(&run, &mut workers, &server, Duration::from_secs(options.seconds))?;
    server.kill()?;
    let (server, banner) = run.setup.start(2, &log)?;
    let began = Instant::now();
    all(&mut workers, Worker::check_all)?;
    println!(
        "churn: killed, up after {:.1} s, every object is as it was written last ({:.0} s to read)",
        banner.ready.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    all(&mut workers, Worker::delete_all)?;
    let began = Instant::now();
    let in_use = loop {
        let in_use = Counters::read(&run.setup)?.in_use();
        if in_use <= EMPTY_IN_USE_MAX || began.elapsed().as_secs() > RETURN_SECONDS_MAX {
            break in_use;
        }
        sleep(LOOK);
    };
    println!(
        "churn: everything deleted, {:.1} % in use {:.0} s later",
        100.0 * in_use,
        began.elapsed().as_secs_f64()
    );
    server.stop()?;
    Ok(in_use <= EMPTY_IN_USE_MAX)
}

/// Lets the workers go on for a while, and says what it cost.
fn churn(run: &Run, workers: &mut [Worker<'_>], server: &Server, time: Duration) -> io::Result<()> {
    let (accepted, written) = (run.accepted_bytes.load(Relaxed), written_bytes(server)?);
    let began = *run.began.get_or_init(Instant::now);
    // While the store cleaned or wrote a checkpoint, and while it did not: writes, reads.
    let mut latencies: [[Vec<u32>; 2]; 2] = Default::default();
    thread::scope(|scope| {
        let running: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(move || worker.churn_or_end_all())).collect();
        let mut before = Counters::read(&run.setup)?;
        let mut looks = 0;
        while began.elapsed() < time && !run.ends.load(Relaxed) {
            sleep(LOOK);
            let now = Counters::read(&run.setup)?;
            let of = usize::from(now.is_cleaning_since(&before));
            let fresh = std::mem::take(&mut *run.fresh.lock().expect("no worker panics"));
            for (all, fresh) in latencies[of].iter_mut().zip(fresh) {
                all.extend(fresh);
            }
            before = now;
            looks += 1;
            if looks % LOOKS_PER_LINE == 0 {
                println!("churn: {:>4.0} s  {}", began.elapsed().as_secs_f64(), now.line());
            }
        }
        run.ends.store(true, Relaxed);
        running.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    let accepted = run.accepted_bytes.load(Relaxed) - accepted;
    let written = written_bytes(server)? - written;
    println!(
        "churn: {} MiB accepted, {} MiB written: {:.2} bytes for each; {} writes refused for want of room",
        accepted >> 20,
        written >> 20,
        written as f64 / accepted.max(1) as f64,
        run.refused.load(Relaxed)
    );
    for (kind, name) in ["writes", "reads"].into_iter().enumerate() {
        let [calm, cleaning] = [0, 1].map(|of| quantiles(&mut latencies[of][kind]));
        println!(
            "churn: {name}, ms: calm {}, while it cleaned or wrote a checkpoint {}; p99 {:.2} times",
            calm.1,
            cleaning.1,
            cleaning.0 / calm.0.max(f64::MIN_POSITIVE)
        );
    }
    Ok(())
}

/// The p99, and a few as text.
fn quantiles(us: &mut [u32]) -> (f64, String) {
    us.sort_unstable();
    let at = |permille: usize| us.get(us.len() * permille / 1000).map_or(0.0, |us| f64::from(*us) / 1000.0);
    let text = format!("p50 {:.1} p99 {:.1} p99.9 {:.1} of {}", at(500), at(990), at(999), us.len());
    (at(990), text)
}

/// Bytes the server has sent to devices.
fn written_bytes(server: &Server) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", server.pid()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).ok_or_else(|| io::Error::other("no write_bytes in /proc"))
}

fn all<'r>(workers: &mut [Worker<'r>], work: fn(&mut Worker<'r>) -> io::Result<()>) -> io::Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(move || work(worker))).collect();
        running.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}
