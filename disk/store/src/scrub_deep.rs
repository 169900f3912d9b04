//! A deep pass: sealed log segments frame by frame, runs block by block, the bodies of all rows.
//!
//! Invariant: one read is in flight; no borrow outlives a step of `ROWS_PER_STEP` rows; what does not verify is
//! asked for three times before it counts. Runs on the owner core of volumes and rows, as one task.

use std::ops::{Bound, ControlFlow};

use stria_base::{DataId, PgId, VolumeId};
use stria_env::{Disk, Env};
use stria_wal::FRAME_ALIGN;

use crate::{
    body::read_extents,
    error::StoreError,
    row::{BodyRef, Extent, ExtentBody, pieces},
    run::Run,
    scrub::{Damage, DamageKind, ScrubStep},
    store::Store,
    view::RunView,
    volume::patient_buf,
    window::{BLOCK_READS_MAX, Place, Window},
};

/// Rows copied at once.
const ROWS_PER_STEP: usize = 64;
/// Bytes of one read of a body or a run.
const READ_BYTES: u64 = 256 << 10;
/// Log read before a rest.
const LOG_STEP_BYTES: u64 = 1 << 20;
/// Until a buffer is asked for again: whoever serves a client goes first.
const BUFFER_RETRY_NS: u64 = 10_000_000;

impl<E: Env> Store<E> {
    /// Runs a deep pass from the mark to its end.
    ///
    /// # Errors
    /// `Failed` when the store is being shut down; of the device when it fails as a whole.
    pub async fn scrub_deep(&self) -> Result<(), StoreError> {
        let state = &self.0.scrub;
        let now_ms = self.0.env.wall_ms();
        if state.mark.get().deep_begun_ms == 0 {
            self.move_mark(|mark| mark.deep_begun_ms = now_ms).await?;
        }
        state.update(|stats| stats.pass_bytes = 0);
        loop {
            self.check_going()?;
            let next = match state.mark.get().next {
                ScrubStep::Log { nth, generation } => self.scrub_log(nth, generation).await?,
                ScrubStep::Runs(pg) => self.scrub_runs_of(pg).await?,
                ScrubStep::Rows(pg) => self.scrub_rows_of(pg).await?,
            };
            let Some(next) = next else { break };
            self.move_mark(|mark| mark.next = next).await?;
        }
        state.forget_unseen(false);
        state.update(|stats| stats.deep_passes += 1);
        let now_ms = self.0.env.wall_ms();
        self.move_mark(|mark| {
            mark.next = ScrubStep::Log { nth: 0, generation: 0 };
            (mark.deep_begun_ms, mark.deep_done_ms) = (0, now_ms);
        })
        .await
    }

    /// The first PG of this core from `pg` on.
    fn pg_from(&self, pg: PgId) -> Option<PgId> {
        self.pgs().find(|mine| *mine >= pg)
    }

    async fn scrub_log(&self, nth: u16, generation: u64) -> Result<Option<ScrubStep>, StoreError> {
        let Some(volume) = self.0.mine.get(usize::from(nth)) else {
            return Ok(Some(ScrubStep::Runs(PgId(0))));
        };
        let sealed = volume.log_segments().into_iter().find_map(|(segment, found, end)| {
            (found >= generation).then_some(()).and(end).map(|end| (segment, found, end))
        });
        let Some((segment, generation, end)) = sealed else {
            return Ok(Some(ScrubStep::Log { nth: nth + 1, generation: 0 }));
        };
        let (uuid, id, geometry) = (volume.uuid, volume.id, volume.geometry);
        let place = Place { uuid, volume: id, geometry, segment, generation };
        for at in self.scrub_segment(place, u64::from(end)).await? {
            if volume.has_log(segment, generation) {
                // Behind the position a start would miss what the frame says: memory has it, a checkpoint keeps it.
                let is_replayed = !volume.is_below_position(generation, end);
                self.0.checkpoints.wanted.set(self.0.checkpoints.wanted.get() || is_replayed);
                self.note_damage(self.damage_at(DamageKind::Log, id, place.offset() + at));
            }
        }
        Ok(Some(ScrubStep::Log { nth, generation: generation + 1 }))
    }

