//! Making and opening volumes and stores.
//!
//! Invariant: a volume is refused rather than guessed: wrong store, wrong number, newer format, no two
//! superblock copies that agree. Start-up only, on the owner core.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use stria_base::{Hlc, HlcClock, PgId, VolumeId};
use stria_env::{Disk, Env, disk::BLOCK_BYTES, sync::Notify};

use crate::{
    checkpoint::Checkpoints,
    error::StoreError,
    index::{Changed, MemoryIndex, MetaIndex},
    log::{Log, SyncPolicy},
    log_writer::FRAME_BUFFER_BYTES,
    map::{DeviceMap, Geometry, SEGMENT_LOG2_DEFAULT, SLOT_OFFSETS},
    pg::{Pages, Pg},
    pins::Pins,
    recover::{Base, Counts, extents_of, load_whole},
    replay::{PgRows, Slot, VolumeReplay},
    row::Extent,
    scrub::ScrubState,
    store::{Inner, PgState, Store, StoreConfig},
    superblock::{self, BadCopy, HEADER_BYTES, VolumeIdentity, VolumeInfo, Writers},
    volume::{Volume, read_padded, superblock_copies, write_padded, write_superblock},
    volumes::Volumes,
};

/// Makes an empty volume of a disk. What was on it is lost.
///
/// # Errors
/// Of the device.
pub async fn format_volume<E: Env>(
    env: &E,
    disk: E::Disk,
    identity: VolumeIdentity,
) -> Result<(), StoreError> {
    format_volume_sized(env, disk, identity, SEGMENT_LOG2_DEFAULT).await
}

/// As [`format_volume`], with segments of `1 << segment_log2` bytes, 128 KiB to 1 GiB. All volumes of a store
/// are made alike.
///
/// # Errors
/// Of the device.
///
/// # Panics
/// When `segment_log2` is out of range.
pub async fn format_volume_sized<E: Env>(
    env: &E,
    disk: E::Disk,
    identity: VolumeIdentity,
    segment_log2: u32,
) -> Result<(), StoreError> {
    let geometry = Geometry::new(segment_log2).expect("the caller chose a size in range");
    let volume = identity.volume;
    if disk.len_bytes() < HEADER_BYTES {
        disk.grow(HEADER_BYTES).await.map_err(StoreError::io("grow", volume))?;
    }
    let volumes = Volumes::<E>::new(env.clone(), vec![(volume, disk)], true);
    // Both slots: a left-over map of an earlier store must not be younger than ours.
    for (seq, slot) in SLOT_OFFSETS.into_iter().enumerate() {
        let map = DeviceMap { seq: seq as u64, ..DeviceMap::default() };
        write_padded(&volumes, volume, slot, &map.encode(identity.store_uuid, volume)).await?;
    }
    volumes.flush(volume).await?;
    write_superblock(&volumes, &VolumeInfo::new(identity, geometry)).await
}

/// Reads which volume this is.
///
/// # Errors
/// `NotAVolume`, `NoSuperblock`, `NewerFormat`, or of the device.
pub async fn probe_volume<E: Env>(
    env: &E,
    disk: &E::Disk,
    expected: VolumeId,
) -> Result<VolumeInfo, StoreError> {
    if disk.len_bytes() < HEADER_BYTES {
        return Err(StoreError::NotAVolume { volume: expected });
    }
    let copies = superblock_copies(env, disk).await;
    let newer = copies.iter().find_map(|copy| match copy {
        Err(BadCopy::Newer(found)) => Some(*found),
        _ => None,
    });
    match superblock::elect(&copies) {
        Ok(info) => Ok(info),
        Err(_) if newer.is_some() => {
            Err(StoreError::NewerFormat { volume: expected, found: newer.unwrap_or_default() })
        }
        Err(0) if copies.iter().all(|copy| *copy == Err(BadCopy::NoMagic)) => {
            Err(StoreError::NotAVolume { volume: expected })
        }
        Err(valid) => Err(StoreError::NoSuperblock { volume: expected, valid }),
    }
}

