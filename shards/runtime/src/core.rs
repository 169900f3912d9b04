//! The handle of the running core and the state behind it.
//!
//! Invariant: no borrow of a part of the state is held while user code runs (polls, drops, wakers).
//! One core; [`Core`] cannot leave it.

use crate::{
    config::{ActiveBackend, CoreConfig},
    epoll::Epoll,
    executor::Executor,
    ops::{After, OpData, OpSlab, SendVectors},
    random::Random,
    recv_buf::RecvMemory,
    slab::{Slab, SlabBuf},
    stats::{CoreStats, Counters, bump},
    sys::{self, Completion, Sys},
    timer::{TimerKey, Timers},
    uring::{Uring, Wait},
    wake::TaskRef,
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};
use stria_base::CoreId;

/// One of the two ways to do I/O.
pub(crate) enum Driver {
    Uring(Box<Uring>),
    Epoll(Epoll),
}

pub(crate) struct Inner {
    pub(crate) config: CoreConfig,
    pub(crate) slot: u16,
    pub(crate) active: ActiveBackend,
    pub(crate) executor: Executor,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) ops: RefCell<OpSlab>,
    /// `None` once the core has ended: every operation is then refused.
    pub(crate) driver: RefCell<Option<Driver>>,
    pub(crate) slab: RefCell<Option<Slab>>,
    pub(crate) recv_memory: Rc<RecvMemory>,
    pub(crate) recv_free: Cell<u32>,
    pub(crate) starved: RefCell<VecDeque<u64>>,
    #[expect(clippy::vec_box, reason = "the kernel reads a send's vectors by address: they must not move")]
    pub(crate) send_vectors: RefCell<Vec<Box<SendVectors>>>,
    pub(crate) now_ns: Cell<u64>,
    pub(crate) closing: Cell<bool>,
    pub(crate) counters: Counters,
    pub(crate) random: RefCell<Random>,
}

/// Spare vectors kept for the next sends.
const SEND_VECTORS_KEPT: usize = 1024;

impl Inner {
    /// Starts an operation. Refused operations complete at once with an error.
    pub(crate) fn submit(self: &Rc<Self>, sys: &Sys, data: OpData) -> OpHandle {
        bump(&self.counters.operations);
        let id = self.ops.borrow_mut().insert(data);
        self.start(id, sys);
        OpHandle { core: self.clone(), id: Some(id) }
    }

    /// Starts two operations of which the second runs only if the first succeeded in full; otherwise it
    /// ends with ECANCELED. `None` when the back end cannot.
    pub(crate) fn submit_linked(
        self: &Rc<Self>,
        first: (&Sys, OpData),
        second: (&Sys, OpData),
    ) -> Result<(OpHandle, OpHandle), OpData> {
        let mut driver = self.driver.borrow_mut();
        let Some(Driver::Uring(uring)) = driver.as_mut().filter(|_| !self.closing.get()) else {
            return Err(first.1);
        };
        let (first_id, second_id) = {
            let mut ops = self.ops.borrow_mut();
            (ops.insert(first.1), ops.insert(second.1))
        };
        let pushed = uring.push_linked((first_id, first.0), (second_id, second.0));
        drop(driver);
        if let Err(error) = pushed {
            let result = -error.raw_os_error().unwrap_or(libc::EIO);
            self.complete(Completion::new(first_id, result));
            self.complete(Completion::new(second_id, result));
        }
        self.counters.operations.set(self.counters.operations.get() + 2);
        let handle = |id| OpHandle { core: self.clone(), id: Some(id) };
        Ok((handle(first_id), handle(second_id)))
    }

