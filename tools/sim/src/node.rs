//! A node on simulated cores and disks, opened as the product opens it.
//!
//! Invariant: every core replays its volumes, PGs go to their owners, extents in use are adopted by the
//! volumes' owners before the first write. Runs on the simulator's thread.

use std::{collections::BTreeMap, rc::Rc};

use stria_base::{PgId, VolumeId};
use stria_store::{
    Budget, LogSegment, PgRows, PgState, ReplayReport, Store, StoreConfig, StoreError, VolumeIdentity,
    Volumes, format_volume_sized, replay_within,
};

use crate::world::{SimDisk, SimEnv, World};

/// Identity of the simulated store.
pub const STORE_UUID: u128 = 0x5354_5249_4100_0000_0000_0000_0000_0001;

/// The machine below the node: it outlives crashes.
#[derive(Clone)]
pub struct Machine {
    /// Time, order and chance.
    pub world: Rc<World>,
    /// Its drives.
    pub disks: Vec<SimDisk>,
    /// Drives that carry a volume.
    pub formatted: Rc<std::cell::Cell<usize>>,
    /// Binary logarithm of a segment.
    pub segment_log2: u32,
}

/// A node that is up.
#[derive(Clone)]
pub struct Node {
    /// Its cores.
    pub envs: Vec<SimEnv>,
    /// The volumes as each core sees them.
    pub volumes: Vec<Volumes<SimEnv>>,
    /// Each core's store.
    pub stores: Vec<Store<SimEnv>>,
    /// What replay found, summed.
    pub report: ReplayReport,
}

impl Node {
    /// The store that owns `pg`.
    #[must_use]
    pub fn store_of(&self, pg: PgId) -> &Store<SimEnv> {
        &self.stores[usize::from(pg.owner(self.cores()).0)]
    }

    /// How many cores.
    #[must_use]
    pub fn cores(&self) -> u16 {
        self.stores.len() as u16
    }

    /// The store that allocates on `volume`.
    #[must_use]
    pub fn owner_of(&self, volume: VolumeId) -> &Store<SimEnv> {
        &self.stores[usize::from(volume.owner(self.cores()).0)]
    }

    /// Whether `pg` is read-only.
    #[must_use]
    pub fn needs_repair(&self, pg: PgId) -> bool {
        self.store_of(pg).pg_state(pg) == PgState::NeedsRepair
    }

    /// Hands space freed on other cores' volumes to them.
    pub fn exchange_frees(&self) {
        for store in &self.stores {
            for extent in store.take_foreign_frees() {
                self.owner_of(extent.volume).release(vec![extent]);
            }
        }
    }

    /// Tells `core` how far all cores have come with their checkpoints, as the product does.
    pub fn exchange_progress(&self, core: usize) {
        let least = self.stores.iter().map(Store::checkpoint_progress).min();
        self.stores[core].all_reached(least.expect("a node has a core"));
    }

    /// Checkpoints and cleaning until neither finds anything to do.
    ///
    /// # Errors
    /// Of any core.
    pub async fn tidy_up(&self) -> Result<(), StoreError> {
        // Each core needs three rounds at most to settle, and one more per segment it can free.
        for _ in 0..64 {
            let mut idle = true;
            for core in 0..self.stores.len() {
                self.exchange_progress(core);
                while self.clean(core).await? {
                    idle = false;
                }
                if self.stores[core].checkpoint_due() {
                    self.stores[core].checkpoint().await?;
                    idle = false;
                }
            }
            if idle && self.stores.iter().all(Store::is_settled) {
                break;
            }
        }
        Ok(())
    }

    /// Rows in memory that name the same space, as a text.
    #[must_use]
    pub fn shared_space(&self) -> String {
        let mut named: Vec<(stria_store::Extent, PgId, Vec<u8>, u64)> = Vec::new();
        for store in &self.stores {
            for pg in store.pgs().filter(|pg| store.is_resident(*pg)) {
                store.scan(pg, std::ops::Bound::Unbounded, |key, row| {
                    if let stria_store::BodyRef::Extents(body) = row.body() {
                        named.extend(body.extents.iter().map(|e| (*e, pg, key.to_vec(), row.seq)));
                    }
                    std::ops::ControlFlow::Continue(())
                });
            }
        }
        named.sort();
        let overlaps = named.windows(2).filter(|pair| {
            let (first, second) = (pair[0].0, pair[1].0);
            first.volume == second.volume && first.offset + u64::from(first.bytes) > second.offset
        });
        format!("{:?}", overlaps.collect::<Vec<_>>())
    }