/// Reads the device map: the newer of the slots that verify, and which that is.
pub(crate) async fn read_map<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
) -> Result<(DeviceMap, usize), StoreError> {
    let (uuid, volume) = (info.identity.store_uuid, info.identity.volume);
    let mut newest: Option<(DeviceMap, usize)> = None;
    for (number, slot) in SLOT_OFFSETS.into_iter().enumerate() {
        let bytes = match read_slot(env, disk, volume, slot).await {
            Ok(bytes) => bytes,
            Err(StoreError::Io { .. }) => continue,
            Err(other) => return Err(other),
        };
        if let Some(map) = DeviceMap::decode(&bytes, uuid, volume)
            && newest.as_ref().is_none_or(|(newest, _)| newest.seq < map.seq)
        {
            newest = Some((map, number));
        }
    }
    newest.ok_or(StoreError::NoMap { volume })
}

/// A slot as far as its head says that it goes: most volumes need one page of the 1 MiB.
async fn read_slot<E: Env>(
    env: &E,
    disk: &E::Disk,
    volume: VolumeId,
    slot: u64,
) -> Result<Vec<u8>, StoreError> {
    let page = read_padded(env, disk, volume, slot, BLOCK_BYTES as usize).await?;
    let claimed = DeviceMap::bytes_claimed(page.first_chunk().expect("a page holds a head"));
    if claimed <= page.len() {
        return Ok(page);
    }
    read_padded(env, disk, volume, slot, claimed).await
}

/// Space on one volume that rows name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentsInUse {
    /// Named by rows that are what was acknowledged last.
    pub sure: Vec<Extent>,
    /// Named by rows of PGs that need repair: perhaps older than what was acknowledged, and the space
    /// given to another row since. Checksums tell whose bytes are there.
    pub suspect: Vec<Extent>,
}

impl<E: Env> Store<E> {
    /// Opens this core's store: `mine` are the volumes it allocates on, in order of their numbers, as
    /// replayed; `rows` are the rows of its PGs from all volumes; `is_settled` is [`crate::Replayed::is_settled`] of all
    /// cores. Call [`Store::adopt`] with the extents of every core, then [`Store::start`].
    ///
    /// # Errors
    /// Of the device; `Corrupt` when runs share space.
    ///
    /// # Panics
    /// When `mine` is empty or `rows` has a PG of another core.
    pub async fn open(
        env: E,
        config: StoreConfig,
        volumes: Volumes<E>,
        mine: Vec<VolumeReplay>,
        rows: Vec<PgRows>,
        is_settled: bool,
    ) -> Result<Self, StoreError> {
        let core = env.core();
        let mut pgs: Vec<Option<PgRows>> = (0..config.pg_count)
            .map(|pg| (PgId(pg).owner(config.cores) == core).then(|| PgRows::new(PgId(pg))))
            .collect();
        for part in rows {
            let slot = pgs.get_mut(usize::from(part.pg.0)).and_then(Option::as_mut);
            slot.unwrap_or_else(|| panic!("PG {} is not of core {}", part.pg.0, core.0)).merge(part);
        }
        let mut hlc = HlcClock::default();
        mine.iter().for_each(|replayed| hlc.observe(replayed.info.hlc_high));
        let owned = own(&volumes, &mine, config.cores).await?;
        // The new segment is taken with the first frame, not here: extents in use are not known before they
        // are adopted, and a full volume has to open.
        let segment_bytes = mine[0].info.geometry.segment_bytes();
        let log = Log::new(mine[0].open_ends.clone(), mine[0].next_seq, mine[0].prev_hash, segment_bytes);
        let mut live_log_bytes = 0;
        if !is_settled {
            load_all(&env, &volumes, owned[0].uuid, &mut pgs).await?;
        }
        let pgs = pgs.into_iter().map(|rows| {
            rows.map(|rows| {
                hlc.observe(rows.hlc_high);
                let (pg, live_bytes) = into_pg(rows, owned[0].id, is_settled);
                live_log_bytes += live_bytes;
                RefCell::new(pg)
            })
        });
        let pgs = pgs.collect();
        Ok(Self(Rc::new(Inner {
            checkpoints: Checkpoints::new(&mine, is_settled, env.mono_ns()),
            scrub: ScrubState::new(mine[0].info.scrub, env.mono_ns()),
            env,
            config,
            volumes,
            mine: owned,
            pgs,
            log: RefCell::new(log),
            log_work: Notify::default(),
            writer_gone: Notify::default(),
            pins: Pins::default(),
            hlc: RefCell::new(hlc),
            dropped: RefCell::new(VecDeque::new()),
            foreign_frees: RefCell::default(),
            live_log_bytes: Cell::new(live_log_bytes),
            cleaning: Cell::new(false),
            cleaned_segments: Cell::new(0),
            relocated_bytes: Cell::new(0),
            absent: mine.iter().find(|volume| volume.is_absent).map(VolumeReplay::volume),
            block_cache: RefCell::default(),
            paged_stats: Cell::default(),
        })))
    }

