//! The superblock: which volume of which store this is. Layout: docs/format/volume.md.

use stria_base::{Hlc, PgId, VolumeId, checksum::crc32c, hash::hash64};

use crate::{
    manifest::ManifestRef,
    map::Geometry,
    scrub::{ScrubMark, ScrubStep},
};

/// Version of the volume format this release writes. Format 1 had zeros in place of position and manifest,
/// which means neither.
pub const FORMAT: u32 = 2;
/// Bytes of one copy.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// Where the copies lie; the first two are written, flushed, then the other two.
pub const COPY_OFFSETS: [u64; 4] = [0, 4096, HEADER_BYTES - 8192, HEADER_BYTES - 4096];
/// Bytes before the first segment.
pub const HEADER_BYTES: u64 = 4 << 20;

const MAGIC: [u8; 8] = *b"STRIAVOL";
const HASH_AT: usize = 4080;
const CRC_AT: usize = 4092;

const _: () = assert!(CRC_AT + 4 == SUPERBLOCK_BYTES);

/// What is fixed when a volume is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeIdentity {
    /// The store.
    pub store_uuid: u128,
    /// The volume's number.
    pub volume: VolumeId,
    /// Placement groups of the store.
    pub pg_count: u16,
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// What was fixed when the volume was made.
    pub identity: VolumeIdentity,
    /// Grows with every write of the superblock.
    pub epoch: u64,
    /// Whether the last shutdown was orderly.
    pub clean: bool,
    /// No stamp given out before an orderly shutdown is above this.
    pub hlc_high: Hlc,
    /// How it is cut into segments.
    pub geometry: Geometry,
    /// Data cores of the node that wrote what opening reads: the manifest, and the log from the position on.
    pub writers: Writers,
    /// Where replay of the log begins; `None` at its first segment.
    pub position: Option<Position>,
    /// The manifest of the runs on this volume.
    pub manifest: Option<ManifestRef>,
    /// Who wrote what a manifest named that was lost, while not every PG that may have been in it says so elsewhere.
    pub lost: Writers,
    /// How far scrubbing has come; of the first volume of a core.
    pub scrub: ScrubMark,
}

impl VolumeInfo {
    /// As `lost`, when the manifest it names is lost too, or not.
    pub(crate) fn lost_with(&self, manifest_is_lost: bool) -> Writers {
        match (manifest_is_lost, self.lost) {
            (false, lost) => lost,
            (true, Writers::None) => self.writers,
            (true, lost) if lost == self.writers => lost,
            (true, _) => Writers::Mixed,
        }
    }

    /// Of a volume on which nothing was written yet.
    pub(crate) fn new(identity: VolumeIdentity, geometry: Geometry) -> Self {
        Self {
            identity,
            epoch: 1,
            clean: true,
            hlc_high: Hlc(0),
            geometry,
            writers: Writers::None,
            position: None,
            manifest: None,
            lost: Writers::None,
            scrub: ScrubMark::default(),
        }
    }
}

/// A place in a log between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of the segment; segments of lower ones lie before.
    pub generation: u64,
    /// Bytes of that segment that lie before.
    pub offset: u64,
    /// Number of the frame behind.
    pub next_seq: u64,
    /// Hash of the frame before.
    pub prev_hash: u64,
}

impl Position {
    /// Whether a sealed segment of `end` bytes of log lies wholly before.
    pub fn covers(&self, generation: u64, end: u32) -> bool {
        generation < self.generation || (generation == self.generation && u64::from(end) <= self.offset)
    }
}

/// How many data cores the node had while the log of a volume was written: from it follows whose rows a
/// hole in the log, or the loss of the manifest, may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// There is nothing to read.
    None,
    /// Always this many.
    Cores(u16),
    /// The number changed while the log was in use.
    Mixed,
}

impl Writers {
    const MIXED: u16 = u16::MAX;

    fn to_stored(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Cores(cores) => cores,
            Self::Mixed => Self::MIXED,
        }
    }

    fn from_stored(stored: u16) -> Self {
        match stored {
            0 => Self::None,
            Self::MIXED => Self::Mixed,
            cores => Self::Cores(cores),
        }
    }

    /// When a node of `cores` goes on with a log of these writers.
    pub fn joined_by(self, cores: u16) -> Self {
        match self {
            Self::None => Self::Cores(cores),
            Self::Cores(before) if before == cores => self,
            _ => Self::Mixed,
        }
    }

    /// Whether records of `pg` may lie in the log of `volume`.
    pub fn may_have_written(self, pg: PgId, volume: VolumeId) -> bool {
        match self {
            Self::None => false,
            Self::Cores(cores) => pg.owner(cores) == volume.owner(cores),
            Self::Mixed => true,
        }
    }
}

