//! A store that no server serves, for the commands that look into it or repair it.
//!
//! Invariant: who may write holds the data directory. Beside a running server only what reads may run, and says
//! that what it shows may be changing. Runs on one core of its own.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{IsTerminal, Write},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};

use stria_base::{BucketId, CoreId, VolumeId};
use stria_engine::keys;
use stria_runtime::{CoreConfig, SlabConfig, run};
use stria_store::{
    FlushMethod, PgState, Progress as CheckpointProgress, Replayed, Store, StoreConfig, StoreError,
    SyncPolicy, Volumes,
};

use crate::{
    datadir::{DataDir, DataDirError, StoreRecord},
    open::{OpenError, VolumePath, open_disk},
    real_env::{RealDisk, RealEnv},
    serve::{ServeError, kept_store, read_store},
};

/// Buffers of a command: bodies are read a piece at a time.
const SLAB_BYTES: usize = 64 << 20;
/// More checkpoints than settling ever takes.
const CHECKPOINTS_MAX: usize = 8;

/// What a command looks into.
pub struct Opened {
    /// Held while the command may write.
    pub directory: Option<DataDir>,
    /// The store's record; `None` of a volume without its directory.
    pub record: Option<StoreRecord>,
    /// The volumes.
    pub paths: Vec<VolumePath>,
    /// Names of buckets by number.
    pub buckets: BTreeMap<u64, String>,
    /// The process that serves it now.
    pub served_by: Option<Option<u32>>,
}

impl Opened {
    /// Identity of the store.
    #[must_use]
    pub fn uuid(&self) -> u128 {
        self.record.as_ref().map_or(0, |record| u128::from_str_radix(&record.uuid, 16).unwrap_or_default())
    }

    /// Before the index is written as one core: its rows lie on the first volume then, so no volume may be missing
    /// until a start has settled them again.
    ///
    /// # Errors
    /// When store.json cannot be written.
    pub fn unsettle(&self) -> Result<(), ServeError> {
        match (&self.directory, &self.record) {
            (Some(directory), Some(record)) if record.settled_cores.is_some() => {
                Ok(directory.keep_store(&StoreRecord { settled_cores: None, ..record.clone() })?)
            }
            _ => Ok(()),
        }
    }
}

/// Takes hold of a data directory to read and write its store.
///
/// # Errors
/// When another process serves it, or it holds none.
pub fn hold(data: &Path) -> Result<Opened, ServeError> {
    let directory = DataDir::hold(data)?;
    let (record, paths) = kept_store(&directory)?;
    let buckets = buckets(&directory.meta_path())?;
    Ok(Opened { directory: Some(directory), record: Some(record), paths, buckets, served_by: None })
}

/// Opens a data directory, or a volume alone, for reading; also beside a running server.
///
/// # Errors
/// When it holds no store, or cannot be read.
pub fn look(path: &Path) -> Result<Opened, ServeError> {
    let kind = std::fs::metadata(path).map(|found| found.file_type());
    if kind.is_ok_and(|kind| kind.is_file() || kind.is_block_device()) {
        let volume =
            VolumePath { id: VolumeId(0), path: path.to_owned(), base_bytes: 0, bytes: None, is_new: false };
        return Ok(Opened {
            directory: None,
            record: None,
            paths: vec![volume],
            buckets: BTreeMap::new(),
            served_by: None,
        });
    }
    if !path.join("store.json").exists() {
        return Err(ServeError::NoStore(path.to_owned()));
    }
    match hold(path) {
        Err(ServeError::DataDir(DataDirError::Held { pid, .. })) => {
            let (record, paths) = read_store(path)?;
            let buckets = buckets(&path.join("meta"))?;
            Ok(Opened { directory: None, record: Some(record), paths, buckets, served_by: Some(pid) })
        }
        held => held,
    }
}

fn buckets(meta: &Path) -> Result<BTreeMap<u64, String>, ServeError> {
    let meta = stria_meta::MetaStore::open(meta)?;
    Ok(meta.snapshot().buckets.values().map(|bucket| (bucket.id, bucket.name.clone())).collect())
}

/// Runs `work` on a core of its own.
///
/// # Errors
/// Of the work, or when the reactor cannot start.
pub fn on_core<T: 'static, F: Future<Output = Result<T, OpenError>> + 'static>(
    work: impl FnOnce(RealEnv) -> F + 'static,
) -> Result<T, ServeError> {
    let done: Rc<RefCell<Option<Result<T, OpenError>>>> = Rc::default();
    let result = done.clone();
    let core = CoreConfig::new(CoreId(0));
    let core = CoreConfig { slab: SlabConfig { budget_bytes: SLAB_BYTES, ..core.slab }, ..core };
    run(core, async move |core| {
        let worked = work(RealEnv::new(core)).await;
        *result.borrow_mut() = Some(worked);
    })
    .map_err(ServeError::Reactor)?;
    let done = done.borrow_mut().take().expect("the core ran the work to its end");
    done.map_err(|error| ServeError::Core { core: CoreId(0), error })
}

