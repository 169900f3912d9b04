//! Tests of the slab: classes, reuse, returns from other threads, life after the core.

use super::*;

fn fresh(budget_bytes: usize) -> Slab {
    Slab::new(budget_bytes).expect("memory")
}

#[test]
fn serves_the_smallest_class_and_refuses_at_the_budget() {
    let slab = fresh(8 << 20);
    let small = slab.take(1).expect("room");
    assert_eq!((small.len(), small.capacity()), (1, 4096));
    assert_eq!(small.ptr() as usize % 4096, 0);
    let large = slab.take(4 << 20).expect("room");
    assert!(slab.take(4 << 20).is_none() && slab.take((4 << 20) + 1).is_none());
    assert_eq!(slab.usage().0, 4096 + (4 << 20));
    drop((small, large));
    assert_eq!(slab.usage().0, 0);
    assert!(slab.take(4 << 20).is_some(), "the chunk of small buffers serves a large one again");
}

#[test]
fn a_full_budget_of_small_buffers_has_distinct_memory() {
    let slab = fresh(4 << 20);
    let mut bufs: Vec<_> = std::iter::from_fn(|| slab.take(4096)).collect();
    assert_eq!(bufs.len(), 1024);
    for (index, buf) in bufs.iter_mut().enumerate() {
        buf.fill(index as u8);
    }
    assert!(bufs.iter().enumerate().all(|(index, buf)| buf.iter().all(|&byte| byte == index as u8)));
    bufs.truncate(512);
    assert_eq!(std::iter::from_fn(|| slab.take(4096)).take(2_000).collect::<Vec<_>>().len(), 512);
}

#[test]
fn a_larger_class_helps_out() {
    let slab = fresh(4 << 20);
    let _pin = slab.take(1 << 20).expect("room");
    assert_eq!(slab.take(100).expect("from the same chunk").capacity(), 1 << 20);
}

#[test]
fn buffers_dropped_elsewhere_come_back() {
    let slab = fresh(4 << 20);
    let threads = if cfg!(miri) { 2 } else { 4 };
    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
        let mut shares: Vec<Vec<SlabBuf>> = (0..threads).map(|_| Vec::new()).collect();
        for n in 0..if cfg!(miri) { 8 } else { 64 } {
            shares[n % threads].push(slab.take(64 << 10).expect("all are back"));
        }
        let joins: Vec<_> =
            shares.into_iter().map(|share| std::thread::Builder::new().spawn(|| drop(share))).collect();
        for join in joins {
            join.expect("thread").join().expect("no panic");
        }
        assert_eq!(slab.usage().0, 0);
    }
}

#[test]
fn a_buffer_may_outlive_the_core() {
    let slab = fresh(4 << 20);
    let mut here = slab.take(4096).expect("room");
    let there = slab.take(4096).expect("room");
    let early = slab.take(4096).expect("room");
    std::thread::Builder::new().spawn(move || drop(early)).expect("thread").join().expect("no panic");
    let alive = slab.shared().alive.clone();
    drop(slab);
    here.fill(7);
    assert!(here.iter().all(|&byte| byte == 7));
    std::thread::Builder::new().spawn(move || drop(there)).expect("thread").join().expect("no panic");
    assert_eq!(std::sync::Arc::strong_count(&alive), 2, "one buffer is out");
    drop(here);
    assert_eq!(std::sync::Arc::strong_count(&alive), 1, "the last buffer freed the memory");
    let _next = fresh(4 << 20);
}

#[test]
fn what_the_ring_knows_is_taken_first() {
    let slab = fresh(16 << 20);
    slab.set_registered(2);
    for _ in 0..2 {
        let bufs: Vec<_> = (0..5).map(|_| slab.take(1 << 20).expect("room").registered_chunk()).collect();
        assert_eq!(bufs, [Some(2); 5], "dropped at once, so always the same chunk");
        let held: Vec<_> = (0..5).map(|_| slab.take(1 << 20).expect("room")).collect();
        let known: Vec<_> = held.iter().map(SlabBuf::registered_chunk).collect();
        assert_eq!(known, [Some(2), Some(2), Some(2), Some(2), None]);
    }
}
