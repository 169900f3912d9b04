//! Frames and records of the log: bytes to values and back, and where a log ends.
//!
//! Invariant: a frame decodes only where it was written, in the store that wrote it, in the use of the
//! segment it belongs to; anything else is `None`. Decoding never panics, whatever the bytes.
//! Deliberately absent: I/O, allocation of segments, rows. Docs: docs/format/wal.md.

mod frame;
mod record;
mod tail;

pub use frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, Frame, FrameHeader, Seed, decode_frame, frame_bytes};
pub use record::{
    BodyKind, Change, INLINE_HEADER_BYTES, RECORD_HEADER_BYTES, Record, RecordBuilder, RecordKind,
    change_bytes, records,
};
pub use tail::{Chain, End, find_end};

/// What fuzzing calls: every decoder over the same bytes.
pub fn fuzz_decode(bytes: &[u8]) {
    let seed = Seed::new(7, 0, 0);
    if let Some(frame) = decode_frame(bytes, seed, 1) {
        for record in records(frame.payload) {
            let _ = record.map(|record| record.changes().count());
        }
    }
    for record in records(bytes) {
        let _ = record.map(|record| record.changes().count());
    }
}
