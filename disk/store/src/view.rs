//! A run as it is read: which block may hold a key, and the rows of a block that verifies, bytes only.
//! Layout: docs/format/runs.md.
//!
//! Invariant: rows come only out of a block that verifies against the run's index, and the index only when it
//! verifies against the manifest; a filter never denies a key the run has. Nothing here panics, whatever the
//! bytes. Any core; a view belongs to the core that owns the PG.

use stria_base::{DataId, Hlc, PgId, VolumeId, checksum::crc32c_seeded, hash::hash64};

use crate::{
    packed::RowView,
    row::{ExtentBody, Home, InlineRef},
    run::{
        BODY_EXTENTS, BODY_INLINE, ENTRY_HEADER_BYTES, FORMATS, INDEX_HEADER_BYTES, INLINE_BYTES, MAGIC,
        ROW_HEADER_BYTES, Run, TOMBSTONE, block_seed,
    },
};

/// Bits a filter spends on each row.
const FILTER_BITS_PER_ROW: u64 = 10;
/// Bits looked at for each key.
const FILTER_PROBES: u64 = 7;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// What a filter goes by, of a key in the run `run`.
pub(crate) fn filter_hash(run: u64, key: &[u8]) -> u64 {
    hash64(run, key)
}

/// The bits of a key in a filter of `bytes`.
fn probes(hash: u64, bytes: usize) -> impl Iterator<Item = u64> {
    let (bits, step) = (bytes as u64 * 8, hash.rotate_left(32) | 1);
    (0..FILTER_PROBES).map(move |nth| hash.wrapping_add(nth.wrapping_mul(step)) % bits)
}

