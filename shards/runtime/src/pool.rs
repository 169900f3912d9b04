//! The threads that do file operations for the epoll back end.
//!
//! Invariant: at most `QUEUE_MAX` jobs wait; the core holds the rest back. A job's memory belongs to the
//! core's operation slab until its result is read. Dropping the pool waits for its threads. The owner is
//! one core; the threads are its own.

use crate::{
    sys::{self, Sys},
    wake,
};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

/// Jobs that wait for a thread.
const QUEUE_MAX: usize = 1024;

struct Job {
    user_data: u64,
    sys: Sys,
}

// SAFETY: the pointers inside name memory owned by the core's operation slab, which nobody touches until
// the result has been read.
unsafe impl Send for Job {}

#[expect(
    clippy::disallowed_types,
    reason = "the fallback's blocking threads wait here; no core ever blocks on it"
)]
type Guarded<T> = std::sync::Mutex<T>;

struct Shared {
    jobs: Guarded<(VecDeque<Job>, bool)>,
    work: Condvar,
    results_ready: AtomicBool,
}

pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Jobs beyond the queue's bound, in order.
    held: VecDeque<Job>,
    results: mpsc::Receiver<(u64, i32)>,
    threads: Vec<JoinHandle<()>>,
    in_flight: usize,
}

impl Pool {
    pub(crate) fn start(slot: u16, threads: u16) -> io::Result<Self> {
        let (sender, results) = mpsc::channel();
        let shared = Arc::new(Shared {
            jobs: Guarded::new((VecDeque::new(), false)),
            work: Condvar::new(),
            results_ready: AtomicBool::new(false),
        });
        let mut pool = Self { shared, held: VecDeque::new(), results, threads: Vec::new(), in_flight: 0 };
        for _ in 0..threads {
            let (shared, sender) = (pool.shared.clone(), sender.clone());
            let thread = std::thread::Builder::new().name("stria-file".into());
            pool.threads.push(thread.spawn(move || work(slot, &shared, &sender))?);
        }
        Ok(pool)
    }

    pub(crate) fn push(&mut self, user_data: u64, sys: Sys) {
        self.held.push_back(Job { user_data, sys });
        self.in_flight += 1;
        self.feed();
    }

    fn feed(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let mut jobs = self.shared.jobs.lock().expect("a pool thread never panics");
        while jobs.0.len() < QUEUE_MAX
            && let Some(job) = self.held.pop_front()
        {
            jobs.0.push_back(job);
            self.shared.work.notify_one();
        }
    }

    /// Whether results wait to be read.
    pub(crate) fn has_results(&self) -> bool {
        self.shared.results_ready.load(Ordering::Relaxed)
    }

    /// Hands over every finished operation.
    pub(crate) fn take_results(&mut self, mut each: impl FnMut(u64, i32)) {
        if !self.shared.results_ready.swap(false, Ordering::AcqRel) {
            return;
        }
        while let Ok((user_data, result)) = self.results.try_recv() {
            self.in_flight -= 1;
            each(user_data, result);
        }
        self.feed();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.jobs.lock().expect("a pool thread never panics").1 = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().expect("a pool thread never panics");
        }
    }
}

fn work(slot: u16, shared: &Shared, results: &mpsc::Sender<(u64, i32)>) {
    loop {
        let mut jobs = shared.jobs.lock().expect("a pool thread never panics");
        let job = loop {
            match jobs.0.pop_front() {
                Some(job) => break job,
                None if jobs.1 => return,
                None => jobs = shared.work.wait(jobs).expect("a pool thread never panics"),
            }
        };
        drop(jobs);
        // SAFETY: the operation slab keeps the memory for this job alone until the result is read.
        let result = unsafe { sys::run_file(&job.sys) };
        if results.send((job.user_data, result)).is_err() {
            return;
        }
        shared.results_ready.store(true, Ordering::Release);
        wake::slot(slot).ring_bell();
    }
}
