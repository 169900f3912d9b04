//! Scrubbing: everything this core keeps is read back in time, and what does not verify is repaired or named.
//!
//! Invariant: a mismatch counts as damage only when what named the bytes still names them after the read, so
//! that no reuse of space passes for rot; a repair writes only what memory or another copy proves. Runs on the
//! owner core, as background tasks of the lowest claim on the device. The steps are in `scrub_header`,
//! `scrub_deep`, `scrub_space` and `scrub_fresh`.

use std::cell::{Cell, RefCell};

use stria_base::{PgId, VolumeId};
use stria_env::{
    Env,
    sync::{Notify, race},
};

use crate::{error::StoreError, scrub_fresh::FreshWrites, store::Store, superblock::VolumeInfo};

/// Damage kept to be listed; beyond it, only counted.
const DAMAGE_KEPT_MAX: usize = 1000;
/// The mark is written down so often when no checkpoint does it.
const MARK_KEPT_NS: u64 = 3_600_000_000_000;
/// A pass is paced to end after this share of its period: the rest is for load and restarts.
const PASS_SHARE_PERCENT: u128 = 75;

/// How scrubbing runs. Zero periods pace nothing.
#[derive(Clone, Copy, Debug)]
pub struct ScrubConfig {
    /// Every byte is read within this time, nanoseconds.
    pub deep_ns: u64,
    /// Copies, runs and space are checked so often, nanoseconds.
    pub light_ns: u64,
    /// Of the time of the device, in percent: after a read of `t`, `t * (100 - share) / share` are rested.
    pub share_percent: u32,
    /// One in so many committed changes is read back; 0 for none.
    pub read_back_one_in: u64,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self { deep_ns: 0, light_ns: 0, share_percent: 100, read_back_one_in: 0 }
    }
}

/// What a deep pass verifies next. A pass goes through the steps in this order and begins again, so what lies
/// behind the mark is always what was verified longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// Sealed log segments of the nth volume of this core, from this generation on.
    Log {
        /// Of this core's volumes.
        nth: u16,
        /// The lowest not verified yet.
        generation: u64,
    },
    /// Runs of the PGs from this one on.
    Runs(PgId),
    /// Bodies of the rows of the PGs from this one on.
    Rows(PgId),
}

/// How far scrubbing of a core has come; kept in the superblock of its first volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubMark {
    /// What a deep pass verifies next.
    pub next: ScrubStep,
    /// When the pass began, milliseconds since 1970; 0 when none did.
    pub deep_begun_ms: u64,
    /// When the last deep pass ended; 0 when none did.
    pub deep_done_ms: u64,
    /// When the last light pass ended; 0 when none did.
    pub light_done_ms: u64,
}

impl Default for ScrubMark {
    fn default() -> Self {
        Self {
            next: ScrubStep::Log { nth: 0, generation: 0 },
            deep_begun_ms: 0,
            deep_done_ms: 0,
            light_done_ms: 0,
        }
    }
}

/// What does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// A copy of the superblock.
    Superblock,
    /// A slot of the device map.
    Map,
    /// A copy of a manifest.
    Manifest,
    /// A frame of a sealed log segment.
    Log,
    /// A block of a run, or its index.
    Run,
    /// A body: a read of it fails.
    Body,
    /// A write that was acknowledged is not what the device gives back.
    FreshWrite,
    /// A row names space that counts as free.
    SpaceFree,
    /// Two rows name the same space.
    SpaceShared,
    /// Space is in use and no row named it for twelve hours.
    SpaceUnnamed,
}

impl DamageKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Superblock,
        Self::Map,
        Self::Manifest,
        Self::Log,
        Self::Run,
        Self::Body,
        Self::FreshWrite,
        Self::SpaceFree,
        Self::SpaceShared,
        Self::SpaceUnnamed,
    ];

    /// As logs and metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::Map => "map",
            Self::Manifest => "manifest",
            Self::Log => "log",
            Self::Run => "run",
            Self::Body => "body",
            Self::FreshWrite => "fresh-write",
            Self::SpaceFree => "space-free",
            Self::SpaceShared => "space-shared",
            Self::SpaceUnnamed => "space-unnamed",
        }
    }

    /// Whether a light pass finds it; other kinds are found by deep passes.
    fn is_light(self) -> bool {
        matches!(
            self,
            Self::Superblock
                | Self::Map
                | Self::Manifest
                | Self::Run
                | Self::SpaceFree
                | Self::SpaceShared
                | Self::SpaceUnnamed
        )
    }
}

