//! Runs: sorted rows of one PG as blocks and an index, bytes only. Layout: docs/format/runs.md.
//!
//! Invariant: a row is decoded only out of a block that verifies against the run's index, and the index
//! only when it verifies against the manifest. Decoding never panics, whatever the bytes. Any core; built
//! by the PG's owner, decoded at start.

use stria_base::{Hlc, PgId, VolumeId, checksum::crc32c_seeded, hash::hash64, units::align_up};
use stria_env::disk::BLOCK_BYTES;

use crate::{
    packed::RowView,
    row::{BodyRef, Extent, Home, Row},
    view::{build_filter, filter_hash},
};

pub(crate) const MAGIC: [u8; 8] = *b"STRIARUN";
/// What runs are written as.
const FORMAT: u32 = 2;
/// What is read; 1 had no filter.
pub(crate) const FORMATS: std::ops::RangeInclusive<u32> = 1..=FORMAT;
/// What `filter` says of a filter of ours.
const FILTER_BLOOM: u32 = 1;
pub(crate) const INDEX_HEADER_BYTES: usize = 64;
pub(crate) const ENTRY_HEADER_BYTES: usize = 16;
pub(crate) const ROW_HEADER_BYTES: usize = 40;
pub(crate) const INLINE_BYTES: usize = 40;
pub(crate) const BODY_INLINE: u8 = 1;
pub(crate) const BODY_EXTENTS: u8 = 2;
pub(crate) const TOMBSTONE: u8 = 4;

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

pub(crate) fn block_seed(uuid: u128, run: u64, block: u64) -> u64 {
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
    hashes: Vec<u64>,
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
            hashes: Vec::new(),
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
        self.hashes.push(filter_hash(self.id, key));
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
        let mut filter = build_filter(&self.hashes);
        index[36..40].copy_from_slice(&FILTER_BLOOM.to_le_bytes());
        index[40..44].copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        index[44..48].copy_from_slice(&(filter.len() as u32).to_le_bytes());
        index.append(&mut self.entries);
        index.append(&mut filter);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{MergedRuns, RunRowView, RunView};
    use crate::{
        row::{ExtentBody, InlineRef},
        view::BlockRows,
    };
    use proptest::prelude::*;
    use stria_base::DataId;

    /// What decoding a run gave.
    #[derive(Debug, Default)]
    struct DecodedRun {
        /// Rows of the blocks that verify, in order.
        rows: Vec<RunRow>,
        /// Whether index or any block does not.
        is_damaged: bool,
    }

    /// Decodes a whole run: `bytes` are its blocks and index as they lie in its extents.
    fn decode(uuid: u128, pg: PgId, run: &Run, bytes: &[u8]) -> DecodedRun {
        let blocks_bytes = run.bytes.checked_sub(u64::from(run.index_bytes));
        let split = blocks_bytes.and_then(|blocks| bytes.split_at_checked(blocks as usize));
        let view = split
            .and_then(|(_, index)| RunView::parse(uuid, pg, run, index.get(..run.index_bytes as usize)?));
        let Some(view) = view else { return DecodedRun { is_damaged: true, ..DecodedRun::default() } };
        let mut rows = Vec::new();
        let mut merged = MergedRuns::new([(&view, bytes)]);
        while merged.next(|key, found| {
            let RunRowView { seq, hlc, row } = found;
            rows.push(RunRow { key: key.into(), seq, hlc, row: row.map(|row| row.to_row()) });
        }) {}
        let is_damaged = merged.is_damaged || rows.len() as u64 != run.rows;
        DecodedRun { rows, is_damaged }
    }

    proptest! {
        /// Behind a checksum that was put right, too.
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>, at in 0usize..200, byte: u8, rows in 0u32..9) {
            let (run, mut whole) = sample(9);
            whole[at] = byte;
            for block in [&whole[..4096], &bytes] {
                let mut rows = BlockRows::new(block, rows);
                while let Ok(Some(row)) = rows.next() {
                    let _ = row.row.map(|row| row.to_row());
                }
            }
            let mut index = whole[whole.len() - run.index_bytes as usize..].to_vec();
            index[at] = byte;
            let _ = RunView::parse_verified(9, PgId(3), &run, &index);
            let _ = RunView::parse_verified(9, PgId(3), &run, &bytes);
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
