//! The operation as the back ends see it, and the few direct system calls.
//!
//! Invariant: pointers in a [`Sys`] are owned by the operation's entry in the slab, which outlives the
//! last completion. One core; epoll's pool threads run the file operations.

use std::{io, mem::MaybeUninit, net::SocketAddr};

/// What the kernel is asked to do. Descriptors are ordinary ones.
#[derive(Clone, Copy)]
pub(crate) enum Sys {
    Accept {
        fd: i32,
    },
    Connect {
        fd: i32,
        addr: *const SockAddr,
    },
    /// Into whichever receive buffer is free when bytes arrive.
    Recv {
        fd: i32,
        expect_empty: bool,
    },
    RecvInto {
        fd: i32,
        ptr: *mut u8,
        bytes: u32,
        all: bool,
    },
    Send {
        fd: i32,
        ptr: *const u8,
        bytes: u32,
    },
    SendMsg {
        fd: i32,
        message: *const libc::msghdr,
    },
    Read {
        fd: i32,
        ptr: *mut u8,
        bytes: u32,
        offset: u64,
        chunk: Option<u16>,
    },
    Write {
        fd: i32,
        ptr: *const u8,
        bytes: u32,
        offset: u64,
        dsync: bool,
        chunk: Option<u16>,
    },
    Fdatasync {
        fd: i32,
    },
    Fallocate {
        fd: i32,
        offset: u64,
        bytes: u64,
    },
}

/// How an operation ended: a count or a negated errno.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    /// The receive buffer the kernel chose.
    pub(crate) buffer: Option<u16>,
    /// Further completions of the same operation follow.
    pub(crate) more: bool,
    /// The socket holds more bytes.
    pub(crate) nonempty: bool,
}

impl Completion {
    pub(crate) fn new(user_data: u64, result: i32) -> Self {
        Self { user_data, result, buffer: None, more: false, nonempty: false }
    }
}

/// A result or the error behind a negative one.
pub(crate) fn check(result: i32) -> io::Result<usize> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as usize) }
}

/// The last call's negative result as the kernel's rings express it.
pub(crate) fn negated_errno(result: isize) -> i32 {
    if result >= 0 {
        return result.min(i32::MAX as isize) as i32;
    }
    -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn mono_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    assert_eq!(rc, 0, "the monotonic clock exists");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// An address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr {
    storage: libc::sockaddr_storage,
    pub(crate) bytes: libc::socklen_t,
}

impl SockAddr {
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// Calls `fill` (getsockname, getpeername) and parses what it wrote.
    pub(crate) fn from_kernel(
        fill: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i32,
    ) -> io::Result<SocketAddr> {
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut bytes = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        if fill(storage.as_mut_ptr().cast(), &mut bytes) < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all zeros is a valid sockaddr_storage, and the kernel wrote over it.
        let storage = unsafe { storage.assume_init() };
        match i32::from(storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which layout it has, and the storage is large enough.
                let addr = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
                Ok((addr.sin_addr.s_addr.to_ne_bytes(), u16::from_be(addr.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let addr = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
                Ok((addr.sin6_addr.s6_addr, u16::from_be(addr.sin6_port)).into())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
        let bytes = match addr {
            SocketAddr::V4(v4) => {
                // SAFETY: the storage is large enough and aligned for every family.
                let to = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                // SAFETY: as above.
                let to = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_addr.s6_addr = v6.ip().octets();
                to.sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self { storage, bytes: bytes as libc::socklen_t }
    }
}

/// Sets an integer socket option.
pub(crate) fn set_option(fd: i32, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: reads four bytes.
    let rc = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as libc::socklen_t)
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs a file operation on the calling thread.
///
/// # Safety
/// The pointers in `sys` are valid for the operation and nobody else uses the memory meanwhile.
pub(crate) unsafe fn run_file(sys: &Sys) -> i32 {
    let result = match *sys {
        Sys::Read { fd, ptr, bytes, offset, .. } => {
            // SAFETY: the caller's promise.
            unsafe { libc::pread(fd, ptr.cast(), bytes as usize, offset as i64) }
        }
        Sys::Write { fd, ptr, bytes, offset, dsync, .. } => {
            let part = libc::iovec { iov_base: ptr.cast_mut().cast(), iov_len: bytes as usize };
            let flags = if dsync { libc::RWF_DSYNC } else { 0 };
            // SAFETY: the caller's promise; one iovec.
            unsafe { libc::pwritev2(fd, &part, 1, offset as i64, flags) }
        }
        // SAFETY: no pointers.
        Sys::Fdatasync { fd } => unsafe { libc::fdatasync(fd) as isize },
        Sys::Fallocate { fd, offset, bytes } => {
            // SAFETY: no pointers.
            unsafe { libc::fallocate(fd, 0, offset as i64, bytes as i64) as isize }
        }
        _ => return -libc::EINVAL,
    };
    negated_errno(result)
}
