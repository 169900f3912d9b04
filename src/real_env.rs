//! The seam's real side: clock, randomness, tasks, buffers and disks of a running core.
//!
//! Invariant: adds nothing to what `stria-runtime` promises but the choice of how to reach durability,
//! which is made once per volume, at open, and can be read back. Lives on one core.

use std::{cell::Cell, fmt::Write, future::Future, io, os::unix::fs::MetadataExt, path::Path, rc::Rc};
use stria_base::CoreId;
use stria_env::{Disk, Durability, Env, disk::BLOCK_BYTES, sync::Semaphore};
use stria_runtime::{Core, File, OpenOptions, SlabBuf};

/// Share of a file system that volumes leave free, in percent: a full file system slows every
/// allocation, and the operator needs room to act.
const RESERVE_PERCENT: u64 = 5;

/// One core's view of the world.
#[derive(Clone)]
pub struct RealEnv {
    core: Core,
}

impl RealEnv {
    /// On `core`.
    #[must_use]
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// The runtime underneath: sockets and counters.
    #[must_use]
    pub fn runtime(&self) -> &Core {
        &self.core
    }
}

impl Env for RealEnv {
    type Buf = SlabBuf;
    type Disk = RealDisk;

    fn core(&self) -> CoreId {
        self.core.id()
    }

    fn mono_ns(&self) -> u64 {
        self.core.mono_ns()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the adapter that reads the wall clock")]
    fn wall_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970: time stamps are then wrong, as the clock is.
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_millis() as u64)
    }

    fn random(&self) -> u64 {
        self.core.random()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.core.spawn(task);
    }

    fn sleep(&self, ns: u64) -> impl Future<Output = ()> + 'static {
        self.core.sleep(ns)
    }

    fn buf(&self, bytes: usize) -> Option<SlabBuf> {
        self.core.buf(bytes)
    }
}

/// How a volume is opened.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Create the file when missing.
    pub create: bool,
    /// Write zeros over newly reserved ranges, so that later durable writes change no metadata.
    pub zero_fill: bool,
    /// How durable writes are made; `None` asks the device.
    pub durable: Option<DurableMethod>,
}

/// How one durable write reaches stable media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableMethod {
    /// A write with RWF_DSYNC: right where the device has FUA or no volatile cache.
    Dsync,
    /// A write and a flush, linked: right where the device must empty its cache anyway.
    WriteFlush,
}

/// Whether a volume passes the page cache by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// O_DIRECT.
    Direct,
    /// Through the page cache, because the file system or device refused; say so to the operator.
    Buffered,
}

struct Volume {
    file: File,
    fixed: bool,
    len_bytes: Cell<u64>,
    growing: Rc<Semaphore>,
    options: DiskOptions,
    durable: DurableMethod,
    caching: Caching,
}

/// A file or block device as a volume, or a slice of a device.
#[derive(Clone)]
pub struct RealDisk(Rc<Volume>, Slice);

/// Which part of a device a volume is.
#[derive(Clone, Copy)]
struct Slice {
    base: u64,
    /// `None` reaches to the end, which for a file moves.
    bytes: Option<u64>,
}

impl Slice {
    const WHOLE: Self = Self { base: 0, bytes: None };

    /// Where byte `offset` of the volume lies.
    ///
    /// # Panics
    /// When the range leaves the slice: it would hit another volume.
    fn place(self, offset: u64, bytes: usize) -> u64 {
        check_range(offset, bytes);
        assert!(
            self.bytes.is_none_or(|end| offset + bytes as u64 <= end),
            "{bytes} bytes at {offset} leave the volume"
        );
        self.base + offset
    }
}

impl RealDisk {
    /// Opens a volume and finds out how to use it. Start-up only: opening may block.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn open(env: &RealEnv, path: &Path, options: DiskOptions) -> io::Result<Self> {
        let core = &env.core;
        let open =
            |direct| core.open_file(path, OpenOptions { direct, create: options.create, read_only: false });
        let (file, caching) = match open(true) {
            Ok(file) if direct_read_works(core, &file).await => (file, Caching::Direct),
            Ok(_) => (open(false)?, Caching::Buffered),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => (open(false)?, Caching::Buffered),
            Err(error) => return Err(error),
        };
        // A file system without flock gives no sign of a dead process's last writes, as before.
        let _ = file.lock_shared();
        let len = file.len_bytes()?;
        Ok(Self(
            Rc::new(Volume {
                fixed: file.is_device()?,
                file,
                len_bytes: Cell::new(len - len % BLOCK_BYTES),
                growing: Semaphore::new(1),
                options,
                durable: options.durable.unwrap_or_else(|| durable_method(path)),
                caching,
            }),
            Slice::WHOLE,
        ))
    }

    /// The volume that is `bytes` of this device from `base` on, both multiples of 4 KiB. It never grows.
    #[must_use]
    pub fn slice(&self, base: u64, bytes: u64) -> Self {
        Self(self.0.clone(), Slice { base, bytes: Some(bytes) })
    }

    /// Storage behind `from..from + bytes`, of a length that a power cut does not take back.
    async fn reserve(&self, from: u64, bytes: u64) -> io::Result<()> {
        let volume = &self.0;
        let reserved = volume.file.fallocate(from, bytes).await;
        let unsupported = matches!(&reserved, Err(e) if e.kind() == io::ErrorKind::Unsupported);
        if !unsupported {
            reserved?;
        }
        if unsupported || volume.options.zero_fill {
            volume.file.zero_fill(from, bytes).await?;
        }
        volume.file.fdatasync().await
    }

    /// How durable writes are made.
    #[must_use]
    pub fn durable_method(&self) -> DurableMethod {
        self.0.durable
    }

    /// Whether the page cache is passed by.
    #[must_use]
    pub fn caching(&self) -> Caching {
        self.0.caching
    }
}

