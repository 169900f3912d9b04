//! Clients of the engine: every answer is compared with what it has to be.
//!
//! Invariant: a client holds its key while it writes; late parts race with the Complete of their own upload
//! only. Run on simulated cores.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use bytes::Bytes;
use stria_base::{BucketId, DataId, ids::pg_of};
use stria_engine::{
    Engine, EngineError, Etag, ObjectMeta,
    calls::{
        AbortUpload, Allocate, CompleteUpload, CreateUpload, DeleteObject, FindPart, FoundBody, ListParts,
        Lookup, Operation, PickedPart, Place, PutObject, PutPart, Unpin, UploadPlace,
    },
    events::CollectingSink,
    keys::{self, UploadId},
    list::ListQuery,
    object::{VersionSelector, Versioning},
    precondition::WriteCondition,
};
use stria_env::Env;
use stria_store::{BodyWriter, ExtentBody, NewBody, read_extents};

use crate::{
    engine_run::{BUCKETS, EngineModel, KEYS},
    node::Node,
    oplog,
    plan::Plan,
    value::{fill_body, is_body},
    world::{Rng, SimEnv, World},
};

/// An object as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its number, also its ETag.
    pub id: u64,
    /// Its upload and parts (number, body, bytes); one part of number 0 when put in one piece.
    pub parts: Vec<(u16, u64, u32)>,
    /// The upload it came from.
    pub upload: Option<UploadId>,
}

/// One life of the engines.
pub struct EngineLife {
    /// The node.
    pub node: Node,
    /// An engine on each core.
    pub engines: Vec<Engine<SimEnv>>,
    /// What they told.
    pub sink: CollectingSink,
    /// The model.
    pub model: Rc<RefCell<EngineModel>>,
    /// The options.
    pub plan: Plan,
    /// Operations still to do.
    pub ops_left: Cell<u64>,
    /// Clients still running.
    pub running: Cell<u32>,
}

pub(crate) fn meta_of(object: &Object) -> ObjectMeta {
    let size = object.parts.iter().map(|(_, _, bytes)| u64::from(*bytes)).sum();
    let mut meta = ObjectMeta::new(size, (u128::from(object.id) << 3).to_le_bytes());
    for (number, body, bytes) in &object.parts {
        let value = [u64::from(*number), *body, u64::from(*bytes)].map(u64::to_le_bytes).concat();
        meta.user.push((b"part"[..].into(), value.into()));
    }
    if object.upload.is_some() {
        meta.etag.part_count = object.parts.len() as u16;
    }
    meta
}

fn object_of(meta: &ObjectMeta) -> Object {
    let parts = meta.user.iter().map(|(_, value)| {
        let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().expect("24 bytes"));
        (word(0) as u16, word(8), word(16) as u32)
    });
    let md5 = u128::from_le_bytes(meta.etag.md5);
    Object {
        id: (md5 >> 3) as u64,
        parts: parts.collect(),
        upload: meta.parts.as_ref().map(|parts| parts.id),
    }
}

fn etag_of(object: &Object) -> Etag {
    meta_of(object).etag
}

impl EngineLife {
    pub(crate) fn world(&self) -> &Rc<World> {
        self.node.envs[0].world()
    }

    pub(crate) fn rng<R>(&self, f: impl FnOnce(&mut Rng) -> R) -> R {
        self.world().rng(f)
    }

    pub(crate) fn pgs_in_bucket(&self) -> u16 {
        if self.plan.pg_count >= 8 { 8 } else { 4 }
    }

    pub(crate) fn place(&self, bucket: BucketId, key: usize) -> (Place, &Engine<SimEnv>) {
        let bytes = KEYS[key].as_bytes();
        let pg = pg_of(bucket, bytes, self.pgs_in_bucket(), self.plan.pg_count);
        let engine = &self.engines[usize::from(pg.owner(self.node.cores()).0)];
        (Place { pg, bucket, key: Bytes::from_static(bytes) }, engine)
    }

    pub(crate) fn next_id(&self) -> u64 {
        let mut model = self.model.borrow_mut();
        model.next_id += 1;
        model.next_id
    }

