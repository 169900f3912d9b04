//! The writer of one core's log: group commit, rolling over segments, markers, flushes by policy.
//!
//! Invariant: one frame is in flight while the next one fills. A segment in which a write failed gets no other
//! frame: the log goes on in a new one, and only what is written there is acknowledged. A failed flush is not
//! retried, because a second one that succeeds would prove nothing: like a second failed write it ends
//! the log, and nothing is acknowledged any more. Runs on the owner core as one task.

use bytes::Bytes;
use stria_base::VolumeId;
use stria_env::{
    Durability, Env, IoBuf,
    sync::{Either, race},
};
use stria_wal::{FRAME_HEADER_BYTES, FrameHeader, Seed, frame_bytes};

use crate::{
    error::StoreError,
    log::{FlushMethod, FrameState, OpenFrame, OpenSegment, SyncPolicy},
    store::Store,
    volume::patient_buf,
};

/// Buffer a frame is written through.
pub(crate) const FRAME_BUFFER_BYTES: usize = 1 << 20;
/// An idle log waits this long before it writes a marker.
const MARKER_DELAY_NS: u64 = 100_000_000;

/// Where a written frame lies.
struct Placed {
    seq: u64,
    segment: u32,
    /// Offset of the payload in the volume.
    payload_at: u64,
}

impl<E: Env> Store<E> {
    /// The writer task: runs until the store is shut down or the log fails.
    pub(crate) async fn run_log(self, buf: E::Buf) {
        self.write_until_stopped(buf).await;
        self.0.log.borrow_mut().writer_gone = true;
        self.0.writer_gone.notify_all();
    }

    async fn write_until_stopped(&self, mut buf: E::Buf) {
        loop {
            let work = self.0.log_work.notified();
            let frame = self.0.log.borrow_mut().take_frame();
            let back = match frame {
                Some(frame) => self.write_records(frame, buf).await,
                None if self.0.log.borrow().stopping => return,
                None => match race(work, self.idle_delay()).await {
                    Either::First(()) => Some(buf),
                    Either::Second(()) => self.write_marker(buf).await,
                },
            };
            match back {
                Some(back) => buf = back,
                None => return,
            }
        }
    }

    /// Completes when an idle log should write its marker; never when it needs none.
    async fn idle_delay(&self) {
        let proven = {
            let log = self.0.log.borrow();
            // A marker alone is not worth one of the last segments.
            log.proven_seq >= log.flushed_seq || (log.place.is_none() && self.0.mine[0].is_low())
        };
        if proven {
            std::future::pending::<()>().await;
        }
        self.0.env.sleep(MARKER_DELAY_NS).await;
    }

    /// Writes a frame of records and publishes them. Gives the buffer back, or `None` when the log failed.
    async fn write_records(&self, frame: OpenFrame, buf: E::Buf) -> Option<E::Buf> {
        let OpenFrame { records, pieces, fate, .. } = frame;
        let durable = self.0.config.sync == SyncPolicy::Always;
        match self.write_frame(records.len() as u32, &pieces, buf, durable).await {
            Ok((placed, buf)) => {
                self.publish(records, placed.segment, placed.payload_at, placed.seq);
                fate.decide(FrameState::Durable(placed.seq));
                self.flush_by_policy();
                Some(buf)
            }
            Err(_) => {
                self.fail_log();
                fate.decide(FrameState::Failed);
                None
            }
        }
    }

    async fn write_marker(&self, buf: E::Buf) -> Option<E::Buf> {
        // The marker needs no flush of its own: losing it loses a proof, not data. But a durable write
        // makes only itself durable, so among durable writes it has to be one: a hole that a later frame
        // counts as durable would pass for rot.
        let durable =
            self.0.config.sync == SyncPolicy::Always && self.0.config.flush_method == FlushMethod::Durable;
        match self.write_frame(0, &[], buf, durable).await {
            Ok((_, buf)) => Some(buf),
            Err(_) => {
                self.fail_log();
                None
            }
        }
    }

