//! Records: one atomic set of row changes of one PG.

use bytes::Bytes;
use stria_base::{DataId, Hlc, PgId, checksum};

/// Bytes before the changes.
pub const RECORD_HEADER_BYTES: usize = 40;
const CHANGE_HEADER_BYTES: usize = 32;
/// Bytes before an inline body.
pub const INLINE_HEADER_BYTES: usize = 20;

const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;

/// What a record is for. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// New changes; they carry the record's `pg_seq`.
    Changes = 1,
    /// Rows rewritten out of a segment that is being cleaned; they keep the numbers they had.
    Relocated = 2,
}

/// How a change's body is kept. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BodyKind {
    /// There is none.
    None = 0,
    /// In the record.
    Inline = 1,
    /// In extents, described in the record.
    Extents = 2,
}

/// A change as found in a record.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Whether the row goes away.
    pub delete: bool,
    /// The row's sequence number.
    pub seq: u64,
    /// The row's stamp.
    pub hlc: Hlc,
    /// The row key.
    pub key: &'a [u8],
    /// The row's metadata.
    pub meta: &'a [u8],
    /// How its body is kept.
    pub body_kind: BodyKind,
    /// The body's bytes in the record: an inline header and body, or a description of extents.
    pub body: &'a [u8],
    /// Offset of `body` in the payload.
    pub body_at: usize,
    /// Bytes the change takes in the record.
    pub bytes: usize,
}

/// A record as found in a payload.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it is for.
    pub kind: RecordKind,
    /// Its PG.
    pub pg: PgId,
    /// Its number in the PG.
    pub pg_seq: u64,
    /// When it was sequenced.
    pub hlc: Hlc,
    count: u32,
    changes: &'a [u8],
    changes_at: usize,
}

/// The records of a payload, in order. A record that does not verify ends the iteration with an `Err`.
pub fn records(payload: &[u8]) -> impl Iterator<Item = Result<Record<'_>, BadRecord>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        let record = decode_record(payload, at);
        match record {
            Some((record, bytes)) => {
                at += bytes;
                Some(Ok(record))
            }
            None => {
                at = payload.len();
                Some(Err(BadRecord))
            }
        }
    })
}

/// A record does not verify, or a newer release wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn decode_record(payload: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let head = payload.get(at..at + RECORD_HEADER_BYTES)?;
    let bytes = u32_at(head, 0) as usize;
    if bytes < RECORD_HEADER_BYTES {
        return None;
    }
    let whole = payload.get(at..at + bytes)?;
    let pg_seq = u64_at(head, 24);
    if checksum::crc32c_seeded(pg_seq, &whole[8..]) != u32_at(head, 4) {
        return None;
    }
    let kind = match u16::from_le_bytes([head[8], head[9]]) {
        1 => RecordKind::Changes,
        2 => RecordKind::Relocated,
        _ => return None,
    };
    let record = Record {
        kind,
        pg: PgId(u16::from_le_bytes([head[10], head[11]])),
        pg_seq,
        hlc: Hlc(u64_at(head, 32)),
        count: u32_at(head, 12),
        changes: &whole[RECORD_HEADER_BYTES..],
        changes_at: at + RECORD_HEADER_BYTES,
    };
    // Verified once here, so that `changes` cannot fail half-way through a record.
    let count = record.changes().count();
    let taken: usize = record.changes().map(|change| change.bytes).sum();
    (count == record.count as usize && taken == record.changes.len()).then_some((record, bytes))
}

impl<'a> Record<'a> {
    /// Its changes, in order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'a>> + use<'a> {
        let (changes, changes_at, mut at) = (self.changes, self.changes_at, 0);
        std::iter::from_fn(move || {
            let change = decode_change(changes, at, changes_at)?;
            at += change.bytes;
            Some(change)
        })
    }
}

