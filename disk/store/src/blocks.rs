//! A set of 4 KiB blocks of a range of a volume, one bit each.
//!
//! Invariant: what lies outside of the range is left out, never wrapped into it. Plain memory of one core; two
//! cores hand it to each other whole.

use stria_env::disk::BLOCK_BYTES;

/// Blocks of `first..first + bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    first: u64,
    count: u64,
    words: Vec<u64>,
}

impl Blocks {
    /// None of them.
    pub fn new(first: u64, bytes: u64) -> Self {
        let count = bytes / BLOCK_BYTES;
        Self { first, count, words: vec![0; count.div_ceil(64) as usize] }
    }

    /// The part of `start..start + bytes` in the range, as numbers of blocks.
    fn part(&self, start: u64, bytes: u64) -> (u64, u64) {
        let number = |at: u64| at.saturating_sub(self.first).div_ceil(BLOCK_BYTES).min(self.count);
        (start.saturating_sub(self.first) / BLOCK_BYTES, number(start + bytes))
    }

    /// Calls with each word the part touches and the mask of its bits there.
    fn each_word(&mut self, start: u64, bytes: u64, mut each: impl FnMut(usize, &mut u64, u64)) {
        let (mut from, to) = self.part(start, bytes);
        while from < to {
            let (word, bit) = ((from / 64) as usize, from % 64);
            let bits = (to - from).min(64 - bit);
            let mask = (u64::MAX >> (64 - bits)) << bit;
            each(word, &mut self.words[word], mask);
            from += bits;
        }
    }

    /// Adds blocks.
    pub fn add(&mut self, start: u64, bytes: u64) {
        self.each_word(start, bytes, |_, word, mask| *word |= mask);
    }

    /// Adds blocks, and those that were there before to `twice`, which is of the same range.
    pub fn add_counting(&mut self, start: u64, bytes: u64, twice: &mut Self) {
        assert_eq!((self.first, self.count), (twice.first, twice.count));
        self.each_word(start, bytes, |at, word, mask| {
            twice.words[at] |= *word & mask;
            *word |= mask;
        });
    }

    /// Combines with a set of the same range, word by word.
    pub fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        assert_eq!((self.first, self.count), (other.first, other.count));
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word = with(*word, *other);
        }
    }

    /// Those that are in, as ranges of bytes: start and bytes.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (at, &word) in self.words.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                let block = at as u64 * 64 + u64::from(left.trailing_zeros());
                left &= left - 1;
                let start = self.first + block * BLOCK_BYTES;
                match ranges.last_mut() {
                    Some((from, bytes)) if *from + *bytes == start => *bytes += BLOCK_BYTES,
                    _ if block < self.count => ranges.push((start, BLOCK_BYTES)),
                    _ => {}
                }
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against one flag per block.
        #[test]
        fn equals_flags(adds in proptest::collection::vec((0u64..300, 1u64..200), 0..12)) {
            let first = 1 << 22;
            let (mut blocks, mut twice) = (Blocks::new(first, 200 * 4096), Blocks::new(first, 200 * 4096));
            let mut counts = [0u32; 200];
            for (start, count) in adds {
                blocks.add_counting(first + start * 4096, count * 4096, &mut twice);
                (start..(start + count).min(200)).for_each(|block| counts[block as usize] += 1);
            }
            let flags = |ranges: Vec<(u64, u64)>| {
                let mut flags = [false; 200];
                for (start, bytes) in ranges {
                    let from = ((start - first) / 4096) as usize;
                    flags[from..from + (bytes / 4096) as usize].fill(true);
                }
                flags
            };
            prop_assert_eq!(flags(blocks.ranges()), counts.map(|count| count > 0));
            prop_assert_eq!(flags(twice.ranges()), counts.map(|count| count > 1));
        }
    }

    #[test]
    fn what_lies_before_the_range_is_left_out() {
        let mut blocks = Blocks::new(8192, 4 * 4096);
        blocks.add(0, 12288);
        assert_eq!(blocks.ranges(), [(8192, 4096)]);
        blocks.add(0, 4096);
        assert_eq!(blocks.ranges(), [(8192, 4096)]);
    }
}
