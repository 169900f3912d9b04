//! Receive buffers shared by all connections of a core: an idle connection holds none.
//!
//! Invariant: a buffer is either free (in the kernel's ring, or in the free list under epoll) or inside
//! exactly one [`RecvBuf`] or completion. One core.

use crate::{core::Inner, mapping::Mapping, slab::SlabBuf};
use std::{io, ops::Deref, rc::Rc};

/// The memory; which buffers are free is the back end's knowledge.
pub(crate) struct RecvMemory {
    map: Mapping,
    pub(crate) count: u16,
    pub(crate) bytes: u32,
}

impl RecvMemory {
    pub(crate) fn new(count: u16, bytes: u32) -> io::Result<Self> {
        let map = Mapping::new(usize::from(count) * bytes as usize)?;
        Ok(Self { map, count, bytes })
    }

    pub(crate) fn address(&self, index: u16) -> *mut u8 {
        assert!(index < self.count, "receive buffer {index} of {}", self.count);
        // SAFETY: inside the mapping, by the assertion.
        unsafe { self.map.ptr().as_ptr().add(usize::from(index) * self.bytes as usize) }
    }
}

enum From {
    Empty,
    Shared { core: Rc<Inner>, index: u16 },
    Slab(SlabBuf),
}

/// Received bytes; empty at the end of the stream. Hold it briefly: the buffer behind it is one of the
/// few that all connections share, and goes back when this is dropped.
pub struct RecvBuf {
    from: From,
    start: usize,
    end: usize,
}

impl RecvBuf {
    pub(crate) fn empty() -> Self {
        Self { from: From::Empty, start: 0, end: 0 }
    }

    pub(crate) fn shared(core: Rc<Inner>, index: u16, bytes: usize) -> Self {
        Self { from: From::Shared { core, index }, start: 0, end: bytes }
    }

    pub(crate) fn slab(buf: SlabBuf, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= buf.capacity());
        Self { from: From::Slab(buf), start, end }
    }

    /// Forgets the first `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "{bytes} of {}", self.len());
        self.start += bytes;
    }
}

impl Deref for RecvBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let base = match &self.from {
            From::Empty => return &[],
            From::Shared { core, index } => core.recv_memory.address(*index).cast_const(),
            From::Slab(buf) => buf.ptr().cast_const(),
        };
        // SAFETY: start..end lies inside the buffer, the kernel has finished writing it, and nobody
        // writes it until this value is dropped.
        unsafe { std::slice::from_raw_parts(base.add(self.start), self.end - self.start) }
    }
}

impl Drop for RecvBuf {
    fn drop(&mut self) {
        if let From::Shared { core, index } = &self.from {
            core.provide(*index);
        }
    }
}

impl std::fmt::Debug for RecvBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecvBuf({} bytes)", self.len())
    }
}
