//! Manifests: which runs make up the PGs written on a volume, bytes only. Layout: docs/format/runs.md.
//!
//! Invariant: decoded only when it has the hash the superblock names; decoding never panics, whatever the
//! bytes. Any core.

use stria_base::{Hlc, PgId, VolumeId, hash::hash64, units::align_up};
use stria_env::disk::BLOCK_BYTES;

use crate::{row::Extent, run::Run};

const MAGIC: [u8; 8] = *b"STRIAMAN";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 24;
const RUN_BYTES: usize = 40;
const EXTENT_BYTES: usize = 16;

/// Largest manifest: it lies in one piece, and any segment has room for two.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// One PG as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The PG.
    pub pg: PgId,
    /// Whether it is read-only.
    pub needs_repair: bool,
    /// Grows with each change: of two entries of a PG the higher one counts.
    pub version: u64,
    /// How far its numbers had come.
    pub pg_seq: u64,
    /// The newest first.
    pub runs: Vec<Run>,
}

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// No stamp in what replay leaves out is above this.
    pub hlc_high: Hlc,
    /// One per PG.
    pub entries: Vec<Entry>,
}

/// Where a manifest lies, as the superblock has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestRef {
    /// Of either copy.
    pub offsets: [u64; 2],
    /// Of one copy.
    pub bytes: u32,
    /// Of its bytes.
    pub hash: u64,
}

impl ManifestRef {
    /// The space it takes on `volume`.
    pub fn extents(&self, volume: VolumeId) -> Vec<Extent> {
        self.offsets.iter().map(|&offset| Extent { volume, offset, bytes: self.bytes }).collect()
    }
}

/// Hash of a manifest's bytes in the store `uuid`.
pub fn hash(uuid: u128, bytes: &[u8]) -> u64 {
    hash64(uuid as u64 ^ (uuid >> 64) as u64, bytes)
}

impl Manifest {
    /// The entry of `pg`.
    pub fn entry(&self, pg: PgId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.pg == pg)
    }

    /// Its runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.entries.iter().flat_map(|entry| &entry.runs)
    }

    /// As stored, padded to 4 KiB.
    pub fn encode(&self, volume: VolumeId) -> Vec<u8> {
        let mut out = vec![0u8; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..16].copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out[16..18].copy_from_slice(&volume.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.hlc_high.0.to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.pg.0.to_le_bytes());
            out.extend_from_slice(&u16::from(entry.needs_repair).to_le_bytes());
            out.extend_from_slice(&(entry.runs.len() as u32).to_le_bytes());
            out.extend_from_slice(&entry.version.to_le_bytes());
            out.extend_from_slice(&entry.pg_seq.to_le_bytes());
            entry.runs.iter().for_each(|run| encode_run(run, &mut out));
        }
        out.resize(align_up(out.len() as u64, BLOCK_BYTES) as usize, 0);
        out
    }

    /// Decodes a manifest of `volume` whose hash was checked.
    pub fn decode(bytes: &[u8], volume: VolumeId) -> Option<Self> {
        let mut left = Left(bytes);
        let head = left.take(HEADER_BYTES)?;
        let count = u32_at(head, 12);
        if head[..8] != MAGIC || u32_at(head, 8) != FORMAT || u32_at(head, 16) & 0xffff != u32::from(volume.0)
        {
            return None;
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            let head = left.take(ENTRY_BYTES)?;
            let mut entry = Entry {
                pg: PgId(u32_at(head, 0) as u16),
                needs_repair: u32_at(head, 0) >> 16 != 0,
                version: u64_at(head, 8),
                pg_seq: u64_at(head, 16),
                runs: Vec::new(),
            };
            for _ in 0..u32_at(head, 4) {
                entry.runs.push(decode_run(&mut left)?);
            }
            entries.push(entry);
        }
        Some(Self { hlc_high: Hlc(u64_at(head, 24)), entries })
    }
}

fn encode_run(run: &Run, out: &mut Vec<u8>) {
    out.extend_from_slice(&run.id.to_le_bytes());
    out.extend_from_slice(&run.rows.to_le_bytes());
    out.extend_from_slice(&run.bytes.to_le_bytes());
    out.extend_from_slice(&run.index_bytes.to_le_bytes());
    out.extend_from_slice(&(run.extents.len() as u32).to_le_bytes());
    out.extend_from_slice(&run.index_hash.to_le_bytes());
    for extent in &run.extents {
        out.extend_from_slice(&extent.volume.0.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&extent.bytes.to_le_bytes());
        out.extend_from_slice(&extent.offset.to_le_bytes());
    }
}

fn decode_run(left: &mut Left<'_>) -> Option<Run> {
    let head = left.take(RUN_BYTES)?;
    let mut run = Run {
        id: u64_at(head, 0),
        rows: u64_at(head, 8),
        bytes: u64_at(head, 16),
        index_bytes: u32_at(head, 24),
        index_hash: u64_at(head, 32),
        extents: Vec::new(),
    };
    for _ in 0..u32_at(head, 28) {
        let extent = left.take(EXTENT_BYTES)?;
        run.extents.push(Extent {
            volume: VolumeId(u32_at(extent, 0) as u16),
            bytes: u32_at(extent, 4),
            offset: u64_at(extent, 8),
        });
    }
    let held: u64 = run.extents.iter().map(|extent| u64::from(extent.bytes)).sum();
    let fits = held == run.bytes && run.bytes >= u64::from(run.index_bytes);
    let aligned = |extent: &Extent| {
        (extent.offset | u64::from(extent.bytes)).is_multiple_of(BLOCK_BYTES) && extent.bytes > 0
    };
    (fits && run.extents.iter().all(aligned)).then_some(run)
}

/// Bytes not decoded yet.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Manifest {
        let extent = |offset, bytes| Extent { volume: VolumeId(1), offset, bytes };
        let run = |id| Run {
            id,
            rows: 9,
            bytes: 12288,
            index_bytes: 4096,
            index_hash: 77,
            extents: vec![extent(8192, 4096), extent(1 << 32, 8192)],
        };
        let entry =
            |pg, needs_repair, runs| Entry { pg: PgId(pg), needs_repair, version: 3, pg_seq: 12, runs };
        Manifest {
            hlc_high: Hlc(55),
            entries: vec![entry(0, false, vec![run(1), run(2)]), entry(7, true, Vec::new())],
        }
    }

    #[test]
    fn survives_encoding() {
        let bytes = sample().encode(VolumeId(1));
        assert_eq!(Manifest::decode(&bytes, VolumeId(1)), Some(sample()));
        assert_eq!(Manifest::decode(&bytes, VolumeId(2)), None);
        assert_ne!(hash(1, &bytes), hash(2, &bytes), "of another store");
        for end in 0..200 {
            assert_eq!(Manifest::decode(&bytes[..end], VolumeId(1)), None);
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(at in 0usize..4096, byte: u8) {
            let mut bytes = sample().encode(VolumeId(1));
            bytes[at] = byte;
            let _ = Manifest::decode(&bytes, VolumeId(1));
        }
    }
}
