//! Target of runs and manifests.
//!
//! Invariant: no bytes bring a decoder down, a block has the rows its entry says, and a manifest that decodes
//! encodes to one that is the same. Owner: the storage group.

/// Bytes from which on nothing is looked at.
const INPUT_BYTES_MAX: usize = 256 << 10;

/// A block, an index or a manifest.
pub fn checkpoint(bytes: &[u8]) {
    stria_store::fuzz_decode(&bytes[..bytes.len().min(INPUT_BYTES_MAX)]);
}
