//! Changes of an object's tags: the row is written again, its body stays where it is.
//!
//! Invariant: what is written again is the newest sequenced row, so no write in between is undone. Runs on
//! the owner core.

use stria_env::Env;
use stria_store::{BodyRef, Change, NewBody, Row, Ticket};

use crate::{
    calls::SetTags, codec, engine::Engine, error::EngineError, events::StorageEvent, keys,
    object::ObjectMeta, reads::decode_row,
};

/// The newest row of a key, as far as rewriting it needs.
enum Newest {
    /// Not durable yet: its body cannot be named.
    Pending(Ticket),
    /// Visible.
    Row(Box<(u64, ObjectMeta, BodyRef)>),
}

fn newest_of(row: Option<&Row>, pending: Option<Ticket>) -> Result<Newest, EngineError> {
    if let Some(ticket) = pending {
        return Ok(Newest::Pending(ticket));
    }
    let row = row.ok_or(EngineError::NoSuchKey)?;
    Ok(Newest::Row(Box::new((row.seq, decode_row(row)?, row.body.clone()))))
}

impl<E: Env> Engine<E> {
    pub(crate) async fn set_tags(&self, call: SetTags) -> Result<(), EngineError> {
        let SetTags { place, tags } = call;
        let _in_flight = self.begin_write(place.bucket)?;
        let row_key = keys::object(place.bucket, &place.key);
        loop {
            let (seq, mut meta, body) = match self.0.store.newest(place.pg, &row_key, newest_of)? {
                // Also when the write before fails: then this one must not be based on it.
                Newest::Pending(ticket) => {
                    ticket.wait().await?;
                    continue;
                }
                Newest::Row(row) => *row,
            };
            // A row with an inline body carries it: the old frame may be cleaned away.
            let body = match body {
                BodyRef::None => NewBody::None,
                BodyRef::Extents(extents) => NewBody::Extents(Box::new((*extents).clone())),
                BodyRef::Inline(inline) => {
                    NewBody::Inline { id: inline.id, bytes: self.inline_body(&inline).await? }
                }
            };
            let unchanged = self.0.store.newest(place.pg, &row_key, |row, pending| {
                pending.is_none() && row.is_some_and(|row| row.seq == seq)
            });
            if !unchanged {
                continue;
            }
            meta.tags = tags;
            let put = Change::Put { key: row_key, meta: codec::encode(&meta), body };
            let hlc = self.0.store.next_hlc();
            self.0.store.commit(place.pg, vec![put])?.wait().await?;
            self.emit(|| StorageEvent::ObjectTagged {
                bucket: place.bucket,
                key: place.key.as_ref().into(),
                version_id: None,
                hlc,
                is_removal: meta.tags.is_empty(),
            });
            return Ok(());
        }
    }
}
