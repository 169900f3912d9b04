//! Several cores: the mesh, full queues, the way in and out for ordinary threads.

use super::{MS, go, on_each_backend};
use crate::{CoreConfig, MeshPort, inbox, mesh, outbox, run};
use std::{
    cell::Cell,
    rc::Rc,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};
use stria_base::CoreId;

on_each_backend!(
    ping_pong_between_two_cores,
    ping_pong_without_spinning,
    four_cores_all_to_all_through_small_queues,
    a_full_queue_gives_the_message_back,
    a_sender_that_gives_up_wakes_the_next,
    an_inbox_takes_from_threads,
    an_outbox_gives_to_a_thread,
);

/// Runs `main` on `cores` cores at once, each with its port.
fn on_cores<F: Future<Output = ()>>(
    config: CoreConfig,
    cores: u16,
    capacity: usize,
    main: impl Fn(crate::Core, MeshPort<u64>) -> F + Copy + Send + 'static,
) {
    let threads: Vec<_> = mesh(cores, capacity)
        .into_iter()
        .map(|port| {
            let config = CoreConfig { core: port.core(), ..config };
            std::thread::Builder::new().spawn(move || {
                go(config, move |core| {
                    port.bind(&core);
                    main(core, port)
                });
            })
        })
        .collect();
    for thread in threads {
        thread.expect("a thread").join().expect("no panic");
    }
}

/// Waits until another core raised the flag.
async fn raised(core: &crate::Core, flag: &AtomicBool) {
    while !flag.load(Acquire) {
        core.sleep(MS).await;
    }
}

async fn ping_pong(port: MeshPort<u64>, rounds: u64) {
    let other = CoreId(1 - port.core().0);
    for round in 0..rounds {
        if port.core() == CoreId(0) {
            port.send(other, round).expect("room");
            assert_eq!(port.recv().await, (other, round + 1));
        } else {
            assert_eq!(port.recv().await, (other, round));
            port.send(other, round + 1).expect("room");
        }
    }
}

fn ping_pong_between_two_cores(config: CoreConfig) {
    on_cores(config, 2, 8, |_, port| ping_pong(port, 2_000));
}

fn ping_pong_without_spinning(mut config: CoreConfig) {
    config.spin_us = 0;
    on_cores(config, 2, 8, |_, port| ping_pong(port, 2_000));
}

fn four_cores_all_to_all_through_small_queues(config: CoreConfig) {
    const MESSAGES: u64 = 2_000;
    on_cores(config, 4, 4, |core, port| async move {
        let port = Rc::new(port);
        let sent = Rc::new(Cell::new(0));
        // Two tasks per target, so that several wait for the same room.
        for task in 0..8u16 {
            let (port, sent) = (port.clone(), sent.clone());
            core.spawn(async move {
                for n in 0..MESSAGES / 2 {
                    port.send_wait(CoreId(task % 4), n).await;
                }
                sent.set(sent.get() + 1);
            });
        }
        let mut sums = [0; 4];
        for _ in 0..4 * MESSAGES {
            let (from, n) = port.recv().await;
            sums[usize::from(from.0)] += n;
        }
        assert_eq!(sums, [MESSAGES / 2 * (MESSAGES / 2 - 1); 4]);
        while sent.get() < 8 {
            core.sleep(MS).await;
        }
    });
}

fn a_full_queue_gives_the_message_back(config: CoreConfig) {
    let full: &'static AtomicBool = Box::leak(Box::default());
    on_cores(config, 2, 4, move |core, port| async move {
        let other = CoreId(1);
        if port.core() == other {
            raised(&core, full).await;
            for n in 0..5 {
                assert_eq!(port.recv().await, (CoreId(0), n));
            }
            return;
        }
        for n in 0..4 {
            assert_eq!(port.send(other, n), Ok(()));
        }
        assert_eq!((port.send(other, 9), port.depth(other), port.refused()), (Err(9), 4, 1));
        full.store(true, Release);
        port.send_wait(other, 4).await;
    });
}

fn a_sender_that_gives_up_wakes_the_next(config: CoreConfig) {
    let gave_up: &'static AtomicBool = Box::leak(Box::default());
    on_cores(config, 2, 2, move |core, port| async move {
        let other = CoreId(1);
        if port.core() == other {
            raised(&core, gave_up).await;
            for n in [0, 1, 2] {
                assert_eq!(port.recv().await.1, n);
            }
            return;
        }
        port.send(other, 0).expect("room");
        port.send(other, 1).expect("room");
        let port = Rc::new(port);
        let patient = port.clone();
        let done = Rc::new(Cell::new(false));
        let finished = done.clone();
        core.spawn(async move {
            patient.send_wait(other, 2).await;
            finished.set(true);
        });
        core.yield_now().await;
        assert!(core.timeout(2 * MS, port.send_wait(other, 99)).await.is_err(), "announced last, gave up");
        gave_up.store(true, Release);
        while !done.get() {
            core.sleep(MS).await;
        }
    });
}

fn an_inbox_takes_from_threads(config: CoreConfig) {
    let (sender, receiver) = inbox::<u64>(16);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let sender = sender.clone();
            std::thread::Builder::new().spawn(move || {
                for n in 0..2_000 {
                    sender.send_blocking(n);
                }
            })
        })
        .collect();
    go(config, async move |core| {
        let mut sum = 0;
        for _ in 0..6_000 {
            sum += core.timeout(20_000 * MS, receiver.recv()).await.expect("not lost");
        }
        assert_eq!(sum, 3 * 1_999_000);
        assert!(receiver.try_recv().is_none());
    });
    for thread in threads {
        thread.expect("a thread").join().expect("no panic");
    }
    for n in 0..16 {
        assert!(sender.try_send(n).is_ok());
    }
    assert_eq!(sender.try_send(16), Err(crate::InboxFull(16)));
}

fn an_outbox_gives_to_a_thread(config: CoreConfig) {
    let (sender, receiver) = outbox::<u64>(1_024).expect("a descriptor");
    let core = std::thread::Builder::new().spawn(move || {
        run(config, async move |core| {
            for n in 0..500 {
                sender.try_send(n).expect("room");
                if n % 50 == 0 {
                    core.sleep(MS).await;
                }
            }
        })
    });
    for n in 0..500 {
        assert_eq!(receiver.recv_timeout(Duration::from_secs(120)), Some(n));
    }
    core.expect("a thread").join().expect("no panic").expect("the core runs");
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), None);
}
