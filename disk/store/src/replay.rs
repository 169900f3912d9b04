//! Reading this core's volumes back into rows: runs of the last checkpoint, then the log behind it.
//!
//! Invariant: of two changes of a row the higher number wins, so the order in which logs and segments are
//! read does not matter, and reading twice changes nothing. All cores replay at the same time, each its
//! own volumes; the result is `Send`, because PGs may have moved to other cores.

use std::collections::BTreeMap;

use stria_base::{Hlc, PgId, VolumeId};
use stria_env::Env;

use crate::{
    error::StoreError,
    log_reader::{Rescued, read_log},
    manifest::Manifest,
    map::{DeviceMap, Geometry},
    open::probe_volume,
    recover::{Base, Budget, Named, read_bases, read_named},
    row::Row,
    superblock::{Position, VolumeIdentity, VolumeInfo, Writers},
};

/// The latest change of a row seen so far.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) seq: u64,
    pub(crate) hlc: Hlc,
    /// `None` is a tombstone.
    pub(crate) row: Option<Row>,
}

/// Gaps of a PG's numbers that are told apart.
const GAPS_MAX: usize = 16;

/// What runs and logs say of one PG.
#[derive(Debug)]
pub struct PgRows {
    /// The PG.
    pub pg: PgId,
    /// What the last checkpoint says.
    pub(crate) base: Option<Base>,
    /// What logs say.
    pub(crate) rows: BTreeMap<Box<[u8]>, Slot>,
    /// Highest version any manifest has of it.
    pub(crate) version_high: u64,
    pub(crate) seq_high: u64,
    pub(crate) hlc_high: Hlc,
    /// What was read may lack an acknowledged write of it.
    pub(crate) suspect: bool,
    /// First and last number of records found behind the position.
    numbers: Option<(u64, u64)>,
    /// Numbers missing between them, as far as they are counted.
    gaps: Vec<(u64, u64)>,
}

impl PgRows {
    pub(crate) fn new(pg: PgId) -> Self {
        Self {
            pg,
            base: None,
            rows: BTreeMap::new(),
            version_high: 0,
            seq_high: 0,
            hlc_high: Hlc(0),
            suspect: false,
            numbers: None,
            gaps: Vec::new(),
        }
    }

    /// Adds what another volume says.
    pub(crate) fn merge(&mut self, other: Self) {
        assert_eq!(self.pg, other.pg);
        self.version_high = self.version_high.max(other.version_high);
        self.seq_high = self.seq_high.max(other.seq_high);
        self.hlc_high = self.hlc_high.max(other.hlc_high);
        self.suspect |= other.suspect;
        self.numbers = self.numbers.or(other.numbers);
        self.gaps.extend_from_slice(&other.gaps);
        // The older one may have rows whose tombstones the newer one could do without.
        let version = |base: &Option<Base>| base.as_ref().map(|base| base.version);
        if version(&other.base) > version(&self.base) {
            self.base = other.base;
        }
        if self.rows.is_empty() {
            self.rows = other.rows;
            return;
        }
        for (key, slot) in other.rows {
            put(&mut self.rows, key, slot);
        }
    }

    /// Whether nothing says that an acknowledged write of it may be lost.
    pub(crate) fn is_sound(&self) -> bool {
        !self.suspect && self.base.as_ref().is_none_or(|base| !base.needs_repair && !base.is_damaged)
    }

    /// Notes that a record of this number was found in the log, in order.
    pub(crate) fn found_number(&mut self, number: u64) {
        let last = self.numbers.map_or(number, |(_, last)| last);
        if number > last + 1 && self.gaps.len() < GAPS_MAX {
            self.gaps.push((last + 1, number - 1));
        }
        self.numbers = Some((self.numbers.map_or(number, |(first, _)| first), last.max(number)));
    }

    /// Ranges of numbers that belong to records nobody found.
    pub(crate) fn lost(&self) -> Vec<(u64, u64)> {
        let mut lost = self.gaps.clone();
        // Without a checkpoint nothing was ever cleaned away: its numbers begin with 1.
        let before = self.base.as_ref().map_or(0, |base| base.pg_seq);
        if let Some((first, _)) = self.numbers
            && first > before + 1
        {
            lost.insert(0, (before + 1, first - 1));
        }
        lost
    }

    /// Adds changes of older frames: of equal numbers, what is there already was written later.
    pub(crate) fn add_older(&mut self, older: BTreeMap<Box<[u8]>, Slot>) {
        for (key, slot) in older {
            if self.rows.get(&key).is_none_or(|there| there.seq < slot.seq) {
                self.rows.insert(key, slot);
            }
        }
    }
}

/// Puts a change read later: of equal numbers it wins, being the same row rewritten.
pub(crate) fn put(rows: &mut BTreeMap<Box<[u8]>, Slot>, key: Box<[u8]>, slot: Slot) {
    match rows.get_mut(&key) {
        Some(there) if there.seq > slot.seq => {}
        Some(there) => *there = slot,
        None => {
            rows.insert(key, slot);
        }
    }
}

