//! The tasks of one core and the queue of those to poll.
//!
//! Invariant: a task is in the ready queue at most once, so the queue is bounded by the number of tasks.
//! No borrow is held while a future is polled or dropped. One core; `wake_local` refuses other threads.

use crate::wake::{TASK_STRIDE, TaskRef};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The task that is the core's `main`; its future lives on the stack of `run`.
pub(crate) const MAIN_TASK: u32 = 0;

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    future: Option<TaskFuture>,
    queued: bool,
    alive: bool,
}

pub(crate) struct Executor {
    slot: u16,
    tasks: RefCell<Vec<Task>>,
    free: RefCell<Vec<u32>>,
    ready: RefCell<VecDeque<u32>>,
    live: Cell<u64>,
    pub(crate) wakes_sent: Cell<u64>,
}

thread_local! {
    /// The executor that runs on this thread, while it runs.
    static CURRENT: Cell<*const Executor> = const { Cell::new(std::ptr::null()) };
}

/// Marks the executor as this thread's until dropped.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(std::ptr::null());
    }
}

fn with_current<R>(use_it: impl FnOnce(&Executor) -> R) -> Option<R> {
    let current = CURRENT.get();
    // SAFETY: non-null only between `enter` and the drop of `Entered`, during which `run` keeps the
    // executor alive and in place; the pointer never leaves this thread.
    (!current.is_null()).then(|| use_it(unsafe { &*current }))
}

/// Queues a task if it belongs to the core that runs on this thread.
pub(crate) fn wake_local(slot: u16, task: u32) -> bool {
    with_current(|executor| {
        let ours = executor.slot == slot;
        if ours {
            executor.make_ready(task);
        }
        ours
    })
    .unwrap_or(false)
}

/// Counts an event sent to a sleeping core, when the sender is a core.
pub(crate) fn count_wake_sent() {
    with_current(|executor| executor.wakes_sent.set(executor.wakes_sent.get() + 1));
}

impl Executor {
    pub(crate) fn new(slot: u16) -> Self {
        let main = Task { future: None, queued: true, alive: true };
        Self {
            slot,
            tasks: RefCell::new(vec![main]),
            free: RefCell::default(),
            ready: RefCell::new(VecDeque::from([MAIN_TASK])),
            live: Cell::new(1),
            wakes_sent: Cell::new(0),
        }
    }

    /// Makes this the thread's executor.
    ///
    /// # Panics
    /// When the thread runs a core already.
    pub(crate) fn enter(&self) -> Entered {
        assert!(CURRENT.get().is_null(), "a thread runs one core at a time");
        CURRENT.set(self);
        Entered
    }

    pub(crate) fn spawn(&self, future: TaskFuture) {
        let mut tasks = self.tasks.borrow_mut();
        let task = Task { future: Some(future), queued: true, alive: true };
        let index = match self.free.borrow_mut().pop() {
            Some(index) => {
                tasks[index as usize] = task;
                index
            }
            None => {
                tasks.push(task);
                (tasks.len() - 1) as u32
            }
        };
        self.live.set(self.live.get() + 1);
        self.ready.borrow_mut().push_back(index);
    }

    pub(crate) fn make_ready(&self, index: u32) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(index as usize)
            && task.alive
            && !task.queued
        {
            task.queued = true;
            self.ready.borrow_mut().push_back(index);
        }
    }

    /// Queues every task that shares the bit.
    pub(crate) fn make_ready_bit(&self, bit: usize) {
        let count = self.tasks.borrow().len();
        for index in (bit..count).step_by(TASK_STRIDE) {
            self.make_ready(index as u32);
        }
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Tasks alive, `main` included.
    pub(crate) fn live(&self) -> u64 {
        self.live.get()
    }

    pub(crate) fn pop_ready(&self) -> Option<u32> {
        let index = self.ready.borrow_mut().pop_front()?;
        self.tasks.borrow_mut()[index as usize].queued = false;
        Some(index)
    }

    pub(crate) fn task_ref(&self, index: u32) -> TaskRef {
        TaskRef::new(self.slot, index)
    }

    /// Polls one task other than `main`.
    pub(crate) fn poll(&self, index: u32) {
        debug_assert_ne!(index, MAIN_TASK);
        let Some(mut future) = self.tasks.borrow_mut()[index as usize].future.take() else { return };
        let waker = self.task_ref(index).waker();
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.tasks.borrow_mut()[index as usize].future = Some(future),
            Poll::Ready(()) => {
                drop(future);
                self.tasks.borrow_mut()[index as usize].alive = false;
                self.free.borrow_mut().push(index);
                self.live.set(self.live.get() - 1);
            }
        }
    }

    /// Drops every task, also those that drops spawn.
    pub(crate) fn clear(&self) {
        loop {
            let next = self.tasks.borrow_mut().iter_mut().find_map(|task| task.future.take());
            let Some(future) = next else { break };
            drop(future);
        }
        self.ready.borrow_mut().clear();
    }
}