    fn start(&self, id: u64, sys: &Sys) {
        let started = if self.closing.get() {
            Ok(Some(Completion::new(id, -libc::ECANCELED)))
        } else {
            match self.driver.borrow_mut().as_mut() {
                Some(Driver::Uring(uring)) => uring.push(id, sys).map(|()| None),
                Some(Driver::Epoll(epoll)) => epoll.push(id, sys),
                None => Ok(Some(Completion::new(id, -libc::ECANCELED))),
            }
        };
        match started {
            Ok(None) => {}
            Ok(Some(completion)) => self.complete(completion),
            Err(error) => self.complete(Completion::new(id, -error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    /// Applies a completion: wakes the waiter, or drops what an abandoned operation owned.
    pub(crate) fn complete(&self, completion: Completion) {
        bump(&self.counters.completions);
        if completion.buffer.is_some() {
            self.recv_free.set(self.recv_free.get() - 1);
        }
        let after = self.ops.borrow_mut().complete(completion);
        match after {
            After::Starve => {
                bump(&self.counters.recv_starved);
                self.starved.borrow_mut().push_back(completion.user_data);
            }
            After::Throttle(waiter) => {
                self.cancel(completion.user_data);
                waiter.wake();
            }
            After::Stale => bump(&self.counters.completions_stale),
            after => self.settle(after),
        }
    }

    fn settle(&self, after: After) {
        match after {
            After::Wake(waiter) => waiter.wake(),
            After::Discard(data, buffer) => {
                if let Some(index) = buffer {
                    self.provide(index);
                }
                self.reclaim(data);
            }
            After::Nothing | After::Starve | After::Stale | After::Throttle(_) => {}
        }
    }

    /// Drops what an operation owned, keeping send vectors for the next send.
    pub(crate) fn reclaim(&self, data: OpData) {
        if let OpData::SendMsg(fd, parts, vectors) = data {
            let mut kept = self.send_vectors.borrow_mut();
            if kept.len() < SEND_VECTORS_KEPT {
                kept.push(vectors);
            }
            drop(kept);
            drop((fd, parts));
        }
    }

    /// Takes a receive buffer back.
    pub(crate) fn provide(&self, index: u16) {
        self.recv_free.set(self.recv_free.get() + 1);
        match self.driver.borrow_mut().as_mut() {
            Some(Driver::Uring(uring)) => uring.provide(index),
            Some(Driver::Epoll(epoll)) => epoll.provide(index),
            None => {}
        }
    }

    /// Starts receives that waited for a buffer, as many as there are buffers now. One that finds no
    /// bytes parks without taking a buffer, and the next turn tries the next.
    pub(crate) fn restart_starved(&self) {
        for _ in 0..self.recv_free.get() {
            let Some(id) = self.starved.borrow_mut().pop_front() else { return };
            let fd = self.ops.borrow_mut().restart_starved(id);
            if let Some(fd) = fd {
                self.start(id, &Sys::Recv { fd, expect_empty: true });
            }
        }
    }

    /// Asks the kernel to end an operation. Its memory stays until it has.
    pub(crate) fn cancel(&self, id: u64) {
        let socket = self.ops.borrow_mut().socket_of(id);
        let ended = match self.driver.borrow_mut().as_mut() {
            // A full queue that cannot be flushed leaves the operation to end by itself.
            Some(Driver::Uring(uring)) => uring.cancel(id).ok().and(None),
            Some(Driver::Epoll(epoll)) => socket.and_then(|fd| epoll.cancel(id, fd)),
            None => None,
        };
        if let Some(completion) = ended {
            self.complete(completion);
        }
    }

    /// The descriptor is about to be closed.
    pub(crate) fn forget_fd(&self, fd: i32) {
        if let Some(Driver::Epoll(epoll)) = self.driver.borrow_mut().as_mut() {
            epoll.forget(fd);
        }
    }

    /// Whether sockets must not block: epoll tries, the ring waits in the kernel.
    pub(crate) fn sockets_nonblocking(&self) -> bool {
        self.active == ActiveBackend::Epoll
    }

    /// One pass of the back end.
    pub(crate) fn turn(&self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        match self.driver.borrow_mut().as_mut() {
            Some(Driver::Uring(uring)) => uring.turn(wait, out),
            Some(Driver::Epoll(epoll)) => epoll.turn(wait, out),
            None => Ok(()),
        }
    }

    pub(crate) fn has_completions(&self) -> bool {
        match self.driver.borrow_mut().as_mut() {
            Some(Driver::Uring(uring)) => uring.has_completions(),
            Some(Driver::Epoll(epoll)) => epoll.has_completions(),
            None => true,
        }
    }

    /// Makes the first `bytes` of the slab known to the ring, as far as the kernel lets us.
    pub(crate) fn register_slab(&self, bytes: usize) {
        let (slab, mut driver) = (self.slab.borrow(), self.driver.borrow_mut());
        let (Some(slab), Some(Driver::Uring(uring))) = (slab.as_ref(), driver.as_mut()) else { return };
        let wanted = bytes.div_ceil(crate::slab::CHUNK_BYTES) as u32;
        for chunk in 0..wanted.min(slab.chunk_count()) {
            if !uring.register_chunk(chunk, slab.chunk(chunk)) {
                return;
            }
            slab.set_registered(chunk);
            bump(&self.counters.slab_chunks_registered);
        }
    }

    /// The index under which this core's ring knows the buffer's memory.
    pub(crate) fn registered_chunk(&self, buf: &SlabBuf) -> Option<u16> {
        let slab = self.slab.borrow();
        buf.registered_chunk().filter(|_| slab.as_ref().is_some_and(|slab| slab.owns(buf)))
    }

    fn stats(&self) -> CoreStats {
        let (enters, overflows) = match self.driver.borrow().as_ref() {
            Some(Driver::Uring(uring)) => (uring.enters, uring.overflows),
            Some(Driver::Epoll(epoll)) => (epoll.enters, 0),
            None => (0, 0),
        };
        let (used, refused) = self.slab.borrow().as_ref().map_or((0, 0), Slab::usage);
        let chunks = self.slab.borrow().as_ref().map_or(0, Slab::chunk_count);
        CoreStats {
            enters,
            cq_overflows: overflows,
            wakes_sent: self.executor.wakes_sent.get(),
            tasks: self.executor.live(),
            operations_in_flight: self.ops.borrow().in_flight(),
            slab_used_bytes: used,
            slab_refused: refused,
            slab_budget_bytes: u64::from(chunks) * crate::slab::CHUNK_BYTES as u64,
            recv_buffers_free: u64::from(self.recv_free.get()),
            ..self.counters.copy()
        }
    }
}

/// An operation somebody waits for. Dropping it detaches: a socket operation is cancelled, a file
/// operation runs to its end; either way its memory stays until the last completion.
pub(crate) struct OpHandle {
    core: Rc<Inner>,
    id: Option<u64>,
}

impl OpHandle {
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<(Completion, OpData)> {
        let id = self.id.expect("an operation is not polled after its outcome was taken");
        match self.core.ops.borrow_mut().poll(id, waker) {
            Some(outcome) => {
                self.id = None;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }

    /// Asks the kernel to end it soon; the handle still yields the outcome.
    pub(crate) fn cancel(&self) {
        if let Some(id) = self.id {
            self.core.cancel(id);
        }
    }

    /// Whether `poll` would give the outcome.
    pub(crate) fn is_done(&self) -> bool {
        self.id.is_none_or(|id| self.core.ops.borrow_mut().is_done(id))
    }
}

impl Future for OpHandle {
    type Output = (Completion, OpData);
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        OpHandle::poll(&mut self, context.waker())
    }
}

impl Drop for OpHandle {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let (after, cancel) = self.core.ops.borrow_mut().detach(id);
        self.core.settle(after);
        if cancel {
            self.core.cancel(id);
        }
    }
}

/// The running core. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Core(pub(crate) Rc<Inner>);

impl Core {
    /// Which core this is.
    #[must_use]
    pub fn id(&self) -> CoreId {
        self.0.config.core
    }

    /// The back end in use.
    #[must_use]
    pub fn backend(&self) -> ActiveBackend {
        self.0.active
    }

    /// Monotonic nanoseconds as of the last task poll: for timeouts.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.now_ns.get()
    }

    /// Monotonic nanoseconds, read now.
    #[must_use]
    pub fn mono_ns(&self) -> u64 {
        sys::mono_ns()
    }

    /// Starts a task on this core. Dropped unpolled when the core has ended.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if !self.0.closing.get() {
            self.0.executor.spawn(Box::pin(task));
        }
    }

    /// Completes after at least `ns` nanoseconds; dropping it cancels.
    #[must_use]
    pub fn sleep(&self, ns: u64) -> Sleep {
        self.sleep_until(sys::mono_ns().saturating_add(ns))
    }

    /// Completes once the monotonic clock has reached `deadline_ns`.
    #[must_use]
    pub fn sleep_until(&self, deadline_ns: u64) -> Sleep {
        Sleep { core: self.0.clone(), deadline_ns, key: None }
    }

    /// Lets the other ready tasks run first.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Runs `future` for at most `ns` nanoseconds, then drops it.
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over first.
    pub async fn timeout<F: Future>(&self, ns: u64, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut sleep = self.sleep_until(self.now_ns().saturating_add(ns));
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
        })
        .await
    }

    /// An aligned buffer with room for `bytes` (`..= 4 MiB`), its length set to `bytes`, its contents
    /// unspecified. `None` at the budget, or when no class is large enough.
    #[must_use]
    pub fn buf(&self, bytes: usize) -> Option<SlabBuf> {
        self.0.slab.borrow().as_ref()?.take(bytes)
    }

    /// 64 bits of the kernel's random generator, unpredictable to anybody outside the process.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.random.borrow_mut().next()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> CoreStats {
        self.0.stats()
    }

    /// The task behind `waker`.
    ///
    /// # Panics
    /// When the waker belongs to a combinator with wakers of its own: queues between cores wake tasks.
    pub(crate) fn task_of(waker: &Waker) -> TaskRef {
        TaskRef::of(waker)
            .expect("wait for another core from a task, not inside a combinator with its own waker")
    }
}

/// The time given to [`Core::timeout`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("time is over")
    }
}

impl std::error::Error for Elapsed {}

/// Waits for a point in time. Dropping it cancels.
pub struct Sleep {
    core: Rc<Inner>,
    deadline_ns: u64,
    key: Option<TimerKey>,
}

impl Sleep {
    fn cancel(&mut self) {
        if let Some(key) = self.key.take() {
            let waiter = self.core.timers.borrow_mut().cancel(key);
            drop(waiter);
        }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.core.now_ns.get() >= self.deadline_ns {
            self.cancel();
            return Poll::Ready(());
        }
        let core = self.core.clone();
        let mut timers = core.timers.borrow_mut();
        match self.key {
            Some(key) => timers.set_waker(key, context.waker()),
            None => self.key = Some(timers.insert(self.deadline_ns, context.waker())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}
