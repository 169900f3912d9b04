//! One seed of the engine: objects, conditions, uploads and listings by value-typed calls, with crashes.
//!
//! Invariant: a key is written by one client at a time, so every answer is known in advance; what was in
//! flight at a crash happened wholly or not at all. Runs on the simulator's thread.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use stria_base::{BucketId, ids::pg_in_bucket};
use stria_engine::{
    Engine, EngineConfig, StorageEvent,
    calls::{List, Operation, PurgeBucket, SealBucket},
    events::CollectingSink,
    keys::UploadId,
    list,
};
use stria_env::Env;
use stria_store::SyncPolicy;

use crate::{
    engine_clients::{EngineLife, Object},
    engine_versions::VersionModel,
    node::{self, Machine},
    oplog,
    plan::{CORES_MAX, Plan},
    store_run::Outcome,
    world::{SimDisk, SimEnv, World},
};

/// The buckets of a run.
pub const BUCKETS: [BucketId; 2] = [BucketId(7), BucketId(8)];
/// Keys in each.
pub const KEYS: [&str; 10] =
    ["a", "a/", "a/b", "a/b/c", "a/c", "b/x", "b/y/z", "c", "long/er/key", "z\u{ff}"];

/// What is promised of the keys.
#[derive(Default)]
pub struct EngineModel {
    /// What is there.
    pub objects: BTreeMap<(BucketId, usize), Object>,
    /// Keys with a write in flight, and what it would leave.
    pub in_flight: BTreeMap<(BucketId, usize), Vec<Option<Object>>>,
    /// Calls begun for each key in this life.
    pub begun: BTreeMap<(BucketId, usize), u64>,
    /// Uploads that were neither completed nor aborted for certain.
    pub uploads: BTreeSet<UploadId>,
    /// The bucket with versions.
    pub versions: VersionModel,
    /// Numbers given out.
    pub next_id: u64,
    /// Writes acknowledged, over the run.
    pub acked: u64,
    /// Events owed in this life.
    pub events: u64,
}

impl EngineModel {
    /// A call for a key begins.
    pub fn begin(&mut self, at: (BucketId, usize)) {
        self.in_flight.insert(at, Vec::new());
        *self.begun.entry(at).or_insert(0) += 1;
    }

    /// Calls begun for a key.
    #[must_use]
    pub fn calls(&self, at: (BucketId, usize)) -> u64 {
        self.begun.get(&at).copied().unwrap_or(0)
    }

    /// Keys nobody is calling for, with the number of calls so far.
    #[must_use]
    pub fn quiet_keys(&self) -> BTreeSet<((BucketId, usize), u64)> {
        let keys = BUCKETS.into_iter().flat_map(|bucket| (0..KEYS.len()).map(move |key| (bucket, key)));
        let quiet = keys.filter(|at| !self.in_flight.contains_key(at));
        quiet.map(|at| (at, self.calls(at))).collect()
    }
}

/// Runs one seed with about `ops` operations.
///
/// # Panics
/// When a promise is broken.
#[must_use]
pub fn run(seed: u64, ops: u64) -> Outcome {
    let world = World::new(seed ^ 0x656e_6769_6e65);
    let mut plan = world.rng(|rng| Plan::choose(rng, ops));
    plan.pg_count = plan.pg_count.max(4);
    plan.disk_bytes = 1 << 30;
    plan.faults = crate::world::Faults::default();
    plan.refuse_buffers = 0;
    plan.calm = world.rng(|rng| *rng.pick(&[1, 1, 30, 1_000]));
    oplog::describe(&format!("{plan:?}"));
    let disks = (0..CORES_MAX).map(|i| SimDisk::new(world.clone(), u64::from(i), plan.disk_bytes)).collect();
    let machine = Machine { world, disks, formatted: Rc::default(), segment_log2: plan.segment_log2 };
    let model: Rc<RefCell<EngineModel>> = Rc::default();
    let mut outcome = Outcome::default();
    let mut cores = plan.cores;
    for life in 0..plan.lives {
        let up = bring_up(&machine, &plan, cores, &model);
        check_restart(&up);
        live(&machine, &plan, &up, life + 1 == plan.lives);
        outcome.crashes += 1;
        for stats in up.node.stores.iter().map(|store| store.stats()) {
            outcome.cleaned += stats.cleaned_segments;
            outcome.checkpoints += stats.checkpoints.count;
        }
        outcome.from_runs += u64::from(up.node.report.run_rows > 0);
        if plan.changes_cores {
            cores = machine.world.rng(|rng| rng.between(1, u64::from(CORES_MAX) + 1)) as u16;
        }
    }
    outcome.trace = machine.world.trace();
    outcome.acked = model.borrow().acked;
    outcome.simulated_ns = machine.world.now_ns();
    outcome
}

