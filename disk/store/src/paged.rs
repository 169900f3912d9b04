//! PGs whose rows are left to their runs: bringing single rows into memory, and leaving PGs to their runs when the
//! index outgrows its budget.
//!
//! Invariant: a row somebody holds stays in memory, so that what is judged and what is sequenced are one step
//! without an await; a row no run has yet never leaves memory. Runs on the PG's owner core.

use std::rc::Rc;

use stria_base::{DataId, PgId};
use stria_env::{Env, IoBuf, disk::BLOCK_BYTES};

use crate::{
    error::StoreError,
    index::MetaIndex,
    packed::RowView,
    pg::Pg,
    row::{Change, Row, pieces},
    store::{PgState, Store},
    view::{BlockRows, RunView},
    window::BLOCK_READS_MAX,
};

/// Figures of what is left to runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct PagedStats {
    /// PGs whose rows are left to their runs.
    pub pgs: u64,
    /// Rows of all PGs that are in memory.
    pub rows_in_memory: u64,
    /// Memory of cached blocks, bytes.
    pub cache_bytes: u64,
    /// Blocks read since start.
    pub block_reads: u64,
    /// Blocks found in the cache since start.
    pub cache_hits: u64,
    /// Runs passed over because their filter denied the key, since start.
    pub filter_denials: u64,
    /// Blocks looked at for a key they did not have, since start.
    pub filter_misses: u64,
}

/// Keys whose rows stay in memory until it is dropped.
pub struct Resolved<E: Env> {
    store: Store<E>,
    pg: PgId,
    /// `None`: all of the PG stays.
    keys: Option<Vec<Box<[u8]>>>,
}

impl<E: Env> Drop for Resolved<E> {
    fn drop(&mut self) {
        let mut pg = self.store.pg(self.pg).borrow_mut();
        let Some(keys) = &self.keys else {
            pg.pages.holders -= 1;
            return;
        };
        for key in keys {
            if let Some(held) = pg.pages.held.get_mut(key) {
                held.holders -= 1;
            }
            pg.let_go(key);
        }
    }
}

impl<E: Env> Store<E> {
    /// Whether all rows of a PG are in memory.
    #[must_use]
    pub fn is_resident(&self, pg: PgId) -> bool {
        !self.pg(pg).borrow().pages.is_paged
    }

    /// Highest number of a PG that became visible: rows seen before and after are the same while it stays.
    #[must_use]
    pub fn published_seq(&self, pg: PgId) -> u64 {
        self.pg(pg).borrow().published_seq
    }

    /// Brings the rows of keys, or the knowledge that there are none, into memory and holds them there: what
    /// [`Store::row`], [`Store::newest`] and [`Store::commit`] are asked of a paged PG they find in memory only.
    ///
    /// # Errors
    /// `Corrupt` when a block of a run does not verify; `NoBuffer`; of the device.
    pub async fn resolve<K: AsRef<[u8]>>(&self, pg: PgId, keys: &[K]) -> Result<Resolved<E>, StoreError> {
        let resolved = self.hold(pg, keys);
        for key in resolved.keys.iter().flatten() {
            // A checkpoint that replaces the runs meanwhile leaves them their space until they were read.
            let _reading = self.0.pins.runs.begin();
            let views = {
                let pg = self.pg(pg).borrow();
                if pg.known(key).is_some() {
                    continue;
                }
                pg.pages.views.clone()
            };
            let row = self.find(&views, key).await?;
            let mut pg = self.pg(pg).borrow_mut();
            // What a checkpoint left here meanwhile is newer.
            if let Some(held) = pg.pages.held.get_mut(key)
                && held.row.is_none()
            {
                held.row = Some(row);
            }
        }
        Ok(resolved)
    }

    /// Commits changes nobody waits for; of a paged PG when their rows are in memory.
    pub fn commit_later(&self, pg: PgId, changes: Vec<Change>) {
        if self.is_resident(pg) {
            drop(self.commit(pg, changes));
            return;
        }
        let store = self.clone();
        self.0.env.spawn(async move {
            let keys: Vec<&[u8]> = changes.iter().map(Change::key).collect();
            if let Ok(_held) = store.resolve(pg, &keys).await {
                drop(store.commit(pg, changes));
            }
        });
    }

    fn hold<K: AsRef<[u8]>>(&self, id: PgId, keys: &[K]) -> Resolved<E> {
        let mut pg = self.pg(id).borrow_mut();
        let mut resolved = Resolved { store: self.clone(), pg: id, keys: None };
        if !pg.pages.is_paged {
            pg.pages.holders += 1;
            return resolved;
        }
        let hold = |key: &K| {
            let key: Box<[u8]> = key.as_ref().into();
            pg.pages.held.entry(key.clone()).or_default().holders += 1;
            key
        };
        resolved.keys = Some(keys.iter().map(hold).collect());
        resolved
    }

    /// What runs say of a key.
    async fn find(&self, views: &[Rc<RunView>], key: &[u8]) -> Result<Option<Row>, StoreError> {
        for view in views {
            if !view.may_hold(key) {
                self.note_paged(|stats| stats.filter_denials += 1);
                continue;
            }
            let Some(number) = view.block_of(key) else { continue };
            let block = self.read_block(view, number).await?;
            let mut rows = BlockRows::new(&block, view.block(number).rows);
            loop {
                match rows.next() {
                    Ok(Some(found)) if rows.key() == key => return Ok(found.row.map(|row| row.to_row())),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Err(damaged(view, number)),
                }
            }
            self.note_paged(|stats| stats.filter_misses += 1);
        }
        Ok(None)
    }

