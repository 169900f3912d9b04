//! Scrubbing as background work of one core: deep and light passes at their pace, fresh writes read back, and what
//! they find in the log of the process.
//!
//! Invariant: what is found is logged once, with the remedy; nothing here decides what is damage, the store does.
//! Runs on each data core, as three tasks of the lowest claim on the device.

use std::{cell::Cell, rc::Rc};

use stria_base::PgId;
use stria_engine::calls::NameSpace;
use stria_env::{
    Env,
    sync::{Notify, race},
};
use stria_store::{Damage, DamageKind, PgState, ScrubConfig, StoreError};

use crate::{config::Config, state::CoreState};

/// Between two looks for work.
const REST_NS: u64 = 1_000_000_000;
const NS_PER_S: u64 = 1_000_000_000;
/// After an error of the device.
const RETRY_NS: u64 = 60 * NS_PER_S;

/// A pass an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Copies, runs, space.
    Light,
    /// Every byte.
    Deep,
}

/// What an operator asked a core for.
#[derive(Default)]
pub struct Wishes {
    light: Cell<bool>,
    deep: Cell<bool>,
    rung: Notify,
}

impl Wishes {
    /// A pass is to begin now; a deep one runs as fast as its share of the device allows.
    pub fn wish(&self, pass: Pass) {
        match pass {
            Pass::Light => self.light.set(true),
            Pass::Deep => self.deep.set(true),
        }
        self.rung.notify_all();
    }
}

/// How the store is to scrub.
#[must_use]
pub fn of_config(config: &Config) -> ScrubConfig {
    ScrubConfig {
        deep_ns: config.scrub_period_s * NS_PER_S,
        light_ns: config.scrub_light_period_s * NS_PER_S,
        share_percent: config.scrub_share,
        read_back_one_in: config.scrub_readback,
    }
}

/// Starts the tasks.
pub fn start(state: &Rc<CoreState>, config: ScrubConfig) {
    let store = state.peers.engine().store();
    store.configure_scrub(config);
    if store.check_present().is_err() {
        return;
    }
    for pg in store.pgs().filter(|pg| store.pg_state(*pg) == PgState::NeedsRepair) {
        tracing::error!(
            "placement group {} needs repair: an acknowledged write may be lost. It is read-only. Stop the server, run `stria fsck`, then `stria fsck --repair`; docs/integrity.md says what each remedy costs",
            pg.0
        );
    }
    state.env.spawn(deep(state.clone(), config.deep_ns));
    state.env.spawn(light(state.clone(), config.light_ns));
    state.env.spawn(fresh(state.clone()));
}

async fn deep(state: Rc<CoreState>, period_ns: u64) {
    let store = state.peers.engine().store().clone();
    let watcher = {
        let (state, store) = (state.clone(), store.clone());
        async move {
            loop {
                let rung = state.wishes.rung.notified();
                if state.wishes.deep.take() {
                    store.hurry_scrub(true);
                }
                rung.await;
            }
        }
    };
    state.env.spawn(watcher);
    while !state.stopping.get() {
        // A pass that is running when one is asked for runs to its end; what lies before its mark was read already.
        match store.scrub_deep().await {
            Ok(()) => store.hurry_scrub(false),
            Err(error) => failed(&state, "deep", &error).await,
        }
        report(&state);
        // A store with little in it has nothing that would make a pass last.
        let rung = state.wishes.rung.notified();
        race(state.env.sleep(REST_NS.max(period_ns / 1000)), rung).await;
    }
}

async fn light(state: Rc<CoreState>, period_ns: u64) {
    let store = state.peers.engine().store().clone();
    while !state.stopping.get() {
        let done_ms = store.scrub_stats().mark.light_done_ms;
        // A clock that was set back counts as due.
        let age_ms = state.now_ms().checked_sub(done_ms);
        let is_due = age_ms.is_none_or(|age_ms| age_ms >= period_ns / 1_000_000);
        if is_due || state.wishes.light.take() {
            if let Err(error) = light_pass(&state).await {
                failed(&state, "light", &error).await;
            }
            report(&state);
        }
        let rung = state.wishes.rung.notified();
        race(state.env.sleep(REST_NS), rung).await;
    }
}