    /// Writes one frame at the end of the log; with `durable`, onto stable media.
    async fn write_frame(
        &self,
        count: u32,
        pieces: &[Bytes],
        buf: E::Buf,
        durable: bool,
    ) -> Result<(Placed, E::Buf), StoreError> {
        let payload_bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let bytes = frame_bytes(payload_bytes);
        let volume = &self.0.mine[0];
        let method = if durable { self.0.config.flush_method } else { FlushMethod::Flush };
        let open = self.0.log.borrow().place;
        let mut place = match open {
            Some(place) if place.end + bytes <= volume.geometry.segment_bytes() => place,
            _ => self.roll().await?,
        };
        let (header, offset, buf) = match self.write_at(place, count, pieces, buf, method).await {
            Ok(written) => written,
            Err(StoreError::Io { .. }) if !self.0.volumes.is_failed(volume.id) => {
                place = self.leave_segment(place).await?;
                let buf = patient_buf(&self.0.env, FRAME_BUFFER_BYTES).await;
                self.write_at(place, count, pieces, buf, method).await?
            }
            Err(error) => return Err(error),
        };
        if durable && method == FlushMethod::Flush {
            self.0.volumes.flush(volume.id).await?;
        }
        self.frame_written(&header, bytes, durable);
        let payload_at = offset + FRAME_HEADER_BYTES as u64;
        Ok((Placed { seq: header.seq, segment: place.segment, payload_at }, buf))
    }

    /// Writes one frame at `place`: its header, its offset in the volume, and the buffer.
    async fn write_at(
        &self,
        place: OpenSegment,
        count: u32,
        pieces: &[Bytes],
        buf: E::Buf,
        method: FlushMethod,
    ) -> Result<(FrameHeader, u64, E::Buf), StoreError> {
        let volume = &self.0.mine[0];
        let (header, offset) = self.next_header(count, pieces, place);
        let head = header.encode(Seed::new(volume.uuid, volume.id.0, offset));
        let bytes = header.frame_bytes();
        let buf = self.write_pieces((volume.id, offset), bytes, &head, pieces, buf, method).await?;
        Ok((header, offset, buf))
    }

    /// Goes on in another segment after a write to this one failed. Sealed before the frame that failed, so that
    /// whatever came onto the medium of it is never read; nobody was told of it.
    async fn leave_segment(&self, place: OpenSegment) -> Result<OpenSegment, StoreError> {
        self.0.mine[0].withdraw_segment(place.segment);
        let next = self.roll().await?;
        self.0.log.borrow_mut().moves += 1;
        Ok(next)
    }

    fn next_header(&self, count: u32, pieces: &[Bytes], place: OpenSegment) -> (FrameHeader, u64) {
        let log = self.0.log.borrow();
        let mut header = FrameHeader {
            count,
            generation: place.generation,
            seq: log.next_seq,
            prev_hash: log.prev_hash,
            durable_upto: log.flushed_seq,
            payload_bytes: 0,
            payload_crc: 0,
        };
        header.of_payload(pieces.iter().map(|piece| &piece[..]));
        (header, self.0.mine[0].geometry.offset(place.segment) + place.end)
    }

    fn frame_written(&self, header: &FrameHeader, bytes: u64, durable: bool) {
        let mut log = self.0.log.borrow_mut();
        if let Some(place) = &mut log.place {
            place.end += bytes;
        }
        log.next_seq += 1;
        log.prev_hash = header.hash();
        log.written_seq = header.seq;
        // A marker acknowledges nothing, so nothing has to prove it: else each would ask for the next.
        let proves = if header.count == 0 { header.seq } else { header.durable_upto };
        log.proven_seq = log.proven_seq.max(proves);
        log.frames += 1;
        log.bytes_written += bytes;
        if durable {
            log.flushed_seq = header.seq;
        } else {
            log.unflushed_bytes += bytes;
        }
    }