/// One thing that does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What.
    pub kind: DamageKind,
    /// On which volume.
    pub volume: VolumeId,
    /// Where there, bytes.
    pub offset: u64,
    /// Of which PG, when it is one's.
    pub pg: Option<PgId>,
    /// Row key of a body; else empty.
    pub key: Box<[u8]>,
    /// Whether it was put right, or will be by the checkpoint that was asked for.
    pub is_repaired: bool,
    /// When it was found first, milliseconds since 1970.
    pub found_ms: u64,
}

/// Figures of scrubbing since start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScrubStats {
    /// Bytes read and verified.
    pub bytes: u64,
    /// Damage found, by kind in the order of [`DamageKind::ALL`].
    pub found: [u64; DamageKind::ALL.len()],
    /// Of it, repaired.
    pub repaired: [u64; DamageKind::ALL.len()],
    /// Damage that is there now, as far as is known.
    pub open: u64,
    /// Fresh writes read back.
    pub read_back: u64,
    /// Deep passes ended.
    pub deep_passes: u64,
    /// Light passes ended.
    pub light_passes: u64,
    /// Bytes of the step a deep pass is at: what it verified since it began.
    pub pass_bytes: u64,
    /// Bytes a deep pass has to verify, about.
    pub total_bytes: u64,
    /// Where it stands.
    pub mark: ScrubMark,
}

impl ScrubStats {
    /// How far a deep pass is: 0 at the log, 1 at the runs, 2 to 3 at the bodies of a store of `pg_count`.
    #[must_use]
    pub fn position(&self, pg_count: u16) -> f64 {
        match self.mark.next {
            ScrubStep::Log { .. } => 0.0,
            ScrubStep::Runs(_) => 1.0,
            ScrubStep::Rows(pg) => 2.0 + f64::from(pg.0) / f64::from(pg_count.max(1)),
        }
    }
}

/// Damage and the numbers of the passes that saw it last.
struct Known {
    damage: Damage,
    seen: u64,
}

/// What scrubbing of one core knows.
#[derive(Default)]
pub(crate) struct ScrubState {
    pub(crate) config: Cell<ScrubConfig>,
    pub(crate) mark: Cell<ScrubMark>,
    pub(crate) stats: Cell<ScrubStats>,
    known: RefCell<Vec<Known>>,
    /// Found and not reported yet.
    new: RefCell<Vec<Damage>>,
    pub(crate) fresh: FreshWrites,
    hurries: Cell<bool>,
    hurried: Notify,
    mark_kept_ns: Cell<u64>,
}

impl ScrubState {
    /// Going on at `mark`, which was kept until now.
    pub(crate) fn new(mark: ScrubMark, now_ns: u64) -> Self {
        Self { mark: Cell::new(mark), mark_kept_ns: Cell::new(now_ns), ..Self::default() }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut ScrubStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Damage a pass of this kind knew and no longer found is gone: deleted, rewritten, repaired.
    pub(crate) fn forget_unseen(&self, light: bool) {
        let stats = self.stats.get();
        let pass = if light { stats.light_passes } else { stats.deep_passes };
        self.known.borrow_mut().retain(|known| known.damage.kind.is_light() != light || known.seen >= pass);
    }
}

impl<E: Env> Store<E> {
    /// Sets how scrubbing runs; at once, also for a pass that runs.
    pub fn configure_scrub(&self, config: ScrubConfig) {
        assert!((1..=100).contains(&config.share_percent), "a share of {} percent", config.share_percent);
        self.0.scrub.config.set(config);
    }

    /// Lets a deep pass run as fast as its share allows, or at the pace of its period again.
    pub fn hurry_scrub(&self, hurries: bool) {
        self.0.scrub.hurries.set(hurries);
        self.0.scrub.hurried.notify_all();
    }

    /// Figures of scrubbing.
    #[must_use]
    pub fn scrub_stats(&self) -> ScrubStats {
        let state = &self.0.scrub;
        let open = state.known.borrow().iter().filter(|known| !known.damage.is_repaired).count() as u64;
        ScrubStats { open, total_bytes: self.bytes_in_use(), mark: state.mark.get(), ..state.stats.get() }
    }

    /// What is damaged now, as far as is known: at most a thousand.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.0.scrub.known.borrow().iter().map(|known| known.damage.clone()).collect()
    }

    /// What was found since the last call.
    #[must_use]
    pub fn take_new_damage(&self) -> Vec<Damage> {
        std::mem::take(&mut *self.0.scrub.new.borrow_mut())
    }

