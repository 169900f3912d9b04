//! Calls that change objects, and the deletion of buckets.

use std::ops::{Bound, ControlFlow};

use stria_base::{BucketId, Hlc, PgId};
use stria_env::Env;
use stria_store::{Change, Grant, NamedSpace, NewBody, Progress, StoreError, Ticket};

use crate::{
    calls::{
        Allocate, AskProgress, DeleteObject, Deleted, NameSpace, Place, PurgeBucket, PutObject, Release,
        Relocate, SealBucket, UnsealBucket, Written,
    },
    codec,
    engine::Engine,
    error::EngineError,
    events::{EventKind, StorageEvent},
    keys,
    object::{ObjectMeta, PartTable},
    precondition::WriteCondition,
    reads::decode_row,
};

/// The newest sequenced state of a key and, while it is not yet durable, what to wait for.
pub(crate) struct Newest {
    pub(crate) meta: Option<ObjectMeta>,
    pub(crate) pending: Option<Ticket>,
}

impl<E: Env> Engine<E> {
    /// The newest sequenced state of a row that is held in memory, visible or not.
    pub(crate) fn newest(&self, pg: PgId, row_key: &[u8]) -> Result<Newest, EngineError> {
        self.0.store.newest(pg, row_key, |row, pending| {
            Ok(Newest { meta: row.map(decode_row).transpose()?, pending })
        })
    }

    /// Judges `condition`. The loser's answer waits until the winner is durable: a client told "someone
    /// was first" must find that someone after any crash.
    pub(crate) async fn judge(newest: &mut Newest, condition: WriteCondition) -> Result<(), EngineError> {
        let verdict = condition.judge(newest.meta.as_ref().map(|meta| meta.etag));
        if verdict.is_err()
            && let Some(ticket) = newest.pending.take()
        {
            ticket.wait().await?;
        }
        verdict
    }

    pub(crate) async fn put_object(&self, call: PutObject) -> Result<Written, EngineError> {
        let PutObject { place, meta, body, condition } = call;
        let unused = match &body {
            NewBody::Extents(extents) => extents.extents.clone(),
            _ => Vec::new(),
        };
        let written = self.put_judged(&place, meta, body, condition).await;
        if written.is_err() && !self.0.store.is_failed() {
            self.0.store.release(unused);
        }
        written
    }

    async fn put_judged(
        &self,
        place: &Place,
        mut meta: ObjectMeta,
        body: NewBody,
        condition: WriteCondition,
    ) -> Result<Written, EngineError> {
        let _in_flight = self.begin_write(place.bucket)?;
        self.admit_row()?;
        let row_key = keys::object(place.bucket, &place.key);
        let _held = self.0.store.resolve(place.pg, &[&row_key]).await?;
        let mut newest = self.newest(place.pg, &row_key)?;
        Self::judge(&mut newest, condition).await?;
        let hlc = self.0.store.next_hlc();
        meta.modified_ms = hlc.wall_ms();
        let cached = match &body {
            NewBody::Inline { id, bytes } => Some((*id, bytes.clone())),
            _ => None,
        };
        let put = Change::Put { key: row_key, meta: codec::encode(&meta), body };
        self.0.store.commit(place.pg, vec![put])?.wait().await?;
        self.retire_replaced(place, newest.meta.as_ref());
        if let Some((id, bytes)) = cached {
            self.0.cache.borrow_mut().put(id, bytes);
        }
        self.emit_created(place, &meta, hlc);
        Ok(Written { hlc, modified_ms: meta.modified_ms, version: None })
    }

    /// Drops the parts of the object that `newest` says was replaced or deleted, if it had any.
    pub(crate) fn retire_replaced(&self, place: &Place, newest: Option<&ObjectMeta>) {
        if let Some(parts) = newest.and_then(|meta| meta.parts.as_ref()) {
            self.retire_parts(place.pg, place.bucket, parts);
        }
    }

