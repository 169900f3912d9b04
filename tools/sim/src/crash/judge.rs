//! Judges one state: what a start on it finds is what was promised, also after a cut in the middle of that start,
//! and the next write stays.
//!
//! Invariant: uses the product's way up and nothing else; any broken promise is a panic. Runs on the thread of
//! its world.

use std::{collections::BTreeMap, ops::ControlFlow, rc::Rc};

use stria_base::{Hlc, PgId};
use stria_store::{BodyRef, Change, Store, StoreConfig, read_extents};

use super::{
    ops::{Rows, inline},
    states::{each_fate, left},
};
use crate::{
    clients::row_key,
    model::Key,
    node::{self, Machine, Node},
    value::{Value, is_body},
    world::{DiskImage, Recorder, Rng, SimDisk, SimEnv, Snapshot, World},
};

/// Size each drive can grow to, bytes.
const DISK_BYTES: u64 = (4 << 20) + (64 << SEGMENT_LOG2);
/// Segments as small as they may be.
const SEGMENT_LOG2: u32 = 17;
/// The key that is written after a recovery.
const PROBE: Key = (PgId(0), 8);
/// One in so many states is also written to.
const PROBE_ONE_IN: u64 = 4;

/// Drives with content, in a world.
#[must_use]
pub fn machine(world: &Rc<World>, disks: Vec<DiskImage>, recorder: Option<&Rc<Recorder>>) -> Machine {
    let formatted = disks.iter().filter(|disk| disk.len_bytes > 0).count();
    let disks = disks
        .into_iter()
        .zip(0..)
        .map(|(image, id)| SimDisk::of_image(world.clone(), id, image, DISK_BYTES, recorder.cloned()));
    Machine {
        world: world.clone(),
        disks: disks.collect(),
        formatted: Rc::new(formatted.into()),
        segment_log2: SEGMENT_LOG2,
    }
}

/// Brings a node up.
///
/// # Panics
/// When it does not come up, or finds damage.
#[must_use]
pub fn up(machine: &Machine, config: StoreConfig) -> Node {
    let opened = machine.world.run(node::open(machine.clone(), config)).expect("opening ends");
    let node = opened.unwrap_or_else(|error| panic!("the node does not come up: {error}"));
    let (rot, damaged) = (node.report.rot, node.report.damaged);
    assert!(
        rot == 0 && damaged == 0,
        "{rot} rotten logs, {damaged} damaged parts of checkpoints by no fault"
    );
    node
}

/// The rows of a node, every byte of their bodies judged.
///
/// # Panics
/// When one is not what its row says.
pub async fn rows(node: &Node) -> Rows {
    let (mut found, mut bodies) = (Rows::new(), Vec::new());
    for store in &node.stores {
        for pg in store.pgs() {
            assert!(!node.needs_repair(pg), "PG {} fell to no fault", pg.0);
            store.scan(pg, std::ops::Bound::Unbounded, |key, row| {
                let key = u16::from_be_bytes(key.try_into().expect("our keys have two bytes"));
                let value =
                    Value::decode(row.meta).unwrap_or_else(|| panic!("metadata of {key} is not ours"));
                found.insert((pg, key), value);
                bodies.push((pg, value, row.body()));
                ControlFlow::Continue(())
            });
        }
    }
    for (pg, value, body) in bodies {
        let core = usize::from(pg.owner(node.cores()).0);
        let bytes = match &body {
            BodyRef::None => Ok(Default::default()),
            BodyRef::Inline(inline) => {
                node.stores[core].read_inline(inline).await.map(|bytes| bytes.to_vec())
            }
            BodyRef::Extents(body) => {
                read_extents(&node.volumes[core], body, 0, body.bytes).await.map(|bytes| bytes.to_vec())
            }
        };
        let bytes = bytes.unwrap_or_else(|error| panic!("reading {value:?}: {error}"));
        assert!(bytes.len() == value.bytes as usize && is_body(value.body, 0, &bytes), "body of {value:?}");
    }
    found
}

