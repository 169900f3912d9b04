//! Scrubbing in the simulator: passes at any time find nothing where nothing was hurt, and what was hurt they find.
//!
//! Invariant: one fault per run. Runs on the simulator's thread.

use std::rc::Rc;

use stria_base::{VolumeId, units::align_up};
use stria_env::Env;
use stria_store::{Damage, DamageKind, Extent, StoreError, SyncPolicy};

use crate::{clients::Life, node::Node, oplog, rot, store_run::Run};

/// Space in use that nobody names is lost after twelve hours.
const LONG_NS: u64 = 13 * 3_600_000_000_000;

impl Node {
    /// A light and a deep pass on all cores.
    ///
    /// # Errors
    /// Of any core.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        for store in &self.stores {
            store.scrub_light().await?;
            'windows: for window in store.space_windows() {
                store.begin_space_check(window);
                let mut named = Vec::new();
                for other in &self.stores {
                    match other.named_space(window).await {
                        Err(StoreError::Corrupt { .. }) => break 'windows,
                        space => named.push(space?),
                    }
                }
                store.end_space_check(window, named);
            }
            store.end_scrub_light().await?;
            store.scrub_deep().await?;
            store.read_back().await?;
        }
        Ok(())
    }

    fn new_damage(&self) -> Vec<Damage> {
        self.stores.iter().flat_map(stria_store::Store::take_new_damage).collect()
    }
}

impl Life {
    /// Whether everything on the drives must verify: nothing fails, and bodies are flushed before rows.
    fn is_sound(&self) -> bool {
        let faults = self.plan.faults;
        let fails = faults.write_error_one_in + faults.flush_error_one_in + faults.read_error_one_in;
        fails == 0 && self.plan.sync == SyncPolicy::Always
    }

    /// Scrubs for as long as the node lives.
    pub async fn scrubs(self: Rc<Self>) {
        loop {
            // A calm life lasts a thousand times as long, and has as many passes.
            let pause = self.rng(|rng| rng.between(1_000_000, 60_000_000)) * self.plan.calm;
            self.node.envs[0].sleep(pause).await;
            oplog::record(self.world().now_ns(), "scrub", [0; 4]);
            // Errors are those of reads, or the end; the clients judge both.
            self.is_scrubbing.set(true);
            let _ = self.node.scrub().await;
            self.is_scrubbing.set(false);
            let found = self.node.new_damage();
            assert!(!self.is_sound() || found.is_empty(), "scrubbing found what nobody hurt: {found:?}");
        }
    }
}

/// Hurts one thing on a drive while the node runs, and expects a pass to find it, repair it or say so.
pub(crate) fn run(run: &mut Run, node: Node) {
    let life = rot::live(run, node);
    rot::checkpoint_all(run, &life.node);
    if life.node.stores.iter().any(|store| store.is_failed() || !store.is_settled()) || !life.is_sound() {
        return;
    }
    pass(run, &life.node);
    sleep_long(run, &life.node);
    pass(run, &life.node);
    let found = life.node.new_damage();
    assert!(found.is_empty(), "scrubbing found what nobody hurt: {found:?}");
    let kind = run.world().rng(|rng| rng.below(7));
    let Some((kind, volume, offset)) = hurt(run, &life, kind) else { return };
    run.note(kind.name(), offset);
    pass(run, &life.node);
    let found = life.node.new_damage();
    assert!(found.iter().any(|one| one.kind == kind && one.volume == volume), "missed {kind:?}: {found:?}");
    // Rows that are left to their runs are nowhere else.
    let is_kept = |one: &Damage| one.pg.is_none_or(|pg| life.node.store_of(pg).is_resident(pg));
    let repairs = match kind {
        DamageKind::Superblock | DamageKind::Map | DamageKind::Manifest => true,
        DamageKind::Run => found.iter().all(is_kept),
        _ => false,
    };
    let of_kind = |one: &&Damage| one.kind == kind;
    assert!(found.iter().filter(of_kind).all(|one| one.is_repaired == repairs), "{found:?}");
    // Whatever is written next may take it; and a full drive may have no room for a new run.
    if kind == DamageKind::SpaceFree || run.plan.is_small || (kind == DamageKind::Run && !repairs) {
        return;
    }
    rot::checkpoint_all(run, &life.node);
    pass(run, &life.node);
    let again = life.node.new_damage();
    assert!(again.is_empty(), "found once more: {again:?}");
    let open: u64 = life.node.stores.iter().map(|store| store.scrub_stats().open).sum();
    assert_eq!(open == 0, repairs, "{open} things are damaged after the repair");
}

fn pass(run: &Run, node: &Node) {
    // Space freed on volumes of other cores waits for maintenance, which does not run here.
    node.exchange_frees();
    let node = node.clone();
    let passing = async move { node.scrub().await };
    run.world().run(passing).expect("a pass ends").expect("nothing fails");
}

fn sleep_long(run: &Run, node: &Node) {
    let sleeping = node.envs[0].sleep(LONG_NS);
    run.world().run(sleeping).expect("it ends");
}

/// Hurts one thing; what it is and where.
fn hurt(run: &mut Run, life: &Rc<Life>, kind: u64) -> Option<(DamageKind, VolumeId, u64)> {
    let node = &life.node;
    let volume = VolumeId(run.world().rng(|rng| rng.below(u64::from(node.cores()))) as u16);
    let (manifests, runs) = node.owner_of(volume).checkpoint_extents();
    match kind {
        0 => {
            let (offset, bytes) = run.world().rng(|rng| *rng.pick(&rot::PAGES));
            rot::flip(run, volume, offset, bytes as u32);
            let is_map = (1 << 20..3 << 20).contains(&offset);
            Some((if is_map { DamageKind::Map } else { DamageKind::Superblock }, volume, offset))
        }
        1 | 2 => {
            let extents = if kind == 1 { manifests } else { runs.into_iter().map(|(_, at)| at).collect() };
            if extents.is_empty() {
                return None;
            }
            let extent = run.world().rng(|rng| *rng.pick(&extents));
            rot::flip(run, extent.volume, extent.offset, extent.bytes);
            let kind = if kind == 1 { DamageKind::Manifest } else { DamageKind::Run };
            Some((kind, extent.volume, extent.offset))
        }
        3 | 4 => {
            let victim = rot::victim(run, life, false, kind == 3)?;
            rot::flip(run, victim.volume, victim.offset, victim.bytes);
            Some((DamageKind::Body, victim.volume, victim.offset))
        }
        5 => {
            let store = node.owner_of(volume).clone();
            let granted = async move { store.allocate(8192).await };
            let grant = run.world().run(granted).expect("it ends").ok()?;
            pass(run, node);
            sleep_long(run, node);
            Some((DamageKind::SpaceUnnamed, grant.extents[0].volume, grant.extents[0].offset))
        }
        _ => {
            let victim = rot::victim(run, life, false, true)?;
            let bytes = align_up(u64::from(victim.bytes), 4096) as u32;
            let extent = Extent { volume: victim.volume, offset: victim.offset, bytes };
            node.owner_of(extent.volume).release(vec![extent]);
            Some((DamageKind::SpaceFree, extent.volume, extent.offset))
        }
    }
}