/// A filter of keys with these hashes.
pub(crate) fn build_filter(hashes: &[u64]) -> Vec<u8> {
    let mut filter = vec![0u8; (hashes.len() as u64 * FILTER_BITS_PER_ROW).div_ceil(8).max(8) as usize];
    for hash in hashes {
        for bit in probes(*hash, filter.len()) {
            filter[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
    filter
}

/// A block of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockAt {
    /// Its first byte in the run.
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) rows: u32,
    crc: u32,
    /// Where its first key ends among all first keys.
    key_end: u32,
}

/// What is kept in memory of a run.
#[derive(Debug)]
pub(crate) struct RunView {
    pub(crate) run: Run,
    uuid: u128,
    blocks: Vec<BlockAt>,
    first_keys: Vec<u8>,
    /// Empty in a run of format 1.
    filter: Vec<u8>,
}

impl RunView {
    /// Of the index of `run`; `None` when it does not verify.
    pub(crate) fn parse(uuid: u128, pg: PgId, run: &Run, index: &[u8]) -> Option<Self> {
        if index.len() != run.index_bytes as usize || hash64(run.id, index) != run.index_hash {
            return None;
        }
        let view = Self::parse_verified(uuid, pg, run, index)?;
        let blocks_bytes = run.bytes.checked_sub(u64::from(run.index_bytes))?;
        let rows: u64 = view.blocks.iter().map(|block| u64::from(block.rows)).sum();
        let end = view.blocks.last().map_or(0, |block| block.at + u64::from(block.bytes));
        (end == blocks_bytes && rows == run.rows).then_some(view)
    }

    pub(crate) fn parse_verified(uuid: u128, pg: PgId, run: &Run, index: &[u8]) -> Option<Self> {
        let head = index.first_chunk::<INDEX_HEADER_BYTES>()?;
        let is_ours = head[..8] == MAGIC && u16_at(head, 12) == pg.0 && u64_at(head, 16) == run.id;
        if !is_ours || !FORMATS.contains(&u32_at(head, 8)) {
            return None;
        }
        let (mut entries, rest) = index[INDEX_HEADER_BYTES..].split_at_checked(u32_at(head, 40) as usize)?;
        let filter = rest.get(..u32_at(head, 44) as usize)?.to_vec();
        let (mut blocks, mut first_keys, mut at) = (Vec::new(), Vec::new(), 0u64);
        for _ in 0..u32_at(head, 32) {
            let entry = entries.first_chunk::<ENTRY_HEADER_BYTES>()?;
            let (bytes, rows, crc) = (u32_at(entry, 0), u32_at(entry, 4), u32_at(entry, 8));
            let (key, after) =
                entries[ENTRY_HEADER_BYTES..].split_at_checked(usize::from(u16_at(entry, 12)))?;
            first_keys.extend_from_slice(key);
            blocks.push(BlockAt { at, bytes, rows, crc, key_end: u32::try_from(first_keys.len()).ok()? });
            at = at.checked_add(u64::from(bytes))?;
            entries = after;
        }
        blocks.shrink_to_fit();
        first_keys.shrink_to_fit();
        Some(Self { run: run.clone(), uuid, blocks, first_keys, filter })
    }

    /// Memory it takes, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        (size_of_val(&*self.blocks) + self.first_keys.len() + self.filter.len()) as u64
    }

    /// How many blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// A block.
    pub(crate) fn block(&self, number: usize) -> BlockAt {
        self.blocks[number]
    }

    fn first_key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.blocks[before].key_end);
        &self.first_keys[start as usize..self.blocks[number].key_end as usize]
    }

    /// The only block that can hold `key`; `None` when the key is below all.
    pub(crate) fn block_of(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first_key(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// Whether the run can have a row or tombstone of `key`.
    pub(crate) fn may_hold(&self, key: &[u8]) -> bool {
        let set = |bit: u64| self.filter[(bit / 8) as usize] & (1 << (bit % 8)) != 0;
        self.filter.is_empty() || probes(filter_hash(self.run.id, key), self.filter.len()).all(set)
    }

    /// Whether these are the bytes of a block.
    pub(crate) fn verifies(&self, number: usize, bytes: &[u8]) -> bool {
        let block = self.blocks[number];
        bytes.len() == block.bytes as usize
            && crc32c_seeded(block_seed(self.uuid, self.run.id, number as u64), bytes) == block.crc
    }
}

/// Block and index out of any bytes, as if their checksums were right.
pub(crate) fn fuzz_decode(bytes: &[u8]) {
    let count = bytes.first().copied().map_or(0, u32::from);
    for expected in [1, count] {
        let mut rows = BlockRows::new(bytes, expected);
        let mut found = 0;
        while let Ok(Some(_)) = rows.next() {
            found += 1;
        }
        assert!(found <= expected, "a block has no more rows than it should");
    }
    let Some(head) = bytes.first_chunk::<INDEX_HEADER_BYTES>() else { return };
    let run = Run {
        id: u64_at(head, 16),
        rows: u64_at(head, 24),
        bytes: bytes.len() as u64,
        index_bytes: bytes.len() as u32,
        index_hash: hash64(u64_at(head, 16), bytes),
        extents: Vec::new(),
    };
    if let Some(view) = RunView::parse(0, PgId(u16_at(head, 12)), &run, bytes) {
        assert_eq!(view.blocks(), 0, "an index alone has no blocks");
    }
}

/// Bytes behind a checksum that verifies are not what they should be.
#[derive(Debug)]
pub(crate) struct Malformed;

/// A row of a run, borrowed from its block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRowView<'a> {
    pub(crate) seq: u64,
    pub(crate) hlc: Hlc,
    /// `None` is a tombstone.
    pub(crate) row: Option<RowView<'a>>,
}

/// The rows of a block that verified, one after the other.
#[derive(Debug, Default)]
pub(crate) struct BlockRows<'a> {
    rest: &'a [u8],
    left: u32,
    key: Vec<u8>,
}

impl<'a> BlockRows<'a> {
    pub(crate) fn new(block: &'a [u8], rows: u32) -> Self {
        Self { rest: block, left: rows, key: Vec::new() }
    }