fn bring_up(machine: &Machine, plan: &Plan, cores: u16, model: &Rc<RefCell<EngineModel>>) -> Rc<EngineLife> {
    oplog::record(machine.world.now_ns(), "up", [0, 0, 0, u64::from(cores)]);
    let node = machine.world.run(node::open(machine.clone(), plan.config(cores))).expect("opening ends");
    let node = node.unwrap_or_else(|error| panic!("the node does not come up: {error}"));
    let cache_bytes_max = machine.world.rng(|rng| *rng.pick(&[0, 10_000, 1_000_000]));
    let config = EngineConfig { cache_bytes_max, index_bytes_max: 1 << 30 };
    let sink = CollectingSink::default();
    let engines: Vec<Engine<SimEnv>> = (0..usize::from(cores))
        .map(|core| {
            Engine::new(node.stores[core].clone(), node.volumes[core].clone(), config, Box::new(sink.clone()))
        })
        .collect();
    model.borrow_mut().events = 0;
    let life = Rc::new(EngineLife {
        node,
        engines,
        sink,
        model: model.clone(),
        plan: plan.clone(),
        ops_left: Cell::new(plan.ops),
        running: Cell::new(0),
    });
    let sweeping = life.clone();
    let swept = machine.world.run(async move {
        for engine in &sweeping.engines {
            engine.sweep(|_| true).await?;
        }
        Ok::<(), stria_engine::EngineError>(())
    });
    if let Err(error) = swept.expect("sweeping ends") {
        panic!("sweeping failed: {error}");
    }
    life
}

/// What is there must be what was promised or what was in flight; afterwards it is what is promised.
fn check_restart(life: &Rc<EngineLife>) {
    let checking = life.clone();
    let found = life.world().run(async move {
        let mut found = BTreeMap::new();
        for bucket in BUCKETS {
            for key in 0..KEYS.len() {
                if let Some(object) = checking.lookup(bucket, key).await {
                    found.insert((bucket, key), object);
                }
            }
        }
        found
    });
    let found = found.expect("looking up ends");
    let mut model = life.model.borrow_mut();
    for bucket in BUCKETS {
        for (key, name) in KEYS.iter().enumerate() {
            let (there, promised) = (found.get(&(bucket, key)), model.objects.get(&(bucket, key)));
            let in_flight = model.in_flight.get(&(bucket, key));
            let excused = in_flight.is_some_and(|outcomes| outcomes.iter().any(|o| o.as_ref() == there));
            assert!(
                there == promised || excused,
                "after a restart {bucket:?} {name:?}: found {there:?}, promised {promised:?}, in flight {in_flight:?}"
            );
        }
    }
    model.objects = found;
    model.in_flight.clear();
    drop(model);
    life.world().run(life.clone().check_versions_after_restart()).expect("looking ends");
    check_orphans(life);
}

fn check_orphans(life: &Rc<EngineLife>) {
    let checking = life.clone();
    life.world().run(async move { checking.check_orphans().await }).expect("reading ends");
}

