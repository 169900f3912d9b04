//! Runs: sorted rows of one PG as blocks and an index, bytes only. Layout: docs/format/runs.md.
//!
//! Invariant: a row is decoded only out of a block that verifies against the run's index, and the index
//! only when it verifies against the manifest. Decoding never panics, whatever the bytes. Any core; built
//! by the PG's owner, decoded at start.

use stria_base::{DataId, Hlc, PgId, VolumeId, checksum::crc32c_seeded, hash::hash64, units::align_up};
use stria_env::disk::BLOCK_BYTES;

use crate::{
    packed::RowView,
    row::{BodyRef, Extent, ExtentBody, Home, InlineRef, Row},
};

const MAGIC: [u8; 8] = *b"STRIARUN";
const FORMAT: u32 = 1;
const INDEX_HEADER_BYTES: usize = 64;
const ENTRY_HEADER_BYTES: usize = 16;
const ROW_HEADER_BYTES: usize = 40;
const INLINE_BYTES: usize = 40;
const BODY_INLINE: u8 = 1;
const BODY_EXTENTS: u8 = 2;
const TOMBSTONE: u8 = 4;

const _: () = assert!(ROW_HEADER_BYTES + INLINE_BYTES < BLOCK_BYTES as usize);

/// A row as a run keeps it.
#[derive(Debug)]
pub struct RunRow {
    /// Row key.
    pub key: Box<[u8]>,
    /// Number of the change.
    pub seq: u64,
    /// When; 0 of a tombstone whose stamp is not known.
    pub hlc: Hlc,
    /// `None` is a tombstone.
    pub row: Option<Row>,
}

/// A run as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// Rows in it, tombstones included.
    pub rows: u64,
    /// Blocks and index.
    pub bytes: u64,
    /// The last of them.
    pub index_bytes: u32,
    /// Of the index.
    pub index_hash: u64,
    /// Where it lies, in order.
    pub extents: Vec<Extent>,
}

fn block_seed(uuid: u128, run: u64, block: u64) -> u64 {
    let mut place = [0u8; 24];
    place[..16].copy_from_slice(&uuid.to_le_bytes());
    place[16..].copy_from_slice(&run.to_le_bytes());
    hash64(block, &place)
}

/// Builds a run row by row. What it holds is bounded by how often [`RunBuilder::take_blocks`] is called.
pub struct RunBuilder {
    uuid: u128,
    pg: PgId,
    id: u64,
    blocks: Vec<u8>,
    open: Vec<u8>,
    open_rows: u32,
    open_first: Box<[u8]>,
    last_key: Vec<u8>,
    entries: Vec<u8>,
    block_count: u32,
    rows: u64,
}

