//! Waking a task from anywhere: task wakers without allocation, and the door through which other
//! threads reach a sleeping core.
//!
//! Invariant: a wake is never lost and never grows anything. A wake from another thread sets one bit of
//! a fixed bitmap, so repeated wakes merge; a task may be woken without cause, so every future here
//! re-checks its condition. Slots are process-wide and never freed: a waker may outlive its core. Runs on
//! every core and on ordinary threads.

use crate::{
    executor,
    parking::{self, WaitWord},
};
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    task::{Poll, RawWaker, RawWakerVTable, Waker},
};

/// Cores alive at one time in one process.
const SLOTS: usize = 256;
/// Bits of the wake bitmap. Tasks beyond share bits: they are woken together.
const WAKE_BITS: usize = 1 << 16;
const WORDS: usize = WAKE_BITS / 64;
const SUMMARY_WORDS: usize = WORDS / 64;
const _: () = assert!(WORDS.is_multiple_of(64));

/// A task of a core as one word: bit 63 set, slot in bits 32..48, task index below. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskRef(u64);

const TASK_REF_VALID: u64 = 1 << 63;

impl TaskRef {
    pub(crate) fn new(slot: u16, task: u32) -> Self {
        Self(TASK_REF_VALID | u64::from(slot) << 32 | u64::from(task))
    }

    fn slot(self) -> u16 {
        (self.0 >> 32 & 0x7fff) as u16
    }

    fn task(self) -> u32 {
        self.0 as u32
    }

    /// Wakes the task from whatever thread this is.
    pub(crate) fn wake(self) {
        if !executor::wake_local(self.slot(), self.task()) {
            slot(self.slot()).wake(self.task());
        }
    }

    /// A std waker for the task: the word is the pointer, so cloning and dropping cost nothing.
    pub(crate) fn waker(self) -> Waker {
        let data = std::ptr::without_provenance(self.0 as usize);
        // SAFETY: the vtable treats the pointer as an integer and never dereferences it.
        unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
    }

    /// The task behind `waker`, if it is one of ours.
    pub(crate) fn of(waker: &Waker) -> Option<Self> {
        let word = waker.data().addr() as u64;
        (std::ptr::eq(waker.vtable(), &VTABLE) && word & TASK_REF_VALID != 0).then_some(Self(word))
    }
}

const _: () = assert!(size_of::<usize>() == 8, "a task reference fills a pointer");

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &VTABLE),
    |data| TaskRef(data.addr() as u64).wake(),
    |data| TaskRef(data.addr() as u64).wake(),
    |_| {},
);

/// Who waits for an operation: our own tasks as a word, foreign wakers (of combinators) as they are.
#[derive(Default)]
pub(crate) enum Waiter {
    #[default]
    None,
    Task(TaskRef),
    Foreign(Waker),
}

impl Waiter {
    pub(crate) fn set(&mut self, waker: &Waker) {
        match (TaskRef::of(waker), &self) {
            (Some(task), _) => *self = Self::Task(task),
            (None, Self::Foreign(held)) if held.will_wake(waker) => {}
            (None, _) => *self = Self::Foreign(waker.clone()),
        }
    }

    pub(crate) fn wake(self) {
        match self {
            Self::None => {}
            Self::Task(task) => task.wake(),
            Self::Foreign(waker) => waker.wake(),
        }
    }
}

/// A place for at most one waiting task of some core, set by that core and emptied by anybody.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct WaitSlot(WaitWord);

impl WaitSlot {
    /// Announces `task`. The caller must look at its condition once more afterwards.
    pub(crate) fn arm(&self, task: TaskRef) {
        self.0.arm(task.0);
    }

    /// What `look` finds, else the task is announced; see [`WaitWord::look_or_arm`].
    pub(crate) fn poll<T>(&self, task: TaskRef, look: impl FnMut() -> Option<T>) -> Poll<T> {
        self.0.look_or_arm(task.0, look).map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn disarm(&self) {
        self.0.disarm();
    }

    /// To be called after the change a task may wait for. Returns whether a task was woken.
    pub(crate) fn notify(&self) -> bool {
        let word = self.0.take();
        if word != 0 {
            TaskRef(word).wake();
        }
        word != 0
    }
}

/// One core's door. Padded: the flag is written by the owner on each sleep, the bitmap by others.
#[repr(align(128))]
pub(crate) struct Slot {
    claimed: AtomicBool,
    /// Created by the first core that claims the slot, then kept for ever, because a waker of a core
    /// that ended may still write to it.
    event_fd: AtomicI32,
    sleeping: AtomicBool,
    any: AtomicBool,
    summary: [AtomicU64; SUMMARY_WORDS],
    words: [AtomicU64; WORDS],
}

static REGISTRY: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

pub(crate) fn slot(index: u16) -> &'static Slot {
    &REGISTRY[usize::from(index)]
}

