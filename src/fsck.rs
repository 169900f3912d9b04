//! `stria fsck`: reads a whole store back, offline, says what is wrong with it, and repairs what can be.
//!
//! Invariant: holds the data directory, so that no server writes; writes nothing unless told to repair. Every block
//! that a row names is read and verified. Runs on one core of its own.

use std::collections::BTreeMap;

use stria_engine::keys;
use stria_store::{
    BodyRef, CopyState, DamageKind, Extent, ExtentBody, PgState, ReplayReport, StoreError, VolumeHead,
    Volumes, WholePg, read_extents, read_head, read_inline, repair_header, replay,
};

use crate::{
    config::Config,
    offline::{self, Progress, name_of, on_core, open_disks, write_index},
    open::{OpenError, VolumePath},
    real_env::RealEnv,
    serve::ServeError,
};

/// Damage that is named one by one.
const NAMED_MAX: usize = 100;
/// Bytes of a body read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// What is to be done about damage.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Copies and the index are written again where their right content is known.
    pub repairs: bool,
    /// Placement groups that are made writable again with what is left of them.
    pub accept_loss: Vec<u16>,
}

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
    /// What is wrong and can be put right, one line each.
    pub repairable: Vec<String>,
    /// What is wrong and cannot, one line each; beyond a hundred only counted.
    pub damage: Vec<String>,
    /// How many lines there would be.
    pub damage_count: u64,
    /// What was put right before.
    pub repaired: Vec<String>,
    /// Placement groups that are read-only.
    read_only: Vec<u16>,
    /// Whether the index has to be written to put it right.
    needs_index: bool,
}

impl Findings {
    fn add(&mut self, line: String) {
        self.damage_count += 1;
        if self.damage.len() < NAMED_MAX {
            self.damage.push(line);
        }
    }

    /// 0 sound, 2 what `--repair` can put right, 3 what it cannot. (1: could not be checked.)
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.damage_count, self.repairable.len()) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 3,
        }
    }
}

/// A body to be read.
struct Body {
    name: String,
    place: BodyRef,
}

/// What all steps go by.
struct Store {
    uuid: u128,
    pg_count: u16,
    paths: Vec<VolumePath>,
    buckets: BTreeMap<u64, String>,
}

/// Checks the store of `config.data`, and repairs it if told to.
///
/// # Errors
/// When it cannot be read at all; what is wrong with it is in the findings.
pub fn fsck(config: &Config, options: Options) -> Result<Findings, ServeError> {
    let mut opened = offline::hold(&config.data)?;
    if options.repairs {
        opened.unsettle()?;
    }
    let store = Store {
        uuid: opened.uuid(),
        pg_count: opened.record.as_ref().map_or(0, |record| record.pg_count),
        paths: std::mem::take(&mut opened.paths),
        buckets: std::mem::take(&mut opened.buckets),
    };
    let findings = on_core(async move |env| {
        let found = check(&env, &store, &options).await?;
        if !options.repairs || found.repairable.is_empty() {
            return Ok(found);
        }
        let repaired = repair(&env, &store, &options, &found).await?;
        // What the repair left is found by looking again.
        let options = Options { accept_loss: Vec::new(), ..options };
        Ok(Findings { repaired, ..check(&env, &store, &options).await? })
    });
    drop(opened);
    findings
}

async fn repair(
    env: &RealEnv,
    store: &Store,
    options: &Options,
    found: &Findings,
) -> Result<Vec<String>, OpenError> {
    let disks = open_disks(env, &store.paths).await?;
    let volumes = Volumes::new(env.clone(), disks.clone(), true);
    let mut done = Vec::new();
    for (id, disk) in &disks {
        let head = read_head(env, disk).await?;
        if head.needs_repair() && head.info.is_some() && head.map.is_some() {
            let count = repair_header(&volumes, *id, &head).await?;
            done.push(format!("volume {}: {count} copies written again", id.0));
        }
    }
    if found.needs_index || found.read_only.iter().any(|pg| options.accept_loss.contains(pg)) {
        let replayed = replay(env, store.uuid, disks.clone()).await?;
        write_index(env, store.pg_count, disks, replayed, &options.accept_loss).await?;
        done.push("the index was written anew".to_owned());
        for pg in found.read_only.iter().filter(|pg| options.accept_loss.contains(pg)) {
            done.push(format!("placement group {pg} is writable again, with what is left of it"));
        }
    }
    Ok(done)
}

async fn check(env: &RealEnv, store: &Store, options: &Options) -> Result<Findings, OpenError> {
    let mut findings = Findings::default();
    let disks = open_disks(env, &store.paths).await?;
    let (mut is_readable, mut manifests_bad) = (true, 0);
    for (id, disk) in &disks {
        let head = read_head(env, disk).await?;
        let bad =
            |copy: &&stria_store::Copy| copy.kind == DamageKind::Manifest && copy.state == CopyState::Damaged;
        manifests_bad += head.copies.iter().filter(bad).count() as u64;
        is_readable &= check_head(id.0, &head, &mut findings);
    }
    if !is_readable {
        return Ok(findings);
    }
    let replayed = replay(env, store.uuid, disks.clone()).await?;
    findings.report = replayed.report;
    let volumes = Volumes::new(env.clone(), disks, true);
    let (mut bodies, mut space) = (Vec::new(), Vec::new());
    let pgs = replayed.into_whole();
    note_lost(&pgs, options, &mut findings);
    for pg in pgs {
        collect(&pg, &store.buckets, &mut findings, &mut bodies, &mut space);
    }
    if findings.report.damaged > manifests_bad && findings.read_only.is_empty() {
        findings.needs_index = true;
        let runs = findings.report.damaged - manifests_bad;
        let line = format!("runs of {runs} placement groups do not verify; the log has their rows");
        findings.repairable.push(line);
    }
    check_space(&mut space, &bodies, &mut findings);
    read_bodies(&volumes, &bodies, &mut findings).await;
    Ok(findings)
}

