//! Multipart uploads. All rows of one upload lie in the PG of the final key, so Complete and Abort are
//! one record each.

use std::ops::{Bound, ControlFlow};

use stria_base::limits::PART_COUNT_MAX;
use stria_env::Env;
use stria_store::{Change, NewBody};

use crate::{
    calls::{
        AbortUpload, CompleteUpload, CreateUpload, FindUpload, ListParts, ListUploads, PartEntry, PartsPage,
        PickedPart, Place, PutPart, UploadEntry, UploadPlace, UploadsPage, Written,
    },
    codec,
    engine::Engine,
    error::EngineError,
    keys,
    object::{ObjectMeta, PartTable, Versioning},
    precondition::WriteCondition,
    reads::decode_row,
};

impl<E: Env> Engine<E> {
    pub(crate) async fn create_upload(&self, call: CreateUpload) -> Result<(), EngineError> {
        let CreateUpload { upload: UploadPlace { place, id }, mut meta } = call;
        let _in_flight = self.begin_write(place.bucket)?;
        self.admit_row()?;
        meta.modified_ms = self.0.store.next_hlc().wall_ms();
        let key = keys::upload(place.bucket, &place.key, id);
        let _held = self.0.store.resolve(place.pg, &[&key]).await?;
        let put = Change::Put { key, meta: codec::encode(&meta), body: NewBody::None };
        self.0.store.commit(place.pg, vec![put])?.wait().await?;
        Ok(())
    }

    pub(crate) async fn find_upload(&self, call: FindUpload) -> Result<ObjectMeta, EngineError> {
        self.upload_row(&call.upload).await
    }

    /// The visible upload row. A pending one is of no interest: its id was not yet told to anybody.
    async fn upload_row(&self, upload: &UploadPlace) -> Result<ObjectMeta, EngineError> {
        let key = keys::upload(upload.place.bucket, &upload.place.key, upload.id);
        let _held = self.0.store.resolve(upload.place.pg, &[&key]).await?;
        let newest = self.newest(upload.place.pg, &key)?;
        newest.meta.ok_or(EngineError::NoSuchUpload)
    }

    pub(crate) async fn put_part(&self, call: PutPart) -> Result<Written, EngineError> {
        let unused = match &call.body {
            NewBody::Extents(extents) => extents.extents.clone(),
            _ => Vec::new(),
        };
        let written = self.put_part_judged(call).await;
        if written.is_err() && !self.0.store.is_failed() {
            self.0.store.release(unused);
        }
        written
    }

    async fn put_part_judged(&self, call: PutPart) -> Result<Written, EngineError> {
        let PutPart { upload, number, mut meta, body } = call;
        assert!((1..=PART_COUNT_MAX).contains(&number), "the handler refuses part number {number}");
        let upload_key = keys::upload(upload.place.bucket, &upload.place.key, upload.id);
        let key = keys::part(upload.place.bucket, upload.id, number);
        // While the upload is being completed or aborted no part begins.
        self.unlocked(&upload_key).await;
        let _in_flight = self.begin_part_write(upload.place.bucket, upload.id)?;
        self.admit_row()?;
        let _held = self.0.store.resolve(upload.place.pg, &[&upload_key, &key]).await?;
        if self.newest(upload.place.pg, &upload_key)?.meta.is_none() {
            return Err(EngineError::NoSuchUpload);
        }
        let hlc = self.0.store.next_hlc();
        meta.modified_ms = hlc.wall_ms();
        let put = Change::Put { key, meta: codec::encode(&meta), body };
        self.0.store.commit(upload.place.pg, vec![put])?.wait().await?;
        Ok(Written { hlc, modified_ms: meta.modified_ms, version: None })
    }

