//! Reading a checkpoint back: the manifest of a volume and the runs it names.
//!
//! Invariant: every block is verified before a row of it counts, and what does not verify is reported, never
//! left out in silence. Start-up only, on the core that owns the volume.

use std::collections::{BTreeMap, VecDeque};

use stria_base::{PgId, VolumeId};
use stria_env::{
    Disk, Env,
    sync::{Receiver, oneshot},
};

use crate::{
    error::StoreError,
    index::{Changed, IndexBuilder, MemoryIndex, MetaIndex},
    manifest::{self, Entry, Manifest, ManifestRef},
    packed::RowView,
    replay::{PgRows, ReplayReport, Slot},
    row::{BodyRef, Extent, pieces},
    run::Run,
    superblock::{VolumeInfo, Writers},
    view::{MergedRuns, RunView},
    volume::read_padded,
    window::BLOCK_READS_MAX,
};

/// Bytes of one read.
const READ_BYTES: u64 = 256 << 10;
/// Reads in flight.
const READS_IN_FLIGHT: usize = 8;

/// What the runs of one PG say.
pub(crate) struct Base {
    pub(crate) pg: PgId,
    pub(crate) version: u64,
    /// The volume whose manifest names it.
    pub(crate) volume: VolumeId,
    pub(crate) pg_seq: u64,
    pub(crate) needs_repair: bool,
    /// Rows are missing: a block does not verify.
    pub(crate) is_damaged: bool,
    /// Its rows come from the log instead, and no run counts.
    pub(crate) is_replaced: bool,
    /// Its rows, unless they stay on the medium.
    pub(crate) index: MemoryIndex,
    /// Keys the runs say are gone; none when its rows stay on the medium.
    pub(crate) tombstones: Changed,
    /// Whether its rows stay on the medium.
    pub(crate) is_paged: bool,
    /// What its rows come to, wherever they stay.
    pub(crate) counts: Counts,
    /// Of its runs, the newest first; none of a run whose index does not verify.
    pub(crate) views: Vec<RunView>,
    /// What frames before the position say, when its runs are damaged.
    pub(crate) rescued: BTreeMap<Box<[u8]>, Slot>,
}

/// What rows come to that were read and verified.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    /// Bytes of log they weigh.
    pub(crate) live_bytes: u64,
    pub(crate) extents: Vec<Extent>,
    /// Extents of rows that gave way to others.
    gone: Vec<Extent>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("pg", &self.pg).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Base {
    /// Without rows.
    pub(crate) fn new(pg: PgId, version: u64, volume: VolumeId) -> Self {
        Self {
            pg,
            version,
            volume,
            pg_seq: 0,
            needs_repair: false,
            is_damaged: false,
            is_replaced: false,
            index: MemoryIndex::default(),
            tombstones: Changed::default(),
            is_paged: false,
            counts: Counts::default(),
            views: Vec::new(),
            rescued: BTreeMap::new(),
        }
    }
}

/// How much of the index may be kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Data cores of the node.
    pub cores: u16,
    /// Memory of this core's rows, bytes; beyond it rows stay in runs.
    pub index_bytes_max: u64,
}

impl Budget {
    /// Everything.
    pub const WHOLE: Self = Self { cores: 1, index_bytes_max: u64::MAX };
}

/// What the manifest of a volume says.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) manifest: Manifest,
    /// The superblock names a manifest, and neither copy verifies.
    pub(crate) is_lost: bool,
}

/// Reads the manifest of a volume.
pub(crate) async fn read_named<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
    report: &mut ReplayReport,
) -> Result<Named, StoreError> {
    let Some(named) = info.manifest else { return Ok(Named::default()) };
    Ok(match read_manifest(env, disk, info, named, report).await? {
        Some(manifest) => Named { manifest, is_lost: false },
        None => Named { manifest: Manifest::default(), is_lost: true },
    })
}