/// Some file systems take O_DIRECT at open and refuse the transfer, or want a larger alignment than ours.
async fn direct_read_works(core: &Core, file: &File) -> bool {
    let Some(buf) = core.buf(BLOCK_BYTES as usize) else { return true };
    match file.read_at(buf, 0).await.0 {
        Ok(()) => true,
        Err(error) => error.kind() != io::ErrorKind::InvalidInput,
    }
}

/// What the device behind `path` says of its cache. Unknown means a flush, which is always right.
fn durable_method(path: &Path) -> DurableMethod {
    let Ok(metadata) = std::fs::metadata(path) else { return DurableMethod::WriteFlush };
    let is_device = metadata.mode() & 0o170_000 == 0o060_000;
    let device = if is_device { metadata.rdev() } else { metadata.dev() };
    let (major, minor) = device_numbers(device);
    let mut folder = String::new();
    let written = write!(folder, "/sys/dev/block/{major}:{minor}");
    debug_assert!(written.is_ok());
    // A partition has no queue of its own; its parent folder is the drive's.
    let read = |name: &str| {
        ["queue", "../queue"].iter().find_map(|queue| read_small(&format!("{folder}/{queue}/{name}")))
    };
    let write_through = read("write_cache").is_some_and(|text| text.trim() == "write through");
    let fua = read("fua").is_some_and(|text| text.trim() == "1");
    if write_through || fua { DurableMethod::Dsync } else { DurableMethod::WriteFlush }
}

/// Major and minor number of a Linux `dev_t`.
fn device_numbers(device: u64) -> (u64, u64) {
    let major = (device >> 32 & 0xffff_f000) | (device >> 8 & 0xfff);
    let minor = (device >> 12 & 0xffff_ff00) | (device & 0xff);
    (major, minor)
}

#[expect(clippy::disallowed_methods, reason = "start-up reads sysfs, which is memory of the kernel")]
fn read_small(path: &str) -> Option<String> {
    String::from_utf8(std::fs::read(path).ok()?).ok()
}

fn check_range(offset: u64, bytes: usize) {
    assert!(
        offset.is_multiple_of(BLOCK_BYTES) && (bytes as u64).is_multiple_of(BLOCK_BYTES),
        "{bytes} bytes at {offset}: not whole blocks"
    );
}

impl Disk for RealDisk {
    type Buf = SlabBuf;

