//! A file system whose files fail when told to, under a running server: errors, short transfers, slowness, a full
//! disk, a disk that is gone. The bytes lie in a folder of a real one.
//!
//! Invariant: without a rule that applies, every call does what the file below does. Own threads (FUSE); unmounted
//! when dropped.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, WriteFlags,
};

/// Which call a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Flushing.
    Flush,
    /// Reserving space.
    Grow,
    /// All of them.
    Any,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails with this number of errno.
    Error(i32),
    /// Moves only half of the bytes, in pages.
    Short,
    /// Takes so long, and succeeds.
    Slow(Duration),
}

/// A fault and where it strikes.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Number of the file in its name (`0001`); `None` for all.
    pub file: Option<u16>,
    /// Which calls.
    pub on: On,
    /// Bytes of the file, for reads and writes.
    pub range: (u64, u64),
    /// What happens.
    pub fault: Fault,
    /// How often it still strikes.
    pub times: u64,
}

impl Rule {
    /// Always, anywhere in every file.
    #[must_use]
    pub fn new(on: On, fault: Fault) -> Self {
        Self { file: None, on, range: (0, u64::MAX), fault, times: u64::MAX }
    }
}

#[derive(Default)]
struct State {
    files: Vec<(OsString, Arc<File>)>,
    rules: Vec<Rule>,
    struck: u64,
    /// Offset of the last write to each file.
    last_write: Vec<u64>,
}

struct FaultFs {
    below: PathBuf,
    state: Arc<Mutex<State>>,
}

/// A mounted fault file system.
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultDisk {
    /// Mounts at `at` what lies in `below`; both folders exist.
    ///
    /// # Errors
    /// When this machine has no FUSE, or this user may not mount.
    pub fn mount(below: &Path, at: &Path) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("stria-faults".to_owned())];
        // A call that is slowed down must not hold up the others.
        config.n_threads = Some(8);
        let files = FaultFs { below: below.to_owned(), state: state.clone() };
        Ok(Self { state, _session: fuser::spawn_mount(files, at, &config)? })
    }

    /// Puts these rules in the place of all others.
    pub fn set(&self, rules: &[Rule]) {
        let mut state = locked(&self.state);
        state.rules = rules.to_vec();
        state.struck = 0;
    }

    /// How often a rule has struck since they were set.
    #[must_use]
    pub fn struck(&self) -> u64 {
        locked(&self.state).struck
    }

    /// Offset of the last write to the file of this number.
    #[must_use]
    pub fn last_write(&self, file: u16) -> u64 {
        let state = locked(&self.state);
        let nth = state.files.iter().position(|(name, _)| number_of(name) == Some(file));
        nth.and_then(|nth| state.last_write.get(nth).copied()).unwrap_or(0)
    }
}

fn number_of(name: &OsStr) -> Option<u16> {
    name.to_str()?.parse().ok()
}

const FIRST_FILE: u64 = 2;
const TTL: Duration = Duration::ZERO;

impl FaultFs {
    fn file(&self, inode: INodeNo) -> Option<(usize, Arc<File>)> {
        let nth = usize::try_from(inode.0.checked_sub(FIRST_FILE)?).ok()?;
        Some((nth, locked(&self.state).files.get(nth)?.1.clone()))
    }

