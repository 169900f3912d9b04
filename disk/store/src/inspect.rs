//! A volume as it lies on the medium, for whoever looks at it or repairs it while no server runs.
//!
//! Invariant: only [`repair_header`] writes, and only copies whose right bytes are known; everything else reads.
//! Whoever repairs holds the store. Runs on any one core that was given the volumes.

use stria_base::{Hlc, PgId, VolumeId};
use stria_env::Env;
use stria_wal::{FRAME_ALIGN, FrameHeader, RecordKind, records};

use crate::{
    error::StoreError,
    manifest::{self, Manifest},
    map::{DeviceMap, SLOT_BYTES_MAX, SLOT_OFFSETS},
    scrub::DamageKind,
    scrub_header::{Header, bad_copies, rewrite},
    superblock::{self, COPY_OFFSETS, SUPERBLOCK_BYTES, VolumeInfo},
    volume::{read_padded, superblock_copies},
    volumes::Volumes,
    window::{Place, Window},
};

/// One of several copies of the same thing.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    /// Of what.
    pub kind: DamageKind,
    /// Where it lies in the volume.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// What became of it.
    pub state: CopyState,
    /// Its epoch, version or, of a manifest, number of entries; 0 when it does not verify.
    pub version: u64,
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// It is the one that counts, or equal to it.
    Counts,
    /// It verifies and says something else: the trace of a write that was interrupted. Harmless.
    Other,
    /// It does not verify.
    Damaged,
}

/// What the head of a volume says.
#[derive(Clone, Debug)]
pub struct VolumeHead {
    /// The superblock that counts; `None` when no copy verifies.
    pub info: Option<VolumeInfo>,
    /// Whether only one copy of it verifies: a server refuses to open that.
    pub is_lone: bool,
    /// The map that counts.
    pub map: Option<DeviceMap>,
    /// The manifest that counts; `None` also when there is none.
    pub manifest: Option<Manifest>,
    /// All copies of all three.
    pub copies: Vec<Copy>,
}

/// Reads the head of a volume.
///
/// # Errors
/// Of the device when it fails as a whole, `NoBuffer`.
pub async fn read_head<E: Env>(env: &E, disk: &E::Disk) -> Result<VolumeHead, StoreError> {
    let mut head = VolumeHead { info: None, is_lone: false, map: None, manifest: None, copies: Vec::new() };
    let found = superblock_copies(env, disk).await;
    head.info = superblock::elect(&found).ok();
    if head.info.is_none() {
        head.info = found.iter().filter_map(|copy| copy.ok()).max_by_key(|info| info.epoch);
        head.is_lone = head.info.is_some();
    }
    for (copy, offset) in found.iter().zip(COPY_OFFSETS) {
        let state = state_of(copy.as_ref().ok(), head.info.as_ref());
        let version = copy.map_or(0, |info| info.epoch);
        let bytes = SUPERBLOCK_BYTES as u64;
        head.copies.push(Copy { kind: DamageKind::Superblock, offset, bytes, state, version });
    }
    let Some(info) = head.info else { return Ok(head) };
    read_maps(env, disk, &info, &mut head).await?;
    read_manifests(env, disk, &info, &mut head).await?;
    Ok(head)
}

async fn read_maps<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
    head: &mut VolumeHead,
) -> Result<(), StoreError> {
    let (uuid, volume) = (info.identity.store_uuid, info.identity.volume);
    let mut maps = Vec::new();
    for offset in SLOT_OFFSETS {
        let bytes = read_or_nothing(env, disk, volume, offset, SLOT_BYTES_MAX as usize).await?;
        maps.push(DeviceMap::decode(&bytes, uuid, volume));
    }
    head.map = maps.iter().flatten().max_by_key(|map| map.seq).cloned();
    for (map, offset) in maps.iter().zip(SLOT_OFFSETS) {
        let state = state_of(map.as_ref(), head.map.as_ref());
        let version = map.as_ref().map_or(0, |map| map.seq);
        let bytes = map.as_ref().map_or(0, |map| map.encode(uuid, volume).len() as u64);
        head.copies.push(Copy { kind: DamageKind::Map, offset, bytes, state, version });
    }
    Ok(())
}

async fn read_manifests<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
    head: &mut VolumeHead,
) -> Result<(), StoreError> {
    let Some(named) = info.manifest else { return Ok(()) };
    let (uuid, volume) = (info.identity.store_uuid, info.identity.volume);
    for offset in named.offsets {
        let bytes = read_or_nothing(env, disk, volume, offset, named.bytes as usize).await?;
        let is_whole = manifest::hash(uuid, &bytes) == named.hash;
        let found = is_whole.then(|| Manifest::decode(&bytes, volume)).flatten();
        let state = if found.is_some() { CopyState::Counts } else { CopyState::Damaged };
        let version = found.as_ref().map_or(0, |found| found.entries.len() as u64);
        let bytes = u64::from(named.bytes);
        head.copies.push(Copy { kind: DamageKind::Manifest, offset, bytes, state, version });
        head.manifest = head.manifest.take().or(found);
    }
    Ok(())
}

fn state_of<T: PartialEq>(copy: Option<&T>, counts: Option<&T>) -> CopyState {
    match copy {
        None => CopyState::Damaged,
        Some(copy) if Some(copy) == counts => CopyState::Counts,
        Some(_) => CopyState::Other,
    }
}