    pub(crate) fn emit_created(&self, place: &Place, meta: &ObjectMeta, hlc: Hlc) {
        self.emit(EventKind::ObjectCreated, || StorageEvent::ObjectCreated {
            bucket: place.bucket,
            key: place.key.as_ref().into(),
            version_id: meta.version.filter(|version| !version.is_null).map(|version| version.id.0),
            hlc,
            size: meta.size,
            etag: meta.etag.to_string(),
        });
    }

    pub(crate) async fn delete_object(&self, call: DeleteObject) -> Result<Deleted, EngineError> {
        let DeleteObject { place, condition } = call;
        let _in_flight = self.begin_write(place.bucket)?;
        let row_key = keys::object(place.bucket, &place.key);
        let _held = self.0.store.resolve(place.pg, &[&row_key]).await?;
        let mut newest = self.newest(place.pg, &row_key)?;
        Self::judge(&mut newest, condition).await?;
        let Some(meta) = newest.meta else {
            // "It is gone" must hold after a crash too: wait for the deletion that made it so.
            if let Some(ticket) = newest.pending {
                ticket.wait().await?;
            }
            return Ok(Deleted { existed: false, version: None, is_delete_marker: false });
        };
        let hlc = self.0.store.next_hlc();
        self.0.store.commit(place.pg, vec![Change::Delete { key: row_key }])?.wait().await?;
        self.retire_replaced(&place, Some(&meta));
        self.emit(EventKind::ObjectDeleted, || StorageEvent::ObjectDeleted {
            bucket: place.bucket,
            key: place.key.as_ref().into(),
            version_id: None,
            hlc,
            is_delete_marker: false,
        });
        Ok(Deleted { existed: true, version: None, is_delete_marker: false })
    }

    pub(crate) async fn allocate(&self, call: Allocate) -> Result<Grant, EngineError> {
        self.admit_row()?;
        Ok(self.0.store.allocate(call.bytes).await?)
    }

    pub(crate) async fn release(&self, call: Release) {
        self.0.store.release(call.extents);
    }

    pub(crate) async fn relocate(&self, call: Relocate) -> Result<(), StoreError> {
        self.0.store.relocate(call.segment).await
    }

    #[expect(clippy::unused_async, reason = "calls are awaited, whichever they are")]
    pub(crate) async fn ask_progress(&self, _: AskProgress) -> Progress {
        self.0.store.checkpoint_progress()
    }

    pub(crate) async fn name_space(&self, call: NameSpace) -> Result<NamedSpace, StoreError> {
        self.0.store.named_space(call.window).await
    }