/// Reads and verifies all runs of a volume. Of PGs beyond the budget the rows are counted, not kept; `log` is what
/// the log says of them, and loses what runs say something newer of.
pub(crate) async fn read_bases<E: Env>(
    (env, disk): (&E, &E::Disk),
    info: &VolumeInfo,
    manifest: &Manifest,
    log: &mut BTreeMap<PgId, PgRows>,
    budget: &mut Budget,
    report: &mut ReplayReport,
) -> Result<Vec<Base>, StoreError> {
    let mut reader = RunReader { env, disk, ahead: VecDeque::new(), in_flight: VecDeque::new() };
    for run in manifest.runs() {
        reader.ahead.extend(reads(run));
    }
    let volume = info.identity.volume;
    let is_settled = info.writers == Writers::Cores(budget.cores);
    let mut bases = Vec::with_capacity(manifest.entries.len());
    // One for each run of a PG, again and again: fresh memory costs more than what is done with it.
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    for entry in &manifest.entries {
        bytes.resize_with(bytes.len().max(entry.runs.len()), Vec::new);
        for (run, bytes) in entry.runs.iter().zip(&mut bytes) {
            reader.read(run, bytes).await?;
            report.run_rows += run.rows;
            report.run_bytes += run.bytes;
        }
        let run_bytes: u64 = entry.runs.iter().map(|run| run.bytes).sum();
        let is_home = entry.pg.owner(budget.cores) == volume.owner(budget.cores);
        let pages = is_settled && is_home && !entry.needs_repair && run_bytes > budget.index_bytes_max;
        let mut unchanged = Slots::new();
        let slots = pages.then(|| log.get_mut(&entry.pg).map_or(&mut unchanged, |pg| &mut pg.rows));
        let base = base_of(info.identity.store_uuid, entry, volume, &bytes, slots);
        let kept = base.index.bytes() + base.views.iter().map(RunView::bytes).sum::<u64>();
        budget.index_bytes_max = budget.index_bytes_max.saturating_sub(kept);
        report.damaged += u64::from(base.is_damaged);
        bases.push(base);
    }
    Ok(bases)
}

type Slots = BTreeMap<Box<[u8]>, Slot>;

/// What the runs of an entry say. With `paged`, what the log says, their rows are only counted, those that the log
/// changed left out. A log may also say what is older than the runs: after the number of cores changed twice its
/// position stays while the runs take in what another core's log said. That is taken out of `paged`, because there
/// is no row in memory it would give way to.
fn base_of(
    uuid: u128,
    entry: &Entry,
    volume: VolumeId,
    bytes: &[Vec<u8>],
    mut paged: Option<&mut Slots>,
) -> Base {
    let view = |(run, bytes): (&Run, &Vec<u8>)| {
        let index = bytes.get(run.bytes.checked_sub(u64::from(run.index_bytes))? as usize..)?;
        RunView::parse(uuid, entry.pg, run, index)
    };
    let views: Vec<Option<RunView>> = entry.runs.iter().zip(bytes).map(view).collect();
    let runs = views.iter().zip(bytes).filter_map(|(view, bytes)| Some((view.as_ref()?, &bytes[..])));
    let mut merged = MergedRuns::new(runs);
    let mut base = Base {
        pg_seq: entry.pg_seq,
        needs_repair: entry.needs_repair,
        ..Base::new(entry.pg, entry.version, volume)
    };
    let mut rows = IndexBuilder::default();
    while merged.next(|key, found| match (found.row, &mut paged) {
        (None, None) => base.tombstones.insert(key, (found.seq, found.hlc)),
        (Some(row), None) => {
            rows.push(key, &row);
            base.counts.add(&row);
        }
        (row, Some(slots)) => {
            if slots.get(key).is_some_and(|slot| slot.seq < found.seq) {
                slots.remove(key);
            }
            row.iter().filter(|_| !slots.contains_key(key)).for_each(|row| base.counts.add(row));
        }
    }) {}
    base.is_damaged = merged.is_damaged || views.iter().any(Option::is_none);
    if base.is_damaged && paged.is_some() {
        // What is left of it is all that counts now: it stays in memory.
        return base_of(uuid, entry, volume, bytes, None);
    }
    base.index = rows.finish();
    base.views = views.into_iter().flatten().collect();
    base.is_paged = paged.is_some();
    base
}

impl Counts {
    /// A row that is there.
    pub(crate) fn add(&mut self, row: &RowView<'_>) {
        self.rows += 1;
        self.live_bytes += u64::from(row.home.bytes);
        self.extents.append(&mut extents_of(row));
    }

    /// A row that is not there any more.
    pub(crate) fn drop_row(&mut self, row: &RowView<'_>) {
        self.rows -= 1;
        self.live_bytes -= u64::from(row.home.bytes);
        self.gone.append(&mut extents_of(row));
    }

    /// Extents that rows name. One that was rewritten elsewhere names what it named before.
    pub(crate) fn into_extents(self) -> Vec<Extent> {
        let (mut extents, mut gone) = (self.extents, self.gone);
        if gone.is_empty() {
            return extents;
        }
        extents.sort_unstable();
        gone.sort_unstable();
        let mut gone = gone.into_iter().peekable();
        extents.retain(|extent| gone.next_if_eq(extent).is_none());
        assert!(gone.next().is_none(), "what is gone was there");
        extents
    }
}

