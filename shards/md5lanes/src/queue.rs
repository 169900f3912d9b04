//! The bodies of one core that wait to be hashed, advanced together.
//!
//! Invariant: while bodies wait, the task of the oldest one is woken or running: it leads, that is, it
//! advances everybody by one slice each time it is polled. A dropped future takes its body with it and
//! hands the lead on. The executor is expected to look for new input between two polls of a task that
//! wakes itself: that is when others join. One core.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    stream::Md5,
    together::{LANES_MAX, update_together},
};

/// Bytes of each body in one slice: 16 of them take about 100 us, a lone one 60.
const SLICE_BYTES: usize = 32 << 10;

struct Job<B> {
    md5: Md5,
    bytes: B,
    done: usize,
}

impl<B: AsRef<[u8]>> Job<B> {
    fn is_done(&self) -> bool {
        self.done == self.bytes.as_ref().len()
    }
}

struct Slot<B> {
    /// Empty after it was taken.
    job: RefCell<Option<Job<B>>>,
    waker: Cell<Option<Waker>>,
}

impl<B> Slot<B> {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The waiting bodies of a core, oldest first. Cheap to clone.
pub struct Md5Lanes<B>(Rc<RefCell<VecDeque<Rc<Slot<B>>>>>);

impl<B> Clone for Md5Lanes<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Default for Md5Lanes<B> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<B> Md5Lanes<B> {
    fn leads(&self, slot: &Rc<Slot<B>>) -> bool {
        self.0.borrow().front().is_some_and(|first| Rc::ptr_eq(first, slot))
    }

    /// Wakes whoever leads now.
    fn wake_leader(&self) {
        if let Some(first) = self.0.borrow().front() {
            first.wake();
        }
    }
}

impl<B: AsRef<[u8]>> Md5Lanes<B> {
    /// Gives `bytes` to `md5`, together with what other tasks wait for. Both come back.
    #[must_use]
    pub fn update(&self, md5: Md5, bytes: B) -> Update<B> {
        let job = RefCell::new(Some(Job { md5, bytes, done: 0 }));
        let slot = Rc::new(Slot { job, waker: Cell::new(None) });
        Update { lanes: self.clone(), slot, waiting: false }
    }

    /// Hashes one slice of the bodies that wait longest, and wakes those that are done.
    fn advance(&self) {
        let mut slots = self.0.borrow_mut();
        let count = slots.len().min(LANES_MAX);
        let mut jobs: Vec<_> = slots.iter().take(count).map(|slot| slot.job.borrow_mut()).collect();
        let mut streams = Vec::with_capacity(count);
        for job in jobs.iter_mut().filter_map(|job| job.as_mut()) {
            let bytes = &job.bytes.as_ref()[job.done..];
            let bytes = &bytes[..bytes.len().min(SLICE_BYTES)];
            job.done += bytes.len();
            streams.push((&mut job.md5, bytes));
        }
        update_together(&mut streams);
        drop(streams);
        drop(jobs);
        slots.retain(|slot| {
            let waits = slot.job.borrow().as_ref().is_some_and(|job| !job.is_done());
            if !waits {
                slot.wake();
            }
            waits
        });
    }
}

/// A body being hashed. Dropping it gives the body up.
pub struct Update<B> {
    lanes: Md5Lanes<B>,
    slot: Rc<Slot<B>>,
    waiting: bool,
}

impl<B> Drop for Update<B> {
    fn drop(&mut self) {
        if self.waiting {
            self.lanes.0.borrow_mut().retain(|slot| !Rc::ptr_eq(slot, &self.slot));
            self.lanes.wake_leader();
        }
    }
}

impl<B: AsRef<[u8]>> Update<B> {
    fn is_done(&self) -> bool {
        self.slot.job.borrow().as_ref().is_some_and(Job::is_done)
    }
}

impl<B: AsRef<[u8]>> Future for Update<B> {
    type Output = (Md5, B);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.waiting && !self.is_done() {
            self.waiting = true;
            self.lanes.0.borrow_mut().push_back(self.slot.clone());
        } else if self.lanes.leads(&self.slot) {
            self.lanes.advance();
        }
        if self.is_done() {
            self.waiting = false;
            self.lanes.wake_leader();
            let job = self.slot.job.borrow_mut().take().expect("the outcome is taken once");
            return Poll::Ready((job.md5, job.bytes));
        }
        if self.lanes.leads(&self.slot) {
            // Others may bring bodies to hash beside this one before the next slice.
            context.waker().wake_by_ref();
        } else {
            self.slot.waker.set(Some(context.waker().clone()));
        }
        Poll::Pending
    }
}
