//! Checkpoints: the index of this core's PGs as runs on its volume, while writes go on.
//!
//! Invariant: what the superblock names is durable, and with the log behind the position it names it holds
//! every visible row; the space of what it named before is reused only afterwards. Runs on the PGs' owner
//! core, one checkpoint at a time; between two steps of bounded length others run.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use stria_base::PgId;
use stria_env::{
    Env,
    sync::{Permit, Semaphore},
};

use crate::{
    cursor::Shows,
    error::StoreError,
    index::Changed,
    manifest::{self, Entry, MANIFEST_BYTES_MAX, Manifest, ManifestRef},
    pg::Pg,
    replay::VolumeReplay,
    row::Extent,
    run::Run,
    run_writer::{Rows, Written},
    stats::CheckpointStats,
    store::{PgState, Store},
    superblock::{Position, VolumeInfo, Writers},
    view::RunView,
};

/// A PG of so many runs gets a single new one.
const RUNS_MAX: usize = 6;
/// After a failure the next attempt waits so long.
const RETRY_NS: u64 = 5_000_000_000;

/// How far a core has come since the store was opened after its number of cores, or its volumes, changed.
///
/// A log may then hold records of PGs of other cores. So first every core writes all its PGs down and no
/// position moves; then positions move; and only when all have moved may tombstones be left out of runs that
/// replace all others, because until then some log may hold what they hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Not all PGs are in runs on this core's own volume.
    Opened,
    /// They are.
    Covered,
    /// No record of a PG of another core is replayed from this core's volumes any more.
    Moved,
}

/// A manifest this core's superblocks name.
#[derive(Default)]
struct Held {
    manifest: Manifest,
    named: Option<ManifestRef>,
}

/// What the checkpoints of one core stand at.
pub(crate) struct Checkpoints {
    turn: Rc<Semaphore>,
    progress: Cell<Progress>,
    /// How far every core has come.
    reached: Cell<Progress>,
    /// One per volume of this core.
    held: RefCell<Vec<Held>>,
    /// Where the logs of these volumes ended when they were opened.
    ends: Vec<Option<Position>>,
    /// Bytes of log that were replayed at opening.
    replayed_bytes: Cell<u64>,
    /// Bytes of log written when the last checkpoint began.
    log_bytes_at: Cell<u64>,
    /// Cleaning waits for the position to move.
    pub(crate) wanted: Cell<bool>,
    /// The index outgrows its budget, and what changed cannot go before it is in runs.
    pub(crate) wanted_for_memory: Cell<bool>,
    /// There was no room: write what changed only.
    is_cramped: Cell<bool>,
    retry_at_ns: Cell<u64>,
    begun_ns: Cell<u64>,
    pub(crate) stats: Cell<CheckpointStats>,
}

impl Checkpoints {
    /// Over what replay found.
    pub(crate) fn new(mine: &[VolumeReplay], is_settled: bool, now_ns: u64) -> Self {
        let progress = if is_settled { Progress::Moved } else { Progress::Opened };
        let held = mine.iter().map(|volume| Held {
            manifest: volume.manifest.clone().unwrap_or_default(),
            named: volume.info.manifest.filter(|_| volume.manifest.is_some()),
        });
        Self {
            turn: Semaphore::new(1),
            progress: Cell::new(progress),
            reached: Cell::new(progress),
            held: RefCell::new(held.collect()),
            ends: mine.iter().map(|volume| volume.end).collect(),
            replayed_bytes: Cell::new(mine.iter().map(|volume| volume.replayed_bytes).sum()),
            log_bytes_at: Cell::new(0),
            wanted: Cell::new(false),
            wanted_for_memory: Cell::new(false),
            is_cramped: Cell::new(false),
            retry_at_ns: Cell::new(0),
            begun_ns: Cell::new(now_ns),
            stats: Cell::default(),
        }
    }

    /// Waits until no checkpoint is written, and keeps the next from beginning.
    pub(crate) async fn take_turn(&self) -> Permit {
        self.turn.take(1).await
    }
}

