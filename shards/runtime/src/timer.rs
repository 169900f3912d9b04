//! Timers of one core: a binary heap whose entries know their position, so that the common case, a
//! timeout set and cancelled per request, leaves nothing behind.
//!
//! Invariant: the heap holds live timers only; equal deadlines fire in the order they were set. One core.

use crate::wake::Waiter;
use std::task::Waker;

/// A slot of the timer table and its generation: a stale key does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    slot: u32,
    generation: u32,
}

struct HeapEntry {
    deadline_ns: u64,
    order: u64,
    slot: u32,
}

impl HeapEntry {
    fn before(&self, other: &Self) -> bool {
        (self.deadline_ns, self.order) < (other.deadline_ns, other.order)
    }
}

const NOT_IN_HEAP: u32 = u32::MAX;

struct Timer {
    generation: u32,
    position: u32,
    waiter: Waiter,
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<HeapEntry>,
    table: Vec<Timer>,
    free: Vec<u32>,
    order: u64,
}

impl Timers {
    /// Sets a timer for the waker.
    pub(crate) fn insert(&mut self, deadline_ns: u64, waker: &Waker) -> TimerKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.table.push(Timer { generation: 0, position: NOT_IN_HEAP, waiter: Waiter::None });
            (self.table.len() - 1) as u32
        });
        let position = self.heap.len();
        self.order += 1;
        self.heap.push(HeapEntry { deadline_ns, order: self.order, slot });
        let timer = &mut self.table[slot as usize];
        timer.position = position as u32;
        timer.waiter.set(waker);
        let key = TimerKey { slot, generation: timer.generation };
        self.sift_up(position);
        key
    }

    /// Replaces the waker of a timer that has not fired.
    pub(crate) fn set_waker(&mut self, key: TimerKey, waker: &Waker) {
        let timer = &mut self.table[key.slot as usize];
        if timer.generation == key.generation {
            timer.waiter.set(waker);
        }
    }

    /// Forgets a timer; nothing happens when it has fired. The waiter is returned to be dropped outside.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Waiter {
        let timer = &self.table[key.slot as usize];
        if timer.generation != key.generation {
            return Waiter::None;
        }
        let position = timer.position as usize;
        self.remove_at(position)
    }

    /// Deadline of the next timer.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline_ns)
    }

    /// Takes the earliest timer due at `now_ns`.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<Waiter> {
        (self.next_ns()? <= now_ns).then(|| self.remove_at(0))
    }

    fn remove_at(&mut self, position: usize) -> Waiter {
        let entry = self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.table[self.heap[position].slot as usize].position = position as u32;
            let position = self.sift_up(position);
            self.sift_down(position);
        }
        let timer = &mut self.table[entry.slot as usize];
        timer.generation = timer.generation.wrapping_add(1);
        timer.position = NOT_IN_HEAP;
        self.free.push(entry.slot);
        std::mem::take(&mut timer.waiter)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.table[self.heap[a].slot as usize].position = a as u32;
        self.table[self.heap[b].slot as usize].position = b as u32;
    }

    fn sift_up(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if !self.heap[position].before(&self.heap[parent]) {
                break;
            }
            self.swap(position, parent);
            position = parent;
        }
        position
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.heap.len() && self.heap[right].before(&self.heap[left]) {
                right
            } else {
                left
            };
            if !self.heap[child].before(&self.heap[position]) {
                return;
            }
            self.swap(position, child);
            position = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_and_keeps_nothing_of_the_cancelled() {
        let mut timers = Timers::default();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut keys = Vec::new();
        for _ in 0..2_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let deadline = random % 500;
            keys.push((deadline, timers.insert(deadline, Waker::noop())));
        }
        let mut expected = Vec::new();
        for (index, (deadline, key)) in keys.iter().enumerate() {
            if index % 3 == 0 {
                timers.cancel(*key);
                timers.cancel(*key);
            } else {
                expected.push(*deadline);
            }
        }
        assert_eq!(timers.heap.len(), expected.len());
        expected.sort_unstable();
        let mut fired = Vec::new();
        for now in 0..500 {
            assert!(timers.next_ns().is_none_or(|next| next >= now));
            while timers.pop_due(now).is_some() {
                fired.push(now);
            }
        }
        assert_eq!(fired, expected);
        assert!(timers.heap.is_empty() && timers.free.len() == timers.table.len());
    }
}
