//! Bounded queues between cores and ordinary threads: the control plane's way in and its way out.
//!
//! Invariant: bounded, lock-free, every message delivered once; a slot's sequence number says whose turn
//! it is. An [`Inbox`] is read by a task of one core; an [`Outbox`] by one ordinary thread, through a
//! descriptor that becomes readable. Any thread and any core may send.

use crate::{core::Core, wake::WaitSlot};
use std::{
    cell::UnsafeCell,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

/// The queue is full; the message comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct InboxFull<M>(pub M);

/// Pause of a blocking sender between two attempts.
const FULL_PAUSE: Duration = Duration::from_millis(1);

struct Slot<M> {
    /// `position` when free for the push at that position, `position + 1` when it holds its message.
    sequence: AtomicUsize,
    message: UnsafeCell<MaybeUninit<M>>,
}

#[repr(align(128))]
struct Padded(AtomicUsize);

struct Queue<M> {
    tail: Padded,
    /// Moved by the one reader only.
    head: Padded,
    slots: Box<[Slot<M>]>,
}

// SAFETY: messages move between threads, hence `M: Send`; a slot is touched only by the thread whose turn
// its sequence number says it is.
unsafe impl<M: Send> Sync for Queue<M> {}
// SAFETY: owning the queue is owning its messages.
unsafe impl<M: Send> Send for Queue<M> {}

impl<M: Send> Queue<M> {
    fn new(capacity: usize) -> Self {
        let capacity = capacity.max(2).next_power_of_two();
        let slot =
            |n| Slot { sequence: AtomicUsize::new(n), message: UnsafeCell::new(MaybeUninit::uninit()) };
        Self {
            tail: Padded(AtomicUsize::new(0)),
            head: Padded(AtomicUsize::new(0)),
            slots: (0..capacity).map(slot).collect(),
        }
    }

    fn push(&self, message: M) -> Result<(), M> {
        let mut position = self.tail.0.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[position & (self.slots.len() - 1)];
            let turn = slot.sequence.load(Ordering::Acquire).wrapping_sub(position) as isize;
            if turn < 0 {
                return Err(message);
            }
            if turn > 0 {
                position = self.tail.0.load(Ordering::Relaxed);
                continue;
            }
            let next = position.wrapping_add(1);
            match self.tail.0.compare_exchange_weak(position, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // SAFETY: the exchange made this position ours, and the slot is free.
                    unsafe { (*slot.message.get()).write(message) };
                    slot.sequence.store(next, Ordering::Release);
                    return Ok(());
                }
                Err(now) => position = now,
            }
        }
    }

    /// The one reader only.
    fn pop(&self) -> Option<M> {
        let position = self.head.0.load(Ordering::Relaxed);
        let slot = &self.slots[position & (self.slots.len() - 1)];
        if slot.sequence.load(Ordering::Acquire) != position.wrapping_add(1) {
            return None;
        }
        // SAFETY: the sequence says the message is complete, and only this reader takes it.
        let message = unsafe { (*slot.message.get()).assume_init_read() };
        self.head.0.store(position.wrapping_add(1), Ordering::Relaxed);
        slot.sequence.store(position.wrapping_add(self.slots.len()), Ordering::Release);
        Some(message)
    }
}

impl<M> Drop for Queue<M> {
    fn drop(&mut self) {
        let (mut head, tail) = (*self.head.0.get_mut(), *self.tail.0.get_mut());
        while head != tail {
            let slot = &mut self.slots[head & (self.slots.len() - 1)];
            // SAFETY: nobody else has the queue; positions head..tail hold messages.
            unsafe { slot.message.get_mut().assume_init_drop() };
            head = head.wrapping_add(1);
        }
    }
}

struct InboxShared<M> {
    queue: Queue<M>,
    waiting: WaitSlot,
}

/// The sending end towards a core, for any thread.
pub struct Inbox<M>(Arc<InboxShared<M>>);
/// The core's end of an inbox: one task receives. Made elsewhere, moved to the core.
pub struct InboxReceiver<M>(Arc<InboxShared<M>>, std::marker::PhantomData<std::cell::Cell<()>>);

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A queue of at least `capacity` messages towards one core.
#[must_use]
pub fn inbox<M: Send>(capacity: usize) -> (Inbox<M>, InboxReceiver<M>) {
    let shared = Arc::new(InboxShared { queue: Queue::new(capacity), waiting: WaitSlot::default() });
    (Inbox(shared.clone()), InboxReceiver(shared, std::marker::PhantomData))
}

