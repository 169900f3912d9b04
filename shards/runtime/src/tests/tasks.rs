//! Tasks, timers, wakers.

use super::{MS, go, on_each_backend};
use crate::{CoreConfig, Elapsed};
use std::{
    cell::RefCell,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};
use stria_env::sync::{Notify, Semaphore, oneshot};

on_each_backend!(
    timers_fire_in_order,
    a_dropped_sleep_fires_nothing,
    timeout_gives_the_output_or_elapses,
    spawned_tasks_run_and_end,
    primitives_of_the_seam_work,
    a_waker_of_another_thread_wakes,
    a_waker_outlives_its_core,
    main_ends_while_tasks_wait,
    a_long_poll_is_counted_as_a_stall,
);

fn timers_fire_in_order(config: CoreConfig) {
    go(config, async |core| {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let started = core.mono_ns();
        for ms in [7u64, 1, 5, 3, 3, 0] {
            let (core, fired) = (core.clone(), fired.clone());
            core.clone().spawn(async move {
                core.sleep(ms * MS).await;
                assert!(core.mono_ns() - started >= ms * MS, "not before its time");
                fired.borrow_mut().push(ms);
            });
        }
        core.sleep(50 * MS).await;
        assert_eq!(*fired.borrow(), [0, 1, 3, 3, 5, 7]);
    });
}

fn a_dropped_sleep_fires_nothing(config: CoreConfig) {
    go(config, async |core| {
        for _ in 0..1_000 {
            let mut sleep = pin!(core.sleep(3_600_000 * MS));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(core.0.timers.borrow().next_ns(), None);
    });
}

fn timeout_gives_the_output_or_elapses(config: CoreConfig) {
    go(config, async |core| {
        assert_eq!(core.timeout(1_000 * MS, core.sleep(MS)).await, Ok(()));
        assert_eq!(core.timeout(2 * MS, core.sleep(10_000 * MS)).await, Err(Elapsed));
        assert_eq!(core.timeout(0, std::future::pending::<()>()).await, Err(Elapsed));
    });
}

fn spawned_tasks_run_and_end(config: CoreConfig) {
    go(config, async |core| {
        let sum = Rc::new(RefCell::new(0));
        for n in 0..1_000 {
            let (core, sum) = (core.clone(), sum.clone());
            core.clone().spawn(async move {
                core.yield_now().await;
                *sum.borrow_mut() += n;
            });
        }
        while core.stats().tasks > 1 {
            core.yield_now().await;
        }
        assert_eq!(*sum.borrow(), 499_500);
    });
}

fn primitives_of_the_seam_work(config: CoreConfig) {
    go(config, async |core| {
        let (notify, semaphore) = (Rc::new(Notify::default()), Semaphore::new(1));
        let permit = semaphore.take(1).await;
        let (sender, receiver) = oneshot();
        let (waits, takes) = (notify.clone(), semaphore.clone());
        core.spawn(async move {
            waits.notified().await;
            let _permit = takes.take(1).await;
            sender.send(7);
        });
        core.yield_now().await;
        notify.notify_all();
        core.yield_now().await;
        drop(permit);
        assert_eq!(receiver.await, Some(7));
    });
}

/// Waits until `flag` is set by another thread, having handed it the waker.
fn a_waker_of_another_thread_wakes(config: CoreConfig) {
    go(config, async |core| {
        for round in 0..50u64 {
            let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let mut thread = None;
            let waited = core.timeout(
                20_000 * MS,
                std::future::poll_fn(|context| {
                    if flag.load(std::sync::atomic::Ordering::Acquire) {
                        return Poll::Ready(());
                    }
                    let (flag, waker) = (flag.clone(), context.waker().clone());
                    thread.get_or_insert_with(|| {
                        std::thread::Builder::new().spawn(move || {
                            std::thread::park_timeout(std::time::Duration::from_micros(round * 20));
                            flag.store(true, std::sync::atomic::Ordering::Release);
                            waker.wake();
                        })
                    });
                    Poll::Pending
                }),
            );
            assert_eq!(waited.await, Ok(()), "the wake of round {round} is lost");
            thread.expect("started").expect("a thread").join().expect("no panic");
        }
        assert!(core.stats().wakes_received > 0);
    });
}

fn a_waker_outlives_its_core(config: CoreConfig) {
    let kept = std::sync::Arc::new(std::sync::atomic::AtomicPtr::new(std::ptr::null_mut()));
    let keep = kept.clone();
    go(config, async move |_| {
        std::future::poll_fn(|context| {
            let waker = Box::into_raw(Box::new(context.waker().clone()));
            keep.store(waker, std::sync::atomic::Ordering::Release);
            Poll::Ready(())
        })
        .await;
    });
    let waker = kept.load(std::sync::atomic::Ordering::Acquire);
    // SAFETY: made by `into_raw` above, taken back once.
    let waker = unsafe { Box::from_raw(waker) };
    waker.wake_by_ref();
    go(config, async move |core| core.sleep(MS).await);
    waker.wake();
}

fn main_ends_while_tasks_wait(config: CoreConfig) {
    struct Witness(std::sync::mpsc::Sender<()>);
    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.send(()).expect("the test listens");
        }
    }
    let (sender, dropped) = std::sync::mpsc::channel();
    go(config, async move |core| {
        let witness = Witness(sender);
        core.spawn(async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        });
        core.yield_now().await;
    });
    assert_eq!(dropped.try_recv(), Ok(()), "the waiting task was dropped");
}

fn a_long_poll_is_counted_as_a_stall(config: CoreConfig) {
    go(config, async |core| {
        core.yield_now().await;
        let until = core.mono_ns() + 3 * MS;
        while core.mono_ns() < until {}
        core.yield_now().await;
        assert!(core.stats().stalls >= 1 && core.stats().stall_ns_max >= 3 * MS);
    });
}
