//! A log segment read from start to end, several reads ahead, frame by frame.
//!
//! Invariant: a block that cannot be read, asked three times, reads as zeros and is reported: what verifies
//! around it is kept. Runs on any core, at start and while cleaning.

use std::collections::VecDeque;

use stria_base::VolumeId;
use stria_env::{
    Disk, Env,
    sync::{Receiver, oneshot},
};
use stria_wal::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, Seed, decode_frame};

use crate::{error::StoreError, log::RECORD_BYTES_MAX, map::Geometry, volume::patient_buf};

/// Bytes of one read.
const READ_BYTES: u64 = 1 << 20;
/// Times a block is asked for before it counts as unreadable.
pub(crate) const BLOCK_READS_MAX: u32 = 3;
/// Reads in flight.
const READS_IN_FLIGHT: usize = 4;
/// How far behind an unreadable frame the next one may begin: the largest frame there is.
const SCAN_BYTES: u64 = RECORD_BYTES_MAX + 2 * FRAME_ALIGN;

/// A use of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) uuid: u128,
    pub(crate) volume: VolumeId,
    pub(crate) geometry: Geometry,
    pub(crate) segment: u32,
    pub(crate) generation: u64,
}

impl Place {
    pub(crate) fn offset(self) -> u64 {
        self.geometry.offset(self.segment)
    }
}

type Read<E> = Receiver<(u64, std::io::Result<()>, <E as Env>::Buf)>;

/// A segment read from start to end, several reads ahead.
pub(crate) struct Window<'a, E: Env> {
    env: &'a E,
    disk: &'a E::Disk,
    pub(crate) place: Place,
    /// Bytes of the segment that may hold log.
    end: u64,
    /// Offset in the segment of the first byte of `data`.
    pub(crate) at: u64,
    bytes: Vec<u8>,
    start: usize,
    next_read: u64,
    in_flight: VecDeque<Read<E>>,
    in_flight_max: usize,
    /// Whether a block could not be read, also when asked again.
    pub(crate) unreadable: bool,
    /// Whether something was written where the log ended.
    pub(crate) tail_was_written: bool,
}

impl<'a, E: Env> Window<'a, E> {
    pub(crate) fn new(env: &'a E, disk: &'a E::Disk, place: Place, end: u64) -> Self {
        Self {
            env,
            disk,
            place,
            end,
            at: 0,
            bytes: Vec::new(),
            start: 0,
            next_read: 0,
            in_flight: VecDeque::new(),
            in_flight_max: READS_IN_FLIGHT,
            unreadable: false,
            tail_was_written: false,
        }
    }

    /// Reads only what is asked for, for work that must not burden the device.
    pub(crate) fn one_read_at_a_time(self) -> Self {
        Self { in_flight_max: 1, ..self }
    }

    /// Starts at `at` instead of the beginning.
    pub(crate) fn skip_to(&mut self, at: u64) {
        (self.at, self.next_read) = (at, at);
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The records of the frame it stands at.
    pub(crate) fn payload(&self, header: &FrameHeader) -> &[u8] {
        &self.data()[FRAME_HEADER_BYTES..][..header.payload_bytes as usize]
    }

    fn seed(&self) -> Seed {
        Seed::new(self.place.uuid, self.place.volume.0, self.place.offset() + self.at)
    }

    /// The valid frame at the start of the window.
    pub(crate) async fn frame(&mut self) -> Result<Option<FrameHeader>, StoreError> {
        if !self.have(FRAME_ALIGN).await? {
            return Ok(None);
        }
        let Some(header) = FrameHeader::decode(self.data(), self.seed()) else { return Ok(None) };
        let bytes = header.frame_bytes();
        if header.generation != self.place.generation || !self.have(bytes).await? {
            return Ok(None);
        }
        Ok(decode_frame(self.data(), self.seed(), self.place.generation).map(|frame| frame.header))
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.start += bytes as usize;
        self.at += bytes;
        // Dropped in large steps, so that each byte is moved about once.
        if self.start as u64 >= 4 * READ_BYTES || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Valid frames behind the end of the log, as far as one may begin behind an unreadable one.
    pub(crate) async fn frames_behind(&mut self) -> Result<Vec<(u64, FrameHeader)>, StoreError> {
        let mut found = Vec::new();
        let mut limit = self.at + SCAN_BYTES;
        self.tail_was_written =
            self.have(FRAME_ALIGN).await? && self.data()[..FRAME_ALIGN as usize].iter().any(|&b| b != 0);
        while self.at < self.end.min(limit) && self.have(FRAME_ALIGN).await? {
            match self.frame().await? {
                Some(header) => {
                    found.push((self.at, header));
                    self.advance(header.frame_bytes());
                    limit = self.at + SCAN_BYTES;
                }
                None => self.advance(FRAME_ALIGN),
            }
        }
        Ok(found)
    }

    /// Whether `bytes` are in the window, after reading on if need be.
    async fn have(&mut self, bytes: u64) -> Result<bool, StoreError> {
        if self.at + bytes > self.end {
            return Ok(false);
        }
        while (self.data().len() as u64) < bytes {
            self.read_ahead()?;
            let Some(read) = self.in_flight.pop_front() else { return Ok(false) };
            let Some((offset, result, buf)) = read.await else { return Err(StoreError::Failed) };
            match result {
                Ok(()) => self.bytes.extend_from_slice(&buf),
                // An unreadable range is a hole like any other: what verifies around it is kept.
                Err(_) => {
                    drop(buf);
                    self.read_blocks(offset).await;
                }
            }
        }
        Ok(true)
    }

    /// Reads a range block by block, zeros in place of what cannot be read.
    async fn read_blocks(&mut self, offset: u64) {
        let end = (offset + READ_BYTES).min(self.end);
        for block in (offset..end).step_by(FRAME_ALIGN as usize) {
            // Half a range read is no place to stop at.
            let mut buf = patient_buf(self.env, FRAME_ALIGN as usize).await;
            let mut is_read = false;
            for _ in 0..BLOCK_READS_MAX {
                let (result, back) = self.disk.read(self.place.offset() + block, buf).await;
                buf = back;
                is_read = result.is_ok();
                if is_read {
                    break;
                }
            }
            if !is_read {
                self.unreadable = true;
                buf.fill(0);
            }
            self.bytes.extend_from_slice(&buf);
        }
    }

    fn read_ahead(&mut self) -> Result<(), StoreError> {
        while self.in_flight.len() < self.in_flight_max && self.next_read < self.end {
            let offset = self.next_read;
            let bytes = READ_BYTES.min(self.end - offset);
            let Some(buf) = self.env.buf(bytes as usize) else {
                return if self.in_flight.is_empty() { Err(StoreError::NoBuffer) } else { Ok(()) };
            };
            let (done, read) = oneshot();
            let disk = self.disk.clone();
            let from = self.place.offset() + offset;
            self.env.spawn(async move {
                let (result, buf) = disk.read(from, buf).await;
                done.send((offset, result, buf));
            });
            self.in_flight.push_back(read);
            self.next_read += bytes;
        }
        Ok(())
    }
}
