//! One core's life: set-up, the loop, the end.
//!
//! Invariant: after `run` returns, the kernel uses no memory of the core; if an operation cannot be ended
//! in time, its memory is leaked, never freed. The calling thread becomes the core.

use crate::{
    config::{ActiveBackend, Backend, CoreConfig},
    core::{Core, Driver, Inner},
    epoll::Epoll,
    executor::{Entered, Executor, MAIN_TASK},
    ops::OpSlab,
    recv_buf::RecvMemory,
    slab::Slab,
    stats::{Counters, bump},
    sys::{self, Completion},
    timer::Timers,
    uring::{Uring, Wait},
    wake,
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

/// A task poll longer than this is a stall.
const STALL_NS: u64 = 100_000;
/// Time the end waits for operations in flight.
const DRAIN_NS_MAX: u64 = 10_000_000_000;
/// One wait of the end.
const DRAIN_STEP_NS: u64 = 50_000_000;
/// Task polls between two looks at the kernel.
const POLLS_PER_TURN: usize = 256;

/// Runs one core's executor on the calling thread until `main` completes and returns its output.
/// What `main` spawned is dropped then.
///
/// # Errors
/// `InvalidInput` for a configuration out of range; `Unsupported` with the cause when `Backend::Uring` is
/// wanted and missing; otherwise what the kernel said.
///
/// # Panics
/// When this thread runs a core already.
pub fn run<T, F: Future<Output = T>>(config: CoreConfig, main: impl FnOnce(Core) -> F) -> io::Result<T> {
    if !config.is_valid() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if let Some(cpu) = config.pin_cpu {
        pin_thread(cpu)?;
    }
    let running = Running::start(config)?;
    let core = Core(running.inner.clone());
    let future = pin!(main(core));
    running.inner.run_loop(future)
}

fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zeros is a valid set; the index is in range; the call reads the set.
    let rc = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A core between start and end; its drop is the end, also when a task panics.
struct Running {
    inner: Rc<Inner>,
    entered: Option<Entered>,
}

impl Running {
    fn start(config: CoreConfig) -> io::Result<Self> {
        let slot = wake::claim()?;
        let inner = match build(config, slot) {
            Ok(inner) => Rc::new(inner),
            Err(error) => {
                wake::slot(slot).release();
                return Err(error);
            }
        };
        inner.register_slab(config.slab.registered_bytes);
        let entered = Some(inner.executor.enter());
        Ok(Self { inner, entered })
    }
}

fn build(config: CoreConfig, slot: u16) -> io::Result<Inner> {
    let recv_memory = Rc::new(RecvMemory::new(config.recv_buffers.count, config.recv_buffers.bytes)?);
    let slab = Slab::new(config.slab.budget_bytes)?;
    let (driver, active) = open_driver(&config, slot, &recv_memory, slab.chunk_count())?;
    Ok(Inner {
        config,
        slot,
        active,
        executor: Executor::new(slot),
        timers: RefCell::new(Timers::default()),
        ops: RefCell::new(OpSlab::new()),
        driver: RefCell::new(Some(driver)),
        slab: RefCell::new(Some(slab)),
        recv_free: Cell::new(u32::from(recv_memory.count)),
        recv_memory,
        starved: RefCell::new(VecDeque::new()),
        send_vectors: RefCell::new(Vec::new()),
        now_ns: Cell::new(sys::mono_ns()),
        closing: Cell::new(false),
        counters: Counters::default(),
        random: RefCell::default(),
    })
}

fn open_driver(
    config: &CoreConfig,
    slot: u16,
    recv_memory: &Rc<RecvMemory>,
    chunks: u32,
) -> io::Result<(Driver, ActiveBackend)> {
    let event_fd = wake::slot(slot).event_fd();
    if config.backend != Backend::Epoll {
        match Uring::new(config, recv_memory.clone(), chunks, event_fd) {
            Ok(uring) => {
                let active = ActiveBackend::Uring {
                    defer_taskrun: uring.defer_taskrun,
                    coop_taskrun: uring.coop_taskrun,
                };
                return Ok((Driver::Uring(Box::new(uring)), active));
            }
            Err(error) if config.backend == Backend::Uring => {
                let missing = crate::probe::UringMissing::from_error(&error);
                return Err(io::Error::new(io::ErrorKind::Unsupported, missing));
            }
            Err(_) => {}
        }
    }
    let epoll = Epoll::new(slot, event_fd, config.pool_threads, recv_memory.clone())?;
    Ok((Driver::Epoll(epoll), ActiveBackend::Epoll))
}

impl Inner {
    fn run_loop<T>(&self, mut main: Pin<&mut impl Future<Output = T>>) -> io::Result<T> {
        let mut completions = Vec::with_capacity(4096);
        // Under epoll there is nothing in memory to look at: looking would cost a call.
        let spin_us = if self.active == ActiveBackend::Epoll { 0 } else { self.config.spin_us };
        let mut spin = Spin::new(spin_us);
        let main_waker = self.executor.task_ref(MAIN_TASK).waker();
        loop {
            bump(&self.counters.turns);
            for _ in 0..self.executor.ready_count().min(POLLS_PER_TURN) {
                let Some(task) = self.executor.pop_ready() else { break };
                if task == MAIN_TASK {
                    if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                        return Ok(output);
                    }
                } else {
                    self.executor.poll(task);
                }
                self.note_poll();
            }
            self.take_wakes();
            self.fire_timers();
            self.restart_starved();
            let wait = self.decide_wait(&mut spin);
            self.turn(wait, &mut completions)?;
            wake::slot(self.slot).awake();
            if wait != Wait::No {
                bump(&self.counters.sleeps);
                self.now_ns.set(sys::mono_ns());
            }
            for completion in completions.drain(..) {
                self.complete(completion);
            }
        }
    }

    /// One clock read per poll serves both timeouts and the stall detector.
    fn note_poll(&self) {
        bump(&self.counters.polls);
        let now = sys::mono_ns();
        let took = now - self.now_ns.replace(now);
        if took > STALL_NS {
            bump(&self.counters.stalls);
            self.counters.stall_ns_max.set(self.counters.stall_ns_max.get().max(took));
        }
    }

    fn take_wakes(&self) {
        let slot = wake::slot(self.slot);
        if slot.has_woken() {
            bump(&self.counters.wakes_received);
            slot.take_woken(|bit| self.executor.make_ready_bit(bit));
        }
    }

    fn fire_timers(&self) {
        let now = self.now_ns.get();
        loop {
            let Some(waiter) = self.timers.borrow_mut().pop_due(now) else { return };
            waiter.wake();
        }
    }

    fn has_work(&self) -> bool {
        self.executor.ready_count() > 0
            || wake::slot(self.slot).has_woken()
            || (self.recv_free.get() > 0 && !self.starved.borrow().is_empty())
    }

    /// Whether to block in the kernel: looks for work for a while first, then announces the sleep.
    fn decide_wait(&self, spin: &mut Spin) -> Wait {
        if self.has_work() || self.has_completions() {
            self.now_ns.set(sys::mono_ns());
            return Wait::No;
        }
        let started = sys::mono_ns();
        self.now_ns.set(started);
        if spin.budget_ns > 0 && self.spin(started, spin) {
            return Wait::No;
        }
        if !wake::slot(self.slot).try_sleep() {
            return Wait::No;
        }
        // Work that appeared before the announcement sends no event.
        if self.has_completions() {
            return Wait::No;
        }
        let next = self.timers.borrow().next_ns();
        Wait::Block(next.map(|deadline| deadline.saturating_sub(self.now_ns.get())))
    }

    fn spin(&self, started_ns: u64, spin: &mut Spin) -> bool {
        // What is queued must be on its way before there can be anything to find.
        let mut completions = Vec::new();
        if self.turn(Wait::No, &mut completions).is_err() {
            return false;
        }
        let next_timer = self.timers.borrow().next_ns().unwrap_or(u64::MAX);
        let until = started_ns.saturating_add(spin.budget_ns);
        let mut found = !completions.is_empty();
        for completion in completions {
            self.complete(completion);
        }
        while !found {
            let now = sys::mono_ns();
            self.now_ns.set(now);
            found = self.has_work() || self.has_completions() || now >= next_timer;
            if now >= until {
                break;
            }
            std::hint::spin_loop();
        }
        bump(if found { &self.counters.spins_useful } else { &self.counters.spins_wasted });
        spin.learn(found);
        found
    }
}