    /// Looks a key up and reads all of it.
    pub(crate) async fn lookup(&self, bucket: BucketId, key: usize) -> Option<Object> {
        match self.lookup_version(bucket, key, VersionSelector::Current).await {
            Ok(object) => Some(object),
            Err(EngineError::NoSuchKey) => None,
            Err(error) => panic!("looking up {:?}: {error}", KEYS[key]),
        }
    }

    /// Looks a version of a key up and reads all of it.
    pub(crate) async fn lookup_version(
        &self,
        bucket: BucketId,
        key: usize,
        version: VersionSelector,
    ) -> Result<Object, EngineError> {
        let (place, engine) = self.place(bucket, key);
        let found = Lookup { place: place.clone(), version, body: true }.run(engine).await?;
        let object = object_of(&found.meta);
        match found.body {
            FoundBody::Parts => {
                let id = object.upload.expect("only multipart objects lie in parts");
                for (number, body, bytes) in &object.parts {
                    let call = FindPart { place: place.clone(), id, number: *number };
                    let part = call.run(engine).await;
                    let part =
                        part.unwrap_or_else(|error| panic!("part {number} of {:?}: {error}", KEYS[key]));
                    self.judge_body(part.body, *body, *bytes).await;
                }
            }
            body => {
                let (_, number, bytes) = object.parts[0];
                self.judge_body(body, number, bytes).await;
            }
        }
        if let Some(pin) = found.pin {
            Unpin { pin }.run(engine).await;
        }
        Ok(object)
    }

    async fn judge_body(&self, found: FoundBody, body: u64, bytes: u32) {
        match found {
            FoundBody::None => assert_eq!(bytes, 0),
            FoundBody::Bytes(there) => {
                assert!(there.len() == bytes as usize && is_body(body, 0, &there), "wrong bytes served");
            }
            FoundBody::Extents(extents) => {
                let core = self.rng(|rng| rng.below(self.node.volumes.len() as u64)) as usize;
                let mut at = 0;
                while at < extents.bytes {
                    let there = read_extents(&self.node.volumes[core], &extents, at, 100_000).await;
                    let there = there.unwrap_or_else(|error| panic!("reading body {body}: {error}"));
                    assert!(is_body(body, at, &there), "wrong bytes served");
                    at += there.len() as u64;
                }
                assert_eq!(at, u64::from(bytes));
            }
            FoundBody::Parts => panic!("a part in parts"),
        }
    }

    pub(crate) async fn new_body(&self, engine: &Engine<SimEnv>, body: u64, bytes: u32) -> NewBody {
        if bytes == 0 {
            return NewBody::None;
        }
        let id = DataId(u128::from(body));
        if bytes <= 5_000 {
            let mut inline = vec![0; bytes as usize];
            fill_body(body, 0, &mut inline);
            return NewBody::Inline { id, bytes: Bytes::from(inline) };
        }
        NewBody::Extents(Box::new(self.write_extents(engine, id, body, u64::from(bytes)).await))
    }

    async fn write_extents(&self, engine: &Engine<SimEnv>, id: DataId, body: u64, bytes: u64) -> ExtentBody {
        let grant =
            Allocate { bytes }.run(engine).await.unwrap_or_else(|error| panic!("allocating: {error}"));
        let core = self.rng(|rng| rng.below(self.node.volumes.len() as u64)) as usize;
        let mut writer = BodyWriter::new(self.node.volumes[core].clone(), id, Some(bytes));
        writer.give(grant.extents);
        let mut at = 0;
        while at < bytes {
            let mut buf = self.node.envs[core].buf((bytes - at).min(65_536) as usize).expect("none refused");
            fill_body(body, at, &mut buf);
            at += buf.len() as u64;
            writer.push(buf).await.expect("the drives have no faults");
        }
        let (written, unused) = writer.finish().await.expect("the drives have no faults");
        engine.store().release(unused);
        written
    }

    pub(crate) fn random_bytes(&self) -> u32 {
        self.rng(|rng| match rng.below(6) {
            0 => 0,
            1..=3 => rng.between(1, 5_000),
            4 => rng.between(5_001, 20_000),
            _ => rng.between(5_001, 150_000),
        }) as u32
    }