async fn light_pass(state: &Rc<CoreState>) -> Result<(), StoreError> {
    let store = state.peers.engine().store();
    store.scrub_light().await?;
    for window in store.space_windows() {
        store.begin_space_check(window);
        let mut named = Vec::new();
        for core in state.peers.cores() {
            match state.peers.call_core(core, NameSpace { window }).await {
                Ok(space) => named.push(space),
                // What its rows name is not known, or not all of it: nothing can be said of this space.
                Err(StoreError::Absent { .. } | StoreError::Corrupt { .. }) => {
                    return store.end_scrub_light().await;
                }
                Err(error) => return Err(error),
            }
        }
        store.end_space_check(window, named);
    }
    store.end_scrub_light().await
}

async fn fresh(state: Rc<CoreState>) {
    let store = state.peers.engine().store().clone();
    while !state.stopping.get() {
        state.env.sleep(REST_NS).await;
        if let Err(error) = store.read_back().await {
            failed(&state, "read-back", &error).await;
        }
        report(&state);
    }
}

async fn failed(state: &Rc<CoreState>, what: &str, error: &StoreError) {
    if state.stopping.get() {
        return;
    }
    tracing::warn!("core {}: the {what} scrub stopped: {error}; it goes on in a minute", state.env.core().0);
    state.env.sleep(RETRY_NS).await;
}

/// Logs what was found since the last call.
fn report(state: &CoreState) {
    for damage in state.peers.engine().store().take_new_damage() {
        let line = describe(&damage);
        if damage.is_repaired { tracing::warn!("{line}") } else { tracing::error!("{line}") }
    }
}

/// One line: what, where, and what to do.
#[must_use]
pub fn describe(damage: &Damage) -> String {
    let what = match damage.kind {
        DamageKind::Superblock => "a copy of the superblock does not verify",
        DamageKind::Map => "a slot of the device map does not verify",
        DamageKind::Manifest => "a copy of the manifest does not verify",
        DamageKind::Log => "a frame of the log does not verify",
        DamageKind::Run => "a block of a run does not verify",
        DamageKind::Body => "a body does not verify",
        DamageKind::FreshWrite => "an acknowledged write is not what the device gives back",
        DamageKind::SpaceFree => "a row names space that counts as free",
        DamageKind::SpaceShared => "two rows name the same space",
        DamageKind::SpaceUnnamed => "space is in use and no row names it",
    };
    let remedy = match (damage.kind, damage.is_repaired) {
        (DamageKind::Run, true) => "a checkpoint writes it anew from memory",
        (_, true) => "written again from what is known to be right",
        (DamageKind::Log, _) => {
            "rows it made are in memory and in the next checkpoint; bodies in it are named apart"
        }
        (DamageKind::Body, _) => "it is never served: write the object again, or restore it from a backup",
        (DamageKind::FreshWrite, _) => {
            "the drive loses writes: replace it; the object can no longer be trusted"
        }
        (DamageKind::Run, _) => {
            "the placement group is read-only already: stop the server and run `stria fsck`"
        }
        (DamageKind::SpaceUnnamed, _) => "nothing is lost; a restart gives the space back",
        _ => "stop the server and run `stria fsck`, which names the objects",
    };
    let mut line = format!("scrub: {what} (volume {}, offset {}", damage.volume.0, damage.offset);
    if let Some(PgId(pg)) = damage.pg {
        line.push_str(&format!(", placement group {pg}"));
    }
    if !damage.key.is_empty() {
        line.push_str(&format!(", row {}", hex(&damage.key)));
    }
    line + "); " + remedy
}

/// Bytes as two digits each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the admin port says it.
#[must_use]
pub fn to_json(damage: &Damage) -> serde_json::Value {
    serde_json::json!({
        "kind": damage.kind.name(),
        "volume": damage.volume.0,
        "offset": damage.offset,
        "pg": damage.pg.map(|pg| pg.0),
        "row": hex(&damage.key),
        "repaired": damage.is_repaired,
        "found_ms": damage.found_ms,
        "text": describe(damage),
    })
}
