//! `stria serve`: from options to running cores.
//!
//! Invariant: everything that can be refused is refused before a core serves, in one line that says what
//! to do. Runs on the main thread.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::AtomicU32, mpsc},
    thread,
    time::Instant,
};

use stria_base::{CoreId, VolumeId};
use stria_meta::{MetaStore, MetaStoreError};
use stria_runtime::{inbox, mesh};
use stria_s3::RouteConfig;
use tokio::sync::mpsc as control_queue;

use crate::{
    admin::About,
    config::{Config, IoBackend, print_size, table::DAY_SECONDS},
    control::{CONTROL_QUEUE, Control, Cores},
    core_loop::{self, MemoryShares, Ready, Start},
    datadir::{self, Credentials, DataDir, DataDirError, STORE_FORMAT, StoreRecord, VolumeRecord},
    devices::{self, DeviceError},
    identities::Identities,
    open::{Meeting, OpenError, VolumePath},
    ports::{Holder, bind},
    state::Shared,
};
use stria_store::ReplayReport;

/// Messages one core may have waiting from another.
const MESH_CAPACITY: usize = 1024;
/// Messages a core may have waiting from the control thread.
const INBOX_CAPACITY: usize = 256;
/// Smallest slab a core can live with: log buffer, replay, a few requests.
const SLAB_BYTES_MIN: usize = 8 << 20;

/// Why the server does not start. Each prints as one line with the remedy.
#[derive(Debug)]
pub enum ServeError {
    /// The data directory.
    DataDir(DataDirError),
    /// The metadata store.
    Meta(MetaStoreError),
    /// A port.
    Bind {
        /// The option that names it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
        /// Who listens there already, when it can be found out.
        holder: Option<Holder>,
    },
    /// A core.
    Core {
        /// Which.
        core: CoreId,
        /// Why.
        error: OpenError,
    },
    /// The reactor.
    Reactor(std::io::Error),
    /// io_uring was demanded and is missing.
    Uring(stria_runtime::UringMissing),
    /// The memory budget is too small for the cores.
    Memory {
        /// Cores asked for.
        cores: u16,
        /// Cores the budget has room for.
        cores_max: u64,
    },
    /// A device given for a new store.
    Device(DeviceError),
    /// The data directory holds no store.
    NoStore(std::path::PathBuf),
    /// No volume of the store can be read.
    AllMissing(String),
    /// Another process uses a volume.
    Busy {
        /// Which.
        path: std::path::PathBuf,
    },
}

impl From<DataDirError> for ServeError {
    fn from(error: DataDirError) -> Self {
        Self::DataDir(error)
    }
}

