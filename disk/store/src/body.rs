//! Bodies in extents and in the log, written and read by the core that talks to the client.
//!
//! Invariant: no byte leaves `read_extents` or `read_inline` unverified; when `BodyWriter::finish` returns,
//! the body is on stable media (unless the sync policy says otherwise). Runs on the accepting core.

use std::collections::VecDeque;

use bytes::Bytes;
use stria_base::{
    DataId, VolumeId,
    checksum::{Crc32c, block_crc, block_seed, seed_crc},
    units::align_up,
};
use stria_env::{
    Durability, Env, IoBuf,
    disk::BLOCK_BYTES,
    sync::{Receiver, oneshot},
};

use crate::{
    error::StoreError,
    row::{Extent, ExtentBody, InlineRef, block_log2, pieces},
    volumes::Volumes,
};

/// Writes of one body in flight.
const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Shares an I/O buffer as immutable bytes.
struct Shared<B>(B);

impl<B: IoBuf> AsRef<[u8]> for Shared<B> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads and verifies a part of a body: from `offset`, at least one byte and at most `bytes_max`, as far
/// as one contiguous piece reaches. The caller asks on for the rest.
///
/// # Errors
/// `Corrupt` when a block does not verify; `NoBuffer`; of the device.
///
/// # Panics
/// When `offset` is not inside the body or `bytes_max` is 0.
pub async fn read_extents<E: Env>(
    volumes: &Volumes<E>,
    body: &ExtentBody,
    offset: u64,
    bytes_max: u64,
) -> Result<Bytes, StoreError> {
    assert!(offset < body.bytes && bytes_max > 0, "{offset} of {}", body.bytes);
    let block = body.block_bytes();
    let from = offset / block * block;
    let wanted = align_up((offset + bytes_max).min(body.bytes), block).min(body.bytes) - from;
    let piece = pieces(&body.extents, from, wanted, wanted).next();
    let (volume, at, bytes) = piece.expect("the pieces hold the whole body, checked when it was decoded");
    let to = from + bytes;
    let buf = volumes.env.buf(align_up(bytes, BLOCK_BYTES) as usize).ok_or(StoreError::NoBuffer)?;
    let buf = volumes.read(volume, at, buf).await?;
    let data = &buf[..bytes as usize];
    for (i, bytes) in data.chunks(block as usize).enumerate() {
        let index = from / block + i as u64;
        if body.crcs.get(index as usize) != Some(&block_crc(body.id, index, bytes)) {
            return Err(StoreError::Corrupt { id: body.id, block: index, volume });
        }
    }
    let end = (offset + bytes_max).min(to);
    Ok(Bytes::from_owner(Shared(buf)).slice((offset - from) as usize..(end - from) as usize))
}

/// Reads and verifies an inline body.
///
/// # Errors
/// `Corrupt` when it does not verify; `NoBuffer`; of the device.
pub async fn read_inline<E: Env>(volumes: &Volumes<E>, inline: &InlineRef) -> Result<Bytes, StoreError> {
    let from = inline.offset / BLOCK_BYTES * BLOCK_BYTES;
    let to = align_up(inline.offset + u64::from(inline.bytes), BLOCK_BYTES);
    let buf = volumes.env.buf((to - from) as usize).ok_or(StoreError::NoBuffer)?;
    let buf = volumes.read(inline.volume, from, buf).await?;
    let start = (inline.offset - from) as usize;
    let body = start..start + inline.bytes as usize;
    if block_crc(inline.id, 0, &buf[body.clone()]) != inline.crc {
        return Err(StoreError::Corrupt { id: inline.id, block: 0, volume: inline.volume });
    }
    Ok(Bytes::from_owner(Shared(buf)).slice(body))
}

/// Writes one body into extents as it arrives.
pub struct BodyWriter<E: Env> {
    volumes: Volumes<E>,
    id: DataId,
    block_log2: u8,
    bytes: u64,
    given: Vec<Extent>,
    given_bytes: u64,
    in_flight: VecDeque<Receiver<Result<(), StoreError>>>,
    crcs: Vec<u32>,
    open_block: Crc32c,
    open_block_bytes: u64,
    failed: Option<StoreError>,
}

impl<E: Env> BodyWriter<E> {
    /// A body of identity `id`, of `bytes_expected` when that is known.
    #[must_use]
    pub fn new(volumes: Volumes<E>, id: DataId, bytes_expected: Option<u64>) -> Self {
        Self {
            volumes,
            id,
            block_log2: block_log2(bytes_expected.unwrap_or(0)),
            bytes: 0,
            given: Vec::new(),
            given_bytes: 0,
            in_flight: VecDeque::new(),
            crcs: Vec::new(),
            open_block: Crc32c::default(),
            open_block_bytes: 0,
            failed: None,
        }
    }