/// One volume as replay found it.
#[derive(Debug)]
pub struct VolumeReplay {
    pub(crate) info: VolumeInfo,
    pub(crate) map: DeviceMap,
    /// The slot the map was read from.
    pub(crate) map_slot: usize,
    /// Open log segments and where their log ends.
    pub(crate) open_ends: Vec<(u32, u32)>,
    pub(crate) next_seq: u64,
    pub(crate) prev_hash: u64,
    /// An acknowledged frame cannot be read.
    pub(crate) rot: bool,
    /// What its manifest says; `None` when there is none, or it is lost.
    pub(crate) manifest: Option<Manifest>,
    /// Where its log ends; `None` when it never had one.
    pub(crate) end: Option<Position>,
    /// Whether opening read anything of it: runs or frames.
    pub(crate) has_content: bool,
    /// Bytes of its log that were replayed.
    pub(crate) replayed_bytes: u64,
    /// Whether it could not be read at all: nothing is known of what it holds.
    pub(crate) is_absent: bool,
}

impl VolumeReplay {
    /// A volume whose drive is missing. Only for a store that is settled: its rows are then those of this core's
    /// PGs and of no others, and these answer [`StoreError::Absent`].
    #[must_use]
    pub fn absent(identity: VolumeIdentity) -> Self {
        Self {
            info: VolumeInfo::new(identity, Geometry::default()),
            map: DeviceMap::default(),
            map_slot: 0,
            open_ends: Vec::new(),
            next_seq: 1,
            prev_hash: 0,
            rot: false,
            manifest: None,
            end: None,
            has_content: false,
            replayed_bytes: 0,
            is_absent: true,
        }
    }

    /// Which volume.
    #[must_use]
    pub fn volume(&self) -> VolumeId {
        self.info.identity.volume
    }
}

/// What replay did.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayReport {
    /// Frames read.
    pub frames: u64,
    /// Records applied.
    pub records: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// How long it took, nanoseconds.
    pub ns: u64,
    /// Logs whose tail was torn and cut.
    pub torn: u64,
    /// Logs in which an acknowledged frame cannot be read.
    pub rot: u64,
    /// Volumes that were shut down in order.
    pub clean: u64,
    /// Rows read from runs, tombstones included.
    pub run_rows: u64,
    /// Bytes of runs read.
    pub run_bytes: u64,
    /// PGs whose runs do not verify, and copies of manifests that do not.
    pub damaged: u64,
}

impl ReplayReport {
    /// Adds what reading a log counted.
    fn add_log(&mut self, log: &Self) {
        self.frames += log.frames;
        self.records += log.records;
        self.bytes += log.bytes;
        self.torn += log.torn;
        self.rot += log.rot;
    }
}

/// What this core's volumes say.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The volumes, in the order given.
    pub volumes: Vec<VolumeReplay>,
    /// Rows by PG, of any core.
    pub pgs: Vec<PgRows>,
    /// Figures.
    pub report: ReplayReport,
}

impl Replayed {
    /// Whether everything these volumes hold was written by `cores` cores, each on its own volume. Only when
    /// that is so of all cores may the store be told so.
    #[must_use]
    pub fn is_settled(&self, cores: u16) -> bool {
        self.volumes.iter().enumerate().all(|(nth, volume)| {
            let mine = volume.volume().owner(cores);
            let written_so = volume.info.writers == Writers::Cores(cores)
                && volume.manifest.iter().flat_map(|m| &m.entries).all(|entry| entry.pg.owner(cores) == mine);
            !volume.has_content || (nth == 0 && written_so)
        })
    }
}

/// Reads the runs of `volumes`, which belong to store `store_uuid`, and replays their logs. All rows end in memory.
///
/// # Errors
/// When a volume is not what it should be, or cannot be read.
pub async fn replay<E: Env>(
    env: &E,
    store_uuid: u128,
    volumes: Vec<(VolumeId, E::Disk)>,
) -> Result<Replayed, StoreError> {
    replay_from(env, store_uuid, volumes, Budget::WHOLE, true).await
}

/// As [`replay`], with no more rows in memory than the budget allows; every block is read and verified all the
/// same.
///
/// # Errors
/// When a volume is not what it should be, or cannot be read.
pub async fn replay_within<E: Env>(
    env: &E,
    store_uuid: u128,
    volumes: Vec<(VolumeId, E::Disk)>,
    budget: Budget,
) -> Result<Replayed, StoreError> {
    replay_from(env, store_uuid, volumes, budget, true).await
}

/// As [`replay`], as if no checkpoint had ever been written: all of the log, from its first segment. Every row that
/// counts lies in the log, because cleaning moves it before a segment is freed; but of a PG that changed its
/// core, rows may come back whose deletion was cleaned away from another log.
///
/// # Errors
/// As [`replay`].
pub async fn replay_whole_log<E: Env>(
    env: &E,
    store_uuid: u128,
    volumes: Vec<(VolumeId, E::Disk)>,
) -> Result<Replayed, StoreError> {
    replay_from(env, store_uuid, volumes, Budget::WHOLE, false).await
}

