//! One seed of the store: lives of a node, each ended by a shutdown, a kill or a power cut, each followed by
//! a check of everything that was promised.
//!
//! Invariant: the run follows from its seed; any broken promise is a panic whose report repeats it. Runs on
//! the simulator's thread.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use stria_base::PgId;
use stria_env::Env;
use stria_store::{BodyRef, Progress, Store, StoreError, SyncPolicy};

use crate::{
    clients::Life,
    model::{End, Key, Model},
    node::{self, Machine, Node},
    oplog,
    plan::{CORES_MAX, Plan},
    rot, scrub,
    value::Value,
    world::{Faults, SimDisk, World},
};

/// More polls than any life needs.
const STEPS_STUCK: u64 = 20_000_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of everything that happened, in order.
    pub trace: u64,
    /// Writes acknowledged.
    pub acked: u64,
    /// Times the node went down.
    pub crashes: u64,
    /// Tails that were cut as torn.
    pub torn: u64,
    /// Segments cleaned.
    pub cleaned: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Restarts that read runs.
    pub from_runs: u64,
    /// Simulated time, nanoseconds.
    pub simulated_ns: u64,
}

pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) model: Rc<RefCell<Model>>,
    pub(crate) outcome: Outcome,
}

/// Runs one seed with about `ops` operations.
///
/// # Panics
/// When a promise is broken.
#[must_use]
pub fn run(seed: u64, ops: u64) -> Outcome {
    let world = World::new(seed);
    let plan = world.rng(|rng| Plan::choose(rng, ops));
    oplog::describe(&format!("{plan:?}"));
    let disks =
        (0..CORES_MAX).map(|index| SimDisk::new(world.clone(), u64::from(index), plan.disk_bytes)).collect();
    let machine = Machine { world, disks, formatted: Rc::default(), segment_log2: plan.segment_log2 };
    let mut run = Run { machine, plan, model: Rc::default(), outcome: Outcome::default() };
    let mut cores = run.plan.cores;
    let mut end = End::Orderly;
    for _ in 0..run.plan.lives {
        let node = run.bring_up(cores, &mut end);
        run.check_restart(&node, end, &BTreeSet::new());
        end = run.live(node);
        if run.plan.changes_cores {
            // Back to the same number is where what several logs say meets again.
            let back = run.plan.cuts_unsettled && run.world().rng(|rng| rng.chance(1, 2));
            let other = run.world().rng(|rng| rng.between(1, u64::from(CORES_MAX) + 1)) as u16;
            cores = if back { run.plan.cores } else { other };
        }
    }
    run.finish(cores, end);
    run.outcome.trace = run.world().trace();
    run.outcome.acked = run.model.borrow().acked;
    run.outcome.simulated_ns = run.world().now_ns();
    run.outcome
}

impl Run {
    pub(crate) fn world(&self) -> &Rc<World> {
        &self.machine.world
    }

    pub(crate) fn note(&self, what: &'static str, number: u64) {
        oplog::record(self.world().now_ns(), what, [0, 0, 0, number]);
    }

    /// Opens the node, perhaps after cuts in the middle of it.
    pub(crate) fn bring_up(&mut self, cores: u16, end: &mut End) -> Node {
        let config = self.plan.config(cores);
        while self.world().rng(|rng| rng.chance(1, 4)) {
            let limit = self.world().steps() + self.world().rng(|rng| rng.between(1, 1_500));
            let opening = node::open(self.machine.clone(), config);
            self.world().spawn(async move { drop(opening.await) });
            let world = self.world().clone();
            world.run_until(|| world.steps() >= limit);
            self.note("down while coming up", u64::from(cores));
            if self.go_down() && self.plan.sync != SyncPolicy::Always {
                *end = End::MayLoseSuffix;
            }
        }
        self.note("up", u64::from(cores));
        let opened = self.world().run(node::open(self.machine.clone(), config)).expect("opening ends");
        match opened {
            Ok(node) => node,
            Err(error) => panic!("the node does not come up: {error}"),
        }
    }

