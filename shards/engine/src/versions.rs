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
use stria_store::{BodyRef, Change, NewBody};

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

    /// The row of a key once nothing of it is on its way.
    pub(crate) async fn settled(&self, pg: PgId, row_key: &[u8]) -> Result<Option<Settled>, EngineError> {
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
    fn versions(&self, place: &Place, mut each: impl FnMut(VersionId, codec::RowHead) -> ControlFlow<()>) {
        let from = keys::versions_from(place.bucket, &place.key, None);
        let prefix = from.clone();
        self.0.store.scan(place.pg, Bound::Included(&from), |row_key, row| {
            if !row_key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            match (keys::version_of(place.bucket, row_key), codec::decode_head(row.meta)) {
                (Some((_, id)), Some(head)) => each(id, head),
                _ => ControlFlow::Continue(()),
            }
        });
    }

    /// The newest version row but `except`.
    pub(crate) fn newest_version(
        &self,
        place: &Place,
        except: Option<VersionId>,
    ) -> Option<(VersionId, codec::RowHead)> {
        let mut found = None;
        self.versions(place, |id, head| {
            if Some(id) == except {
                return ControlFlow::Continue(());
            }
            found = Some((id, head));
            ControlFlow::Break(())
        });
        found
    }

    /// The version row called `null`.
    pub(crate) fn null_version(&self, place: &Place) -> Option<VersionId> {
        let mut found = None;
        self.versions(place, |id, head| {
            if head.is_null {
                found = Some(id);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        found
    }

    fn version_meta(&self, place: &Place, id: VersionId) -> Result<Option<ObjectMeta>, EngineError> {
        let row_key = keys::version(place.bucket, &place.key, id);
        self.0.store.row(place.pg, &row_key, |row| row.map(decode_row).transpose())
    }

    /// An id above every version the key has.
    fn next_version(&self, place: &Place, current: Option<&Settled>) -> (Hlc, VersionId) {
        let hlc = self.0.store.next_hlc();
        let drawn = u128::from(hlc.0) << 64 | u128::from(hash64(hlc.0, &place.key));
        let newest = self.newest_version(place, None).map(|(id, _)| id).max(current.map(Settled::id));
        let least = newest.map_or(0, |id| id.0 + 1);
        (hlc, VersionId(drawn.max(least)))
    }

    /// What a new newest version does to the old ones: a row from before versioning moves to a version row,
    /// or, where the new one is `null`, the old null version goes.
    fn make_room(
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
                let Some(id) = self.null_version(place) else { return Ok(None) };
                changes.push(Change::Delete { key: keys::version(place.bucket, &place.key, id) });
                self.version_meta(place, id)
            }
        }
    }

    /// Changes that make `meta` the newest version, and the metadata of the version they replace.
    pub(crate) fn version_changes(
        &self,
        place: &Place,
        meta: &mut ObjectMeta,
        body: NewBody,
        mut current: Option<&mut Settled>,
        mode: Versioning,
    ) -> Result<(Hlc, Vec<Change>, Option<ObjectMeta>), EngineError> {
        let mut changes = Vec::with_capacity(3);
        let retired = self.make_room(place, current.as_deref_mut(), mode, &mut changes)?;
        let (hlc, id) = self.next_version(place, current.as_deref());
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
        let mut current = self.current_of(place, mode).await?;
        condition.judge(current.as_ref().map(|row| row.meta.etag))?;
        let cached = match &body {
            NewBody::Inline { id, bytes } => Some((*id, bytes.clone())),
            _ => None,
        };
        let (hlc, changes, retired) = self.version_changes(place, &mut meta, body, current.as_mut(), mode)?;
        self.0.store.commit(place.pg, changes)?.wait().await?;
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
            VersionSelector::Current => {
                let mut current = self.current_of(&place, mode).await?;
                condition.judge(current.as_ref().map(|row| row.meta.etag))?;
                self.put_marker(&place, current.as_mut(), mode).await
            }
            VersionSelector::Null | VersionSelector::Id(_) => {
                let current = self.settled(place.pg, &row_key).await?;
                self.remove_version(&place, current.as_ref(), version, condition).await
            }
        }
    }

    async fn put_marker(
        &self,
        place: &Place,
        current: Option<&mut Settled>,
        mode: Versioning,
    ) -> Result<Deleted, EngineError> {
        let existed = current.is_some();
        let mut meta = ObjectMeta { is_delete_marker: true, ..ObjectMeta::new(0, [0; 16]) };
        let (hlc, changes, retired) = self.version_changes(place, &mut meta, NewBody::None, current, mode)?;
        self.0.store.commit(place.pg, changes)?.wait().await?;
        self.retire_replaced(place, retired.as_ref());
        self.emit_deleted(place, meta.version, hlc, true);
        Ok(Deleted { existed, version: meta.version, is_delete_marker: true })
    }

    /// Removes one version for good. When it was the newest, the next one becomes current.
    async fn remove_version(
        &self,
        place: &Place,
        current: Option<&Settled>,
        wanted: VersionSelector,
        condition: WriteCondition,
    ) -> Result<Deleted, EngineError> {
        let old = current.filter(|row| row.meta.version.is_none());
        let (id, meta, key) = match (wanted, old) {
            (VersionSelector::Null, Some(old)) => {
                (old.id(), Some(old.meta.clone()), keys::object(place.bucket, &place.key))
            }
            (VersionSelector::Id(id), _) => {
                (id, self.version_meta(place, id)?, keys::version(place.bucket, &place.key, id))
            }
            _ => match self.null_version(place) {
                Some(id) => (id, self.version_meta(place, id)?, keys::version(place.bucket, &place.key, id)),
                None => (VersionId(0), None, Box::default()),
            },
        };
        // A null version is not found by the number it has inside.
        let by_number = matches!(wanted, VersionSelector::Id(_));
        let is_null = |meta: &ObjectMeta| meta.version.is_none_or(|version| version.is_null);
        let Some(meta) = meta.filter(|meta| !(by_number && is_null(meta))) else {
            condition.judge(None)?;
            return Ok(Deleted { existed: false, version: None, is_delete_marker: false });
        };
        condition.judge(Some(meta.etag).filter(|_| !meta.is_delete_marker))?;
        let mut changes = vec![Change::Delete { key }];
        let was_current = current.map_or_else(
            || self.newest_version(place, None).is_some_and(|(newest, _)| newest == id),
            |row| row.id() == id,
        );
        if was_current {
            self.promote(place, id, current.is_some() && old.is_none(), &mut changes)?;
        }
        let hlc = self.0.store.next_hlc();
        self.0.store.commit(place.pg, changes)?.wait().await?;
        self.retire_replaced(place, Some(&meta));
        let version = meta.version.unwrap_or(Version { id, is_null: true });
        self.emit_deleted(place, Some(version), hlc, false);
        Ok(Deleted { existed: true, version: Some(version), is_delete_marker: meta.is_delete_marker })
    }

    /// Makes the newest version but `gone` the current one.
    fn promote(
        &self,
        place: &Place,
        gone: VersionId,
        has_row: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), EngineError> {
        let current_key = keys::object(place.bucket, &place.key);
        let next = self.newest_version(place, Some(gone)).filter(|(_, head)| !head.is_delete_marker);
        match next {
            Some((id, _)) => {
                if let Some(meta) = self.version_meta(place, id)? {
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
