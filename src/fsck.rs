//! `stria fsck`: reads a whole store back, offline, and says what is wrong with it.
//!
//! Invariant: writes nothing; holds the data directory, so that no server does either. Every block that a row
//! names is read and verified. Runs on one core of its own.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{IsTerminal, Write},
    rc::Rc,
    time::Instant,
};

use stria_base::{BucketId, CoreId};
use stria_engine::keys;
use stria_runtime::{CoreConfig, run};
use stria_store::{
    BodyRef, Extent, ExtentBody, PgState, ReplayReport, StoreError, Volumes, WholePg, read_extents,
    read_inline, replay,
};

use crate::{
    config::Config,
    datadir::DataDir,
    open::{VolumePath, open_disk},
    real_env::RealEnv,
    serve::{ServeError, kept_store},
};

/// Damaged bodies that are named one by one.
const NAMED_MAX: usize = 100;
/// Bytes of a body read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Figures of reading runs and logs.
    pub report: ReplayReport,
    /// Rows by what they are: objects, versions, uploads, parts.
    pub rows: [u64; 4],
    /// Bodies read.
    pub bodies: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, one line each; beyond a hundred only counted.
    pub damage: Vec<String>,
    /// How many lines there would be.
    pub damage_count: u64,
}

impl Findings {
    fn add(&mut self, line: String) {
        self.damage_count += 1;
        if self.damage.len() < NAMED_MAX {
            self.damage.push(line);
        }
    }
}

/// A body to be read.
struct Body {
    name: String,
    place: BodyRef,
}

/// Checks the store of `config.data`.
///
/// # Errors
/// When it cannot be read at all; what is wrong with it is in the findings.
pub fn fsck(config: &Config) -> Result<Findings, ServeError> {
    let directory = DataDir::hold(&config.data)?;
    let (record, paths) = kept_store(&directory)?;
    let meta = stria_meta::MetaStore::open(&directory.meta_path())?;
    let buckets: BTreeMap<u64, String> =
        meta.snapshot().buckets.values().map(|bucket| (bucket.id, bucket.name.clone())).collect();
    let uuid = u128::from_str_radix(&record.uuid, 16).unwrap_or_default();
    let found = Rc::new(RefCell::new(Ok(Findings::default())));
    let result = found.clone();
    run(CoreConfig::new(CoreId(0)), async move |core| {
        *result.borrow_mut() = check(&RealEnv::new(core), uuid, &paths, &buckets).await;
    })
    .map_err(ServeError::Reactor)?;
    let found = found.replace(Ok(Findings::default()));
    found.map_err(|error| ServeError::Core { core: CoreId(0), error })
}

async fn check(
    env: &RealEnv,
    uuid: u128,
    paths: &[VolumePath],
    buckets: &BTreeMap<u64, String>,
) -> Result<Findings, crate::open::OpenError> {
    let mut disks = Vec::new();
    for path in paths {
        disks.push((path.id, open_disk(env, path).await?));
    }
    let replayed = replay(env, uuid, disks.clone()).await?;
    let mut findings = Findings { report: replayed.report, ..Findings::default() };
    let volumes = Volumes::new(env.clone(), disks, true);
    let mut bodies = Vec::new();
    let mut space = Vec::new();
    for pg in replayed.into_whole() {
        if pg.state == PgState::NeedsRepair {
            findings.add(format!(
                "placement group {}: an acknowledged write may be lost; it is read-only",
                pg.pg.0
            ));
        }
        collect(&pg, buckets, &mut findings, &mut bodies, &mut space);
    }
    check_space(&mut space, &bodies, &mut findings);
    let mut progress = Progress::new(bodies.len() as u64);
    for body in &bodies {
        progress.step();
        let read = match &body.place {
            BodyRef::Inline(inline) => read_inline(&volumes, inline).await.map(|bytes| bytes.len() as u64),
            BodyRef::Extents(extents) => read_whole(&volumes, extents).await,
            BodyRef::None => Ok(0),
        };
        match read {
            Ok(bytes) => {
                findings.bodies += 1;
                findings.bytes += bytes;
            }
            Err(error) => findings.add(format!("{}: {error}", body.name)),
        }
    }
    progress.end();
    Ok(findings)
}

