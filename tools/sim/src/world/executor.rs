//! Tasks, timers and the clock.
//!
//! Invariant: a step polls one ready task, chosen by the generator; only when none is ready does time
//! advance, to the earliest timer.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
};

use stria_base::hash::hash64;

use super::{env::SimBuf, rng::Rng};

/// Milliseconds since 1970 when a world begins.
const WALL_START_MS: u64 = 1_800_000_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tells the executor that its task is ready. Only ever used on the run's thread; a channel because
/// the waker's interface demands it.
struct TaskWaker {
    index: usize,
    is_queued: AtomicBool,
    ready: mpsc::Sender<usize>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            // The executor outlives its wakers or has been cleared: both are fine.
            let _ = self.ready.send(self.index);
        }
    }
}

struct Slot {
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

/// The world of one run.
pub struct World {
    rng: RefCell<Rng>,
    now_ns: Cell<u64>,
    wall_offset_ms: Cell<u64>,
    tasks: RefCell<Vec<Option<Slot>>>,
    free_slots: RefCell<Vec<usize>>,
    ready: RefCell<Vec<usize>>,
    woken: mpsc::Receiver<usize>,
    wake: mpsc::Sender<usize>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_timer: Cell<u64>,
    trace: Cell<u64>,
    steps: Cell<u64>,
}

impl World {
    /// A world at time 0.
    #[must_use]
    pub fn new(seed: u64) -> Rc<Self> {
        SimBuf::forget_returned();
        let (wake, woken) = mpsc::channel();
        Rc::new(Self {
            rng: RefCell::new(Rng::new(seed)),
            now_ns: Cell::new(0),
            wall_offset_ms: Cell::new(WALL_START_MS),
            tasks: RefCell::default(),
            free_slots: RefCell::default(),
            ready: RefCell::default(),
            woken,
            wake,
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            trace: Cell::new(seed),
            steps: Cell::new(0),
        })
    }

    /// Starts again at time 0 with a wall clock `wall_ms` ahead of the first, as a new world but for what is in
    /// buffers.
    pub fn restart(&self, seed: u64, wall_ms: i64) {
        self.kill_all();
        *self.rng.borrow_mut() = Rng::new(seed);
        self.now_ns.set(0);
        self.wall_offset_ms.set(WALL_START_MS.saturating_add_signed(wall_ms));
    }

    /// The generator.
    pub fn rng<R>(&self, f: impl FnOnce(&mut Rng) -> R) -> R {
        f(&mut self.rng.borrow_mut())
    }

    /// Nanoseconds since the world began.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Wall clock in milliseconds.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.wall_offset_ms.get() + self.now_ns() / 1_000_000
    }

    /// Moves the wall clock, also backwards.
    pub fn shift_wall_ms(&self, by: i64) {
        self.wall_offset_ms.set(self.wall_offset_ms.get().saturating_add_signed(by));
    }

    /// Adds an event to the trace. Equal seeds must give equal traces.
    pub fn note(&self, what: u64, value: u64) {
        self.trace.set(hash64(self.trace.get() ^ what, &value.to_le_bytes()));
    }

    /// Hash of everything noted and scheduled so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Polls so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        let index = self.free_slots.borrow_mut().pop().unwrap_or_else(|| {
            tasks.push(None);
            tasks.len() - 1
        });
        let waker = Arc::new(TaskWaker { index, is_queued: AtomicBool::new(true), ready: self.wake.clone() });
        tasks[index] = Some(Slot { task: Some(Box::pin(task)), waker });
        self.ready.borrow_mut().push(index);
    }

    /// Completes at `at_ns`.
    pub async fn sleep_until(self: &Rc<Self>, at_ns: u64) {
        let number = self.next_timer.get();
        self.next_timer.set(number + 1);
        std::future::poll_fn(|context| {
            if self.now_ns() >= at_ns {
                return Poll::Ready(());
            }
            self.timers.borrow_mut().insert((at_ns, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Runs until `done` says so after a step, or nothing is left to run. Returns whether it was done.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) -> bool {
        while !done() {
            if !self.step() {
                return false;
            }
        }
        true
    }

    /// Runs `future` to its end; everything else runs beside it. `None` when it can never end.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        self.spawn(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        self.run_until(|| result.borrow().is_some());
        result.take()
    }

    /// Ends every task and timer at once, as a power cut does.
    pub fn kill_all(&self) {
        self.timers.borrow_mut().clear();
        // Dropping a task may wake or spawn others: both are dropped too.
        loop {
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        while self.woken.try_recv().is_ok() {}
        self.ready.borrow_mut().clear();
        self.free_slots.borrow_mut().clear();
    }

    fn step(&self) -> bool {
        let mut ready = self.ready.borrow_mut();
        ready.extend(self.woken.try_iter());
        if ready.is_empty() {
            drop(ready);
            return self.advance();
        }
        let choice = self.rng(|rng| rng.below(ready.len() as u64)) as usize;
        let index = ready.swap_remove(choice);
        drop(ready);
        self.poll(index);
        true
    }

    /// Moves the clock to the earliest timer.
    fn advance(&self) -> bool {
        let Some(((at_ns, _), waker)) = self.timers.borrow_mut().pop_first() else { return false };
        self.now_ns.set(at_ns.max(self.now_ns()));
        waker.wake();
        true
    }

    fn poll(&self, index: usize) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            tasks.get_mut(index).and_then(|slot| slot.as_mut()).and_then(|slot| {
                slot.waker.is_queued.store(false, Ordering::Relaxed);
                slot.task.take().map(|task| (task, slot.waker.clone()))
            })
        };
        let Some((mut task, waker)) = taken else { return };
        self.steps.set(self.steps.get() + 1);
        self.note(index as u64, self.now_ns());
        let done = task.as_mut().poll(&mut Context::from_waker(&Waker::from(waker))).is_ready();
        let mut tasks = self.tasks.borrow_mut();
        if done {
            tasks[index] = None;
            self.free_slots.borrow_mut().push(index);
            drop(tasks);
            drop(task);
        } else if let Some(slot) = tasks.get_mut(index).and_then(|slot| slot.as_mut()) {
            slot.task = Some(task);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_all();
    }
}
