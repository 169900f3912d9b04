//! Frame headers.

use stria_base::{
    checksum::{Crc32c, crc32c_seeded, seed_crc},
    hash::hash64,
    units::align_up,
};

/// Frames start at multiples of this.
pub const FRAME_ALIGN: u64 = 4096;
/// Bytes before the records.
pub const FRAME_HEADER_BYTES: usize = 64;

const MAGIC: u32 = u32::from_le_bytes(*b"SWF1");
const CRC_AT: usize = 60;

const _: () = assert!(CRC_AT + 4 == FRAME_HEADER_BYTES);

/// Where a frame may be valid: a place in a volume of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// Of the frame at `offset` of `volume` in the store `uuid`.
    #[must_use]
    pub fn new(uuid: u128, volume: u16, offset: u64) -> Self {
        let mut place = [0u8; 18];
        place[..16].copy_from_slice(&uuid.to_le_bytes());
        place[16..].copy_from_slice(&volume.to_le_bytes());
        Self(hash64(offset, &place))
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Records in the payload; 0 is a marker.
    pub count: u32,
    /// Of the segment it was written in.
    pub generation: u64,
    /// Its number in the log.
    pub seq: u64,
    /// [`FrameHeader::hash`] of the frame before it.
    pub prev_hash: u64,
    /// Frames up to this were known to be durable when it was written.
    pub durable_upto: u64,
    /// Bytes of records.
    pub payload_bytes: u32,
    /// Unseeded checksum of the payload, see [`FrameHeader::of_payload`].
    pub payload_crc: u32,
}

impl FrameHeader {
    /// Bytes the frame takes in its segment.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(u64::from(self.payload_bytes))
    }

    /// Sets length and checksum from the pieces of the payload.
    pub fn of_payload<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        let (mut crc, mut bytes) = (Crc32c::default(), 0usize);
        for piece in pieces {
            crc.update(piece);
            bytes += piece.len();
        }
        self.payload_bytes = u32::try_from(bytes).expect("a frame is bounded far below 4 GiB");
        self.payload_crc = crc.finish();
    }

    /// As written at the place `seed` names.
    #[must_use]
    pub fn encode(&self, seed: Seed) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0u8; FRAME_HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&self.count.to_le_bytes());
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&self.seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.prev_hash.to_le_bytes());
        out[32..40].copy_from_slice(&self.durable_upto.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[44..48].copy_from_slice(&seed_crc(seed.0, self.payload_crc).to_le_bytes());
        let crc = crc32c_seeded(seed.0, &out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Decodes a header at the place `seed` names.
    #[must_use]
    pub fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let head = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u32_at(0) != MAGIC || u32_at(CRC_AT) != crc32c_seeded(seed.0, &head[..CRC_AT]) {
            return None;
        }
        Some(Self {
            count: u32_at(4),
            generation: u64_at(8),
            seq: u64_at(16),
            prev_hash: u64_at(24),
            durable_upto: u64_at(32),
            payload_bytes: u32_at(40),
            payload_crc: seed_crc(seed.0, u32_at(44)),
        })
    }

    /// What the next frame carries as `prev_hash`.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&self.seq.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.prev_hash.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[28..].copy_from_slice(&self.payload_crc.to_le_bytes());
        hash64(0x5374_7269_6157_616c, &bytes)
    }
}

/// Bytes a frame takes in its segment.
#[must_use]
pub fn frame_bytes(payload_bytes: u64) -> u64 {
    align_up(FRAME_HEADER_BYTES as u64 + payload_bytes, FRAME_ALIGN)
}

/// A decoded frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its records.
    pub payload: &'a [u8],
}

/// The frame at the start of `bytes`, when it is whole, unhurt and of `generation`.
#[must_use]
pub fn decode_frame(bytes: &[u8], seed: Seed, generation: u64) -> Option<Frame<'_>> {
    let header = FrameHeader::decode(bytes, seed)?;
    if header.generation != generation {
        return None;
    }
    let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes as usize)?;
    (stria_base::checksum::crc32c(payload) == header.payload_crc).then_some(Frame { header, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (FrameHeader, Vec<u8>, Seed) {
        let payload = vec![3u8; 5000];
        let mut header = FrameHeader {
            count: 2,
            generation: 9,
            seq: 77,
            prev_hash: 1,
            durable_upto: 76,
            payload_bytes: 0,
            payload_crc: 0,
        };
        header.of_payload([&payload[..100], &payload[100..]].into_iter());
        let seed = Seed::new(42, 3, 8192);
        let mut bytes = header.encode(seed).to_vec();
        bytes.extend_from_slice(&payload);
        bytes.resize(frame_bytes(5000) as usize, 0);
        (header, bytes, seed)
    }

    #[test]
    fn decodes_only_where_it_was_written() {
        let (header, bytes, seed) = sample();
        assert_eq!(decode_frame(&bytes, seed, 9).map(|f| f.header), Some(header));
        assert!(decode_frame(&bytes, Seed::new(42, 3, 4096), 9).is_none(), "another offset");
        assert!(decode_frame(&bytes, Seed::new(42, 2, 8192), 9).is_none(), "another volume");
        assert!(decode_frame(&bytes, Seed::new(43, 3, 8192), 9).is_none(), "another store");
        assert!(decode_frame(&bytes, seed, 8).is_none(), "an earlier use of the segment");
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let (_, bytes, seed) = sample();
        for at in 0..FRAME_HEADER_BYTES + 5000 {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1 << (at % 8);
            assert!(decode_frame(&hurt, seed, 9).is_none(), "byte {at}");
        }
    }

    #[test]
    fn any_truncation_is_seen() {
        let (_, bytes, seed) = sample();
        for end in 0..FRAME_HEADER_BYTES + 5000 {
            assert!(decode_frame(&bytes[..end], seed, 9).is_none());
        }
    }
}
