//! What two cores share, in every interleaving and every order of memory the language allows, up to three preemptions.
//!
//! Invariant: the modules checked are those of `shards/runtime`, compiled from the same files with the checker's
//! atomics in the place of std's; nothing of them is copied. A model that fails panics with its name above.

#![allow(dead_code, reason = "a model uses what it is about")]

mod sync {
    //! The checker's types by the names `shards/runtime/src/sync.rs` gives std's.
    pub(crate) use loom::{
        cell::UnsafeCell,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
        },
    };
}

#[path = "../../../shards/runtime/src/parking.rs"]
mod parking;
#[path = "../../../shards/runtime/src/returns.rs"]
mod returns;
#[path = "../../../shards/runtime/src/spsc.rs"]
mod spsc;

use loom::thread;
use parking::WaitWord;
use returns::{NONE, Returns};
use std::time::Instant;
use sync::{Arc, AtomicBool, Ordering, UnsafeCell};

const PREEMPTIONS_MAX: usize = 3;
const TASK: u64 = 7;

/// A model: its name and its body.
type Model = (&'static str, fn());

const MODELS: &[Model] = &[
    ("ring: order, no race, full and empty", ring),
    ("ring: messages left behind are dropped once", ring_dropped),
    ("mesh: a message is received or its receiver is woken", message_or_wake),
    ("mesh: room is found or its waiter is woken", room_or_wake),
    ("sleep: two wakers, one event, none lost", sleep_or_bell),
    ("mesh and sleep: a message reaches a core that falls asleep", message_to_sleeper),
    ("buffers: returned from two cores, reused without a race", returned_and_reused),
    ("buffers: returned while the home core ends, freed once", returned_while_closing),
];

#[expect(clippy::disallowed_methods, reason = "a tool tells how long it took")]
fn main() {
    for (name, model) in MODELS {
        let started = Instant::now();
        println!("{name}");
        let mut checker = loom::model::Builder::new();
        checker.preemption_bound = Some(PREEMPTIONS_MAX);
        checker.check(*model);
        println!("  holds, {:.1} s", started.elapsed().as_secs_f64());
    }
}

fn ring() {
    const MESSAGES: usize = 3;
    let (producer, consumer) = spsc::spsc::<Box<usize>>(2);
    let pushing = thread::spawn(move || {
        for n in 0..MESSAGES {
            let mut message = Box::new(n);
            while let Err(back) = producer.push(message) {
                message = back;
                thread::yield_now();
            }
        }
    });
    for n in 0..MESSAGES {
        loop {
            match consumer.pop() {
                Some(message) => break assert_eq!(*message, n),
                None => thread::yield_now(),
            }
        }
    }
    pushing.join().expect("no panic");
    assert!(consumer.pop().is_none());
}

fn ring_dropped() {
    let witness = std::sync::Arc::new(());
    let (producer, consumer) = spsc::spsc(2);
    let mine = witness.clone();
    let pushing = thread::spawn(move || {
        for _ in 0..2 {
            let _ = producer.push(mine.clone());
        }
    });
    drop(consumer.pop());
    drop(consumer);
    pushing.join().expect("no panic");
    assert_eq!(std::sync::Arc::strong_count(&witness), 1);
}

fn message_or_wake() {
    let (producer, consumer) = spsc::spsc(2);
    let waits = Arc::new(WaitWord::default());
    let sending = {
        let waits = waits.clone();
        thread::spawn(move || {
            assert!(producer.push(1).is_ok());
            waits.take()
        })
    };
    let found = waits.look_or_arm(TASK, || consumer.pop());
    let woken = sending.join().expect("no panic");
    assert!(found.is_some() || woken == TASK, "the message lies there and nobody knows");
    assert!(found.is_some() || consumer.pop().is_some());
}

fn room_or_wake() {
    let (producer, consumer) = spsc::spsc(1);
    assert!(producer.push(0).is_ok());
    let waits = Arc::new(WaitWord::default());
    let receiving = {
        let waits = waits.clone();
        thread::spawn(move || {
            assert!(consumer.pop().is_some());
            (waits.take(), consumer)
        })
    };
    let sent = waits.look_or_arm(TASK, || producer.push(1).ok());
    let (woken, _consumer) = receiving.join().expect("no panic");
    assert!(sent.is_some() || woken == TASK, "there is room and nobody knows");
}

/// As `Slot::wake` and `Slot::try_sleep` of `wake.rs` use the flags.
#[derive(Default)]
struct Door {
    sleeping: AtomicBool,
    any: AtomicBool,
}

impl Door {
    fn wake(&self) -> bool {
        self.any.store(true, Ordering::Release);
        parking::must_ring(&self.sleeping)
    }
}

fn sleep_or_bell() {
    let door = Arc::new(Door::default());
    let wakers = [(); 2].map(|()| {
        let door = door.clone();
        thread::spawn(move || door.wake())
    });
    let asleep = parking::try_sleep(&door.sleeping, &door.any);
    let events = wakers.map(|waker| waker.join().expect("no panic")).into_iter().filter(|rang| *rang).count();
    assert!(events <= 1, "one event per sleep");
    assert!(!asleep || events == 1, "asleep, and nobody rang");
}

fn message_to_sleeper() {
    let (producer, consumer) = spsc::spsc(2);
    let (waits, door) = (Arc::new(WaitWord::default()), Arc::new(Door::default()));
    let sending = {
        let (waits, door) = (waits.clone(), door.clone());
        thread::spawn(move || {
            assert!(producer.push(1).is_ok());
            waits.take() == TASK && door.wake()
        })
    };
    let found = waits.look_or_arm(TASK, || consumer.pop()).is_some();
    let asleep = !found && parking::try_sleep(&door.sleeping, &door.any);
    let rang = sending.join().expect("no panic");
    assert!(!asleep || rang, "a message came, and the core sleeps");
}

/// Buffers as the slab sees them: memory whose owner writes without asking.
struct Memory {
    returns: Returns,
    bytes: [UnsafeCell<u32>; 2],
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self { returns: Returns::new(2), bytes: [UnsafeCell::new(0), UnsafeCell::new(0)] })
    }

    /// What an owner may do. The checker complains when anybody else is at it.
    fn write(&self, id: u32) {
        // SAFETY: `id` is owned by the caller: that is what the model checks.
        self.bytes[id as usize].with_mut(|byte| unsafe { *byte += 1 });
    }

    /// The buffers of a list, all of which the caller owns now.
    fn list(&self, mut id: u32) -> Vec<u32> {
        let mut ids = Vec::new();
        while id != NONE {
            let next = self.returns.next(id);
            self.write(id);
            ids.push(id);
            id = next;
        }
        ids
    }
}