    /// A block that verifies, from the cache or from the medium.
    pub(crate) async fn read_block(&self, view: &RunView, number: usize) -> Result<Rc<[u8]>, StoreError> {
        if let Some(block) = self.0.block_cache.borrow_mut().get(view.run.id, number as u32) {
            self.note_paged(|stats| stats.cache_hits += 1);
            return Ok(block);
        }
        let bytes = self.read_blocks(view, number..number + 1).await?;
        let block: Rc<[u8]> = Rc::from(bytes);
        let most = self.cache_bytes_max();
        self.0.block_cache.borrow_mut().put(view.run.id, number as u32, block.clone(), most);
        self.trim();
        Ok(block)
    }

    /// Bytes of neighbouring blocks, each verified. The caller sees to it that the run keeps its space meanwhile.
    pub(crate) async fn read_blocks(
        &self,
        view: &RunView,
        numbers: std::ops::Range<usize>,
    ) -> Result<Vec<u8>, StoreError> {
        let (first, last) = (view.block(numbers.start), view.block(numbers.end - 1));
        let bytes = last.at + u64::from(last.bytes) - first.at;
        let mut read = Vec::with_capacity(bytes as usize);
        for (volume, offset, bytes) in pieces(&view.run.extents, first.at, bytes, bytes) {
            let mut attempt = 1;
            let buf = loop {
                let buf = self.0.env.buf(bytes as usize).ok_or(StoreError::NoBuffer)?;
                assert!(buf.capacity() as u64 >= bytes && bytes.is_multiple_of(BLOCK_BYTES));
                match self.0.volumes.read(volume, offset, buf).await {
                    Ok(buf) => break buf,
                    Err(error) if attempt == BLOCK_READS_MAX => return Err(error),
                    Err(_) => attempt += 1,
                }
            };
            read.extend_from_slice(&buf);
        }
        self.note_paged(|stats| stats.block_reads += numbers.len() as u64);
        for number in numbers {
            let block = view.block(number);
            let from = (block.at - first.at) as usize;
            let is_whole =
                read.get(from..from + block.bytes as usize).is_some_and(|b| view.verifies(number, b));
            if !is_whole {
                return Err(damaged(view, number));
            }
        }
        Ok(read)
    }

    pub(crate) fn note_paged(&self, add: impl FnOnce(&mut PagedStats)) {
        let mut stats = self.0.paged_stats.get();
        add(&mut stats);
        self.0.paged_stats.set(stats);
    }

    /// Memory blocks may take: a quarter of the budget.
    fn cache_bytes_max(&self) -> u64 {
        self.0.config.index_bytes_max / 4
    }

    /// Leaves PGs to their runs while the index takes more than its budget; when nothing is left that could go,
    /// a checkpoint is wanted, behind which changed rows can.
    pub(crate) fn trim(&self) {
        let most = self.0.config.index_bytes_max;
        if self.index_bytes() <= most {
            return;
        }
        if self.is_settled() {
            while self.index_bytes() > most / 2
                && let Some(pg) = self.largest_resident()
            {
                self.page_out(pg);
            }
        }
        // Blocks can be read again, refused writes are lost.
        let beyond = self.index_bytes().saturating_sub(most);
        let mut cache = self.0.block_cache.borrow_mut();
        let cached = cache.bytes();
        cache.shrink(cached.saturating_sub(beyond));
        drop(cache);
        let changed: u64 = self.0.pgs.iter().flatten().map(|pg| changed_bytes(&pg.borrow())).sum();
        if changed > most / 4 {
            self.0.checkpoints.wanted_for_memory.set(true);
        }
    }

    /// The PG that gives most when it is left to its runs.
    fn largest_resident(&self) -> Option<PgId> {
        let gain = |id: &PgId| {
            let pg = self.pg(*id).borrow();
            // What a checkpoint took is in no run yet.
            let can_go = !pg.pages.is_paged
                && pg.taken.is_none()
                && pg.pages.holders == 0
                && pg.changed.is_some()
                && !pg.pages.views.is_empty()
                && !pg.keeps_runs
                && pg.state == PgState::Active;
            let gain = pg.index.bytes().saturating_sub(changed_bytes(&pg));
            (can_go && gain > 0).then_some(gain)
        };
        self.pgs().filter_map(|pg| Some((gain(&pg)?, pg))).max().map(|(_, pg)| pg)
    }

    fn page_out(&self, id: PgId) {
        let mut pg = self.pg(id).borrow_mut();
        // Their publication looks at the row they replace.
        let pending: Vec<Box<[u8]>> = pg.pending.keys().cloned().collect();
        for key in pending {
            let row = pg.visible(&key).map(|row: RowView<'_>| row.to_row());
            pg.pages.held.entry(key).or_default().row = Some(row);
        }
        pg.page_out();
    }
}

/// An estimate of the memory of changed rows, bytes.
fn changed_bytes(pg: &Pg) -> u64 {
    // Without a run of this core's to build on all rows are.
    if pg.pages.is_paged || pg.changed.is_none() {
        return pg.index.bytes();
    }
    let share = |changed: &crate::index::Changed| changed.len() * pg.index.bytes() / pg.index.rows().max(1);
    [&pg.changed, &pg.taken].into_iter().flatten().map(share).sum()
}

pub(crate) fn damaged(view: &RunView, number: usize) -> StoreError {
    let volume = view.run.extents.first().map_or(stria_base::VolumeId(0), |extent| extent.volume);
    StoreError::Corrupt { id: DataId(view.run.id.into()), block: number as u64, volume }
}
