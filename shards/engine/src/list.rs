//! Listing the objects of the PGs this core owns: roll-up in each PG, k-way merge over them.
//!
//! Invariant: the page is a prefix, in byte order, of what the core's PGs hold above the marker; an
//! entry appears once even when its common prefix lies in several PGs. Runs on the owner core; the
//! accepting core merges the pages of all cores with [`merge`].

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque, binary_heap::PeekMut},
    ops::{Bound, ControlFlow},
};

use stria_base::{BucketId, PgId};

use crate::{
    codec::{RowHead, decode_head, decode_owner},
    error::EngineError,
    keys,
};

/// What to list. Bytes, not characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only keys that start with this.
    pub prefix: Box<[u8]>,
    /// Keys with this after the prefix are rolled up to it; empty means no roll-up.
    pub delimiter: Box<[u8]>,
    /// Only entries above this. A common prefix equal to it is passed over with all its keys.
    pub after: Option<Box<[u8]>>,
    /// Most entries wanted.
    pub entries_max: usize,
}

/// A listed key or a common prefix (`head` is `None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The key or common prefix.
    pub key: Box<[u8]>,
    /// What the listing shows of the object.
    pub head: Option<RowHead>,
    /// Canonical id of whom the object belongs to; empty for the bucket's owner.
    pub owner: Box<[u8]>,
}

/// The rows of one PG in key order, from a bound upwards, until the callback breaks.
pub trait RowScan {
    /// Calls `row` with row keys and encoded metadata.
    fn scan(
        &self,
        pg: PgId,
        from: Bound<&[u8]>,
        row: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> impl Future<Output = Result<(), EngineError>>;
}

/// Entries taken from one PG of `pgs` before the merge asks for more: what an even spread needs plus one
/// standard deviation. A row read in vain costs a cache miss and a copy, a second scan one seek.
fn batch_entries(entries_max: usize, pgs: usize) -> usize {
    let mean = entries_max / pgs.max(1);
    mean + mean.isqrt() + 4
}

/// Entries a further scan of a PG takes: two standard deviations of `batch`.
fn refill_entries(batch: usize) -> usize {
    2 * batch.isqrt() + 4
}

struct Cursor {
    pg: PgId,
    ready: VecDeque<ListEntry>,
    /// Where the next scan starts; `None` when the PG is exhausted.
    next: Option<Bound<Box<[u8]>>>,
}

/// One page over `pgs`: at most `entries_max` entries, and whether more follow.
///
/// # Errors
/// When rows have to be read and cannot be.
pub async fn page(
    rows: &impl RowScan,
    bucket: BucketId,
    pgs: &[PgId],
    query: &ListQuery,
) -> Result<(Vec<ListEntry>, bool), EngineError> {
    let batch = batch_entries(query.entries_max + 1, pgs.len());
    let first = first_bound(bucket, query);
    let mut cursors: Vec<Cursor> =
        pgs.iter().map(|&pg| Cursor { pg, ready: VecDeque::new(), next: first.clone() }).collect();
    let mut heap = BinaryHeap::with_capacity(pgs.len());
    for (index, cursor) in cursors.iter_mut().enumerate() {
        let first = next_key(rows, bucket, query, batch, cursor).await?;
        heap.extend(first.map(|key| Reverse((key, index))));
    }
    let refill = refill_entries(batch);
    let mut out: Vec<ListEntry> = Vec::with_capacity(query.entries_max.min(1024));
    while let Some(mut top) = heap.peek_mut() {
        let Reverse((key, index)) = &mut *top;
        let (key, index) = (std::mem::take(key), *index);
        let taken = cursors[index].ready.pop_front();
        let repeated = out.last().is_some_and(|last| last.key == key);
        if !repeated {
            if out.len() == query.entries_max {
                return Ok((out, true));
            }
            out.extend(taken.map(|entry| ListEntry { key, ..entry }));
        }
        // The next key takes the place of the one taken: one way down the heap instead of two.
        match next_key(rows, bucket, query, refill, &mut cursors[index]).await? {
            Some(next) => *top = Reverse((next, index)),
            None => drop(PeekMut::pop(top)),
        }
    }
    Ok((out, false))
}

/// Merges pages of several cores, each sorted, into one of at most `entries_max` entries.
#[must_use]
pub fn merge(pages: Vec<(Vec<ListEntry>, bool)>, entries_max: usize) -> (Vec<ListEntry>, bool) {
    if pages.len() == 1 && pages[0].0.len() <= entries_max {
        return pages.into_iter().next().unwrap_or_default();
    }
    let mut truncated_at: Option<Box<[u8]>> = None;
    for (page, more) in &pages {
        if let (true, Some(last)) = (more, page.last())
            && truncated_at.as_ref().is_none_or(|bound| last.key < *bound)
        {
            truncated_at = Some(last.key.clone());
        }
    }
    let mut all: Vec<ListEntry> = if pages.len() == 1 {
        pages.into_iter().flat_map(|(page, _)| page).collect()
    } else {
        let mut all: Vec<ListEntry> = pages.into_iter().flat_map(|(page, _)| page).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.dedup_by(|a, b| a.key == b.key);
        all
    };
    let mut more = false;
    // Beyond the last key of a truncated page that core may hold further keys we have not seen.
    if let Some(bound) = truncated_at {
        let known = all.partition_point(|entry| entry.key <= bound);
        all.truncate(known);
        more = true;
    }
    if all.len() > entries_max {
        all.truncate(entries_max);
        more = true;
    }
    (all, more)
}

fn first_bound(bucket: BucketId, query: &ListQuery) -> Option<Bound<Box<[u8]>>> {
    let prefix_start = keys::object(bucket, &query.prefix);
    let Some(after) = &query.after else { return Some(Bound::Included(prefix_start)) };
    let above = match common_prefix(after, &query.prefix, &query.delimiter) {
        Some(end) if end == after.len() => Bound::Included(keys::object(bucket, &keys::after_prefix(after)?)),
        _ => Bound::Excluded(keys::object(bucket, after)),
    };
    let below_prefix = match &above {
        Bound::Included(key) | Bound::Excluded(key) => **key < *prefix_start,
        Bound::Unbounded => true,
    };
    Some(if below_prefix { Bound::Included(prefix_start) } else { above })
}

/// End of the common prefix `key` rolls up to.
pub(crate) fn common_prefix(key: &[u8], prefix: &[u8], delimiter: &[u8]) -> Option<usize> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(prefix.len() + at + delimiter.len())
}

