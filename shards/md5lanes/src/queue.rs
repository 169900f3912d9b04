//! The bodies of one core that wait to be hashed, advanced together.
//!
//! Invariant: whoever is polled first advances everybody, so no task waits for another to be scheduled,
//! and a dropped future takes its body with it. No executor is assumed but one that polls what woke
//! itself after the tasks already ready: that is what lets bodies that arrived together meet. One core.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::{
    stream::Md5,
    together::{LANES_MAX, update_together},
};

/// Bytes of each body in one slice with others: 16 of them take about 100 us.
const SLICE_BYTES: usize = 32 << 10;
/// Bytes of a lone body in one slice: about 100 us.
const SLICE_BYTES_ALONE: usize = 64 << 10;

struct Job<B> {
    md5: Md5,
    bytes: B,
    done: usize,
}

/// Empty while its bytes are being hashed and after they were taken.
type Slot<B> = Rc<RefCell<Option<Job<B>>>>;

/// The waiting bodies of a core. Cheap to clone.
pub struct Md5Lanes<B>(Rc<RefCell<Vec<Slot<B>>>>);

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

impl<B: AsRef<[u8]>> Md5Lanes<B> {
    /// Gives `bytes` to `md5`, together with what other tasks wait for. Both come back.
    #[must_use]
    pub fn update(&self, md5: Md5, bytes: B) -> Update<B> {
        let slot = Rc::new(RefCell::new(Some(Job { md5, bytes, done: 0 })));
        Update { lanes: self.clone(), slot, waiting: false }
    }

    /// Hashes one slice of the bodies that wait longest.
    fn advance(&self) {
        let mut slots = self.0.borrow_mut();
        let count = slots.len().min(LANES_MAX);
        let slice = if count > 1 { SLICE_BYTES } else { SLICE_BYTES_ALONE };
        let mut jobs: Vec<_> = slots[..count].iter().map(|slot| slot.borrow_mut()).collect();
        let mut streams = Vec::with_capacity(count);
        for job in jobs.iter_mut().filter_map(|job| job.as_mut()) {
            let bytes = &job.bytes.as_ref()[job.done..];
            let bytes = &bytes[..bytes.len().min(slice)];
            job.done += bytes.len();
            streams.push((&mut job.md5, bytes));
        }
        update_together(&mut streams);
        drop(streams);
        drop(jobs);
        slots.retain(|slot| slot.borrow().as_ref().is_some_and(|job| job.done < job.bytes.as_ref().len()));
    }
}

/// A body being hashed. Dropping it gives the body up.
pub struct Update<B> {
    lanes: Md5Lanes<B>,
    slot: Slot<B>,
    waiting: bool,
}

impl<B> Drop for Update<B> {
    fn drop(&mut self) {
        if self.slot.borrow_mut().take().is_some() {
            self.lanes.0.borrow_mut().retain(|slot| !Rc::ptr_eq(slot, &self.slot));
        }
    }
}

impl<B: AsRef<[u8]>> Future for Update<B> {
    type Output = (Md5, B);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.waiting {
            if !self.is_done() {
                self.lanes.advance();
            }
            if self.is_done() {
                let job = self.slot.borrow_mut().take().expect("the outcome is taken once");
                return Poll::Ready((job.md5, job.bytes));
            }
        } else {
            self.waiting = true;
            self.lanes.0.borrow_mut().push(self.slot.clone());
        }
        // Once round the ready tasks: others may bring bodies to hash beside this one.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<B: AsRef<[u8]>> Update<B> {
    fn is_done(&self) -> bool {
        self.slot.borrow().as_ref().is_some_and(|job| job.done == job.bytes.as_ref().len())
    }
}