/// Space that a row names.
pub(crate) fn extents_of(row: &RowView<'_>) -> Vec<Extent> {
    match row.has_extents().then(|| row.body()) {
        Some(BodyRef::Extents(body)) => body.extents.clone(),
        _ => Vec::new(),
    }
}

/// Brings the rows of a base into memory after all: logs of other cores may have changes of them.
pub(crate) async fn load_whole<E: Env>(
    env: &E,
    disk: &E::Disk,
    uuid: u128,
    base: &mut Base,
) -> Result<(), StoreError> {
    if !base.is_paged {
        return Ok(());
    }
    let mut reader = RunReader { env, disk, ahead: VecDeque::new(), in_flight: VecDeque::new() };
    let runs: Vec<Run> = base.views.iter().map(|view| view.run.clone()).collect();
    let mut bytes = vec![Vec::new(); runs.len()];
    for (run, bytes) in runs.iter().zip(&mut bytes) {
        reader.ahead.extend(reads(run));
        reader.read(run, bytes).await?;
    }
    let entry = Entry {
        pg: base.pg,
        needs_repair: base.needs_repair,
        version: base.version,
        pg_seq: base.pg_seq,
        runs,
    };
    *base = base_of(uuid, &entry, base.volume, &bytes, None);
    Ok(())
}

/// The first copy that verifies. Both are read: a bad one is reported while the other still makes up for it.
async fn read_manifest<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
    named: ManifestRef,
    report: &mut ReplayReport,
) -> Result<Option<Manifest>, StoreError> {
    let mut found = None;
    let (uuid, volume) = (info.identity.store_uuid, info.identity.volume);
    for offset in named.offsets {
        let bytes = match read_padded(env, disk, volume, offset, named.bytes as usize).await {
            Ok(bytes) => bytes,
            Err(StoreError::Io { .. }) => Vec::new(),
            Err(other) => return Err(other),
        };
        let is_whole = manifest::hash(uuid, &bytes) == named.hash;
        let manifest = is_whole.then(|| Manifest::decode(&bytes, volume)).flatten();
        report.damaged += u64::from(manifest.is_none());
        found = found.or(manifest);
    }
    Ok(found)
}

/// The reads a run takes: offset and bytes.
fn reads(run: &Run) -> impl Iterator<Item = (u64, u64)> {
    pieces(&run.extents, 0, u64::MAX, READ_BYTES).map(|(_, offset, bytes)| (offset, bytes))
}

type Read<E> = Receiver<(u64, std::io::Result<()>, <E as Env>::Buf)>;

/// Reads run after run, several reads ahead, also across runs.
struct RunReader<'a, E: Env> {
    env: &'a E,
    disk: &'a E::Disk,
    ahead: VecDeque<(u64, u64)>,
    in_flight: VecDeque<Read<E>>,
}

impl<E: Env> RunReader<'_, E> {
    /// Puts the bytes of the next run into `bytes`; zeros in place of what cannot be read, which then does not
    /// verify.
    async fn read(&mut self, run: &Run, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        bytes.clear();
        for _ in reads(run) {
            self.read_ahead()?;
            let Some(read) = self.in_flight.pop_front() else { return Err(StoreError::NoBuffer) };
            let Some((offset, mut result, mut buf)) = read.await else { return Err(StoreError::Failed) };
            for _ in 1..BLOCK_READS_MAX {
                if result.is_ok() {
                    break;
                }
                (result, buf) = self.disk.read(offset, buf).await;
            }
            if result.is_err() {
                buf.fill(0);
            }
            bytes.extend_from_slice(&buf);
        }
        Ok(())
    }

    fn read_ahead(&mut self) -> Result<(), StoreError> {
        while self.in_flight.len() < READS_IN_FLIGHT
            && let Some(&(offset, bytes)) = self.ahead.front()
        {
            let Some(buf) = self.env.buf(bytes as usize) else {
                return if self.in_flight.is_empty() { Err(StoreError::NoBuffer) } else { Ok(()) };
            };
            self.ahead.pop_front();
            let (done, read) = oneshot();
            let disk = self.disk.clone();
            self.env.spawn(async move {
                let (result, buf) = disk.read(offset, buf).await;
                done.send((offset, result, buf));
            });
            self.in_flight.push_back(read);
        }
        Ok(())
    }
}
