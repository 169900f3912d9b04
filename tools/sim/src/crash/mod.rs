//! Every state a power cut can leave: all short sequences of operations, a cut at every instant that matters, every
//! choice of what the drives had written, and a start on each.
//!
//! Invariant: of a sequence only the states of its last operation are looked at, those before belong to a shorter
//! sequence; a state is judged once, by its content. Runs on threads that share nothing but what was seen.

mod judge;
mod ops;
mod states;

pub(crate) use self::{judge::machine, ops::inline};

use std::{
    cell::RefCell,
    collections::HashSet,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use stria_store::{FlushMethod, StoreConfig, SyncPolicy};

use self::{
    ops::{Driver, Op, Promises},
    states::Hasher,
};
use crate::{
    oplog,
    world::{DiskImage, Recorder, SimDisk, Snapshot, World},
};

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Operations of the longest sequence.
    pub length_max: u32,
    /// Scattered tears of each write.
    pub tears: u64,
    /// Every how many-th of the longest sequences.
    pub every: usize,
    /// Threads.
    pub jobs: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sequences run.
    pub sequences: u64,
    /// States a cut can leave, the same ones counted again.
    pub reached: u64,
    /// Different ones, each judged.
    pub judged: u64,
    /// Starts.
    pub recoveries: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.reached += other.reached;
        self.judged += other.judged;
        self.recoveries += other.recoveries;
    }
}

/// The machines that are looked at: cores, and how a frame becomes durable.
const SETUPS: [(u16, FlushMethod); 3] =
    [(1, FlushMethod::Flush), (1, FlushMethod::Durable), (2, FlushMethod::Flush)];
/// Sets of hashes, so that threads seldom wait for each other.
const SHARDS: usize = 64;

fn config(cores: u16, flush_method: FlushMethod) -> StoreConfig {
    StoreConfig {
        cores,
        pg_count: 4,
        sync: SyncPolicy::Always,
        flush_method,
        checkpoint_log_bytes: 1 << 40,
        index_bytes_max: u64::MAX,
    }
}

/// What threads share.
struct Shared {
    next: AtomicUsize,
    judged: AtomicU64,
    seen: Vec<Mutex<HashSet<u64>>>,
}

/// Looks at all sequences of up to `extent.length_max` operations.
///
/// # Panics
/// At the first broken promise.
#[must_use]
pub fn run(extent: Extent) -> Tally {
    let work: Vec<(usize, Vec<Op>)> = work(extent);
    let shared = Shared {
        next: AtomicUsize::new(0),
        judged: AtomicU64::new(0),
        seen: (0..SHARDS).map(|_| Mutex::default()).collect(),
    };
    let one = || {
        let mut tally = Tally::default();
        let bases: Vec<_> = SETUPS.iter().map(|(cores, method)| Base::new(config(*cores, *method))).collect();
        while let Some((setup, sequence)) = work.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
            tally.add(bases[*setup].look_at(sequence, extent.tears, &shared));
        }
        tally
    };
    let mut sum = Tally::default();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..extent.jobs).map(|_| scope.spawn(one)).collect();
        sum.add(one());
        for other in others {
            sum.add(other.join().expect("a broken promise ends the process"));
        }
    });
    sum
}

/// Every sequence with every setup, the short ones first.
fn work(extent: Extent) -> Vec<(usize, Vec<Op>)> {
    let mut all = Vec::new();
    let mut longest = vec![Vec::new()];
    for length in 1..=extent.length_max {
        let longer = longest.iter().flat_map(|sequence: &Vec<Op>| {
            Op::ALL.iter().map(move |op| [sequence.as_slice(), &[*op]].concat())
        });
        longest = longer.collect();
        let every = if length == extent.length_max { extent.every } else { 1 };
        for sequence in longest.iter().step_by(every) {
            all.extend((0..SETUPS.len()).map(|setup| (setup, sequence.clone())));
        }
    }
    all
}

/// A machine with some rows, from which every sequence begins.
struct Base {
    config: StoreConfig,
    disks: Vec<DiskImage>,
    promises: Promises,
    /// Where sequences run, and where what they leave is judged.
    world: Rc<World>,
    judging: Rc<World>,
}