    /// Kills everything, with or without the power. Whether the power was cut.
    fn go_down(&mut self) -> bool {
        self.world().kill_all();
        let power = self.world().rng(|rng| rng.chance(2, 3));
        for disk in &self.machine.disks {
            disk.set_faults(Faults::default());
            if power { disk.power_cut() } else { disk.process_kill() }
        }
        let shift = self.world().rng(|rng| rng.below(20_000)) as i64 - 10_000;
        self.world().shift_wall_ms(shift);
        self.outcome.crashes += 1;
        power
    }

    /// Compares what is there with what was promised, and reads all of it.
    pub(crate) fn check_restart(&mut self, node: &Node, end: End, hurt_bodies: &BTreeSet<u64>) {
        self.outcome.torn += node.report.torn;
        self.outcome.from_runs += u64::from(node.report.run_rows > 0);
        // The log may make up for a damaged run; that it is damaged is wrong all the same.
        let damaged = node.report.damaged;
        assert!(!hurt_bodies.is_empty() || damaged == 0, "{damaged} parts of a checkpoint fell to no fault");
        let life = Rc::new(self.new_life(node.clone(), hurt_bodies.clone()));
        let mut found: BTreeMap<Key, Value> = BTreeMap::new();
        for pg in (0..self.plan.pg_count).map(PgId) {
            assert!(!hurt_bodies.is_empty() || !node.needs_repair(pg), "PG {} fell to no fault", pg.0);
            found.append(&mut life.rows_now(pg));
        }
        if end == End::MayLoseSuffix {
            self.model.borrow_mut().forget_stamps();
        }
        self.check_stamps(node);
        let keys: Vec<Key> = found.keys().copied().collect();
        self.model.borrow_mut().restarted(found, end, node.cores(), |pg| node.needs_repair(pg));
        let cores = node.cores();
        let reading = async move {
            for key in keys {
                life.read(key.0.owner(cores).0, key).await;
            }
        };
        self.world().run(reading).expect("reading ends");
    }

    fn check_stamps(&self, node: &Node) {
        for store in &node.stores {
            let stamp = store.next_hlc();
            for pg in store.pgs() {
                let high = self.model.borrow().stamp_high(pg);
                assert!(
                    node.needs_repair(pg) || stamp > high,
                    "the clock went back: PG {} had {high:?}, now {stamp:?}",
                    pg.0
                );
            }
        }
    }

    pub(crate) fn new_life(&self, node: Node, hurt_bodies: BTreeSet<u64>) -> Life {
        Life {
            node,
            model: self.model.clone(),
            plan: self.plan.clone(),
            ops_left: Cell::new(self.plan.ops),
            running: Cell::new(0),
            frames: RefCell::default(),
            frame_high: RefCell::default(),
            hurt_bodies,
            is_scrubbing: Cell::new(false),
        }
    }

    fn start(&self, node: Node) -> Rc<Life> {
        let life = Rc::new(self.new_life(node, BTreeSet::new()));
        for disk in &self.machine.disks {
            disk.set_faults(self.plan.faults);
        }
        for (core, env) in life.node.envs.iter().enumerate() {
            env.refuse_buffers(self.plan.refuse_buffers);
            for _ in 0..self.plan.clients {
                self.world().spawn(life.clone().client(core as u16));
            }
        }
        self.world().spawn(life.clone().housekeeping());
        if self.plan.checkpoints {
            self.world().spawn(life.clone().checkpoints());
        }
        self.world().spawn(life.clone().scrubs());
        life
    }

    /// One life, to its end.
    fn live(&mut self, node: Node) -> End {
        let life = self.start(node);
        let world = self.world().clone();
        let crashes = self.plan.cuts_unsettled || world.rng(|rng| rng.chance(3, 4));
        let most = world.rng(|rng| rng.between(10, 60 * self.plan.ops));
        let limit = world.steps() + if crashes { most } else { STEPS_STUCK };
        let all_done = || life.ops_left.get() == 0 && life.running.get() == 0;
        world.run_until(|| world.steps() >= limit || all_done());
        let is_aimed = crashes && world.rng(|rng| rng.chance(1, 2));
        if is_aimed && self.plan.cuts_unsettled {
            self.run_to_unsettled(&life.node);
        } else if is_aimed {
            self.run_to_header_write();
        }
        assert!(crashes || all_done(), "stuck: clients wait for something that never comes");
        let stats = life.node.stores.iter().map(|store| store.stats());
        for stats in stats {
            self.outcome.cleaned += stats.cleaned_segments;
            self.outcome.checkpoints += stats.checkpoints.count;
        }
        if all_done() && !is_aimed {
            self.check_space(&life);
            // A shutdown writes a checkpoint.
            let stops = self.plan.checkpoints && world.rng(|rng| rng.chance(1, 2));
            if stops && self.shut_down(&life.node) {
                self.note("shut down", 0);
                self.go_down();
                return End::Orderly;
            }
        }
        let end = self.crash();
        drop(life);
        end
    }