    /// Copies head, pieces and padding through the buffer and writes it as often as it fills.
    async fn write_pieces(
        &self,
        (volume, mut offset): (VolumeId, u64),
        bytes: u64,
        head: &[u8],
        pieces: &[Bytes],
        mut buf: E::Buf,
        method: FlushMethod,
    ) -> Result<E::Buf, StoreError> {
        let durability = match method {
            FlushMethod::Flush => Durability::Cached,
            FlushMethod::Durable => Durability::Durable,
        };
        let (mut left, mut at) = (bytes, 0);
        buf.set_len(left.min(FRAME_BUFFER_BYTES as u64) as usize);
        for mut piece in std::iter::once(head).chain(pieces.iter().map(|piece| &piece[..])) {
            while !piece.is_empty() {
                if at == buf.len() {
                    buf = self.0.volumes.write(volume, offset, buf, durability).await?;
                    offset += at as u64;
                    left -= at as u64;
                    at = 0;
                    buf.set_len(left.min(FRAME_BUFFER_BYTES as u64) as usize);
                }
                let take = piece.len().min(buf.len() - at);
                buf[at..at + take].copy_from_slice(&piece[..take]);
                at += take;
                piece = &piece[take..];
            }
        }
        buf[at..].fill(0);
        self.0.volumes.write(volume, offset, buf, durability).await
    }

    /// Seals the open segment and goes on in a new one.
    async fn roll(&self) -> Result<OpenSegment, StoreError> {
        // The end goes into the map, and a sealed end says that everything before it was flushed.
        self.flush_log().await?;
        let ends = self.0.log.borrow().ends();
        let (segment, generation) = self.0.mine[0].roll_log(&ends).await?;
        let place = OpenSegment { segment, generation, end: 0 };
        self.0.log.borrow_mut().place = Some(place);
        Ok(place)
    }

    /// Makes every written frame durable.
    pub(crate) async fn flush_log(&self) -> Result<(), StoreError> {
        let (written, flushed) = {
            let log = self.0.log.borrow();
            (log.written_seq, log.flushed_seq)
        };
        if flushed >= written {
            return Ok(());
        }
        self.0.volumes.flush(self.0.mine[0].id).await?;
        {
            let mut log = self.0.log.borrow_mut();
            log.flushed_seq = log.flushed_seq.max(written);
            log.unflushed_bytes = 0;
        }
        self.free_dropped();
        Ok(())
    }

    /// Starts the flush that `sync = threshold` owes, if it is due.
    fn flush_by_policy(&self) {
        let SyncPolicy::Threshold { bytes } = self.0.config.sync else { return };
        if self.0.log.borrow().unflushed_bytes < bytes {
            return;
        }
        self.0.log.borrow_mut().unflushed_bytes = 0;
        let store = self.clone();
        self.0.env.spawn(async move { store.flush_or_fail().await });
    }

    /// The task behind `sync = periodic`.
    pub(crate) async fn run_periodic_flush(self, ms: u64) {
        while !self.0.log.borrow().failed && !self.0.log.borrow().stopping {
            self.0.env.sleep(ms * 1_000_000).await;
            self.flush_or_fail().await;
        }
    }

    async fn flush_or_fail(&self) {
        if self.flush_log().await.is_err() {
            self.fail_log();
        }
    }

    /// Refuses everything from now on and tells everyone who waits.
    pub(crate) fn fail_log(&self) {
        let frames: Vec<OpenFrame> = {
            let mut log = self.0.log.borrow_mut();
            log.failed = true;
            std::iter::from_fn(|| log.take_frame()).collect()
        };
        self.forget_pending();
        for frame in frames {
            frame.fate.decide(FrameState::Failed);
        }
    }

    /// Waits until everything appended so far was written.
    pub(crate) async fn drain_log(&self) -> Result<(), StoreError> {
        let last = self.0.log.borrow().last_fate();
        last.wait().await.map(drop)
    }
}