/// Opens all volumes.
///
/// # Errors
/// The first that cannot be opened.
pub async fn open_disks(env: &RealEnv, paths: &[VolumePath]) -> Result<Vec<(VolumeId, RealDisk)>, OpenError> {
    let mut disks = Vec::new();
    for path in paths {
        disks.push((path.id, open_disk(env, path).await?));
    }
    Ok(disks)
}

/// Opens the store as one core and writes its index down anew: a checkpoint of all placement groups. Those in
/// `accepted` are active afterwards. The next start gives the placement groups back to their cores.
///
/// # Errors
/// Of the store; it is as it was then, or recovers as after a crash.
pub async fn write_index(
    env: &RealEnv,
    pg_count: u16,
    disks: Vec<(VolumeId, RealDisk)>,
    replayed: Replayed,
    accepted: &[u16],
) -> Result<(), OpenError> {
    let config = StoreConfig {
        cores: 1,
        pg_count,
        sync: SyncPolicy::Always,
        flush_method: FlushMethod::Flush,
        checkpoint_log_bytes: u64::MAX,
        index_bytes_max: u64::MAX,
    };
    let volumes = Volumes::new(env.clone(), disks, true);
    let (found, rows) = (replayed.volumes, replayed.pgs);
    let store = Store::open(env.clone(), config, volumes, found, rows, false).await?;
    for (volume, extents) in store.extents_in_use().await? {
        store.adopt(volume, &extents)?;
    }
    store.start()?;
    for pg in store.pgs().filter(|pg| accepted.contains(&pg.0)).collect::<Vec<_>>() {
        store.accept_loss(pg);
    }
    for _ in 0..CHECKPOINTS_MAX {
        store.checkpoint().await?;
        store.all_reached(store.checkpoint_progress());
        if store.is_settled() && store.checkpoint_progress() == CheckpointProgress::Moved {
            break;
        }
    }
    if let Some(pg) =
        store.pgs().find(|pg| accepted.contains(&pg.0) && store.pg_state(*pg) != PgState::Active)
    {
        return Err(StoreError::ReadOnly { pg }.into());
    }
    store.shutdown().await?;
    Ok(())
}

/// A row as a person knows it.
#[must_use]
pub fn name_of(key: &[u8], buckets: &BTreeMap<u64, String>) -> String {
    let Some((bucket, kind)) = keys::bucket_and_kind(key) else { return format!("row {key:?}") };
    let BucketId(number) = bucket;
    let of = buckets.get(&number).cloned().unwrap_or_else(|| format!("bucket number {number}"));
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    match kind {
        keys::kind::OBJECT => {
            format!("{of}/{}", keys::object_key(bucket, key).map(text).unwrap_or_default())
        }
        keys::kind::VERSION => match keys::version_of(bucket, key) {
            Some((key, id)) => format!("{of}/{} version {:032x}", text(&key), id.0),
            None => of,
        },
        keys::kind::PART => match keys::part_of(bucket, key) {
            Some((id, number)) => format!("{of}: part {number} of upload {:032x}", id.0),
            None => of,
        },
        _ => of,
    }
}

/// A line that is written over, where somebody watches.
pub struct Progress {
    what: &'static str,
    all: u64,
    done: u64,
    shown: Option<Instant>,
    watched: bool,
}

impl Progress {
    /// Between two lines.
    const STEP_MS: u128 = 200;

    /// Of so many steps.
    #[must_use]
    pub fn new(what: &'static str, all: u64) -> Self {
        Self { what, all, done: 0, shown: None, watched: std::io::stderr().is_terminal() }
    }

    /// One more is done.
    #[expect(clippy::disallowed_methods, reason = "a progress line for a person, on no data core")]
    pub fn step(&mut self) {
        self.done += 1;
        if !self.watched || self.shown.is_some_and(|shown| shown.elapsed().as_millis() < Self::STEP_MS) {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = self.done * 100 / self.all.max(1);
        let _ = write!(std::io::stderr(), "\r  {}  {percent:>3} %  {} of {}", self.what, self.done, self.all);
    }

    /// The line is left standing.
    pub fn end(&self) {
        if self.shown.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// Path of a volume, for a person.
#[must_use]
pub fn shown(paths: &[VolumePath], volume: VolumeId) -> PathBuf {
    paths.iter().find(|path| path.id == volume).map(|path| path.path.clone()).unwrap_or_default()
}