    /// Where frames of a sealed segment do not verify.
    async fn scrub_segment(&self, place: Place, end: u64) -> Result<Vec<u64>, StoreError> {
        let disk = self.0.volumes.disk(place.volume)?.clone();
        let mut window = Window::new(&self.0.env, &disk, place, end).one_read_at_a_time();
        let (mut bad, mut is_hole) = (Vec::new(), false);
        let (mut rested_at, mut took_ns) = (0, 0);
        while window.at < end {
            let begun_ns = self.0.env.mono_ns();
            let frame = match window.frame().await {
                Err(StoreError::NoBuffer) => {
                    self.0.env.sleep(BUFFER_RETRY_NS).await;
                    continue;
                }
                frame => frame?,
            };
            took_ns += self.0.env.mono_ns() - begun_ns;
            if frame.is_none() && !is_hole {
                bad.push(window.at);
            }
            is_hole = frame.is_none();
            window.advance(frame.map_or(FRAME_ALIGN, |header| header.frame_bytes()));
            if window.at - rested_at >= LOG_STEP_BYTES || window.at >= end {
                self.check_going()?;
                self.rest(window.at - rested_at, took_ns, true).await;
                (rested_at, took_ns) = (window.at, 0);
            }
        }
        Ok(bad)
    }

    /// Verifies the runs of the first PG from `from` on that a manifest of this core names.
    async fn scrub_runs_of(&self, from: PgId) -> Result<Option<ScrubStep>, StoreError> {
        let Some((pg, runs)) = self.held_runs(from) else {
            return Ok(Some(ScrubStep::Rows(PgId(0))));
        };
        self.scrub_runs(pg, &runs, true).await?;
        Ok(Some(ScrubStep::Runs(PgId(pg.0 + 1))))
    }

    /// Verifies all runs that manifests of this core name.
    pub(crate) async fn scrub_all_runs(&self) -> Result<(), StoreError> {
        let mut from = PgId(0);
        while let Some((pg, runs)) = self.held_runs(from) {
            self.scrub_runs(pg, &runs, false).await?;
            from = PgId(pg.0 + 1);
        }
        Ok(())
    }

    async fn scrub_runs(&self, pg: PgId, runs: &[Run], is_deep: bool) -> Result<(), StoreError> {
        for run in runs {
            self.check_going()?;
            let Some((volume, offset)) = self.bad_place_of(pg, run, is_deep).await? else { continue };
            if self.holds_run(run.id) {
                let is_repaired = self.replace_runs(pg);
                let damage = self.damage_at(DamageKind::Run, volume, offset);
                self.note_damage(Damage { pg: Some(pg), is_repaired, ..damage });
            }
        }
        Ok(())
    }

    /// Where a run does not verify.
    async fn bad_place_of(
        &self,
        pg: PgId,
        run: &Run,
        is_deep: bool,
    ) -> Result<Option<(VolumeId, u64)>, StoreError> {
        let index_at = run.bytes - u64::from(run.index_bytes);
        let index = self.read_run(run, index_at, u64::from(run.index_bytes), is_deep).await?;
        let Some(view) = RunView::parse(self.0.mine[0].uuid, pg, run, &index) else {
            return Ok(place_in(&run.extents, index_at));
        };
        let mut number = 0;
        while number < view.blocks() {
            let (first, at) = (number, view.block(number).at);
            let mut end = at;
            while number < view.blocks() {
                let block = view.block(number);
                if number > first && block.at + u64::from(block.bytes) - at > READ_BYTES {
                    break;
                }
                end = block.at + u64::from(block.bytes);
                number += 1;
            }
            let bytes = self.read_run(run, at, end - at, is_deep).await?;
            for nth in first..number {
                let block = view.block(nth);
                let from = (block.at - at) as usize;
                if !view.verifies(nth, &bytes[from..from + block.bytes as usize]) {
                    return Ok(place_in(&run.extents, block.at));
                }
            }
        }
        Ok(None)
    }

