//! One core's store: sequencing, visibility, space.
//!
//! Invariant: `commit` orders changes by the order of its calls; a change is visible only after its frame
//! is durable at the promised level; an extent is freed only after the record that drops it is on stable
//! media. Owned by one core.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::{Bound, ControlFlow},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use stria_base::{DataId, Hlc, HlcClock, PgId, VolumeId, limits::EXTENT_BYTES_MAX, units::align_up};
use stria_env::{Env, sync::Notify};
use stria_wal::{FRAME_HEADER_BYTES, RecordBuilder, RecordKind};

use crate::{
    block_cache::BlockCache,
    body::read_inline,
    checkpoint::Checkpoints,
    error::StoreError,
    index::MetaIndex,
    log::{
        Commit, FRAME_OVERHEAD_BYTES, FlushMethod, Log, PendingChange, PendingRecord, RECORD_BYTES_MAX,
        SyncPolicy, Ticket,
    },
    packed::RowView,
    paged::PagedStats,
    pg::{PendingRow, Pg},
    pins::Pins,
    row::{BodyRef, Change, Extent, Grant, Home, InlineRef, NewBody, Row, block_log2},
    scrub::ScrubState,
    stats::StoreStats,
    volume::Volume,
    volumes::Volumes,
};

/// How a store runs.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// Data cores of the node.
    pub cores: u16,
    /// Placement groups of the store.
    pub pg_count: u16,
    /// When a commit completes.
    pub sync: SyncPolicy,
    /// How a frame reaches stable media.
    pub flush_method: FlushMethod,
    /// Bytes of log after which a checkpoint is due.
    pub checkpoint_log_bytes: u64,
    /// Memory of this core's index, bytes: beyond it rows are left to their runs.
    pub index_bytes_max: u64,
}

/// What a PG can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PgState {
    /// Everything.
    Active,
    /// It may have lost an acknowledged write: reads only.
    NeedsRepair,
}

/// One core's store. Cheap to clone.
pub struct Store<E: Env>(pub(crate) Rc<Inner<E>>);

impl<E: Env> Clone for Store<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) struct Inner<E: Env> {
    pub(crate) env: E,
    pub(crate) config: StoreConfig,
    pub(crate) volumes: Volumes<E>,
    /// Volumes this core allocates on; the first carries its log.
    pub(crate) mine: Vec<Volume<E>>,
    /// By PG number; `None` for PGs of other cores.
    pub(crate) pgs: Vec<Option<RefCell<Pg>>>,
    pub(crate) log: RefCell<Log>,
    pub(crate) log_work: Notify,
    pub(crate) writer_gone: Notify,
    pub(crate) pins: Pins,
    pub(crate) hlc: RefCell<HlcClock>,
    /// Space dropped by frames that are written but perhaps not yet on stable media.
    pub(crate) dropped: RefCell<VecDeque<(u64, DataId, Vec<Extent>)>>,
    /// Space on volumes of other cores, to be freed there.
    pub(crate) foreign_frees: RefCell<Vec<Extent>>,
    pub(crate) live_log_bytes: Cell<u64>,
    pub(crate) cleaning: Cell<bool>,
    pub(crate) cleaned_segments: Cell<u64>,
    pub(crate) relocated_bytes: Cell<u64>,
    pub(crate) checkpoints: Checkpoints,
    /// A volume of this core that was missing when the store was opened: it knows no rows and takes none.
    pub(crate) absent: Option<VolumeId>,
    pub(crate) scrub: ScrubState,
    pub(crate) block_cache: RefCell<BlockCache>,
    pub(crate) paged_stats: Cell<PagedStats>,
}

impl<E: Env> Store<E> {
    pub(crate) fn pg(&self, pg: PgId) -> &RefCell<Pg> {
        self.0
            .pgs
            .get(usize::from(pg.0))
            .and_then(Option::as_ref)
            .unwrap_or_else(|| panic!("PG {} is not owned by core {}", pg.0, self.0.env.core().0))
    }

