//! Writing one run: rows are copied out of the index in steps and written as blocks fill.
//!
//! Invariant: no borrow of a PG outlives a step of `ROWS_PER_STEP` rows, and no step writes. Runs on the PG's
//! owner core, inside a checkpoint.

use std::{
    ops::{Bound, ControlFlow},
    task::Poll,
};

use stria_base::{MIB, PgId};
use stria_env::{Durability, Env};

use crate::{
    cursor::{Cursor, Shows},
    error::StoreError,
    index::MetaIndex,
    pg::Pg,
    row::{Extent, Row},
    run::{Run, RunBuilder, RunRow},
    store::Store,
    view::RunView,
    volume::patient_buf,
};

/// Rows copied before others run.
const ROWS_PER_STEP: usize = 256;
/// Blocks are written when there are so many bytes of them.
const WRITE_BYTES: usize = MIB as usize;
/// Buffer they are written through.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Which rows a run gets.
#[derive(Clone, Copy)]
pub(crate) enum Rows {
    /// All there are, and tombstones some log may still need.
    All,
    /// Those taken for this checkpoint, as they are when they are copied.
    Changed,
    /// Changed rows and those of runs.
    Merged(Shows),
}

/// A run that was written.
pub(crate) struct Written {
    pub(crate) run: Run,
    pub(crate) view: RunView,
}

impl<E: Env> Store<E> {
    /// Writes a run; `None` when there is no row for it.
    pub(crate) async fn write_run(
        &self,
        pg: PgId,
        rows: Rows,
        extents: &mut Vec<Extent>,
    ) -> Result<Option<Written>, StoreError> {
        let (id, uuid) = (self.0.env.random(), self.0.mine[0].uuid);
        let mut builder = RunBuilder::new(uuid, pg, id);
        let mut run = Run { id, rows: 0, bytes: 0, index_bytes: 0, index_hash: 0, extents: Vec::new() };
        let mut cursor = match rows {
            Rows::Merged(shows) => Some(Cursor::new(self, pg, Bound::Unbounded, shows)),
            Rows::All | Rows::Changed => None,
        };
        let mut last: Option<Box<[u8]>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = match (&mut cursor, rows) {
                (Some(cursor), _) => copy_merged(&cursor.next(ROWS_PER_STEP).await?, &mut builder),
                (None, Rows::All) => copy_all(&self.pg(pg).borrow(), from, &mut builder),
                (None, _) => copy_changed(&self.pg(pg).borrow(), from, &mut builder),
            };
            if builder.block_bytes() >= WRITE_BYTES {
                let blocks = builder.take_blocks();
                run.bytes += blocks.len() as u64;
                join(&mut run.extents, self.write_extents(&blocks, false, extents).await?);
            }
            let Some(next) = next else { break };
            last = Some(next);
            yield_now().await;
        }
        run.rows = builder.rows();
        if run.rows == 0 {
            return Ok(None);
        }
        let (rest, index_bytes, index_hash) = builder.finish();
        run.bytes += rest.len() as u64;
        join(&mut run.extents, self.write_extents(&rest, false, extents).await?);
        let run = Run { index_bytes, index_hash, ..run };
        let view = RunView::parse(uuid, pg, &run, &rest[rest.len() - index_bytes as usize..]);
        Ok(Some(Written { view: view.expect("the index of a run was just built"), run }))
    }

    /// Writes bytes into space of their own, which is added to `extents` before.
    pub(crate) async fn write_extents(
        &self,
        mut bytes: &[u8],
        in_one_piece: bool,
        extents: &mut Vec<Extent>,
    ) -> Result<Vec<Extent>, StoreError> {
        let volume = &self.0.mine[0];
        let taken = volume.allocate_reserved(bytes.len() as u64, in_one_piece).await?;
        extents.extend_from_slice(&taken);
        for extent in &taken {
            let (mut piece, rest) = bytes.split_at(extent.bytes as usize);
            let mut offset = extent.offset;
            while !piece.is_empty() {
                let (now, later) = piece.split_at(piece.len().min(WRITE_BUFFER_BYTES));
                let mut buf = patient_buf(&self.0.env, now.len()).await;
                buf.copy_from_slice(now);
                self.0.volumes.write(volume.id, offset, buf, Durability::Cached).await?;
                offset += now.len() as u64;
                piece = later;
            }
            bytes = rest;
        }
        Ok(taken)
    }
}

/// Copies the next rows, and the tombstones still kept between them. The last key, unless that was all.
fn copy_all(pg: &Pg, from: Bound<&[u8]>, builder: &mut RunBuilder) -> Option<Box<[u8]>> {
    let tombstones = pg.tombstones.as_ref().map(|gone| gone.some(from, ROWS_PER_STEP)).unwrap_or_default();
    let mut tombstones = tombstones.into_iter().peekable();
    let (mut count, mut last) = (0, None);
    pg.index.scan(from, &mut |key, row| {
        while count < ROWS_PER_STEP
            && let Some((gone, seq, hlc)) = tombstones.next_if(|(gone, ..)| &gone[..] < key)
        {
            builder.push(&gone, seq, hlc, None);
            (count, last) = (count + 1, Some(gone));
        }
        if count == ROWS_PER_STEP {
            return ControlFlow::Break(());
        }
        builder.push(key, row.seq, row.hlc, Some(row));
        (count, last) = (count + 1, Some(key.into()));
        ControlFlow::Continue(())
    });
    while count < ROWS_PER_STEP
        && let Some((gone, seq, hlc)) = tombstones.next()
    {
        builder.push(&gone, seq, hlc, None);
        (count, last) = (count + 1, Some(gone));
    }
    last.filter(|_| count == ROWS_PER_STEP)
}

/// Copies the next changed rows as they are now; a tombstone for what is gone. The last key, unless that was
/// all.
fn copy_changed(pg: &Pg, from: Bound<&[u8]>, builder: &mut RunBuilder) -> Option<Box<[u8]>> {
    let (mut count, mut last) = (0, None);
    let taken = pg.taken.as_ref().expect("taken before the run was begun");
    for (key, seq, hlc) in taken.some(from, ROWS_PER_STEP) {
        match pg.index.get(&key) {
            Some(row) => builder.push(&key, row.seq, row.hlc, Some(row)),
            None => builder.push(&key, seq, hlc, None),
        }
        (count, last) = (count + 1, Some(key));
    }
    last.filter(|_| count == ROWS_PER_STEP)
}

/// Copies what a cursor shows. The last key, unless that was all.
fn copy_merged(rows: &[RunRow], builder: &mut RunBuilder) -> Option<Box<[u8]>> {
    for RunRow { key, seq, hlc, row } in rows {
        builder.push(key, *seq, *hlc, row.as_ref().map(Row::view));
    }
    rows.last().map(|row| row.key.clone())
}

/// Adds pieces, one with its neighbour.
fn join(extents: &mut Vec<Extent>, more: Vec<Extent>) {
    for extent in more {
        match extents.last_mut() {
            Some(last)
                if last.offset + u64::from(last.bytes) == extent.offset
                    && last.bytes.checked_add(extent.bytes).is_some() =>
            {
                last.bytes += extent.bytes;
            }
            _ => extents.push(extent),
        }
    }
}

/// Lets every other task that can run do so.
async fn yield_now() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