impl From<DeviceError> for ServeError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<MetaStoreError> for ServeError {
    fn from(error: MetaStoreError) -> Self {
        Self::Meta(error)
    }
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoStore(path) => write!(
                f,
                "{} holds no store; give the data directory of one with --data, or make one with stria serve",
                path.display()
            ),
            Self::DataDir(error) => write!(f, "{error}"),
            Self::Meta(error) => write!(f, "{error}"),
            Self::Bind { option, address, error, holder } => {
                write!(f, "cannot listen on {address}: {error}")?;
                match error.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        f.write_str("; another program uses the port")?;
                        if let Some(Holder { pid, name }) = holder {
                            write!(f, " (pid {pid}, {name})")?;
                        }
                        write!(f, ": stop it, or give another with --{option}")
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        write!(
                            f,
                            "; ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or give another with --{option}"
                        )
                    }
                    std::io::ErrorKind::AddrNotAvailable => {
                        write!(f, "; this machine has no such address: give one of its own with --{option}")
                    }
                    _ => Ok(()),
                }
            }
            Self::Core { core, error } => write!(f, "core {}: {error}", core.0),
            Self::Reactor(error) => write!(f, "a core could not start: {error}"),
            Self::Uring(missing) => write!(f, "{missing}; or let --io-backend auto fall back to epoll"),
            Self::Memory { cores, cores_max } => write!(
                f,
                "the memory budget has room for {cores_max} cores, not {cores}; raise --memory or lower --cores"
            ),
            Self::Device(error) => write!(f, "{error}"),
            Self::AllMissing(first) => {
                write!(f, "no volume of the store can be read; attach its drives and start again: {first}")
            }
            Self::Busy { path } => write!(
                f,
                "{} is in use by another process; stop it, no two servers may share a volume",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ServeError {}

/// Serves until a signal ends the process. `print` takes what a person should see.
///
/// # Errors
/// See [`ServeError`].
pub fn serve(config: Config, print: &mut dyn FnMut(&str)) -> Result<(), ServeError> {
    let started = Instant::now();
    check_budget(&config)?;
    let backend_note = check_backend(&config)?;
    // A taken port is the commonest mistake: found before anything is written.
    drop(bind("listen", config.listen)?);
    let admin = bind("admin-listen", config.admin_listen)?;
    let directory = DataDir::hold(&config.data)?;
    let (credentials, are_new) = credentials(&config, &directory)?;
    let meta = MetaStore::open(&directory.meta_path())?;
    let (mut record, volumes) = store_record(&config, &directory)?;
    wait_for_last_writes(&volumes)?;
    // Each connection is a descriptor, and the soft limit of many systems is 1,024. At the hard limit
    // further connections wait in the backlog, so a failure here is nothing to stop for.
    let _ = stria_runtime::raise_descriptor_limit();
    let config = Arc::new(config);
    let shared = Arc::new(shared(&config, &credentials, record.pg_count));
    if record.settled_cores.is_some_and(|cores| cores != config.cores) {
        check_all_there(&volumes, config.cores)?;
        // Before the first core writes: from then on rows are where other cores look for them.
        record.settled_cores = None;
        // Volumes that are still to be made are not the store's yet: a kill before they are would leave it without.
        let there = volumes.iter().filter(|volume| !volume.is_new).count();
        let volumes_there = record.volumes[..there].to_vec();
        directory.keep_store(&StoreRecord { volumes: volumes_there, ..record.clone() })?;
    }
    let cores = start_cores(&config, &shared, &record, volumes, meta.snapshot())?;
    let ready = wait_ready(&cores.ready, config.cores)?;
    if let Some(missing) = ready.iter().find_map(|core| core.missing.clone())
        && ready.iter().all(|core| core.missing.is_some())
    {
        return Err(ServeError::AllMissing(missing));
    }
    if ready.iter().all(|core| core.missing.is_none()) {
        record.settled_cores = ready.iter().all(|core| core.is_settled).then_some(config.cores);
    }
    directory.keep_store(&record)?;
    let about = About {
        started,
        cores: config.cores,
        sync: config.sync.to_string(),
        memory_bytes: config.memory_bytes,
        scrub: (
            config.scrub_period_s,
            config.scrub_light_period_s,
            config.scrub_share,
            config.scrub_readback,
        ),
    };
    let control = Control { meta, cores: cores.inboxes, requests: cores.requests, admin, about };
    let show = || {
        banner(&config, &credentials, are_new, &directory, &ready, backend_note.as_deref(), started, print)
    };
    control.run(show).map_err(ServeError::Reactor)?;
    for core in cores.threads {
        match core.join() {
            Ok(ended) => ended.map_err(ServeError::Reactor)?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    print("stopped; everything acknowledged is on disk");
    Ok(())
}

fn check_budget(config: &Config) -> Result<(), ServeError> {
    let shares = MemoryShares::of(config.memory_bytes, config.index_bytes, config.cores);
    if shares.slab < SLAB_BYTES_MIN {
        let cores_max = config.memory_bytes / 4 / SLAB_BYTES_MIN as u64;
        return Err(ServeError::Memory { cores: config.cores, cores_max });
    }
    Ok(())
}

/// A killed process may be reported dead while its last writes are still on their way to the device. They must
/// land before replay looks: afterwards the space under them may be somebody else's.
fn wait_for_last_writes(volumes: &[VolumePath]) -> Result<(), ServeError> {
    const WAIT: std::time::Duration = std::time::Duration::from_secs(30);
    const RETRY: std::time::Duration = std::time::Duration::from_millis(5);
    let give_up = Instant::now() + WAIT;
    for volume in volumes.iter().filter(|volume| !volume.is_new) {
        // What cannot be opened is for the core to report, with the remedy.
        let Ok(file) = std::fs::File::open(&volume.path) else { continue };
        while let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            if Instant::now() >= give_up {
                return Err(ServeError::Busy { path: volume.path.clone() });
            }
            thread::sleep(RETRY);
        }
    }
    Ok(())
}

/// A change of the number of cores moves rows between volumes: all must be there.
fn check_all_there(volumes: &[VolumePath], cores: u16) -> Result<(), ServeError> {
    for volume in volumes.iter().filter(|volume| !volume.is_new) {
        if let Err(error) = std::fs::File::open(&volume.path) {
            let error = OpenError::Volume { path: volume.path.clone(), error };
            return Err(ServeError::Core { core: volume.id.owner(cores), error });
        }
    }
    Ok(())
}

/// Says why io_uring is not used, when it is wanted and missing.
fn check_backend(config: &Config) -> Result<Option<String>, ServeError> {
    match (config.io_backend, stria_runtime::probe()) {
        (IoBackend::Epoll, _) | (_, Ok(_)) => Ok(None),
        (IoBackend::Uring, Err(missing)) => Err(ServeError::Uring(missing)),
        (IoBackend::Auto, Err(missing)) => Ok(Some(missing.to_string())),
    }
}

fn credentials(config: &Config, directory: &DataDir) -> Result<(Credentials, bool), ServeError> {
    if let (Some(access_key), Some(secret_key)) = (&config.root_access_key, &config.root_secret_key) {
        return Ok((Credentials { access_key: access_key.clone(), secret_key: secret_key.clone() }, false));
    }
    Ok(directory.credentials(datadir::random_credentials)?)
}

/// The store's record, with volumes added for cores that have none, and how every volume is opened.
fn store_record(config: &Config, directory: &DataDir) -> Result<(StoreRecord, Vec<VolumePath>), ServeError> {
    let kept = directory.store()?;
    let volumes_kept = kept.as_ref().map_or(0, |record| record.volumes.len());
    let mut record = match kept {
        Some(record) => {
            check_fixed(config, &record)?;
            record
        }
        None => StoreRecord {
            format: STORE_FORMAT,
            uuid: format!("{:032x}", datadir::random_uuid()),
            pg_count: config.pg_count,
            volumes: devices::divide(&config.devices, config.cores)?,
            settled_cores: None,
        },
    };
    let on_devices = record.volumes.iter().any(|volume| volume.bytes.is_some());
    while record.volumes.len() < usize::from(config.cores) {
        if on_devices && volumes_kept > 0 {
            return Err(DataDirError::FixedOption {
                option: "more cores than the devices were divided for: cores",
                made_with: format!("{volumes_kept} volumes"),
            }
            .into());
        }
        let path = format!("volumes/{:04}", record.volumes.len()).into();
        record.volumes.push(VolumeRecord { path, base_bytes: 0, bytes: None });
    }
    let folder = directory.path().join("volumes");
    std::fs::create_dir_all(&folder).map_err(|error| {
        ServeError::DataDir(DataDirError::Io { doing: "make the folder", path: folder.clone(), error })
    })?;
    let paths = volume_paths(&record, directory.path(), volumes_kept);
    Ok((record, paths))
}

/// The volumes of a store; those from `kept` on are to be made.
fn volume_paths(record: &StoreRecord, directory: &Path, kept: usize) -> Vec<VolumePath> {
    let paths = record.volumes.iter().enumerate().map(|(i, volume)| VolumePath {
        id: VolumeId(i as u16),
        path: if volume.path.is_absolute() { volume.path.clone() } else { directory.join(&volume.path) },
        base_bytes: volume.base_bytes,
        bytes: volume.bytes,
        is_new: i >= kept,
    });
    paths.collect()
}

/// The store of a data directory that has one.
///
/// # Errors
/// `NoStore`, or of the directory.
pub fn kept_store(directory: &DataDir) -> Result<(StoreRecord, Vec<VolumePath>), ServeError> {
    read_store(directory.path())
}

/// As [`kept_store`], of a directory that another process may serve.
///
/// # Errors
/// `NoStore`, or of the directory.
pub fn read_store(directory: &Path) -> Result<(StoreRecord, Vec<VolumePath>), ServeError> {
    let record = datadir::read_store(directory)?.ok_or_else(|| ServeError::NoStore(directory.to_owned()))?;
    let paths = volume_paths(&record, directory, record.volumes.len());
    Ok((record, paths))
}

fn check_fixed(config: &Config, record: &StoreRecord) -> Result<(), ServeError> {
    let devices: Vec<_> =
        record.volumes.iter().filter(|volume| volume.bytes.is_some()).map(|v| &v.path).collect();
    let same = |device: &Path| devices.iter().any(|known| datadir::same_file(device, known).unwrap_or(false));
    if config.devices.iter().any(|device| !same(device)) {
        let made_with = if devices.is_empty() {
            "files in the data directory".to_owned()
        } else {
            devices.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        };
        return Err(DataDirError::FixedOption { option: "device", made_with }.into());
    }
    Ok(())
}

fn shared(config: &Config, credentials: &Credentials, pg_count: u16) -> Shared {
    Shared {
        region: config.region.clone(),
        route: RouteConfig {
            base_domains: config.domains.iter().map(|name| name.to_lowercase()).collect(),
            website_domains: config.website_domains.iter().map(|name| name.to_lowercase()).collect(),
        },
        identities: Identities::new(credentials, &config.identities, config.owner_display_name),
        buckets_closed: config.buckets_closed,
        pg_count,
        bucket_pgs: bucket_pgs(config, pg_count),
        connections: AtomicU32::new(0),
        connections_max: config.connections_max,
        host_id: format!("{:016x}", datadir::random_uuid() as u64),
    }
}

/// Power of two of at least four times the cores, between 8 and 64, never above the store's PGs (design D4).
fn bucket_pgs(config: &Config, pg_count: u16) -> u16 {
    let wanted = config.bucket_pgs.unwrap_or_else(|| (config.cores * 4).next_power_of_two().clamp(8, 64));
    wanted.min(pg_count)
}

/// The cores while they start.
struct Started {
    threads: Vec<thread::JoinHandle<std::io::Result<()>>>,
    inboxes: Cores,
    requests: control_queue::Receiver<crate::control::ControlRequest>,
    ready: mpsc::Receiver<(CoreId, Result<Ready, OpenError>)>,
}

fn start_cores(
    config: &Arc<Config>,
    shared: &Arc<Shared>,
    record: &StoreRecord,
    volumes: Vec<VolumePath>,
    snapshot: Arc<stria_meta::Snapshot>,
) -> Result<Started, ServeError> {
    let uuid = u128::from_str_radix(&record.uuid, 16).unwrap_or_default();
    let cpus = allowed_cpus();
    let (control, requests) = control_queue::channel(CONTROL_QUEUE);
    let (ready_sender, ready) = mpsc::channel();
    let mut ports = mesh(config.cores, MESH_CAPACITY).into_iter();
    let mut inboxes = Vec::new();
    let mut threads = Vec::new();
    for (i, meeting) in Meeting::of(config.cores).into_iter().enumerate() {
        let (sender, receiver) = inbox(INBOX_CAPACITY);
        inboxes.push(sender);
        let start = Start {
            core: CoreId(i as u16),
            pin_cpu: config.pin.then(|| cpus.get(i % cpus.len().max(1)).copied()).flatten(),
            config: config.clone(),
            shared: shared.clone(),
            identity: (uuid, record.pg_count),
            volumes: volumes.clone(),
            may_miss: record.settled_cores == Some(config.cores),
            meeting,
            port: ports.next().expect("one port per core"),
            inbox: receiver,
            control: control.clone(),
            snapshot: snapshot.clone(),
            ready: ready_sender.clone(),
        };
        let thread = thread::Builder::new().name(format!("core-{i}")).spawn(move || core_loop::run(start));
        threads.push(thread.map_err(ServeError::Reactor)?);
    }
    Ok(Started { threads, inboxes: Cores::new(inboxes), requests, ready })
}

fn wait_ready(
    ready: &mpsc::Receiver<(CoreId, Result<Ready, OpenError>)>,
    cores: u16,
) -> Result<Vec<Ready>, ServeError> {
    let mut all = Vec::new();
    while all.len() < usize::from(cores) {
        match ready.recv() {
            Ok((_, Ok(core))) => all.push(core),
            Ok((core, Err(error))) => return Err(ServeError::Core { core, error }),
            Err(_) => {
                return Err(ServeError::Reactor(std::io::Error::other("a core ended before it was ready")));
            }
        }
    }
    Ok(all)
}

/// CPUs this process may run on, in order.
fn allowed_cpus() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("").trim();
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        match part.split_once('-') {
            Some((first, last)) => Some(first.parse().ok()?..=last.parse().ok()?),
            None => part.parse().ok().map(|cpu| cpu..=cpu),
        }
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// What was asked for and is not as asked.
fn notes(config: &Config, backend_note: Option<&str>, print: &mut dyn FnMut(&str)) {
    if config.ssec_over_http {
        print("  note        ssec-over-http has no effect yet: SSE-C answers 501");
    }
    if config.lifecycle_day_s != DAY_SECONDS {
        print("  note        lifecycle-day-seconds has no effect yet: lifecycle rules are kept and not run");
    }
    if let Some(note) = backend_note {
        print(&format!("  note        io_uring is not used: {note}"));
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a page of text is put together from everything the start found out"
)]
fn banner(
    config: &Config,
    credentials: &Credentials,
    are_new: bool,
    directory: &DataDir,
    ready: &[Ready],
    backend_note: Option<&str>,
    started: Instant,
    print: &mut dyn FnMut(&str),
) {
    let listen = ready.first().map_or(config.listen, |ready| ready.listen);
    let endpoint = format!("http://{listen}");
    let sum = |of: fn(&ReplayReport) -> u64| ready.iter().map(|core| of(&core.report)).sum::<u64>();
    let (run_rows, frames, bytes) = (sum(|r| r.run_rows), sum(|r| r.frames), sum(|r| r.bytes));
    let ns = ready.iter().map(|core| core.report.ns).max().unwrap_or(0);
    let uring = ready.iter().all(|core| core.uring);
    print(&format!("stria {} is serving S3", env!("CARGO_PKG_VERSION")));
    print(&format!("  endpoint    {endpoint}   region {}", config.region));
    print(&format!("  admin       http://{}   /health /metrics /scrub", config.admin_listen));
    print(&format!("  data        {}", directory.path().display()));
    print(&format!(
        "  cores       {}   memory {}   I/O {}",
        config.cores,
        print_size(config.memory_bytes),
        if uring { "io_uring" } else { "epoll" }
    ));
    print(&format!("  sync        {}", config.sync));
    if run_rows + frames > 0 {
        print(&format!(
            "  recovered   {run_rows} rows from runs, {frames} frames ({}) of log in {} ms",
            print_size(bytes),
            ns / 1_000_000
        ));
    }
    notes(config, backend_note, print);
    for core in ready.iter().filter(|core| core.report.rot > 0) {
        print(&format!(
            "  WARNING     {} logs have an unreadable frame that was acknowledged; their placement groups are read-only",
            core.report.rot
        ));
    }
    for missing in ready.iter().filter_map(|core| core.missing.as_deref()) {
        print(&format!(
            "  WARNING     a drive is missing; what lies on it answers 503 until it is back and the server restarted: {missing}"
        ));
    }
    let damaged = sum(|r| r.damaged);
    if damaged > 0 {
        print(&format!(
            "  WARNING     {damaged} parts of the checkpoint do not verify; placement groups whose log does not have it all are read-only"
        ));
    }
    print(&format!("  access key  {}", credentials.access_key));
    if are_new {
        print(&format!("  secret key  {}", credentials.secret_key.0));
        print("  (new root credentials, kept in credentials.json of the data directory, mode 0600)");
    } else {
        print("  secret key  as configured, or in credentials.json of the data directory");
    }
    let secret = if are_new { credentials.secret_key.0.as_str() } else { "..." };
    print("");
    print("  try it:");
    print(&format!(
        "  AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={secret} aws --endpoint-url {endpoint} --region {} s3 mb s3://first",
        credentials.access_key, config.region
    ));
    print(&format!("  ready after {} ms; Ctrl-C stops", started.elapsed().as_millis()));
}
