//! A bucket with versions: puts, delete markers, deletions of versions, suspension, listings, each against a model.
//!
//! Invariant: a client holds its key while it changes it, so the versions of a key are known in advance but for
//! the number of the newest; a change that a crash interrupts happened wholly or not. Run on simulated cores.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use stria_base::{BucketId, ids::pg_in_bucket};
use stria_engine::{
    EngineError,
    calls::{DeleteVersion, ListVersions, Operation, PutObject, PutVersion},
    object::{VersionId, VersionSelector, Versioning},
    precondition::WriteCondition,
    version_list::{VersionQuery, merge},
};

use crate::{
    engine_clients::{EngineLife, Object, meta_of},
    engine_run::KEYS,
    oplog,
};

/// The bucket.
pub const BUCKET: BucketId = BucketId(9);
/// How many of the keys it has.
const KEYS_USED: u64 = 5;

/// A version as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number, once it is known.
    id: Option<VersionId>,
    is_null: bool,
    /// `None` is a delete marker.
    object: Option<Object>,
}

/// A version as it is listed: number, whether null, whether a marker.
type Listed = (VersionId, bool, bool);

/// What is promised of the bucket.
#[derive(Default)]
pub struct VersionModel {
    /// The versions of each key, newest first.
    keys: BTreeMap<usize, Vec<Kept>>,
    /// Of keys that are being changed, what the change leaves.
    in_flight: BTreeMap<usize, Vec<Kept>>,
    /// Keys that were written while versions were kept.
    versioned: BTreeSet<usize>,
}

impl VersionModel {
    fn versions(&self, key: usize) -> Vec<Kept> {
        self.keys.get(&key).cloned().unwrap_or_default()
    }
}

fn is_listed_as(kept: &[Kept], listed: &[Listed]) -> bool {
    let same = |(kept, (id, is_null, is_marker)): (&Kept, &Listed)| {
        kept.id.is_none_or(|known| known == *id)
            && kept.is_null == *is_null
            && kept.object.is_none() == *is_marker
    };
    kept.len() == listed.len() && kept.iter().zip(listed).all(same)
}

/// The versions after a new one came.
fn with_newest(mut versions: Vec<Kept>, object: Option<Object>, mode: Versioning) -> Vec<Kept> {
    let is_null = mode != Versioning::Enabled;
    if is_null {
        versions.retain(|kept| !kept.is_null);
    }
    versions.insert(0, Kept { id: None, is_null, object });
    versions
}

impl EngineLife {
    /// One operation on the bucket.
    pub(crate) async fn version_step(&self, core: u16) {
        let (key, what) = self.rng(|rng| (rng.below(KEYS_USED) as usize, rng.below(10)));
        if what == 9 {
            self.check_version_listing().await;
            return;
        }
        let versions = {
            let mut model = self.model.borrow_mut();
            if model.versions.in_flight.contains_key(&key) {
                return;
            }
            let now = model.versions.versions(key);
            model.versions.in_flight.insert(key, now.clone());
            now
        };
        oplog::record(self.world().now_ns(), "version call", [u64::from(core), BUCKET.0, key as u64, what]);
        match what {
            0..=3 => self.put_new_version(key, versions).await,
            4 => self.put_delete_marker(key, versions).await,
            5..=6 => self.delete_one_version(key, versions).await,
            _ => self.look_at_versions(key, &versions).await,
        }
        self.model.borrow_mut().versions.in_flight.remove(&key);
    }

    fn mode(&self, key: usize) -> Versioning {
        let is_versioned = self.model.borrow().versions.versioned.contains(&key);
        let mode = self.rng(|rng| match rng.below(4) {
            0 => Versioning::Suspended,
            1 if !is_versioned => Versioning::Off,
            _ => Versioning::Enabled,
        });
        if mode != Versioning::Off {
            self.model.borrow_mut().versions.versioned.insert(key);
        }
        mode
    }

    fn announce_versions(&self, key: usize, after: &[Kept]) {
        self.model.borrow_mut().versions.in_flight.insert(key, after.to_vec());
    }

