//! Cleaning the log: rows that still count are rewritten out of the oldest segment, then it is free.
//!
//! Invariant: a segment is freed only when every row that counts in it is durable elsewhere and replay would
//! begin behind it. So a tombstone in it is in a run, or has nothing to hide any more, and PG numbers and
//! stamps are in the manifest: only rows are rewritten, and the tombstones of PGs that need repair. Runs on the
//! owner core of the rows; the owner of the volume frees the segment when all cores are through.

use std::collections::BTreeMap;

use bytes::Bytes;
use stria_base::{Hlc, PgId, VolumeId};
use stria_env::Env;
use stria_wal::{
    BodyKind, Change, FrameHeader, INLINE_HEADER_BYTES, RecordBuilder, RecordKind, frame_bytes, records,
};

use crate::{
    error::StoreError,
    log::{FrameFate, PendingChange, PendingRecord},
    log_reader::row_of,
    paged::Resolved,
    pg::Pg,
    row::{BodyRef, Home},
    store::{PgState, Store},
    window::{Place, Window},
};

/// A sealed log segment, as its volume's owner names it to other cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSegment {
    /// The volume.
    pub volume: VolumeId,
    /// The segment's number.
    pub segment: u32,
    /// Of its use as log.
    pub generation: u64,
    /// Bytes of log in it.
    pub end: u32,
}

/// Room for whatever is committed meanwhile.
const SLACK_BYTES: u64 = 128 << 10;

/// A log is left alone up to this many segments.
const SEGMENTS_UNCLEANED_MAX: usize = 4;

impl<E: Env> Store<E> {
    /// The segment worth cleaning next: the oldest of a log that is more than half dead, or any oldest when
    /// space is low. `None` while one is being cleaned, or when a checkpoint has to come first.
    #[must_use]
    pub fn cleaning_candidate(&self) -> Option<LogSegment> {
        if self.0.cleaning.get() || self.is_failed() {
            return None;
        }
        for volume in &self.0.mine {
            let segments = volume.log_segments();
            let log_bytes: u64 = segments
                .iter()
                .map(|(_, _, end)| end.map_or(volume.geometry.segment_bytes(), u64::from))
                .sum();
            let worth =
                segments.len() > SEGMENTS_UNCLEANED_MAX && log_bytes > 2 * self.0.live_log_bytes.get();
            let pressed = segments.len() > 1 && volume.is_low();
            // A volume taken over from a core that is no more is emptied as soon as half of it is dead.
            if let (true, Some(&(segment, generation, Some(end)))) = (worth || pressed, segments.first()) {
                if volume.is_below_position(generation, end) {
                    return Some(LogSegment { volume: volume.id, segment, generation, end });
                }
                self.0.checkpoints.wanted.set(true);
            }
        }
        None
    }

    /// The oldest segment of each log of this core that replay leaves out, worth cleaning or not: for emptying a
    /// volume. Empty while one is being cleaned.
    #[must_use]
    pub fn oldest_log_segments(&self) -> Vec<LogSegment> {
        if self.0.cleaning.get() || self.is_failed() {
            return Vec::new();
        }
        let oldest = |volume: &crate::volume::Volume<E>| {
            let (segment, generation, end) = volume.log_segments().first().copied()?;
            let oldest = LogSegment { volume: volume.id, segment, generation, end: end? };
            volume.is_below_position(generation, oldest.end).then_some(oldest)
        };
        self.0.mine.iter().filter_map(oldest).collect()
    }