    pub(crate) async fn seal_bucket(&self, call: SealBucket) -> Result<bool, EngineError> {
        self.seal(call.bucket).await;
        // The least row of a bucket is an object's; versions, delete markers among them, come next.
        let first = keys::object(call.bucket, b"");
        for pg in self.0.store.pgs() {
            let mut empty = true;
            let scan = self.0.store.scan_rows(pg, Bound::Included(&first), |row, _| {
                empty = !keys::bucket_and_kind(row).is_some_and(|(bucket, kind)| {
                    bucket == call.bucket && matches!(kind, keys::kind::OBJECT | keys::kind::VERSION)
                });
                ControlFlow::Break(())
            });
            scan.await?;
            if !empty {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) async fn unseal_bucket(&self, call: UnsealBucket) {
        self.unseal(call.bucket);
    }

    pub(crate) async fn purge_bucket(&self, call: PurgeBucket) -> Result<(), EngineError> {
        self.seal(call.bucket).await;
        let first = call.bucket.0.to_be_bytes();
        for pg in self.0.store.pgs() {
            let mut dead: Vec<Box<[u8]>> = Vec::new();
            let scan = self.0.store.scan_rows(pg, Bound::Included(&first), |row_key, _| {
                if !row_key.starts_with(&first) {
                    return ControlFlow::Break(());
                }
                dead.push(row_key.into());
                ControlFlow::Continue(())
            });
            scan.await?;
            self.drop_rows(pg, &dead).await?;
        }
        Ok(())
    }

    /// Drops rows of buckets that are no more (`exists` is false) and part rows that belong to neither
    /// an upload nor an object: what an interrupted deletion left. Once, before traffic.
    ///
    /// # Errors
    /// When the log fails or a row cannot be read.
    pub async fn sweep(&self, exists: impl Fn(BucketId) -> bool) -> Result<(), EngineError> {
        for pg in self.0.store.pgs() {
            let dead = self.garbage(pg, &exists).await?;
            self.drop_rows(pg, &dead).await?;
        }
        Ok(())
    }

    async fn drop_rows(&self, pg: PgId, rows: &[Box<[u8]>]) -> Result<(), EngineError> {
        /// Rows dropped by one record, so that no record outgrows a frame.
        const ROWS_PER_RECORD: usize = 1_000;
        for rows in rows.chunks(ROWS_PER_RECORD) {
            let _held = self.0.store.resolve(pg, rows).await?;
            let changes = rows.iter().map(|row| Change::Delete { key: row.clone() }).collect();
            self.0.store.commit(pg, changes)?.wait().await?;
        }
        Ok(())
    }

    /// Rows of buckets that are no more, and parts without an owner. A bucket without parts costs two seeks.
    async fn garbage(
        &self,
        pg: PgId,
        exists: &impl Fn(BucketId) -> bool,
    ) -> Result<Vec<Box<[u8]>>, EngineError> {
        let mut dead = Vec::new();
        let mut from = Some(0u64);
        while let Some(first) = from {
            let row = self.row_from(pg, &first.to_be_bytes()).await?;
            let Some((bucket, _)) = row.and_then(|row| keys::bucket_and_kind(&row)) else { break };
            let part = self.row_from(pg, &keys::part(bucket, keys::UploadId(0), 0)).await?;
            if !exists(bucket) || part.is_some_and(|row| keys::part_of(bucket, &row).is_some()) {
                self.garbage_of(pg, bucket, exists(bucket), &mut dead).await?;
            }
            from = bucket.0.checked_add(1);
        }
        Ok(dead)
    }

    /// The first row key from a bound on.
    async fn row_from(&self, pg: PgId, from: &[u8]) -> Result<Option<Box<[u8]>>, EngineError> {
        let mut found = None;
        let scan = self.0.store.scan_rows(pg, Bound::Included(from), |row_key, _| {
            found = Some(row_key.into());
            ControlFlow::Break(())
        });
        scan.await?;
        Ok(found)
    }

    async fn garbage_of(
        &self,
        pg: PgId,
        bucket: BucketId,
        exists: bool,
        dead: &mut Vec<Box<[u8]>>,
    ) -> Result<(), EngineError> {
        let mut owners = std::collections::BTreeSet::new();
        let mut parts: Vec<(keys::UploadId, Box<[u8]>)> = Vec::new();
        let first = bucket.0.to_be_bytes();
        let scan = self.0.store.scan_rows(pg, Bound::Included(&first), |row_key, row| {
            match keys::bucket_and_kind(row_key) {
                Some((other, _)) if other != bucket => return ControlFlow::Break(()),
                Some(_) if !exists => dead.push(row_key.into()),
                Some((_, keys::kind::OBJECT | keys::kind::VERSION)) => {
                    owners.extend(table_of(row.meta).map(|table| table.id))
                }
                Some((_, keys::kind::UPLOAD)) => {
                    owners.extend(keys::upload_parts_of(bucket, row_key).map(|(_, id)| id));
                }
                Some((_, keys::kind::PART)) => {
                    parts.extend(keys::part_of(bucket, row_key).map(|(id, _)| (id, row_key.into())));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        scan.await?;
        dead.extend(parts.into_iter().filter(|(id, _)| !owners.contains(id)).map(|(_, row)| row));
        Ok(())
    }
}

/// The part table of an object row, without decoding rows that cannot have one.
fn table_of(meta: &[u8]) -> Option<PartTable> {
    codec::decode_head(meta).filter(|head| head.etag.part_count > 0)?;
    codec::decode(meta)?.parts
}