fn decode_change(changes: &[u8], at: usize, changes_at: usize) -> Option<Change<'_>> {
    let head = changes.get(at..at + CHANGE_HEADER_BYTES)?;
    let delete = match head[0] {
        OP_PUT => false,
        OP_DELETE => true,
        _ => return None,
    };
    let body_kind = match head[1] {
        0 => BodyKind::None,
        1 => BodyKind::Inline,
        2 => BodyKind::Extents,
        _ => return None,
    };
    let key_bytes = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let meta_bytes = u32_at(head, 4) as usize;
    let body_bytes = usize::try_from(u64_at(head, 8)).ok()?;
    let rest = &changes[at + CHANGE_HEADER_BYTES..];
    let (key, rest) = rest.split_at_checked(key_bytes)?;
    let (meta, rest) = rest.split_at_checked(meta_bytes)?;
    let body = rest.get(..body_bytes)?;
    if body_kind == BodyKind::Inline && body.len() < INLINE_HEADER_BYTES {
        return None;
    }
    let body_start = at + CHANGE_HEADER_BYTES + key_bytes + meta_bytes;
    Some(Change {
        delete,
        seq: u64_at(head, 16),
        hlc: Hlc(u64_at(head, 24)),
        key,
        meta,
        body_kind,
        body,
        body_at: changes_at + body_start,
        bytes: CHANGE_HEADER_BYTES + key_bytes + meta_bytes + body_bytes,
    })
}

/// Bytes a change takes in a record.
#[must_use]
pub fn change_bytes(key_bytes: usize, meta_bytes: usize, body_bytes: usize) -> usize {
    CHANGE_HEADER_BYTES + key_bytes + meta_bytes + body_bytes
}

/// Builds a record as pieces, so that inline bodies are copied once, into the frame.
pub struct RecordBuilder {
    pieces: Vec<Bytes>,
    open: Vec<u8>,
    bytes: usize,
    count: u32,
    kind: RecordKind,
    pg: PgId,
    pg_seq: u64,
    hlc: Hlc,
}

impl RecordBuilder {
    /// An empty record.
    #[must_use]
    pub fn new(kind: RecordKind, pg: PgId, pg_seq: u64, hlc: Hlc) -> Self {
        let mut open = Vec::with_capacity(256);
        open.resize(RECORD_HEADER_BYTES, 0);
        Self { pieces: Vec::new(), open, bytes: RECORD_HEADER_BYTES, count: 0, kind, pg, pg_seq, hlc }
    }