impl<M: Send> Inbox<M> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// The message, when the queue is full.
    pub fn try_send(&self, message: M) -> Result<(), InboxFull<M>> {
        self.0.queue.push(message).map_err(InboxFull)?;
        self.0.waiting.notify();
        Ok(())
    }

    /// Sends, blocking the thread while the queue is full: never on a core.
    pub fn send_blocking(&self, mut message: M) {
        while let Err(InboxFull(back)) = self.try_send(message) {
            message = back;
            std::thread::park_timeout(FULL_PAUSE);
        }
    }
}

impl<M: Send> InboxReceiver<M> {
    /// The next message.
    pub async fn recv(&self) -> M {
        poll_fn(|context| self.0.waiting.poll(Core::task_of(context.waker()), || self.try_recv())).await
    }

    /// The next message, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<M> {
        self.0.queue.pop()
    }
}

struct OutboxShared<M> {
    queue: Queue<M>,
    event_fd: i32,
    waiting: AtomicBool,
}

impl<M> Drop for OutboxShared<M> {
    fn drop(&mut self) {
        // SAFETY: we own the descriptor.
        unsafe { libc::close(self.event_fd) };
    }
}

/// The sending end towards an ordinary thread, for cores: never blocks.
pub struct Outbox<M>(Arc<OutboxShared<M>>);
/// The thread's end of an outbox.
pub struct OutboxReceiver<M>(Arc<OutboxShared<M>>, std::marker::PhantomData<std::cell::Cell<()>>);

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A queue of at least `capacity` messages from the cores to one thread.
///
/// # Errors
/// When no descriptor can be had.
pub fn outbox<M: Send>(capacity: usize) -> io::Result<(Outbox<M>, OutboxReceiver<M>)> {
    // SAFETY: no pointers.
    let event_fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if event_fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let shared =
        Arc::new(OutboxShared { queue: Queue::new(capacity), event_fd, waiting: AtomicBool::new(false) });
    Ok((Outbox(shared.clone()), OutboxReceiver(shared, std::marker::PhantomData)))
}

impl<M: Send> Outbox<M> {
    /// Sends without waiting. Wakes the thread only if it waits.
    ///
    /// # Errors
    /// The message, when the queue is full.
    pub fn try_send(&self, message: M) -> Result<(), InboxFull<M>> {
        self.0.queue.push(message).map_err(InboxFull)?;
        // Pairs with the fence in `recv_timeout`: it sees the message, or we see that it waits.
        fence(Ordering::SeqCst);
        if self.0.waiting.load(Ordering::Relaxed) && self.0.waiting.swap(false, Ordering::AcqRel) {
            let one = 1u64;
            // SAFETY: eight readable bytes. A full counter means the event is pending anyway.
            unsafe { libc::write(self.0.event_fd, (&raw const one).cast(), 8) };
        }
        Ok(())
    }
}

impl<M: Send> OutboxReceiver<M> {
    /// The next message, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<M> {
        self.0.queue.pop()
    }

    /// The next message, blocking the thread for at most `limit`: never on a core.
    #[must_use]
    pub fn recv_timeout(&self, limit: Duration) -> Option<M> {
        if let Some(message) = self.try_recv() {
            return Some(message);
        }
        if let Some(message) = self.arm() {
            return Some(message);
        }
        let mut poll = libc::pollfd { fd: self.0.event_fd, events: libc::POLLIN, revents: 0 };
        let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one pollfd.
        unsafe { libc::poll(&mut poll, 1, limit_ms) };
        self.clear();
        self.try_recv()
    }

    /// Asks for an event at the next message, for a runtime that watches [`OutboxReceiver::event_fd`];
    /// gives a message that is there already instead.
    #[must_use]
    pub fn arm(&self) -> Option<M> {
        self.0.waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.try_recv()
    }

    /// Takes the event back.
    pub fn clear(&self) {
        self.0.waiting.store(false, Ordering::Relaxed);
        let mut count = 0u64;
        // SAFETY: eight writable bytes; the descriptor does not block.
        unsafe { libc::read(self.0.event_fd, (&raw mut count).cast(), 8) };
    }

    /// Readable after [`OutboxReceiver::arm`] once a message is there. Valid while the outbox is.
    #[must_use]
    pub fn event_fd(&self) -> i32 {
        self.0.event_fd
    }
}