    /// Space it holds and has not filled yet.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.given_bytes - self.bytes
    }

    /// More space, appended.
    ///
    /// # Panics
    /// When a piece given before the last is no multiple of the checksum block.
    pub fn give(&mut self, extents: Vec<Extent>) {
        for extent in extents {
            assert!(self.given_bytes.is_multiple_of(1 << self.block_log2), "only the last piece may be odd");
            self.given_bytes += u64::from(extent.bytes);
            self.given.push(extent);
        }
    }

    /// Takes the next bytes of the body: all of `buf`, a multiple of 4 KiB unless it is the last. Waits while
    /// too many writes are in flight.
    ///
    /// # Errors
    /// Of an earlier write, or `NoBuffer`.
    ///
    /// # Panics
    /// When there is less [`BodyWriter::room`], or after a buffer that was no multiple of 4 KiB.
    pub async fn push(&mut self, mut buf: E::Buf) -> Result<(), StoreError> {
        assert!(buf.len() as u64 <= self.room(), "{} bytes for {} of room", buf.len(), self.room());
        assert!(self.bytes.is_multiple_of(BLOCK_BYTES), "an odd piece was the last");
        self.checksum(&buf);
        if buf.is_empty() {
            return Ok(());
        }
        loop {
            let len = buf.len() as u64;
            let (volume, offset, here) =
                pieces(&self.given, self.bytes, len, len).next().expect("room was checked");
            let here = here as usize;
            let rest = if here < buf.len() {
                let mut rest = self.volumes.env.buf(buf.len() - here).ok_or(StoreError::NoBuffer)?;
                rest.copy_from_slice(&buf[here..]);
                buf.set_len(here);
                Some(rest)
            } else {
                None
            };
            self.bytes += here as u64;
            let padded = align_up(here as u64, BLOCK_BYTES) as usize;
            buf.set_len(padded);
            // What a buffer held before must not reach the disk behind a body's end.
            buf[here..].fill(0);
            self.submit(volume, offset, buf).await?;
            match rest {
                Some(rest) => buf = rest,
                None => return Ok(()),
            }
        }
    }

    async fn submit(&mut self, volume: VolumeId, offset: u64, buf: E::Buf) -> Result<(), StoreError> {
        let (done, wait) = oneshot();
        let volumes = self.volumes.clone();
        self.volumes.env.spawn(async move {
            let written = volumes.write(volume, offset, buf, Durability::Cached).await;
            done.send(written.map(drop));
        });
        self.in_flight.push_back(wait);
        while self.in_flight.len() > WRITES_IN_FLIGHT_MAX {
            self.reap().await?;
        }
        Ok(())
    }

    async fn reap(&mut self) -> Result<(), StoreError> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        oldest.await.unwrap_or(Err(StoreError::Failed))
    }

    fn checksum(&mut self, mut bytes: &[u8]) {
        let block = 1u64 << self.block_log2;
        while !bytes.is_empty() {
            let take = bytes.len().min((block - self.open_block_bytes) as usize);
            self.open_block.update(&bytes[..take]);
            self.open_block_bytes += take as u64;
            bytes = &bytes[take..];
            if self.open_block_bytes == block {
                self.close_block();
            }
        }
    }

    fn close_block(&mut self) {
        let crc = std::mem::take(&mut self.open_block).finish();
        self.crcs.push(seed_crc(block_seed(self.id, self.crcs.len() as u64), crc));
        self.open_block_bytes = 0;
    }

    /// Waits for the writes and makes them durable. Returns the body and space it did not need.
    ///
    /// # Errors
    /// Of the device, with the space to be released: the body does not exist, and space in which a write failed
    /// is withheld.
    pub async fn finish(mut self) -> Result<(ExtentBody, Vec<Extent>), (StoreError, Vec<Extent>)> {
        while !self.in_flight.is_empty() {
            if let Err(error) = self.reap().await {
                self.failed = Some(error);
            }
        }
        if self.open_block_bytes > 0 {
            self.close_block();
        }
        let unused = self.trim();
        let mut flushed: Vec<VolumeId> = self.given.iter().map(|extent| extent.volume).collect();
        flushed.dedup();
        for volume in flushed {
            if self.failed.is_none() {
                self.failed = self.volumes.flush_body(volume).await.err();
            }
        }
        if let Some(error) = self.failed {
            let mut space = [self.given, unused].concat();
            space.retain(|extent| self.volumes.is_sound(extent));
            return Err((error, space));
        }
        let body = ExtentBody {
            id: self.id,
            bytes: self.bytes,
            block_log2: self.block_log2,
            extents: self.given,
            crcs: self.crcs,
        };
        Ok((body, unused))
    }

    /// Cuts the space down to what the body needs, in units of 4 KiB.
    fn trim(&mut self) -> Vec<Extent> {
        let mut unused = Vec::new();
        let mut needed = align_up(self.bytes, BLOCK_BYTES);
        self.given.retain_mut(|extent| {
            let here = needed.min(u64::from(extent.bytes)) as u32;
            needed -= u64::from(here);
            if here < extent.bytes {
                unused.push(Extent {
                    offset: extent.offset + u64::from(here),
                    bytes: extent.bytes - here,
                    ..*extent
                });
                extent.bytes = here;
            }
            here > 0
        });
        unused
    }

    /// Gives the body up: waits for writes in flight, so that the space can be reused, and returns it, but for
    /// space in which a write failed.
    pub async fn abort(mut self) -> Vec<Extent> {
        while !self.in_flight.is_empty() {
            // The body is given up; whether its writes succeeded is of no interest.
            let _ = self.reap().await;
        }
        self.given.retain(|extent| self.volumes.is_sound(extent));
        self.given
    }
}
