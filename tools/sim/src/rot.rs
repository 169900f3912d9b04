//! Rot: bytes change at rest. What was acknowledged is there, or its PG says that it needs repair; what is
//! served is right.
//!
//! Invariant: one fault per run, of a kind the store promises to survive or to report. Runs on the
//! simulator's thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use stria_base::{PgId, VolumeId};
use stria_store::{BodyRef, Extent, StoreError, SyncPolicy};

use crate::{
    clients::Life,
    model::{End, Key},
    node::Node,
    plan::CORES_MAX,
    store_run::Run,
};

/// Where segments begin.
const HEADER_BYTES: u64 = 4 << 20;
/// Superblock copies and, as often, device map slots: offset and the bytes that count at least.
pub(crate) const PAGES: [(u64, u64); 8] = [
    (0, 4096),
    (4096, 4096),
    (HEADER_BYTES - 8192, 4096),
    (HEADER_BYTES - 4096, 4096),
    (1 << 20, 80),
    (2 << 20, 80),
    (1 << 20, 80),
    (2 << 20, 80),
];

pub(crate) fn run(run: &mut Run, node: Node) {
    let only_log = !run.plan.checkpoints;
    let crash = run.plan.sync == SyncPolicy::Always && (only_log || run.world().rng(|rng| rng.chance(1, 2)));
    let life = live(run, node);
    let kind = run
        .world()
        .rng(|rng| if only_log && rng.chance(3, 4) { 0 } else { *rng.pick(&[0, 1, 2, 2, 3, 4, 5]) });
    let victim = victim(run, &life, crash, kind == 1);
    if kind > 2 {
        checkpoint_all(run, &life.node);
    }
    let mut end = if !crash && run.shut_down(&life.node) {
        run.world().kill_all();
        End::Orderly
    } else {
        run.crash()
    };
    let places: Vec<_> = life.node.stores.iter().map(|store| store.checkpoint_extents()).collect();
    drop(life);
    let changes = run.plan.changes_cores && run.world().rng(|rng| rng.chance(1, 2));
    let cores = if changes {
        run.world().rng(|rng| rng.between(1, u64::from(CORES_MAX) + 1)) as u16
    } else {
        run.plan.cores
    };
    match (kind, victim) {
        (3 | 4, _) => runs(run, &places, cores, &mut end),
        (5, _) => manifests(run, &places, cores, &mut end),
        (2, _) | (_, None) => {
            page(run);
            let node = run.bring_up(cores, &mut end);
            run.check_restart(&node, end, &BTreeSet::new());
        }
        (1, Some(victim)) => {
            flip(run, victim.volume, victim.offset, victim.bytes);
            run.note("rot in the body of key", u64::from(victim.key.1));
            let node = run.bring_up(cores, &mut end);
            run.check_restart(&node, end, &BTreeSet::from([victim.body]));
        }
        (_, Some(victim)) => {
            flip(run, victim.volume, victim.offset, victim.bytes);
            run.note("rot in the log, key", u64::from(victim.key.1));
            // Above the position the PG says so; below it the row is in a run, and its body says so.
            let node = run.bring_up(cores, &mut end);
            run.check_restart(&node, end, &BTreeSet::from([victim.body]));
            stays(run, &node, cores);
        }
    }
}

/// Bodies hurt by nothing but what their PG admits.
const NO_BODY: u64 = u64::MAX;

type Places = (Vec<Extent>, Vec<(PgId, Extent)>);

/// A byte of a run goes bad: its rows come from the log, or the PG says that it needs repair.
fn runs(run: &mut Run, places: &[Places], cores: u16, end: &mut End) {
    let all: Vec<(PgId, Extent)> = places.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
    if all.is_empty() {
        return;
    }
    let (pg, extent) = run.world().rng(|rng| *rng.pick(&all));
    flip(run, extent.volume, extent.offset, extent.bytes);
    run.note("rot in a run of PG", u64::from(pg.0));
    let node = run.bring_up(cores, end);
    assert!(node.report.damaged > 0, "a run of PG {} does not verify and nobody says so", pg.0);
    for other in (0..run.plan.pg_count).map(PgId).filter(|other| *other != pg) {
        assert!(!node.needs_repair(other), "PG {} fell with PG {}", other.0, pg.0);
    }
    run.check_restart(&node, *end, &BTreeSet::from([NO_BODY]));
    stays(run, &node, cores);
}