/// One copy's bytes.
pub fn encode(info: &VolumeInfo, copy: u32) -> [u8; SUPERBLOCK_BYTES] {
    let mut out = [0u8; SUPERBLOCK_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[12..16].copy_from_slice(&copy.to_le_bytes());
    out[16..32].copy_from_slice(&info.identity.store_uuid.to_le_bytes());
    out[32..34].copy_from_slice(&info.identity.volume.0.to_le_bytes());
    out[34..36].copy_from_slice(&info.identity.pg_count.to_le_bytes());
    out[36..40].copy_from_slice(&u32::from(info.clean).to_le_bytes());
    out[40..48].copy_from_slice(&info.epoch.to_le_bytes());
    out[48..56].copy_from_slice(&info.hlc_high.0.to_le_bytes());
    out[56..60].copy_from_slice(&info.geometry.segment_log2().to_le_bytes());
    out[60..62].copy_from_slice(&info.writers.to_stored().to_le_bytes());
    out[62..64].copy_from_slice(&info.lost.to_stored().to_le_bytes());
    if let Some(position) = &info.position {
        out[64..72].copy_from_slice(&position.generation.to_le_bytes());
        out[72..80].copy_from_slice(&position.offset.to_le_bytes());
        out[80..88].copy_from_slice(&position.next_seq.to_le_bytes());
        out[88..96].copy_from_slice(&position.prev_hash.to_le_bytes());
    }
    if let Some(manifest) = &info.manifest {
        out[96..104].copy_from_slice(&manifest.offsets[0].to_le_bytes());
        out[104..112].copy_from_slice(&manifest.offsets[1].to_le_bytes());
        out[112..116].copy_from_slice(&manifest.bytes.to_le_bytes());
        out[120..128].copy_from_slice(&manifest.hash.to_le_bytes());
    }
    let (kind, of, generation) = match info.scrub.next {
        ScrubStep::Log { nth, generation } => (0u16, nth, generation),
        ScrubStep::Runs(pg) => (1, pg.0, 0),
        ScrubStep::Rows(pg) => (2, pg.0, 0),
    };
    out[128..130].copy_from_slice(&kind.to_le_bytes());
    out[130..132].copy_from_slice(&of.to_le_bytes());
    out[136..144].copy_from_slice(&generation.to_le_bytes());
    let times = [info.scrub.deep_begun_ms, info.scrub.deep_done_ms, info.scrub.light_done_ms];
    for (at, time_ms) in (144..).step_by(8).zip(times) {
        out[at..at + 8].copy_from_slice(&time_ms.to_le_bytes());
    }
    let hash = hash64(info.epoch, &out[..HASH_AT]);
    out[HASH_AT..HASH_AT + 8].copy_from_slice(&hash.to_le_bytes());
    let crc = crc32c(&out[..CRC_AT]);
    out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Why a copy does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCopy {
    /// No superblock of ours.
    NoMagic,
    /// It does not verify.
    Hurt,
    /// A newer release wrote it.
    Newer(u32),
}

/// Decodes copy number `copy`.
pub fn decode(bytes: &[u8], copy: u32) -> Result<VolumeInfo, BadCopy> {
    let bytes = bytes.first_chunk::<SUPERBLOCK_BYTES>().ok_or(BadCopy::Hurt)?;
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if bytes[..8] != MAGIC {
        return Err(BadCopy::NoMagic);
    }
    let epoch = u64_at(40);
    if u32_at(CRC_AT) != crc32c(&bytes[..CRC_AT]) || u64_at(HASH_AT) != hash64(epoch, &bytes[..HASH_AT]) {
        return Err(BadCopy::Hurt);
    }
    if u32_at(8) > FORMAT {
        return Err(BadCopy::Newer(u32_at(8)));
    }
    if u32_at(12) != copy {
        return Err(BadCopy::Hurt);
    }
    let geometry = Geometry::new(u32_at(56)).ok_or(BadCopy::Hurt)?;
    let position =
        Position { generation: u64_at(64), offset: u64_at(72), next_seq: u64_at(80), prev_hash: u64_at(88) };
    let manifest = ManifestRef { offsets: [u64_at(96), u64_at(104)], bytes: u32_at(112), hash: u64_at(120) };
    let next = match u16_at(128) {
        1 => ScrubStep::Runs(PgId(u16_at(130))),
        2 => ScrubStep::Rows(PgId(u16_at(130))),
        // Of a kind this release does not know: the pass begins again.
        _ => ScrubStep::Log { nth: u16_at(130), generation: u64_at(136) },
    };
    let scrub =
        ScrubMark { next, deep_begun_ms: u64_at(144), deep_done_ms: u64_at(152), light_done_ms: u64_at(160) };
    Ok(VolumeInfo {
        scrub,
        identity: VolumeIdentity {
            store_uuid: u128::from(u64_at(16)) | u128::from(u64_at(24)) << 64,
            volume: VolumeId(u16_at(32)),
            pg_count: u16_at(34),
        },
        epoch,
        clean: u32_at(36) == 1,
        hlc_high: Hlc(u64_at(48)),
        geometry,
        writers: Writers::from_stored(u16_at(60)),
        position: (position.generation > 0).then_some(position),
        manifest: (manifest.bytes > 0).then_some(manifest),
        lost: Writers::from_stored(u16_at(62)),
    })
}

/// The copy to believe: of the highest epoch that two copies carry. `Err` gives the number that verify.
pub fn elect(copies: &[Result<VolumeInfo, BadCopy>]) -> Result<VolumeInfo, u8> {
    let valid: Vec<VolumeInfo> = copies.iter().filter_map(|copy| copy.as_ref().ok().copied()).collect();
    let agreed = valid.iter().filter(|one| valid.iter().filter(|other| other == one).count() >= 2);
    agreed.max_by_key(|info| info.epoch).copied().ok_or(valid.len() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(epoch: u64) -> VolumeInfo {
        let identity = VolumeIdentity { store_uuid: 7 << 100, volume: VolumeId(3), pg_count: 256 };
        VolumeInfo {
            identity,
            epoch,
            clean: epoch.is_multiple_of(2),
            hlc_high: Hlc(5),
            geometry: Geometry::default(),
            writers: Writers::Cores(4),
            position: Some(Position { generation: 8, offset: 4096, next_seq: 9, prev_hash: 10 }),
            lost: Writers::Cores(3),
            manifest: Some(ManifestRef { offsets: [1 << 22, 1 << 23], bytes: 4096, hash: 11 }),
            scrub: ScrubMark {
                next: ScrubStep::Rows(PgId(7)),
                deep_begun_ms: 12,
                deep_done_ms: 13,
                light_done_ms: 14,
            },
        }
    }

    fn seal(bytes: &mut [u8; SUPERBLOCK_BYTES], epoch: u64) {
        let hash = hash64(epoch, &bytes[..HASH_AT]);
        bytes[HASH_AT..HASH_AT + 8].copy_from_slice(&hash.to_le_bytes());
        let crc = crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn format_1_has_neither_position_nor_manifest() {
        let mut bytes = encode(&info(9), 0);
        bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
        bytes[62..HASH_AT].fill(0);
        seal(&mut bytes, 9);
        let scrub = ScrubMark::default();
        assert_eq!(
            decode(&bytes, 0),
            Ok(VolumeInfo { position: None, manifest: None, lost: Writers::None, scrub, ..info(9) })
        );
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let bytes = encode(&info(9), 1);
        assert_eq!(decode(&bytes, 1), Ok(info(9)));
        assert_eq!(decode(&bytes, 2), Err(BadCopy::Hurt), "a copy in another's place");
        for at in 0..SUPERBLOCK_BYTES {
            let mut hurt = bytes;
            hurt[at] ^= 4;
            assert!(decode(&hurt, 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_rot() {
        let mut bytes = encode(&info(9), 0);
        bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
        seal(&mut bytes, 9);
        assert_eq!(decode(&bytes, 0), Err(BadCopy::Newer(FORMAT + 1)));
    }

    #[test]
    fn a_lone_newer_copy_does_not_hide_two_older_ones() {
        let hurt = Err(BadCopy::Hurt);
        assert_eq!(elect(&[Ok(info(5)), Ok(info(4)), Ok(info(4)), hurt]), Ok(info(4)));
        assert_eq!(elect(&[Ok(info(5)), Ok(info(5)), Ok(info(4)), Ok(info(4))]), Ok(info(5)));
        assert_eq!(elect(&[Ok(info(5)), Ok(info(4)), hurt, hurt]), Err(2));
        assert_eq!(elect(&[hurt, hurt, hurt, Ok(info(1))]), Err(1));
    }
}
