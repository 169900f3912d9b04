//! Calls that change nothing: lookups, part lookups, listings of objects.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use stria_base::PgId;
use stria_env::Env;
use stria_store::{BodyRef, InlineRef, RowView, Store};

use crate::{
    calls::{FindPart, Found, FoundBody, FoundPart, List, Lookup, Pin, Place, Unpin},
    codec,
    engine::Engine,
    error::EngineError,
    keys,
    list::{self, ListEntry, RowScan},
    object::{ObjectMeta, Version, VersionId, VersionSelector},
};

/// A row's parts that outlive the borrow of the index.
struct Seen {
    seq: u64,
    meta: ObjectMeta,
    row: RowBody,
    hlc: stria_base::Hlc,
}

enum RowBody {
    None,
    Inline(InlineRef),
    Extents(std::sync::Arc<stria_store::ExtentBody>),
}

pub(crate) fn decode_row(row: RowView<'_>) -> Result<ObjectMeta, EngineError> {
    codec::decode(row.meta).ok_or(EngineError::UnreadableRow)
}

fn see(row: Option<RowView<'_>>) -> Option<Result<Seen, EngineError>> {
    let row = row?;
    Some(decode_row(row).map(|meta| Seen {
        seq: row.seq,
        meta,
        hlc: row.hlc,
        row: match row.body() {
            BodyRef::None => RowBody::None,
            BodyRef::Inline(inline) => RowBody::Inline(inline),
            BodyRef::Extents(extents) => RowBody::Extents(extents),
        },
    }))
}

impl<E: Env> Engine<E> {
    pub(crate) async fn lookup(&self, call: Lookup) -> Result<Found, EngineError> {
        let Seen { meta, row, hlc, .. } = self.see_version(&call.place, call.version, call.body).await?;
        if !call.body {
            return Ok(Found { meta, hlc, body: FoundBody::None, pin: None });
        }
        if let Some(parts) = &meta.parts {
            let pin = self.pin_parts(parts.id);
            return Ok(Found { meta, hlc, body: FoundBody::Parts, pin: Some(pin) });
        }
        let (body, pin) = match row {
            RowBody::None => (FoundBody::None, None),
            RowBody::Inline(inline) => (FoundBody::Bytes(self.inline_body(&inline).await?), None),
            RowBody::Extents(extents) => {
                self.0.store.pin(extents.id);
                let pin = Pin::Data(extents.id);
                (FoundBody::Extents(extents), Some(pin))
            }
        };
        Ok(Found { meta, hlc, body, pin })
    }

    /// A row, brought into memory.
    async fn see_row(&self, pg: PgId, row_key: &[u8]) -> Result<Option<Seen>, EngineError> {
        let _held = self.0.store.resolve(pg, &[row_key]).await?;
        self.0.store.row(pg, row_key, see).transpose()
    }

    async fn see_version_row(&self, place: &Place, id: VersionId) -> Result<Seen, EngineError> {
        let row_key = keys::version(place.bucket, &place.key, id);
        self.see_row(place.pg, &row_key).await?.ok_or(EngineError::NoSuchVersion)
    }

    /// The row of the current version, with its body.
    async fn see_current(&self, place: &Place, with_body: bool) -> Result<Seen, EngineError> {
        let row_key = keys::object(place.bucket, &place.key);
        loop {
            let Some(seen) = self.see_row(place.pg, &row_key).await? else {
                return Err(self.no_current(place).await?);
            };
            let Some(version) = seen.meta.version.filter(|_| with_body) else { return Ok(seen) };
            match self.see_version_row(place, version.id).await {
                // Another one became current while this one was looked for.
                Err(EngineError::NoSuchVersion) if !self.is_visible(place.pg, &row_key, seen.seq).await? => {}
                found => return found,
            }
        }
    }