/// One copy of a manifest goes bad, which hurts nobody, or both, which every PG in it must say.
fn manifests(run: &mut Run, places: &[Places], cores: u16, end: &mut End) {
    let all: Vec<&Places> = places.iter().filter(|(copies, _)| copies.len() == 2).collect();
    if all.is_empty() {
        return;
    }
    let (copies, runs) = run.world().rng(|rng| *rng.pick(&all));
    let both = run.world().rng(|rng| rng.chance(1, 2));
    for copy in if both { &copies[..] } else { &copies[..1] } {
        flip(run, copy.volume, copy.offset, copy.bytes);
    }
    run.note("rot in the manifest of volume", u64::from(copies[0].volume.0));
    let node = run.bring_up(cores, end);
    assert_eq!(node.report.damaged, 1 + u64::from(both), "copies of a manifest that do not verify");
    for (pg, _) in runs {
        assert_eq!(node.needs_repair(*pg), both, "PG {} of the lost manifest", pg.0);
    }
    run.check_restart(&node, *end, &BTreeSet::from([NO_BODY]));
    stays(run, &node, cores);
}

/// Checkpoints of all cores, as many as it takes to settle.
pub(crate) fn checkpoint_all(run: &Run, node: &Node) {
    let node = node.clone();
    let written = async move {
        node.tidy_up().await?;
        for store in &node.stores {
            store.checkpoint().await?;
        }
        Ok::<(), StoreError>(())
    };
    match run.world().run(written).expect("checkpoints end") {
        Ok(()) => {}
        Err(StoreError::Full) if run.plan.is_small => {}
        // What rot took is not cleaned away.
        Err(StoreError::Corrupt { .. }) => {}
        Err(error) => panic!("a checkpoint failed: {error}"),
    }
}

/// Cleans what may be cleaned of every log, worth it or not.
fn clean_all(run: &Run, node: &Node) {
    const SEGMENTS_MAX: usize = 8;
    let node = node.clone();
    let cleaning = async move {
        for core in 0..node.stores.len() {
            for pick in 0..SEGMENTS_MAX {
                // A segment that rot has hurt stays.
                let _ = node.clean_eagerly(core, pick, None).await;
            }
        }
    };
    run.world().run(cleaning).expect("cleaning ends");
}

/// What needs repair still does after checkpoints and another restart, with the same rows.
fn stays(run: &mut Run, node: &Node, cores: u16) {
    let pg_count = run.plan.pg_count;
    let pgs = || (0..pg_count).map(PgId);
    let before: Vec<_> = pgs().map(|pg| (node.needs_repair(pg), rows(run, node, pg))).collect();
    checkpoint_all(run, node);
    clean_all(run, node);
    let mut end = run.crash();
    let node = run.bring_up(cores, &mut end);
    for (pg, (needs_repair, rows_before)) in pgs().zip(before) {
        assert_eq!(node.needs_repair(pg), needs_repair, "PG {} needs repair", pg.0);
        assert_eq!(rows(run, &node, pg), rows_before, "rows of PG {}", pg.0);
    }
}

fn rows(run: &Run, node: &Node, pg: PgId) -> Vec<(Box<[u8]>, u64)> {
    let store = node.store_of(pg).clone();
    let found = run.world().run(async move {
        let mut found = Vec::new();
        let scan = store.scan_rows(pg, std::ops::Bound::Unbounded, |key, row| {
            found.push((key.into(), row.seq));
            std::ops::ControlFlow::Continue(())
        });
        scan.await?;
        Ok::<_, StoreError>(found)
    });
    found.expect("reading ends").unwrap_or_else(|error| panic!("rows of PG {}: {error}", pg.0))
}

