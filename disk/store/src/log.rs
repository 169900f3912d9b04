//! The log of one core: frames being filled, what a commit waits for, where the log stands.
//!
//! Invariant: frames reach the device in the order of their numbers, one at a time, and are acknowledged
//! in that order. Owned by one core; `log_writer` moves it on.

use std::{cell::Cell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use stria_base::{Hlc, PgId};
use stria_env::sync::Notify;

use crate::{error::StoreError, map::SEGMENT_LOG2_MIN, row::Row};

/// A frame is closed when its records reach this, or half a segment.
pub(crate) const FRAME_BYTES_TARGET: u64 = 1 << 20;
/// Largest record, and so largest frame.
pub(crate) const RECORD_BYTES_MAX: u64 = 16 << 20;

/// Room a frame needs beyond its records: header and padding.
pub(crate) const FRAME_OVERHEAD_BYTES: u64 = 8192;

const _: () =
    assert!(2 * FRAME_OVERHEAD_BYTES <= 1 << SEGMENT_LOG2_MIN, "a full frame fits into any segment");

/// When a commit completes, and when the device is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// A commit completes on stable media.
    Always,
    /// A commit completes when written; a flush follows after so many bytes.
    Threshold {
        /// Bytes of log.
        bytes: u64,
    },
    /// A commit completes when written; a flush follows after so long.
    Periodic {
        /// Milliseconds.
        ms: u64,
    },
    /// A commit completes when written; flushes happen at segment ends and at shutdown only.
    None,
}

/// How a frame reaches stable media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// Write, then flush the device.
    Flush,
    /// One durable write (FUA or DSYNC).
    Durable,
}

/// What a commit was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Number of the record in its PG.
    pub pg_seq: u64,
    /// Number of the frame in this core's log.
    pub frame: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameState {
    Pending,
    Durable(u64),
    Failed,
}

/// The fate of one frame, shared by everyone who waits for it.
pub(crate) struct FrameFate {
    state: Cell<FrameState>,
    decided: Notify,
}

impl FrameFate {
    fn pending() -> Rc<Self> {
        Rc::new(Self { state: Cell::new(FrameState::Pending), decided: Notify::default() })
    }

    pub(crate) fn decide(&self, state: FrameState) {
        self.state.set(state);
        self.decided.notify_all();
    }

    pub(crate) async fn wait(&self) -> Result<u64, StoreError> {
        loop {
            let decided = self.decided.notified();
            match self.state.get() {
                FrameState::Durable(frame) => return Ok(frame),
                FrameState::Failed => return Err(StoreError::Failed),
                FrameState::Pending => decided.await,
            }
        }
    }
}

/// Waits until what was seen pending is durable.
#[derive(Clone)]
pub struct Ticket(pub(crate) Rc<FrameFate>);

impl Ticket {
    /// Completes when it is durable at the promised level and visible.
    ///
    /// # Errors
    /// `Failed` when the log failed: it may or may not be there after a restart.
    pub async fn wait(&self) -> Result<(), StoreError> {
        self.0.wait().await.map(drop)
    }
}

/// A sequenced record. Dropping it does not take it back.
pub struct Commit {
    pub(crate) fate: Rc<FrameFate>,
    pub(crate) pg_seq: u64,
}

impl Commit {
    /// Completes when the record is durable at the promised level and its rows are visible.
    ///
    /// # Errors
    /// `Failed` when the log failed: the record may or may not be there after a restart.
    pub async fn wait(self) -> Result<CommitInfo, StoreError> {
        let frame = self.fate.wait().await?;
        Ok(CommitInfo { pg_seq: self.pg_seq, frame })
    }
}

/// A change on its way into the index.
pub(crate) struct PendingChange {
    pub(crate) key: Box<[u8]>,
    /// `None` deletes. The offset of an inline body counts from the start of the record until the frame has a place.
    pub(crate) row: Option<Row>,
    pub(crate) seq: u64,
    pub(crate) hlc: Hlc,
}

/// A record on its way to the device.
pub(crate) struct PendingRecord {
    pub(crate) pg: PgId,
    pub(crate) changes: Vec<PendingChange>,
    /// Whether the rows keep their numbers because a segment is being cleaned.
    pub(crate) relocated: bool,
    /// Offset of the record in the payload.
    pub(crate) at: u64,
}

/// Records that will be one frame.
pub(crate) struct OpenFrame {
    pub(crate) records: Vec<PendingRecord>,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) bytes: u64,
    pub(crate) fate: Rc<FrameFate>,
}

