//! The corpus of `wal_frame`: real segments, and what each is read as.
//!
//! Invariant: every file of `corpus/wal_frame` is what this builds with today's encoder, so that the corpus follows
//! the format. After a change of the format, write it anew with `WAL_CORPUS_WRITE=1`.

use std::path::Path;

use stria_base::{DataId, Hlc, PgId};
use stria_fuzz::{WAL_GENERATION, WAL_STORE, segment};
use stria_wal::{End, FrameHeader, RecordBuilder, RecordKind, Seed, frame_bytes};

/// Records of a frame as one payload: inline, extents, metadata only, deletion, relocation.
fn payload(frame: u64, body_bytes: usize) -> Vec<u8> {
    let (pg, hlc) = (PgId(3), Hlc(1_000 + frame));
    let mut record = RecordBuilder::new(RecordKind::Changes, pg, frame, hlc);
    let body = bytes::Bytes::from(vec![frame as u8; body_bytes]);
    record.put_inline(b"bucket/key", b"meta", DataId(u128::from(frame)), &body, frame, hlc);
    record.put(b"bucket/large", b"meta", Some(b"described extents"), frame, hlc);
    record.put(b"bucket/upload", b"m", None, frame, hlc);
    record.delete(b"bucket/gone", frame, hlc);
    let mut relocated = RecordBuilder::new(RecordKind::Relocated, pg, 0, Hlc(5));
    relocated.put(b"bucket/old", b"m", None, 1, Hlc(5));
    [record.finish().concat(), relocated.finish().concat()].concat()
}

/// A segment being written.
struct Segment {
    bytes: Vec<u8>,
    seq: u64,
    prev_hash: u64,
    generation: u64,
}

impl Segment {
    fn of(generation: u64) -> Self {
        Self { bytes: Vec::new(), seq: 0, prev_hash: 0, generation }
    }

    fn frame(mut self, payload: &[u8], count: u32, durable_upto: u64) -> Self {
        self.seq += 1;
        let mut header = FrameHeader {
            count,
            generation: self.generation,
            seq: self.seq,
            prev_hash: self.prev_hash,
            durable_upto,
            payload_bytes: 0,
            payload_crc: 0,
        };
        header.of_payload(std::iter::once(payload));
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header.encode(Seed::new(WAL_STORE, 0, start as u64)));
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(start + frame_bytes(payload.len() as u64) as usize, 0);
        self.prev_hash = header.hash();
        self
    }

    fn filled(generation: u64) -> Self {
        Self::of(generation)
            .frame(&payload(1, 100), 2, 0)
            .frame(&payload(2, 5_000), 2, 1)
            .frame(&[], 0, 2)
            .frame(&payload(4, 0), 2, 3)
    }
}

/// Name, bytes, frames that belong to the log, what the first other one is.
fn cases() -> Vec<(&'static str, Vec<u8>, u64, End)> {
    let valid = Segment::filled(WAL_GENERATION).bytes;
    let second = frame_bytes(payload(1, 100).len() as u64) as usize;
    let hurt = |at: usize| {
        let mut bytes = valid.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut torn =
        Segment::of(WAL_GENERATION).frame(&payload(1, 100), 2, 0).frame(&payload(2, 9_000), 2, 1).bytes;
    // The sectors after the first never reached the drive.
    let end = torn.len();
    torn[second + 512..end].fill(0);
    let mut lap = Segment::of(WAL_GENERATION).frame(&payload(1, 100), 2, 0).bytes;
    lap.extend_from_slice(&Segment::filled(WAL_GENERATION - 1).bytes[second..]);
    let mut wrong_place = valid[second..].to_vec();
    wrong_place.truncate(8192);
    let cut = valid[..valid.len() - 4096 + 70].to_vec();
    vec![
        ("valid", valid.clone(), 4, End::Torn),
        ("torn", torn, 1, End::Torn),
        ("cut-short", cut, 3, End::Torn),
        ("stale-generation", Segment::filled(WAL_GENERATION - 1).bytes, 0, End::Torn),
        ("stale-behind-new", lap, 1, End::Torn),
        ("wrong-header-crc", hurt(61), 0, End::Rot),
        ("wrong-payload-crc", hurt(second + 45), 1, End::Rot),
        ("wrong-payload", hurt(second + 3_000), 1, End::Rot),
        ("wrong-last-frame", hurt(valid.len() - 4096 + 100), 3, End::Torn),
        ("wrong-place", wrong_place, 0, End::Torn),
        ("records-only", payload(9, 64), 0, End::Torn),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of the tools keeps its seeds; no core runs here")]
fn the_corpus_is_what_the_encoder_writes_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/wal_frame");
    let write = std::env::var_os("WAL_CORPUS_WRITE").is_some();
    for (name, bytes, frames, end) in cases() {
        assert_eq!(segment(&bytes), (frames, end), "{name}");
        if write {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join(name), &bytes).expect("written");
        }
        let kept = std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(kept == bytes, "{name} is of another format: see the head of this file");
    }
}
