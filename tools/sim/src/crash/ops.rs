//! The operations whose sequences are enumerated, each to its end before the next.
//!
//! Invariant: every change is modelled in the order in which it is sequenced, so what may be there is one of a
//! list of states, each one record further. Runs on the simulator's thread.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use stria_base::{DataId, PgId};
use stria_env::Env;
use stria_store::{BodyRef, BodyWriter, Change, Commit, ExtentBody, NewBody, StoreError};

use crate::{
    clients::row_key,
    model::Key,
    node::Node,
    value::{Value, fill_body},
    world::Recorder,
};

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new key, its body in the log.
    PutInline,
    /// A key that is there gets another body in the log.
    OverwriteInline,
    /// A new key, its body in extents.
    PutExtent,
    /// A body in extents is replaced by another.
    OverwriteExtent,
    /// Two rows in one record.
    PutTwo,
    /// Two records in one frame, of several PGs.
    PutTogether,
    /// Only metadata changes.
    UpdateMeta,
    /// A body goes from one row to another, as when an upload is completed.
    MoveBody,
    /// A key goes away.
    Delete,
    /// A key that is not there goes away.
    DeleteMissing,
    /// Everything is read.
    Read,
    /// A checkpoint of every core.
    Checkpoint,
    /// As much log as makes it go on in another segment.
    Roll,
    /// The oldest segment of the log is cleaned.
    Clean,
    /// The log falls idle and writes its marker.
    Idle,
    /// The log is flushed.
    Flush,
    /// An orderly stop and a start.
    Restart,
    /// The process is killed and started again.
    Kill,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::PutInline,
        Self::OverwriteInline,
        Self::PutExtent,
        Self::OverwriteExtent,
        Self::PutTwo,
        Self::PutTogether,
        Self::UpdateMeta,
        Self::MoveBody,
        Self::Delete,
        Self::DeleteMissing,
        Self::Read,
        Self::Checkpoint,
        Self::Roll,
        Self::Clean,
        Self::Idle,
        Self::Flush,
        Self::Restart,
        Self::Kill,
    ];
}

/// Keys by what they are for; those of one PG lie on one core.
const INLINE: Key = (PgId(0), 0);
const NEW: Key = (PgId(0), 2);
const EXTENT: Key = (PgId(1), 1);
const OTHER: Key = (PgId(1), 3);
/// Of another PG than `NEW`, on its core: its log keeps their order.
const SAME_CORE: Key = (PgId(2), 10);
const FILL: Key = (PgId(0), 4);
const MISSING: Key = (PgId(0), 6);
/// Two bodies of this size do not fit into one of the segments.
const FILL_BYTES: u32 = 70_000;

/// Rows at one instant.
pub type Rows = BTreeMap<Key, Value>;

/// What was promised and what may be.
#[derive(Clone)]
pub struct Promises {
    /// The rows after each record.
    pub states: Vec<Rc<Rows>>,
    /// Records acknowledged.
    pub acked: usize,
    next_id: u64,
}

impl Default for Promises {
    fn default() -> Self {
        Self { states: vec![Rc::default()], acked: 0, next_id: 0 }
    }
}

/// A node that is up, and what it promised.
#[derive(Clone)]
pub struct Driver {
    /// The node.
    pub node: Node,
    /// Promises.
    pub promises: Rc<RefCell<Promises>>,
    /// Told of every promise.
    pub recorder: Rc<Recorder>,
}

impl Driver {
    /// Tells the recorder what is promised.
    pub fn mark(&self) {
        let promises = self.promises.borrow();
        self.recorder.set_mark((promises.acked, promises.states.len() - 1));
    }

    /// Makes rows to begin with: some in a checkpoint, some in the log behind it.
    pub async fn prepare(self) {
        self.put(INLINE, 3_000).await;
        self.put_extents(EXTENT, 9_000).await;
        self.run(Op::Checkpoint).await;
        self.put(MISSING, 100).await;
        self.commit(MISSING.0, vec![(MISSING, None)]).await;
    }

    /// One operation but restarts, to its end.
    pub async fn run(&self, op: Op) {
        match op {
            Op::PutInline => self.put(NEW, 5_000).await,
            Op::OverwriteInline => self.put(INLINE, 2_000).await,
            Op::PutExtent => self.put_extents(OTHER, 9_000).await,
            Op::OverwriteExtent => self.put_extents(EXTENT, 5_000).await,
            Op::PutTwo => self.put_two().await,
            Op::PutTogether => self.put_together().await,
            Op::UpdateMeta => self.rename(EXTENT, EXTENT).await,
            Op::MoveBody => self.rename(EXTENT, OTHER).await,
            Op::Delete => self.commit(INLINE.0, vec![(INLINE, None)]).await,
            Op::DeleteMissing => self.commit(MISSING.0, vec![(MISSING, None)]).await,
            Op::Read => {
                let found = super::judge::rows(&self.node).await;
                let promised = self.promises.borrow().states.last().cloned().expect("there is a first");
                assert_eq!(found, *promised, "what is read");
            }
            Op::Checkpoint => self.checkpoint().await,
            Op::Roll => {
                for _ in 0..2 {
                    self.put(FILL, FILL_BYTES).await;
                }
            }
            Op::Clean => {
                self.node.exchange_frees();
                self.node.clean_eagerly(0, 0, None).await.expect("there are no faults");
            }
            Op::Idle => self.node.envs[0].sleep(250_000_000).await,
            Op::Flush => {
                for store in &self.node.stores {
                    store.flush().await.expect("there are no faults");
                }
            }
            Op::Restart | Op::Kill => unreachable!("done from outside"),
        }
    }

