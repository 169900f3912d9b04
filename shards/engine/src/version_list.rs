//! Listing the versions of the PGs this core owns.
//!
//! Invariant: the page is a prefix of the bucket's versions, keys in byte order, versions of a key newest
//! first, above the marker; a common prefix appears once. Runs on the owner core; the accepting core merges
//! the pages of all cores with [`merge`].

use std::{
    cmp::Reverse,
    ops::{Bound, ControlFlow},
};

use stria_base::{BucketId, Hlc, PgId};
use stria_env::Env;

use crate::{
    calls::ListVersions,
    codec::{RowHead, decode_head, decode_owner},
    engine::Engine,
    error::EngineError,
    keys,
    list::common_prefix,
    object::VersionId,
};

/// What to list. Bytes, not characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionQuery {
    /// Only keys that start with this.
    pub prefix: Box<[u8]>,
    /// Keys with this after the prefix are rolled up to it; empty means no roll-up.
    pub delimiter: Box<[u8]>,
    /// Only entries above this key, or of this key below the version. A common prefix equal to it is passed over.
    pub after: Option<(Box<[u8]>, Option<VersionId>)>,
    /// Most entries wanted.
    pub entries_max: usize,
}

/// A listed version, or a common prefix (`version` is `None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// The key or common prefix.
    pub key: Box<[u8]>,
    /// Its place among the versions, and what the listing shows of it.
    pub version: Option<(VersionId, RowHead)>,
    /// Canonical id of whom the version belongs to; empty for the bucket's owner.
    pub owner: Box<[u8]>,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
}

impl VersionEntry {
    fn order(&self) -> (&[u8], Reverse<Option<VersionId>>) {
        (&self.key, Reverse(self.version.as_ref().map(|(id, _)| *id)))
    }
}

impl VersionQuery {
    /// Whether the entry lies above the marker.
    fn is_above(&self, entry: &VersionEntry) -> bool {
        let Some((key, version)) = &self.after else { return true };
        match (entry.key.cmp(key), version, &entry.version) {
            (std::cmp::Ordering::Less, ..) => false,
            (std::cmp::Ordering::Greater, ..) => true,
            (_, Some(marker), Some((id, _))) => id < marker,
            _ => false,
        }
    }

    /// The least key an entry of the page can come from.
    fn first_key(&self) -> &[u8] {
        match &self.after {
            Some((key, _)) if **key > *self.prefix => key,
            _ => &self.prefix,
        }
    }
}

/// Merges pages, each sorted, into one of at most `entries_max` entries. A page that has more behind it bounds the others.
#[must_use]
pub fn merge(pages: Vec<(Vec<VersionEntry>, bool)>, entries_max: usize) -> (Vec<VersionEntry>, bool) {
    let ends = pages.iter().filter(|(_, more)| *more).filter_map(|(page, _)| page.last());
    let bound = ends.min_by(|a, b| a.order().cmp(&b.order())).cloned();
    let mut all: Vec<VersionEntry> = pages.into_iter().flat_map(|(page, _)| page).collect();
    all.sort_by(|a, b| a.order().cmp(&b.order()));
    all.dedup_by(|a, b| a.order() == b.order());
    let mut more = bound.is_some();
    if let Some(bound) = bound {
        all.truncate(all.partition_point(|entry| entry.order() <= bound.order()));
    }
    if all.len() > entries_max {
        all.truncate(entries_max);
        more = true;
    }
    (all, more)
}

impl<E: Env> Engine<E> {
    pub(crate) async fn list_versions(
        &self,
        call: ListVersions,
    ) -> Result<(Vec<VersionEntry>, bool), EngineError> {
        let mut pages = Vec::with_capacity(call.pgs.len());
        for &pg in &call.pgs {
            pages.push(self.versions_of_pg(pg, call.bucket, &call.query).await?);
        }
        Ok(merge(pages, call.query.entries_max))
    }

    /// One page of a PG: its version rows and the rows of keys without versions.
    async fn versions_of_pg(
        &self,
        pg: PgId,
        bucket: BucketId,
        query: &VersionQuery,
    ) -> Result<(Vec<VersionEntry>, bool), EngineError> {
        let versions = Rows { bucket, is_plain: false, until: None };
        let versions = self.collect(pg, query, &versions).await?;
        // Behind a full page of versions no other row matters: in a bucket of versions there are none.
        let until = versions.0.last().filter(|_| versions.1).map(|last| last.key.clone());
        let plain = self.collect(pg, query, &Rows { bucket, is_plain: true, until }).await?;
        let (mut page, more) = merge(vec![versions, plain], query.entries_max);
        // The page holds all versions of a key down from the newest, but for the key it may begin in the middle of. Rows
        // are not asked again: of a paged PG they may be others by now.
        let begun = query.after.as_ref().filter(|(_, version)| version.is_some()).map(|(key, _)| &**key);
        let mut last: Option<Box<[u8]>> = None;
        for entry in page.iter_mut().filter(|entry| entry.version.is_some()) {
            if last.as_deref() != Some(&*entry.key) {
                let is_begun = begun == Some(&*entry.key);
                entry.is_latest = !is_begun || self.is_latest(pg, bucket, entry).await?;
            }
            last = Some(entry.key.clone());
        }
        Ok((page, more))
    }

