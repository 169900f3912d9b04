//! Anonymous memory straight from the kernel: zeroed, page-aligned, returned whole.
//!
//! Invariant: `ptr..ptr + bytes` is mapped read-write for the life of the value. Any thread.

use std::{io, ptr::NonNull};

/// One private anonymous mapping.
pub(crate) struct Mapping {
    ptr: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the value is the sole owner of plain memory; nothing in it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access only yields the address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` (not 0) of zeros.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        assert!(bytes > 0);
        // SAFETY: a fresh anonymous mapping; no existing memory is affected.
        let raw = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if raw == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ptr = NonNull::new(raw.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { ptr, bytes })
    }

    /// First byte.
    pub(crate) fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range mmap returned; the owner is gone, so nobody refers to it.
        let rc = unsafe { libc::munmap(self.ptr.as_ptr().cast(), self.bytes) };
        assert_eq!(rc, 0, "munmap of our own mapping");
    }
}