/// The key of a PG's next entry, which stays the first of `ready` without it.
async fn next_key(
    rows: &impl RowScan,
    bucket: BucketId,
    query: &ListQuery,
    batch: usize,
    cursor: &mut Cursor,
) -> Result<Option<Box<[u8]>>, EngineError> {
    while cursor.ready.is_empty() && cursor.next.is_some() {
        fill(rows, bucket, query, batch, cursor).await?;
    }
    Ok(cursor.ready.front_mut().map(|entry| std::mem::take(&mut entry.key)))
}

/// One or more scans of a PG until `batch` entries are there or it is exhausted.
async fn fill(
    rows: &impl RowScan,
    bucket: BucketId,
    query: &ListQuery,
    batch: usize,
    cursor: &mut Cursor,
) -> Result<(), EngineError> {
    while cursor.ready.len() < batch {
        let Some(from) = cursor.next.take() else { break };
        let ready = &mut cursor.ready;
        cursor.next = fill_to_next_prefix(rows, bucket, query, batch, cursor.pg, &from, ready).await?;
    }
    Ok(())
}

/// Scans until the batch is full, a key rolls up (then the scan goes on behind the whole common prefix,
/// so that a folder of a million keys costs one seek), or the prefix ends. Returns where to go on.
async fn fill_to_next_prefix(
    rows: &impl RowScan,
    bucket: BucketId,
    query: &ListQuery,
    batch: usize,
    pg: PgId,
    from: &Bound<Box<[u8]>>,
    ready: &mut VecDeque<ListEntry>,
) -> Result<Option<Bound<Box<[u8]>>>, EngineError> {
    let mut next = None;
    let scan = rows.scan(pg, from.as_ref().map(|key| &**key), |row, meta| {
        let Some(key) = keys::object_key(bucket, row) else { return ControlFlow::Break(()) };
        if !key.starts_with(&query.prefix) {
            return ControlFlow::Break(());
        }
        if ready.len() >= batch {
            next = Some(Bound::Included(row.into()));
            return ControlFlow::Break(());
        }
        if let Some(end) = common_prefix(key, &query.prefix, &query.delimiter) {
            ready.push_back(ListEntry { key: key[..end].into(), head: None, owner: Box::default() });
            next = keys::after_prefix(&key[..end]).map(|after| Bound::Included(keys::object(bucket, &after)));
            return ControlFlow::Break(());
        }
        if let Some(head) = decode_head(meta) {
            ready.push_back(ListEntry {
                key: key.into(),
                head: Some(head),
                owner: decode_owner(meta).into(),
            });
        }
        ControlFlow::Continue(())
    });
    scan.await?;
    Ok(next)
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
