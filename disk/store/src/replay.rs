//! Reading the logs of this core's volumes back into rows.
//!
//! Invariant: of two changes of a row the higher number wins, so the order in which logs and segments are
//! read does not matter, and reading twice changes nothing. All cores replay at the same time, each its
//! own volumes; the result is `Send`, because PGs may have moved to other cores.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use stria_base::{DataId, Hlc, PgId, VolumeId};
use stria_env::{
    Disk, Env,
    sync::{Receiver, oneshot},
};
use stria_wal::{
    BodyKind, Chain, Change, End, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, INLINE_HEADER_BYTES, Seed,
    decode_frame, find_end, frame_bytes, records,
};

use crate::{
    error::StoreError,
    log::RECORD_BYTES_MAX,
    map::{DeviceMap, Geometry, Segment},
    open::{probe_volume, read_map},
    row::{BodyRef, ExtentBody, Home, InlineRef, Row},
    superblock::VolumeInfo,
};

/// Bytes of one read.
const READ_BYTES: u64 = 1 << 20;
/// Times a block is asked for before it counts as unreadable.
const BLOCK_READS_MAX: u32 = 3;
/// Reads in flight.
const READS_IN_FLIGHT: usize = 4;
/// How far behind an unreadable frame the next one may begin: the largest frame there is.
const SCAN_BYTES: u64 = RECORD_BYTES_MAX + 2 * FRAME_ALIGN;

/// The latest change of a row seen so far.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) seq: u64,
    /// `None` is a tombstone.
    pub(crate) row: Option<Row>,
}

/// What the logs say of one PG.
#[derive(Debug)]
pub struct PgRows {
    /// The PG.
    pub pg: PgId,
    pub(crate) rows: BTreeMap<Box<[u8]>, Slot>,
    pub(crate) seq_high: u64,
    pub(crate) hlc_high: Hlc,
    pub(crate) rings: Vec<VolumeId>,
    /// A log that may hold records of this PG has lost an acknowledged frame.
    pub(crate) suspect: bool,
}

impl PgRows {
    pub(crate) fn new(pg: PgId) -> Self {
        Self { pg, rows: BTreeMap::new(), seq_high: 0, hlc_high: Hlc(0), rings: Vec::new(), suspect: false }
    }

    /// Adds what another log says.
    pub(crate) fn merge(&mut self, other: Self) {
        assert_eq!(self.pg, other.pg);
        self.seq_high = self.seq_high.max(other.seq_high);
        self.hlc_high = self.hlc_high.max(other.hlc_high);
        self.rings.extend(other.rings);
        self.suspect |= other.suspect;
        if self.rows.is_empty() {
            self.rows = other.rows;
            return;
        }
        for (key, slot) in other.rows {
            self.put(key, slot);
        }
    }

    fn put(&mut self, key: Box<[u8]>, slot: Slot) {
        match self.rows.get_mut(&key) {
            Some(there) if there.seq > slot.seq => {}
            Some(there) => *there = slot,
            None => {
                self.rows.insert(key, slot);
            }
        }
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.rows.values().filter_map(|slot| slot.row.as_ref()).map(|row| u64::from(row.home.bytes)).sum()
    }
}

/// One volume as replay found it.
#[derive(Debug)]
pub struct VolumeReplay {
    pub(crate) info: VolumeInfo,
    pub(crate) map: DeviceMap,
    /// The slot the map was read from.
    pub(crate) map_slot: usize,
    /// Open log segments and where their log ends.
    pub(crate) open_ends: Vec<(u32, u32)>,
    pub(crate) next_seq: u64,
    pub(crate) prev_hash: u64,
    /// An acknowledged frame cannot be read.
    pub(crate) rot: bool,
}

impl VolumeReplay {
    /// Which volume.
    #[must_use]
    pub fn volume(&self) -> VolumeId {
        self.info.identity.volume
    }
}

/// What replay did.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayReport {
    /// Frames read.
    pub frames: u64,
    /// Records applied.
    pub records: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// How long it took, nanoseconds.
    pub ns: u64,
    /// Logs whose tail was torn and cut.
    pub torn: u64,
    /// Logs in which an acknowledged frame cannot be read.
    pub rot: u64,
    /// Volumes that were shut down in order.
    pub clean: u64,
}

/// What this core's volumes say.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The volumes, in the order given.
    pub volumes: Vec<VolumeReplay>,
    /// Rows by PG, of any core.
    pub pgs: Vec<PgRows>,
    /// Figures.
    pub report: ReplayReport,
}