/// What a checkpoint goes by, fixed before the first row is copied.
#[derive(Clone, Copy)]
struct Begin {
    /// Whether all PGs of all cores are in runs, so that positions may move.
    moves: bool,
    /// Every frame before is published: whatever is copied from now on is at least as new.
    position: Option<Position>,
    log_bytes: u64,
    at_ns: u64,
}

/// A checkpoint being written.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    /// Space taken so far.
    extents: Vec<Extent>,
    /// PGs whose changes were taken, and whether they had runs to build on: for when the checkpoint fails.
    taken: Vec<(PgId, bool)>,
    /// What is known of the runs it wrote.
    views: BTreeMap<u64, Rc<RunView>>,
}

impl<E: Env> Store<E> {
    /// Whether a checkpoint should be written now.
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        let state = &self.0.checkpoints;
        if self.is_failed() || self.is_stopping() || self.0.env.mono_ns() < state.retry_at_ns.get() {
            return false;
        }
        let can_move = state.reached.get() >= Progress::Covered;
        let next = match state.progress.get() {
            Progress::Opened => true,
            Progress::Covered => can_move,
            Progress::Moved => false,
        };
        let is_wanted = state.wanted.get() || state.wanted_for_memory.get();
        next || (is_wanted && can_move) || self.log_bytes_behind() > self.0.config.checkpoint_log_bytes
    }

    fn log_bytes_behind(&self) -> u64 {
        let state = &self.0.checkpoints;
        state.replayed_bytes.get() + self.0.log.borrow().bytes_written - state.log_bytes_at.get()
    }

    /// Whether one is being written.
    #[must_use]
    pub fn is_checkpointing(&self) -> bool {
        self.0.checkpoints.turn.free() == 0
    }

    /// How far this core has come.
    #[must_use]
    pub fn checkpoint_progress(&self) -> Progress {
        self.0.checkpoints.progress.get()
    }

    /// Whether every core has come as far as a core can.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.checkpoints.reached.get() == Progress::Moved
    }

    /// Every core of the node has come so far.
    pub fn all_reached(&self, progress: Progress) {
        let state = &self.0.checkpoints;
        state.reached.set(state.reached.get().max(progress));
        if state.reached.get() == Progress::Moved {
            for pg in self.0.pgs.iter().flatten() {
                pg.borrow_mut().tombstones = None;
            }
        }
    }

    /// Writes a checkpoint of all PGs of this core. Whether there was anything to write.
    ///
    /// # Errors
    /// `Full` when there is no room: everything goes on without, and the log grows; `Failed` or of the device.
    pub async fn checkpoint(&self) -> Result<bool, StoreError> {
        let _turn = self.0.checkpoints.turn.take(1).await;
        if self.is_stopping() {
            return Err(StoreError::Failed);
        }
        self.write_checkpoint().await
    }

    /// The last one, when nothing is written any more, and the mark of an orderly shutdown.
    pub(crate) async fn close_volumes(&self) -> Result<(), StoreError> {
        let _turn = self.0.checkpoints.turn.take(1).await;
        // Without a checkpoint the next start replays more; that is all.
        if let Err(error) = self.write_checkpoint().await
            && self.is_failed()
        {
            return Err(error);
        }
        let hlc_high = self.next_hlc();
        for (nth, volume) in self.0.mine.iter().enumerate() {
            let info = VolumeInfo { clean: true, hlc_high, ..volume.info() };
            volume.write_superblock(if nth == 0 { self.marked(info) } else { info }).await?;
        }
        Ok(())
    }

    async fn write_checkpoint(&self) -> Result<bool, StoreError> {
        if self.is_failed() {
            return Err(StoreError::Failed);
        }
        let state = &self.0.checkpoints;
        let moves = state.reached.get() >= Progress::Covered;
        let begin = Begin {
            moves,
            position: if moves { self.log_end() } else { self.0.mine[0].info().position },
            log_bytes: self.0.log.borrow().bytes_written,
            at_ns: self.0.env.mono_ns(),
        };
        state.wanted.set(false);
        state.wanted_for_memory.set(false);
        if !self.has_news(&begin) {
            return Ok(false);
        }
        let mut draft = Draft::default();
        match self.write_parts(&begin, &mut draft).await {
            Ok((manifest, named)) => {
                // After an error nobody knows what the superblock names: nothing may be reused any more.
                if let Err(error) = self.name(&begin, (manifest, named), &draft.views).await {
                    self.fail_log();
                    return Err(error);
                }
                self.count(&begin, &draft);
                Ok(true)
            }
            Err(error) => {
                self.give_up(draft, &error);
                Err(error)
            }
        }
    }

    /// Where the log stands. Every frame before is published: between the end of its write and its publication
    /// no other task runs.
    fn log_end(&self) -> Option<Position> {
        let log = self.0.log.borrow();
        let Some(place) = log.place else { return self.0.checkpoints.ends[0] };
        let (next_seq, prev_hash) = (log.next_seq, log.prev_hash);
        Some(Position { generation: place.generation, offset: place.end, next_seq, prev_hash })
    }

    fn has_news(&self, begin: &Begin) -> bool {
        let changed = |pg: &RefCell<Pg>| {
            let pg = pg.borrow();
            pg.changed.as_ref().map_or(pg.seq > 0, |changed| !changed.is_empty())
        };
        let next = if begin.moves { Progress::Moved } else { Progress::Covered };
        begin.position != self.0.mine[0].info().position
            || self.0.checkpoints.progress.get() < next
            || self.0.pgs.iter().flatten().any(changed)
    }

    /// Writes runs and manifest and makes them durable, with every frame they were copied from.
    async fn write_parts(
        &self,
        begin: &Begin,
        draft: &mut Draft,
    ) -> Result<(Manifest, ManifestRef), StoreError> {
        for pg in self.pgs() {
            self.write_pg(pg, draft).await?;
        }
        let mut entries = std::mem::take(&mut draft.entries);
        if !begin.moves {
            // PGs of other cores: their owners may not have them yet.
            let held = self.0.checkpoints.held.borrow();
            let foreign =
                |entry: &&Entry| self.0.pgs.get(usize::from(entry.pg.0)).is_none_or(Option::is_none);
            entries.extend(held[0].manifest.entries.iter().filter(foreign).cloned());
        }
        let manifest = Manifest { hlc_high: self.next_hlc(), entries };
        let volume = &self.0.mine[0];
        let bytes = manifest.encode(volume.id);
        // Each copy lies in one piece, and so in one segment.
        if bytes.len() as u64 > MANIFEST_BYTES_MAX.min(volume.geometry.segment_bytes() / 2) {
            return Err(StoreError::TooLarge { bytes: bytes.len() as u64 });
        }
        let mut offsets = [0; 2];
        for offset in &mut offsets {
            *offset = self.write_extents(&bytes, true, &mut draft.extents).await?[0].offset;
        }
        self.flush_log().await?;
        self.0.volumes.flush(volume.id).await?;
        let hash = manifest::hash(volume.uuid, &bytes);
        Ok((manifest, ManifestRef { offsets, bytes: bytes.len() as u32, hash }))
    }

    /// Writes what changed of one PG, or all of it.
    async fn write_pg(&self, id: PgId, draft: &mut Draft) -> Result<(), StoreError> {
        let held = self.0.checkpoints.held.borrow()[0].manifest.entry(id).cloned();
        let (mut entry, all) = {
            let mut pg = self.pg(id).borrow_mut();
            let needs_repair = pg.state == PgState::NeedsRepair;
            // Runs on a volume of another core are not ours to build on.
            let kept = held.filter(|_| pg.changed.is_some());
            let is_kept = kept.is_some();
            let runs = kept.map(|entry| entry.runs).unwrap_or_default();
            let pg_seq = pg.published_seq;
            let mut entry = Entry { pg: id, needs_repair, version: pg.version + 1, pg_seq, runs };
            if pg.changed.as_ref().map_or(pg.seq == 0 && !needs_repair, Changed::is_empty) {
                entry.version = pg.version;
                draft.entries.extend(Some(entry).filter(|_| is_kept));
                return Ok(());
            }
            let all = pg.changed.is_none() || (!pg.keeps_runs && self.is_worn(&entry.runs));
            draft.taken.push((id, pg.changed.is_some()));
            pg.taken = pg.changed.replace(Changed::default());
            (entry, all)
        };
        let (rows, replaced) = match (self.is_resident(id), all) {
            (true, true) => (Rows::All, entry.runs.len()),
            (true, false) => (Rows::Changed, 0),
            // All of a paged PG is much to read and write: its newest runs are merged, the others stay.
            (false, _) => match self.merged_runs(&entry.runs) {
                0 => (Rows::Changed, 0),
                count if count == entry.runs.len() => (Rows::Merged(Shows::Rows), count),
                count => (Rows::Merged(Shows::Newest(count)), count),
            },
        };
        let written = self.write_run(id, rows, &mut draft.extents).await?;
        entry.runs.drain(..replaced);
        if let Some(Written { run, view }) = written {
            draft.views.insert(run.id, Rc::new(view));
            entry.runs.insert(0, run);
        }
        draft.entries.push(entry);
        Ok(())
    }

    /// Whether all runs should give way to one.
    fn is_worn(&self, runs: &[Run]) -> bool {
        let Some((base, deltas)) = runs.split_last() else { return true };
        let delta_bytes: u64 = deltas.iter().map(|run| run.bytes).sum();
        !self.0.checkpoints.is_cramped.get() && (runs.len() >= RUNS_MAX || delta_bytes > base.bytes)
    }

    /// How many of the newest runs of a paged PG the next one takes in: none while there are few, else as many as
    /// are no larger than twice what is merged already.
    fn merged_runs(&self, runs: &[Run]) -> usize {
        if runs.len() < RUNS_MAX || self.0.checkpoints.is_cramped.get() {
            return 0;
        }
        let (mut count, mut bytes) = (0, 0);
        while let Some(run) = runs.get(count)
            && (count < 2 || run.bytes <= 2 * bytes)
        {
            (count, bytes) = (count + 1, bytes + run.bytes);
        }
        count
    }

    /// Makes it the checkpoint that counts, in one step, and frees what counted before.
    async fn name(
        &self,
        begin: &Begin,
        (manifest, named): (Manifest, ManifestRef),
        views: &BTreeMap<u64, Rc<RunView>>,
    ) -> Result<(), StoreError> {
        let volume = &self.0.mine[0];
        let info = volume.info();
        let writers = if begin.moves { Writers::Cores(self.0.config.cores) } else { info.writers };
        let (position, hlc_high) = (begin.position, manifest.hlc_high);
        volume
            .write_superblock(self.marked(VolumeInfo {
                position,
                manifest: Some(named),
                writers,
                hlc_high,
                // Other cores' PGs say that they need repair in manifests that may not be written yet.
                lost: if begin.moves { Writers::None } else { info.lost },
                ..info
            }))
            .await?;
        let gone = self.replace_held(0, Held { manifest, named: Some(named) });
        self.replace_views(views);
        // Who reads a run that is replaced has its space until then.
        self.0.pins.runs.period().await;
        volume.free(&gone);
        self.trim();
        if begin.moves {
            self.empty_others().await?;
        }
        Ok(())
    }

    /// The volumes of cores that are no more: all they say is in runs elsewhere.
    async fn empty_others(&self) -> Result<(), StoreError> {
        for (nth, volume) in self.0.mine.iter().enumerate().skip(1) {
            let (info, position) = (volume.info(), self.0.checkpoints.ends[nth]);
            if info.manifest.is_some() || info.lost != Writers::None || info.position != position {
                let none = VolumeInfo {
                    position,
                    manifest: None,
                    writers: Writers::None,
                    lost: Writers::None,
                    ..info
                };
                volume.write_superblock(none).await?;
                volume.free(&self.replace_held(nth, Held::default()));
            }
        }
        Ok(())
    }

    /// What only the manifest named before took.
    fn replace_held(&self, nth: usize, next: Held) -> Vec<Extent> {
        let (volume, mut gone) = (&self.0.mine[nth], Vec::new());
        let before = std::mem::take(&mut self.0.checkpoints.held.borrow_mut()[nth]);
        let kept: BTreeSet<u64> = next.manifest.runs().map(|run| run.id).collect();
        for run in before.manifest.runs().filter(|run| !kept.contains(&run.id)) {
            gone.extend_from_slice(&run.extents);
        }
        if let Some(named) = before.named {
            gone.extend(named.extents(volume.id));
        }
        for entry in &next.manifest.entries {
            if let Some(Some(pg)) = self.0.pgs.get(usize::from(entry.pg.0)) {
                pg.borrow_mut().version = entry.version;
            }
        }
        self.0.checkpoints.held.borrow_mut()[nth] = next;
        gone
    }

    /// PGs read the runs that count now, and paged ones leave what these hold to them.
    fn replace_views(&self, new: &BTreeMap<u64, Rc<RunView>>) {
        let held = self.0.checkpoints.held.borrow();
        for entry in &held[0].manifest.entries {
            let Some(Some(pg)) = self.0.pgs.get(usize::from(entry.pg.0)) else { continue };
            let mut pg = pg.borrow_mut();
            let old = pg.pages.views.clone();
            let is_same = old.iter().map(|view| view.run.id).eq(entry.runs.iter().map(|run| run.id));
            if !is_same {
                let known =
                    |id: u64| new.get(&id).or_else(|| old.iter().find(|view| view.run.id == id)).cloned();
                let views: Option<Vec<_>> = entry.runs.iter().map(|run| known(run.id)).collect();
                assert!(views.is_some() || !pg.pages.is_paged, "every run of a paged PG is known");
                pg.pages.views = Rc::new(views.unwrap_or_default());
                pg.pages.version += 1;
            }
            if pg.pages.is_paged {
                pg.page_out();
            }
            pg.taken = None;
        }
    }

    fn count(&self, begin: &Begin, draft: &Draft) {
        let state = &self.0.checkpoints;
        let done = if begin.moves { Progress::Moved } else { Progress::Covered };
        state.progress.set(state.progress.get().max(done));
        state.replayed_bytes.set(0);
        state.log_bytes_at.set(begin.log_bytes);
        state.is_cramped.set(false);
        state.begun_ns.set(begin.at_ns);
        let mut stats = state.stats.get();
        stats.count += 1;
        stats.last_ns = self.0.env.mono_ns() - begin.at_ns;
        stats.bytes_written += draft.extents.iter().map(|extent| u64::from(extent.bytes)).sum::<u64>();
        state.stats.set(stats);
    }

    /// Everything is as before, but for the time lost.
    fn give_up(&self, draft: Draft, error: &StoreError) {
        self.0.mine[0].free(&draft.extents);
        for (pg, had_runs) in draft.taken {
            let mut pg = self.pg(pg).borrow_mut();
            let (before, since) = (pg.taken.take(), pg.changed.take());
            if let (true, Some(mut before), Some(since)) = (had_runs, before, since) {
                before.extend(&since);
                pg.changed = Some(before);
            }
        }
        let state = &self.0.checkpoints;
        state.is_cramped.set(matches!(error, StoreError::Full));
        state.retry_at_ns.set(self.0.env.mono_ns() + RETRY_NS);
        let mut stats = state.stats.get();
        stats.failed += 1;
        state.stats.set(stats);
    }

    /// Where the last checkpoint on each volume of this core lies: the copies of its manifest, and the runs of
    /// each PG. For checks of the medium.
    #[must_use]
    pub fn checkpoint_extents(&self) -> (Vec<Extent>, Vec<(PgId, Extent)>) {
        let held = self.0.checkpoints.held.borrow();
        let (mut manifests, mut runs) = (Vec::new(), Vec::new());
        for (held, volume) in held.iter().zip(&self.0.mine) {
            manifests.extend(held.named.iter().flat_map(|named| named.extents(volume.id)));
            for entry in &held.manifest.entries {
                let extents = entry.runs.iter().flat_map(|run| &run.extents);
                runs.extend(extents.map(|extent| (entry.pg, *extent)));
            }
        }
        (manifests, runs)
    }

    /// All space that runs and manifests of this core take.
    pub(crate) fn checkpoint_extents_all(&self) -> Vec<Extent> {
        let (manifests, runs) = self.checkpoint_extents();
        runs.into_iter().map(|(_, extent)| extent).chain(manifests).collect()
    }

    /// The manifest of the nth volume as its superblock names it, and its bytes.
    pub(crate) fn held_manifest(&self, nth: usize) -> Option<(ManifestRef, Vec<u8>)> {
        let held = self.0.checkpoints.held.borrow();
        let named = held[nth].named?;
        let volume = &self.0.mine[nth];
        let bytes = held[nth].manifest.encode(volume.id);
        // One of an earlier release may be written otherwise today: it is left alone until it is replaced.
        (manifest::hash(volume.uuid, &bytes) == named.hash).then_some((named, bytes))
    }

    /// The runs of the first PG from `from` on that any manifest of this core names.
    pub(crate) fn held_runs(&self, from: PgId) -> Option<(PgId, Vec<Run>)> {
        let held = self.0.checkpoints.held.borrow();
        let entries = || held.iter().flat_map(|held| &held.manifest.entries);
        let pg = entries().map(|entry| entry.pg).filter(|pg| *pg >= from).min()?;
        let of = entries().filter(|entry| entry.pg == pg);
        Some((pg, of.flat_map(|entry| entry.runs.iter().cloned()).collect()))
    }

    /// Whether a manifest of this core names a run.
    pub(crate) fn holds_run(&self, id: u64) -> bool {
        self.0.checkpoints.held.borrow().iter().any(|held| held.manifest.runs().any(|run| run.id == id))
    }

    /// Makes a PG that needs repair writable again, with what is left of it: what was lost stays lost. The next
    /// checkpoint writes all of it anew and makes that last.
    pub fn accept_loss(&self, pg: PgId) {
        let mut state = self.pg(pg).borrow_mut();
        state.state = PgState::Active;
        state.keeps_runs = false;
        state.changed = None;
        self.0.checkpoints.wanted.set(true);
    }

    /// Asks for a checkpoint that writes all of a PG anew, because its runs are damaged. False when memory does
    /// not have it all either.
    pub(crate) fn replace_runs(&self, pg: PgId) -> bool {
        let Some(Some(state)) = self.0.pgs.get(usize::from(pg.0)) else { return false };
        let mut state = state.borrow_mut();
        if state.keeps_runs || state.pages.is_paged {
            return false;
        }
        state.changed = None;
        self.0.checkpoints.wanted.set(true);
        true
    }

    /// Figures, counted now.
    pub(crate) fn checkpoint_stats(&self) -> CheckpointStats {
        let state = &self.0.checkpoints;
        let mut stats = state.stats.get();
        for held in state.held.borrow().iter() {
            stats.runs += held.manifest.runs().count() as u64;
            stats.run_bytes += held.manifest.runs().map(|run| run.bytes).sum::<u64>();
            stats.run_bytes += held.named.map_or(0, |named| 2 * u64::from(named.bytes));
        }
        stats.position_age_ns = self.0.env.mono_ns() - state.begun_ns.get();
        stats.log_bytes = self.log_bytes_behind();
        stats
    }
}
