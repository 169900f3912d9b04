//! Waiting between tasks of one core: no atomics, no locks, nothing that leaves the core.
//!
//! Wake order is the order of waiting, so that simulated runs repeat.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// Tasks waiting for something to change. The caller re-checks its condition after each wake-up.
#[derive(Default)]
pub struct Notify {
    epoch: Cell<u64>,
    tickets: Cell<u64>,
    /// In the order of their tickets.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

impl Notify {
    /// Wakes every task now waiting.
    pub fn notify_all(&self) {
        self.epoch.set(self.epoch.get() + 1);
        let woken = std::mem::take(&mut *self.waiting.borrow_mut());
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// Completes at the first [`Notify::notify_all`] after this call (the call, not the first poll).
    /// Whoever waits often and is seldom notified keeps it instead of making a new one each time.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, seen: self.epoch.get(), ticket: None }
    }
}

/// A wait for a [`Notify`]. Holds at most one place among those waiting, and gives it back when dropped.
pub struct Notified<'n> {
    notify: &'n Notify,
    seen: u64,
    ticket: Option<u64>,
}

impl Notified<'_> {
    fn is_notified(&self) -> bool {
        self.notify.epoch.get() != self.seen
    }
}

impl Future for Notified<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_notified() {
            return Poll::Ready(());
        }
        let mut waiting = self.notify.waiting.borrow_mut();
        match self.ticket {
            Some(ticket) => {
                let at = waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
                let at = at.expect("a place is given up only by a notification or a drop");
                if !waiting[at].1.will_wake(context.waker()) {
                    waiting[at].1 = context.waker().clone();
                }
            }
            None => {
                let ticket = self.notify.tickets.get();
                self.notify.tickets.set(ticket + 1);
                waiting.push_back((ticket, context.waker().clone()));
                drop(waiting);
                self.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.filter(|_| !self.is_notified()) else { return };
        let mut waiting = self.notify.waiting.borrow_mut();
        if let Ok(at) = waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            waiting.remove(at);
        }
    }
}

struct Shared<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    sender_alive: Cell<bool>,
}

/// The sending half of [`oneshot`].
pub struct Sender<T>(Rc<Shared<T>>);
/// The receiving half of [`oneshot`]: a future of `Some(value)`, or `None` when the sender was dropped.
pub struct Receiver<T>(Rc<Shared<T>>);

/// A channel for exactly one value, within one core.
#[must_use]
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared =
        Rc::new(Shared { value: Cell::new(None), waker: Cell::new(None), sender_alive: Cell::new(true) });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Delivers the value. Without a receiver it is dropped.
    pub fn send(self, value: T) {
        self.0.value.set(Some(value));
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.sender_alive.set(false);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(value) = self.0.value.take() {
            return Poll::Ready(Some(value));
        }
        if !self.0.sender_alive.get() {
            return Poll::Ready(None);
        }
        self.0.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

/// A counted resource with waiting in order of arrival (bytes of a budget, slots of a queue).
#[derive(Default)]
pub struct Semaphore {
    free: Cell<u64>,
    changed: Notify,
}

/// Units held of a [`Semaphore`]; returned on drop.
pub struct Permit {
    of: Rc<Semaphore>,
    units: u64,
}

impl Semaphore {
    /// With `units` free.
    #[must_use]
    pub fn new(units: u64) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(units), changed: Notify::default() })
    }

    /// Takes `units` at once, or `None`.
    #[must_use]
    pub fn try_take(self: &Rc<Self>, units: u64) -> Option<Permit> {
        let left = self.free.get().checked_sub(units)?;
        self.free.set(left);
        Some(Permit { of: self.clone(), units })
    }

    /// Waits until `units` are free.
    pub async fn take(self: &Rc<Self>, units: u64) -> Permit {
        loop {
            let changed = self.changed.notified();
            if let Some(permit) = self.try_take(units) {
                return permit;
            }
            changed.await;
        }
    }

    /// Units free now.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.free.get()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.free.set(self.of.free.get() + self.units);
        self.of.changed.notify_all();
    }
}

/// Which of two futures completed first.
pub enum Either<A, B> {
    /// The first argument.
    First(A),
    /// The second argument.
    Second(B),
}

/// Completes with whichever does first, the first argument when both are ready; the other is dropped.
pub async fn race<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(Either::First(value));
        }
        b.as_mut().poll(context).map(Either::Second)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_dropped_sender_is_seen() {
        let (sender, receiver) = oneshot::<u8>();
        let mut receiver = pin!(receiver);
        assert!(poll_once(receiver.as_mut()).is_pending());
        drop(sender);
        assert_eq!(poll_once(receiver.as_mut()), Poll::Ready(None));
    }

    #[test]
    fn a_notification_between_call_and_poll_is_not_lost() {
        let notify = Notify::default();
        let mut waiting = pin!(notify.notified());
        notify.notify_all();
        assert_eq!(poll_once(waiting.as_mut()), Poll::Ready(()));
    }

    #[test]
    fn waiting_takes_one_place_and_giving_up_none() {
        let notify = Notify::default();
        let mut kept = pin!(notify.notified());
        for _ in 0..100 {
            assert!(poll_once(kept.as_mut()).is_pending());
            assert!(poll_once(pin!(notify.notified())).is_pending());
            assert_eq!(notify.waiting.borrow().len(), 1);
        }
        notify.notify_all();
        assert_eq!(poll_once(kept.as_mut()), Poll::Ready(()));
        assert!(notify.waiting.borrow().is_empty());
    }

    #[test]
    fn a_permit_returns_its_units() {
        let semaphore = Semaphore::new(3);
        let permit = semaphore.try_take(2);
        assert!(permit.is_some() && semaphore.try_take(2).is_none());
        drop(permit);
        assert!(semaphore.try_take(3).is_some());
    }
}