    fn acknowledge_versions(&self, key: usize, after: Vec<Kept>, events: u64) {
        let mut model = self.model.borrow_mut();
        model.versions.keys.insert(key, after);
        model.acked += 1;
        model.events += events;
    }

    async fn put_new_version(&self, key: usize, versions: Vec<Kept>) {
        let (place, engine) = self.place(BUCKET, key);
        let bytes = self.random_bytes();
        let (id, number) = (self.next_id(), self.next_id());
        let object = Object { id, parts: vec![(0, number, bytes)], upload: None };
        let meta = meta_of(&object);
        let body = self.new_body(engine, number, bytes).await;
        let (mode, condition) = (self.mode(key), WriteCondition::Always);
        let mut after = with_newest(versions, Some(object), mode);
        self.announce_versions(key, &after);
        let done = if mode == Versioning::Off {
            PutObject { place, meta, body, condition }.run(engine).await
        } else {
            PutVersion { place, meta, body, condition, mode }.run(engine).await
        };
        let written = done.unwrap_or_else(|error| panic!("putting a version of {:?}: {error}", KEYS[key]));
        assert_eq!(written.version.is_none_or(|version| version.is_null), mode != Versioning::Enabled);
        after[0].id = written.version.map(|version| version.id);
        self.acknowledge_versions(key, after, 1);
    }

    async fn put_delete_marker(&self, key: usize, versions: Vec<Kept>) {
        let (place, engine) = self.place(BUCKET, key);
        let mode = match self.mode(key) {
            Versioning::Off => return,
            mode => mode,
        };
        let mut after = with_newest(versions, None, mode);
        self.announce_versions(key, &after);
        let version = VersionSelector::Current;
        let call = DeleteVersion { place, condition: WriteCondition::Always, version, mode };
        let deleted = call.run(engine).await;
        let deleted = deleted.unwrap_or_else(|error| panic!("marking {:?}: {error}", KEYS[key]));
        assert!(deleted.is_delete_marker, "{deleted:?}");
        after[0].id = deleted.version.map(|version| version.id);
        self.acknowledge_versions(key, after, 1);
    }

    async fn delete_one_version(&self, key: usize, mut versions: Vec<Kept>) {
        let (place, engine) = self.place(BUCKET, key);
        let nth = self.rng(|rng| rng.below(versions.len() as u64 + 1)) as usize;
        let gone = (nth < versions.len()).then(|| versions.remove(nth));
        let version = match &gone {
            Some(Kept { is_null: false, id: Some(id), .. }) => VersionSelector::Id(*id),
            Some(_) => VersionSelector::Null,
            None => VersionSelector::Id(VersionId(1)),
        };
        self.announce_versions(key, &versions);
        let mode = Versioning::Enabled;
        let call = DeleteVersion { place, condition: WriteCondition::Always, version, mode };
        let deleted = call.run(engine).await;
        let deleted =
            deleted.unwrap_or_else(|error| panic!("deleting a version of {:?}: {error}", KEYS[key]));
        assert_eq!(deleted.existed, gone.is_some(), "whether {version:?} of {:?} existed", KEYS[key]);
        assert_eq!(deleted.is_delete_marker, gone.as_ref().is_some_and(|kept| kept.object.is_none()));
        self.acknowledge_versions(key, versions, u64::from(gone.is_some()));
    }

    /// Every version of a key, by number or as null, and the current one.
    async fn look_at_versions(&self, key: usize, versions: &[Kept]) {
        self.judge_version(key, VersionSelector::Current, versions.first()).await;
        for kept in versions {
            match (kept.is_null, kept.id) {
                (true, _) => self.judge_version(key, VersionSelector::Null, Some(kept)).await,
                (false, Some(id)) => self.judge_version(key, VersionSelector::Id(id), Some(kept)).await,
                (false, None) => {}
            }
        }
    }

    async fn judge_version(&self, key: usize, version: VersionSelector, kept: Option<&Kept>) {
        let found = self.lookup_version(BUCKET, key, version).await;
        let right = match (&found, kept.map(|kept| &kept.object)) {
            (Ok(found), Some(Some(object))) => found == object,
            (Err(EngineError::IsDeleteMarker { .. }), Some(None)) => true,
            (Err(EngineError::NoSuchKey), None) => true,
            _ => false,
        };
        assert!(right, "{version:?} of {:?}: found {found:?}, promised {kept:?}", KEYS[key]);
    }

