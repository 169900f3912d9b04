//! Rows and what they point at. Layout of stored parts: docs/format/rows.md.

use std::sync::Arc;

use bytes::Bytes;
use stria_base::{
    DataId, Hlc, MIB, VolumeId,
    limits::{EXTENT_BYTES_MAX, INLINE_BYTES_MAX},
};

/// A contiguous range of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Which volume.
    pub volume: VolumeId,
    /// First byte, a multiple of 4 KiB.
    pub offset: u64,
    /// A multiple of 4 KiB, at most 4 MiB.
    pub bytes: u32,
}

/// Where `bytes` from byte `at` of what lies in `extents` are, in order, in pieces of at most `most`: volume, offset,
/// bytes. Ends early where the extents do.
pub(crate) fn pieces(
    extents: &[Extent],
    at: u64,
    bytes: u64,
    most: u64,
) -> impl Iterator<Item = (VolumeId, u64, u64)> {
    let end = at.saturating_add(bytes);
    let starts = extents.iter().scan(0, |next, extent| {
        let start = *next;
        *next += u64::from(extent.bytes);
        Some((start, extent))
    });
    starts.flat_map(move |(start, extent)| {
        let (from, to) = (at.max(start), end.min(start + u64::from(extent.bytes)));
        let firsts = (from..to.max(from)).step_by(most.max(1) as usize);
        firsts.map(move |first| (extent.volume, extent.offset + (first - start), most.min(to - first)))
    })
}

/// Space given out and named by no row yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The pieces in order.
    pub extents: Vec<Extent>,
}

/// Where a large body lies, and its checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentBody {
    /// Its identity.
    pub id: DataId,
    /// Its size.
    pub bytes: u64,
    /// Binary logarithm of the bytes one checksum covers.
    pub block_log2: u8,
    /// Where it lies, in order.
    pub extents: Vec<Extent>,
    /// Of each block.
    pub crcs: Vec<u32>,
}

/// Bodies up to this have checksums of small blocks.
const SMALL_BLOCK_BODY_BYTES_MAX: u64 = 64 * MIB;
const BLOCK_LOG2_SMALL: u8 = 16;
const BLOCK_LOG2_LARGE: u8 = 20;
const DESCRIPTION_HEADER_BYTES: usize = 40;
const EXTENT_BYTES: usize = 16;

const _: () = assert!(EXTENT_BYTES_MAX.is_multiple_of(1 << BLOCK_LOG2_LARGE), "a piece holds whole blocks");
const _: () = assert!(INLINE_BYTES_MAX < u32::MAX as u64);

/// Binary logarithm of the checksum block for a body of `bytes`: small blocks make small reads cheap, large ones keep
/// the rows of large bodies small (64 KiB: 1/16384 of the body in memory; 1 MiB: 1/262144).
#[must_use]
pub fn block_log2(bytes: u64) -> u8 {
    if bytes <= SMALL_BLOCK_BODY_BYTES_MAX { BLOCK_LOG2_SMALL } else { BLOCK_LOG2_LARGE }
}

impl ExtentBody {
    /// As stored in a record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            DESCRIPTION_HEADER_BYTES + self.extents.len() * EXTENT_BYTES + self.crcs.len() * 4,
        );
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&u32::from(self.block_log2).to_le_bytes());
        out.extend_from_slice(&(self.extents.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.crcs.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for extent in &self.extents {
            out.extend_from_slice(&extent.volume.0.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&extent.bytes.to_le_bytes());
            out.extend_from_slice(&extent.offset.to_le_bytes());
        }
        for crc in &self.crcs {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        out
    }

    /// Decodes a stored description; `None` when it is none or its numbers do not fit together.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<DESCRIPTION_HEADER_BYTES>()?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let extent_count = u32_at(28) as usize;
        let crc_count = u32_at(32) as usize;
        let wanted = DESCRIPTION_HEADER_BYTES
            .checked_add(extent_count.checked_mul(EXTENT_BYTES)?)?
            .checked_add(crc_count.checked_mul(4)?)?;
        if bytes.len() != wanted {
            return None;
        }
        let (extents, crcs) = bytes[DESCRIPTION_HEADER_BYTES..].split_at(extent_count * EXTENT_BYTES);
        let (extents, crcs) = (extents.as_chunks::<EXTENT_BYTES>().0, crcs.as_chunks::<4>().0);
        let body = Self {
            id: DataId(u128::from_le_bytes(head[..16].try_into().ok()?)),
            bytes: u64::from_le_bytes(head[16..24].try_into().ok()?),
            block_log2: u8::try_from(u32_at(24)).ok()?,
            extents: extents
                .iter()
                .map(|e| Extent {
                    volume: VolumeId(u16::from_le_bytes([e[0], e[1]])),
                    bytes: u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
                    offset: u64::from_le_bytes([e[8], e[9], e[10], e[11], e[12], e[13], e[14], e[15]]),
                })
                .collect(),
            crcs: crcs.iter().map(|crc| u32::from_le_bytes(*crc)).collect(),
        };
        body.is_consistent().then_some(body)
    }

    /// Bytes of one checksum block.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        1 << self.block_log2
    }

    fn is_consistent(&self) -> bool {
        let blocks_fit = (12..=26).contains(&self.block_log2)
            && self.bytes.div_ceil(self.block_bytes()) == self.crcs.len() as u64;
        let room: u64 = self.extents.iter().map(|extent| u64::from(extent.bytes)).sum();
        let aligned = self.extents.iter().all(|e| {
            e.offset.is_multiple_of(4096)
                && e.bytes.is_multiple_of(4096)
                && e.bytes > 0
                && e.offset.checked_add(u64::from(e.bytes)).is_some()
        });
        let whole_blocks =
            self.extents.iter().rev().skip(1).all(|e| u64::from(e.bytes).is_multiple_of(self.block_bytes()));
        blocks_fit && aligned && whole_blocks && room >= self.bytes
    }
}

