//! Queues between the cores: one bounded ring per ordered pair, and waking only those who wait.
//!
//! Invariant: a message is delivered exactly once and in the order its sender sent it. A core that has
//! work is never interrupted: it is woken only if its receiving task announced that it waits. Each port
//! lives on its core; ports are made on the start-up thread and moved.

use crate::{
    core::Core,
    spsc::{Consumer, Producer, spsc},
    wake::WaitSlot,
};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll},
};
use stria_base::CoreId;
use stria_env::sync::Notify;

/// What all ports of a mesh share: who waits.
struct Waits {
    cores: usize,
    /// Per core: its receiving task.
    messages: Box<[WaitSlot]>,
    /// Per ordered pair: a task of the sender that waits for room.
    room: Box<[WaitSlot]>,
}

impl Waits {
    fn room(&self, from: usize, to: usize) -> &WaitSlot {
        &self.room[from * self.cores + to]
    }
}

/// One core's end of every queue. Made elsewhere, then moved to its core and used only there.
pub struct MeshPort<M> {
    core: usize,
    waits: Arc<Waits>,
    to: Vec<Producer<M>>,
    from: Vec<Consumer<M>>,
    /// Sender to look at first, so that a busy one cannot starve the others.
    next: Cell<usize>,
    blocked: Vec<Notify>,
    refused: Cell<u64>,
}

/// Queues between `cores` cores (itself included), each of `capacity` messages, rounded up to a power of
/// two. Port `n` belongs to core `n`.
///
/// # Panics
/// When `cores` or `capacity` is 0.
#[must_use]
pub fn mesh<M: Send>(cores: u16, capacity: usize) -> Vec<MeshPort<M>> {
    assert!(cores > 0 && capacity > 0);
    let count = usize::from(cores);
    let slots = |n: usize| (0..n).map(|_| WaitSlot::default()).collect();
    let waits = Arc::new(Waits { cores: count, messages: slots(count), room: slots(count * count) });
    let mut ports: Vec<_> = (0..count)
        .map(|core| MeshPort {
            core,
            waits: waits.clone(),
            to: Vec::with_capacity(count),
            from: Vec::with_capacity(count),
            next: Cell::new(0),
            blocked: (0..count).map(|_| Notify::default()).collect(),
            refused: Cell::new(0),
        })
        .collect();
    for from in 0..count {
        for to in 0..count {
            let (producer, consumer) = spsc(capacity.next_power_of_two());
            ports[from].to.push(producer);
            ports[to].from.push(consumer);
        }
    }
    ports
}

impl<M: Send> MeshPort<M> {
    /// Checks that the port has arrived on its core.
    ///
    /// # Panics
    /// When it is another core's.
    pub fn bind(&self, core: &Core) {
        assert_eq!(usize::from(core.id().0), self.core, "a port belongs to one core");
    }

    /// The core this port belongs to.
    #[must_use]
    pub fn core(&self) -> CoreId {
        CoreId(self.core as u16)
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// The message, when the queue is full.
    pub fn send(&self, to: CoreId, message: M) -> Result<(), M> {
        let target = usize::from(to.0);
        self.to[target].push(message).inspect_err(|_| self.refused.set(self.refused.get() + 1))?;
        self.waits.messages[target].notify();
        Ok(())
    }

    /// Sends, waiting for room. Dropped before it completes, the message is not sent.
    pub async fn send_wait(&self, to: CoreId, message: M) {
        let target = usize::from(to.0);
        let mut message = Some(message);
        let mut pass_on = PassOn { notify: &self.blocked[target], waited: false };
        loop {
            let turn = self.blocked[target].notified();
            let mut turn = std::pin::pin!(turn);
            let sent = poll_fn(|context| {
                if self.try_or_arm(to, &mut message, context) {
                    return Poll::Ready(true);
                }
                pass_on.waited = true;
                turn.as_mut().poll(context).map(|()| false)
            })
            .await;
            if sent {
                return;
            }
        }
    }

    /// Sends, or announces that this task waits for room. True when sent.
    fn try_or_arm(&self, to: CoreId, message: &mut Option<M>, context: &mut Context<'_>) -> bool {
        for armed in [false, true] {
            let Some(unsent) = message.take() else { return true };
            match self.send(to, unsent) {
                Ok(()) => {
                    if armed {
                        self.waits.room(self.core, usize::from(to.0)).disarm();
                    }
                    return true;
                }
                Err(back) => *message = Some(back),
            }
            if !armed {
                let task = Core::task_of(context.waker());
                self.waits.room(self.core, usize::from(to.0)).arm(task);
            }
        }
        false
    }

    /// The next message and its sender. One task of the core receives.
    pub async fn recv(&self) -> (CoreId, M) {
        let wait = &self.waits.messages[self.core];
        poll_fn(|context| wait.poll(Core::task_of(context.waker()), || self.try_recv())).await
    }

    /// The next message, if there is one.
    pub fn try_recv(&self) -> Option<(CoreId, M)> {
        let count = self.from.len();
        for step in 0..count {
            let sender = (self.next.get() + step) % count;
            if let Some(message) = self.from[sender].pop() {
                self.next.set((sender + 1) % count);
                self.waits.room(sender, self.core).notify();
                return Some((CoreId(sender as u16), message));
            }
        }
        None
    }

    /// Messages on their way to `to`; may be too high.
    #[must_use]
    pub fn depth(&self, to: CoreId) -> usize {
        self.to[usize::from(to.0)].len()
    }

    /// Sends refused because a queue was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }
}

/// Only one task per pair is woken when there is room; it wakes the next ones when it is done, also
/// when it gave up.
struct PassOn<'a> {
    notify: &'a Notify,
    waited: bool,
}

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        if self.waited {
            self.notify.notify_all();
        }
    }
}