    /// The bucket's versions over all cores, page by page, by key; and the keys of which another than the first was
    /// called the latest, as may be when it changed between two pages.
    async fn list_versions(&self) -> (BTreeMap<usize, Vec<Listed>>, BTreeSet<usize>) {
        let mut odd = BTreeSet::new();
        let entries_max = self.rng(|rng| rng.between(1, 9)) as usize;
        let mut query = VersionQuery { entries_max, ..VersionQuery::default() };
        let mut found: BTreeMap<usize, Vec<Listed>> = BTreeMap::new();
        loop {
            let mut pages = Vec::new();
            for (core, engine) in self.engines.iter().enumerate() {
                let pgs = (0..self.pgs_in_bucket())
                    .map(|nth| pg_in_bucket(BUCKET, nth, self.plan.pg_count))
                    .filter(|pg| usize::from(pg.owner(self.node.cores()).0) == core)
                    .collect();
                let call = ListVersions { bucket: BUCKET, pgs, query: query.clone() };
                let page = call.run(engine).await;
                pages.push(page.unwrap_or_else(|error| panic!("listing versions: {error}")));
            }
            let (page, more) = merge(pages, entries_max);
            assert!(page.len() <= entries_max && (!more || !page.is_empty()));
            for entry in &page {
                let key = KEYS.iter().position(|key| key.as_bytes() == &*entry.key).expect("a key of ours");
                let (id, head) = entry.version.as_ref().expect("nothing is rolled up");
                let versions = found.entry(key).or_default();
                if entry.is_latest != versions.is_empty() {
                    odd.insert(key);
                }
                versions.push((*id, head.is_null, head.is_delete_marker));
            }
            query.after =
                page.last().map(|last| (last.key.clone(), last.version.as_ref().map(|(id, _)| *id)));
            if !more {
                return (found, odd);
            }
        }
    }

    async fn check_version_listing(&self) {
        let still = |life: &Self| {
            let model = &life.model.borrow().versions;
            let is_still = |key: &usize| !model.in_flight.contains_key(key);
            (0..KEYS_USED as usize).filter(is_still).map(|key| (key, model.versions(key))).collect()
        };
        let before: BTreeMap<usize, Vec<Kept>> = still(self);
        let (found, odd) = self.list_versions().await;
        let after: BTreeMap<usize, Vec<Kept>> = still(self);
        for (key, versions) in before.iter().filter(|(key, versions)| after.get(key) == Some(versions)) {
            let listed = found.get(key).map_or(&[][..], Vec::as_slice);
            assert!(!odd.contains(key), "not the first of {:?} is called the latest", KEYS[*key]);
            assert!(is_listed_as(versions, listed), "{:?} is listed as {listed:?}: {versions:?}", KEYS[*key]);
        }
    }

    /// After a restart: each key has its versions, or those that the interrupted change leaves.
    pub(crate) async fn check_versions_after_restart(self: Rc<Self>) {
        let (found, odd) = self.list_versions().await;
        assert!(odd.is_empty(), "not the first is called the latest of {odd:?}");
        for (key, name) in KEYS.iter().enumerate().take(KEYS_USED as usize) {
            let listed = found.get(&key).cloned().unwrap_or_default();
            let (now, then) = {
                let model = &self.model.borrow().versions;
                (model.versions(key), model.in_flight.get(&key).cloned())
            };
            let is_done = |after: &Vec<Kept>| is_listed_as(after, &listed);
            let mut there = match then {
                _ if is_listed_as(&now, &listed) => now,
                Some(then) if is_done(&then) => then,
                then => panic!("after a restart {name:?}: {listed:?}, promised {now:?} or {then:?}"),
            };
            for (kept, (id, ..)) in there.iter_mut().zip(&listed).filter(|(kept, _)| !kept.is_null) {
                kept.id = Some(*id);
            }
            self.look_at_versions(key, &there).await;
            self.model.borrow_mut().versions.keys.insert(key, there);
        }
        self.model.borrow_mut().versions.in_flight.clear();
    }
}