    /// Rewrites this core's rows out of `segment` (of any core's volume). When it returns, every one of
    /// them is durable elsewhere.
    ///
    /// # Errors
    /// `Full` when the log has no room for them; of the device, or when the log fails; or `Corrupt` when a frame of the segment cannot be read.
    pub async fn relocate(&self, segment: LogSegment) -> Result<(), StoreError> {
        if self.0.absent.is_some() {
            // Its rows are on the missing volume alone.
            return Ok(());
        }
        let room = self.log_room_bytes();
        if room < 2 * self.0.mine[0].geometry.segment_bytes() && room < self.need_of(segment).await? {
            return Err(StoreError::Full);
        }
        let disk = self.0.volumes.disk(segment.volume)?.clone();
        let mut window = self.window_over(segment, &disk);
        while let Some(header) = self.next_frame(&mut window, segment).await? {
            let payload = window.payload(&header);
            // Rows are looked at and rewritten in one step: until then none of them leaves memory.
            let _held = self.hold_rows(payload).await?;
            if let Some(fate) = self.relocate_frame(payload, segment) {
                // One frame of rewritten rows at a time: cleaning takes its share of the log, not all of it.
                fate.wait().await?;
            }
            window.advance(header.frame_bytes());
        }
        // What made rows of this segment not count may itself still be on its way.
        self.drain_log().await?;
        self.flush_log().await?;
        // Readers of this core hold places in the segment; its owner knows only its own readers.
        self.0.pins.log.period().await;
        Ok(())
    }

    fn window_over<'a>(&'a self, segment: LogSegment, disk: &'a E::Disk) -> Window<'a, E> {
        // All volumes of a store are cut alike.
        let geometry = self.0.mine[0].geometry;
        let LogSegment { volume, segment: number, generation, .. } = segment;
        let place = Place { uuid: self.0.mine[0].uuid, volume, geometry, segment: number, generation };
        Window::new(&self.0.env, disk, place, u64::from(segment.end))
    }

    /// The frame the window stands at; `None` at the end of the segment.
    async fn next_frame(
        &self,
        window: &mut Window<'_, E>,
        segment: LogSegment,
    ) -> Result<Option<FrameHeader>, StoreError> {
        if window.at >= u64::from(segment.end) {
            return Ok(None);
        }
        match window.frame().await? {
            Some(header) => Ok(Some(header)),
            // A hole in a log is a matter for repair; freeing the segment would seal the loss.
            None => Err(StoreError::Corrupt {
                id: stria_base::DataId(0),
                block: window.at,
                volume: segment.volume,
            }),
        }
    }

    /// Brings the rows a frame put, those of this core, into memory.
    async fn hold_rows(&self, payload: &[u8]) -> Result<Vec<Resolved<E>>, StoreError> {
        let mut keys: BTreeMap<PgId, Vec<&[u8]>> = BTreeMap::new();
        for record in records(payload).flatten() {
            if matches!(self.0.pgs.get(usize::from(record.pg.0)), Some(Some(_))) {
                let put = record.changes().filter(|change| !change.delete).map(|change| change.key);
                keys.entry(record.pg).or_default().extend(put);
            }
        }
        let mut held = Vec::with_capacity(keys.len());
        for (pg, keys) in keys {
            held.push(self.resolve(pg, &keys).await?);
        }
        Ok(held)
    }

    /// Bytes of log that rewriting a segment takes at most: a log that cannot go on fails for good, so it
    /// is counted before.
    async fn need_of(&self, segment: LogSegment) -> Result<u64, StoreError> {
        // What does not fit into the rest of a segment goes into the next: the largest frame may be wasted.
        let (mut need, mut largest) = (SLACK_BYTES, 0);
        let disk = self.0.volumes.disk(segment.volume)?.clone();
        let mut window = self.window_over(segment, &disk);
        while let Some(header) = self.next_frame(&mut window, segment).await? {
            let payload = window.payload(&header);
            let _held = self.hold_rows(payload).await?;
            for record in records(payload).flatten() {
                let Some(Some(pg)) = self.0.pgs.get(usize::from(record.pg.0)) else { continue };
                let pg = pg.borrow();
                for change in record.changes().filter(|change| counts(&pg, change, segment)) {
                    let frame = frame_bytes(change.bytes as u64 + stria_wal::RECORD_HEADER_BYTES as u64);
                    need += frame;
                    largest = largest.max(frame);
                }
            }
            window.advance(header.frame_bytes());
        }
        Ok(need + largest)
    }