/// Bytes, none when they cannot be read.
async fn read_or_nothing<E: Env>(
    env: &E,
    disk: &E::Disk,
    volume: VolumeId,
    offset: u64,
    bytes: usize,
) -> Result<Vec<u8>, StoreError> {
    use stria_env::Disk;
    // A volume may be cut short as well.
    if offset + bytes as u64 > disk.len_bytes() {
        return Ok(Vec::new());
    }
    match read_padded(env, disk, volume, offset, bytes).await {
        Err(StoreError::Io { .. }) => Ok(Vec::new()),
        read => read,
    }
}

/// Writes every copy that is not the one that counts again, one after the other, each flushed. How many.
///
/// # Errors
/// `NoSuperblock` or `NoMap` when no copy verifies; of the device.
pub async fn repair_header<E: Env>(
    volumes: &Volumes<E>,
    volume: VolumeId,
    head: &VolumeHead,
) -> Result<u64, StoreError> {
    let info = head.info.as_ref().ok_or(StoreError::NoSuperblock { volume, valid: 0 })?;
    let map = head.map.as_ref().ok_or(StoreError::NoMap { volume })?;
    let manifest = info.manifest.zip(head.manifest.as_ref().map(|found| found.encode(volume)));
    let manifest =
        manifest.filter(|(named, bytes)| manifest::hash(info.identity.store_uuid, bytes) == named.hash);
    let (bad, _) = bad_copies(volumes, &Header { info, map, manifest }).await?;
    for copy in &bad {
        rewrite(volumes, volume, copy).await?;
    }
    Ok(bad.len() as u64)
}

/// A frame of the log as it lies there, or a place where none verifies.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The segment.
    pub segment: u32,
    /// Of its use as log.
    pub generation: u64,
    /// Where it begins in the volume.
    pub offset: u64,
    /// The frame; `None` for blocks that belong to none.
    pub frame: Option<FrameHeader>,
    /// Bytes of it.
    pub bytes: u64,
    /// Its records.
    pub records: Vec<RecordEntry>,
}

/// A record of a frame.
#[derive(Clone, Debug)]
pub struct RecordEntry {
    /// Whether it repeats rows that cleaning moved.
    pub is_relocated: bool,
    /// Its PG.
    pub pg: PgId,
    /// Its number there.
    pub pg_seq: u64,
    /// When it was sequenced.
    pub hlc: Hlc,
    /// Row key, whether the row goes away, its number, and bytes of its body in the record.
    pub changes: Vec<(Box<[u8]>, bool, u64, u64)>,
}

/// Reads the log of a volume, oldest segment first, and calls with each frame and each hole. In the open segment
/// what lies behind the last frame is no hole.
///
/// # Errors
/// Of the device when it fails as a whole, `NoBuffer`.
pub async fn each_frame<E: Env>(
    env: &E,
    disk: &E::Disk,
    head: &VolumeHead,
    mut each: impl FnMut(LogEntry),
) -> Result<(), StoreError> {
    let (Some(info), Some(map)) = (&head.info, &head.map) else { return Ok(()) };
    for (segment, generation, end) in map.log_segments() {
        let (uuid, volume) = (info.identity.store_uuid, info.identity.volume);
        let place = Place { uuid, volume, geometry: info.geometry, segment, generation };
        let end_bytes = end.map_or(info.geometry.segment_bytes(), u64::from);
        let mut window = Window::new(env, disk, place, end_bytes);
        let mut hole: Option<(u64, u64)> = None;
        while window.at < end_bytes {
            let at = window.at;
            let Some(header) = window.frame().await? else {
                hole = Some((hole.map_or(at, |(from, _)| from), at + FRAME_ALIGN));
                window.advance(FRAME_ALIGN);
                continue;
            };
            if let Some((from, to)) = hole.take() {
                each(hole_at(place, from, to));
            }
            let bytes = header.frame_bytes();
            let (offset, records) = (place.offset() + at, entries(window.payload(&header)));
            each(LogEntry { segment, generation, offset, frame: Some(header), bytes, records });
            window.advance(bytes);
        }
        if let Some((from, to)) = hole.filter(|_| end.is_some()) {
            each(hole_at(place, from, to));
        }
    }
    Ok(())
}

fn hole_at(place: Place, from: u64, to: u64) -> LogEntry {
    let Place { segment, generation, .. } = place;
    let offset = place.offset() + from;
    LogEntry { segment, generation, offset, frame: None, bytes: to - from, records: Vec::new() }
}

fn entries(payload: &[u8]) -> Vec<RecordEntry> {
    let entry = |record: stria_wal::Record<'_>| RecordEntry {
        is_relocated: record.kind == RecordKind::Relocated,
        pg: record.pg,
        pg_seq: record.pg_seq,
        hlc: record.hlc,
        changes: record
            .changes()
            .map(|change| (change.key.into(), change.delete, change.seq, change.body.len() as u64))
            .collect(),
    };
    records(payload).flatten().map(entry).collect()
}

impl VolumeHead {
    /// Whether any copy of anything could be written again from the others.
    #[must_use]
    pub fn needs_repair(&self) -> bool {
        self.is_lone || self.copies.iter().any(|copy| copy.state == CopyState::Damaged)
    }

    /// Copies that verify, of a kind.
    #[must_use]
    pub fn good(&self, kind: DamageKind) -> usize {
        let counts = |copy: &&Copy| copy.kind == kind && copy.state == CopyState::Counts;
        self.copies.iter().filter(counts).count()
    }
}