    /// PGs of this core.
    pub fn pgs(&self) -> impl Iterator<Item = PgId> + '_ {
        self.0.pgs.iter().enumerate().filter(|(_, pg)| pg.is_some()).map(|(i, _)| PgId(i as u16))
    }

    /// What a PG of this core can do.
    #[must_use]
    pub fn pg_state(&self, pg: PgId) -> PgState {
        self.pg(pg).borrow().state
    }

    /// Refuses everything when the volume of this core's rows was missing at the start: a row that cannot be
    /// looked for is not a row that is not there.
    ///
    /// # Errors
    /// `Absent`.
    pub fn check_present(&self) -> Result<(), StoreError> {
        self.0.absent.map_or(Ok(()), |volume| Err(StoreError::Absent { volume }))
    }

    /// Whether the log failed: nothing is accepted until a restart.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.0.absent.is_some() || self.0.log.borrow().failed || self.0.volumes.is_failed(self.0.mine[0].id)
    }

    /// Times the log left a segment because a write failed.
    #[must_use]
    pub fn log_moves(&self) -> u64 {
        self.0.log.borrow().moves
    }

    /// Whether the store is being shut down: nothing is accepted any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.log.borrow().stopping
    }

    /// The next stamp: never repeated, never below an earlier one, also across restarts.
    #[must_use]
    pub fn next_hlc(&self) -> Hlc {
        self.0.hlc.borrow_mut().now(self.0.env.wall_ms())
    }

    /// The visible row of a key.
    ///
    /// # Panics
    /// When rows of the PG are left to its runs and nobody holds this one: see [`Store::resolve`].
    pub fn row<R>(&self, pg: PgId, key: &[u8], f: impl FnOnce(Option<RowView<'_>>) -> R) -> R {
        f(self.pg(pg).borrow().visible(key))
    }

    /// The newest sequenced row of a key, visible or not, and what to wait for while it is not. Of an
    /// invisible inline body only the identity and size are known.
    pub fn newest<R>(
        &self,
        pg: PgId,
        key: &[u8],
        f: impl FnOnce(Option<RowView<'_>>, Option<Ticket>) -> R,
    ) -> R {
        let pg = self.pg(pg).borrow();
        match pg.pending.get(key) {
            Some(pending) => f(pending.row.as_ref().map(Row::view), Some(Ticket(pending.fate.clone()))),
            None => f(pg.visible(key), None),
        }
    }

    /// Visible rows in key order from a bound upwards, until the callback breaks.
    ///
    /// # Panics
    /// When rows of the PG are left to its runs: see [`Store::scan_rows`].
    pub fn scan(
        &self,
        pg: PgId,
        from: Bound<&[u8]>,
        mut each: impl FnMut(&[u8], RowView<'_>) -> ControlFlow<()>,
    ) {
        let pg = self.pg(pg).borrow();
        assert!(!pg.pages.is_paged, "rows of a paged PG are read in steps");
        pg.index.scan(from, &mut each);
    }

    /// Sequences one atomic set of changes. The order of calls is the order of the changes.
    ///
    /// # Errors
    /// `Failed`, `ReadOnly`, `TooLarge`, or `Full` for changes that add data. Nothing is sequenced then.
    pub fn commit(&self, pg: PgId, changes: Vec<Change>) -> Result<Commit, StoreError> {
        let adds = changes.iter().any(|change| matches!(change, Change::Put { .. }));
        self.admit(pg, adds)?;
        let hlc = self.next_hlc();
        let mut state = self.pg(pg).borrow_mut();
        for change in &changes {
            assert!(
                state.known(change.key()).is_some(),
                "a key of a paged PG is brought into memory before it is changed"
            );
        }
        let pg_seq = state.seq + 1;
        let mut builder = RecordBuilder::new(RecordKind::Changes, pg, pg_seq, hlc);
        let pending: Vec<PendingChange> =
            changes.into_iter().map(|change| self.encode_change(&mut builder, change, pg_seq, hlc)).collect();
        let bytes = builder.bytes() as u64;
        let segment_bytes = self.0.mine[0].geometry.segment_bytes();
        if bytes > RECORD_BYTES_MAX.min(segment_bytes - FRAME_OVERHEAD_BYTES) {
            return Err(StoreError::TooLarge { bytes });
        }
        state.seq = pg_seq;
        let overlay: Vec<(Box<[u8]>, Option<Row>)> =
            pending.iter().map(|change| (change.key.clone(), change.row.clone())).collect();
        let record = PendingRecord { pg, changes: pending, relocated: false, at: 0 };
        let fate = self.0.log.borrow_mut().append(record, builder.finish(), bytes);
        for (key, row) in overlay {
            if state.pages.is_paged {
                state.pages.held.entry(key.clone()).or_default();
            }
            state.pending.insert(key, PendingRow { row, seq: pg_seq, fate: fate.clone() });
        }
        drop(state);
        self.0.log_work.notify_all();
        Ok(Commit { fate, pg_seq })
    }

    /// Refuses what cannot be kept.
    pub(crate) fn admit(&self, pg: PgId, adds: bool) -> Result<(), StoreError> {
        if self.is_failed() || self.is_stopping() {
            return Err(StoreError::Failed);
        }
        if self.pg(pg).borrow().state == PgState::NeedsRepair {
            return Err(StoreError::ReadOnly { pg });
        }
        // Deletions leave the room that rewriting one segment takes: a log that cannot go on fails for good.
        if (adds && self.0.mine[0].is_low())
            || self.log_room_bytes() < self.0.mine[0].geometry.segment_bytes()
        {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    /// Bytes the log can still take, as far as they matter: more than two segments are not told apart.
    pub(crate) fn log_room_bytes(&self) -> u64 {
        let segment_bytes = self.0.mine[0].geometry.segment_bytes();
        let whole = self.0.mine[0].segments_for_log(3) * segment_bytes;
        let log = self.0.log.borrow();
        let here = log.place.map_or(0, |place| segment_bytes - place.end);
        (whole + here).saturating_sub(log.waiting_bytes())
    }

    fn encode_change(
        &self,
        builder: &mut RecordBuilder,
        change: Change,
        seq: u64,
        hlc: Hlc,
    ) -> PendingChange {
        let before = builder.bytes();
        let (volume, segment) = (self.0.mine[0].id, 0);
        match change {
            Change::Delete { key } => {
                builder.delete(&key, seq, hlc);
                PendingChange { key, row: None, seq, hlc }
            }
            Change::Put { key, meta, body } => {
                let body = match body {
                    NewBody::None => {
                        builder.put(&key, &meta, None, seq, hlc);
                        BodyRef::None
                    }
                    NewBody::Inline { id, bytes } => {
                        let (crc, at) = builder.put_inline(&key, &meta, id, &bytes, seq, hlc);
                        let bytes = bytes.len() as u32;
                        BodyRef::Inline(InlineRef { id, volume, bytes, crc, offset: at as u64 })
                    }
                    NewBody::Extents(extents) => {
                        builder.put(&key, &meta, Some(&extents.encode()), seq, hlc);
                        BodyRef::Extents(Arc::from(extents))
                    }
                };
                let home = Home { volume, segment, bytes: (builder.bytes() - before) as u32 };
                PendingChange { key, row: Some(Row { seq, hlc, meta, body, home }), seq, hlc }
            }
        }
    }

    /// Makes the rows of a written frame visible.
    pub(crate) fn publish(&self, records: Vec<PendingRecord>, segment: u32, payload_at: u64, frame: u64) {
        let flushed = {
            let log = self.0.log.borrow();
            log.flushed_seq >= frame
        };
        for record in records {
            let mut pg = self.pg(record.pg).borrow_mut();
            let moved = moved_bodies(&record.changes);
            for mut change in record.changes {
                if let Some(row) = &mut change.row {
                    row.home.segment = segment;
                    if let BodyRef::Inline(inline) = &mut row.body {
                        inline.offset += payload_at + record.at;
                    }
                }
                if pg.pending.get(&change.key).is_some_and(|pending| pending.seq == change.seq) {
                    pg.pending.remove(&change.key);
                }
                if !record.relocated && self.samples_next() {
                    self.sample(record.pg, &change, segment, payload_at - FRAME_HEADER_BYTES as u64);
                }
                self.publish_change(&mut pg, change, record.relocated, frame, &moved);
            }
        }
        if flushed {
            self.free_dropped();
        }
        self.trim();
    }

    fn publish_change(
        &self,
        pg: &mut Pg,
        change: PendingChange,
        relocated: bool,
        frame: u64,
        moved: &[DataId],
    ) {
        let Some(current) = pg.known(&change.key) else {
            // Whether it is the one that counts nobody can tell any more: its place before is not given up then.
            assert!(relocated, "a row stays in memory while a change of it is on its way");
            return;
        };
        let body = |row: &RowView<'_>| row.has_extents().then(|| row.body());
        let old = current.map(|row| (row.seq, row.home.bytes, body(&row)));
        let current = old.as_ref().map(|(seq, ..)| *seq);
        // A relocated row is worth something only while it is the one that counts.
        if relocated && current != Some(change.seq) {
            return;
        }
        assert!(
            current.is_none_or(|seq| seq <= change.seq),
            "rows become visible in the order of their numbers"
        );
        pg.note(&change);
        self.note_named(&change);
        let added = change.row.as_ref().map_or(0, |row| u64::from(row.home.bytes));
        let new_id = change.row.as_ref().and_then(extents_id);
        pg.rows = pg.rows + u64::from(change.row.is_some()) - u64::from(old.is_some());
        match change.row {
            Some(row) => drop(pg.index.put(&change.key, &row)),
            None => drop(pg.index.remove(&change.key)),
        }
        let live = self.0.live_log_bytes.get() + added;
        self.0.live_log_bytes.set(live - old.as_ref().map_or(0, |(_, bytes, _)| u64::from(*bytes)));
        if let Some((.., Some(BodyRef::Extents(body)))) = old
            && new_id != Some(body.id)
            && !moved.contains(&body.id)
        {
            self.0.dropped.borrow_mut().push_back((frame, body.id, body.extents.clone()));
        }
        pg.let_go(&change.key);
    }

    /// A check of the space that runs must not miss what got a name behind its back.
    fn note_named(&self, change: &PendingChange) {
        let Some(Row { body: BodyRef::Extents(body), .. }) = &change.row else { return };
        for extent in &body.extents {
            if let Some(volume) = self.0.mine.iter().find(|volume| volume.id == extent.volume) {
                volume.alloc.borrow_mut().touch(extent.offset, u64::from(extent.bytes));
            }
        }
    }

    /// Frees space dropped by frames that are on stable media, unless it is being read.
    pub(crate) fn free_dropped(&self) {
        let flushed = self.0.log.borrow().flushed_seq;
        loop {
            let next = {
                let mut dropped = self.0.dropped.borrow_mut();
                match dropped.front() {
                    Some((frame, _, _)) if *frame <= flushed => dropped.pop_front(),
                    _ => None,
                }
            };
            let Some((_, id, extents)) = next else { return };
            self.release(self.0.pins.drop_body(id, extents));
        }
    }

    /// Takes back what was sequenced and will never be durable, so that conditions are not judged by it.
    pub(crate) fn forget_pending(&self) {
        for pg in self.0.pgs.iter().flatten() {
            let mut pg = pg.borrow_mut();
            pg.pending.clear();
            pg.pages.held.retain(|_, held| held.holders > 0);
        }
    }

    /// Space for a body of `bytes` on this core's volumes.
    ///
    /// # Errors
    /// `Full`, `Failed`, or of the device while the volume grows.
    pub async fn allocate(&self, bytes: u64) -> Result<Grant, StoreError> {
        if self.is_failed() {
            return Err(StoreError::Failed);
        }
        if self.0.mine[0].is_low() {
            return Err(StoreError::Full);
        }
        let unit = 1u64 << block_log2(u64::MAX);
        let wanted = align_up(bytes, 4096);
        let mut last = StoreError::Full;
        for volume in &self.0.mine {
            match volume.allocate(wanted, EXTENT_BYTES_MAX, unit).await {
                Ok(extents) => return Ok(Grant { extents }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Gives space back that no row names.
    pub fn release(&self, extents: Vec<Extent>) {
        for extent in extents {
            match self.0.mine.iter().find(|volume| volume.id == extent.volume) {
                Some(volume) => volume.free(&[extent]),
                None => self.0.foreign_frees.borrow_mut().push(extent),
            }
        }
    }

    /// Space on volumes of other cores, to be released there.
    #[must_use]
    pub fn take_foreign_frees(&self) -> Vec<Extent> {
        std::mem::take(&mut *self.0.foreign_frees.borrow_mut())
    }

    /// One more reader of a body in extents.
    pub fn pin(&self, id: DataId) {
        self.0.pins.pin(id);
    }

    /// One reader less.
    pub fn unpin(&self, id: DataId) {
        let freed = self.0.pins.unpin(id);
        self.release(freed);
    }

    /// Reads an inline body; its segment is not reused meanwhile.
    ///
    /// # Errors
    /// See [`read_inline`].
    pub async fn read_inline(&self, inline: &InlineRef) -> Result<Bytes, StoreError> {
        let _reading = self.0.pins.log.begin();
        read_inline(&self.0.volumes, inline).await
    }

    /// Figures, counted now.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let (withheld_bytes, write_errors) = self.0.volumes.withheld();
        let paged = self.0.paged_stats.get();
        let mut stats = StoreStats { withheld_bytes, write_errors, paged, ..StoreStats::default() };
        stats.paged.cache_bytes = self.0.block_cache.borrow().bytes();
        stats.index_bytes = stats.paged.cache_bytes;
        for pg in self.0.pgs.iter().flatten() {
            let pg = pg.borrow();
            stats.rows += pg.rows;
            stats.paged.pgs += u64::from(pg.pages.is_paged);
            stats.paged.rows_in_memory += pg.index.rows();
            stats.index_bytes += pg.bytes();
            stats.needs_repair += u64::from(pg.state == PgState::NeedsRepair);
        }
        for volume in &self.0.mine {
            stats.log_segments += volume.log_segments().len() as u64;
            stats.volume_bytes += volume.total_bytes();
            stats.free_bytes += volume.free_bytes();
            stats.growable_bytes += volume.growable_bytes();
            stats.withheld_bytes += volume.withdrawn_bytes();
        }
        let log = self.0.log.borrow();
        stats.frames = log.frames;
        stats.log_bytes_written = log.bytes_written;
        stats.live_log_bytes = self.0.live_log_bytes.get();
        stats.cleaned_segments = self.0.cleaned_segments.get();
        stats.relocated_bytes = self.0.relocated_bytes.get();
        stats.log_moves = log.moves;
        stats.failed = log.failed;
        stats.absent = self.0.absent.is_some();
        drop(log);
        stats.checkpoints = self.checkpoint_stats();
        stats.scrub = self.scrub_stats();
        stats
    }

    /// Memory of the index, bytes: cheap enough for every request.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        let rows: u64 = self.0.pgs.iter().flatten().map(|pg| pg.borrow().bytes()).sum();
        rows + self.0.block_cache.borrow().bytes()
    }

    /// Makes everything sequenced so far durable, whatever the sync policy.
    ///
    /// # Errors
    /// `Failed` or of the device.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.drain_log().await?;
        self.flush_log().await
    }

    /// Writes what is pending, flushes, seals the log, writes a checkpoint and marks the volumes clean. Nothing
    /// is accepted afterwards.
    ///
    /// # Errors
    /// `Failed` or of the device: the volumes stay marked unclean, and recovery does what it always does.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        if self.0.absent.is_some() {
            return Ok(());
        }
        self.drain_log().await?;
        self.0.log.borrow_mut().stopping = true;
        self.0.log_work.notify_all();
        loop {
            let gone = self.0.writer_gone.notified();
            if self.0.log.borrow().writer_gone {
                break;
            }
            gone.await;
        }
        self.flush_log().await?;
        let ends = self.0.log.borrow().ends();
        self.0.mine[0].seal_log(&ends).await?;
        self.close_volumes().await
    }
}

/// Bodies that rows of this record name: one that another row of the record gives up moved, and its space
/// is still in use.
fn moved_bodies(changes: &[PendingChange]) -> Vec<DataId> {
    if changes.len() < 2 {
        return Vec::new();
    }
    changes.iter().filter_map(|change| change.row.as_ref().and_then(extents_id)).collect()
}

fn extents_id(row: &Row) -> Option<DataId> {
    match &row.body {
        BodyRef::Extents(body) => Some(body.id),
        _ => None,
    }
}