fn live(machine: &Machine, plan: &Plan, life: &Rc<EngineLife>, last: bool) {
    let world = &machine.world;
    for core in 0..life.node.cores() {
        for _ in 0..plan.clients {
            world.spawn(life.clone().client(core));
        }
    }
    world.spawn(life.clone().housekeeping());
    let limit = if last || world.rng(|rng| rng.chance(1, 4)) {
        20_000_000
    } else {
        world.rng(|rng| rng.between(20, 80 * plan.ops))
    };
    let (until, all_done) = (world.steps() + limit, || life.ops_left.get() == 0 && life.running.get() == 0);
    world.run_until(|| world.steps() >= until || all_done());
    assert!(all_done() || limit < 20_000_000, "stuck: clients wait for something that never comes");
    check_events(life);
    if all_done() {
        // Parts of replaced objects are dropped behind the answer, late parts end as they must.
        let env = life.node.envs[0].clone();
        world.run(async move { env.sleep(1_000_000_000).await }).expect("time passes");
        check_orphans(life);
    }
    if last {
        let purging = life.clone();
        world.run(async move { purge(&purging).await }).expect("purging ends");
    }
    world.kill_all();
    let power = plan.sync == SyncPolicy::Always && world.rng(|rng| rng.chance(2, 3));
    for disk in &machine.disks {
        if power { disk.power_cut() } else { disk.process_kill() }
    }
    let shift = world.rng(|rng| rng.below(20_000)) as i64 - 10_000;
    world.shift_wall_ms(shift);
    oplog::record(world.now_ns(), if power { "power cut" } else { "killed" }, [0; 4]);
}

/// One event for each acknowledged write, none for others but those in flight.
fn check_events(life: &EngineLife) {
    let events = life.sink.take();
    let mut stamps = BTreeSet::new();
    for event in &events {
        let (StorageEvent::ObjectCreated { bucket, hlc, key, .. }
        | StorageEvent::ObjectDeleted { bucket, hlc, key, .. }) = event
        else {
            panic!("an event nobody caused: {event:?}");
        };
        assert!(stamps.insert((*bucket, key.clone(), *hlc)), "an event twice: {event:?}");
    }
    let owed = life.model.borrow().events;
    let running = u64::from(life.running.get());
    let count = events.len() as u64;
    assert!(
        (owed..=owed + running).contains(&count),
        "{count} events for {owed} writes, {running} in flight"
    );
}

/// Deletes one bucket for good: refused while it has objects, complete afterwards.
async fn purge(life: &Rc<EngineLife>) {
    let bucket = BUCKETS[1];
    let holds = life.model.borrow().objects.keys().any(|(b, _)| *b == bucket);
    let mut empty = true;
    for engine in &life.engines {
        empty &= SealBucket { bucket }.run(engine).await.unwrap_or_else(|error| panic!("sealing: {error}"));
    }
    assert_eq!(empty, !holds, "whether a bucket is empty");
    for engine in &life.engines {
        PurgeBucket { bucket }.run(engine).await.unwrap_or_else(|error| panic!("purging: {error}"));
    }
    life.model.borrow_mut().objects.retain(|(b, _), _| *b != bucket);
    for engine in &life.engines {
        for pg in engine.store().pgs() {
            let scan = engine.store().scan_rows(pg, std::ops::Bound::Unbounded, |key, _| {
                assert!(!key.starts_with(&bucket.0.to_be_bytes()), "a purged bucket still has rows");
                std::ops::ControlFlow::Continue(())
            });
            scan.await.unwrap_or_else(|error| panic!("rows of PG {}: {error}", pg.0));
        }
    }
}

impl EngineLife {
    /// Lists a bucket over all cores, page by page.
    pub(crate) async fn list_all(&self, query: &list::ListQuery) -> Vec<(Vec<u8>, bool)> {
        let mut query = query.clone();
        let mut out = Vec::new();
        loop {
            let mut pages = Vec::new();
            for (core, engine) in self.engines.iter().enumerate() {
                let pgs = (0..self.pgs_in_bucket())
                    .map(|nth| pg_in_bucket(BUCKETS[0], nth, self.plan.pg_count))
                    .filter(|pg| usize::from(pg.owner(self.node.cores()).0) == core)
                    .collect();
                let call = List { bucket: BUCKETS[0], pgs, query: query.clone() };
                pages.push(call.run(engine).await.unwrap_or_else(|error| panic!("listing: {error}")));
            }
            let (page, more) = list::merge(pages, query.entries_max);
            assert!(page.len() <= query.entries_max && (!more || !page.is_empty()));
            query.after = page.last().map(|entry| entry.key.clone());
            out.extend(page.into_iter().map(|entry| (entry.key.to_vec(), entry.head.is_none())));
            if !more {
                return out;
            }
        }
    }
}
