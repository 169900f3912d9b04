//! Files and block devices of one core.
//!
//! Invariant: a completed operation moved the whole range; short transfers are resubmitted here. Dropping
//! a future lets the operation run to its end and returns its buffer afterwards. One core.

use stria_env::disk::flush_failure;

use crate::{
    core::{Core, Inner},
    mapping::Mapping,
    ops::{OpData, OwnedFd},
    slab::SlabBuf,
    sys::{self, Sys},
};
use std::{ffi::CString, future::Future, io, os::unix::ffi::OsStrExt, path::Path, rc::Rc};

/// Bytes written per operation when a range is filled with zeros.
const ZERO_BYTES: usize = 1 << 20;
/// `_IOR(0x12, 114, size_t)` of linux/fs.h.
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// O_DIRECT: offsets, lengths and memory must be aligned to blocks.
    pub direct: bool,
    /// Create it when missing, mode 0600.
    pub create: bool,
    /// Refuse writes.
    pub read_only: bool,
}

/// An open file. Cheap to clone; closed when the last clone and the last operation are gone.
#[derive(Clone)]
pub struct File {
    core: Rc<Inner>,
    fd: Rc<OwnedFd>,
}

impl Core {
    /// Opens a file. Blocks: for start-up only.
    ///
    /// # Errors
    /// What the kernel says; EINVAL when the file system refuses O_DIRECT.
    pub fn open_file(&self, path: &Path, options: OpenOptions) -> io::Result<File> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut flags = libc::O_CLOEXEC;
        flags |= if options.read_only { libc::O_RDONLY } else { libc::O_RDWR };
        flags |= if options.direct { libc::O_DIRECT } else { 0 };
        flags |= if options.create { libc::O_CREAT } else { 0 };
        // SAFETY: a path that ends in zero.
        let fd = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File { core: self.0.clone(), fd: Rc::new(OwnedFd { fd, forget: None }) })
    }
}

impl File {
    /// Takes a shared flock. It is held until the last operation on the file is gone, which for a killed
    /// process is later than its end: whoever gets the exclusive one knows that nothing is written any more.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when somebody holds it exclusively.
    pub fn lock_shared(&self) -> io::Result<()> {
        // SAFETY: an open descriptor and no memory.
        let rc = unsafe { libc::flock(self.fd.fd, libc::LOCK_SH | libc::LOCK_NB) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Fills `buf` (its visible length) from `offset`. `UnexpectedEof` when the file ends before.
    pub fn read_at(
        &self,
        buf: SlabBuf,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, SlabBuf)> + 'static {
        let file = self.clone();
        async move { file.transfer(buf, offset, Direction::Read).await }
    }

    /// Writes `buf` (its visible length) at `offset`; with `dsync` it is durable on completion.
    pub fn write_at(
        &self,
        buf: SlabBuf,
        offset: u64,
        dsync: bool,
    ) -> impl Future<Output = (io::Result<()>, SlabBuf)> + 'static {
        let file = self.clone();
        async move { file.transfer(buf, offset, Direction::Write { dsync }).await }
    }