/// Whether the volume can be opened as it is.
fn check_head(volume: u16, head: &VolumeHead, findings: &mut Findings) -> bool {
    let kinds = [
        (DamageKind::Superblock, "superblock"),
        (DamageKind::Map, "device map"),
        (DamageKind::Manifest, "manifest"),
    ];
    for copy in head.copies.iter().filter(|copy| copy.state == CopyState::Damaged) {
        let name = kinds.iter().find(|(kind, _)| *kind == copy.kind).map_or("head", |(_, name)| name);
        let line =
            format!("volume {volume}: the copy of the {name} at offset {} does not verify", copy.offset);
        if head.good(copy.kind) > 0 { findings.repairable.push(line) } else { findings.add(line) }
    }
    if head.info.as_ref().is_some_and(|info| info.manifest.is_some()) && head.manifest.is_none() {
        findings.add(format!("volume {volume}: the manifest is lost; `stria rebuild-index` makes a new one"));
    }
    if head.is_lone {
        findings.repairable.push(format!(
            "volume {volume}: only one superblock verifies; no server opens it before it is written again"
        ));
    }
    head.info.is_some() && head.map.is_some() && !head.is_lone
}

/// Names what PGs that need repair may have lost: those that surely did one by one, the others in one line.
fn note_lost(pgs: &[WholePg], options: &Options, findings: &mut Findings) {
    let mut perhaps = Vec::new();
    for pg in pgs.iter().filter(|pg| pg.state == PgState::NeedsRepair) {
        let number = pg.pg.0;
        findings.read_only.push(number);
        let is_accepted = options.accept_loss.contains(&number);
        if pg.lost.is_empty() && !is_accepted {
            perhaps.push(number.to_string());
            continue;
        }
        let ranges: Vec<String> = pg.lost.iter().map(|(from, to)| format!("{from} to {to}")).collect();
        let lost = if ranges.is_empty() { "none that is known".to_owned() } else { ranges.join(", ") };
        let line = format!(
            "placement group {number} is read-only; acknowledged changes that are lost: {lost}; the last one known: {}",
            pg.seq_high
        );
        if is_accepted {
            findings.repairable.push(line);
        } else {
            findings.add(format!(
                "{line}; `stria fsck --repair --accept-loss {number}` makes it writable without"
            ));
        }
    }
    if !perhaps.is_empty() {
        findings.add(format!(
            "read-only too, because their last changes may be lost or it is not known any more which: placement groups {}; `stria fsck --repair --accept-loss N` makes them writable",
            perhaps.join(", ")
        ));
    }
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
            findings.add(format!("{}: the row cannot be decoded", name_of(key, buckets)));
        }
        let place = row.body();
        if matches!(place, BodyRef::None) {
            return;
        }
        if let BodyRef::Extents(body) = &place {
            space.extend(body.extents.iter().map(|extent| (*extent, bodies.len())));
        }
        bodies.push(Body { name: name_of(key, buckets), place });
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

async fn read_bodies(volumes: &Volumes<RealEnv>, bodies: &[Body], findings: &mut Findings) {
    let mut progress = Progress::new("reading bodies", bodies.len() as u64);
    for body in bodies {
        progress.step();
        let read = match &body.place {
            BodyRef::Inline(inline) => read_inline(volumes, inline).await.map(|bytes| bytes.len() as u64),
            BodyRef::Extents(extents) => read_whole(volumes, extents).await,
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
}

async fn read_whole(volumes: &Volumes<RealEnv>, body: &ExtentBody) -> Result<u64, StoreError> {
    let mut offset = 0;
    while offset < body.bytes {
        let piece = read_extents(volumes, body, offset, PIECE_BYTES).await?;
        offset += piece.len() as u64;
    }
    Ok(offset)
}

/// The findings as lines for a person.
#[must_use]
pub fn lines(found: &Findings) -> Vec<String> {
    let size = crate::config::print_size;
    let report = found.report;
    let [objects, versions, uploads, parts] = found.rows;
    let mut lines: Vec<String> =
        found.repaired.iter().map(|line| format!("repaired        {line}")).collect();
    lines.extend([
        format!("runs            {} rows in {}", report.run_rows, size(report.run_bytes)),
        format!("log             {} frames, {}", report.frames, size(report.bytes)),
        format!("rows            {objects} objects, {versions} versions, {uploads} uploads, {parts} parts"),
        format!("bodies          {} read and verified, {}", found.bodies, size(found.bytes)),
    ]);
    if report.torn > 0 {
        lines.push(format!(
            "torn ends       {} (a crash cut a frame nobody was promised; harmless)",
            report.torn
        ));
    }
    if found.exit_code() == 0 {
        lines.push("damage          none".to_owned());
        return lines;
    }
    lines.push(format!("damage          {}", found.damage_count + found.repairable.len() as u64));
    lines
        .extend(found.repairable.iter().map(|line| format!("  {line}; `stria fsck --repair` puts it right")));
    lines.extend(found.damage.iter().map(|line| format!("  {line}")));
    lines
}