    /// Appends what counts of one frame. Returns what to wait for, if anything was appended.
    fn relocate_frame(&self, payload: &[u8], segment: LogSegment) -> Option<std::rc::Rc<FrameFate>> {
        let mut by_pg: BTreeMap<PgId, Vec<Change<'_>>> = BTreeMap::new();
        for record in records(payload).flatten() {
            let Some(Some(pg)) = self.0.pgs.get(usize::from(record.pg.0)) else { continue };
            let pg = pg.borrow();
            by_pg
                .entry(record.pg)
                .or_default()
                .extend(record.changes().filter(|change| counts(&pg, change, segment)));
        }
        let mut last = None;
        for (pg, changes) in by_pg {
            if !changes.is_empty() {
                last = Some(self.append_relocated(pg, &changes));
            }
        }
        last
    }

    fn append_relocated(&self, pg: PgId, changes: &[Change<'_>]) -> std::rc::Rc<FrameFate> {
        let mut builder = RecordBuilder::new(RecordKind::Relocated, pg, 0, Hlc(0));
        let volume = self.0.mine[0].id;
        let mut pending = Vec::with_capacity(changes.len());
        for change in changes {
            let before = builder.bytes();
            let mut inline_at = 0;
            match change.body_kind {
                _ if change.delete => builder.delete(change.key, change.seq, change.hlc),
                BodyKind::Inline => {
                    let id = u128::from_le_bytes(change.body[..16].try_into().expect("checked when decoded"));
                    let bytes = Bytes::copy_from_slice(&change.body[INLINE_HEADER_BYTES..]);
                    let id = stria_base::DataId(id);
                    inline_at =
                        builder.put_inline(change.key, change.meta, id, &bytes, change.seq, change.hlc).1;
                }
                BodyKind::Extents => {
                    builder.put(change.key, change.meta, Some(change.body), change.seq, change.hlc);
                }
                BodyKind::None => builder.put(change.key, change.meta, None, change.seq, change.hlc),
            }
            let home = Home { volume, segment: 0, bytes: (builder.bytes() - before) as u32 };
            let mut row = if change.delete { None } else { row_of(change, home, 0) };
            if let Some(BodyRef::Inline(inline)) = row.as_mut().map(|row| &mut row.body) {
                inline.offset = inline_at as u64;
            }
            pending.push(PendingChange { key: change.key.into(), row, seq: change.seq, hlc: change.hlc });
        }
        let bytes = builder.bytes() as u64;
        self.0.relocated_bytes.set(self.0.relocated_bytes.get() + bytes);
        let record = PendingRecord { pg, changes: pending, relocated: true, at: 0 };
        let fate = self.0.log.borrow_mut().append(record, builder.finish(), bytes);
        self.0.log_work.notify_all();
        fate
    }

    /// Frees a segment of a volume of this core: every core has relocated its rows.
    ///
    /// # Errors
    /// Of the device.
    pub async fn free_log_segment(&self, segment: LogSegment) -> Result<(), StoreError> {
        let Some(volume) = self.0.mine.iter().find(|volume| volume.id == segment.volume) else {
            return Err(StoreError::NotAVolume { volume: segment.volume });
        };
        volume.free_log(segment.segment, segment.generation, segment.end).await?;
        self.0.cleaned_segments.set(self.0.cleaned_segments.get() + 1);
        Ok(())
    }

    /// Marks that a segment is being cleaned; the candidate is not named again until the mark is taken off.
    pub fn set_cleaning(&self, cleaning: bool) {
        self.0.cleaning.set(cleaning);
    }
}

/// Whether a change found in `segment` must survive it.
fn counts(pg: &Pg, change: &Change<'_>, segment: LogSegment) -> bool {
    // A newer change is already in the log. Rewriting the old row behind it would let the old row outlive
    // that change, once the change (a tombstone, say) is itself cleaned away.
    if pg.pending.contains_key(change.key) {
        return false;
    }
    if change.delete {
        // A damaged run may lack the tombstone: without it the next start would find the row that it hides.
        return pg.state == PgState::NeedsRepair && pg.known(change.key).is_some_and(|row| row.is_none());
    }
    pg.visible(change.key).is_some_and(|row| {
        row.seq == change.seq && (row.home.volume, row.home.segment) == (segment.volume, segment.segment)
    })
}
