//! The index put together from whatever is left: runs where they verify, the whole log where they do not.
//!
//! Invariant: a PG whose checkpoint verifies is taken as it is: the log before its position may have rows that were
//! deleted since. Every row that counts lies in some log, because cleaning moves it before a segment is freed; so
//! the whole log makes a PG complete unless a frame of it is lost. Nothing is written. Runs on any one core, offline.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
};

use stria_base::{PgId, VolumeId};
use stria_env::Env;

use crate::{
    error::StoreError,
    index::{Changed, MemoryIndex, MetaIndex},
    replay::{PgRows, Replayed, Slot, replay, replay_whole_log},
};

/// What became of the PGs.
#[derive(Clone, Debug, Default)]
pub struct RebuildReport {
    /// Their checkpoint verifies: taken as they are.
    pub kept: Vec<PgId>,
    /// Rebuilt from the log, with every row.
    pub rebuilt: Vec<PgId>,
    /// Rebuilt from the log and what verifies of the runs: frames of the log are lost, and rows may be missing.
    /// They stay read-only.
    pub incomplete: Vec<PgId>,
    /// Of those rebuilt, the ones with rows in the logs of several volumes: the number of cores changed in their
    /// life, and an object may be back whose deletion was cleaned away.
    pub may_have_deleted: Vec<PgId>,
    /// Rows rebuilt.
    pub rows: u64,
}

/// Puts the index together. With `trust_runs` false no checkpoint is believed.
///
/// # Errors
/// As [`replay`].
pub async fn rebuild<E: Env>(
    env: &E,
    store_uuid: u128,
    volumes: Vec<(VolumeId, E::Disk)>,
    trust_runs: bool,
) -> Result<(Replayed, RebuildReport), StoreError> {
    let mut found = replay(env, store_uuid, volumes.clone()).await?;
    let mut whole = replay_whole_log(env, store_uuid, volumes).await?;
    let mut report = RebuildReport::default();
    for pg in &mut found.pgs {
        if trust_runs && pg.is_sound() {
            report.kept.push(pg.pg);
            continue;
        }
        let at = whole.pgs.iter().position(|other| other.pg == pg.pg);
        let log = at.map(|at| whole.pgs.swap_remove(at));
        put_together(pg, log, &mut report);
    }
    // PGs that only the part of the log before the positions knows.
    let known: BTreeSet<PgId> = found.pgs.iter().map(|pg| pg.pg).collect();
    for log in whole.pgs.into_iter().filter(|log| !known.contains(&log.pg)) {
        let is_lost = found.volumes.iter().any(|volume| volume.manifest.is_none());
        if is_lost || !trust_runs {
            let mut pg = PgRows::new(log.pg);
            put_together(&mut pg, Some(log), &mut report);
            found.pgs.push(pg);
        }
    }
    Ok((found, report))
}

/// Makes the rows of a PG those of the log, and where that has holes, of the runs as well.
fn put_together(pg: &mut PgRows, log: Option<PgRows>, report: &mut RebuildReport) {
    let before = std::mem::replace(pg, PgRows::new(pg.pg));
    pg.version_high = before.version_high;
    pg.seq_high = before.seq_high;
    pg.hlc_high = before.hlc_high;
    let is_whole = log.as_ref().is_some_and(|log| !log.suspect);
    if let Some(log) = log {
        pg.seq_high = pg.seq_high.max(log.seq_high);
        pg.hlc_high = pg.hlc_high.max(log.hlc_high);
        pg.rows = log.rows;
    }
    // A PG of no row anywhere is complete when nothing says that there was one.
    let is_complete = is_whole || (pg.rows.is_empty() && pg.seq_high == 0);
    if !is_complete {
        pg.add_older(before.rows);
        let Some(base) = before.base else { return finish(pg, is_complete, report) };
        pg.add_older(base.rescued);
        pg.add_older(slots_of(&base.index, &base.tombstones));
    }
    finish(pg, is_complete, report);
}

/// What runs say, as replay keeps it.
fn slots_of(index: &MemoryIndex, tombstones: &Changed) -> BTreeMap<Box<[u8]>, Slot> {
    let gone = tombstones.some(Bound::Unbounded, usize::MAX).into_iter();
    let mut slots: BTreeMap<Box<[u8]>, Slot> =
        gone.map(|(key, seq, hlc)| (key, Slot { seq, hlc, row: None })).collect();
    index.scan(Bound::Unbounded, &mut |key, row| {
        slots.insert(key.into(), Slot { seq: row.seq, hlc: row.hlc, row: Some(row.to_row()) });
        ControlFlow::Continue(())
    });
    slots
}

fn finish(pg: &mut PgRows, is_complete: bool, report: &mut RebuildReport) {
    pg.suspect = !is_complete;
    let rows = || pg.rows.values().filter_map(|slot| slot.row.as_ref());
    report.rows += rows().count() as u64;
    let homes: BTreeSet<VolumeId> = rows().map(|row| row.home.volume).collect();
    if homes.len() > 1 {
        report.may_have_deleted.push(pg.pg);
    }
    if is_complete { report.rebuilt.push(pg.pg) } else { report.incomplete.push(pg.pg) }
}