/// Replays the logs of `volumes`, which belong to store `store_uuid`.
///
/// # Errors
/// When a volume is not what it should be, or cannot be read.
pub async fn replay<E: Env>(
    env: &E,
    store_uuid: u128,
    volumes: Vec<(VolumeId, E::Disk)>,
) -> Result<Replayed, StoreError> {
    let start_ns = env.mono_ns();
    let mut rows = BTreeMap::new();
    let mut replayed = Replayed::default();
    for (id, disk) in volumes {
        let info = probe_volume(env, &disk, id).await?;
        if info.identity.store_uuid != store_uuid || info.identity.volume != id {
            return Err(StoreError::Foreign { volume: id, found: info.identity.volume });
        }
        let (map, map_slot) = read_map(env, &disk, &info).await?;
        let reader =
            LogReader { env, disk: &disk, info: &info, rows: &mut rows, report: &mut replayed.report };
        let volume = reader.read_all(map, map_slot).await?;
        if volume.rot {
            // What the lost frame said is unknown: every PG that may have written here is suspect, wherever
            // it lives now.
            let pgs = (0..info.identity.pg_count).map(PgId);
            for pg in pgs.filter(|pg| info.writers.may_have_written(*pg, id)) {
                rows.entry(pg).or_insert_with(|| PgRows::new(pg)).suspect = true;
            }
        }
        replayed.report.clean += u64::from(info.clean);
        replayed.volumes.push(volume);
    }
    replayed.pgs = rows.into_values().collect();
    replayed.report.ns = env.mono_ns() - start_ns;
    Ok(replayed)
}

struct LogReader<'a, E: Env> {
    env: &'a E,
    disk: &'a E::Disk,
    info: &'a VolumeInfo,
    rows: &'a mut BTreeMap<PgId, PgRows>,
    report: &'a mut ReplayReport,
}

/// Where reading one segment ended.
struct SegmentEnd {
    /// Bytes of valid frames.
    bytes: u64,
    /// Whether a frame before the known end, or one that had been acknowledged, is unreadable.
    rot: bool,
}

impl<E: Env> LogReader<'_, E> {
    async fn read_all(mut self, map: DeviceMap, map_slot: usize) -> Result<VolumeReplay, StoreError> {
        let mut segments: Vec<(u32, u64, Option<u32>)> = map
            .segments
            .iter()
            .enumerate()
            .filter_map(|(i, segment)| match segment {
                Segment::Log { generation, end } => Some((i as u32, *generation, *end)),
                _ => None,
            })
            .collect();
        segments.sort_by_key(|(_, generation, _)| *generation);
        let mut volume = VolumeReplay {
            info: *self.info,
            map,
            map_slot,
            open_ends: Vec::new(),
            next_seq: 1,
            prev_hash: 0,
            rot: false,
        };
        for (segment, generation, end) in segments {
            let found = self.read_segment(segment, generation, end, &mut volume).await?;
            volume.rot |= found.rot;
            if end.is_none() {
                volume.open_ends.push((segment, found.bytes as u32));
            }
        }
        self.report.rot += u64::from(volume.rot);
        Ok(volume)
    }

    /// Reads the frames of one segment up to its end, or, in an open one, to the first that is none.
    async fn read_segment(
        &mut self,
        segment: u32,
        generation: u64,
        end: Option<u32>,
        volume: &mut VolumeReplay,
    ) -> Result<SegmentEnd, StoreError> {
        let geometry = self.info.geometry;
        let uuid = self.info.identity.store_uuid;
        let place = Place { uuid, volume: volume.volume(), geometry, segment, generation };
        let end_bytes = end.map_or(geometry.segment_bytes(), u64::from);
        let mut window = Window::new(self.env, self.disk, place, end_bytes);
        let mut chain: Option<Chain> = None;
        while let Some(header) = window.frame().await? {
            // The chain starts wherever the first frame says, older segments may be cleaned; inside it must
            // not break.
            let chain = chain.get_or_insert(Chain { next_seq: header.seq, prev_hash: header.prev_hash });
            if header.seq < volume.next_seq || !chain.accept(&header) {
                break;
            }
            self.apply(&window, &header);
            volume.next_seq = header.seq + 1;
            volume.prev_hash = header.hash();
            window.advance(frame_bytes(u64::from(header.payload_bytes)));
        }
        self.report.bytes += window.at;
        let log_bytes = window.at;
        if log_bytes == end_bytes {
            return Ok(SegmentEnd { bytes: log_bytes, rot: false });
        }
        let behind = window.frames_behind().await?;
        let proven = find_end(volume.next_seq, behind.iter().map(|(_, header)| *header)) == End::Rot;
        // A torn write leaves bytes that do not verify; a block that cannot be read may hold anything.
        if end.is_none() && !proven && !window.unreadable {
            self.report.torn += u64::from(window.tail_was_written);
            return Ok(SegmentEnd { bytes: log_bytes, rot: false });
        }
        let kept_end = self.keep_behind(place, end_bytes, behind, volume).await?;
        Ok(SegmentEnd { bytes: end.map_or(kept_end.max(log_bytes), u64::from), rot: true })
    }

    /// Applies what verifies behind a hole. Returns where the last frame of it ends.
    async fn keep_behind(
        &mut self,
        place: Place,
        end_bytes: u64,
        behind: Vec<(u64, FrameHeader)>,
        volume: &mut VolumeReplay,
    ) -> Result<u64, StoreError> {
        let mut last_end = 0;
        for (at, header) in behind {
            let mut window = Window::new(self.env, self.disk, place, end_bytes);
            window.skip_to(at);
            // It verified a moment ago; if it no longer does, the medium is dying and the hole is larger.
            if window.frame().await?.is_some_and(|again| again == header) {
                self.apply(&window, &header);
                last_end = at + frame_bytes(u64::from(header.payload_bytes));
                if header.seq >= volume.next_seq {
                    volume.next_seq = header.seq + 1;
                    volume.prev_hash = header.hash();
                }
            }
        }
        Ok(last_end)
    }

    /// Applies the records of the frame at the start of the window.
    fn apply(&mut self, window: &Window<'_, E>, header: &FrameHeader) {
        let payload = &window.data()[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes as usize];
        let place = window.place;
        let payload_at = place.offset() + window.at + FRAME_HEADER_BYTES as u64;
        self.report.frames += 1;
        // A record that does not decode inside a frame that verifies was written by a newer release; the
        // format version in the superblock refuses those before we come here.
        for record in records(payload).flatten() {
            self.report.records += 1;
            let pg = self.rows.entry(record.pg).or_insert_with(|| PgRows::new(record.pg));
            pg.seq_high = pg.seq_high.max(record.pg_seq);
            pg.hlc_high = pg.hlc_high.max(record.hlc);
            if !pg.rings.contains(&place.volume) {
                pg.rings.push(place.volume);
            }
            for change in record.changes() {
                pg.seq_high = pg.seq_high.max(change.seq);
                // Rewritten rows keep their stamps, and the record they came in may be gone.
                pg.hlc_high = pg.hlc_high.max(change.hlc);
                let home = Home { volume: place.volume, segment: place.segment, bytes: change.bytes as u32 };
                let row = if change.delete { None } else { row_of(&change, home, payload_at) };
                pg.put(change.key.into(), Slot { seq: change.seq, row });
            }
        }
    }
}