    fn acknowledged(&self, at: (BucketId, usize), now: Option<Object>, events: u64) {
        let mut model = self.model.borrow_mut();
        match now {
            Some(object) => model.objects.insert(at, object),
            None => model.objects.remove(&at),
        };
        model.in_flight.insert(at, Vec::new());
        model.acked += 1;
        model.events += events;
    }

    fn announce(&self, at: (BucketId, usize), outcome: Option<Object>) {
        self.model.borrow_mut().in_flight.insert(at, vec![outcome]);
    }

    async fn put(&self, at: (BucketId, usize)) {
        let (place, engine) = self.place(at.0, at.1);
        let bytes = self.random_bytes();
        let (id, number) = (self.next_id(), self.next_id());
        let object = Object { id, parts: vec![(0, number, bytes)], upload: None };
        let body = self.new_body(engine, number, bytes).await;
        let there = self.model.borrow().objects.get(&at).cloned();
        let (condition, passes) = self.condition(there.as_ref());
        if passes {
            self.announce(at, Some(object.clone()));
        }
        let done = PutObject { place, meta: meta_of(&object), body, condition }.run(engine).await;
        assert_eq!(done.is_ok(), passes, "put of {:?} under {condition:?}: {done:?}", KEYS[at.1]);
        if passes {
            self.acknowledged(at, Some(object), 1);
        }
    }

    fn condition(&self, there: Option<&Object>) -> (WriteCondition, bool) {
        match self.rng(|rng| rng.below(8)) {
            0 => (WriteCondition::Absent, there.is_none()),
            1 => (WriteCondition::Present, there.is_some()),
            2 => (WriteCondition::Matches(there.map(etag_of)), there.is_some()),
            3 => (WriteCondition::Matches(Some(Etag { md5: [9; 16], part_count: 0 })), false),
            _ => (WriteCondition::Always, true),
        }
    }

    async fn delete(&self, at: (BucketId, usize)) {
        let (place, engine) = self.place(at.0, at.1);
        let there = self.model.borrow().objects.contains_key(&at);
        self.announce(at, None);
        let done = DeleteObject { place, condition: WriteCondition::Always }.run(engine).await;
        let done = done.unwrap_or_else(|error| panic!("deleting {:?}: {error}", KEYS[at.1]));
        assert_eq!(done.existed, there, "whether {:?} existed", KEYS[at.1]);
        self.acknowledged(at, None, u64::from(there));
    }

    async fn put_part(&self, upload: &UploadPlace, number: u16) -> Result<(u64, u32), EngineError> {
        let engine = &self.engines[usize::from(upload.place.pg.owner(self.node.cores()).0)];
        let (body, bytes) = (self.next_id(), self.random_bytes().max(1));
        let meta = ObjectMeta::new(u64::from(bytes), u128::from(body).to_le_bytes());
        let new_body = self.new_body(engine, body, bytes).await;
        PutPart { upload: upload.clone(), number, meta, body: new_body }.run(engine).await?;
        Ok((body, bytes))
    }

    async fn multipart(self: &Rc<Self>, at: (BucketId, usize)) {
        let (place, engine) = self.place(at.0, at.1);
        let id = UploadId(u128::from(self.next_id()));
        let upload = UploadPlace { place, id };
        self.model.borrow_mut().uploads.insert(id);
        let created = CreateUpload { upload: upload.clone(), meta: ObjectMeta::new(0, [0; 16]) };
        created.run(engine).await.unwrap_or_else(|error| panic!("creating an upload: {error}"));
        let mut parts: BTreeMap<u16, (u64, u32)> = BTreeMap::new();
        for _ in 0..self.rng(|rng| rng.between(1, 6)) {
            let number = self.rng(|rng| rng.between(1, 5)) as u16;
            let part = self.put_part(&upload, number).await;
            parts.insert(number, part.unwrap_or_else(|error| panic!("putting a part: {error}")));
        }
        if self.rng(|rng| rng.chance(1, 2)) {
            let (racer, of) = (self.clone(), upload.clone());
            let number = self.rng(|rng| rng.between(1, 7)) as u16;
            self.node.envs[0].spawn(async move {
                // Late: refused, or dropped with the upload, or it makes Complete fail.
                let _ = racer.put_part(&of, number).await;
            });
            let pause = self.rng(|rng| rng.below(600_000));
            self.node.envs[0].sleep(pause).await;
        }
        if self.rng(|rng| rng.chance(1, 5)) {
            let aborted = AbortUpload { upload: upload.clone() }.run(engine).await;
            aborted.unwrap_or_else(|error| panic!("aborting: {error}"));
            let again = AbortUpload { upload }.run(engine).await;
            assert!(matches!(again, Err(EngineError::NoSuchUpload)), "{again:?}");
            return;
        }
        self.complete(at, upload, parts).await;
    }