    /// Bytes of a run; zeros in place of what cannot be read.
    async fn read_run(&self, run: &Run, at: u64, bytes: u64, is_deep: bool) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::with_capacity(bytes as usize);
        for (volume, offset, len) in pieces(&run.extents, at, bytes, READ_BYTES) {
            let begun_ns = self.0.env.mono_ns();
            let mut buf = patient_buf(&self.0.env, len as usize).await;
            let disk = self.0.volumes.disk(volume)?.clone();
            for reads in 1..=BLOCK_READS_MAX {
                let (result, back) = disk.read(offset, buf).await;
                buf = back;
                if result.is_ok() {
                    break;
                }
                if reads == BLOCK_READS_MAX {
                    buf.fill(0);
                }
            }
            out.extend_from_slice(&buf);
            drop(buf);
            self.rest(len, self.0.env.mono_ns() - begun_ns, is_deep).await;
        }
        Ok(out)
    }

    async fn scrub_rows_of(&self, from: PgId) -> Result<Option<ScrubStep>, StoreError> {
        let Some(pg) = self.pg_from(from) else { return Ok(None) };
        let mut last: Option<Box<[u8]>> = None;
        loop {
            let rows = match self.bodies_from(pg, last.as_deref()).await {
                // Of rows that are left to a damaged run: the run was reported.
                Err(StoreError::Corrupt { .. }) => break,
                rows => rows?,
            };
            let Some((key, _)) = rows.last() else { break };
            last = Some(key.clone());
            for (key, body) in &rows {
                self.check_going()?;
                if let Some((volume, offset)) = self.bad_place_in_body(pg, key, body).await? {
                    let damage = self.damage_at(DamageKind::Body, volume, offset);
                    self.note_damage(Damage { pg: Some(pg), key: key.clone(), ..damage });
                }
            }
        }
        Ok(Some(ScrubStep::Rows(PgId(pg.0 + 1))))
    }

    /// The next rows behind `last`, and where their bodies lie. The one place where scrubbing walks the index.
    pub(crate) async fn bodies_from(
        &self,
        pg: PgId,
        last: Option<&[u8]>,
    ) -> Result<Vec<(Box<[u8]>, BodyRef)>, StoreError> {
        let mut rows: Vec<(Box<[u8]>, BodyRef)> = Vec::new();
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.scan_rows(pg, from, |key, row| {
            rows.push((key.into(), row.body()));
            if rows.len() < ROWS_PER_STEP { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
        Ok(rows)
    }

    /// Where a body does not verify, when the row still names it afterwards.
    pub(crate) async fn bad_place_in_body(
        &self,
        pg: PgId,
        key: &[u8],
        body: &BodyRef,
    ) -> Result<Option<(VolumeId, u64)>, StoreError> {
        let mut bad = None;
        for _ in 0..BLOCK_READS_MAX {
            bad = match body {
                BodyRef::None => None,
                BodyRef::Inline(inline) => {
                    let begun_ns = self.0.env.mono_ns();
                    let read = self.patient(|| self.read_inline(inline)).await;
                    let took_ns = self.0.env.mono_ns() - begun_ns;
                    self.rest(u64::from(inline.bytes), took_ns, true).await;
                    read.err().map(|_| (inline.volume, inline.offset))
                }
                BodyRef::Extents(extents) => self.bad_extent(extents).await,
            };
            if bad.is_none() {
                return Ok(None);
            }
        }
        let _held = self.resolve(pg, &[key]).await?;
        let is_named = self.row(pg, key, |row| row.is_some_and(|row| is_same_place(&row.body(), body)));
        Ok(bad.filter(|_| is_named))
    }

    /// Reads a body in extents to its end. Its space is not reused meanwhile.
    async fn bad_extent(&self, body: &ExtentBody) -> Option<(VolumeId, u64)> {
        self.pin(body.id);
        let (mut offset, mut bad) = (0, None);
        while offset < body.bytes && bad.is_none() {
            let begun_ns = self.0.env.mono_ns();
            match self.patient(|| read_extents(&self.0.volumes, body, offset, READ_BYTES)).await {
                Ok(piece) => {
                    let bytes = piece.len() as u64;
                    drop(piece);
                    offset += bytes;
                    self.rest(bytes, self.0.env.mono_ns() - begun_ns, true).await;
                }
                Err(error) => bad = Some(place_in_body(body, &error, offset)),
            }
        }
        self.unpin(body.id);
        bad
    }

    /// Repeats a read that found no buffer.
    async fn patient<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        read: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        loop {
            match read().await {
                Err(StoreError::NoBuffer) => self.0.env.sleep(BUFFER_RETRY_NS).await,
                done => return done,
            }
        }
    }
}

/// Where byte `at` of what lies in `extents` is; behind them, their last.
fn place_in(extents: &[Extent], at: u64) -> Option<(VolumeId, u64)> {
    let place = pieces(extents, at, 1, 1).next().map(|(volume, offset, _)| (volume, offset));
    place.or_else(|| extents.last().map(|extent| (extent.volume, extent.offset)))
}

fn place_in_body(body: &ExtentBody, error: &StoreError, offset: u64) -> (VolumeId, u64) {
    let at = match error {
        StoreError::Corrupt { block, .. } => block * body.block_bytes(),
        _ => offset,
    };
    place_in(&body.extents, at).expect("the pieces hold the whole body, checked when it was decoded")
}

fn is_same_place(one: &BodyRef, other: &BodyRef) -> bool {
    let id = |body: &BodyRef| -> Option<(DataId, VolumeId, u64)> {
        match body {
            BodyRef::None => None,
            BodyRef::Inline(inline) => Some((inline.id, inline.volume, inline.offset)),
            BodyRef::Extents(body) => Some((body.id, VolumeId(0), 0)),
        }
    };
    id(one) == id(other)
}
