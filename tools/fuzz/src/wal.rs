//! Targets of `disk/wal`.
//!
//! Invariant: a frame that decodes is whole, encodes to the same bytes and decodes nowhere else; every slice a
//! record names lies in its payload. Checksums stop a fuzzer at the first byte, so the same bytes are judged once
//! more with their checksums put right. Owner: the storage group.

use stria_wal::{
    BodyKind, Chain, End, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, INLINE_HEADER_BYTES,
    RECORD_HEADER_BYTES, Seed, decode_frame, find_end, frame_bytes, records,
};

/// Store of the frames in the corpus.
pub const WAL_STORE: u128 = 7;
/// Generation of the segment they are in.
pub const WAL_GENERATION: u64 = 1;
/// Bytes from which on a frame is looked at no more: longer inputs only slow the fuzzer down.
const INPUT_BYTES_MAX: usize = 256 << 10;

/// Log segments: the input is a segment that starts at offset 0 of volume 0.
pub fn wal_frame(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(INPUT_BYTES_MAX)];
    stria_wal::fuzz_decode(bytes);
    segment(bytes);
    check_records(bytes);
    let mut repaired = bytes.to_vec();
    repair(&mut repaired);
    segment(&repaired);
}

/// Frames of the segment from its start: how many belong to the log, and what the first that does not is.
pub fn segment(bytes: &[u8]) -> (u64, End) {
    let (mut chain, mut at) = (Chain { next_seq: 1, prev_hash: 0 }, 0);
    while let Some(header) = frame_at(bytes, at).filter(|header| chain.accept(header)) {
        at += frame_bytes(u64::from(header.payload_bytes)) as usize;
    }
    let behind = (at..bytes.len()).step_by(FRAME_ALIGN as usize).filter_map(|at| frame_at(bytes, at));
    (chain.next_seq - 1, find_end(chain.next_seq, behind))
}

fn seed(at: usize) -> Seed {
    Seed::new(WAL_STORE, 0, at as u64)
}

/// The frame at `at`, held to everything that must be true of it.
fn frame_at(bytes: &[u8], at: usize) -> Option<FrameHeader> {
    let here = bytes.get(at..)?;
    let frame = decode_frame(here, seed(at), WAL_GENERATION)?;
    let (header, payload) = (frame.header, frame.payload);
    let whole = FRAME_HEADER_BYTES + payload.len();
    assert_eq!(payload.len(), header.payload_bytes as usize);
    assert!(decode_frame(&here[..whole - 1], seed(at), WAL_GENERATION).is_none(), "a byte is missing");
    assert!(decode_frame(here, seed(at), WAL_GENERATION + 1).is_none(), "a later use of the segment");
    assert!(decode_frame(here, seed(at + 4096), WAL_GENERATION).is_none(), "another place");
    assert!(decode_frame(here, Seed::new(WAL_STORE, 1, at as u64), WAL_GENERATION).is_none(), "volume");
    // Bytes 48..60 are zero in every frame we write, and not looked at when one is read.
    if here[48..60] == [0; 12] {
        assert_eq!(header.encode(seed(at)), here[..FRAME_HEADER_BYTES]);
    }
    check_records(payload);
    Some(header)
}

fn check_records(payload: &[u8]) {
    let (mut ended, mut at) = (false, 0);
    for record in records(payload) {
        assert!(!ended, "nothing comes after a record that does not verify");
        let Ok(record) = record else {
            ended = true;
            continue;
        };
        at += RECORD_HEADER_BYTES;
        for change in record.changes() {
            assert_eq!(change.body, &payload[change.body_at..][..change.body.len()]);
            assert_eq!(
                change.body_at + change.body.len(),
                at + change.bytes,
                "changes lie one behind the other"
            );
            assert!(change.key.len() + change.meta.len() + change.body.len() < change.bytes);
            assert!(change.body_kind != BodyKind::Inline || change.body.len() >= INLINE_HEADER_BYTES);
            at += change.bytes;
        }
    }
    assert!(ended || at == payload.len(), "records fill their payload");
}

/// Puts magic, generation and checksums of the frames right, as far as their lengths lead somewhere.
fn repair(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes.len().saturating_sub(at) >= FRAME_HEADER_BYTES {
        let here = &mut bytes[at..];
        let length = u32_at(here, 40) as usize % (here.len() - FRAME_HEADER_BYTES + 1);
        let (head, rest) = here.split_at_mut(FRAME_HEADER_BYTES);
        let payload = &mut rest[..length];
        repair_records(payload);
        let mut header = FrameHeader {
            count: u32_at(head, 4),
            generation: WAL_GENERATION,
            seq: u64_at(head, 16),
            prev_hash: u64_at(head, 24),
            durable_upto: u64_at(head, 32),
            payload_bytes: 0,
            payload_crc: 0,
        };
        header.of_payload(std::iter::once(&*payload));
        head.copy_from_slice(&header.encode(seed(at)));
        at += frame_bytes(length as u64) as usize;
    }
}

fn repair_records(payload: &mut [u8]) {
    let mut at = 0;
    while payload.len() - at >= RECORD_HEADER_BYTES {
        let here = &mut payload[at..];
        let length = u32_at(here, 0) as usize;
        if length < RECORD_HEADER_BYTES || length > here.len() {
            return;
        }
        let crc = stria_base::checksum::crc32c_seeded(u64_at(here, 24), &here[8..length]);
        here[4..8].copy_from_slice(&crc.to_le_bytes());
        at += length;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