    /// Goes on into the middle of writing a superblock or a map, where order matters most.
    fn run_to_header_write(&self) {
        const STEPS_MAX: u64 = 5_000;
        let world = self.world();
        let at_superblock = world.rng(|rng| rng.chance(1, 2));
        let of = if at_superblock { SimDisk::superblock_writes } else { SimDisk::header_writes };
        let count = || self.machine.disks.iter().map(of).sum::<u64>();
        // The second copy is what makes a superblock count.
        let writes = if at_superblock { 2 } else { world.rng(|rng| rng.between(1, 9)) };
        let wanted = count() + writes;
        let limit = world.steps() + STEPS_MAX;
        world.run_until(|| count() >= wanted || world.steps() >= limit);
        let limit = world.steps() + world.rng(|rng| rng.below(if at_superblock { 8 } else { 30 }));
        world.run_until(|| world.steps() >= limit);
    }

    /// Goes on until as many cores as chance says have moved their positions after a change of their number.
    fn run_to_unsettled(&self, node: &Node) {
        const STEPS_MAX: u64 = 20_000;
        let world = self.world();
        let moved = || {
            let has_moved = |store: &&Store<_>| store.checkpoint_progress() == Progress::Moved;
            node.stores.iter().filter(has_moved).count() as u64
        };
        let wanted = world.rng(|rng| rng.below(u64::from(node.cores()) + 1));
        let limit = world.steps() + STEPS_MAX;
        world.run_until(|| moved() >= wanted || world.steps() >= limit);
        let limit = world.steps() + world.rng(|rng| rng.below(200));
        world.run_until(|| world.steps() >= limit);
    }

    pub(crate) fn crash(&mut self) -> End {
        let power = self.go_down();
        self.note(if power { "power cut" } else { "killed" }, 0);
        // A failed flush takes what a lazy policy acknowledged too early, with or without the power.
        let loses = power || self.plan.faults.flush_error_one_in > 0;
        if loses && self.plan.sync != SyncPolicy::Always { End::MayLoseSuffix } else { End::Crash }
    }

    /// Shuts every core down in order. Whether all succeeded.
    pub(crate) fn shut_down(&self, node: &Node) -> bool {
        let stores = node.stores.clone();
        let stopping = async move {
            for store in stores {
                if store.shutdown().await.is_err() {
                    return false;
                }
            }
            true
        };
        self.world().run(stopping).expect("shutting down ends")
    }

    /// While nobody writes, space is what the rows name and nothing else.
    fn check_space(&self, life: &Rc<Life>) {
        let node = &life.node;
        // One being written holds space nobody names yet.
        let world = self.world().clone();
        let named = named_bytes(&world, node);
        world.run_until(|| {
            let is_checkpointing = node.stores.iter().any(|store| store.is_checkpointing());
            !is_checkpointing && !life.is_scrubbing.get()
        });
        node.exchange_frees();
        let failed = node.stores.iter().any(|store| store.is_failed());
        if failed || self.plan.sync != SyncPolicy::Always {
            return;
        }
        let used = used_bytes(node, self.plan.segment_log2);
        assert_eq!(used, named, "bytes of extents in use and bytes that rows name");
    }

    /// The last life: rot, or everything is deleted and the space must come back.
    fn finish(&mut self, cores: u16, mut end: End) {
        self.plan.faults = Faults::default();
        self.plan.refuse_buffers = 0;
        let node = self.bring_up(cores, &mut end);
        self.check_restart(&node, end, &BTreeSet::new());
        match self.world().rng(|rng| rng.below(4)) {
            0 => self.empty(node),
            1 => scrub::run(self, node),
            _ => rot::run(self, node),
        }
        self.world().kill_all();
    }