    /// The number a name has, opened on its first use.
    fn open_by_name(&self, name: &OsStr, create: bool) -> io::Result<u64> {
        let mut state = locked(&self.state);
        if let Some(nth) = state.files.iter().position(|(known, _)| known == name) {
            return Ok(nth as u64 + FIRST_FILE);
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(create).mode(0o600);
        let file = options.open(self.below.join(name))?;
        state.files.push((name.to_owned(), Arc::new(file)));
        state.last_write.push(0);
        Ok(state.files.len() as u64 - 1 + FIRST_FILE)
    }

    fn attributes(&self, inode: INodeNo) -> io::Result<FileAttr> {
        let (meta, kind) = match self.file(inode) {
            Some((_, file)) => (file.metadata()?, FileType::RegularFile),
            None => (fs::metadata(&self.below)?, FileType::Directory),
        };
        Ok(FileAttr {
            ino: inode,
            size: meta.size(),
            blocks: meta.blocks(),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
            nlink: 1,
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// What strikes this call, if anything. Slowness is served here.
    fn strike(&self, nth: usize, on: On, from: u64, to: u64) -> Option<Fault> {
        let struck = {
            let mut state = locked(&self.state);
            let number = state.files.get(nth).and_then(|(name, _)| number_of(name));
            let rule = state.rules.iter_mut().find(|rule| {
                rule.times > 0
                    && (rule.file.is_none() || rule.file == number)
                    && (rule.on == On::Any || rule.on == on)
                    && rule.range.0 < to
                    && from < rule.range.1
            });
            let fault = rule.map(|rule| {
                rule.times -= 1;
                rule.fault
            });
            state.struck += u64::from(fault.is_some());
            fault
        };
        if let Some(Fault::Slow(time)) = struck {
            thread::sleep(time);
            return None;
        }
        struck
    }
}

/// Half of a transfer, in whole pages; all of one that is a page.
fn half(bytes: usize) -> usize {
    if bytes <= 4096 { bytes } else { (bytes / 2).next_multiple_of(4096) }
}

impl Filesystem for FaultFs {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.open_by_name(name, false).and_then(|inode| self.attributes(INodeNo(inode)));
        match found {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let sized = match (size, self.file(inode)) {
            (Some(size), Some((_, file))) => file.set_len(size),
            _ => Ok(()),
        };
        match sized.and_then(|()| self.attributes(inode)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let made = self.open_by_name(name, true).and_then(|inode| self.attributes(INodeNo(inode)));
        match made {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some((nth, file)) = self.file(inode) else { return reply.error(Errno::EISDIR) };
        let mut bytes = vec![0; size as usize];
        match self.strike(nth, On::Read, offset, offset + u64::from(size)) {
            Some(Fault::Error(number)) => return reply.error(io::Error::from_raw_os_error(number).into()),
            Some(Fault::Short) => bytes.truncate(half(bytes.len())),
            _ => {}
        }
        match file.read_at(&mut bytes, offset) {
            Ok(got) => reply.data(&bytes[..got]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some((nth, file)) = self.file(inode) else { return reply.error(Errno::EISDIR) };
        let mut bytes = data;
        match self.strike(nth, On::Write, offset, offset + data.len() as u64) {
            Some(Fault::Error(number)) => return reply.error(io::Error::from_raw_os_error(number).into()),
            Some(Fault::Short) => bytes = &data[..half(data.len())],
            _ => {}
        }
        locked(&self.state).last_write[nth] = offset;
        let is_durable = flags.0 & libc::O_DSYNC != 0;
        let written = file.write_all_at(bytes, offset);
        match written.and_then(|()| if is_durable { file.sync_data() } else { Ok(()) }) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let Some((nth, file)) = self.file(inode) else { return reply.ok() };
        if let Some(Fault::Error(number)) = self.strike(nth, On::Flush, 0, u64::MAX) {
            return reply.error(io::Error::from_raw_os_error(number).into());
        }
        match file.sync_data() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        let Some((nth, file)) = self.file(inode) else { return reply.error(Errno::EISDIR) };
        if let Some(Fault::Error(number)) = self.strike(nth, On::Grow, 0, u64::MAX) {
            return reply.error(io::Error::from_raw_os_error(number).into());
        }
        let end = offset + length;
        let grown =
            file.metadata().and_then(|meta| if meta.len() < end { file.set_len(end) } else { Ok(()) });
        match grown {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // 64 GiB, nearly all of it free: what is really free decides below.
        const BLOCKS: u64 = 16 << 20;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if offset == 0 {
            let full = [".", ".."]
                .into_iter()
                .zip(1u64..)
                .any(|(name, at)| reply.add(inode, at, FileType::Directory, name));
            debug_assert!(!full, "two names fit");
        }
        reply.ok();
    }
}
