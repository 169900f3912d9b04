//! One MD5 stream and the scalar compression.
//!
//! Invariant: `tail` holds the last `bytes % 64` bytes, not yet compressed. One core at a time.

use crate::BLOCK_BYTES;

/// RFC 1321 §3.4: the integer part of 2^32 times abs(sin(i)).
#[rustfmt::skip]
pub(crate) const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// RFC 1321 §3.3.
pub(crate) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The four rounds of RFC 1321 §3.4: for each of the 64 steps the callback `$step!(round, a, b, c, d, word,
/// shift, index)`, where a to d are positions in the state.
macro_rules! md5_steps {
    ($step:ident) => {
        md5_steps!(@round $step F 0 [7 12 17 22] [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
        md5_steps!(@round $step G 16 [5 9 14 20] [1 6 11 0 5 10 15 4 9 14 3 8 13 2 7 12]);
        md5_steps!(@round $step H 32 [4 11 16 23] [5 8 11 14 1 4 7 10 13 0 3 6 9 12 15 2]);
        md5_steps!(@round $step I 48 [6 10 15 21] [0 7 14 5 12 3 10 1 8 15 6 13 4 11 2 9]);
    };
    (@round $step:ident $round:ident $first:literal [$s0:literal $s1:literal $s2:literal $s3:literal]
     [$w0:literal $w1:literal $w2:literal $w3:literal $w4:literal $w5:literal $w6:literal $w7:literal
      $w8:literal $w9:literal $w10:literal $w11:literal $w12:literal $w13:literal $w14:literal $w15:literal]) => {
        md5_steps!(@four $step $round ($first) [$s0 $s1 $s2 $s3] [$w0 $w1 $w2 $w3]);
        md5_steps!(@four $step $round ($first + 4) [$s0 $s1 $s2 $s3] [$w4 $w5 $w6 $w7]);
        md5_steps!(@four $step $round ($first + 8) [$s0 $s1 $s2 $s3] [$w8 $w9 $w10 $w11]);
        md5_steps!(@four $step $round ($first + 12) [$s0 $s1 $s2 $s3] [$w12 $w13 $w14 $w15]);
    };
    (@four $step:ident $round:ident ($first:expr) [$s0:literal $s1:literal $s2:literal $s3:literal]
     [$w0:literal $w1:literal $w2:literal $w3:literal]) => {
        $step!($round, 0, 1, 2, 3, $w0, $s0, $first);
        $step!($round, 3, 0, 1, 2, $w1, $s1, $first + 1);
        $step!($round, 2, 3, 0, 1, $w2, $s2, $first + 2);
        $step!($round, 1, 2, 3, 0, $w3, $s3, $first + 3);
    };
}
pub(crate) use md5_steps;

/// Takes whole blocks into `state`.
pub(crate) fn compress(state: &mut [u32; 4], blocks: &[u8]) {
    let (blocks, rest) = blocks.as_chunks::<BLOCK_BYTES>();
    assert!(rest.is_empty(), "whole blocks only");
    let mut s = *state;
    for block in blocks {
        let mut words = [0u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let before = s;
        // The sums wait for nothing but the step before: the newest value, `b`, enters as late as it can.
        macro_rules! step {
            (F, $a:tt, $b:tt, $c:tt, $d:tt, $word:literal, $shift:literal, $index:expr) => {
                let sum = s[$a].wrapping_add(SINES[$index]).wrapping_add(words[$word]);
                let sum = sum.wrapping_add(s[$d] ^ (s[$b] & (s[$c] ^ s[$d])));
                s[$a] = sum.rotate_left($shift).wrapping_add(s[$b]);
            };
            (G, $a:tt, $b:tt, $c:tt, $d:tt, $word:literal, $shift:literal, $index:expr) => {
                let sum = s[$a].wrapping_add(SINES[$index]).wrapping_add(words[$word]);
                let sum = sum.wrapping_add(!s[$d] & s[$c]).wrapping_add(s[$d] & s[$b]);
                s[$a] = sum.rotate_left($shift).wrapping_add(s[$b]);
            };
            (H, $a:tt, $b:tt, $c:tt, $d:tt, $word:literal, $shift:literal, $index:expr) => {
                let sum = s[$a].wrapping_add(SINES[$index]).wrapping_add(words[$word]);
                let sum = sum.wrapping_add((s[$c] ^ s[$d]) ^ s[$b]);
                s[$a] = sum.rotate_left($shift).wrapping_add(s[$b]);
            };
            (I, $a:tt, $b:tt, $c:tt, $d:tt, $word:literal, $shift:literal, $index:expr) => {
                let sum = s[$a].wrapping_add(SINES[$index]).wrapping_add(words[$word]);
                let sum = sum.wrapping_add(s[$c] ^ (s[$b] | !s[$d]));
                s[$a] = sum.rotate_left($shift).wrapping_add(s[$b]);
            };
        }
        md5_steps!(step);
        for (now, before) in s.iter_mut().zip(before) {
            *now = now.wrapping_add(before);
        }
    }
    *state = s;
}

/// One MD5 stream.
#[derive(Clone)]
pub struct Md5 {
    pub(crate) state: [u32; 4],
    tail: [u8; BLOCK_BYTES],
    pub(crate) bytes: u64,
}

impl Default for Md5 {
    fn default() -> Self {
        Self { state: START, tail: [0; BLOCK_BYTES], bytes: 0 }
    }
}

impl Md5 {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill_tail(bytes);
        let whole = bytes.len() / BLOCK_BYTES * BLOCK_BYTES;
        compress(&mut self.state, &bytes[..whole]);
        self.bytes += whole as u64;
        self.keep_tail(&bytes[whole..]);
    }

    /// Completes a block begun earlier, if there is one, and gives what is left: at a block's start, or
    /// empty.
    pub(crate) fn fill_tail<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let begun = self.tail_bytes();
        if begun == 0 {
            return bytes;
        }
        let take = (BLOCK_BYTES - begun).min(bytes.len());
        let (first, rest) = bytes.split_at(take);
        self.tail[begun..begun + take].copy_from_slice(first);
        self.bytes += take as u64;
        if begun + take == BLOCK_BYTES {
            compress(&mut self.state, &self.tail);
        }
        rest
    }

    /// Keeps less than a block for later.
    pub(crate) fn keep_tail(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        assert!(bytes.len() < BLOCK_BYTES && self.tail_bytes() == 0, "{} bytes of a tail", bytes.len());
        self.tail[..bytes.len()].copy_from_slice(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn tail_bytes(&self) -> usize {
        (self.bytes % BLOCK_BYTES as u64) as usize
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        const LENGTH_AT: usize = BLOCK_BYTES - 8;
        // RFC 1321 §3.2: the length counts bits, modulo 2^64.
        let bits = self.bytes.wrapping_mul(8);
        let mut padding = [0u8; 2 * BLOCK_BYTES];
        let begun = self.tail_bytes();
        padding[..begun].copy_from_slice(&self.tail[..begun]);
        padding[begun] = 0x80;
        let end = if begun < LENGTH_AT { BLOCK_BYTES } else { 2 * BLOCK_BYTES };
        padding[end - 8..end].copy_from_slice(&bits.to_le_bytes());
        compress(&mut self.state, &padding[..end]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    /// Of one slice.
    #[must_use]
    pub fn of(bytes: &[u8]) -> [u8; 16] {
        let mut md5 = Self::new();
        md5.update(bytes);
        md5.finish()
    }
}