async fn replay_from<E: Env>(
    env: &E,
    store_uuid: u128,
    volumes: Vec<(VolumeId, E::Disk)>,
    mut budget: Budget,
    from_checkpoints: bool,
) -> Result<Replayed, StoreError> {
    let start_ns = env.mono_ns();
    let mut rows: BTreeMap<PgId, PgRows> = BTreeMap::new();
    let mut replayed = Replayed::default();
    for (id, disk) in volumes {
        let mut info = probe_volume(env, &disk, id).await?;
        if info.identity.store_uuid != store_uuid || info.identity.volume != id {
            return Err(StoreError::Foreign { volume: id, found: info.identity.volume });
        }
        if !from_checkpoints {
            // Who wrote the older part of the log is not known.
            info = VolumeInfo { position: None, manifest: None, writers: Writers::Mixed, ..info };
        }
        let named = read_named(env, &disk, &info, &mut replayed.report).await?;
        let mut read = read_log(env, &disk, &info, rescued(&info, &named, &[])).await?;
        let on = (env, &disk);
        let report = &mut replayed.report;
        let bases = read_bases(on, &info, &named.manifest, &mut read.rows, &mut budget, report).await?;
        if bases.iter().any(|base| base.is_damaged) {
            // All of the log may make up for what the runs lost.
            read = read_log(env, &disk, &info, rescued(&info, &named, &bases)).await?;
        }
        replayed.report.add_log(&read.report);
        replayed.report.clean += u64::from(info.clean);
        let mut volume = read.volume;
        let lost = info.lost_with(named.is_lost);
        volume.has_content |= lost != Writers::None || !bases.is_empty();
        for (pg, part) in read.rows {
            rows.entry(pg).or_insert_with(|| PgRows::new(pg)).merge(part);
        }
        if volume.rot || lost != Writers::None {
            // What the lost frame or manifest said is unknown: every PG that may have written here is suspect,
            // wherever it lives now.
            let pgs = (0..info.identity.pg_count).map(PgId);
            let is_suspect = |pg: &PgId| {
                (volume.rot && info.writers.may_have_written(*pg, id)) || lost.may_have_written(*pg, id)
            };
            for pg in pgs.filter(is_suspect) {
                rows.entry(pg).or_insert_with(|| PgRows::new(pg)).suspect = true;
            }
        }
        for part in bases_of(bases, named.manifest.hlc_high, read.rescue, id) {
            rows.entry(part.pg).or_insert_with(|| PgRows::new(part.pg)).merge(part);
        }
        volume.manifest = info.manifest.filter(|_| !named.is_lost).map(|_| named.manifest);
        replayed.volumes.push(volume);
    }
    replayed.pgs = rows.into_values().collect();
    replayed.report.ns = env.mono_ns() - start_ns;
    Ok(replayed)
}

/// PGs whose rows are looked for in all of the log.
fn rescued(info: &VolumeInfo, named: &Named, bases: &[Base]) -> BTreeMap<PgId, Rescued> {
    let damaged = bases.iter().filter(|base| base.is_damaged).map(|base| base.pg);
    let writers = info.lost_with(named.is_lost);
    // A manifest written since says what became of the PGs in it.
    let lost = (0..info.identity.pg_count).map(PgId).filter(|pg| {
        writers.may_have_written(*pg, info.identity.volume) && named.manifest.entry(*pg).is_none()
    });
    damaged.chain(lost).map(|pg| (pg, Rescued::default())).collect()
}

/// What the runs of a volume say, put right by what was found in its log.
fn bases_of(
    bases: Vec<Base>,
    hlc_high: Hlc,
    mut rescue: BTreeMap<PgId, Rescued>,
    volume: VolumeId,
) -> Vec<PgRows> {
    let part = |base: Base| PgRows {
        version_high: base.version,
        seq_high: base.pg_seq,
        hlc_high,
        base: Some(base),
        ..PgRows::new(PgId(0))
    };
    let mut parts = Vec::with_capacity(bases.len());
    for mut base in bases {
        if let Some(Rescued { rows, number }) = rescue.remove(&base.pg) {
            if number >= base.pg_seq && !base.needs_repair {
                // The log has it all: the runs are not needed, and are written anew.
                base =
                    Base { is_damaged: false, is_replaced: true, ..Base::new(base.pg, base.version, volume) };
            }
            base.rescued = rows;
        }
        parts.push(PgRows { pg: base.pg, ..part(base) });
    }
    // Of a lost manifest: what is left of it, below anything another manifest says.
    for (pg, Rescued { rows, .. }) in rescue {
        let base = Base { is_replaced: true, rescued: rows, ..Base::new(pg, 0, volume) };
        parts.push(PgRows { pg, ..part(base) });
    }
    parts
}
