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
    manifest::{self, Manifest, ManifestRef},
    replay::{ReplayReport, Slot, put},
    run::{self, Run, RunRow},
    superblock::VolumeInfo,
    volume::read_padded,
    window::BLOCK_READS_MAX,
};

/// Bytes of one read.
const READ_BYTES: u64 = 256 << 10;
/// Reads in flight.
const READS_IN_FLIGHT: usize = 8;

/// What the runs of one PG say.
#[derive(Debug)]
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
    /// Of the oldest run, in order.
    pub(crate) rows: Vec<RunRow>,
    /// Of the newer ones.
    pub(crate) newer: BTreeMap<Box<[u8]>, Slot>,
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
            rows: Vec::new(),
            newer: BTreeMap::new(),
        }
    }
}

/// What the manifest of a volume leads to.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    pub(crate) manifest: Manifest,
    /// The superblock names a manifest, and neither copy verifies.
    pub(crate) is_lost: bool,
    pub(crate) bases: Vec<Base>,
}

/// Reads and verifies the checkpoint of a volume.
pub(crate) async fn read_checkpoint<E: Env>(
    env: &E,
    disk: &E::Disk,
    info: &VolumeInfo,
    report: &mut ReplayReport,
) -> Result<Checkpoint, StoreError> {
    let Some(named) = info.manifest else { return Ok(Checkpoint::default()) };
    let Some(manifest) = read_manifest(env, disk, info, named, report).await? else {
        return Ok(Checkpoint { is_lost: true, ..Checkpoint::default() });
    };
    let mut reader = RunReader { env, disk, ahead: VecDeque::new(), in_flight: VecDeque::new() };
    for run in manifest.entries.iter().flat_map(|entry| entry.runs.iter().rev()) {
        reader.ahead.extend(pieces(run));
    }
    let mut bases = Vec::with_capacity(manifest.entries.len());
    let mut bytes = Vec::new();
    for entry in &manifest.entries {
        let mut base = Base {
            pg_seq: entry.pg_seq,
            needs_repair: entry.needs_repair,
            ..Base::new(entry.pg, entry.version, info.identity.volume)
        };
        for (nth, run) in entry.runs.iter().rev().enumerate() {
            reader.read(run, &mut bytes).await?;
            let decoded = run::decode(info.identity.store_uuid, entry.pg, run, &bytes);
            report.run_rows += decoded.rows.len() as u64;
            report.run_bytes += run.bytes;
            base.is_damaged |= decoded.is_damaged;
            if nth == 0 {
                base.rows = decoded.rows;
                continue;
            }
            for RunRow { key, seq, hlc, row } in decoded.rows {
                put(&mut base.newer, key, Slot { seq, hlc, row });
            }
        }
        report.damaged += u64::from(base.is_damaged);
        bases.push(base);
    }
    Ok(Checkpoint { manifest, is_lost: false, bases })
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
fn pieces(run: &Run) -> impl Iterator<Item = (u64, u64)> {
    run.extents.iter().flat_map(|extent| {
        let bytes = u64::from(extent.bytes);
        (0..bytes)
            .step_by(READ_BYTES as usize)
            .map(move |at| (extent.offset + at, READ_BYTES.min(bytes - at)))
    })
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
    /// The bytes of the next run; zeros in place of what cannot be read, which then does not verify.
    async fn read(&mut self, run: &Run, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        bytes.clear();
        for _ in pieces(run) {
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
