//! Volumes, cut at sectors: aligned ranges in, completions out. The buffer goes in and comes back,
//! because the kernel owns it in between (io_uring).

use std::{
    fmt,
    future::Future,
    io,
    ops::{Deref, DerefMut},
};

/// Alignment of offsets, lengths and memory of every disk operation, in bytes.
pub const BLOCK_BYTES: u64 = 4096;

/// Aligned memory for I/O. Dropping it returns it to the pool of the core it came from, also from
/// another core. `Send`, because a body received on one core is written into the log of another.
pub trait IoBuf: Deref<Target = [u8]> + DerefMut + Send + 'static {
    /// Bytes it can hold: a multiple of [`BLOCK_BYTES`].
    fn capacity(&self) -> usize;
    /// Changes the visible length, `0..=capacity`. Bytes that become visible are whatever they were.
    ///
    /// # Panics
    /// When `bytes` exceeds the capacity.
    fn set_len(&mut self, bytes: usize);
}

/// What a completed write promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The device has it; a power cut may lose or tear it until a later [`Disk::flush`] completes.
    Cached,
    /// It is on stable media when the write completes (FUA or DSYNC). Only *this* range: a durable
    /// write makes no earlier cached write durable.
    Durable,
}

/// What an error carries when it was a flush that failed, on its own or inside a durable write: nothing is known of
/// any earlier cached write then, whoever made it.
#[derive(Debug)]
struct FlushFailed(io::Error);

impl fmt::Display for FlushFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the flush failed: {}", self.0)
    }
}

impl std::error::Error for FlushFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Marks the error of a flush.
#[must_use]
pub fn flush_failure(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), FlushFailed(error))
}

/// Whether it was a flush that failed.
#[must_use]
pub fn is_flush_failure(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<FlushFailed>())
}

/// One volume. Offsets and buffer lengths are multiples of [`BLOCK_BYTES`]. Operations in flight may
/// complete and reach the media in any order. A completed operation moved the whole range: short
/// transfers are resubmitted below this trait. Dropping a future leaves the operation to finish; its
/// buffer is returned to the pool afterwards.
pub trait Disk: Clone + 'static {
    /// The buffers it takes.
    type Buf: IoBuf;

    /// Fills `buf` (its whole length) from `offset`.
    fn read(
        &self,
        offset: u64,
        buf: Self::Buf,
    ) -> impl Future<Output = (io::Result<()>, Self::Buf)> + 'static;
    /// Writes `buf` (its whole length) at `offset`. The error of a durable write that failed in a flush of the whole
    /// device answers [`is_flush_failure`].
    fn write(
        &self,
        offset: u64,
        buf: Self::Buf,
        durability: Durability,
    ) -> impl Future<Output = (io::Result<()>, Self::Buf)> + 'static;
    /// Makes every write that completed before this call durable. After an error nothing is known of
    /// them, and a second flush proves nothing: the caller gives the segment up.
    fn flush(&self) -> impl Future<Output = io::Result<()>> + 'static;
    /// Current length in bytes.
    fn len_bytes(&self) -> u64;
    /// Makes the volume at least `bytes` long, the new range reading as zeros. Storage is reserved:
    /// later writes into it do not fail for want of space.
    ///
    /// # Errors
    /// `StorageFull` when there is no room, or the volume is a device of fixed size.
    fn grow(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static;
    /// Largest length `grow` could reach now, in bytes: for a file, what the file system has free.
    fn len_bytes_max(&self) -> u64;
}