    /// The extents that rows of this core's PGs name, by volume: to be adopted by the volumes' owners. Later, of a store
    /// nobody writes to, for checks.
    ///
    /// # Errors
    /// When rows have to be read and cannot be.
    pub async fn extents_in_use(&self) -> Result<BTreeMap<VolumeId, ExtentsInUse>, StoreError> {
        let mut found: BTreeMap<VolumeId, ExtentsInUse> = BTreeMap::new();
        for id in self.pgs() {
            let (extents, state) = {
                let mut pg = self.pg(id).borrow_mut();
                (pg.start_extents.take(), pg.state)
            };
            let extents = match extents {
                Some(extents) => extents,
                None => self.extents_now(id).await?,
            };
            for extent in extents {
                let of = found.entry(extent.volume).or_default();
                if state == PgState::NeedsRepair { of.suspect.push(extent) } else { of.sure.push(extent) }
            }
        }
        Ok(found)
    }

    async fn extents_now(&self, id: PgId) -> Result<Vec<Extent>, StoreError> {
        let mut extents = Vec::new();
        self.scan_rows(id, std::ops::Bound::Unbounded, |_, row| {
            extents.append(&mut extents_of(&row));
            std::ops::ControlFlow::Continue(())
        })
        .await?;
        Ok(extents)
    }

    /// Takes extents that rows name out of the free space of a volume of this core.
    ///
    /// # Errors
    /// `Corrupt` when two rows name one, or it lies where the map has no extents.
    pub fn adopt(&self, volume: VolumeId, extents: &ExtentsInUse) -> Result<(), StoreError> {
        let Some(volume) = self.0.mine.iter().find(|mine| mine.id == volume) else {
            return Err(StoreError::NotAVolume { volume });
        };
        volume.adopt_suspect(&extents.suspect);
        extents.sure.iter().try_for_each(|extent| volume.adopt(*extent))
    }

    /// Starts the log: from here on writes are accepted.
    ///
    /// # Errors
    /// `NoBuffer` when the memory budget has no room for the log's buffer.
    pub fn start(&self) -> Result<(), StoreError> {
        if self.0.absent.is_some() {
            return Ok(());
        }
        let buf = self.0.env.buf(FRAME_BUFFER_BYTES).ok_or(StoreError::NoBuffer)?;
        self.0.env.spawn(self.clone().run_log(buf));
        self.trim();
        if let SyncPolicy::Periodic { ms } = self.0.config.sync {
            self.0.env.spawn(self.clone().run_periodic_flush(ms));
        }
        Ok(())
    }
}

/// Takes the volumes over, and marks them as in use.
async fn own<E: Env>(
    volumes: &Volumes<E>,
    mine: &[VolumeReplay],
    cores: u16,
) -> Result<Vec<Volume<E>>, StoreError> {
    let mut owned = Vec::new();
    for (nth, replayed) in mine.iter().enumerate() {
        let mut info = VolumeInfo { clean: false, ..replayed.info };
        info.writers = if replayed.has_content { info.writers } else { Writers::None };
        info.lost = replayed.info.lost_with(info.manifest.is_some() && replayed.manifest.is_none());
        // Only the first carries a log from now on.
        info.writers = if nth == 0 { info.writers.joined_by(cores) } else { info.writers };
        let volume = Volume::new(volumes.clone(), info, replayed.map.clone(), replayed.map_slot);
        adopt_runs(&volume, replayed)?;
        if !replayed.is_absent {
            volume.write_superblock(info).await?;
        }
        owned.push(volume);
    }
    for (volume, replayed) in owned.iter().zip(mine).skip(1) {
        volume.seal_log(&replayed.open_ends).await?;
    }
    Ok(owned)
}