    /// Key of the row that was given last.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The next row; `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<RunRowView<'a>>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.take().map(Some).ok_or(Malformed)
    }

    fn take(&mut self) -> Option<RunRowView<'a>> {
        let head = self.rest.first_chunk::<ROW_HEADER_BYTES>()?;
        let (shared, rest_bytes) = (usize::from(u16_at(head, 2)), usize::from(u16_at(head, 4)));
        let (meta_bytes, body_bytes) = (u32_at(head, 8) as usize, u32_at(head, 12) as usize);
        let (rest, after) = self.rest[ROW_HEADER_BYTES..].split_at_checked(rest_bytes)?;
        let (meta, after) = after.split_at_checked(meta_bytes)?;
        let (body, after) = after.split_at_checked(body_bytes)?;
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        self.rest = after;
        let (seq, hlc) = (u64_at(head, 16), Hlc(u64_at(head, 24)));
        let home =
            Home { volume: VolumeId(u16_at(head, 6)), segment: u32_at(head, 32), bytes: u32_at(head, 36) };
        let row = match head[0] {
            TOMBSTONE => None,
            0 => Some(RowView::bare(seq, hlc, meta, home)),
            BODY_INLINE => Some(RowView::bare(seq, hlc, meta, home).with_inline(inline_of(body, home)?)),
            BODY_EXTENTS => {
                ExtentBody::decode(body)?;
                Some(RowView::bare(seq, hlc, meta, home).with_described(body))
            }
            _ => return None,
        };
        Some(RunRowView { seq, hlc, row })
    }
}

/// An inline body; it lies in its record.
fn inline_of(body: &[u8], home: Home) -> Option<InlineRef> {
    let body = body.first_chunk::<INLINE_BYTES>()?;
    let inline = InlineRef {
        id: DataId(u128::from(u64_at(body, 0)) | u128::from(u64_at(body, 8)) << 64),
        volume: VolumeId(u16_at(body, 16)),
        bytes: u32_at(body, 20),
        crc: u32_at(body, 24),
        offset: u64_at(body, 32),
    };
    (inline.volume == home.volume).then_some(inline)
}

/// Whole runs of one PG in memory, the newest first, merged: of each key what the newest says, in order.
pub(crate) struct MergedRuns<'a> {
    runs: Vec<WholeRun<'a>>,
    /// Whether a block did not verify.
    pub(crate) is_damaged: bool,
}

struct WholeRun<'a> {
    view: &'a RunView,
    bytes: &'a [u8],
    next_block: usize,
    rows: BlockRows<'a>,
    head: Option<RunRowView<'a>>,
}

impl<'a> MergedRuns<'a> {
    /// Of views and the bytes of their runs.
    pub(crate) fn new(runs: impl IntoIterator<Item = (&'a RunView, &'a [u8])>) -> Self {
        let whole =
            |(view, bytes)| WholeRun { view, bytes, next_block: 0, rows: BlockRows::default(), head: None };
        let mut merged = Self { runs: runs.into_iter().map(whole).collect(), is_damaged: false };
        for run in &mut merged.runs {
            merged.is_damaged |= !run.advance();
        }
        merged
    }

    /// Shows the next key's newest row; whether there was one.
    pub(crate) fn next(&mut self, each: impl FnOnce(&[u8], RunRowView<'a>)) -> bool {
        let heads = self.runs.iter().enumerate().filter(|(_, run)| run.head.is_some());
        // Of equal keys the first run, which is the newest, counts.
        let least = heads.min_by(|(_, one), (_, other)| one.rows.key().cmp(other.rows.key()));
        let Some((least, _)) = least else { return false };
        for nth in 0..self.runs.len() {
            let is_same = nth != least
                && self.runs[nth].head.is_some()
                && self.runs[nth].rows.key() == self.runs[least].rows.key();
            if is_same {
                self.is_damaged |= !self.runs[nth].advance();
            }
        }
        let run = &mut self.runs[least];
        if let Some(head) = run.head {
            each(run.rows.key(), head);
        }
        self.is_damaged |= !run.advance();
        true
    }
}

impl WholeRun<'_> {
    /// Goes to the next row of a block that verifies; false when it passed over what does not.
    fn advance(&mut self) -> bool {
        let mut is_whole = true;
        loop {
            match self.rows.next() {
                Ok(Some(row)) => {
                    self.head = Some(row);
                    return is_whole;
                }
                Ok(None) => {}
                Err(Malformed) => {
                    is_whole = false;
                    self.rows = BlockRows::default();
                }
            }
            if self.next_block == self.view.blocks() {
                self.head = None;
                return is_whole;
            }
            let (number, block) = (self.next_block, self.view.block(self.next_block));
            self.next_block += 1;
            let range = block.at as usize..block.at as usize + block.bytes as usize;
            match self.bytes.get(range).filter(|bytes| self.view.verifies(number, bytes)) {
                Some(bytes) => self.rows = BlockRows::new(bytes, block.rows),
                None => is_whole = false,
            }
        }
    }
}