impl RunBuilder {
    /// An empty run number `id` of `pg` in the store `uuid`.
    pub fn new(uuid: u128, pg: PgId, id: u64) -> Self {
        Self {
            uuid,
            pg,
            id,
            blocks: Vec::new(),
            open: Vec::with_capacity(BLOCK_BYTES as usize),
            open_rows: 0,
            open_first: Box::default(),
            last_key: Vec::new(),
            entries: Vec::new(),
            block_count: 0,
            rows: 0,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of finished blocks not taken yet.
    pub fn block_bytes(&self) -> usize {
        self.blocks.len()
    }

    /// Finished blocks, to be written behind those taken before.
    pub fn take_blocks(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.blocks)
    }

    /// Adds a row, or a tombstone.
    ///
    /// # Panics
    /// When the key is not above the one before.
    pub fn push(&mut self, key: &[u8], seq: u64, hlc: Hlc, row: Option<RowView<'_>>) {
        assert!(self.rows == 0 || key > &self.last_key[..], "the rows of a run ascend");
        let described = row.map(|row| encode_body(&row)).unwrap_or_default();
        let meta = row.map_or(&[][..], |row| row.meta);
        let most = ROW_HEADER_BYTES + key.len() + meta.len() + described.len();
        if self.open_rows > 0 && self.open.len() + most > BLOCK_BYTES as usize {
            self.close_block();
        }
        let shared = if self.open_rows == 0 { 0 } else { shared_bytes(&self.last_key, key) };
        if self.open_rows == 0 {
            self.open_first = key.into();
        }
        let home = row.map_or(Home { volume: VolumeId(0), segment: 0, bytes: 0 }, |row| row.home);
        self.open.extend_from_slice(&[flags(row.as_ref()), 0]);
        self.open.extend_from_slice(&(shared as u16).to_le_bytes());
        self.open.extend_from_slice(&((key.len() - shared) as u16).to_le_bytes());
        self.open.extend_from_slice(&home.volume.0.to_le_bytes());
        self.open.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        self.open.extend_from_slice(&(described.len() as u32).to_le_bytes());
        self.open.extend_from_slice(&seq.to_le_bytes());
        self.open.extend_from_slice(&hlc.0.to_le_bytes());
        self.open.extend_from_slice(&home.segment.to_le_bytes());
        self.open.extend_from_slice(&home.bytes.to_le_bytes());
        for part in [&key[shared..], meta, &described] {
            self.open.extend_from_slice(part);
        }
        self.open_rows += 1;
        self.rows += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
    }

    fn close_block(&mut self) {
        let padded = align_up(self.open.len() as u64, BLOCK_BYTES) as usize;
        self.open.resize(padded, 0);
        let crc = crc32c_seeded(block_seed(self.uuid, self.id, u64::from(self.block_count)), &self.open);
        self.entries.extend_from_slice(&(padded as u32).to_le_bytes());
        self.entries.extend_from_slice(&self.open_rows.to_le_bytes());
        self.entries.extend_from_slice(&crc.to_le_bytes());
        self.entries.extend_from_slice(&(self.open_first.len() as u16).to_le_bytes());
        self.entries.extend_from_slice(&[0; 2]);
        self.entries.extend_from_slice(&self.open_first);
        self.blocks.append(&mut self.open);
        self.block_count += 1;
        self.open_rows = 0;
    }

    /// The blocks not taken yet and the index behind them, and the index's bytes and hash.
    pub fn finish(mut self) -> (Vec<u8>, u32, u64) {
        if self.open_rows > 0 {
            self.close_block();
        }
        let mut index = vec![0u8; INDEX_HEADER_BYTES];
        index[..8].copy_from_slice(&MAGIC);
        index[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        index[12..14].copy_from_slice(&self.pg.0.to_le_bytes());
        index[16..24].copy_from_slice(&self.id.to_le_bytes());
        index[24..32].copy_from_slice(&self.rows.to_le_bytes());
        index[32..36].copy_from_slice(&self.block_count.to_le_bytes());
        index[40..44].copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        index.append(&mut self.entries);
        index.resize(align_up(index.len() as u64, BLOCK_BYTES) as usize, 0);
        let (bytes, hash) = (index.len() as u32, hash64(self.id, &index));
        self.blocks.append(&mut index);
        (self.blocks, bytes, hash)
    }
}

fn shared_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn flags(row: Option<&RowView<'_>>) -> u8 {
    match row.map(RowView::body) {
        None => TOMBSTONE,
        Some(BodyRef::None) => 0,
        Some(BodyRef::Inline(_)) => BODY_INLINE,
        Some(BodyRef::Extents(_)) => BODY_EXTENTS,
    }
}

fn encode_body(row: &RowView<'_>) -> Vec<u8> {
    match row.body() {
        BodyRef::None => Vec::new(),
        BodyRef::Inline(inline) => {
            let mut out = Vec::with_capacity(INLINE_BYTES);
            out.extend_from_slice(&inline.id.0.to_le_bytes());
            out.extend_from_slice(&inline.volume.0.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&inline.bytes.to_le_bytes());
            out.extend_from_slice(&inline.crc.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&inline.offset.to_le_bytes());
            out
        }
        BodyRef::Extents(body) => body.encode(),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// What decoding a run gave.
#[derive(Debug, Default)]
pub struct DecodedRun {
    /// Rows of the blocks that verify, in order.
    pub rows: Vec<RunRow>,
    /// Whether index or any block does not.
    pub is_damaged: bool,
}

/// Decodes a whole run: `bytes` are its blocks and index as they lie in its extents.
pub fn decode(uuid: u128, pg: PgId, run: &Run, bytes: &[u8]) -> DecodedRun {
    let mut decoded = DecodedRun::default();
    let blocks_bytes = run.bytes.checked_sub(u64::from(run.index_bytes));
    let split = blocks_bytes.and_then(|blocks| bytes.split_at_checked(blocks as usize));
    let index = split.and_then(|(_, index)| index.get(..run.index_bytes as usize));
    let entries = index.filter(|index| hash64(run.id, index) == run.index_hash);
    let (Some((mut blocks, _)), Some(entries)) =
        (split, entries.and_then(|index| entries_of(index, pg, run)))
    else {
        return DecodedRun { is_damaged: true, ..decoded };
    };
    decoded.rows.reserve(run.rows.min(bytes.len() as u64) as usize);
    for (number, entry) in entries.iter().enumerate() {
        let Some((block, rest)) = blocks.split_at_checked(entry.bytes as usize) else {
            return DecodedRun { is_damaged: true, ..decoded };
        };
        blocks = rest;
        let verifies = crc32c_seeded(block_seed(uuid, run.id, number as u64), block) == entry.crc;
        if !verifies || decode_block(block, entry.rows, &mut decoded.rows).is_none() {
            decoded.is_damaged = true;
        }
    }
    decoded.is_damaged |= decoded.rows.len() as u64 != run.rows;
    decoded
}

struct BlockEntry {
    bytes: u32,
    rows: u32,
    crc: u32,
}

fn entries_of(index: &[u8], pg: PgId, run: &Run) -> Option<Vec<BlockEntry>> {
    let head = index.first_chunk::<INDEX_HEADER_BYTES>()?;
    if head[..8] != MAGIC
        || u32_at(head, 8) != FORMAT
        || u16_at(head, 12) != pg.0
        || u64_at(head, 16) != run.id
    {
        return None;
    }
    let mut rest = index[INDEX_HEADER_BYTES..].get(..u32_at(head, 40) as usize)?;
    let mut entries = Vec::new();
    for _ in 0..u32_at(head, 32) {
        let entry = rest.first_chunk::<ENTRY_HEADER_BYTES>()?;
        entries.push(BlockEntry { bytes: u32_at(entry, 0), rows: u32_at(entry, 4), crc: u32_at(entry, 8) });
        rest = rest.get(ENTRY_HEADER_BYTES + usize::from(u16_at(entry, 12))..)?;
    }
    Some(entries)
}

/// Appends the rows of a block that verifies; `None` when its numbers do not fit together.
fn decode_block(mut block: &[u8], rows: u32, out: &mut Vec<RunRow>) -> Option<()> {
    let mut last: Box<[u8]> = Box::default();
    for _ in 0..rows {
        let head = block.first_chunk::<ROW_HEADER_BYTES>()?;
        let (shared, rest_bytes) = (usize::from(u16_at(head, 2)), usize::from(u16_at(head, 4)));
        let (meta_bytes, body_bytes) = (u32_at(head, 8) as usize, u32_at(head, 12) as usize);
        let (rest, after) = block[ROW_HEADER_BYTES..].split_at_checked(rest_bytes)?;
        let (meta, after) = after.split_at_checked(meta_bytes)?;
        let (body, after) = after.split_at_checked(body_bytes)?;
        let mut key = Vec::with_capacity(shared + rest_bytes);
        key.extend_from_slice(last.get(..shared)?);
        key.extend_from_slice(rest);
        let (seq, hlc) = (u64_at(head, 16), Hlc(u64_at(head, 24)));
        let home =
            Home { volume: VolumeId(u16_at(head, 6)), segment: u32_at(head, 32), bytes: u32_at(head, 36) };
        let row = match head[0] {
            TOMBSTONE => None,
            flags => {
                let body = decode_body(flags, body)?;
                // An inline body lies in its record.
                if matches!(&body, BodyRef::Inline(inline) if inline.volume != home.volume) {
                    return None;
                }
                Some(Row { seq, hlc, meta: meta.into(), body, home })
            }
        };
        last = key.clone().into();
        out.push(RunRow { key: key.into(), seq, hlc, row });
        block = after;
    }
    Some(())
}

fn decode_body(flags: u8, body: &[u8]) -> Option<BodyRef> {
    match flags {
        0 => Some(BodyRef::None),
        BODY_INLINE => {
            let body = body.first_chunk::<INLINE_BYTES>()?;
            Some(BodyRef::Inline(InlineRef {
                id: DataId(u128::from(u64_at(body, 0)) | u128::from(u64_at(body, 8)) << 64),
                volume: VolumeId(u16_at(body, 16)),
                bytes: u32_at(body, 20),
                crc: u32_at(body, 24),
                offset: u64_at(body, 32),
            }))
        }
        BODY_EXTENTS => Some(BodyRef::Extents(std::sync::Arc::new(ExtentBody::decode(body)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Behind a checksum that was put right, too.
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>, at in 0usize..200, byte: u8, rows in 0u32..9) {
            let (run, mut whole) = sample(9);
            whole[at] = byte;
            let _ = decode_block(&whole[..4096], rows, &mut Vec::new());
            let _ = decode_block(&bytes, rows, &mut Vec::new());
            let mut index = whole[whole.len() - run.index_bytes as usize..].to_vec();
            index[at] = byte;
            let _ = entries_of(&index, PgId(3), &run);
            let _ = entries_of(&bytes, PgId(3), &run);
            let _ = decode_body(byte & 3, &bytes);
        }
    }

    fn row(seq: u64, body: BodyRef) -> Row {
        let home = Home { volume: VolumeId(2), segment: 5, bytes: 77 };
        Row { seq, hlc: Hlc(seq + 1), meta: Box::from(&b"metadata"[..]), body, home }
    }

    fn sample(rows: u32) -> (Run, Vec<u8>) {
        let mut builder = RunBuilder::new(9, PgId(3), 44);
        let mut bytes = Vec::new();
        for i in 0..rows {
            let key = format!("some/prefix/{i:06}");
            let inline = InlineRef {
                id: DataId(7),
                volume: VolumeId(2),
                bytes: 10,
                crc: i,
                offset: u64::from(i) << 33,
            };
            let made = match i % 4 {
                0 => None,
                1 => Some(row(u64::from(i), BodyRef::Inline(inline))),
                2 => Some(row(u64::from(i), BodyRef::None)),
                _ => Some(row(
                    u64::from(i),
                    BodyRef::Extents(std::sync::Arc::new(ExtentBody {
                        id: DataId(5),
                        bytes: 4000,
                        block_log2: 16,
                        extents: vec![Extent { volume: VolumeId(0), offset: 1 << 22, bytes: 4096 }],
                        crcs: vec![9],
                    })),
                )),
            };
            builder.push(key.as_bytes(), u64::from(i), Hlc(u64::from(i) + 1), made.as_ref().map(Row::view));
            bytes.append(&mut builder.take_blocks());
        }
        let count = builder.rows();
        let (mut rest, index_bytes, index_hash) = builder.finish();
        bytes.append(&mut rest);
        let run = Run {
            id: 44,
            rows: count,
            bytes: bytes.len() as u64,
            index_bytes,
            index_hash,
            extents: Vec::new(),
        };
        (run, bytes)
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let (run, bytes) = sample(500);
        assert_eq!(run.bytes % BLOCK_BYTES, 0);
        let decoded = decode(9, PgId(3), &run, &bytes);
        assert!(!decoded.is_damaged && decoded.rows.len() == 500);
        for (i, found) in decoded.rows.iter().enumerate() {
            assert_eq!(&found.key[..], format!("some/prefix/{i:06}").as_bytes());
            assert_eq!((found.seq, found.hlc.0), (i as u64, i as u64 + 1));
            match (i % 4, found.row.as_ref().map(|row| &row.body)) {
                (0, None) | (2, Some(BodyRef::None)) => {}
                (1, Some(BodyRef::Inline(inline))) => {
                    assert_eq!((inline.offset, inline.crc), ((i as u64) << 33, i as u32));
                }
                (3, Some(BodyRef::Extents(body))) => assert_eq!(body.crcs, [9]),
                other => panic!("{other:?}"),
            }
            assert!(
                found.row.as_ref().is_none_or(|row| row.home.segment == 5 && &row.meta[..] == b"metadata")
            );
        }
    }

    #[test]
    fn a_large_row_gets_a_large_block() {
        let mut builder = RunBuilder::new(9, PgId(3), 44);
        let mut large = row(1, BodyRef::None);
        large.meta = vec![1; 9000].into();
        builder.push(b"a", 1, Hlc(1), Some(large.view()));
        builder.push(b"b", 2, Hlc(2), None);
        let (bytes, index_bytes, index_hash) = builder.finish();
        let run =
            Run { id: 44, rows: 2, bytes: bytes.len() as u64, index_bytes, index_hash, extents: Vec::new() };
        assert_eq!(run.bytes, 4 * 4096 + 4096, "12 KiB, 4 KiB, the index");
        let decoded = decode(9, PgId(3), &run, &bytes);
        assert!(!decoded.is_damaged && decoded.rows.len() == 2);
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let (run, bytes) = sample(60);
        for at in 0..bytes.len() {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1 << (at % 8);
            let decoded = decode(9, PgId(3), &run, &hurt);
            assert!(decoded.is_damaged && decoded.rows.len() < 60, "byte {at}");
        }
        assert!(decode(8, PgId(3), &run, &bytes).is_damaged, "of another store");
        assert!(decode(9, PgId(4), &run, &bytes).is_damaged, "of another PG");
        for end in (0..bytes.len()).step_by(511) {
            assert!(decode(9, PgId(3), &run, &bytes[..end]).is_damaged);
        }
    }
}