    /// Notes damage; the same damage counts once.
    pub(crate) fn note_damage(&self, damage: Damage) {
        let state = &self.0.scrub;
        let stats = state.stats.get();
        let seen = if damage.kind.is_light() { stats.light_passes } else { stats.deep_passes };
        let mut known = state.known.borrow_mut();
        let same = known.iter_mut().find(|known| is_same(&known.damage, &damage));
        let is_new = match same {
            Some(known) => {
                known.seen = seen;
                // A repair that did not last is found again.
                std::mem::replace(&mut known.damage.is_repaired, damage.is_repaired)
            }
            None => {
                if known.len() < DAMAGE_KEPT_MAX {
                    known.push(Known { damage: damage.clone(), seen });
                }
                true
            }
        };
        drop(known);
        if !is_new {
            return;
        }
        let kind = DamageKind::ALL.iter().position(|kind| *kind == damage.kind);
        let kind = kind.expect("all kinds are listed");
        state.update(|stats| {
            stats.found[kind] += 1;
            stats.repaired[kind] += u64::from(damage.is_repaired);
        });
        let mut new = state.new.borrow_mut();
        if new.len() < DAMAGE_KEPT_MAX {
            new.push(damage);
        }
    }

    /// Damage of this kind at a place, found now.
    pub(crate) fn damage_at(&self, kind: DamageKind, volume: VolumeId, offset: u64) -> Damage {
        Damage {
            kind,
            volume,
            offset,
            pg: None,
            key: Box::default(),
            is_repaired: false,
            found_ms: self.0.env.wall_ms(),
        }
    }

    /// Bytes of this core's volumes that hold something.
    pub(crate) fn bytes_in_use(&self) -> u64 {
        self.0.mine.iter().map(|volume| volume.total_bytes() - volume.free_bytes()).sum()
    }

    /// Counts what was read and rests as the pace demands. Under load a read takes longer, and so does the
    /// rest: scrubbing never takes more than its share of the device's time.
    pub(crate) async fn rest(&self, bytes: u64, took_ns: u64, is_deep: bool) {
        let state = &self.0.scrub;
        state.update(|stats| {
            stats.bytes += bytes;
            stats.pass_bytes += if is_deep { bytes } else { 0 };
        });
        let config = state.config.get();
        let share = u64::from(config.share_percent);
        let of_share = took_ns.saturating_mul(100 - share) / share;
        let of_period = if is_deep && !state.hurries.get() {
            let pass_ns = u128::from(config.deep_ns) * PASS_SHARE_PERCENT / 100;
            let rest = pass_ns * u128::from(bytes) / u128::from(self.bytes_in_use().max(1));
            u64::try_from(rest).unwrap_or(u64::MAX)
        } else {
            0
        };
        self.0.env.sleep(of_share).await;
        if of_period > of_share {
            let hurried = state.hurried.notified();
            race(self.0.env.sleep(of_period - of_share), hurried).await;
        }
    }

    /// Moves the mark, and writes it down when it was not for long.
    pub(crate) async fn move_mark(&self, change: impl FnOnce(&mut ScrubMark)) -> Result<(), StoreError> {
        let state = &self.0.scrub;
        let mut mark = state.mark.get();
        change(&mut mark);
        state.mark.set(mark);
        let now = self.0.env.mono_ns();
        if now - state.mark_kept_ns.get() < MARK_KEPT_NS {
            return Ok(());
        }
        state.mark_kept_ns.set(now);
        let _turn = self.0.checkpoints.take_turn().await;
        self.check_going()?;
        if self.is_failed() {
            // Nothing is written any more; what can be read is still verified.
            return Ok(());
        }
        let volume = &self.0.mine[0];
        if let Err(error) = volume.write_superblock(self.marked(volume.info())).await {
            // Nobody knows which superblock counts now: nothing may be freed by it any more.
            self.fail_log();
            return Err(error);
        }
        Ok(())
    }

    /// A superblock to be written to this core's first volume carries the mark along.
    pub(crate) fn marked(&self, info: VolumeInfo) -> VolumeInfo {
        VolumeInfo { scrub: self.0.scrub.mark.get(), ..info }
    }

    /// Whether a pass should go on.
    pub(crate) fn check_going(&self) -> Result<(), StoreError> {
        if self.is_stopping() { Err(StoreError::Failed) } else { Ok(()) }
    }
}

fn is_same(one: &Damage, other: &Damage) -> bool {
    (one.kind, one.volume, one.offset, one.pg) == (other.kind, other.volume, other.offset, other.pg)
        && one.key == other.key
}
