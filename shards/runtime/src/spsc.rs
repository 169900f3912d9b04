//! A bounded ring between exactly two threads: one pushes, the other pops.
//!
//! Invariant: `head <= tail <= head + capacity`; the consumer owns the slots `head..tail`, the producer
//! the rest. Each end moves one index and publishes it with release order after it is done with the
//! slot. The producer's end lives on one core, the consumer's on another. Checked by `cargo xtask loom`.

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};
use std::{cell::Cell, mem::MaybeUninit};

/// Two cache lines, because the adjacent line is fetched along.
#[repr(align(128))]
struct Padded(AtomicUsize);

struct Ring<M> {
    head: Padded,
    tail: Padded,
    slots: Box<[UnsafeCell<MaybeUninit<M>>]>,
}

// SAFETY: messages move from one thread to another, hence `M: Send`; no two threads touch one slot at a
// time, by the module's invariant.
unsafe impl<M: Send> Sync for Ring<M> {}
// SAFETY: owning the ring is owning its messages.
unsafe impl<M: Send> Send for Ring<M> {}

/// The pushing end.
pub(crate) struct Producer<M> {
    ring: Arc<Ring<M>>,
    tail: Cell<usize>,
    /// The head as last seen: looked up again only when the ring seems full.
    head_seen: Cell<usize>,
}

/// The popping end.
pub(crate) struct Consumer<M> {
    ring: Arc<Ring<M>>,
    head: Cell<usize>,
    tail_seen: Cell<usize>,
}

/// A ring of `capacity` (a power of two) messages.
pub(crate) fn spsc<M: Send>(capacity: usize) -> (Producer<M>, Consumer<M>) {
    assert!(capacity.is_power_of_two());
    let ring = Arc::new(Ring {
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { ring: ring.clone(), tail: Cell::new(0), head_seen: Cell::new(0) };
    (producer, Consumer { ring, head: Cell::new(0), tail_seen: Cell::new(0) })
}

impl<M> Ring<M> {
    fn slot<R>(&self, index: usize, access: impl FnOnce(*mut MaybeUninit<M>) -> R) -> R {
        self.slots[index & (self.slots.len() - 1)].with_mut(access)
    }
}

impl<M: Send> Producer<M> {
    /// Gives the message back when the ring is full.
    pub(crate) fn push(&self, message: M) -> Result<(), M> {
        let tail = self.tail.get();
        if tail.wrapping_sub(self.head_seen.get()) == self.ring.slots.len() {
            self.head_seen.set(self.ring.head.0.load(Ordering::Acquire));
            if tail.wrapping_sub(self.head_seen.get()) == self.ring.slots.len() {
                return Err(message);
            }
        }
        // SAFETY: the slot is past every message not yet popped, so it is the producer's.
        self.ring.slot(tail, |slot| unsafe {
            (*slot).write(message);
        });
        self.tail.set(tail.wrapping_add(1));
        self.ring.tail.0.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Messages not yet popped; may be too high.
    pub(crate) fn len(&self) -> usize {
        self.tail.get().wrapping_sub(self.ring.head.0.load(Ordering::Relaxed))
    }
}

impl<M: Send> Consumer<M> {
    pub(crate) fn pop(&self) -> Option<M> {
        let head = self.head.get();
        if head == self.tail_seen.get() {
            self.tail_seen.set(self.ring.tail.0.load(Ordering::Acquire));
            if head == self.tail_seen.get() {
                return None;
            }
        }
        // SAFETY: head < tail, so the slot holds a message the producer has published and left.
        let message = self.ring.slot(head, |slot| unsafe { (*slot).assume_init_read() });
        self.head.set(head.wrapping_add(1));
        self.ring.head.0.store(head.wrapping_add(1), Ordering::Release);
        Some(message)
    }
}

impl<M> Drop for Ring<M> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        while head != tail {
            // SAFETY: both ends are gone; the slots head..tail hold messages.
            self.slot(head, |slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_when_full_and_keeps_the_order() {
        let (producer, consumer) = spsc(4);
        for round in 0..10u32 {
            for n in 0..4 {
                assert_eq!(producer.push(round * 4 + n), Ok(()));
            }
            assert_eq!((producer.push(99), producer.len()), (Err(99), 4));
            for n in 0..4 {
                assert_eq!(consumer.pop(), Some(round * 4 + n));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn two_threads_see_every_message_once_and_in_order() {
        let count = if cfg!(miri) { 200 } else { 200_000u64 };
        let (producer, consumer) = spsc::<Box<u64>>(8);
        let other = std::thread::Builder::new().spawn(move || {
            for n in 0..count {
                let mut message = Box::new(n);
                while let Err(back) = producer.push(message) {
                    message = back;
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..count {
            loop {
                match consumer.pop() {
                    Some(message) => break assert_eq!(*message, n),
                    None => std::thread::yield_now(),
                }
            }
        }
        other.expect("thread").join().expect("no panic");
    }

    #[test]
    fn messages_left_behind_are_dropped() {
        let witness = Arc::new(());
        let (producer, consumer) = spsc(4);
        assert!(producer.push(witness.clone()).is_ok() && producer.push(witness.clone()).is_ok());
        assert!(consumer.pop().is_some());
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