    async fn is_visible(&self, pg: PgId, row_key: &[u8], seq: u64) -> Result<bool, EngineError> {
        Ok(self.see_row(pg, row_key).await?.is_some_and(|seen| seen.seq == seq))
    }

    /// The row of the version asked for; with its body, when that lies in another row.
    async fn see_version(
        &self,
        place: &Place,
        wanted: VersionSelector,
        with_body: bool,
    ) -> Result<Seen, EngineError> {
        let seen = match wanted {
            VersionSelector::Current => self.see_current(place, with_body).await?,
            VersionSelector::Null => {
                let current = self.see_row(place.pg, &keys::object(place.bucket, &place.key)).await?;
                match current.filter(|seen| seen.meta.version.is_none()) {
                    Some(seen) => seen,
                    None => {
                        let id = self.null_version(place).await?.ok_or(EngineError::NoSuchVersion)?;
                        self.see_version_row(place, id).await?
                    }
                }
            }
            VersionSelector::Id(id) => self.see_version_row(place, id).await?,
        };
        let by_number = matches!(wanted, VersionSelector::Id(_));
        match seen.meta.version {
            // A null version is not found by the number it has inside.
            Some(version) if by_number && version.is_null => Err(EngineError::NoSuchVersion),
            Some(version) if seen.meta.is_delete_marker => {
                let modified_ms = seen.meta.modified_ms;
                Err(EngineError::IsDeleteMarker { version, modified_ms, named: true })
            }
            _ => Ok(seen),
        }
    }

    /// Why a key has no current row: it never was, or its newest version is a delete marker.
    pub(crate) async fn no_current(&self, place: &Place) -> Result<EngineError, EngineError> {
        Ok(match self.newest_version(place, None).await? {
            Some((id, head)) if head.is_delete_marker => EngineError::IsDeleteMarker {
                version: Version { id, is_null: head.is_null },
                modified_ms: head.modified_ms,
                named: false,
            },
            _ => EngineError::NoSuchKey,
        })
    }

    /// The bytes of an inline body, from the cache or from the log.
    pub(crate) async fn inline_body(&self, inline: &InlineRef) -> Result<Bytes, EngineError> {
        if let Some(body) = self.0.cache.borrow_mut().get(inline.id) {
            return Ok(body);
        }
        let read = self.0.store.read_inline(inline).await;
        let body = Bytes::copy_from_slice(&read?);
        self.0.cache.borrow_mut().put(inline.id, body.clone());
        Ok(body)
    }

    pub(crate) async fn find_part(&self, call: FindPart) -> Result<FoundPart, EngineError> {
        let row_key = keys::part(call.place.bucket, call.id, call.number);
        let seen = self.see_row(call.place.pg, &row_key).await?;
        let seen = seen.ok_or(EngineError::InvalidPart { number: call.number })?;
        let body = match seen.row {
            RowBody::None => FoundBody::None,
            RowBody::Inline(inline) => FoundBody::Bytes(self.inline_body(&inline).await?),
            RowBody::Extents(extents) => FoundBody::Extents(extents),
        };
        Ok(FoundPart { meta: seen.meta, body })
    }

    pub(crate) async fn unpin(&self, call: Unpin) {
        match call.pin {
            Pin::Data(id) => self.0.store.unpin(id),
            Pin::Parts(id) => self.unpin_parts(id),
        }
    }

    pub(crate) async fn list(&self, call: List) -> Result<(Vec<ListEntry>, bool), EngineError> {
        list::page(&StoreRows(&self.0.store), call.bucket, &call.pgs, &call.query).await
    }
}

/// The store's visible rows as the listing wants them.
pub(crate) struct StoreRows<'a, E: Env>(pub(crate) &'a Store<E>);

impl<E: Env> RowScan for StoreRows<'_, E> {
    async fn scan(
        &self,
        pg: PgId,
        from: Bound<&[u8]>,
        mut row: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        Ok(self.0.scan_rows(pg, from, |key, found| row(key, found.meta)).await?)
    }
}
