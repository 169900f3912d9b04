//! Digests against RFC 1321 §A.5 and against an independent implementation, alone and in company.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use md5::Digest as _;
use proptest::prelude::*;

use crate::{Md5, Md5Lanes, update_together};

fn reference(bytes: &[u8]) -> [u8; 16] {
    md5::Md5::digest(bytes).into()
}

fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut word = seed | 1;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn the_vectors_of_rfc_1321() {
    let vectors: [(&str, u128); 7] = [
        ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e),
        ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
        ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
        ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
        ("abcdefghijklmnopqrstuvwxyz", 0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            0xd174_ab98_d277_d9f5_a561_1c2c_9f41_9d9f,
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a,
        ),
    ];
    for (text, digest) in vectors {
        assert_eq!(u128::from_be_bytes(Md5::of(text.as_bytes())), digest, "{text}");
    }
}

#[test]
fn every_length_around_a_block() {
    let bytes = pattern(7, 300);
    for end in 0..bytes.len() {
        assert_eq!(Md5::of(&bytes[..end]), reference(&bytes[..end]), "{end} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn company_and_cuts_change_no_digest(
        streams in prop::collection::vec((any::<u64>(), prop::collection::vec(0usize..700, 0..5)), 0..37),
        passes in 0usize..5,
    ) {
        let bodies: Vec<Vec<u8>> =
            streams.iter().map(|(seed, cuts)| pattern(*seed, cuts.iter().sum())).collect();
        let mut hashers = vec![Md5::new(); bodies.len()];
        let mut at = vec![0; bodies.len()];
        for pass in 0..5 {
            let mut together = Vec::new();
            for (i, md5) in hashers.iter_mut().enumerate() {
                let take = streams[i].1.get(pass).copied().unwrap_or(0);
                let bytes = &bodies[i][at[i]..at[i] + take];
                at[i] += take;
                if pass < passes { together.push((md5, bytes)) } else { md5.update(bytes) }
            }
            update_together(&mut together);
        }
        for (md5, body) in hashers.into_iter().zip(&bodies) {
            prop_assert_eq!(md5.finish(), reference(body));
        }
    }
}

/// Whether a task was woken since it was last polled.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls those that were woken, as the executor of a core does, until all are done. From turn to turn
/// `start` says how many have been started by then, and `give_up` which are dropped.
fn drive<F: Future>(
    futures: Vec<F>,
    start: impl Fn(usize) -> usize,
    give_up: impl Fn(usize, usize) -> bool,
) -> Vec<Option<F::Output>> {
    let mut tasks: Vec<_> =
        futures.into_iter().map(|future| (Some(Box::pin(future)), Arc::new(Woken::default()))).collect();
    let mut outputs: Vec<Option<F::Output>> = tasks.iter().map(|_| None).collect();
    let mut started = 0;
    for turn in 0.. {
        while started < start(turn).min(tasks.len()) {
            tasks[started].1.0.store(true, Ordering::Relaxed);
            started += 1;
        }
        let mut polled = false;
        for (n, (task, woken)) in tasks.iter_mut().enumerate() {
            if give_up(turn, n) {
                *task = None;
            }
            let Some(future) = task else { continue };
            if !woken.0.swap(false, Ordering::Relaxed) {
                continue;
            }
            polled = true;
            let waker = Waker::from(woken.clone());
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                outputs[n] = Some(output);
                *task = None;
            }
        }
        if tasks.iter().all(|(task, _)| task.is_none()) {
            break;
        }
        assert!(polled || started < tasks.len(), "everybody waits and nobody leads");
    }
    outputs
}

#[test]
fn bodies_that_wait_together_are_hashed_together() {
    let bodies: Vec<Vec<u8>> = (0..40).map(|n| pattern(n, n as usize * 7_919)).collect();
    for step in [1, 3, 40] {
        let lanes = Md5Lanes::default();
        let waiting = bodies.iter().map(|body| lanes.update(Md5::new(), body.clone())).collect();
        let outputs = drive(waiting, |turn| (turn + 1) * step, |_, _| false);
        for (output, body) in outputs.into_iter().zip(&bodies) {
            let (md5, given) = output.expect("nobody gave up");
            assert!(given == *body && md5.finish() == reference(body));
        }
    }
}

#[test]
fn whoever_gives_up_hands_the_lead_on() {
    let bodies: Vec<Vec<u8>> = (0..24).map(|n| pattern(n, 100_000 + n as usize)).collect();
    let lanes = Md5Lanes::default();
    let waiting = bodies.iter().map(|body| lanes.update(Md5::new(), body.clone())).collect();
    let gone = |turn: usize, n: usize| n.is_multiple_of(3) && turn > n / 6;
    let outputs = drive(waiting, |turn| 4 * (turn + 1), gone);
    for (n, (output, body)) in outputs.into_iter().zip(&bodies).enumerate() {
        match output {
            Some((md5, _)) => assert_eq!(md5.finish(), reference(body)),
            None => assert!(n.is_multiple_of(3), "{n} was not done"),
        }
    }
}

#[test]
fn a_body_that_is_given_up_holds_nobody() {
    let lanes = Md5Lanes::default();
    let body = pattern(3, 200_000);
    let mut context = Context::from_waker(Waker::noop());
    let mut kept = pin!(lanes.update(Md5::new(), body.clone()));
    {
        let mut dropped = pin!(lanes.update(Md5::new(), pattern(4, 200_000)));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        assert!(kept.as_mut().poll(&mut context).is_pending());
        assert!(dropped.as_mut().poll(&mut context).is_pending(), "a slice of both");
    }
    let (md5, _) = loop {
        if let Poll::Ready(outcome) = kept.as_mut().poll(&mut context) {
            break outcome;
        }
    };
    assert_eq!(md5.finish(), reference(&body));
}