    async fn complete(&self, at: (BucketId, usize), upload: UploadPlace, parts: BTreeMap<u16, (u64, u32)>) {
        let (_, engine) = self.place(at.0, at.1);
        let listing = ListParts { upload: upload.clone(), after: 0, parts_max: 100 };
        let page = listing.run(engine).await.unwrap_or_else(|error| panic!("listing parts: {error}"));
        let mut listed: Vec<(PickedPart, u64)> = Vec::new();
        for part in &page.parts {
            let body = u128::from_le_bytes(part.meta.etag.md5) as u64;
            listed.push((PickedPart { number: part.number, seq: part.seq, bytes: part.meta.size }, body));
        }
        assert!(
            parts.keys().all(|number| listed.iter().any(|(p, _)| p.number == *number)),
            "a part is missing"
        );
        let keep = self.rng(|rng| rng.between(1, listed.len() as u64 + 1)) as usize;
        listed.truncate(keep);
        let object = Object {
            id: self.next_id(),
            parts: listed.iter().map(|(part, body)| (part.number, *body, part.bytes as u32)).collect(),
            upload: Some(upload.id),
        };
        self.announce(at, Some(object.clone()));
        let call = |parts: &[(PickedPart, u64)]| CompleteUpload {
            upload: upload.clone(),
            parts: parts.iter().map(|(part, _)| *part).collect(),
            meta: meta_of(&object),
            condition: WriteCondition::Always,
            mode: Versioning::Off,
        };
        match call(&listed).run(engine).await {
            Ok(_) => {
                self.acknowledged(at, Some(object.clone()), 1);
                let again = call(&listed).run(engine).await;
                assert!(again.is_ok(), "a repeated Complete: {again:?}");
            }
            Err(EngineError::InvalidPart { .. }) => {}
            Err(error) => panic!("completing {:?}: {error}", KEYS[at.1]),
        }
    }