/// Takes the bodies of a PG's rows and the space they name.
fn collect(
    pg: &WholePg,
    buckets: &BTreeMap<u64, String>,
    findings: &mut Findings,
    bodies: &mut Vec<Body>,
    space: &mut Vec<(Extent, usize)>,
) {
    pg.each(|key, row| {
        let kind = keys::bucket_and_kind(key);
        let place = match kind {
            Some((_, keys::kind::OBJECT)) => 0,
            Some((_, keys::kind::VERSION)) => 1,
            Some((_, keys::kind::UPLOAD)) => 2,
            _ => 3,
        };
        findings.rows[place] += 1;
        if stria_engine::codec::decode(row.meta).is_none() {
            findings.add(format!("{}: the row cannot be decoded", name(key, buckets)));
        }
        let place = row.body();
        if matches!(place, BodyRef::None) {
            return;
        }
        if let BodyRef::Extents(body) = &place {
            space.extend(body.extents.iter().map(|extent| (*extent, bodies.len())));
        }
        bodies.push(Body { name: name(key, buckets), place });
    });
}

/// No two bodies share space.
fn check_space(space: &mut [(Extent, usize)], bodies: &[Body], findings: &mut Findings) {
    space.sort_by_key(|(extent, _)| (extent.volume, extent.offset));
    for pair in space.windows(2) {
        let ((first, one), (second, other)) = (pair[0], pair[1]);
        let shared = first.volume == second.volume && first.offset + u64::from(first.bytes) > second.offset;
        if shared {
            let (one, other) = (&bodies[one].name, &bodies[other].name);
            findings.add(format!("{one} and {other} share space of volume {}", first.volume.0));
        }
    }
}

async fn read_whole(volumes: &Volumes<RealEnv>, body: &ExtentBody) -> Result<u64, StoreError> {
    let mut offset = 0;
    while offset < body.bytes {
        let piece = read_extents(volumes, body, offset, PIECE_BYTES).await?;
        offset += piece.len() as u64;
    }
    Ok(offset)
}

/// A row as a person knows it.
fn name(key: &[u8], buckets: &BTreeMap<u64, String>) -> String {
    let Some((bucket, kind)) = keys::bucket_and_kind(key) else { return format!("row {key:?}") };
    let BucketId(number) = bucket;
    let of = buckets.get(&number).cloned().unwrap_or_else(|| format!("deleted bucket {number}"));
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    match kind {
        keys::kind::OBJECT => {
            format!("{of}/{}", keys::object_key(bucket, key).map(text).unwrap_or_default())
        }
        keys::kind::VERSION => match keys::version_of(bucket, key) {
            Some((key, id)) => format!("{of}/{} version {:032x}", text(&key), id.0),
            None => of,
        },
        keys::kind::PART => match keys::part_of(bucket, key) {
            Some((id, number)) => format!("{of}: part {number} of upload {:032x}", id.0),
            None => of,
        },
        _ => of,
    }
}

/// A line that is written over, where somebody watches.
struct Progress {
    all: u64,
    done: u64,
    shown: Option<Instant>,
    watched: bool,
}

impl Progress {
    /// Between two lines.
    const STEP_MS: u128 = 200;

    fn new(all: u64) -> Self {
        Self { all, done: 0, shown: None, watched: std::io::stderr().is_terminal() }
    }

    #[expect(clippy::disallowed_methods, reason = "a progress line for a person, on no data core")]
    fn step(&mut self) {
        self.done += 1;
        if !self.watched || self.shown.is_some_and(|shown| shown.elapsed().as_millis() < Self::STEP_MS) {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = self.done * 100 / self.all.max(1);
        let _ =
            write!(std::io::stderr(), "\r  reading bodies  {percent:>3} %  {} of {}", self.done, self.all);
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