/// The highest stamp of a core's visible rows.
fn stamp_high(store: &Store<SimEnv>) -> Hlc {
    let mut high = Hlc(0);
    for pg in store.pgs() {
        store.scan(pg, std::ops::Bound::Unbounded, |_, row| {
            high = high.max(row.hlc);
            ControlFlow::Continue(())
        });
    }
    high
}

fn rows_of(world: &Rc<World>, node: &Node) -> Rows {
    let node = node.clone();
    world.run(async move { rows(&node).await }).expect("reading ends")
}

/// Judges what is left on the drives: `states` are the rows that may be there. How many recoveries it took.
///
/// # Panics
/// At a broken promise.
pub fn judge(
    world: &Rc<World>,
    config: StoreConfig,
    disks: Vec<DiskImage>,
    states: &[Rc<Rows>],
    hash: u64,
) -> u64 {
    let mut rng = Rng::new(hash);
    // The wall clock of the machine went back ten seconds.
    world.restart(hash, -10_000);
    let recorder = Recorder::new();
    let machine = machine_for(world, disks, &recorder);
    recorder.switch(true);
    let node = up(&machine, config);
    recorder.switch(false);
    let found = rows_of(world, &node);
    assert!(
        states.iter().any(|state| **state == found),
        "found {found:?}, acknowledged {:?}, perhaps {:?}",
        states.first(),
        &states[1..]
    );
    for store in &node.stores {
        let (stamp, high) = (store.next_hlc(), stamp_high(store));
        assert!(stamp > high, "the clock went back: a row has {high:?}, now {stamp:?}");
    }
    // A cut in the middle of coming up, or behind it.
    let mut cuts = recorder.take();
    recorder.switch(true);
    recorder.snap();
    cuts.extend(recorder.take());
    drop(node);
    let cut = &cuts[rng.below(cuts.len() as u64) as usize];
    let disks = one_of(cut, &mut rng);
    world.restart(hash ^ 1, -20_000);
    let machine = self::machine(world, disks, None);
    let node = up(&machine, config);
    assert_eq!(rows_of(world, &node), found, "a second start finds something else");
    if rng.chance(1, PROBE_ONE_IN) {
        probe(&machine, config, node, found);
        return 3;
    }
    2
}

fn machine_for(world: &Rc<World>, disks: Vec<DiskImage>, recorder: &Rc<Recorder>) -> Machine {
    machine(world, disks, Some(recorder))
}

/// One thing a cut leaves of a snapshot.
fn one_of(cut: &Snapshot, rng: &mut Rng) -> Vec<DiskImage> {
    let (mut seen, mut chosen) = (0, Vec::new());
    each_fate(&cut.loose, 1, rng.bits(), |fates| {
        seen += 1;
        if rng.chance(1, seen) {
            chosen = fates.to_vec();
        }
    });
    left(cut, &chosen)
}

/// What is written after a recovery is there after the next, and so is everything else.
fn probe(machine: &Machine, config: StoreConfig, node: Node, mut found: BTreeMap<Key, Value>) {
    const BODY: u64 = 1 << 40;
    let value = Value { id: BODY, body: BODY, bytes: 700, in_extents: false };
    let put = Change::Put { key: row_key(PROBE.1), meta: value.encode(), body: inline(value) };
    let store = node.store_of(PROBE.0).clone();
    let written = machine.world.run(async move { store.commit(PROBE.0, vec![put])?.wait().await });
    if let Err(error) = written.expect("a write ends") {
        panic!("a write after the recovery: {error}");
    }
    found.insert(PROBE, value);
    drop(node);
    let world = &machine.world;
    let durable = machine.disks.iter().map(SimDisk::image).collect();
    world.restart(2, -30_000);
    let node = up(&self::machine(world, durable, None), config);
    assert_eq!(rows_of(world, &node), found, "what was written after the recovery");
}