impl OpenFrame {
    fn new() -> Self {
        Self { records: Vec::new(), pieces: Vec::new(), bytes: 0, fate: FrameFate::pending() }
    }
}

/// The segment the log is filling.
#[derive(Clone, Copy)]
pub(crate) struct OpenSegment {
    pub(crate) segment: u32,
    pub(crate) generation: u64,
    /// Bytes of log in it.
    pub(crate) end: u64,
}

/// Where the log stands. Behind a `RefCell` of the store.
pub(crate) struct Log {
    closed: VecDeque<OpenFrame>,
    open: OpenFrame,
    /// The frame being written, or the last one written.
    pub(crate) current: Rc<FrameFate>,
    /// The segment being filled; `None` before the first frame: opening takes no space.
    pub(crate) place: Option<OpenSegment>,
    /// Segments an earlier life left open, and where their log ends: sealed with the first roll.
    pub(crate) unsealed: Vec<(u32, u32)>,
    pub(crate) next_seq: u64,
    pub(crate) prev_hash: u64,
    /// Highest frame the device has.
    pub(crate) written_seq: u64,
    /// Highest frame on stable media.
    pub(crate) flushed_seq: u64,
    /// Highest `durable_upto` on the device.
    pub(crate) proven_seq: u64,
    pub(crate) unflushed_bytes: u64,
    frame_bytes_target: u64,
    pub(crate) failed: bool,
    pub(crate) stopping: bool,
    pub(crate) writer_gone: bool,
    pub(crate) frames: u64,
    pub(crate) bytes_written: u64,
    /// Segments left because a write to them failed.
    pub(crate) moves: u64,
}

impl Log {
    /// Continues after frame `next_seq - 1`, in a fresh segment as soon as there is a frame to write.
    pub(crate) fn new(unsealed: Vec<(u32, u32)>, next_seq: u64, prev_hash: u64, segment_bytes: u64) -> Self {
        // After a crash nothing proves the last frame yet: a marker in the new segment will.
        let proven_seq = if unsealed.iter().any(|(_, end)| *end > 0) { 0 } else { next_seq - 1 };
        let current = FrameFate::pending();
        current.decide(FrameState::Durable(next_seq - 1));
        Self {
            closed: VecDeque::new(),
            open: OpenFrame::new(),
            current,
            place: None,
            unsealed,
            next_seq,
            prev_hash,
            written_seq: next_seq - 1,
            flushed_seq: next_seq - 1,
            proven_seq,
            unflushed_bytes: 0,
            frame_bytes_target: FRAME_BYTES_TARGET.min(segment_bytes / 2),
            failed: false,
            stopping: false,
            writer_gone: false,
            frames: 0,
            bytes_written: 0,
            moves: 0,
        }
    }

    /// Segments to seal when the log goes on elsewhere, and where their log ends.
    pub(crate) fn ends(&self) -> Vec<(u32, u32)> {
        match self.place {
            Some(place) => vec![(place.segment, place.end as u32)],
            None => self.unsealed.clone(),
        }
    }

    /// Bytes of records not written yet.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.open.bytes + self.closed.iter().map(|frame| frame.bytes).sum::<u64>()
    }

    /// Appends a record to the open frame. Without a writer that could take it there is no record: its fate
    /// is decided at once, or cleaning would wait for it for ever.
    pub(crate) fn append(
        &mut self,
        mut record: PendingRecord,
        pieces: Vec<Bytes>,
        bytes: u64,
    ) -> Rc<FrameFate> {
        if self.failed || self.writer_gone {
            let fate = FrameFate::pending();
            fate.decide(FrameState::Failed);
            return fate;
        }
        if self.open.bytes > 0 && self.open.bytes + bytes > self.frame_bytes_target {
            self.closed.push_back(std::mem::replace(&mut self.open, OpenFrame::new()));
        }
        record.at = self.open.bytes;
        self.open.records.push(record);
        self.open.pieces.extend(pieces);
        self.open.bytes += bytes;
        self.open.fate.clone()
    }

    /// The next frame to write.
    pub(crate) fn take_frame(&mut self) -> Option<OpenFrame> {
        let frame = match self.closed.pop_front() {
            Some(frame) => frame,
            None if self.open.bytes > 0 => std::mem::replace(&mut self.open, OpenFrame::new()),
            None => return None,
        };
        self.current = frame.fate.clone();
        Some(frame)
    }

    /// The fate of the last frame there is.
    pub(crate) fn last_fate(&self) -> Rc<FrameFate> {
        if self.open.bytes > 0 {
            return self.open.fate.clone();
        }
        self.closed.back().map_or_else(|| self.current.clone(), |frame| frame.fate.clone())
    }
}