    async fn checkpoint(&self) {
        for core in 0..self.node.stores.len() {
            self.node.exchange_progress(core);
            self.node.stores[core].checkpoint().await.expect("there are no faults");
        }
    }

    fn value(&self, bytes: u32, in_extents: bool) -> Value {
        let mut promises = self.promises.borrow_mut();
        promises.next_id += 1;
        let id = promises.next_id;
        Value { id, body: id, bytes, in_extents }
    }

    async fn put(&self, key: Key, bytes: u32) {
        let value = self.value(bytes, false);
        self.commit(key.0, vec![(key, Some((value, inline(value))))]).await;
    }

    async fn put_two(&self) {
        let (first, second) = (self.value(600, false), self.value(1_200, false));
        let changes = vec![
            (NEW, Some((first, inline(first)))),
            (INLINE, Some((second, inline(second)))),
            (MISSING, None),
        ];
        self.commit(NEW.0, changes).await;
    }

    async fn put_together(&self) {
        let (first, second) = (self.value(4_500, false), self.value(800, false));
        let first = self.sequence(NEW.0, vec![(NEW, Some((first, inline(first))))]);
        let second = self.sequence(SAME_CORE.0, vec![(SAME_CORE, Some((second, inline(second))))]);
        for commit in [first, second] {
            self.acknowledged(commit).await;
        }
    }

    async fn put_extents(&self, key: Key, bytes: u32) {
        let value = self.value(bytes, true);
        let store = self.node.store_of(key.0);
        let core = usize::from(key.0.owner(self.node.cores()).0);
        let (env, volumes) = (&self.node.envs[core], self.node.volumes[core].clone());
        let id = DataId(u128::from(value.body));
        let mut writer = BodyWriter::new(volumes, id, Some(u64::from(bytes)));
        writer.give(store.allocate(u64::from(bytes)).await.expect("there is room").extents);
        let mut buf = env.buf(bytes as usize).expect("none is refused");
        fill_body(value.body, 0, &mut buf);
        writer.push(buf).await.expect("there are no faults");
        let done: Result<_, (StoreError, _)> = writer.finish().await;
        let (body, unused) = done.map_err(|(error, _)| error).expect("there are no faults");
        store.release(unused);
        self.commit(key.0, vec![(key, Some((value, NewBody::Extents(Box::new(body)))))]).await;
    }

    /// The body of `from`, if it is in extents, becomes that of `to`, in one record.
    async fn rename(&self, from: Key, to: Key) {
        let found = self.node.store_of(from.0).row(from.0, &row_key(from.1), |row| {
            row.and_then(|row| match row.body() {
                BodyRef::Extents(body) => Some((Value::decode(row.meta)?, ExtentBody::clone(&body))),
                _ => None,
            })
        });
        let Some((value, body)) = found else { return };
        let value = Value { id: self.value(0, true).id, ..value };
        let mut changes = vec![(to, Some((value, NewBody::Extents(Box::new(body)))))];
        if from != to {
            changes.push((from, None));
        }
        self.commit(from.0, changes).await;
    }

    async fn commit(&self, pg: PgId, changes: Vec<(Key, Option<(Value, NewBody)>)>) {
        let commit = self.sequence(pg, changes);
        self.acknowledged(commit).await;
    }

    fn sequence(&self, pg: PgId, changes: Vec<(Key, Option<(Value, NewBody)>)>) -> Commit {
        let mut rows: Rows = (**self.promises.borrow().states.last().expect("there is a first")).clone();
        let mut list = Vec::with_capacity(changes.len());
        for (key, put) in changes {
            list.push(match put {
                Some((value, body)) => {
                    rows.insert(key, value);
                    Change::Put { key: row_key(key.1), meta: value.encode(), body }
                }
                None => {
                    rows.remove(&key);
                    Change::Delete { key: row_key(key.1) }
                }
            });
        }
        let commit = self.node.store_of(pg).commit(pg, list).expect("nothing is refused");
        self.promises.borrow_mut().states.push(Rc::new(rows));
        self.mark();
        commit
    }

    async fn acknowledged(&self, commit: Commit) {
        commit.wait().await.expect("there are no faults");
        self.promises.borrow_mut().acked += 1;
        self.mark();
    }
}

/// A body in the log.
pub fn inline(value: Value) -> NewBody {
    let mut bytes = vec![0; value.bytes as usize];
    fill_body(value.body, 0, &mut bytes);
    NewBody::Inline { id: DataId(u128::from(value.body)), bytes: Bytes::from(bytes) }
}
