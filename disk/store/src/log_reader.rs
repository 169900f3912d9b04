//! Reading the log of one volume back: its frames in order, to where it ends or a frame is missing.
//!
//! Invariant: a frame counts only when it verifies and follows the one before; whether what ends a log is a torn tail
//! or rot is decided by what follows. Start-up only, on the core that owns the volume.

use std::{collections::BTreeMap, sync::Arc};

use stria_base::{DataId, PgId};
use stria_env::Env;
use stria_wal::{
    BodyKind, Chain, Change, End, FRAME_HEADER_BYTES, FrameHeader, INLINE_HEADER_BYTES, RecordKind, find_end,
    records,
};

use crate::{
    error::StoreError,
    map::DeviceMap,
    open::read_map,
    replay::{PgRows, ReplayReport, Slot, VolumeReplay, put},
    row::{BodyRef, ExtentBody, Home, InlineRef, Row},
    superblock::{Position, VolumeInfo},
    window::{Place, Window},
};

/// What the log of a volume says.
pub(crate) struct LogRead {
    pub(crate) volume: VolumeReplay,
    pub(crate) rows: BTreeMap<PgId, PgRows>,
    pub(crate) rescue: BTreeMap<PgId, Rescued>,
    pub(crate) report: ReplayReport,
}

/// Reads the log of a volume; of the PGs in `rescue` also what lies before the position.
pub(crate) async fn read_log<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
    rescue: BTreeMap<PgId, Rescued>,
) -> Result<LogRead, StoreError> {
    let (map, map_slot) = read_map(env, disk, info).await?;
    let (mut rows, mut report) = (BTreeMap::new(), ReplayReport::default());
    let reader = LogReader { env, disk, info, rows: &mut rows, report: &mut report, rescue };
    let (volume, rescue) = reader.read_all(map, map_slot).await?;
    Ok(LogRead { volume, rows, rescue, report })
}

/// What frames before the position say of a PG whose runs are damaged or lost.
#[derive(Default)]
pub(crate) struct Rescued {
    pub(crate) rows: BTreeMap<Box<[u8]>, Slot>,
    /// Records 1 to this number were all found.
    pub(crate) number: u64,
}

struct LogReader<'a, E: Env> {
    env: &'a E,
    disk: &'a E::Disk,
    info: &'a VolumeInfo,
    rows: &'a mut BTreeMap<PgId, PgRows>,
    report: &'a mut ReplayReport,
    /// PGs of which frames before the position count too.
    rescue: BTreeMap<PgId, Rescued>,
}

/// Where reading one segment ended.
struct SegmentEnd {
    /// Bytes of valid frames.
    bytes: u64,
    /// Whether a frame before the known end, or one that had been acknowledged, is unreadable.
    rot: bool,
}