    /// Whether nothing newer of the key is there: also when a page starts in the middle of a key.
    async fn is_latest(&self, pg: PgId, bucket: BucketId, entry: &VersionEntry) -> Result<bool, EngineError> {
        let Some((id, head)) = &entry.version else { return Ok(false) };
        let place = crate::calls::Place { pg, bucket, key: bytes::Bytes::copy_from_slice(&entry.key) };
        let newest = self.newest_version(&place, None).await?.map(|(newest, _)| newest);
        if !head.is_versioned {
            return Ok(newest.is_none_or(|newest| newest < *id));
        }
        // A row of a write that raced with the bucket's first versions counts when it is newer.
        let row_key = keys::object(bucket, &entry.key);
        let _held = self.0.store.resolve(pg, &[&row_key]).await?;
        let plain = self.0.store.row(pg, &row_key, |row| {
            let row = row.filter(|row| decode_head(row.meta).is_some_and(|head| !head.is_versioned));
            row.map(|row| VersionId::of_plain(row.hlc))
        });
        Ok(newest == Some(*id) && plain.is_none_or(|plain| plain < *id))
    }

    /// Entries of one kind of rows, until one more than the page takes.
    async fn collect(
        &self,
        pg: PgId,
        query: &VersionQuery,
        rows: &Rows,
    ) -> Result<(Vec<VersionEntry>, bool), EngineError> {
        let mut page: Vec<VersionEntry> = Vec::new();
        let mut next = Some(rows.first(query.first_key()));
        while let Some(from) = next.take() {
            if page.len() > query.entries_max {
                return Ok((page, true));
            }
            let scan = self.0.store.scan_rows(pg, Bound::Included(&from), |row_key, row| {
                let Some(head) = decode_head(row.meta) else { return ControlFlow::Continue(()) };
                let Some((key, id)) = rows.read(row_key, row.hlc) else { return ControlFlow::Break(()) };
                let is_beyond = rows.until.as_ref().is_some_and(|until| key > *until);
                if is_beyond || !key.starts_with(&query.prefix) {
                    return ControlFlow::Break(());
                }
                if rows.is_plain && head.is_versioned {
                    return ControlFlow::Continue(());
                }
                if page.len() > query.entries_max {
                    next = Some(row_key.into());
                    return ControlFlow::Break(());
                }
                let end = common_prefix(&key, &query.prefix, &query.delimiter);
                let entry = match end {
                    Some(end) => VersionEntry {
                        key: key[..end].into(),
                        version: None,
                        owner: Box::default(),
                        is_latest: false,
                    },
                    None => {
                        let owner = decode_owner(row.meta).into();
                        VersionEntry { key, version: Some((id, head)), owner, is_latest: false }
                    }
                };
                let after = end.map(|_| keys::after_prefix(&entry.key));
                if query.is_above(&entry) {
                    page.push(entry);
                }
                match after {
                    // The whole common prefix costs one seek.
                    Some(after) => {
                        next = after.map(|after| rows.first(&after));
                        ControlFlow::Break(())
                    }
                    None => ControlFlow::Continue(()),
                }
            });
            scan.await?;
        }
        Ok((page, false))
    }
}

/// Which rows of a bucket are read.
struct Rows {
    bucket: BucketId,
    /// Rows of keys without versions; else version rows.
    is_plain: bool,
    /// Keys above this do not matter.
    until: Option<Box<[u8]>>,
}

impl Rows {
    /// The least row key of keys from `key` on.
    fn first(&self, key: &[u8]) -> Box<[u8]> {
        if self.is_plain {
            keys::object(self.bucket, key)
        } else {
            keys::versions_of_prefix(self.bucket, key)
        }
    }

    fn read(&self, row_key: &[u8], hlc: Hlc) -> Option<(Box<[u8]>, VersionId)> {
        if self.is_plain {
            let key = keys::object_key(self.bucket, row_key)?;
            return Some((key.into(), VersionId::of_plain(hlc)));
        }
        let (key, id) = keys::version_of(self.bucket, row_key)?;
        Some((key.into(), id))
    }
}