/// Takes a free slot for a core that starts on this thread.
pub(crate) fn claim() -> io::Result<u16> {
    for (index, slot) in REGISTRY.iter().enumerate() {
        if slot.claimed.load(Ordering::Relaxed) || slot.claimed.swap(true, Ordering::AcqRel) {
            continue;
        }
        if let Err(error) = slot.open_event_fd() {
            slot.claimed.store(false, Ordering::Release);
            return Err(error);
        }
        slot.clear_event();
        slot.sleeping.store(false, Ordering::SeqCst);
        slot.take_woken(|_| {});
        return Ok(index as u16);
    }
    Err(io::ErrorKind::QuotaExceeded.into())
}

impl Slot {
    const fn new() -> Self {
        Self {
            claimed: AtomicBool::new(false),
            event_fd: AtomicI32::new(-1),
            sleeping: AtomicBool::new(false),
            any: AtomicBool::new(false),
            summary: [const { AtomicU64::new(0) }; SUMMARY_WORDS],
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    pub(crate) fn release(&self) {
        self.claimed.store(false, Ordering::Release);
    }

    fn open_event_fd(&self) -> io::Result<()> {
        if self.event_fd() >= 0 {
            return Ok(());
        }
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        self.event_fd.store(fd, Ordering::Release);
        Ok(())
    }

    /// Becomes readable when a thread wakes the sleeping core.
    pub(crate) fn event_fd(&self) -> i32 {
        self.event_fd.load(Ordering::Acquire)
    }

    /// Empties the event counter.
    pub(crate) fn clear_event(&self) {
        let mut count = 0u64;
        // SAFETY: eight writable bytes; the descriptor does not block.
        unsafe { libc::read(self.event_fd(), (&raw mut count).cast(), 8) };
    }

    /// From any thread: marks the task and ends the core's sleep. Sends one event per sleep at most.
    pub(crate) fn wake(&self, task: u32) {
        let bit = task as usize % WAKE_BITS;
        let word = bit / 64;
        self.words[word].fetch_or(1 << (bit % 64), Ordering::AcqRel);
        self.summary[word / 64].fetch_or(1 << (word % 64), Ordering::AcqRel);
        self.any.store(true, Ordering::Release);
        self.ring_bell();
    }

    /// Ends the core's sleep without marking a task.
    pub(crate) fn ring_bell(&self) {
        if parking::must_ring(&self.sleeping) {
            let one = 1u64;
            // SAFETY: eight readable bytes. A full counter (EAGAIN) means the event is pending anyway.
            unsafe { libc::write(self.event_fd(), (&raw const one).cast(), 8) };
            executor::count_wake_sent();
        }
    }

    /// Whether another thread woke a task since the last `take_woken`.
    pub(crate) fn has_woken(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The owner announces sleep. False when a wake came first: do not sleep.
    pub(crate) fn try_sleep(&self) -> bool {
        parking::try_sleep(&self.sleeping, &self.any)
    }

    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Hands every marked bit to `each` and clears it. Bit `b` stands for the tasks `b + n * WAKE_BITS`.
    pub(crate) fn take_woken(&self, mut each: impl FnMut(usize)) {
        if !self.any.swap(false, Ordering::AcqRel) {
            return;
        }
        for (index, summary) in self.summary.iter().enumerate() {
            let mut marked =
                if summary.load(Ordering::Relaxed) == 0 { 0 } else { summary.swap(0, Ordering::AcqRel) };
            while marked != 0 {
                let word = index * 64 + marked.trailing_zeros() as usize;
                marked &= marked - 1;
                let mut bits = self.words[word].swap(0, Ordering::AcqRel);
                while bits != 0 {
                    each(word * 64 + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// Distance of tasks that share a bit.
pub(crate) const TASK_STRIDE: usize = WAKE_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_a_task_announces_itself_is_found() {
        let slot = WaitSlot::default();
        let mut looks = 0;
        let found = slot.poll(TaskRef::new(0, 1), || {
            looks += 1;
            (looks == 2).then_some("message")
        });
        assert_eq!(found, Poll::Ready("message"));
        assert!(!slot.notify(), "nobody waits any more");
        assert!(slot.poll(TaskRef::new(0, 1), || None::<()>).is_pending());
    }

    #[test]
    fn a_wake_before_the_sleep_prevents_it() {
        let slot = Box::new(Slot::new());
        assert!(slot.try_sleep());
        slot.awake();
        slot.wake(70);
        assert!(!slot.try_sleep());
        let mut woken = Vec::new();
        slot.take_woken(|bit| woken.push(bit));
        assert_eq!(woken, [70]);
        assert!(slot.try_sleep(), "taken wakes do not count again");
    }

    #[test]
    fn a_waker_names_its_task_and_no_other_waker_does() {
        let task = TaskRef::new(250, 4_000_000_000);
        assert_eq!(TaskRef::of(&task.waker().clone()), Some(task));
        assert_eq!(TaskRef::of(Waker::noop()), None);
        assert_eq!((task.slot(), task.task()), (250, 4_000_000_000));
    }
}
