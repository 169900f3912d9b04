//! Background work of one core: checkpoints, cleaning the log, handing freed space to the core that owns its
//! volume.
//!
//! Invariant: a log segment is freed only after every core has rewritten its rows out of it. One segment
//! at a time, one checkpoint at a time; between two looks the core rests.

use std::rc::Rc;

use stria_engine::calls::{AskProgress, Release, Relocate};
use stria_env::Env;
use stria_store::LogSegment;

use crate::state::CoreState;

/// Between two looks for work.
const REST_NS: u64 = 250_000_000;

/// Runs until the process ends.
pub async fn run(state: Rc<CoreState>) {
    let cores = state.shared_cores();
    let mut told = (0, false);
    while !state.stopping.get() {
        state.env.sleep(REST_NS).await;
        give_back_foreign(&state, cores).await;
        let store = state.peers.engine().store().clone();
        tell_of_log(&state, &mut told);
        let Some(segment) = store.cleaning_candidate() else { continue };
        store.set_cleaning(true);
        if let Err(error) = clean(&state, segment).await {
            tracing::warn!(
                "log segment {} of volume {} is not cleaned: {error}",
                segment.segment,
                segment.volume.0
            );
            // What is unreadable stays unreadable: look again much later.
            state.env.sleep(60 * REST_NS).await;
        }
        store.set_cleaning(false);
    }
}

/// Tells the operator when writes to the log failed. `told`: what he knows already.
fn tell_of_log(state: &CoreState, told: &mut (u64, bool)) {
    let (store, core) = (state.peers.engine().store(), state.env.core().0);
    let now = (store.log_moves(), store.is_failed());
    if now.0 > told.0 {
        tracing::warn!(
            "core {core}: a write to the log failed; it goes on in another segment, and the failed one is not used again before a restart. Look after the drive"
        );
    }
    if now.1 && !told.1 && store.check_present().is_ok() {
        tracing::error!(
            "core {core}: the log failed; its placement groups are read-only until a restart. Look after the drive first"
        );
    }
    *told = now;
}

/// Writes checkpoints when they are due, until the process ends.
pub async fn run_checkpoints(state: Rc<CoreState>) {
    let store = state.peers.engine().store().clone();
    while !state.stopping.get() {
        state.env.sleep(REST_NS).await;
        if !store.is_settled() {
            let mut least = store.checkpoint_progress();
            for core in state.peers.cores() {
                least = least.min(state.peers.call_core(core, AskProgress).await);
            }
            store.all_reached(least);
        }
        if !store.checkpoint_due() {
            continue;
        }
        match store.checkpoint().await {
            Ok(_) => {}
            Err(_) if state.stopping.get() => {}
            Err(error) => {
                tracing::warn!(
                    "core {}: no checkpoint: {error}; the log grows until one succeeds",
                    state.env.core().0
                );
            }
        }
    }
}

async fn clean(state: &Rc<CoreState>, segment: LogSegment) -> Result<(), stria_engine::EngineError> {
    for core in state.peers.cores() {
        state.peers.call_core(core, Relocate { segment }).await?;
    }
    Ok(state.peers.engine().store().free_log_segment(segment).await?)
}

async fn give_back_foreign(state: &Rc<CoreState>, cores: u16) {
    let mut by_owner = std::collections::BTreeMap::<_, Vec<_>>::new();
    for extent in state.peers.engine().store().take_foreign_frees() {
        by_owner.entry(extent.volume.owner(cores)).or_default().push(extent);
    }
    for (owner, extents) in by_owner {
        state.peers.call_core(owner, Release { extents }).await;
    }
}

impl CoreState {
    /// Data cores of the node.
    fn shared_cores(&self) -> u16 {
        self.peers.cores().count() as u16
    }
}