/// Some more operations, to their end.
pub(crate) fn live(run: &mut Run, node: Node) -> Rc<Life> {
    let mut life = run.new_life(node, BTreeSet::new());
    life.plan.cleans = false;
    let life = Rc::new(life);
    for core in 0..life.node.cores() {
        run.world().spawn(life.clone().client(core));
    }
    let done = run.world().run_until(|| life.ops_left.get() == 0 && life.running.get() == 0);
    assert!(done, "stuck: clients wait for something that never comes");
    life
}

pub(crate) struct Victim {
    key: Key,
    body: u64,
    pub(crate) volume: VolumeId,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// An acknowledged write to hurt: after a crash one that a later durable frame proves.
pub(crate) fn victim(run: &Run, life: &Rc<Life>, crash: bool, in_extents: bool) -> Option<Victim> {
    let mut found = Vec::new();
    for pg in (0..run.plan.pg_count).map(PgId) {
        for (key, value) in life.rows_now(pg) {
            let place = if in_extents {
                match life.row_now(key).map(|row| row.body) {
                    Some(BodyRef::Extents(body)) => body
                        .extents
                        .first()
                        .map(|extent| (extent.volume, extent.offset, (body.bytes as u32).min(extent.bytes))),
                    _ => None,
                }
            } else {
                life.inline_place(key).filter(|_| !crash || is_proven(life, key, value.id))
            };
            if let Some((volume, offset, bytes)) = place {
                found.push(Victim { key, body: value.body, volume, offset, bytes });
            }
        }
    }
    if run.world().rng(|rng| rng.chance(1, 2)) {
        keep_last_of_segments(&mut found, run.plan.segment_log2);
    }
    let pick = run.world().rng(|rng| rng.below(found.len().max(1) as u64)) as usize;
    (pick < found.len()).then(|| found.swap_remove(pick))
}

/// Of each segment the last: nothing behind it in its segment proves it.
fn keep_last_of_segments(found: &mut Vec<Victim>, segment_log2: u32) {
    let mut last: BTreeMap<(VolumeId, u64), u64> = BTreeMap::new();
    let segment = |victim: &Victim| (victim.volume, (victim.offset - HEADER_BYTES) >> segment_log2);
    for victim in &*found {
        let high = last.entry(segment(victim)).or_default();
        *high = victim.offset.max(*high);
    }
    found.retain(|victim| last[&segment(victim)] == victim.offset);
}

fn is_proven(life: &Rc<Life>, key: Key, id: u64) -> bool {
    let core = key.0.owner(life.node.cores()).0;
    let high = life.frame_high.borrow().get(&core).copied().unwrap_or(0);
    match life.frames.borrow().get(&key) {
        Some((last, frame)) => *last == id && *frame < high,
        // Of an earlier life: proven when its log went on since.
        None => life.inline_place(key).is_some_and(|(volume, _, _)| {
            life.frame_high.borrow().contains_key(&volume.owner(life.node.cores()).0)
        }),
    }
}

pub(crate) fn flip(run: &Run, volume: VolumeId, offset: u64, bytes: u32) {
    let at = offset + run.world().rng(|rng| rng.below(u64::from(bytes.max(1))));
    let bit = run.world().rng(|rng| rng.below(8));
    let disk = &run.machine.disks[usize::from(volume.0)];
    let byte = disk.peek(at, 1)[0] ^ (1 << bit);
    disk.poke(at, &[byte]);
}

/// One page of the header goes bad: others carry the same.
fn page(run: &Run) {
    let volume = run.world().rng(|rng| rng.below(run.machine.formatted.get() as u64));
    let (offset, bytes) = run.world().rng(|rng| *rng.pick(&PAGES));
    run.note("rot in the header of volume", volume);
    flip(run, VolumeId(volume as u16), offset, bytes as u32);
}