    fn read(&self, offset: u64, buf: SlabBuf) -> impl Future<Output = (io::Result<()>, SlabBuf)> + 'static {
        let offset = self.1.place(offset, buf.len());
        self.0.file.read_at(buf, offset)
    }

    fn write(
        &self,
        offset: u64,
        buf: SlabBuf,
        durability: Durability,
    ) -> impl Future<Output = (io::Result<()>, SlabBuf)> + 'static {
        let offset = self.1.place(offset, buf.len());
        let volume = self.0.clone();
        async move {
            match (durability, volume.durable) {
                (Durability::Cached, _) => volume.file.write_at(buf, offset, false).await,
                (Durability::Durable, DurableMethod::Dsync) => volume.file.write_at(buf, offset, true).await,
                (Durability::Durable, DurableMethod::WriteFlush) => {
                    volume.file.write_at_and_flush(buf, offset).await
                }
            }
        }
    }

    fn flush(&self) -> impl Future<Output = io::Result<()>> + 'static {
        self.0.file.fdatasync()
    }

    fn len_bytes(&self) -> u64 {
        self.1.bytes.unwrap_or(self.0.len_bytes.get())
    }

    fn grow(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let disk = self.clone();
        async move {
            let volume = &disk.0;
            if disk.1.bytes.is_some_and(|end| bytes > end) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _one_at_a_time = volume.growing.take(1).await;
            let from = volume.len_bytes.get();
            if bytes <= from {
                return Ok(());
            }
            if bytes > disk.len_bytes_max() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let bytes = bytes.next_multiple_of(BLOCK_BYTES);
            let reserved = disk.reserve(from, bytes - from).await;
            if reserved.is_err() {
                // The file system keeps what it had reserved before it ran out, which may be all it had.
                volume.file.truncate(from)?;
                return reserved;
            }
            volume.len_bytes.set(bytes);
            Ok(())
        }
    }

    fn len_bytes_max(&self) -> u64 {
        let volume = &self.0;
        let len = self.len_bytes();
        if volume.fixed || self.1.bytes.is_some() {
            return len;
        }
        // A file system that does not answer offers nothing.
        let (free, total) = volume.file.file_system_bytes().unwrap_or((0, 0));
        let reserve = total / 100 * RESERVE_PERCENT;
        let max = len + free.saturating_sub(reserve);
        max - max % BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stria_runtime::{Backend, CoreConfig, run};

    fn on_each_backend<F: Future<Output = ()>>(test: impl Fn(RealEnv) -> F) {
        for backend in [Backend::Auto, Backend::Epoll] {
            let config = CoreConfig { backend, ..CoreConfig::new(CoreId(0)) };
            run(config, async |core| test(RealEnv::new(core)).await).expect("the core runs");
        }
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("stria-real-env-{}-{name}", std::process::id()))
    }

    const NEW: DiskOptions = DiskOptions { create: true, zero_fill: true, durable: None };

    #[test]
    fn a_volume_grows_reads_zeros_and_keeps_what_is_written() {
        let path = scratch("volume");
        on_each_backend(|env| {
            let path = path.clone();
            async move {
                let disk = RealDisk::open(&env, &path, NEW).await.expect("opened");
                assert_eq!(disk.len_bytes(), 0);
                disk.grow(3 << 20).await.expect("grown");
                disk.grow(1 << 20).await.expect("never shrinks");
                assert_eq!(disk.len_bytes(), 3 << 20);
                for (offset, durability) in [(8_192, Durability::Cached), (1 << 20, Durability::Durable)] {
                    let mut buf = env.buf(8_192).expect("room");
                    buf.fill(0xa5);
                    disk.write(offset, buf, durability).await.0.expect("written");
                }
                disk.flush().await.expect("flushed");
                drop(disk);
                let disk = RealDisk::open(&env, &path, NEW).await.expect("opened again");
                assert_eq!(disk.len_bytes(), 3 << 20);
                let (read, buf) = disk.read(4_096, env.buf(1 << 20).expect("room")).await;
                read.expect("read");
                let ones = buf.iter().filter(|&&byte| byte == 0xa5).count();
                let zeros = buf.iter().filter(|&&byte| byte == 0).count();
                assert_eq!((ones, zeros), (8_192 + 4_096, (1 << 20) - 8_192 - 4_096));
                let (read, _) = disk.read(3 << 20, env.buf(4_096).expect("room")).await;
                assert_eq!(read.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
                std::fs::remove_file(&path).expect("removed");
            }
        });
    }

    #[test]
    fn growth_beyond_the_file_system_is_refused() {
        let path = scratch("full");
        on_each_backend(|env| {
            let path = path.clone();
            async move {
                let disk = RealDisk::open(&env, &path, NEW).await.expect("opened");
                let max = disk.len_bytes_max();
                let (free, total) = disk.0.file.file_system_bytes().expect("known");
                assert!(max <= free && max + total / 21 <= free.max(total / 21) && max % BLOCK_BYTES == 0);
                // No file system holds this much, so that a broken check fails the test and fills nothing.
                let error = disk.grow(1 << 60).await.expect_err("too much");
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                assert_eq!(disk.len_bytes(), 0);
                std::fs::remove_file(&path).expect("removed");
            }
        });
    }

    #[test]
    fn both_durable_methods_write() {
        let path = scratch("durable");
        on_each_backend(|env| {
            let path = path.clone();
            async move {
                for method in [DurableMethod::Dsync, DurableMethod::WriteFlush] {
                    let options = DiskOptions { durable: Some(method), ..NEW };
                    let disk = RealDisk::open(&env, &path, options).await.expect("opened");
                    assert_eq!(disk.durable_method(), method);
                    disk.grow(1 << 20).await.expect("grown");
                    let mut buf = env.buf(4_096).expect("room");
                    buf.fill(method as u8 + 1);
                    disk.write(4_096, buf, Durability::Durable).await.0.expect("written");
                    let (read, buf) = disk.read(4_096, env.buf(4_096).expect("room")).await;
                    read.expect("read");
                    assert!(buf.iter().all(|&byte| byte == method as u8 + 1));
                }
                std::fs::remove_file(&path).expect("removed");
            }
        });
    }

    #[test]
    fn device_numbers_are_split_as_linux_does() {
        assert_eq!(device_numbers(0xfd00), (253, 0));
        assert_eq!(device_numbers(0x0000_0012_3451_0367), (0x103, 0x0123_4567));
    }
}
