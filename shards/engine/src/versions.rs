//! Writes of keys that have versions.
//!
//! A version's row carries its body; the row of the current version repeats its metadata, so that reads and
//! listings of current objects never look at versions. A key whose newest version is a delete marker has no
//! current row.
//!
//! Invariant: the current row and the version rows of a key change in one record. Changes of one key run one
//! after the other ([`Engine::lock_key`]), each on durable rows only. Runs on the owner core.

use std::{
    collections::BTreeSet,
    ops::{Bound, ControlFlow},
};

use stria_base::{Hlc, PgId, hash::hash64};
use stria_env::Env;
use stria_store::{BodyRef, Change, Commit, NewBody, RowView};

use crate::{
    calls::{DeleteVersion, Deleted, Place, PutVersion, Written},
    codec,
    engine::Engine,
    error::EngineError,
    events::{EventKind, StorageEvent},
    keys,
    object::{ObjectMeta, Version, VersionId, VersionSelector, Versioning},
    precondition::WriteCondition,
    reads::decode_row,
};

/// Keys whose versions are being changed.
pub(crate) type LockedKeys = BTreeSet<Box<[u8]>>;

/// A durable row.
pub(crate) struct Settled {
    pub(crate) seq: u64,
    pub(crate) hlc: Hlc,
    pub(crate) meta: ObjectMeta,
    pub(crate) body: BodyRef,
    /// The body as its version row will name it, where a row from before versioning is to move.
    moved: NewBody,
}

impl Settled {
    /// Its place among the versions of its key.
    fn id(&self) -> VersionId {
        self.meta.version.map_or(VersionId::of_plain(self.hlc), |version| version.id)
    }
}

/// Holds a key's versions still for one change.
pub(crate) struct KeyLock<'a, E: Env> {
    engine: &'a Engine<E>,
    row_key: Box<[u8]>,
}

impl<E: Env> Drop for KeyLock<'_, E> {
    fn drop(&mut self) {
        self.engine.0.locked_keys.borrow_mut().remove(&self.row_key);
        self.engine.0.key_unlocked.notify_all();
    }
}