impl Base {
    fn new(config: StoreConfig) -> Self {
        let (world, judging) = (World::new(1), World::new(2));
        let recorder = Recorder::new();
        let empty = vec![DiskImage::default(); usize::from(config.cores)];
        let machine = judge::machine(&world, empty, Some(&recorder));
        let node = judge::up(&machine, config);
        let promises: Rc<RefCell<Promises>> = Rc::default();
        let driver = Driver { node, promises: promises.clone(), recorder };
        world.run(driver.prepare()).expect("preparing ends");
        world.kill_all();
        let disks = machine.disks.iter().map(SimDisk::image).collect();
        let promises = promises.take();
        Self { config, disks, promises, world, judging }
    }

    /// Runs a sequence and judges what cuts in its last operation leave.
    fn look_at(&self, sequence: &[Op], tears: u64, shared: &Shared) -> Tally {
        let name = format!("{} cores, {:?}, {sequence:?}", self.config.cores, self.config.flush_method);
        oplog::begin(format!("stria-sim --crash-states: {name}"));
        self.world.restart(7, 0);
        let recorder = Recorder::new();
        let machine = judge::machine(&self.world, self.disks.clone(), Some(&recorder));
        let start = self.promises.clone();
        let mut driver = Driver {
            node: judge::up(&machine, self.config),
            promises: Rc::new(RefCell::new(start)),
            recorder: recorder.clone(),
        };
        driver.mark();
        for (nth, op) in sequence.iter().enumerate() {
            recorder.switch(nth + 1 == sequence.len());
            recorder.snap();
            driver = step(driver, &machine, self.config, *op);
        }
        recorder.snap();
        let snapshots = recorder.take();
        let promises = driver.promises.clone();
        drop(driver);
        self.world.kill_all();
        let mut tally = Tally { sequences: 1, ..Tally::default() };
        for (nth, snapshot) in snapshots.iter().enumerate() {
            tally.add(self.look_into(snapshot, &promises.borrow(), tears, shared, (&name, nth)));
        }
        tally
    }

    /// Judges what a cut at one instant leaves.
    fn look_into(
        &self,
        snapshot: &Snapshot,
        promises: &Promises,
        tears: u64,
        shared: &Shared,
        (name, nth): (&str, usize),
    ) -> Tally {
        let mut tally = Tally::default();
        let (acked, issued) = snapshot.mark;
        let allowed = &promises.states[acked..=issued];
        let hasher = Hasher::new(snapshot);
        states::each_fate(&snapshot.loose, tears, nth as u64, |fates| {
            tally.reached += 1;
            let disks = states::left(snapshot, fates);
            // The same content is another state where something else is promised.
            let promised = (acked as u64) << 32 | issued as u64;
            let hash = hasher.hash(snapshot, fates, &disks) ^ promised.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut seen = shared.seen[hash as usize % SHARDS].lock().expect("no one panics holding it");
            if !seen.insert(hash) {
                return;
            }
            drop(seen);
            let number = shared.judged.fetch_add(1, Ordering::Relaxed);
            oplog::begin(format!("state {number}: {name}, cut {nth}, {fates:?}"));
            tally.judged += 1;
            tally.recoveries += judge::judge(&self.judging, self.config, disks, allowed, hash);
        });
        tally
    }
}

/// One operation, restarts included.
fn step(driver: Driver, machine: &crate::node::Machine, config: StoreConfig, op: Op) -> Driver {
    let world = &machine.world;
    match op {
        Op::Restart => {
            let stores = driver.node.stores.clone();
            let stopping = async move {
                for store in stores {
                    store.shutdown().await.expect("there are no faults");
                }
            };
            world.run(stopping).expect("stopping ends");
        }
        Op::Kill => {}
        _ => {
            let running = driver.clone();
            world.run(async move { running.run(op).await }).expect("an operation ends");
            return driver;
        }
    }
    world.kill_all();
    machine.disks.iter().for_each(SimDisk::process_kill);
    Driver { node: judge::up(machine, config), ..driver }
}