/// Takes what runs and manifest lie in out of the free space, before any row can claim it.
fn adopt_runs<E: Env>(volume: &Volume<E>, replayed: &VolumeReplay) -> Result<(), StoreError> {
    let Some(manifest) = &replayed.manifest else { return Ok(()) };
    let named = replayed.info.manifest.map(|named| named.extents(volume.id)).unwrap_or_default();
    let runs = manifest.runs().flat_map(|run| &run.extents);
    runs.chain(&named).try_for_each(|extent| volume.adopt(*extent))
}

/// Brings all rows into memory: logs of other cores may have changes of them.
async fn load_all<E: Env>(
    env: &E,
    volumes: &Volumes<E>,
    uuid: u128,
    pgs: &mut [Option<PgRows>],
) -> Result<(), StoreError> {
    for base in pgs.iter_mut().flatten().filter_map(|rows| rows.base.as_mut()) {
        load_whole(env, volumes.disk(base.volume)?, uuid, base).await?;
    }
    Ok(())
}

/// Rows of the runs, and over them what the log says. `home`: the volume of this core's runs. Also the bytes
/// of log its rows weigh.
pub(crate) fn into_pg(rows: PgRows, home: VolumeId, is_settled: bool) -> (Pg, u64) {
    let PgRows { pg, base, rows, version_high, seq_high, suspect, .. } = rows;
    let base = base.unwrap_or_else(|| Base { is_replaced: true, ..Base::new(pg, 0, home) });
    let has_runs = base.volume == home && !base.is_replaced;
    let Base {
        mut index,
        mut tombstones,
        is_paged,
        mut counts,
        views,
        rescued,
        needs_repair,
        is_damaged,
        ..
    } = base;
    let mut changed = has_runs.then(Changed::default);
    assert!(!is_paged || (has_runs && is_settled), "rows stay in runs of this core's own only");
    for (key, slot) in rescued {
        apply((&mut index, &mut tombstones, &mut counts), &key, slot);
    }
    for (key, slot) in rows {
        let number = apply((&mut index, &mut tombstones, &mut counts), &key, slot);
        if let Some(changed) = &mut changed {
            // What the log says is not in the runs; the number of the newest change is what a tombstone needs.
            changed.insert(&key, number);
        }
    }
    let needs_repair = needs_repair || suspect || is_damaged;
    let views = if has_runs && !is_damaged { views.into_iter().map(Rc::new).collect() } else { Vec::new() };
    let live_bytes = counts.live_bytes;
    let pg = Pg {
        rows: counts.rows,
        index,
        pending: BTreeMap::new(),
        seq: seq_high,
        published_seq: seq_high,
        state: if needs_repair { PgState::NeedsRepair } else { PgState::Active },
        changed,
        taken: None,
        version: version_high,
        tombstones: (!is_settled).then_some(tombstones),
        keeps_runs: is_damaged,
        pages: Pages { is_paged, views: Rc::new(views), ..Pages::default() },
        start_extents: Some(counts.into_extents()),
    };
    (pg, live_bytes)
}

/// Applies a change read from a log, unless something newer is there. Number and stamp of what counts.
fn apply(
    (index, tombstones, counts): (&mut MemoryIndex, &mut Changed, &mut Counts),
    key: &[u8],
    slot: Slot,
) -> (u64, Hlc) {
    let there = index.get(key).map(|row| (row.seq, row.hlc)).or_else(|| tombstones.get(key));
    if let Some(there) = there.filter(|there| there.0 > slot.seq) {
        return there;
    }
    let before = match &slot.row {
        Some(row) => {
            counts.add(&row.view());
            tombstones.remove(key);
            index.put(key, row)
        }
        None => {
            tombstones.insert(key, (slot.seq, slot.hlc));
            index.remove(key)
        }
    };
    before.iter().for_each(|row| counts.drop_row(&row.view()));
    (slot.seq, slot.hlc)
}
