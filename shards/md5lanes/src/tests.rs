//! Digests against RFC 1321 §A.5 and against an independent implementation, alone and in company.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
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

/// Polls all in turn until done, as the executor of a core does.
fn drive<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    while futures.iter().any(|(_, out)| out.is_none()) {
        for (future, out) in futures.iter_mut().filter(|(_, out)| out.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                *out = Some(output);
            }
        }
    }
    futures.into_iter().filter_map(|(_, out)| out).collect()
}

#[test]
fn bodies_that_wait_together_are_hashed_together() {
    let lanes = Md5Lanes::default();
    let bodies: Vec<Vec<u8>> = (0..40).map(|n| pattern(n, n as usize * 7_919)).collect();
    let waiting = bodies.iter().map(|body| lanes.update(Md5::new(), body.clone())).collect();
    for ((md5, given), body) in drive(waiting).into_iter().zip(&bodies) {
        assert!(given == *body && md5.finish() == reference(body));
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