/// How long to look for work before sleeping: doubles while it pays, halves while it does not.
struct Spin {
    budget_ns: u64,
    min_ns: u64,
    max_ns: u64,
}

impl Spin {
    fn new(max_us: u32) -> Self {
        let max_ns = u64::from(max_us) * 1_000;
        Self { budget_ns: max_ns, min_ns: max_ns / 16, max_ns }
    }

    fn learn(&mut self, found: bool) {
        let next = if found { self.budget_ns * 2 } else { self.budget_ns / 2 };
        self.budget_ns = next.clamp(self.min_ns, self.max_ns);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let inner = &self.inner;
        inner.executor.clear();
        inner.closing.set(true);
        inner.executor.clear();
        let ids = inner.ops.borrow().endless_ids();
        for id in ids {
            inner.cancel(id);
        }
        let drained = drain(inner);
        self.entered = None;
        if drained {
            let driver = inner.driver.borrow_mut().take();
            drop(driver);
            let slab = inner.slab.borrow_mut().take();
            drop(slab);
        } else {
            std::mem::forget(inner.clone());
        }
        wake::slot(inner.slot).release();
    }
}

/// Waits for the operations in flight: files finish, sockets were cancelled. False when some would not
/// end.
fn drain(inner: &Rc<Inner>) -> bool {
    let deadline = sys::mono_ns() + DRAIN_NS_MAX;
    let mut completions: Vec<Completion> = Vec::new();
    while inner.ops.borrow().any_in_flight() {
        if sys::mono_ns() > deadline
            || inner.turn(Wait::Block(Some(DRAIN_STEP_NS)), &mut completions).is_err()
        {
            return false;
        }
        for completion in completions.drain(..) {
            inner.complete(completion);
        }
    }
    true
}
