//! CRC32C as the log, the index and the extents use it: always seeded with the identity of what it
//! covers, so that a valid block in the wrong place fails (reliability of misdirected and lost writes).

use crate::{DataId, hash::hash64};

/// CRC32C (Castagnoli) of `bytes`, unseeded. Check value of `123456789`: `0xE3069283`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC32C of `bytes` mixed with `seed`, the identity of the place: bytes that are valid elsewhere (an
/// earlier lap of the log, another body) do not verify here.
#[must_use]
pub fn crc32c_seeded(seed: u64, bytes: &[u8]) -> u32 {
    seed_crc(seed, crc32c(bytes))
}

/// Mixes `seed` into a finished `crc`; twice takes it off again.
#[must_use]
pub fn seed_crc(seed: u64, crc: u32) -> u32 {
    crc ^ seed as u32 ^ (seed >> 32) as u32
}

/// The seed of block `block_index` of body `id`.
#[must_use]
pub fn block_seed(id: DataId, block_index: u64) -> u64 {
    hash64(block_index, &id.0.to_le_bytes())
}

/// Checksum of block `block_index` of body `id`.
#[must_use]
pub fn block_crc(id: DataId, block_index: u64, bytes: &[u8]) -> u32 {
    crc32c_seeded(block_seed(id, block_index), bytes)
}

/// CRC32C over pieces.
pub struct Crc32c(crc_fast::Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The checksum of all pieces.
    #[must_use]
    pub fn finish(&self) -> u32 {
        self.0.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_castagnoli_polynomial() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn pieces_sum_up_to_the_whole() {
        let mut pieces = Crc32c::default();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.finish(), crc32c(b"123456789"));
    }

    #[test]
    fn a_block_elsewhere_does_not_verify() {
        let block = [7u8; 4096];
        let here = block_crc(DataId(1), 0, &block);
        assert_ne!(here, block_crc(DataId(1), 1, &block));
        assert_ne!(here, block_crc(DataId(2), 0, &block));
    }
}