impl<E: Env> LogReader<'_, E> {
    async fn read_all(
        mut self,
        map: DeviceMap,
        map_slot: usize,
    ) -> Result<(VolumeReplay, BTreeMap<PgId, Rescued>), StoreError> {
        let start = self.info.position;
        let is_rescue = !self.rescue.is_empty();
        let mut segments = map.log_segments();
        segments.retain(|(_, generation, _)| {
            is_rescue || start.is_none_or(|start| *generation >= start.generation)
        });
        let follows = start.filter(|_| !is_rescue);
        let mut volume = VolumeReplay {
            info: *self.info,
            map,
            map_slot,
            open_ends: Vec::new(),
            next_seq: follows.map_or(1, |start| start.next_seq),
            prev_hash: follows.map_or(0, |start| start.prev_hash),
            rot: false,
            manifest: None,
            end: start,
            has_content: false,
            replayed_bytes: 0,
            is_absent: false,
        };
        let (frames_before, bytes_before) = (self.report.frames, self.report.bytes);
        for (segment, generation, end) in segments {
            let from = follows.filter(|start| start.generation == generation).map_or(0, |start| start.offset);
            let found = self.read_segment((segment, generation, end), from, &mut volume).await?;
            volume.rot |= found.rot;
            if end.is_none() {
                volume.open_ends.push((segment, found.bytes as u32));
            }
            let (next_seq, prev_hash) = (volume.next_seq, volume.prev_hash);
            volume.end = Some(Position { generation, offset: found.bytes, next_seq, prev_hash });
        }
        if let Some(start) = start
            && volume.next_seq < start.next_seq
        {
            (volume.next_seq, volume.prev_hash) = (start.next_seq, start.prev_hash);
            volume.end = Some(start);
        }
        volume.has_content = self.report.frames > frames_before || volume.rot;
        volume.replayed_bytes = self.report.bytes - bytes_before;
        self.report.rot += u64::from(volume.rot);
        Ok((volume, self.rescue))
    }

    /// Reads the frames of one segment from byte `from` up to its end, or, in an open one, to the first that is
    /// none.
    async fn read_segment(
        &mut self,
        (segment, generation, end): (u32, u64, Option<u32>),
        from: u64,
        volume: &mut VolumeReplay,
    ) -> Result<SegmentEnd, StoreError> {
        let geometry = self.info.geometry;
        let uuid = self.info.identity.store_uuid;
        let place = Place { uuid, volume: volume.volume(), geometry, segment, generation };
        let end_bytes = end.map_or(geometry.segment_bytes(), u64::from);
        let mut window = Window::new(self.env, self.disk, place, end_bytes);
        window.skip_to(from.min(end_bytes));
        // Behind a position no frame is missing. Without one the chain starts wherever the first frame says, older
        // segments may be cleaned; inside a segment it must not break.
        let follows = self.info.position.is_some() && self.rescue.is_empty();
        let mut chain = follows.then_some(Chain { next_seq: volume.next_seq, prev_hash: volume.prev_hash });
        while let Some(header) = window.frame().await? {
            let chain = chain.get_or_insert(Chain { next_seq: header.seq, prev_hash: header.prev_hash });
            if header.seq < volume.next_seq || !chain.accept(&header) {
                break;
            }
            self.apply(&window, &header);
            volume.next_seq = header.seq + 1;
            volume.prev_hash = header.hash();
            window.advance(header.frame_bytes());
        }
        self.report.bytes += window.at - from.min(end_bytes);
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
                last_end = at + header.frame_bytes();
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
        let payload = window.payload(header);
        let place = window.place;
        let payload_at = place.offset() + window.at + FRAME_HEADER_BYTES as u64;
        self.report.frames += 1;
        // A record that does not decode inside a frame that verifies was written by a newer release; the
        // format version in the superblock refuses those before we come here.
        let is_before = self.info.position.is_some_and(|start| header.seq < start.next_seq);
        for record in records(payload).flatten() {
            let rescued = self.rescue.get_mut(&record.pg);
            if is_before && rescued.is_none() {
                continue;
            }
            self.report.records += 1;
            let pg = self.rows.entry(record.pg).or_insert_with(|| PgRows::new(record.pg));
            pg.seq_high = pg.seq_high.max(record.pg_seq);
            if !is_before && record.kind == RecordKind::Changes {
                pg.found_number(record.pg_seq);
            }
            pg.hlc_high = pg.hlc_high.max(record.hlc);
            let rows = match rescued {
                Some(rescued) => {
                    let follows = record.kind == RecordKind::Changes && record.pg_seq == rescued.number + 1;
                    rescued.number += u64::from(follows);
                    if is_before { &mut rescued.rows } else { &mut pg.rows }
                }
                None => &mut pg.rows,
            };
            for change in record.changes() {
                pg.seq_high = pg.seq_high.max(change.seq);
                // Rewritten rows keep their stamps, and the record they came in may be gone.
                pg.hlc_high = pg.hlc_high.max(change.hlc);
                let home = Home { volume: place.volume, segment: place.segment, bytes: change.bytes as u32 };
                let row = if change.delete { None } else { row_of(&change, home, payload_at) };
                put(rows, change.key.into(), Slot { seq: change.seq, hlc: change.hlc, row });
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