/// A change to one row.
#[derive(Clone, Debug)]
pub enum Change {
    /// The row is this from now on.
    Put {
        /// Row key.
        key: Box<[u8]>,
        /// Metadata.
        meta: Box<[u8]>,
        /// Body.
        body: NewBody,
    },
    /// The row is gone.
    Delete {
        /// Row key.
        key: Box<[u8]>,
    },
}

impl Change {
    /// Key of the row it changes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let (Self::Put { key, .. } | Self::Delete { key }) = self;
        key
    }
}

/// The body of a row being written.
#[derive(Clone, Debug)]
pub enum NewBody {
    /// There is none.
    None,
    /// Into the log with the row.
    Inline {
        /// Its identity.
        id: DataId,
        /// Its bytes, at most 32 KiB by convention of the caller.
        bytes: Bytes,
    },
    /// Durable in extents already. When the row it replaces has a body of the same identity, the extents
    /// stay: only metadata changes.
    Extents(Box<ExtentBody>),
}

/// Where an inline body lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineRef {
    /// Its identity.
    pub id: DataId,
    /// The volume of the log.
    pub volume: VolumeId,
    /// Its size.
    pub bytes: u32,
    /// Its checksum.
    pub crc: u32,
    /// Its first byte in the volume.
    pub offset: u64,
}

/// Where a row's body is.
#[derive(Clone, Debug)]
pub enum BodyRef {
    /// There is none.
    None,
    /// In the log.
    Inline(InlineRef),
    /// In extents.
    Extents(Arc<ExtentBody>),
}

/// A row of the index.
#[derive(Clone, Debug)]
pub struct Row {
    /// Number of the change that made it, in its PG.
    pub seq: u64,
    /// When.
    pub hlc: Hlc,
    /// The caller's metadata.
    pub meta: Box<[u8]>,
    /// Its body.
    pub body: BodyRef,
    /// Where its record lies.
    pub home: Home,
}

/// Where a row's record lies, and what it weighs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The volume of the log.
    pub volume: VolumeId,
    /// The segment.
    pub segment: u32,
    /// Bytes of the change in its record.
    pub bytes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> ExtentBody {
        let extent = |offset, bytes| Extent { volume: VolumeId(1), offset, bytes };
        ExtentBody {
            id: DataId(77),
            bytes: 131_073,
            block_log2: 16,
            extents: vec![extent(4096, 131_072), extent(1 << 30, 4096)],
            crcs: vec![1, 2, 3],
        }
    }

    #[test]
    fn pieces_are_where_the_bytes_are() {
        let extents = body().extents;
        let found = |at, bytes, most| -> Vec<(u64, u64)> {
            pieces(&extents, at, bytes, most).map(|(_, offset, bytes)| (offset, bytes)).collect()
        };
        assert_eq!(found(0, u64::MAX, 1 << 20), [(4096, 131_072), (1 << 30, 4096)]);
        assert_eq!(found(131_071, 2, 9), [(4096 + 131_071, 1), (1 << 30, 1)]);
        assert_eq!(found(10, 100, 60), [(4106, 60), (4166, 40)]);
        assert_eq!(found(131_072, 1, 1), [(1 << 30, 1)]);
        assert_eq!(found(135_168, 1, 1), []);
    }

    #[test]
    fn survives_encoding() {
        let bytes = body().encode();
        assert_eq!(ExtentBody::decode(&bytes), Some(body()));
        for end in 0..bytes.len() {
            assert_eq!(ExtentBody::decode(&bytes[..end]), None);
        }
    }

    #[test]
    fn numbers_that_do_not_fit_together_are_refused() {
        let broken = [
            ExtentBody { crcs: vec![1, 2], ..body() },
            ExtentBody { bytes: 1 << 40, ..body() },
            ExtentBody { block_log2: 63, ..body() },
            ExtentBody { extents: vec![Extent { volume: VolumeId(0), offset: 1, bytes: 1 << 20 }], ..body() },
        ];
        for body in broken {
            assert_eq!(ExtentBody::decode(&body.encode()), None, "{body:?}");
        }
    }
}
