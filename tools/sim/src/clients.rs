//! Clients of the store: random writes and reads, each checked against the model.
//!
//! Invariant: judging, sequencing and telling the model are one step without an await, as in the engine.
//! Run on simulated cores.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    rc::Rc,
};

use bytes::Bytes;
use stria_base::{DataId, PgId};
use stria_env::Env;
use stria_store::{
    BodyRef, BodyWriter, Change, ExtentBody, NewBody, Resolved, Row, Store, StoreError, read_extents,
};

use crate::{
    model::{Key, Model},
    node::Node,
    oplog,
    plan::Plan,
    value::{Value, fill_body, is_body},
    world::{Rng, SimEnv, World},
};

/// One life of the node, shared by its tasks.
pub struct Life {
    /// The node.
    pub node: Node,
    /// The model.
    pub model: Rc<RefCell<Model>>,
    /// The options.
    pub plan: Plan,
    /// Operations still to do.
    pub ops_left: Cell<u64>,
    /// Clients still running.
    pub running: Cell<u32>,
    /// Of each key's last acknowledged write: the value's number and the frame of the log.
    pub frames: RefCell<BTreeMap<Key, (u64, u64)>>,
    /// Highest frame acknowledged on each core.
    pub frame_high: RefCell<BTreeMap<u16, u64>>,
    /// Bodies whose medium was hurt on purpose.
    pub hurt_bodies: BTreeSet<u64>,
    /// Whether a pass of scrubbing holds bodies that it reads.
    pub is_scrubbing: Cell<bool>,
}

pub(crate) fn row_key(key: u16) -> Box<[u8]> {
    Box::new(key.to_be_bytes())
}

impl Life {
    pub(crate) fn world(&self) -> &Rc<World> {
        self.node.envs[0].world()
    }

    pub(crate) fn rng<R>(&self, f: impl FnOnce(&mut Rng) -> R) -> R {
        self.world().rng(f)
    }

    pub(crate) fn record(&self, what: &'static str, core: u16, key: Key, number: u64) {
        let about = [u64::from(core), u64::from(key.0.0), u64::from(key.1), number];
        oplog::record(self.world().now_ns(), what, about);
    }

    fn key_of(&self, core: u16) -> Option<Key> {
        let (keys, pgs, cores) = (self.plan.keys, self.plan.pg_count, self.node.cores());
        let start = self.rng(|rng| rng.below(u64::from(keys))) as u16;
        (0..keys)
            .map(|step| (start + step) % keys)
            .map(|key| (PgId(key % pgs), key))
            .find(|(pg, _)| pg.owner(cores).0 == core)
    }

    fn store(&self, core: u16) -> &Store<SimEnv> {
        &self.node.stores[usize::from(core)]
    }

    /// Brings rows into memory for a change of them.
    async fn hold(&self, core: u16, pg: PgId, keys: &[u16]) -> Result<Resolved<SimEnv>, StoreError> {
        let keys: Vec<Box<[u8]>> = keys.iter().map(|key| row_key(*key)).collect();
        self.store(core).resolve(pg, &keys).await
    }

    /// Sequences `changes` of rows that are held, and waits; what was told is told to the model. Whether it was
    /// acknowledged.
    async fn commit(
        &self,
        core: u16,
        pg: PgId,
        changes: Vec<Change>,
        modelled: Vec<(Key, Option<Value>)>,
    ) -> Result<(), StoreError> {
        let store = self.store(core);
        let first = modelled[0];
        let commit = store.commit(pg, changes)?;
        let index = self.model.borrow_mut().sequenced(core, modelled.clone());
        self.record("sequenced", core, first.0, first.1.map_or(0, |value| value.id));
        let info = commit.wait().await?;
        self.record("acknowledged", core, first.0, first.1.map_or(0, |value| value.id));
        self.model.borrow_mut().acknowledged(core, index);
        self.frame_high.borrow_mut().insert(core, info.frame);
        for (key, value) in modelled {
            let number = value.map_or(0, |value| value.id);
            self.frames.borrow_mut().insert(key, (number, info.frame));
            // A row that cannot be read tells nothing.
            let Ok(seen) = self.see(core, key).await else { continue };
            assert!(
                seen.as_ref().is_none_or(|(_, row)| row.seq >= info.pg_seq),
                "an acknowledged write is not visible"
            );
        }
        Ok(())
    }

