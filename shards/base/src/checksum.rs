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
    crc32c(bytes) ^ (seed as u32) ^ ((seed >> 32) as u32)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_castagnoli_polynomial() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_block_elsewhere_does_not_verify() {
        let block = [7u8; 4096];
        let here = block_crc(DataId(1), 0, &block);
        assert_ne!(here, block_crc(DataId(1), 1, &block));
        assert_ne!(here, block_crc(DataId(2), 0, &block));
    }
}