    fn empty(&mut self, node: Node) {
        self.note("deleting everything", 0);
        let life = Rc::new(self.new_life(node, BTreeSet::new()));
        let emptying = {
            let life = life.clone();
            async move { life.delete_everything().await }
        };
        match self.world().run(emptying).expect("deleting ends") {
            Ok(()) => {}
            // Restarts at the low mark may use up the reserve; then only growth helps (docs/reliability.md).
            Err(StoreError::Full) if self.plan.is_small => return,
            Err(error) => panic!("deleting everything failed: {error}"),
        }
        let used = used_bytes(&life.node, self.plan.segment_log2);
        let named = named_bytes(self.world(), &life.node);
        assert_eq!((used, named), (0, 0), "bytes of extents in use and named after deleting everything");
        for store in &life.node.stores {
            let stats = store.stats();
            assert_eq!(
                (stats.rows, stats.live_log_bytes),
                (0, 0),
                "rows and bytes after deleting everything"
            );
            let most = 4 * self.machine.disks.len() as u64;
            assert!(stats.log_segments <= most, "{} log segments hold nothing", stats.log_segments);
        }
    }
}

/// Bytes of extents taken for bodies.
fn used_bytes(node: &Node, segment_log2: u32) -> u64 {
    // What a core withholds may lie on another core's volume: only the sums agree.
    let (mut taken, mut others) = (0, 0);
    for stats in node.stores.iter().map(stria_store::Store::stats) {
        taken += stats.volume_bytes - stats.free_bytes - (stats.log_segments << segment_log2);
        others += stats.checkpoints.run_bytes + stats.withheld_bytes;
    }
    taken - others
}

/// Bytes of extents that rows name, while nobody writes.
fn named_bytes(world: &Rc<World>, node: &Node) -> u64 {
    let stores = node.stores.clone();
    let named = world.run(async move {
        let mut named = 0;
        for store in stores {
            let in_use = loop {
                match store.extents_in_use().await {
                    Err(StoreError::NoBuffer | StoreError::Io { .. }) => {}
                    in_use => break in_use?,
                }
            };
            let extents =
                in_use.into_values().flat_map(|in_use| in_use.sure.into_iter().chain(in_use.suspect));
            named += extents.map(|extent| u64::from(extent.bytes)).sum::<u64>();
        }
        Ok::<u64, StoreError>(named)
    });
    named.expect("reading ends").unwrap_or_else(|error| panic!("space that rows name: {error}"))
}

impl Life {
    async fn delete_everything(&self) -> Result<(), StoreError> {
        for pg in (0..self.plan.pg_count).map(PgId) {
            let keys: Vec<Key> = self.rows_of(pg).await?.into_keys().collect();
            for key in keys {
                self.delete_patiently(key).await?;
            }
        }
        // The drops of the last frame are freed by the flush behind it.
        self.node.tidy_up().await?;
        for store in &self.node.stores {
            store.flush().await?;
        }
        self.node.exchange_frees();
        Ok(())
    }

    /// On a full volume a deletion may have to wait for the log to be cleaned.
    async fn delete_patiently(&self, key: Key) -> Result<(), StoreError> {
        for _ in 0..30 {
            match self.delete_key(key).await {
                Err(StoreError::Full) => {}
                done => return done,
            }
            // A checkpoint that found no room is tried again when deletions made some.
            match self.node.tidy_up().await {
                Err(StoreError::Full) => self.node.envs[0].sleep(6_000_000_000).await,
                done => done?,
            }
            self.node.exchange_frees();
        }
        Err(StoreError::Full)
    }

    /// A visible row's place in a log, when its body is inline.
    pub(crate) fn inline_place(self: &Rc<Self>, key: Key) -> Option<(stria_base::VolumeId, u64, u32)> {
        match self.row_now(key)?.body {
            BodyRef::Inline(inline) => Some((inline.volume, inline.offset, inline.bytes)),
            _ => None,
        }
    }
}