    /// The visible row of a key, told to the model.
    pub(crate) async fn see(&self, core: u16, key: Key) -> Result<Option<(Value, Row)>, StoreError> {
        let _held = self.hold(core, key.0, &[key.1]).await?;
        let row = self.store(core).row(key.0, &row_key(key.1), |row| row.map(|row| row.to_row()));
        let value = row.as_ref().map(|row| {
            Value::decode(&row.meta).unwrap_or_else(|| panic!("metadata of {key:?} is not what was put"))
        });
        let mut model = self.model.borrow_mut();
        model.observed(core, key, value, "read");
        if let Some(row) = &row {
            model.stamp(key.0, row.hlc);
        }
        Ok(value.zip(row))
    }

    /// Reads a key and its body, and judges every byte.
    pub(crate) async fn read(&self, core: u16, key: Key) {
        let (value, row) = match self.see(core, key).await {
            Ok(Some(seen)) => seen,
            Ok(None) => return,
            Err(error) => return self.excuse_row(&error),
        };
        let store = self.store(core);
        match &row.body {
            BodyRef::None => assert_eq!(value.bytes, 0, "{key:?} has lost its body"),
            BodyRef::Inline(inline) => match store.read_inline(inline).await {
                Ok(bytes) => {
                    assert_eq!(bytes.len(), value.bytes as usize);
                    assert!(is_body(value.body, 0, &bytes), "wrong bytes served for {key:?}");
                }
                Err(error) => self.excuse(key, value, &error),
            },
            BodyRef::Extents(extents) => {
                assert_eq!(extents.bytes, u64::from(value.bytes));
                store.pin(extents.id);
                let reader = self.rng(|rng| rng.below(u64::from(self.node.cores()))) as usize;
                if let Err(error) = self.read_body(reader, value, extents).await {
                    self.excuse(key, value, &error);
                }
                store.unpin(extents.id);
            }
        }
    }