/// The row a change makes; `None` when its body's description is broken, which its checksum excludes.
pub(crate) fn row_of(change: &Change<'_>, home: Home, payload_at: u64) -> Option<Row> {
    let body = match change.body_kind {
        BodyKind::None => BodyRef::None,
        BodyKind::Inline => {
            let (head, bytes) = change.body.split_first_chunk::<INLINE_HEADER_BYTES>()?;
            BodyRef::Inline(InlineRef {
                id: DataId(u128::from_le_bytes(head[..16].try_into().ok()?)),
                volume: home.volume,
                bytes: bytes.len() as u32,
                crc: u32::from_le_bytes(head[16..].try_into().ok()?),
                offset: payload_at + (change.body_at + INLINE_HEADER_BYTES) as u64,
            })
        }
        BodyKind::Extents => BodyRef::Extents(Arc::new(ExtentBody::decode(change.body)?)),
    };
    Some(Row { seq: change.seq, hlc: change.hlc, meta: change.meta.into(), body, home })
}

/// A use of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) uuid: u128,
    pub(crate) volume: VolumeId,
    pub(crate) geometry: Geometry,
    pub(crate) segment: u32,
    pub(crate) generation: u64,
}

impl Place {
    fn offset(self) -> u64 {
        self.geometry.offset(self.segment)
    }
}

type Read<E> = Receiver<(u64, std::io::Result<()>, <E as Env>::Buf)>;

/// A segment read from start to end, several reads ahead.
pub(crate) struct Window<'a, E: Env> {
    env: &'a E,
    disk: &'a E::Disk,
    pub(crate) place: Place,
    /// Bytes of the segment that may hold log.
    end: u64,
    /// Offset in the segment of the first byte of `data`.
    pub(crate) at: u64,
    bytes: Vec<u8>,
    start: usize,
    next_read: u64,
    in_flight: VecDeque<Read<E>>,
    /// Whether a block could not be read, also when asked again.
    unreadable: bool,
    /// Whether something was written where the log ended.
    tail_was_written: bool,
}