    async fn list(&self) {
        let (prefix, delimiter, after) = self.rng(|rng| {
            let prefix: &str = rng.pick::<&str>(&["", "a", "a/", "b/", "long/", "nope"]);
            let delimiter: &str = rng.pick::<&str>(&["", "/"]);
            (prefix, delimiter, rng.chance(1, 3).then(|| *rng.pick(&KEYS)))
        });
        let entries_max = self.rng(|rng| rng.between(1, 8)) as usize;
        let query = ListQuery {
            prefix: prefix.as_bytes().into(),
            delimiter: delimiter.as_bytes().into(),
            after: after.map(|key| key.as_bytes().into()),
            entries_max,
        };
        let before = self.model.borrow().quiet_keys();
        let found = self.list_all(&query).await;
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "a listing out of order: {found:?}");
        let model = self.model.borrow();
        // A listing of rows that have to be read takes its time.
        let quiet = model.quiet_keys();
        let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
        for (number, key) in KEYS.iter().enumerate() {
            let at = (BUCKETS[0], number);
            let there = model.objects.contains_key(&at);
            let Some(entry) = entry_of(key, prefix, delimiter, after) else { continue };
            let is_quiet = before.contains(&(at, model.calls(at))) && quiet.contains(&(at, model.calls(at)));
            if there && is_quiet {
                must.insert(entry.clone());
            }
            if there || !is_quiet {
                may.insert(entry);
            }
        }
        let found: BTreeSet<(Vec<u8>, bool)> = found.into_iter().collect();
        assert!(
            must.is_subset(&found) && found.is_subset(&may),
            "a listing of {query:?}: {found:?}, must {must:?}, may {may:?}"
        );
    }

    /// Part rows belong to an upload or to an object.
    pub(crate) async fn check_orphans(&self) {
        for engine in &self.engines {
            for pg in engine.store().pgs() {
                let (mut parts, mut uploads) = (BTreeSet::new(), BTreeSet::new());
                let scan = engine.store().scan_rows(pg, std::ops::Bound::Unbounded, |row, _| {
                    let (bucket, _) = keys::bucket_and_kind(row).expect("our rows have a bucket");
                    parts.extend(keys::part_of(bucket, row));
                    uploads.extend(keys::upload_parts_of(bucket, row).map(|(_, id)| id));
                    std::ops::ControlFlow::Continue(())
                });
                scan.await.unwrap_or_else(|error| panic!("rows of PG {}: {error}", pg.0));
                let model = self.model.borrow();
                for (id, number) in parts {
                    let of_object = |object: &Object| {
                        object.upload == Some(id) && object.parts.iter().any(|(n, _, _)| *n == number)
                    };
                    let is_owned = uploads.contains(&id) || model.objects.values().any(of_object);
                    assert!(is_owned, "part {number} of {id:?} belongs to nothing");
                }
            }
        }
    }

    /// A client: operations until none are left.
    pub async fn client(self: Rc<Self>, core: u16) {
        self.running.set(self.running.get() + 1);
        while self.ops_left.get() > 0 {
            self.ops_left.set(self.ops_left.get() - 1);
            let pause = self.rng(|rng| rng.below(1_500_000));
            self.node.envs[usize::from(core)].sleep(pause * self.plan.calm).await;
            let what = self.rng(|rng| rng.below(13));
            if what >= 10 {
                self.version_step(core).await;
                continue;
            }
            if what == 9 {
                self.list().await;
                continue;
            }
            let at = self.rng(|rng| (*rng.pick(&BUCKETS), rng.below(KEYS.len() as u64) as usize));
            if self.model.borrow().in_flight.contains_key(&at) {
                continue;
            }
            self.model.borrow_mut().begin(at);
            oplog::record(self.world().now_ns(), "call", [u64::from(core), at.0.0, at.1 as u64, what]);
            match what {
                0..=3 => self.put(at).await,
                4 => self.delete(at).await,
                5..=6 => self.multipart(at).await,
                _ => {
                    let found = self.lookup(at.0, at.1).await;
                    assert_eq!(found.as_ref(), self.model.borrow().objects.get(&at), "{:?}", KEYS[at.1]);
                }
            }
            self.model.borrow_mut().in_flight.remove(&at);
        }
        self.running.set(self.running.get() - 1);
    }

    /// Cleans the log and hands freed space around, for as long as the node lives.
    pub async fn housekeeping(self: Rc<Self>) {
        loop {
            let pause = self.rng(|rng| rng.between(500_000, 10_000_000));
            self.node.envs[0].sleep(pause * self.plan.calm).await;
            self.node.exchange_frees();
            let core = self.rng(|rng| rng.below(u64::from(self.node.cores()))) as usize;
            self.node.clean(core).await.unwrap_or_else(|error| panic!("cleaning: {error}"));
            self.node.exchange_progress(core);
            let store = &self.node.stores[core];
            if store.checkpoint_due() || self.rng(|rng| rng.chance(1, 8)) {
                store.checkpoint().await.unwrap_or_else(|error| panic!("checkpoint: {error}"));
            }
        }
    }
}

/// What a key is listed as.
fn entry_of(key: &str, prefix: &str, delimiter: &str, after: Option<&str>) -> Option<(Vec<u8>, bool)> {
    let rest = key.strip_prefix(prefix)?;
    let rolled = if delimiter.is_empty() { None } else { rest.find(delimiter) };
    let entry = rolled.map_or(key, |at| &key[..prefix.len() + at + delimiter.len()]);
    if let Some(after) = after {
        let rolls_up_after = rolled.is_some() && entry == after;
        if key <= after || rolls_up_after {
            return None;
        }
    }
    Some((entry.as_bytes().to_vec(), rolled.is_some()))
}