    /// Writes `buf` at `offset` and flushes the file; both are handed to the kernel at once.
    pub fn write_at_and_flush(
        &self,
        buf: SlabBuf,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, SlabBuf)> + 'static {
        let file = self.clone();
        async move { file.transfer_and_flush(buf, offset).await }
    }

    async fn transfer(
        &self,
        mut buf: SlabBuf,
        offset: u64,
        direction: Direction,
    ) -> (io::Result<()>, SlabBuf) {
        let mut done = 0;
        while done < buf.len() {
            let sys = self.transfer_sys(&buf, done, offset, direction);
            let data = OpData::FileBuf(self.fd.clone(), buf);
            let (completion, data) = self.core.submit(&sys, data).await;
            let OpData::FileBuf(_, returned) = data else { unreachable!("the operation's own data") };
            buf = returned;
            match sys::check(completion.result) {
                Ok(0) => return (Err(direction.ended()), buf),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    fn transfer_sys(&self, buf: &SlabBuf, done: usize, offset: u64, direction: Direction) -> Sys {
        let fd = self.fd.fd;
        let chunk = self.core.registered_chunk(buf);
        let bytes = (buf.len() - done) as u32;
        let offset = offset + done as u64;
        // SAFETY: done < len <= capacity.
        let ptr = unsafe { buf.ptr().add(done) };
        match direction {
            Direction::Read => Sys::Read { fd, ptr, bytes, offset, chunk },
            Direction::Write { dsync } => Sys::Write { fd, ptr, bytes, offset, dsync, chunk },
        }
    }

    async fn transfer_and_flush(&self, buf: SlabBuf, offset: u64) -> (io::Result<()>, SlabBuf) {
        let cached = Direction::Write { dsync: false };
        let length = buf.len();
        let write = self.transfer_sys(&buf, 0, offset, cached);
        let flush = Sys::Fdatasync { fd: self.fd.fd };
        let linked = self.core.submit_linked(
            (&write, OpData::FileBuf(self.fd.clone(), buf)),
            (&flush, OpData::File(self.fd.clone())),
        );
        let (buf, whole) = match linked {
            Ok((write, flush)) => {
                let (written, data) = write.await;
                let (flushed, _) = flush.await;
                let OpData::FileBuf(_, buf) = data else { unreachable!("the operation's own data") };
                // Cut short, the link is broken and the flush did not run: the slow way repeats both.
                let whole = written.result == length as i32 && flushed.result != -libc::ECANCELED;
                if whole || written.result < 0 {
                    let flushed = || sys::check(flushed.result).map_err(flush_failure);
                    let outcome = sys::check(written.result).and_then(|_| flushed());
                    return (outcome.map(drop), buf);
                }
                (buf, whole)
            }
            Err(OpData::FileBuf(_, buf)) => (buf, false),
            Err(_) => unreachable!("the operation's own data"),
        };
        debug_assert!(!whole);
        let (outcome, buf) = self.transfer(buf, offset, cached).await;
        if outcome.is_err() {
            return (outcome, buf);
        }
        (self.fdatasync().await.map_err(flush_failure), buf)
    }

    /// Makes every write that completed before this call durable.
    pub fn fdatasync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let (core, fd) = (self.core.clone(), self.fd.clone());
        async move {
            let (completion, _) = core.submit(&Sys::Fdatasync { fd: fd.fd }, OpData::File(fd.clone())).await;
            sys::check(completion.result).map(drop)
        }
    }

    /// Reserves storage for `offset..offset + bytes`; what is new there reads as zeros.
    pub fn fallocate(&self, offset: u64, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let (core, fd) = (self.core.clone(), self.fd.clone());
        async move {
            loop {
                let sys = Sys::Fallocate { fd: fd.fd, offset, bytes };
                let (completion, _) = core.submit(&sys, OpData::File(fd.clone())).await;
                if completion.result != -libc::EINTR {
                    return sys::check(completion.result).map(drop);
                }
            }
        }
    }

    /// Writes zeros over `offset..offset + bytes` (multiples of a block), so that later writes there need
    /// no change of metadata. Uses memory of its own, not the slab's.
    pub fn zero_fill(&self, offset: u64, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let (core, fd) = (self.core.clone(), self.fd.clone());
        async move {
            let zeros = Rc::new(Mapping::new(ZERO_BYTES)?);
            let mut done = 0;
            while done < bytes {
                let sys = Sys::Write {
                    fd: fd.fd,
                    ptr: zeros.ptr().as_ptr().cast_const(),
                    bytes: (bytes - done).min(ZERO_BYTES as u64) as u32,
                    offset: offset + done,
                    dsync: false,
                    chunk: None,
                };
                let (completion, _) = core.submit(&sys, OpData::FileMap(fd.clone(), zeros.clone())).await;
                match sys::check(completion.result) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => done += count as u64,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    /// Cuts the file off. Blocks for as long as the file system takes: for recovery from a failed growth.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn truncate(&self, bytes: u64) -> io::Result<()> {
        // SAFETY: no pointers.
        let rc = unsafe { libc::ftruncate(self.fd.fd, bytes as i64) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Length in bytes now, of a file or a block device. A cheap call that does not wait for the disk.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn len_bytes(&self) -> io::Result<u64> {
        let stat = self.stat()?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFBLK {
            return Ok(stat.st_size as u64);
        }
        let mut bytes = 0u64;
        // SAFETY: the request writes eight bytes.
        let rc = unsafe { libc::ioctl(self.fd.fd, BLKGETSIZE64, &raw mut bytes) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes) }
    }

    /// Whether it is a block device, whose length is fixed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_device(&self) -> io::Result<bool> {
        Ok(self.stat()?.st_mode & libc::S_IFMT == libc::S_IFBLK)
    }

    /// Bytes free for us, and bytes in all, of the file system it is on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn file_system_bytes(&self) -> io::Result<(u64, u64)> {
        // SAFETY: all zeros is a valid statvfs, which the call fills.
        let (rc, stat) = unsafe {
            let mut stat: libc::statvfs = std::mem::zeroed();
            (libc::fstatvfs(self.fd.fd, &mut stat), stat)
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
    }

    fn stat(&self) -> io::Result<libc::stat> {
        // SAFETY: all zeros is a valid stat, which the call fills.
        let (rc, stat) = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            (libc::fstat(self.fd.fd, &mut stat), stat)
        };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(stat) }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write { dsync: bool },
}

impl Direction {
    /// What a transfer of nothing means.
    fn ended(self) -> io::Error {
        match self {
            Self::Read => io::ErrorKind::UnexpectedEof.into(),
            Self::Write { .. } => io::ErrorKind::WriteZero.into(),
        }
    }
}