impl<'a, E: Env> Window<'a, E> {
    pub(crate) fn new(env: &'a E, disk: &'a E::Disk, place: Place, end: u64) -> Self {
        Self {
            env,
            disk,
            place,
            end,
            at: 0,
            bytes: Vec::new(),
            start: 0,
            next_read: 0,
            in_flight: VecDeque::new(),
            unreadable: false,
            tail_was_written: false,
        }
    }

    /// Starts at `at` instead of the beginning.
    fn skip_to(&mut self, at: u64) {
        (self.at, self.next_read) = (at, at);
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn seed(&self) -> Seed {
        Seed::new(self.place.uuid, self.place.volume.0, self.place.offset() + self.at)
    }

    /// The valid frame at the start of the window.
    pub(crate) async fn frame(&mut self) -> Result<Option<FrameHeader>, StoreError> {
        if !self.have(FRAME_ALIGN).await? {
            return Ok(None);
        }
        let Some(header) = FrameHeader::decode(self.data(), self.seed()) else { return Ok(None) };
        let bytes = frame_bytes(u64::from(header.payload_bytes));
        if header.generation != self.place.generation || !self.have(bytes).await? {
            return Ok(None);
        }
        Ok(decode_frame(self.data(), self.seed(), self.place.generation).map(|frame| frame.header))
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.start += bytes as usize;
        self.at += bytes;
        // Dropped in large steps, so that each byte is moved about once.
        if self.start as u64 >= 4 * READ_BYTES || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Valid frames behind the end of the log, as far as one may begin behind an unreadable one.
    async fn frames_behind(&mut self) -> Result<Vec<(u64, FrameHeader)>, StoreError> {
        let mut found = Vec::new();
        let mut limit = self.at + SCAN_BYTES;
        self.tail_was_written =
            self.have(FRAME_ALIGN).await? && self.data()[..FRAME_ALIGN as usize].iter().any(|&b| b != 0);
        while self.at < self.end.min(limit) && self.have(FRAME_ALIGN).await? {
            match self.frame().await? {
                Some(header) => {
                    found.push((self.at, header));
                    self.advance(frame_bytes(u64::from(header.payload_bytes)));
                    limit = self.at + SCAN_BYTES;
                }
                None => self.advance(FRAME_ALIGN),
            }
        }
        Ok(found)
    }

    /// Whether `bytes` are in the window, after reading on if need be.
    async fn have(&mut self, bytes: u64) -> Result<bool, StoreError> {
        if self.at + bytes > self.end {
            return Ok(false);
        }
        while (self.data().len() as u64) < bytes {
            self.read_ahead()?;
            let Some(read) = self.in_flight.pop_front() else { return Ok(false) };
            let Some((offset, result, buf)) = read.await else { return Err(StoreError::Failed) };
            match result {
                Ok(()) => self.bytes.extend_from_slice(&buf),
                // An unreadable range is a hole like any other: what verifies around it is kept.
                Err(_) => {
                    drop(buf);
                    self.read_blocks(offset).await?;
                }
            }
        }
        Ok(true)
    }

    /// Reads a range block by block, zeros in place of what cannot be read.
    async fn read_blocks(&mut self, offset: u64) -> Result<(), StoreError> {
        let end = (offset + READ_BYTES).min(self.end);
        for block in (offset..end).step_by(FRAME_ALIGN as usize) {
            let mut buf = self.env.buf(FRAME_ALIGN as usize).ok_or(StoreError::NoBuffer)?;
            let mut is_read = false;
            for _ in 0..BLOCK_READS_MAX {
                let (result, back) = self.disk.read(self.place.offset() + block, buf).await;
                buf = back;
                is_read = result.is_ok();
                if is_read {
                    break;
                }
            }
            if !is_read {
                self.unreadable = true;
                buf.fill(0);
            }
            self.bytes.extend_from_slice(&buf);
        }
        Ok(())
    }

    fn read_ahead(&mut self) -> Result<(), StoreError> {
        while self.in_flight.len() < READS_IN_FLIGHT && self.next_read < self.end {
            let offset = self.next_read;
            let bytes = READ_BYTES.min(self.end - offset);
            let Some(buf) = self.env.buf(bytes as usize) else {
                return if self.in_flight.is_empty() { Err(StoreError::NoBuffer) } else { Ok(()) };
            };
            let (done, read) = oneshot();
            let disk = self.disk.clone();
            let from = self.place.offset() + offset;
            self.env.spawn(async move {
                let (result, buf) = disk.read(from, buf).await;
                done.send((offset, result, buf));
            });
            self.in_flight.push_back(read);
            self.next_read += bytes;
        }
        Ok(())
    }
}
