//! Rot: bytes change at rest. What was acknowledged is there, or its PG says that it needs repair; what is
//! served is right.
//!
//! Invariant: one fault per run, of a kind the store promises to survive or to report. Runs on the
//! simulator's thread.

use std::{collections::BTreeSet, rc::Rc};

use stria_base::{PgId, VolumeId};
use stria_store::{BodyRef, SyncPolicy};

use crate::{
    clients::{Life, row_key},
    model::{End, Key},
    node::Node,
    plan::CORES_MAX,
    store_run::Run,
};

/// Superblock copies and device map slots: offset and the bytes that count at least.
const PAGES: [(u64, u64); 6] = [
    (0, 4096),
    (4096, 4096),
    ((4 << 20) - 8192, 4096),
    ((4 << 20) - 4096, 4096),
    (1 << 20, 80),
    (2 << 20, 80),
];

pub(crate) fn run(run: &mut Run, node: Node) {
    let crash = run.plan.sync == SyncPolicy::Always && run.world().rng(|rng| rng.chance(1, 2));
    let life = live(run, node);
    let kind = run.world().rng(|rng| rng.below(3));
    let victim = victim(run, &life, crash, kind == 1);
    let mut end = if !crash && run.shut_down(&life.node) {
        run.world().kill_all();
        End::Orderly
    } else {
        run.crash()
    };
    drop(life);
    let changes = run.plan.changes_cores && run.world().rng(|rng| rng.chance(1, 2));
    let cores = if changes {
        run.world().rng(|rng| rng.between(1, u64::from(CORES_MAX) + 1)) as u16
    } else {
        run.plan.cores
    };
    match (kind, victim) {
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
            let node = run.bring_up(cores, &mut end);
            assert!(
                node.needs_repair(victim.key.0),
                "rot took an acknowledged write of PG {} and nobody says so",
                victim.key.0.0
            );
            run.check_restart(&node, end, &BTreeSet::from([victim.body]));
        }
    }
}

/// Some more operations, to their end.
fn live(run: &mut Run, node: Node) -> Rc<Life> {
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

struct Victim {
    key: Key,
    body: u64,
    volume: VolumeId,
    offset: u64,
    bytes: u32,
}

/// An acknowledged write to hurt: after a crash one that a later durable frame proves.
fn victim(run: &Run, life: &Life, crash: bool, in_extents: bool) -> Option<Victim> {
    let mut found = Vec::new();
    for pg in (0..run.plan.pg_count).map(PgId) {
        for (key, value) in life.rows_of(pg) {
            let place = if in_extents {
                life.node.store_of(pg).row(pg, &row_key(key.1), |row| match row.map(|row| &row.body) {
                    Some(BodyRef::Extents(body)) => body
                        .extents
                        .first()
                        .map(|extent| (extent.volume, extent.offset, (body.bytes as u32).min(extent.bytes))),
                    _ => None,
                })
            } else {
                life.inline_place(key).filter(|_| !crash || is_proven(life, key, value.id))
            };
            if let Some((volume, offset, bytes)) = place {
                found.push(Victim { key, body: value.body, volume, offset, bytes });
            }
        }
    }
    let pick = run.world().rng(|rng| rng.below(found.len().max(1) as u64)) as usize;
    (pick < found.len()).then(|| found.swap_remove(pick))
}

fn is_proven(life: &Life, key: Key, id: u64) -> bool {
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

fn flip(run: &Run, volume: VolumeId, offset: u64, bytes: u32) {
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
