//! Opening the volumes of one core and agreeing with the other cores on rows and space, before traffic.
//!
//! Invariant: no core accepts a write before every core has taken out of its free space what the rows of
//! all cores name. Runs on each data core at start; the cores meet at channels that exist only then.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Barrier, mpsc},
};

use stria_base::{MIB, VolumeId};
use stria_env::{Disk, Env};
use stria_store::{
    Budget, ExtentsInUse, FlushMethod, PgRows, ReplayReport, Replayed, Store, StoreConfig, StoreError,
    SyncPolicy, VolumeIdentity, VolumeReplay, Volumes, format_volume, replay_within,
};

use crate::{
    config::{self, Config},
    real_env::{DiskOptions, RealDisk, RealEnv},
};

/// Log after which a checkpoint is due, bytes per core: about a second of replay.
const CHECKPOINT_LOG_BYTES: u64 = 256 * MIB;

/// A volume as every core is to open it.
#[derive(Clone, Debug)]
pub struct VolumePath {
    /// Its number.
    pub id: VolumeId,
    /// File or device.
    pub path: PathBuf,
    /// First byte, on a device that carries several volumes.
    pub base_bytes: u64,
    /// Fixed size, on a device.
    pub bytes: Option<u64>,
    /// Whether it is to be made.
    pub is_new: bool,
}

/// What one core hands to another at start.
enum Handover {
    /// And whether the giver's volumes hold nothing that another number of cores wrote.
    Rows(Vec<PgRows>, bool),
    Extents(Vec<(VolumeId, ExtentsInUse)>),
}

/// One core's end of the start-up channels.
pub struct Meeting {
    to: Vec<mpsc::Sender<Handover>>,
    from: mpsc::Receiver<Handover>,
    barrier: Arc<Barrier>,
}

impl Meeting {
    /// One end per core.
    #[must_use]
    pub fn of(cores: u16) -> Vec<Self> {
        let barrier = Arc::new(Barrier::new(usize::from(cores)));
        let (to, from): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel()).unzip();
        from.into_iter().map(|from| Self { to: to.clone(), from, barrier: barrier.clone() }).collect()
    }

    /// Gives every core its part and takes this core's part of every core. Blocks; nothing else runs yet.
    fn exchange(&self, parts: Vec<Handover>) -> Result<Vec<Handover>, OpenError> {
        assert_eq!(parts.len(), self.to.len());
        for (to, part) in self.to.iter().zip(parts) {
            to.send(part).map_err(|_| OpenError::OtherCore)?;
        }
        let received = (0..self.to.len())
            .map(|_| self.from.recv().map_err(|_| OpenError::OtherCore))
            .collect::<Result<_, _>>();
        // A core that runs ahead must not have its next part taken for this one.
        self.barrier.wait();
        received
    }
}

/// Why a core could not open its store.
#[derive(Debug)]
pub enum OpenError {
    /// Storage refused.
    Store(StoreError),
    /// A volume cannot be opened.
    Volume {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another core failed; its error says why.
    OtherCore,
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(StoreError::NoBuffer) => f.write_str(
                "the memory budget is too small for this many cores; raise --memory or lower --cores",
            ),
            Self::Store(error) => write!(f, "{error}"),
            Self::Volume { path, error } => {
                write!(f, "cannot open the volume {}: {error}", path.display())?;
                match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        f.write_str("; a drive may be missing: attach it and start again")
                    }
                    std::io::ErrorKind::PermissionDenied => f.write_str("; give this user access to it"),
                    _ => Ok(()),
                }
            }
            Self::OtherCore => f.write_str("another core could not open its volumes"),
        }
    }
}

impl std::error::Error for OpenError {}

/// One core's opened store.
pub struct Opened {
    /// The store, started.
    pub store: Store<RealEnv>,
    /// All volumes as this core reads them.
    pub volumes: Volumes<RealEnv>,
    /// What replay did on this core.
    pub report: ReplayReport,
    /// How this core's log reaches stable media.
    pub flush_method: FlushMethod,
    /// Whether every core's rows are on its own volume and nowhere else.
    pub is_settled: bool,
    /// What is missing: this core's part of the store answers 503.
    pub missing: Option<String>,
}