    async fn read_body(&self, reader: usize, value: Value, body: &ExtentBody) -> Result<(), StoreError> {
        let mut at = if self.rng(|rng| rng.chance(1, 3)) { self.rng(|rng| rng.below(body.bytes)) } else { 0 };
        while at < body.bytes {
            let most = self.rng(|rng| rng.between(1, 300_000));
            let bytes = read_extents(&self.node.volumes[reader], body, at, most).await?;
            assert!(!bytes.is_empty() && bytes.len() as u64 <= most);
            assert!(is_body(value.body, at, &bytes), "wrong bytes served of body {}", value.body);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Whether a row that could not be read is explained by what was done to the drives.
    fn excuse_row(&self, error: &StoreError) {
        let excused = match error {
            StoreError::NoBuffer => self.plan.refuse_buffers > 0,
            StoreError::Io { .. } => self.plan.faults.read_error_one_in > 0,
            _ => false,
        };
        assert!(excused, "reading a row: {error}");
    }

    /// Whether a failed read is explained by what was done to the drives.
    fn excuse(&self, key: Key, value: Value, error: &StoreError) {
        let excused = match error {
            StoreError::NoBuffer => self.plan.refuse_buffers > 0,
            StoreError::Io { .. } => self.plan.faults.read_error_one_in > 0,
            StoreError::Corrupt { .. } => {
                self.hurt_bodies.contains(&value.body)
                    || self.node.needs_repair(key.0)
                    || self.model.borrow().lax_bodies.contains(&value.body)
            }
            _ => false,
        };
        assert!(excused, "reading {key:?}, {value:?}: {error}");
    }

    async fn put(&self, core: u16) -> Result<(), StoreError> {
        let Some(key) = self.key_of(core) else { return Ok(()) };
        let in_extents = self.rng(|rng| rng.chance(self.plan.extents_percent, 100));
        let most = if in_extents { self.plan.extent_bytes_max } else { self.plan.inline_bytes_max };
        let bytes = self.rng(|rng| match rng.below(8) {
            0 if !in_extents => 0,
            1 => rng.between(1, 200),
            2..=4 => rng.between(1, u64::from(most) / 8 + 2),
            _ => rng.between(1, u64::from(most)),
        }) as u32;
        let value = self.new_value(bytes, in_extents);
        let body = if in_extents {
            match self.write_body(core, value).await? {
                Some(body) => NewBody::Extents(Box::new(body)),
                None => return Ok(()),
            }
        } else {
            self.inline(value)
        };
        let space = match &body {
            NewBody::Extents(extents) => extents.extents.clone(),
            _ => Vec::new(),
        };
        let put = Change::Put { key: row_key(key.1), meta: value.encode(), body };
        let done = match self.hold(core, key.0, &[key.1]).await {
            Ok(_held) => self.commit(core, key.0, vec![put], vec![(key, Some(value))]).await,
            Err(error) => Err(error),
        };
        // Failed: it may be there after a restart, so its space is not given back before.
        if done.is_err() && !self.store(core).is_failed() {
            self.store(core).release(space);
        }
        done
    }

    fn new_value(&self, bytes: u32, in_extents: bool) -> Value {
        let mut model = self.model.borrow_mut();
        Value { id: model.next_id(), body: model.next_id(), bytes, in_extents }
    }

    fn inline(&self, value: Value) -> NewBody {
        if value.bytes == 0 {
            return NewBody::None;
        }
        let mut bytes = vec![0; value.bytes as usize];
        fill_body(value.body, 0, &mut bytes);
        NewBody::Inline { id: DataId(u128::from(value.body)), bytes: Bytes::from(bytes) }
    }

    /// Writes a body through some core's queue. `None` when it was given up.
    async fn write_body(&self, core: u16, value: Value) -> Result<Option<ExtentBody>, StoreError> {
        let store = self.store(core);
        let writer_core = self.rng(|rng| rng.below(u64::from(self.node.cores()))) as usize;
        let (env, volumes) = (&self.node.envs[writer_core], &self.node.volumes[writer_core]);
        let total = u64::from(value.bytes);
        let expected = self.rng(|rng| rng.chance(3, 4)).then_some(total);
        let mut writer = BodyWriter::new(volumes.clone(), DataId(u128::from(value.body)), expected);
        writer.give(store.allocate(total).await?.extents);
        self.model.borrow_mut().lax_bodies.extend(self.is_lax().then_some(value.body));
        let gives_up = self.rng(|rng| rng.chance(1, 20));
        let mut at = 0;
        while at < total {
            let piece = (total - at).min(self.rng(|rng| rng.between(1, 64)) * 4096);
            let pushed = match env.buf(piece as usize) {
                Some(mut buf) => {
                    fill_body(value.body, at, &mut buf);
                    writer.push(buf).await
                }
                None => Err(StoreError::NoBuffer),
            };
            if pushed.is_err() || gives_up {
                store.release(writer.abort().await);
                return pushed.map(|()| None);
            }
            at += piece;
        }
        match writer.finish().await {
            Ok((body, unused)) => {
                store.release(unused);
                Ok(Some(body))
            }
            Err((error, space)) => {
                store.release(space);
                Err(error)
            }
        }
    }

    /// Whether rows may run ahead of bodies.
    fn is_lax(&self) -> bool {
        self.plan.sync != stria_store::SyncPolicy::Always
    }

    /// The newest body in extents of a key, to be named by a row of another number.
    fn renamed_body(&self, core: u16, (pg, key): Key) -> Option<(Value, NewBody)> {
        let (mut value, body) = self.store(core).newest(pg, &row_key(key), |row, _| {
            row.and_then(|row| match row.body() {
                BodyRef::Extents(body) => Value::decode(row.meta).map(|value| (value, body)),
                _ => None,
            })
        })?;
        value.id = self.model.borrow_mut().next_id();
        Some((value, NewBody::Extents(Box::new((*body).clone()))))
    }

    /// Only metadata changes: the body, in extents, stays.
    async fn update_meta(&self, core: u16) -> Result<(), StoreError> {
        let Some(key) = self.key_of(core) else { return Ok(()) };
        let _held = self.hold(core, key.0, &[key.1]).await?;
        let Some((value, body)) = self.renamed_body(core, key) else { return Ok(()) };
        let put = Change::Put { key: row_key(key.1), meta: value.encode(), body };
        self.commit(core, key.0, vec![put], vec![(key, Some(value))]).await
    }

    /// A body in extents goes from one row to another in one record: its space stays in use.
    async fn move_body(&self, core: u16) -> Result<(), StoreError> {
        let Some((pg, from)) = self.key_of(core) else { return Ok(()) };
        let to = (from + self.plan.pg_count) % self.plan.keys;
        if to == from || to % self.plan.pg_count != pg.0 {
            return self.update_meta(core).await;
        }
        let _held = self.hold(core, pg, &[from, to]).await?;
        let Some((value, body)) = self.renamed_body(core, (pg, from)) else { return Ok(()) };
        let mut changes = vec![
            Change::Put { key: row_key(to), meta: value.encode(), body },
            Change::Delete { key: row_key(from) },
        ];
        if self.rng(|rng| rng.chance(1, 2)) {
            changes.reverse();
        }
        self.commit(core, pg, changes, vec![((pg, to), Some(value)), ((pg, from), None)]).await
    }

    pub(crate) async fn delete_key(&self, key: Key) -> Result<(), StoreError> {
        let core = key.0.owner(self.node.cores()).0;
        let _held = self.hold(core, key.0, &[key.1]).await?;
        let delete = Change::Delete { key: row_key(key.1) };
        self.commit(core, key.0, vec![delete], vec![(key, None)]).await
    }

    async fn delete(&self, core: u16) -> Result<(), StoreError> {
        let Some(key) = self.key_of(core) else { return Ok(()) };
        let _held = self.hold(core, key.0, &[key.1]).await?;
        let delete = Change::Delete { key: row_key(key.1) };
        self.commit(core, key.0, vec![delete], vec![(key, None)]).await
    }

    /// Several rows of one PG at once, perhaps one of them twice.
    async fn several(&self, core: u16) -> Result<(), StoreError> {
        let Some((pg, first)) = self.key_of(core) else { return Ok(()) };
        let (mut changes, mut modelled) = (Vec::new(), Vec::new());
        for step in 0..self.rng(|rng| rng.between(2, 5)) as u16 {
            let key = (first + step * self.plan.pg_count) % self.plan.keys;
            if key % self.plan.pg_count != pg.0 {
                continue;
            }
            if self.rng(|rng| rng.chance(1, 3)) {
                changes.push(Change::Delete { key: row_key(key) });
                modelled.push(((pg, key), None));
                continue;
            }
            let bytes = self.rng(|rng| rng.below(2_000)) as u32;
            let value = self.new_value(bytes, false);
            let body = self.inline(value);
            changes.push(Change::Put { key: row_key(key), meta: value.encode(), body });
            modelled.push(((pg, key), Some(value)));
        }
        let keys: Vec<u16> = modelled.iter().map(|(key, _)| key.1).collect();
        let _held = self.hold(core, pg, &keys).await?;
        self.commit(core, pg, changes, modelled).await
    }

    /// The visible rows of a PG.
    pub(crate) async fn rows_of(&self, pg: PgId) -> Result<BTreeMap<Key, Value>, StoreError> {
        let mut found = BTreeMap::new();
        let mut last: Option<Box<[u8]>> = None;
        let scan = self.node.store_of(pg).scan_rows(pg, Bound::Unbounded, |key, row| {
            assert!(last.as_deref().is_none_or(|last| last < key), "rows out of order");
            last = Some(key.into());
            let number = u16::from_be_bytes(key.try_into().expect("our keys have two bytes"));
            let value = Value::decode(row.meta)
                .unwrap_or_else(|| panic!("metadata of key {number} is not what was put"));
            found.insert((pg, number), value);
            ControlFlow::Continue(())
        });
        scan.await?;
        Ok(found)
    }

    /// As [`Life::rows_of`], where nothing fails.
    pub(crate) fn rows_now(self: &Rc<Self>, pg: PgId) -> BTreeMap<Key, Value> {
        let life = self.clone();
        let rows = self.world().run(async move { life.rows_of(pg).await }).expect("reading ends");
        rows.unwrap_or_else(|error| panic!("rows of PG {}: {error}", pg.0))
    }

    /// The visible row of a key, where nothing fails.
    pub(crate) fn row_now(self: &Rc<Self>, key: Key) -> Option<Row> {
        let store = self.node.store_of(key.0).clone();
        let row = self.world().run(async move {
            let row_key = row_key(key.1);
            let _held = store.resolve(key.0, &[&row_key]).await?;
            Ok::<_, StoreError>(store.row(key.0, &row_key, |row| row.map(|row| row.to_row())))
        });
        row.expect("reading ends").unwrap_or_else(|error| panic!("row {key:?}: {error}"))
    }

    async fn scan(&self, core: u16) {
        let pgs: Vec<PgId> = self.store(core).pgs().collect();
        if pgs.is_empty() {
            return;
        }
        let pg = self.rng(|rng| *rng.pick(&pgs));
        let before = self.store(core).published_seq(pg);
        match self.rows_of(pg).await {
            // Of a paged PG it takes several steps: the model knows what is there at one instant.
            Ok(rows) if self.store(core).published_seq(pg) == before => {
                self.model.borrow().scanned(core, pg, &rows);
            }
            Ok(_) => {}
            Err(error) => self.excuse_row(&error),
        }
    }

    /// A client: operations until none are left.
    pub async fn client(self: Rc<Self>, core: u16) {
        self.running.set(self.running.get() + 1);
        while self.ops_left.get() > 0 {
            self.ops_left.set(self.ops_left.get() - 1);
            let pause = self.rng(|rng| if rng.chance(1, 30) { 150_000_000 } else { rng.below(2_000_000) });
            self.node.envs[usize::from(core)].sleep(pause * self.plan.calm).await;
            let done = match self.rng(|rng| rng.below(100)) {
                0..=44 => self.put(core).await,
                45..=54 => self.delete(core).await,
                55..=64 => self.several(core).await,
                65..=68 => self.update_meta(core).await,
                69..=71 => self.move_body(core).await,
                72..=76 => {
                    self.scan(core).await;
                    Ok(())
                }
                _ => {
                    if let Some(key) = self.key_of(core) {
                        self.read(core, key).await;
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.excuse_write(core, &error);
            }
        }
        self.running.set(self.running.get() - 1);
    }

    fn excuse_write(&self, core: u16, error: &StoreError) {
        let faults = &self.plan.faults;
        let faulty = faults.write_error_one_in > 0 || faults.flush_error_one_in > 0;
        let hard_to_read = faults.read_error_one_in > 0;
        let excused = match error {
            StoreError::Full => self.plan.is_small,
            StoreError::NoBuffer => self.plan.refuse_buffers > 0,
            StoreError::Io { .. } => faulty || hard_to_read,
            StoreError::Failed => faulty,
            StoreError::ReadOnly { pg } => self.node.needs_repair(*pg),
            _ => false,
        };
        assert!(excused, "a write on core {core} failed: {error}");
    }

    /// Writes checkpoints, due or not, for as long as the node lives.
    pub async fn checkpoints(self: Rc<Self>) {
        loop {
            let pause = self.rng(|rng| rng.between(100_000, 20_000_000));
            self.node.envs[0].sleep(pause * self.plan.calm).await;
            let core = self.rng(|rng| rng.below(u64::from(self.node.cores()))) as usize;
            if self.rng(|rng| rng.chance(1, 2)) {
                self.node.exchange_progress(core);
            }
            let store = &self.node.stores[core];
            let eagerly = self.plan.checkpoints_eagerly && self.rng(|rng| rng.chance(1, 4));
            if !eagerly && !store.checkpoint_due() {
                continue;
            }
            oplog::record(self.world().now_ns(), "checkpoint", [core as u64, 0, 0, 0]);
            match store.checkpoint().await {
                Ok(_) => oplog::record(self.world().now_ns(), "checkpoint written", [core as u64, 0, 0, 0]),
                Err(StoreError::Failed) if store.is_stopping() => {}
                Err(error) => self.excuse_write(core as u16, &error),
            }
        }
    }

    /// Cleans the log and hands freed space around, for as long as the node lives.
    pub async fn housekeeping(self: Rc<Self>) {
        loop {
            let pause = self.rng(|rng| rng.between(500_000, 30_000_000));
            self.node.envs[0].sleep(pause * self.plan.calm).await;
            self.node.exchange_frees();
            if !self.plan.cleans {
                continue;
            }
            let core = self.rng(|rng| rng.below(u64::from(self.node.cores()))) as usize;
            let pick = self.rng(|rng| rng.below(8)) as usize;
            let cleaned = match self.plan.cleans_eagerly && pick < 4 {
                true => self.node.clean_eagerly(core, pick, self.plan.cleans_only).await,
                false => self.node.clean(core).await,
            };
            match cleaned {
                Ok(true) => oplog::record(self.world().now_ns(), "cleaned a segment", [core as u64, 0, 0, 0]),
                Ok(false) => {}
                Err(StoreError::Corrupt { .. })
                    if !self.hurt_bodies.is_empty() || self.plan.faults.read_error_one_in > 0 => {}
                Err(StoreError::Io { .. }) if self.plan.faults.read_error_one_in > 0 => {}
                // A log that is being shut down takes no rewritten rows either.
                Err(StoreError::Failed) if self.node.stores.iter().any(stria_store::Store::is_stopping) => {}
                Err(error) => self.excuse_write(core as u16, &error),
            }
        }
    }
}
