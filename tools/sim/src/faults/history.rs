//! A short history of a store, the same each time, and what must be found of it afterwards.
//!
//! Invariant: what was acknowledged is known by key; a write that failed may be there or not. Runs on the
//! simulator's thread.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use stria_base::{DataId, PgId};
use stria_env::Env;
use stria_store::{BodyWriter, Change, NewBody, StoreError};

use crate::{
    clients::row_key,
    crash::inline,
    model::Key,
    node::Node,
    value::{Value, fill_body},
};

/// What may be there of each key.
#[derive(Default)]
pub struct Promised {
    /// The acknowledged value, and those of later writes that failed.
    pub now: BTreeMap<Key, BTreeSet<Option<u64>>>,
    /// Every value that ever was.
    pub ever: BTreeMap<u64, (Key, Value)>,
    /// Writes that failed.
    pub failed: u64,
}

/// Below the last checkpoint: body in the log, in extents.
pub const OLD_INLINE: Key = (PgId(0), 0);
/// See [`OLD_INLINE`].
pub const OLD_EXTENTS: Key = (PgId(1), 1);
/// Behind it.
pub const NEW_INLINE: Key = (PgId(0), 2);
/// See [`NEW_INLINE`].
pub const NEW_EXTENTS: Key = (PgId(1), 3);
const LAST: Key = (PgId(0), 4);
const GONE: Key = (PgId(1), 5);

/// A node and what it promised.
#[derive(Clone)]
pub struct History {
    /// The node.
    pub node: Node,
    /// What it promised.
    pub promised: Rc<RefCell<Promised>>,
}

impl History {
    /// Values, checkpoints, and values that replace the first.
    pub async fn begin(self) {
        for round in 0..2 {
            self.put(OLD_INLINE, 9_000 + round).await;
            self.put_extents(OLD_EXTENTS, 20_000 + round).await;
            self.put(NEW_INLINE, 9_100 + round).await;
            self.put_extents(NEW_EXTENTS, 20_100 + round).await;
            self.put(GONE, 100 + round).await;
            self.checkpoint().await;
        }
    }

    /// What the faults of writes strike: new values, a checkpoint, and more behind it.
    pub async fn go_on(self) {
        self.put(OLD_INLINE, 9_010).await;
        self.put_extents(OLD_EXTENTS, 20_010).await;
        self.commit(GONE, None).await;
        self.checkpoint().await;
        self.put(NEW_INLINE, 9_110).await;
        self.put_extents(NEW_EXTENTS, 20_110).await;
        // The log goes on in another segment, which the map says.
        for _ in 0..2 {
            self.put(LAST, 70_000).await;
        }
        self.put(LAST, 300).await;
        // The marker proves the last frame.
        self.node.envs[0].sleep(300_000_000).await;
    }

    async fn checkpoint(&self) {
        self.node.exchange_progress(0);
        // One that fails leaves the one before.
        let _ = self.node.stores[0].checkpoint().await;
    }

    fn value(&self, key: Key, bytes: u32, in_extents: bool) -> Value {
        let mut promised = self.promised.borrow_mut();
        let id = promised.ever.len() as u64 + 1;
        let value = Value { id, body: id, bytes, in_extents };
        promised.ever.insert(id, (key, value));
        value
    }

    async fn put(&self, key: Key, bytes: u32) {
        let value = self.value(key, bytes, false);
        self.commit(key, Some((value, inline(value)))).await;
    }

    async fn put_extents(&self, key: Key, bytes: u32) {
        let value = self.value(key, bytes, true);
        match self.write(value).await {
            Ok(body) => self.commit(key, Some((value, body))).await,
            Err(_) => self.promised.borrow_mut().failed += 1,
        }
    }

    async fn write(&self, value: Value) -> Result<NewBody, StoreError> {
        let (store, volumes) = (&self.node.stores[0], self.node.volumes[0].clone());
        let bytes = u64::from(value.bytes);
        let mut writer = BodyWriter::new(volumes, DataId(u128::from(value.body)), Some(bytes));
        writer.give(store.allocate(bytes).await?.extents);
        let mut buf = self.node.envs[0].buf(value.bytes as usize).ok_or(StoreError::NoBuffer)?;
        fill_body(value.body, 0, &mut buf);
        writer.push(buf).await?;
        let (body, unused) = writer.finish().await.map_err(|(error, _)| error)?;
        store.release(unused);
        Ok(NewBody::Extents(Box::new(body)))
    }

    async fn commit(&self, key: Key, put: Option<(Value, NewBody)>) {
        let id = put.as_ref().map(|(value, _)| value.id);
        let change = match put {
            Some((value, body)) => Change::Put { key: row_key(key.1), meta: value.encode(), body },
            None => Change::Delete { key: row_key(key.1) },
        };
        let done = match self.node.store_of(key.0).commit(key.0, vec![change]) {
            Ok(commit) => commit.wait().await.map(drop),
            Err(error) => Err(error),
        };
        let mut promised = self.promised.borrow_mut();
        promised.failed += u64::from(done.is_err());
        let now = promised.now.entry(key).or_insert_with(|| BTreeSet::from([None]));
        if done.is_ok() {
            now.clear();
        }
        now.insert(id);
    }
}
