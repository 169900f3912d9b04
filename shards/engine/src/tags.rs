//! Changes of what is kept beside an object, its tags and its access control list: the row is written again, its body stays where it is.
//!
//! Invariant: what is written again is the newest sequenced row, so no write in between is undone; of a key
//! with versions, the current row and its version row keep the same. Runs on the owner core.

use stria_base::Hlc;
use stria_env::Env;
use stria_store::{Change, NewBody};

use crate::{
    calls::{Amend, Amendment, Place},
    codec,
    engine::Engine,
    error::EngineError,
    events::{EventKind, StorageEvent},
    keys,
    object::{Version, VersionSelector},
    versions::Settled,
};

impl<E: Env> Engine<E> {
    pub(crate) async fn amend(&self, call: Amend) -> Result<Option<Version>, EngineError> {
        let Amend { place, version: asked, amendment } = call;
        let (Amendment::Tags { judged, .. } | Amendment::Acl { judged, .. }) = &amendment;
        let _in_flight = self.begin_write(place.bucket)?;
        let current_key = keys::object(place.bucket, &place.key);
        let _lock = self.lock_key(&current_key).await;
        loop {
            let current = self.settled(place.pg, &current_key).await?;
            let current_version = current.as_ref().and_then(|row| row.meta.version);
            let wanted = match asked {
                VersionSelector::Current if current.is_none() => {
                    return Err(self.no_current(&place).await?);
                }
                VersionSelector::Current => current_version,
                VersionSelector::Null if current.is_some() && current_version.is_none() => None,
                VersionSelector::Null => {
                    let id = self.null_version(&place).await?.ok_or(EngineError::NoSuchVersion)?;
                    Some(Version { id, is_null: true })
                }
                VersionSelector::Id(id) => Some(Version { id, is_null: false }),
            };
            let (row_key, row) = match wanted {
                None => (current_key.clone(), current),
                Some(version) => {
                    let row_key = keys::version(place.bucket, &place.key, version.id);
                    let row = self.settled(place.pg, &row_key).await?;
                    (row_key, row)
                }
            };
            let Some(Settled { seq, mut meta, body, .. }) = row else {
                return Err(EngineError::NoSuchVersion);
            };
            if let (true, Some(version)) = (meta.is_delete_marker, meta.version) {
                let (modified_ms, named) = (meta.modified_ms, asked != VersionSelector::Current);
                return Err(EngineError::IsDeleteMarker { version, modified_ms, named });
            }
            if meta.acl != *judged {
                return Err(EngineError::Overtaken);
            }
            let body = self.body_again(&body).await?;
            let _held = self.0.store.resolve(place.pg, &[&row_key, &current_key]).await?;
            if !self.is_newest(place.pg, &row_key, seq) {
                continue;
            }
            match &amendment {
                Amendment::Tags { tags, .. } => meta.tags.clone_from(tags),
                Amendment::Acl { acl, .. } => meta.acl.clone_from(acl),
            }
            let encoded = codec::encode(&meta);
            let mut changes = vec![Change::Put { key: row_key, meta: encoded.clone(), body }];
            if wanted.is_some() && current_version == wanted {
                changes.push(Change::Put { key: current_key.clone(), meta: encoded, body: NewBody::None });
            }
            let hlc = self.0.store.next_hlc();
            self.0.store.commit(place.pg, changes)?.wait().await?;
            self.emit_amended(&place, &amendment, wanted, hlc);
            return Ok(meta.version);
        }
    }

    fn emit_amended(&self, place: &Place, amendment: &Amendment, version: Option<Version>, hlc: Hlc) {
        let version_id = version.filter(|version| !version.is_null).map(|version| version.id.0);
        let (bucket, key) = (place.bucket, || place.key.as_ref().into());
        match amendment {
            Amendment::Tags { tags, .. } => self.emit(EventKind::ObjectTagged, || {
                let is_removal = tags.is_empty();
                StorageEvent::ObjectTagged { bucket, key: key(), version_id, hlc, is_removal }
            }),
            // A list put again as it was is no change to tell of.
            Amendment::Acl { judged, acl } if judged == acl => {}
            Amendment::Acl { .. } => self.emit(EventKind::ObjectAclPut, || StorageEvent::ObjectAclPut {
                bucket,
                key: key(),
                version_id,
                hlc,
            }),
        }
    }
}