    fn change(&mut self, op: u8, kind: BodyKind, lens: (usize, usize, usize), seq: u64, hlc: Hlc) {
        let (key_bytes, meta_bytes, body_bytes) = lens;
        let key_bytes = u16::try_from(key_bytes).expect("row keys are bounded by the limit on object keys");
        let meta_bytes = u32::try_from(meta_bytes).expect("row metadata is far below 4 GiB");
        self.open.push(op);
        self.open.push(kind as u8);
        self.open.extend_from_slice(&key_bytes.to_le_bytes());
        self.open.extend_from_slice(&meta_bytes.to_le_bytes());
        self.open.extend_from_slice(&(body_bytes as u64).to_le_bytes());
        self.open.extend_from_slice(&seq.to_le_bytes());
        self.open.extend_from_slice(&hlc.0.to_le_bytes());
        self.count += 1;
        self.bytes += CHANGE_HEADER_BYTES;
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// A row goes away.
    pub fn delete(&mut self, key: &[u8], seq: u64, hlc: Hlc) {
        self.change(OP_DELETE, BodyKind::None, (key.len(), 0, 0), seq, hlc);
        self.copy(key);
    }

    /// A row without a body, or with one in extents (`described`).
    pub fn put(&mut self, key: &[u8], meta: &[u8], described: Option<&[u8]>, seq: u64, hlc: Hlc) {
        let kind = if described.is_some() { BodyKind::Extents } else { BodyKind::None };
        let body = described.unwrap_or_default();
        self.change(OP_PUT, kind, (key.len(), meta.len(), body.len()), seq, hlc);
        for part in [key, meta, body] {
            self.copy(part);
        }
    }

    /// A row with its body in the record. Returns the body's checksum and the offset of its bytes in the record.
    pub fn put_inline(
        &mut self,
        key: &[u8],
        meta: &[u8],
        id: DataId,
        body: &Bytes,
        seq: u64,
        hlc: Hlc,
    ) -> (u32, usize) {
        let crc = checksum::block_crc(id, 0, body);
        self.change(
            OP_PUT,
            BodyKind::Inline,
            (key.len(), meta.len(), INLINE_HEADER_BYTES + body.len()),
            seq,
            hlc,
        );
        self.copy(key);
        self.copy(meta);
        self.copy(&id.0.to_le_bytes());
        self.copy(&crc.to_le_bytes());
        let at = self.bytes;
        self.pieces.push(Bytes::from(std::mem::take(&mut self.open)));
        self.pieces.push(body.clone());
        self.bytes += body.len();
        (crc, at)
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The record's pieces in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Bytes> {
        let record_bytes = u32::try_from(self.bytes).expect("a record is bounded far below 4 GiB");
        if !self.open.is_empty() {
            self.pieces.push(Bytes::from(std::mem::take(&mut self.open)));
        }
        // The first piece starts with the header's room; nobody else holds it yet.
        let mut first = Vec::from(self.pieces.remove(0));
        first[..4].copy_from_slice(&record_bytes.to_le_bytes());
        first[8..10].copy_from_slice(&(self.kind as u16).to_le_bytes());
        first[10..12].copy_from_slice(&self.pg.0.to_le_bytes());
        first[12..16].copy_from_slice(&self.count.to_le_bytes());
        first[16..24].fill(0);
        first[24..32].copy_from_slice(&self.pg_seq.to_le_bytes());
        first[32..40].copy_from_slice(&self.hlc.0.to_le_bytes());
        let mut crc = checksum::Crc32c::default();
        crc.update(&first[8..]);
        for piece in &self.pieces {
            crc.update(piece);
        }
        let crc = checksum::seed_crc(self.pg_seq, crc.finish());
        first[4..8].copy_from_slice(&crc.to_le_bytes());
        self.pieces.insert(0, Bytes::from(first));
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload() -> Vec<u8> {
        let mut one = RecordBuilder::new(RecordKind::Changes, PgId(3), 10, Hlc(99));
        let body = Bytes::from_static(b"hello body");
        let (crc, at) = one.put_inline(b"key", b"meta", DataId(5), &body, 10, Hlc(99));
        one.delete(b"other", 10, Hlc(99));
        one.put(b"big", b"m", Some(b"described"), 10, Hlc(99));
        let bytes = one.bytes();
        let mut out: Vec<u8> = one.finish().concat();
        assert_eq!(out.len(), bytes);
        assert_eq!(&out[at..at + 10], b"hello body");
        assert_eq!(crc, checksum::block_crc(DataId(5), 0, b"hello body"));
        let mut two = RecordBuilder::new(RecordKind::Relocated, PgId(4), 0, Hlc(1));
        two.put(b"k", b"", None, 7, Hlc(8));
        out.extend(two.finish().concat());
        out
    }

    #[test]
    fn records_come_back_as_built() {
        let payload = payload();
        let found: Vec<_> = records(&payload).map(|r| r.expect("verifies")).collect();
        assert_eq!(found.len(), 2);
        let changes: Vec<_> = found[0].changes().collect();
        assert_eq!((found[0].pg, found[0].pg_seq, found[0].hlc), (PgId(3), 10, Hlc(99)));
        assert_eq!((changes[0].key, changes[0].meta, changes[0].delete), (&b"key"[..], &b"meta"[..], false));
        assert_eq!(&changes[0].body[INLINE_HEADER_BYTES..], b"hello body");
        assert_eq!(&payload[changes[0].body_at + INLINE_HEADER_BYTES..][..10], b"hello body");
        assert!(changes[1].delete && changes[1].key == b"other");
        assert_eq!((changes[2].body_kind, changes[2].body), (BodyKind::Extents, &b"described"[..]));
        assert_eq!(found[1].kind, RecordKind::Relocated);
        assert_eq!(found[1].changes().next().map(|c| (c.seq, c.hlc)), Some((7, Hlc(8))));
    }

    #[test]
    fn any_flipped_byte_is_seen() {
        let payload = payload();
        for at in 0..payload.len() {
            let mut hurt = payload.clone();
            hurt[at] ^= 0x10;
            assert!(records(&hurt).any(|r| r.is_err()), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            crate::fuzz_decode(&bytes);
        }
    }
}