impl<E: Env> Engine<E> {
    /// Waits for its turn among the changes of this key's versions.
    pub(crate) async fn lock_key(&self, row_key: &[u8]) -> KeyLock<'_, E> {
        loop {
            let unlocked = self.0.key_unlocked.notified();
            if self.0.locked_keys.borrow_mut().insert(row_key.into()) {
                return KeyLock { engine: self, row_key: row_key.into() };
            }
            unlocked.await;
        }
    }

    /// Waits until nobody changes a key's rows; the next step without an await comes before anybody does.
    pub(crate) async fn unlocked(&self, row_key: &[u8]) {
        loop {
            let unlocked = self.0.key_unlocked.notified();
            if !self.0.locked_keys.borrow().contains(row_key) {
                return;
            }
            unlocked.await;
        }
    }

    /// The row of a key once nothing of it is on its way.
    pub(crate) async fn settled(&self, pg: PgId, row_key: &[u8]) -> Result<Option<Settled>, EngineError> {
        let _held = self.0.store.resolve(pg, &[row_key]).await?;
        loop {
            let (row, pending) = self.0.store.newest(pg, row_key, |row, pending| {
                let settled = row.map(|row| {
                    let meta = decode_row(row)?;
                    let body = row.body();
                    Ok(Settled { seq: row.seq, hlc: row.hlc, meta, body, moved: NewBody::None })
                });
                (settled, pending)
            });
            match pending {
                Some(ticket) => ticket.wait().await?,
                None => return row.transpose(),
            }
        }
    }

    /// The current row of a key whose newest version is about to change.
    pub(crate) async fn current_of(
        &self,
        place: &Place,
        mode: Versioning,
    ) -> Result<Option<Settled>, EngineError> {
        let row_key = keys::object(place.bucket, &place.key);
        let _held = self.0.store.resolve(place.pg, &[&row_key]).await?;
        loop {
            let Some(mut row) = self.settled(place.pg, &row_key).await? else { return Ok(None) };
            if row.meta.version.is_some() || mode != Versioning::Enabled {
                return Ok(Some(row));
            }
            row.moved = self.body_again(&row.body).await?;
            // A write judged before the bucket had versions may have come in between.
            if self.is_newest(place.pg, &row_key, row.seq) {
                return Ok(Some(row));
            }
        }
    }

    /// Whether the row of that number is durable and nothing newer is on its way.
    pub(crate) fn is_newest(&self, pg: PgId, row_key: &[u8], seq: u64) -> bool {
        self.0
            .store
            .newest(pg, row_key, |row, pending| pending.is_none() && row.is_some_and(|row| row.seq == seq))
    }

    /// A body as a change that writes its row again names it: extents stay, an inline body comes along,
    /// because the old frame may be cleaned away.
    pub(crate) async fn body_again(&self, body: &BodyRef) -> Result<NewBody, EngineError> {
        Ok(match body {
            BodyRef::None => NewBody::None,
            BodyRef::Extents(extents) => NewBody::Extents(Box::new((**extents).clone())),
            BodyRef::Inline(inline) => {
                NewBody::Inline { id: inline.id, bytes: self.inline_body(inline).await? }
            }
        })
    }

    /// Versions of a key, newest first, until the callback breaks. Visible ones: call with the key locked.
    async fn versions(
        &self,
        place: &Place,
        mut each: impl FnMut(VersionId, codec::RowHead) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let from = keys::versions_from(place.bucket, &place.key, None);
        let prefix = from.clone();
        let scan = self.0.store.scan_rows(place.pg, Bound::Included(&from), |row_key, row| {
            if !row_key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            match (keys::version_of(place.bucket, row_key), codec::decode_head(row.meta)) {
                (Some((_, id)), Some(head)) => each(id, head),
                _ => ControlFlow::Continue(()),
            }
        });
        Ok(scan.await?)
    }

    /// The newest version row but `except`.
    pub(crate) async fn newest_version(
        &self,
        place: &Place,
        except: Option<VersionId>,
    ) -> Result<Option<(VersionId, codec::RowHead)>, EngineError> {
        let mut found = None;
        let look = |id, head| {
            if Some(id) == except {
                return ControlFlow::Continue(());
            }
            found = Some((id, head));
            ControlFlow::Break(())
        };
        self.versions(place, look).await?;
        Ok(found)
    }

    /// The version row called `null`.
    pub(crate) async fn null_version(&self, place: &Place) -> Result<Option<VersionId>, EngineError> {
        let mut found = None;
        let look = |id, head: codec::RowHead| {
            if head.is_null {
                found = Some(id);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        self.versions(place, look).await?;
        Ok(found)
    }

    async fn version_meta(&self, place: &Place, id: VersionId) -> Result<Option<ObjectMeta>, EngineError> {
        let row_key = keys::version(place.bucket, &place.key, id);
        let _held = self.0.store.resolve(place.pg, &[&row_key]).await?;
        self.0.store.row(place.pg, &row_key, |row| row.map(decode_row).transpose())
    }

    /// An id above every version the key has.
    async fn next_version(
        &self,
        place: &Place,
        current: Option<&Settled>,
    ) -> Result<(Hlc, VersionId), EngineError> {
        let hlc = self.0.store.next_hlc();
        let drawn = u128::from(hlc.0) << 64 | u128::from(hash64(hlc.0, &place.key));
        let newest = self.newest_version(place, None).await?.map(|(id, _)| id).max(current.map(Settled::id));
        let least = newest.map_or(0, |id| id.0 + 1);
        Ok((hlc, VersionId(drawn.max(least))))
    }

    /// What a new newest version does to the old ones: a row from before versioning moves to a version row,
    /// or, where the new one is `null`, the old null version goes.
    async fn make_room(
        &self,
        place: &Place,
        current: Option<&mut Settled>,
        mode: Versioning,
        changes: &mut Vec<Change>,
    ) -> Result<Option<ObjectMeta>, EngineError> {
        let old = current.filter(|row| row.meta.version.is_none());
        match (old, mode) {
            (Some(old), Versioning::Enabled) => {
                let version = Version { id: old.id(), is_null: true };
                let meta = ObjectMeta { version: Some(version), ..old.meta.clone() };
                changes.push(Change::Put {
                    key: keys::version(place.bucket, &place.key, version.id),
                    meta: codec::encode(&meta),
                    body: std::mem::replace(&mut old.moved, NewBody::None),
                });
                Ok(None)
            }
            (Some(old), _) => Ok(Some(old.meta.clone())),
            (None, Versioning::Enabled) => Ok(None),
            (None, _) => {
                let Some(id) = self.null_version(place).await? else { return Ok(None) };
                changes.push(Change::Delete { key: keys::version(place.bucket, &place.key, id) });
                self.version_meta(place, id).await
            }
        }
    }

    /// Changes that make `meta` the newest version, and the metadata of the version they replace.
    pub(crate) async fn version_changes(
        &self,
        place: &Place,
        meta: &mut ObjectMeta,
        body: NewBody,
        mut current: Option<&mut Settled>,
        mode: Versioning,
    ) -> Result<(Hlc, Vec<Change>, Option<ObjectMeta>), EngineError> {
        let mut changes = Vec::with_capacity(3);
        let retired = self.make_room(place, current.as_deref_mut(), mode, &mut changes).await?;
        let (hlc, id) = self.next_version(place, current.as_deref()).await?;
        meta.modified_ms = hlc.wall_ms();
        meta.version = Some(Version { id, is_null: mode != Versioning::Enabled });
        let encoded = codec::encode(meta);
        let current_key = keys::object(place.bucket, &place.key);
        let version_key = keys::version(place.bucket, &place.key, id);
        if meta.is_delete_marker {
            if current.is_some() {
                changes.push(Change::Delete { key: current_key });
            }
        } else {
            changes.push(Change::Put { key: current_key, meta: encoded.clone(), body: NewBody::None });
        }
        changes.push(Change::Put { key: version_key, meta: encoded, body });
        Ok((hlc, changes, retired))
    }

    pub(crate) async fn put_version(&self, call: PutVersion) -> Result<Written, EngineError> {
        let PutVersion { place, meta, body, condition, mode } = call;
        let unused = match &body {
            NewBody::Extents(extents) => extents.extents.clone(),
            _ => Vec::new(),
        };
        let written = self.put_version_judged(&place, meta, body, condition, mode).await;
        if written.is_err() && !self.0.store.is_failed() {
            self.0.store.release(unused);
        }
        written
    }

    async fn put_version_judged(
        &self,
        place: &Place,
        mut meta: ObjectMeta,
        body: NewBody,
        condition: WriteCondition,
        mode: Versioning,
    ) -> Result<Written, EngineError> {
        let _in_flight = self.begin_write(place.bucket)?;
        self.admit_row()?;
        let row_key = keys::object(place.bucket, &place.key);
        let _lock = self.lock_key(&row_key).await;
        let cached = match &body {
            NewBody::Inline { id, bytes } => Some((*id, bytes.clone())),
            _ => None,
        };
        let (hlc, retired) = loop {
            let mut current = self.current_of(place, mode).await?;
            condition.judge(current.as_ref().map(|row| row.meta.etag))?;
            let changes = self.version_changes(place, &mut meta, body.clone(), current.as_mut(), mode);
            let (hlc, changes, retired) = changes.await?;
            if let Some(commit) = self.commit_on(place, current.as_ref(), changes).await? {
                commit.wait().await?;
                break (hlc, retired);
            }
        };
        self.retire_replaced(place, retired.as_ref());
        if let Some((id, bytes)) = cached {
            self.0.cache.borrow_mut().put(id, bytes);
        }
        self.emit_created(place, &meta, hlc);
        Ok(Written { hlc, modified_ms: meta.modified_ms, version: meta.version })
    }

    pub(crate) async fn delete_version(&self, call: DeleteVersion) -> Result<Deleted, EngineError> {
        let DeleteVersion { place, condition, version, mode } = call;
        let _in_flight = self.begin_write(place.bucket)?;
        let row_key = keys::object(place.bucket, &place.key);
        let _lock = self.lock_key(&row_key).await;
        match version {
            VersionSelector::Current => loop {
                let mut current = self.current_of(&place, mode).await?;
                condition.judge(current.as_ref().map(|row| row.meta.etag))?;
                if let Some(deleted) = self.put_marker(&place, current.as_mut(), mode).await? {
                    return Ok(deleted);
                }
            },
            VersionSelector::Null | VersionSelector::Id(_) => loop {
                let current = self.settled(place.pg, &row_key).await?;
                let removed = self.remove_version(&place, current.as_ref(), version, condition);
                if let Some(deleted) = removed.await? {
                    return Ok(deleted);
                }
            },
        }
    }

    /// Commits changes that rest on a current row; `None` when it is not the newest any more: a write judged before
    /// the bucket had versions came in between.
    pub(crate) async fn commit_on(
        &self,
        place: &Place,
        current: Option<&Settled>,
        changes: Vec<Change>,
    ) -> Result<Option<Commit>, EngineError> {
        let row_key = keys::object(place.bucket, &place.key);
        let mut keys: Vec<&[u8]> = changes.iter().map(Change::key).collect();
        keys.push(&row_key);
        let _held = self.0.store.resolve(place.pg, &keys).await?;
        let seq = current.map(|row| row.seq);
        let is_newest = |row: Option<RowView<'_>>, pending: bool| !pending && row.map(|row| row.seq) == seq;
        if !self.0.store.newest(place.pg, &row_key, |row, pending| is_newest(row, pending.is_some())) {
            return Ok(None);
        }
        Ok(Some(self.0.store.commit(place.pg, changes)?))
    }

    async fn put_marker(
        &self,
        place: &Place,
        current: Option<&mut Settled>,
        mode: Versioning,
    ) -> Result<Option<Deleted>, EngineError> {
        let existed = current.is_some();
        let mut meta = ObjectMeta { is_delete_marker: true, ..ObjectMeta::new(0, [0; 16]) };
        let mut current = current;
        let changes = self.version_changes(place, &mut meta, NewBody::None, current.as_deref_mut(), mode);
        let (hlc, changes, retired) = changes.await?;
        let Some(commit) = self.commit_on(place, current.as_deref(), changes).await? else { return Ok(None) };
        commit.wait().await?;
        self.retire_replaced(place, retired.as_ref());
        self.emit_deleted(place, meta.version, hlc, true);
        Ok(Some(Deleted { existed, version: meta.version, is_delete_marker: true }))
    }

    /// Removes one version for good. When it was the newest, the next one becomes current.
    async fn remove_version(
        &self,
        place: &Place,
        current: Option<&Settled>,
        wanted: VersionSelector,
        condition: WriteCondition,
    ) -> Result<Option<Deleted>, EngineError> {
        let old = current.filter(|row| row.meta.version.is_none());
        let (id, meta, key) = match (wanted, old) {
            (VersionSelector::Null, Some(old)) => {
                (old.id(), Some(old.meta.clone()), keys::object(place.bucket, &place.key))
            }
            (VersionSelector::Id(id), _) => {
                (id, self.version_meta(place, id).await?, keys::version(place.bucket, &place.key, id))
            }
            _ => match self.null_version(place).await? {
                Some(id) => {
                    (id, self.version_meta(place, id).await?, keys::version(place.bucket, &place.key, id))
                }
                None => (VersionId(0), None, Box::default()),
            },
        };
        // A null version is not found by the number it has inside.
        let by_number = matches!(wanted, VersionSelector::Id(_));
        let is_null = |meta: &ObjectMeta| meta.version.is_none_or(|version| version.is_null);
        let Some(meta) = meta.filter(|meta| !(by_number && is_null(meta))) else {
            condition.judge(None)?;
            return Ok(Some(Deleted { existed: false, version: None, is_delete_marker: false }));
        };
        condition.judge(Some(meta.etag).filter(|_| !meta.is_delete_marker))?;
        let mut changes = vec![Change::Delete { key }];
        let was_current = match current {
            Some(row) => row.id() == id,
            None => self.newest_version(place, None).await?.is_some_and(|(newest, _)| newest == id),
        };
        if was_current {
            self.promote(place, id, current.is_some() && old.is_none(), &mut changes).await?;
        }
        let hlc = self.0.store.next_hlc();
        let Some(commit) = self.commit_on(place, current, changes).await? else { return Ok(None) };
        commit.wait().await?;
        self.retire_replaced(place, Some(&meta));
        let version = meta.version.unwrap_or(Version { id, is_null: true });
        self.emit_deleted(place, Some(version), hlc, false);
        Ok(Some(Deleted { existed: true, version: Some(version), is_delete_marker: meta.is_delete_marker }))
    }

    /// Makes the newest version but `gone` the current one.
    async fn promote(
        &self,
        place: &Place,
        gone: VersionId,
        has_row: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), EngineError> {
        let current_key = keys::object(place.bucket, &place.key);
        let next = self.newest_version(place, Some(gone)).await?;
        let next = next.filter(|(_, head)| !head.is_delete_marker);
        match next {
            Some((id, _)) => {
                if let Some(meta) = self.version_meta(place, id).await? {
                    // The row from before versioning, when that is what goes, is replaced by this one.
                    changes.retain(|change| !matches!(change, Change::Delete { key } if *key == current_key));
                    let meta = codec::encode(&meta);
                    changes.push(Change::Put { key: current_key, meta, body: NewBody::None });
                }
            }
            None if has_row => changes.push(Change::Delete { key: current_key }),
            None => {}
        }
        Ok(())
    }

    fn emit_deleted(&self, place: &Place, version: Option<Version>, hlc: Hlc, is_delete_marker: bool) {
        self.emit(EventKind::ObjectDeleted, || StorageEvent::ObjectDeleted {
            bucket: place.bucket,
            key: place.key.as_ref().into(),
            version_id: version.filter(|version| !version.is_null).map(|version| version.id.0),
            hlc,
            is_delete_marker,
        });
    }
}