    /// One round of cleaning, driven as the product drives it. Whether a segment was freed.
    ///
    /// # Errors
    /// Of any core.
    pub async fn clean(&self, core: usize) -> Result<bool, StoreError> {
        let owner = &self.stores[core];
        match owner.cleaning_candidate() {
            Some(segment) => self.clean_segment(core, segment).await,
            None => Ok(false),
        }
    }

    /// As [`Node::clean`], also when it is not worth it: one of the oldest segments, `pick` of them,
    /// those of volume `only` alone when that is given.
    ///
    /// # Errors
    /// Of any core.
    pub async fn clean_eagerly(
        &self,
        core: usize,
        pick: usize,
        only: Option<u16>,
    ) -> Result<bool, StoreError> {
        let mut oldest = self.stores[core].oldest_log_segments();
        oldest.retain(|segment| only.is_none_or(|only| segment.volume.0 == only));
        match oldest.get(pick % oldest.len().max(1)) {
            Some(segment) => self.clean_segment(core, *segment).await,
            None => Ok(false),
        }
    }

    async fn clean_segment(&self, core: usize, segment: LogSegment) -> Result<bool, StoreError> {
        let owner = &self.stores[core];
        owner.set_cleaning(true);
        let mut result = Ok(true);
        for store in &self.stores {
            if let Err(error) = store.relocate(segment).await {
                result = Err(error);
                break;
            }
        }
        if result.is_ok()
            && let Err(error) = owner.free_log_segment(segment).await
        {
            result = Err(error);
        }
        owner.set_cleaning(false);
        result
    }
}

/// Brings the node up on `config.cores` cores; drives without a volume get one.
///
/// # Errors
/// Of the store.
pub async fn open(machine: Machine, config: StoreConfig) -> Result<Node, StoreError> {
    let count = machine.formatted.get().max(usize::from(config.cores));
    let envs: Vec<SimEnv> = (0..config.cores).map(|core| SimEnv::new(machine.world.clone(), core)).collect();
    while machine.formatted.get() < count {
        let index = machine.formatted.get();
        let identity = VolumeIdentity {
            store_uuid: STORE_UUID,
            volume: VolumeId(index as u16),
            pg_count: config.pg_count,
        };
        format_volume_sized(&envs[0], machine.disks[index].reopened(), identity, machine.segment_log2)
            .await?;
        machine.formatted.set(index + 1);
    }
    let always = config.sync == stria_store::SyncPolicy::Always;
    let mut node = Node { envs, volumes: Vec::new(), stores: Vec::new(), report: ReplayReport::default() };
    let mut rows: BTreeMap<u16, Vec<PgRows>> = BTreeMap::new();
    let (mut found, mut is_settled) = (Vec::new(), true);
    for (core, env) in node.envs.iter().enumerate() {
        let disks: Vec<(VolumeId, SimDisk)> =
            (0..count).map(|index| (VolumeId(index as u16), machine.disks[index].reopened())).collect();
        let mine = disks.iter().filter(|(id, _)| usize::from(id.owner(config.cores).0) == core).cloned();
        let budget = Budget { cores: config.cores, index_bytes_max: config.index_bytes_max };
        let replayed = replay_within(env, STORE_UUID, mine.collect(), budget).await?;
        is_settled &= replayed.is_settled(config.cores);
        for pg in replayed.pgs {
            rows.entry(pg.pg.owner(config.cores).0).or_default().push(pg);
        }
        node.report.frames += replayed.report.frames;
        node.report.torn += replayed.report.torn;
        node.report.rot += replayed.report.rot;
        node.report.run_rows += replayed.report.run_rows;
        node.report.damaged += replayed.report.damaged;
        found.push(replayed.volumes);
        node.volumes.push(Volumes::new(env.clone(), disks, always));
    }
    for (core, mine) in found.into_iter().enumerate() {
        let rows = rows.remove(&(core as u16)).unwrap_or_default();
        let (env, volumes) = (node.envs[core].clone(), node.volumes[core].clone());
        node.stores.push(Store::open(env, config, volumes, mine, rows, is_settled).await?);
    }
    for store in &node.stores {
        for (volume, extents) in store.extents_in_use().await? {
            if let Err(error) = node.owner_of(volume).adopt(volume, &extents) {
                panic!("{error}: {}", node.shared_space());
            }
        }
    }
    for store in &node.stores {
        store.start()?;
    }
    Ok(node)
}
