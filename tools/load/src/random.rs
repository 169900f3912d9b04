//! Repeatable randomness: a run is its seed.
//!
//! Invariant: the same seed gives the same numbers. Any thread, one owner.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes of which no block of 4 KiB occurs anywhere else.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        const BLOCK_BYTES: usize = 4096;
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        while block.len() < BLOCK_BYTES.min(count.next_multiple_of(8)) {
            block.extend_from_slice(&self.next().to_le_bytes());
        }
        let mut bytes = Vec::with_capacity(count + BLOCK_BYTES);
        while bytes.len() < count {
            block[..8].copy_from_slice(&self.next().to_le_bytes());
            bytes.extend_from_slice(&block);
        }
        bytes.truncate(count);
        bytes
    }
}
