//! The device map: what each segment of a volume is for. Layout: docs/format/volume.md.

use stria_base::{
    VolumeId, checksum::crc32c_seeded, hash::hash64, limits::INLINE_BYTES_MAX, units::align_up,
};

use crate::superblock::HEADER_BYTES;

/// Binary logarithm of the bytes of a segment, unless the volume was made with another.
pub const SEGMENT_LOG2_DEFAULT: u32 = 26;
/// Smallest: a record of the longest key, metadata and inline body fits.
pub const SEGMENT_LOG2_MIN: u32 = 17;
/// Largest: `end` of a map entry is 32 bits wide and keeps one value for "open".
pub const SEGMENT_LOG2_MAX: u32 = 30;
/// Where the two slots lie.
pub const SLOT_OFFSETS: [u64; 2] = [1 << 20, 2 << 20];
/// Bytes a slot may take.
pub const SLOT_BYTES_MAX: u64 = 1 << 20;
/// Segments of a volume: what a slot holds.
pub const SEGMENTS_MAX: usize = ((SLOT_BYTES_MAX as usize) - HEAD_BYTES) / ENTRY_BYTES;

const MAGIC: [u8; 8] = *b"STRIAMAP";
const HEAD_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;

const _: () =
    assert!(SLOT_OFFSETS[1] + SLOT_BYTES_MAX <= HEADER_BYTES - 8192, "slots end before the superblocks");
const _: () = assert!(1 << SEGMENT_LOG2_MIN > 2 * INLINE_BYTES_MAX, "a full record fits into any segment");

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Nothing.
    Free,
    /// The log, in this use of the segment.
    Log {
        /// Number of the use.
        generation: u64,
        /// Bytes of log, once the log went on elsewhere.
        end: Option<u32>,
    },
    /// Extents.
    Extents,
}

/// All segments of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMap {
    /// Number of this version of the map.
    pub seq: u64,
    /// Highest generation given out before: the segment that had it may be free by now.
    pub generation_floor: u64,
    /// One entry per segment.
    pub segments: Vec<Segment>,
}

/// How a volume is cut into segments. Fixed when it is made, kept in its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    segment_log2: u32,
}

impl Geometry {
    /// Segments of `1 << segment_log2` bytes; `None` outside `SEGMENT_LOG2_MIN` to `SEGMENT_LOG2_MAX`.
    pub fn new(segment_log2: u32) -> Option<Self> {
        (SEGMENT_LOG2_MIN..=SEGMENT_LOG2_MAX).contains(&segment_log2).then_some(Self { segment_log2 })
    }

    /// As stored in the superblock.
    pub fn segment_log2(self) -> u32 {
        self.segment_log2
    }

    /// Bytes of a segment.
    pub fn segment_bytes(self) -> u64 {
        1 << self.segment_log2
    }

    /// Byte offset of a segment in its volume.
    pub fn offset(self, segment: u32) -> u64 {
        HEADER_BYTES + (u64::from(segment) << self.segment_log2)
    }

    /// The segment that holds byte `offset`.
    pub fn segment_of(self, offset: u64) -> u32 {
        assert!(offset >= HEADER_BYTES, "{offset} lies in the header");
        ((offset - HEADER_BYTES) >> self.segment_log2) as u32
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Self { segment_log2: SEGMENT_LOG2_DEFAULT }
    }
}

fn seed(uuid: u128, volume: VolumeId) -> u64 {
    hash64(u64::from(volume.0), &uuid.to_le_bytes())
}

impl DeviceMap {
    /// Log segments, oldest first: number, generation, end.
    pub(crate) fn log_segments(&self) -> Vec<(u32, u64, Option<u32>)> {
        let of = |(number, segment): (usize, &Segment)| match segment {
            Segment::Log { generation, end } => Some((number as u32, *generation, *end)),
            _ => None,
        };
        let mut found: Vec<_> = self.segments.iter().enumerate().filter_map(of).collect();
        found.sort_by_key(|(_, generation, _)| *generation);
        found
    }

    /// The highest generation given out.
    pub fn generation_high(&self) -> u64 {
        let generations = self.segments.iter().map(|segment| match segment {
            Segment::Log { generation, .. } => *generation,
            _ => 0,
        });
        generations.max().unwrap_or(0).max(self.generation_floor)
    }