fn returned_and_reused() {
    let memory = Memory::new();
    let users = [0, 1].map(|id| {
        let memory = memory.clone();
        thread::spawn(move || {
            memory.write(id);
            assert!(!memory.returns.give(id));
        })
    });
    // Without a join: only what `give` and `take` order may make the memory ours.
    let mut back = Vec::new();
    while back.len() < users.len() {
        back.extend(memory.list(memory.returns.take()));
        thread::yield_now();
    }
    users.into_iter().for_each(|user| user.join().expect("no panic"));
    back.sort_unstable();
    assert_eq!(back, [0, 1], "each buffer comes back once");
}

fn returned_while_closing() {
    let memory = Memory::new();
    let users = [0, 1].map(|id| {
        let memory = memory.clone();
        thread::spawn(move || {
            memory.write(id);
            let is_last = memory.returns.give(id);
            if is_last {
                // Freeing is touching everything.
                memory.write(0);
                memory.write(1);
            }
            is_last
        })
    });
    let back = memory.list(memory.returns.close());
    let mut freed = usize::from(memory.returns.settle(2 - back.len() as i64));
    if freed == 1 {
        memory.write(0);
        memory.write(1);
    }
    freed += users.into_iter().map(|user| user.join().expect("no panic")).filter(|last| *last).count();
    assert_eq!(freed, 1, "the memory is freed once");
}
