//! Advancing several streams by several inputs in one go.
//!
//! Invariant: every stream takes all of its input, as if alone; lanes without a stream compute on a copy
//! that is thrown away. One core.

use crate::{BLOCK_BYTES, stream::Md5};

/// Streams that share one pass at most.
pub const LANES_MAX: usize = 16;

/// A stream at a block's start and the whole blocks it still takes.
struct Lane<'a> {
    md5: &'a mut Md5,
    blocks: &'a [u8],
}

/// Gives each stream its bytes. Streams advance together where the CPU can; more than [`LANES_MAX`] take
/// several passes. Best when the inputs are equally long.
pub fn update_together(streams: &mut [(&mut Md5, &[u8])]) {
    let mut lanes = Vec::with_capacity(streams.len());
    let mut tails = Vec::with_capacity(streams.len());
    for (md5, bytes) in &mut *streams {
        let rest = md5.fill_tail(bytes);
        let (blocks, tail) = rest.split_at(rest.len() / BLOCK_BYTES * BLOCK_BYTES);
        tails.push(tail);
        if !blocks.is_empty() {
            lanes.push(Lane { md5, blocks });
        }
    }
    while let [first, others @ ..] = &mut *lanes {
        if others.is_empty() || !have_vectors() {
            crate::stream::compress(&mut first.md5.state, first.blocks);
            first.md5.bytes += first.blocks.len() as u64;
            lanes.swap_remove(0);
            continue;
        }
        let count = lanes.len().min(LANES_MAX);
        let bytes = lanes[..count].iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        advance(&mut lanes[..count], bytes);
        lanes.retain(|lane| !lane.blocks.is_empty());
    }
    for ((md5, _), tail) in streams.iter_mut().zip(tails) {
        md5.keep_tail(tail);
    }
}

#[cfg(target_arch = "x86_64")]
fn have_vectors() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn have_vectors() -> bool {
    false
}

/// Advances every lane by its first `bytes`.
#[cfg(target_arch = "x86_64")]
fn advance(lanes: &mut [Lane<'_>], bytes: usize) {
    if lanes.len() > crate::avx2::LANES {
        advance_groups::<2>(lanes, bytes)
    } else {
        advance_groups::<1>(lanes, bytes)
    }
}

#[cfg(target_arch = "x86_64")]
fn advance_groups<const G: usize>(lanes: &mut [Lane<'_>], bytes: usize) {
    use crate::avx2::LANES;
    assert!(!lanes.is_empty() && lanes.len() <= G * LANES && have_vectors());
    let mut states = [[lanes[0].md5.state; LANES]; G];
    let mut data = [[&lanes[0].blocks[..bytes]; LANES]; G];
    for (i, lane) in lanes.iter().enumerate() {
        states[i / LANES][i % LANES] = lane.md5.state;
        data[i / LANES][i % LANES] = &lane.blocks[..bytes];
    }
    // SAFETY: the assertion above asked the CPU for AVX2.
    unsafe { crate::avx2::compress::<G>(&mut states, &data) };
    for (i, lane) in lanes.iter_mut().enumerate() {
        lane.md5.state = states[i / LANES][i % LANES];
        lane.md5.bytes += bytes as u64;
        lane.blocks = &lane.blocks[bytes..];
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn advance(lanes: &mut [Lane<'_>], bytes: usize) {
    for lane in lanes {
        crate::stream::compress(&mut lane.md5.state, &lane.blocks[..bytes]);
        lane.md5.bytes += bytes as u64;
        lane.blocks = &lane.blocks[bytes..];
    }
}