    pub(crate) async fn list_parts(&self, call: ListParts) -> Result<PartsPage, EngineError> {
        let ListParts { upload, after, parts_max } = call;
        let meta = self.upload_row(&upload).await?;
        let mut page = PartsPage { upload: meta, parts: Vec::new(), more: false };
        let Some(first) = after.checked_add(1) else { return Ok(page) };
        let (bucket, from) = (upload.place.bucket, keys::part(upload.place.bucket, upload.id, first));
        let mut unreadable = false;
        let scan = self.0.store.scan_rows(upload.place.pg, Bound::Included(&from), |key, row| {
            match keys::part_of(bucket, key) {
                Some((id, number)) if id == upload.id => {
                    if page.parts.len() == parts_max {
                        page.more = true;
                        return ControlFlow::Break(());
                    }
                    match decode_row(row) {
                        Ok(meta) => page.parts.push(PartEntry { number, seq: row.seq, meta }),
                        Err(_) => unreadable = true,
                    }
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            }
        });
        scan.await?;
        if unreadable { Err(EngineError::UnreadableRow) } else { Ok(page) }
    }

    pub(crate) async fn complete_upload(&self, call: CompleteUpload) -> Result<Written, EngineError> {
        let CompleteUpload { upload: UploadPlace { place, id }, parts, mut meta, condition, mode } = call;
        let _in_flight = self.begin_write(place.bucket)?;
        let object_key = keys::object(place.bucket, &place.key);
        let upload_key = keys::upload(place.bucket, &place.key, id);
        let _upload_lock = self.lock_key(&upload_key).await;
        self.settle_parts(id).await;
        if mode != Versioning::Off {
            return self.complete_version(&place, id, parts, meta, (condition, mode)).await;
        }
        let checked = self.check_picked(&place, id, &parts).await;
        let gone = unpicked_keys(&place, id, &checked);
        let _parts_held = self.0.store.resolve(place.pg, &gone).await?;
        let _held = self.0.store.resolve(place.pg, &[&object_key, &upload_key]).await?;
        if self.newest(place.pg, &upload_key)?.meta.is_none() {
            return self.completed_before(&place, id, &meta).await;
        }
        let mut newest = self.newest(place.pg, &object_key)?;
        Self::judge(&mut newest, condition).await?;
        checked?;
        let hlc = self.0.store.next_hlc();
        meta.modified_ms = hlc.wall_ms();
        meta.parts = Some(PartTable::new(id, parts.iter().map(|part| (part.number, part.bytes))));
        let object = Change::Put { key: object_key, meta: codec::encode(&meta), body: NewBody::None };
        let mut changes = vec![object, Change::Delete { key: upload_key }];
        changes.extend(gone.into_iter().map(|key| Change::Delete { key }));
        self.0.store.commit(place.pg, changes)?.wait().await?;
        self.retire_replaced(&place, newest.meta.as_ref());
        self.emit_created(&place, &meta, hlc);
        Ok(Written { hlc, modified_ms: meta.modified_ms, version: None })
    }

    /// Completes an upload in a bucket with versions.
    async fn complete_version(
        &self,
        place: &Place,
        id: keys::UploadId,
        parts: Vec<PickedPart>,
        mut meta: ObjectMeta,
        (condition, mode): (WriteCondition, Versioning),
    ) -> Result<Written, EngineError> {
        let object_key = keys::object(place.bucket, &place.key);
        let _lock = self.lock_key(&object_key).await;
        let upload_key = keys::upload(place.bucket, &place.key, id);
        let _held = self.0.store.resolve(place.pg, &[&object_key, &upload_key]).await?;
        let checked = self.check_picked(place, id, &parts).await;
        let gone = unpicked_keys(place, id, &checked);
        let (hlc, retired) = loop {
            let mut current = self.current_of(place, mode).await?;
            if self.newest(place.pg, &upload_key)?.meta.is_none() {
                // Another Complete or an Abort of the same upload had its turn first.
                return self.completed_before(place, id, &meta).await;
            }
            condition.judge(current.as_ref().map(|row| row.meta.etag))?;
            if let Err(error) = checked {
                return Err(error);
            }
            meta.parts = Some(PartTable::new(id, parts.iter().map(|part| (part.number, part.bytes))));
            let (hlc, mut changes, retired) =
                self.version_changes(place, &mut meta, NewBody::None, current.as_mut(), mode).await?;
            changes.push(Change::Delete { key: upload_key.clone() });
            changes.extend(gone.iter().map(|key| Change::Delete { key: key.clone() }));
            if let Some(commit) = self.commit_on(place, current.as_ref(), changes).await? {
                commit.wait().await?;
                break (hlc, retired);
            }
        };
        self.retire_replaced(place, retired.as_ref());
        self.emit_created(place, &meta, hlc);
        Ok(Written { hlc, modified_ms: meta.modified_ms, version: meta.version })
    }

    /// A repeated Complete finds its upload gone; when the object is the one it made, the answer is the
    /// same as the first time.
    async fn completed_before(
        &self,
        place: &Place,
        id: keys::UploadId,
        wanted: &ObjectMeta,
    ) -> Result<Written, EngineError> {
        let object_key = keys::object(place.bucket, &place.key);
        let _held = self.0.store.resolve(place.pg, &[&object_key]).await?;
        let newest = self.newest(place.pg, &object_key)?;
        let Some(meta) = newest.meta else { return Err(EngineError::NoSuchUpload) };
        if meta.parts.as_ref().is_none_or(|parts| parts.id != id) || meta.etag != wanted.etag {
            return Err(EngineError::NoSuchUpload);
        }
        if let Some(ticket) = newest.pending {
            ticket.wait().await?;
        }
        Ok(Written {
            hlc: stria_base::Hlc::new(meta.modified_ms, 0),
            modified_ms: meta.modified_ms,
            version: meta.version,
        })
    }

    /// Each picked part must still be the row the caller did its arithmetic on. Returns the numbers of
    /// uploaded parts that were not picked.
    async fn check_picked(
        &self,
        place: &Place,
        id: keys::UploadId,
        picked: &[PickedPart],
    ) -> Result<Vec<u16>, EngineError> {
        let mut unpicked = Vec::new();
        let mut next = picked.iter().peekable();
        let mut stale = None;
        let from = keys::part(place.bucket, id, 0);
        let scan = self.0.store.scan_rows(place.pg, Bound::Included(&from), |key, row| {
            let Some((_, number)) = keys::part_of(place.bucket, key).filter(|(owner, _)| *owner == id) else {
                return ControlFlow::Break(());
            };
            match next.peek() {
                Some(part) if part.number == number => {
                    if part.seq != row.seq {
                        stale = Some(number);
                    }
                    next.next();
                }
                _ => unpicked.push(number),
            }
            ControlFlow::Continue(())
        });
        scan.await?;
        match stale.or(next.next().map(|part| part.number)) {
            Some(number) => Err(EngineError::InvalidPart { number }),
            None => Ok(unpicked),
        }
    }

    pub(crate) async fn abort_upload(&self, call: AbortUpload) -> Result<(), EngineError> {
        let UploadPlace { place, id } = call.upload;
        let _in_flight = self.begin_write(place.bucket)?;
        let upload_key = keys::upload(place.bucket, &place.key, id);
        let _lock = self.lock_key(&upload_key).await;
        self.settle_parts(id).await;
        let mut gone = vec![upload_key.clone()];
        let from = keys::part(place.bucket, id, 0);
        let scan = self.0.store.scan_rows(place.pg, Bound::Included(&from), |key, _| {
            match keys::part_of(place.bucket, key) {
                Some((owner, _)) if owner == id => {
                    gone.push(key.into());
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            }
        });
        scan.await?;
        let _held = self.0.store.resolve(place.pg, &gone).await?;
        if self.newest(place.pg, &upload_key)?.meta.is_none() {
            return Err(EngineError::NoSuchUpload);
        }
        let changes = gone.into_iter().map(|key| Change::Delete { key }).collect();
        self.0.store.commit(place.pg, changes)?.wait().await?;
        Ok(())
    }

    pub(crate) async fn list_uploads(&self, call: ListUploads) -> Result<UploadsPage, EngineError> {
        let mut uploads = Vec::new();
        for &pg in &call.pgs {
            self.uploads_of_pg(pg, &call, &mut uploads).await?;
        }
        uploads.sort_by(|a, b| (&a.key, a.id).cmp(&(&b.key, b.id)));
        let more = uploads.len() > call.uploads_max;
        uploads.truncate(call.uploads_max);
        Ok(UploadsPage { uploads, more })
    }

    async fn uploads_of_pg(
        &self,
        pg: stria_base::PgId,
        call: &ListUploads,
        uploads: &mut Vec<UploadEntry>,
    ) -> Result<(), EngineError> {
        let from = match &call.after {
            Some((key, Some(id))) => keys::upload_from(call.bucket, key, Some(*id)),
            // Without an upload marker, all uploads of the marked key are passed over.
            Some((key, None)) => keys::upload_from(call.bucket, key, Some(keys::UploadId(u128::MAX))),
            None => keys::upload_from(call.bucket, b"", None),
        };
        let (mut found, mut unreadable) = (0, false);
        let scan = self.0.store.scan_rows(pg, Bound::Included(&from), |row_key, row| {
            let Some((key, id)) = keys::upload_parts_of(call.bucket, row_key) else {
                return ControlFlow::Break(());
            };
            if key.starts_with(&call.prefix) {
                match decode_row(row) {
                    Ok(meta) => uploads.push(UploadEntry { key: key.into(), id, meta }),
                    Err(_) => unreadable = true,
                }
                found += 1;
            } else if *key > *call.prefix {
                return ControlFlow::Break(());
            }
            if found > call.uploads_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        scan.await?;
        if unreadable { Err(EngineError::UnreadableRow) } else { Ok(()) }
    }
}

/// Row keys of uploaded parts that were not picked.
fn unpicked_keys(
    place: &Place,
    id: keys::UploadId,
    checked: &Result<Vec<u16>, EngineError>,
) -> Vec<Box<[u8]>> {
    let numbers = checked.as_ref().map(Vec::as_slice).unwrap_or_default();
    numbers.iter().map(|number| keys::part(place.bucket, id, *number)).collect()
}