    /// A slot's bytes, padded to 4 KiB.
    pub fn encode(&self, uuid: u128, volume: VolumeId) -> Vec<u8> {
        assert!(self.segments.len() <= SEGMENTS_MAX);
        let mut out = vec![0u8; HEAD_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..20].copy_from_slice(&(self.segments.len() as u32).to_le_bytes());
        out[24..32].copy_from_slice(&self.generation_high().to_le_bytes());
        for segment in &self.segments {
            let (kind, end, generation): (u32, u32, u64) = match segment {
                Segment::Free => (0, 0, 0),
                Segment::Log { generation, end } => (1, end.map_or(u32::MAX, |end| end), *generation),
                Segment::Extents => (2, 0, 0),
            };
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&generation.to_le_bytes());
        }
        let crc = slot_crc(&out, uuid, volume);
        out[20..24].copy_from_slice(&crc.to_le_bytes());
        out.resize(align_up(out.len() as u64, 4096) as usize, 0);
        out
    }

    /// Bytes a slot takes according to its head, which nothing has verified yet.
    pub fn bytes_claimed(head: &[u8; HEAD_BYTES]) -> usize {
        let count = u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize;
        HEAD_BYTES + count.min(SEGMENTS_MAX) * ENTRY_BYTES
    }

    /// Decodes a slot.
    pub fn decode(bytes: &[u8], uuid: u128, volume: VolumeId) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if head[..8] != MAGIC {
            return None;
        }
        let count = u32_at(16) as usize;
        let whole = bytes.get(..HEAD_BYTES + count.min(SEGMENTS_MAX + 1) * ENTRY_BYTES)?;
        if count > SEGMENTS_MAX || u32_at(20) != slot_crc(whole, uuid, volume) {
            return None;
        }
        let segments = (0..count).map(|i| {
            let at = HEAD_BYTES + i * ENTRY_BYTES;
            match u32_at(at) {
                0 => Some(Segment::Free),
                1 => Some(Segment::Log {
                    generation: u64_at(at + 8),
                    end: Some(u32_at(at + 4)).filter(|end| *end != u32::MAX),
                }),
                2 => Some(Segment::Extents),
                _ => None,
            }
        });
        let segments = segments.collect::<Option<_>>()?;
        Some(Self { seq: u64_at(8), generation_floor: u64_at(24), segments })
    }
}

/// Of everything but the checksum itself.
fn slot_crc(slot: &[u8], uuid: u128, volume: VolumeId) -> u32 {
    let seed = seed(uuid, volume);
    crc32c_seeded(seed, &slot[..20]) ^ crc32c_seeded(seed.rotate_left(7), &slot[24..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DeviceMap {
        DeviceMap {
            seq: 8,
            generation_floor: 4,
            segments: vec![
                Segment::Log { generation: 3, end: Some(4096) },
                Segment::Free,
                Segment::Extents,
                Segment::Log { generation: 4, end: None },
            ],
        }
    }

    #[test]
    fn survives_encoding_and_sees_any_flipped_bit() {
        let map = sample();
        let bytes = map.encode(5, VolumeId(1));
        assert_eq!(DeviceMap::decode(&bytes, 5, VolumeId(1)), Some(map.clone()));
        assert_eq!(map.generation_high(), 4);
        assert_eq!(DeviceMap::decode(&bytes, 6, VolumeId(1)), None);
        assert_eq!(DeviceMap::decode(&bytes, 5, VolumeId(2)), None);
        for at in 0..HEAD_BYTES + 4 * ENTRY_BYTES {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1;
            assert_eq!(DeviceMap::decode(&hurt, 5, VolumeId(1)), None, "byte {at}");
        }
    }

    #[test]
    fn segments_and_offsets_agree() {
        let geometry = Geometry::default();
        for segment in [0, 1, 77] {
            assert_eq!(geometry.segment_of(geometry.offset(segment)), segment);
            assert_eq!(geometry.segment_of(geometry.offset(segment) + geometry.segment_bytes() - 1), segment);
        }
        assert_eq!((Geometry::new(16), Geometry::new(31)), (None, None));
    }
}
