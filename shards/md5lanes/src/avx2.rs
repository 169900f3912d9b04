//! Eight or sixteen MD5 streams in AVX2 registers.
//!
//! Invariant: lane `n` of every register belongs to stream `n`, and no operation mixes lanes but the
//! transposition that spreads the message. Any core with AVX2; the one caller asks the CPU first.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use crate::{
    BLOCK_BYTES,
    stream::{SINES, md5_steps},
};

/// Streams in one register.
pub(crate) const LANES: usize = 8;

/// Advances `G * 8` streams by the whole blocks of `data`, which are equally long. States and data are by
/// lane.
///
/// # Panics
/// When the data differ in length or are no whole blocks.
#[target_feature(enable = "avx2")]
pub(crate) fn compress<const G: usize>(states: &mut [[[u32; 4]; LANES]; G], data: &[[&[u8]; LANES]; G]) {
    let bytes = data[0][0].len();
    assert!(bytes.is_multiple_of(BLOCK_BYTES) && data.iter().flatten().all(|lane| lane.len() == bytes));
    let mut s = states.each_ref().map(|group| load_states(group));
    for block in (0..bytes).step_by(BLOCK_BYTES) {
        let words = data.each_ref().map(|group| spread(group, block));
        let before = s;
        rounds(&mut s, &words);
        for g in 0..G {
            for i in 0..4 {
                s[g][i] = _mm256_add_epi32(s[g][i], before[g][i]);
            }
        }
    }
    for (group, s) in states.iter_mut().zip(s) {
        store_states(group, s);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn rounds<const G: usize>(s: &mut [[__m256i; 4]; G], words: &[[__m256i; 16]; G]) {
    let ones = _mm256_set1_epi32(-1);
    macro_rules! step {
        ($round:ident, $a:tt, $b:tt, $c:tt, $d:tt, $word:literal, $shift:literal, $index:expr) => {
            for g in 0..G {
                let (b, c, d) = (s[g][$b], s[g][$c], s[g][$d]);
                let sine = _mm256_set1_epi32(SINES[$index] as i32);
                let sum = _mm256_add_epi32(_mm256_add_epi32(s[g][$a], sine), words[g][$word]);
                let sum = step!(@$round sum b c d);
                let turned =
                    _mm256_or_si256(_mm256_slli_epi32::<$shift>(sum), _mm256_srli_epi32::<{ 32 - $shift }>(sum));
                s[g][$a] = _mm256_add_epi32(turned, b);
            }
        };
        (@F $sum:ident $b:ident $c:ident $d:ident) => {
            _mm256_add_epi32($sum, _mm256_xor_si256($d, _mm256_and_si256($b, _mm256_xor_si256($c, $d))))
        };
        (@G $sum:ident $b:ident $c:ident $d:ident) => {
            _mm256_add_epi32(_mm256_add_epi32($sum, _mm256_andnot_si256($d, $c)), _mm256_and_si256($d, $b))
        };
        (@H $sum:ident $b:ident $c:ident $d:ident) => {
            _mm256_add_epi32($sum, _mm256_xor_si256(_mm256_xor_si256($c, $d), $b))
        };
        (@I $sum:ident $b:ident $c:ident $d:ident) => {
            _mm256_add_epi32($sum, _mm256_xor_si256($c, _mm256_or_si256($b, _mm256_xor_si256($d, ones))))
        };
    }
    md5_steps!(step);
}

/// The 16 words of a block of each lane, word by word.
#[target_feature(enable = "avx2")]
#[inline]
fn spread(lanes: &[&[u8]; LANES], at: usize) -> [__m256i; 16] {
    let mut words = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let mut rows = [_mm256_setzero_si256(); 8];
        for (row, lane) in rows.iter_mut().zip(lanes) {
            let bytes = &lane[at + half * 32..at + half * 32 + 32];
            // SAFETY: 32 readable bytes; no alignment is asked.
            *row = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        }
        words[half * 8..half * 8 + 8].copy_from_slice(&transpose(rows));
    }
    words
}

/// Rows of 8 words become columns.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(r: [__m256i; 8]) -> [__m256i; 8] {
    let mut pairs = r;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut quads = r;
    for i in 0..2 {
        let p = &pairs[4 * i..4 * i + 4];
        quads[4 * i] = _mm256_unpacklo_epi64(p[0], p[2]);
        quads[4 * i + 1] = _mm256_unpackhi_epi64(p[0], p[2]);
        quads[4 * i + 2] = _mm256_unpacklo_epi64(p[1], p[3]);
        quads[4 * i + 3] = _mm256_unpackhi_epi64(p[1], p[3]);
    }
    let mut out = r;
    for i in 0..4 {
        out[i] = _mm256_permute2x128_si256::<0x20>(quads[i], quads[i + 4]);
        out[i + 4] = _mm256_permute2x128_si256::<0x31>(quads[i], quads[i + 4]);
    }
    out
}

#[target_feature(enable = "avx2")]
fn load_states(states: &[[u32; 4]; LANES]) -> [__m256i; 4] {
    let column = |i: usize| {
        let words: [u32; LANES] = states.map(|state| state[i]);
        // SAFETY: 32 readable bytes; no alignment is asked.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    };
    [column(0), column(1), column(2), column(3)]
}

#[target_feature(enable = "avx2")]
fn store_states(states: &mut [[u32; 4]; LANES], s: [__m256i; 4]) {
    for (i, column) in s.into_iter().enumerate() {
        let mut words = [0u32; LANES];
        // SAFETY: 32 writable bytes; no alignment is asked.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), column) };
        for (state, word) in states.iter_mut().zip(words) {
            state[i] = word;
        }
    }
}