/// Opens this core's store together with all other cores. With `may_miss` a volume that is missing or unreadable
/// takes only its own part of the store with it.
///
/// # Errors
/// See [`OpenError`]. Every core then fails, each with its own error or `OtherCore`.
pub async fn open(
    env: &RealEnv,
    config: &Config,
    identity: (u128, u16),
    paths: &[VolumePath],
    may_miss: bool,
    meeting: Meeting,
    index_bytes_max: u64,
) -> Result<Opened, OpenError> {
    let (store_uuid, pg_count) = identity;
    let me = env.core();
    let mine: Vec<&VolumePath> = paths.iter().filter(|path| path.id.owner(config.cores) == me).collect();
    let budget = Budget { cores: config.cores, index_bytes_max };
    let (mut disks, mut replayed, missing) = match open_mine(env, identity, &mine, budget).await {
        Ok((disks, replayed)) => (disks, replayed, None),
        Err((path, error)) if may_miss && is_missing(&error) => {
            let identity = VolumeIdentity { store_uuid, volume: path.id, pg_count };
            let replayed = Replayed { volumes: vec![VolumeReplay::absent(identity)], ..Replayed::default() };
            (Vec::new(), replayed, Some(format!("{}: {error}", path.path.display())))
        }
        Err((_, error)) => return Err(error),
    };
    let flush_method = match disks.first() {
        Some((_, disk)) => choose_flush_method(env, config, disk).await,
        None => FlushMethod::Flush,
    };
    let store_config = StoreConfig {
        cores: config.cores,
        pg_count,
        sync: sync_policy(config.sync),
        flush_method,
        checkpoint_log_bytes: CHECKPOINT_LOG_BYTES,
        index_bytes_max,
    };
    let is_settled = replayed.is_settled(config.cores);
    let rows = std::mem::take(&mut replayed.pgs);
    let (rows, is_settled) = exchange_rows(&meeting, config.cores, rows, is_settled)?;
    for path in paths {
        if path.id.owner(config.cores) != me {
            match open_disk(env, path).await {
                Ok(disk) => disks.push((path.id, disk)),
                // Its owner knows, and answers for its rows.
                Err(error) if may_miss && is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let volumes = Volumes::new(env.clone(), disks, store_config.sync == SyncPolicy::Always);
    let store =
        Store::open(env.clone(), store_config, volumes.clone(), replayed.volumes, rows, is_settled).await?;
    exchange_extents(&meeting, config.cores, &store).await?;
    store.start()?;
    Ok(Opened { store, volumes, report: replayed.report, flush_method, is_settled, missing })
}

/// Opens, and where they are new makes, the volumes of this core, and replays them. A volume is made by its owner;
/// other cores open it after the first meeting.
async fn open_mine<'p>(
    env: &RealEnv,
    (store_uuid, pg_count): (u128, u16),
    mine: &[&'p VolumePath],
    budget: Budget,
) -> Result<(Vec<(VolumeId, RealDisk)>, Replayed), (&'p VolumePath, OpenError)> {
    let mut disks = Vec::new();
    for path in mine {
        let failed = |error| (*path, error);
        let disk = open_disk(env, path).await.map_err(failed)?;
        if path.is_new {
            let identity = VolumeIdentity { store_uuid, volume: path.id, pg_count };
            let made = format_volume(env, disk.clone(), identity).await;
            made.map_err(|error| failed(error.into()))?;
        }
        disks.push((path.id, disk));
    }
    let replayed = replay_within(env, store_uuid, disks.clone(), budget).await;
    let replayed = replayed.map_err(|error| (mine[0], error.into()))?;
    Ok((disks, replayed))
}

/// Whether an error says that a drive is missing, exchanged or unreadable, and not that this release or its memory
/// budget does not suit.
fn is_missing(error: &OpenError) -> bool {
    match error {
        OpenError::Volume { .. } => true,
        OpenError::Store(error) => matches!(
            error,
            StoreError::Io { .. }
                | StoreError::NotAVolume { .. }
                | StoreError::NoSuperblock { .. }
                | StoreError::NoMap { .. }
                | StoreError::Foreign { .. }
        ),
        OpenError::OtherCore => false,
    }
}

/// Opens the file or device of a volume.
///
/// # Errors
/// `Volume` with the remedy.
pub async fn open_disk(env: &RealEnv, path: &VolumePath) -> Result<RealDisk, OpenError> {
    let options = DiskOptions { create: path.is_new && path.bytes.is_none(), zero_fill: true, durable: None };
    let disk = RealDisk::open(env, &path.path, options).await;
    let disk = disk.map_err(|error| OpenError::Volume { path: path.path.clone(), error })?;
    Ok(match path.bytes {
        Some(bytes) => disk.slice(path.base_bytes, bytes),
        None => disk,
    })
}

fn exchange_rows(
    meeting: &Meeting,
    cores: u16,
    pgs: Vec<PgRows>,
    is_settled: bool,
) -> Result<(Vec<PgRows>, bool), OpenError> {
    let mut parts: Vec<Vec<PgRows>> = (0..cores).map(|_| Vec::new()).collect();
    for rows in pgs {
        parts[usize::from(rows.pg.owner(cores).0)].push(rows);
    }
    let parts = parts.into_iter().map(|rows| Handover::Rows(rows, is_settled)).collect();
    let (mut rows, mut all_settled) = (Vec::new(), true);
    for part in meeting.exchange(parts)? {
        let Handover::Rows(more, settled) = part else {
            unreachable!("the barrier keeps the two exchanges apart")
        };
        rows.extend(more);
        all_settled &= settled;
    }
    Ok((rows, all_settled))
}

async fn exchange_extents(meeting: &Meeting, cores: u16, store: &Store<RealEnv>) -> Result<(), OpenError> {
    let mut parts: BTreeMap<u16, Vec<(VolumeId, ExtentsInUse)>> = BTreeMap::new();
    for (volume, extents) in store.extents_in_use().await? {
        parts.entry(volume.owner(cores).0).or_default().push((volume, extents));
    }
    let parts = (0..cores).map(|core| Handover::Extents(parts.remove(&core).unwrap_or_default())).collect();
    for part in meeting.exchange(parts)? {
        let Handover::Extents(extents) = part else {
            unreachable!("the barrier keeps the two exchanges apart")
        };
        for (volume, extents) in extents {
            store.adopt(volume, &extents)?;
        }
    }
    Ok(())
}

fn sync_policy(sync: config::Sync) -> SyncPolicy {
    match sync {
        config::Sync::Always => SyncPolicy::Always,
        config::Sync::Threshold { bytes } => SyncPolicy::Threshold { bytes },
        config::Sync::Periodic { ms } => SyncPolicy::Periodic { ms },
        config::Sync::None => SyncPolicy::None,
    }
}

/// The method asked for, or the faster one of a few trial writes into the unused part of the header area.
async fn choose_flush_method(env: &RealEnv, config: &Config, disk: &RealDisk) -> FlushMethod {
    /// Between the second slot of the device map and the last superblocks: used for nothing.
    const SCRATCH_OFFSET: u64 = 3 << 20;
    const TRIALS: u32 = 8;
    match config.flush_method {
        config::FlushMethod::Fdatasync => return FlushMethod::Flush,
        config::FlushMethod::Dsync => return FlushMethod::Durable,
        config::FlushMethod::Auto => {}
    }
    let mut ns = [u64::MAX; 2];
    for (slot, method) in [FlushMethod::Flush, FlushMethod::Durable].into_iter().enumerate() {
        for _ in 0..TRIALS {
            let Some(mut buf) = env.buf(4096) else { return FlushMethod::Flush };
            buf.fill(0);
            let start_ns = env.mono_ns();
            let durability = match method {
                FlushMethod::Flush => stria_env::Durability::Cached,
                FlushMethod::Durable => stria_env::Durability::Durable,
            };
            let (written, _) = disk.write(SCRATCH_OFFSET, buf, durability).await;
            let flushed = match method {
                FlushMethod::Flush => disk.flush().await,
                FlushMethod::Durable => Ok(()),
            };
            if written.is_err() || flushed.is_err() {
                return FlushMethod::Flush;
            }
            // The best of a few: a neighbour on the device must not decide.
            ns[slot] = ns[slot].min(env.mono_ns() - start_ns);
        }
    }
    if ns[1] < ns[0] { FlushMethod::Durable } else { FlushMethod::Flush }
}
