//! Reading a paged PG in key order: changes in memory over blocks of its runs.
//!
//! Invariant: each step shows a range of keys as it is at the end of that step; between two steps the PG goes on.
//! Memory is bounded by a few blocks of each run. Runs on the PG's owner core.

use std::{
    collections::VecDeque,
    ops::{Bound, ControlFlow},
    rc::Rc,
};

use stria_base::PgId;
use stria_env::Env;

use crate::{
    error::StoreError,
    packed::RowView,
    paged::damaged,
    pg::Pg,
    run::RunRow,
    store::Store,
    view::{BlockRows, RunView},
};

/// Rows of one step of a scan.
const SCAN_ROWS: usize = 256;
/// Blocks read at once, when a scan has gone on for a while.
const BLOCKS_AHEAD_MAX: usize = 16;

/// What a cursor shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// What is there.
    Rows,
    /// Also that a key is gone, of the newest runs, so many.
    Newest(usize),
}

struct RunCursor {
    view: Rc<RunView>,
    next_block: usize,
    rows: VecDeque<RunRow>,
}

/// A place in a paged PG.
pub(crate) struct Cursor<E: Env> {
    store: Store<E>,
    pg: PgId,
    shows: Shows,
    /// Where the next step begins.
    from: Bound<Box<[u8]>>,
    /// Version of the runs it stands in.
    version: Option<u64>,
    runs: Vec<RunCursor>,
    ahead: usize,
}

fn is_above(key: &[u8], from: &Bound<Box<[u8]>>) -> bool {
    match from {
        Bound::Unbounded => true,
        Bound::Included(bound) => key >= &bound[..],
        Bound::Excluded(bound) => key > &bound[..],
    }
}

fn pop_of(rows: &mut VecDeque<RunRow>, key: &[u8]) -> Option<RunRow> {
    if *rows.front()?.key == *key { rows.pop_front() } else { None }
}

impl<E: Env> Cursor<E> {
    pub(crate) fn new(store: &Store<E>, pg: PgId, from: Bound<&[u8]>, shows: Shows) -> Self {
        let from = from.map(Into::into);
        Self { store: store.clone(), pg, shows, from, version: None, runs: Vec::new(), ahead: 1 }
    }

    /// The next rows, at most `most`; none at the end.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Vec<RunRow>, StoreError> {
        loop {
            let store = self.store.clone();
            self.follow_runs();
            {
                // Runs that are replaced while others are read keep their space until all were.
                let _reading = store.0.pins.runs.begin();
                for nth in 0..self.runs.len() {
                    self.fill(nth).await?;
                }
            }
            let pg = store.pg(self.pg).borrow();
            if self.version != Some(pg.pages.version) {
                continue;
            }
            let mut out = Vec::new();
            let is_end = self.step(&pg, most, &mut out);
            // Who reads on reads more at once; a page of a listing needs a block or two of each run.
            self.ahead = (self.ahead * 2).min(BLOCKS_AHEAD_MAX);
            if is_end || !out.is_empty() {
                return Ok(out);
            }
        }
    }

    /// Starts over in the runs that count now, at the key reached.
    fn follow_runs(&mut self) {
        let pg = self.store.pg(self.pg).borrow();
        if self.version == Some(pg.pages.version) {
            return;
        }
        self.version = Some(pg.pages.version);
        let count = match self.shows {
            Shows::Rows => usize::MAX,
            Shows::Newest(count) => count,
        };
        let at = |view: &Rc<RunView>| RunCursor {
            next_block: match &self.from {
                Bound::Unbounded => 0,
                Bound::Included(key) | Bound::Excluded(key) => view.block_of(key).unwrap_or(0),
            },
            view: view.clone(),
            rows: VecDeque::new(),
        };
        self.runs = pg.pages.views.iter().take(count).map(at).collect();
    }

    /// Reads on in a run until it shows a row or ends.
    async fn fill(&mut self, nth: usize) -> Result<(), StoreError> {
        while self.runs[nth].rows.is_empty() && self.runs[nth].next_block < self.runs[nth].view.blocks() {
            let (view, first) = (self.runs[nth].view.clone(), self.runs[nth].next_block);
            let end = (first + self.ahead).min(view.blocks());
            let rows = self.store.rows_of_blocks(&view, first..end, &self.from).await?;
            self.runs[nth].next_block = end;
            self.runs[nth].rows = rows;
        }
        Ok(())
    }

    /// Shows what is known by now. Whether that was the end.
    fn step(&mut self, pg: &Pg, most: usize, out: &mut Vec<RunRow>) -> bool {
        // Behind the last row read of a run that goes on there may be more of it.
        let unread = self.runs.iter().filter(|run| run.next_block < run.view.blocks());
        let mut end: Option<Box<[u8]>> = unread.filter_map(|run| Some(run.rows.back()?.key.clone())).min();
        let mut changes = pg.changes(self.from.as_ref().map(|key| &**key), most);
        if changes.len() == most
            && let Some(last) = changes.last()
            && end.as_ref().is_none_or(|end| last.key < *end)
        {
            end = Some(last.key.clone());
        }
        if let Some(end) = &end {
            changes.truncate(changes.partition_point(|change| change.key <= *end));
        }
        let mut changes = VecDeque::from(changes);
        while out.len() < most {
            let heads = self.runs.iter().filter_map(|run| run.rows.front());
            let least = heads.chain(changes.front()).map(|row| &row.key).min().cloned();
            let Some(key) = least.filter(|key| end.as_ref().is_none_or(|end| key <= end)) else { break };
            let mut newest = pop_of(&mut changes, &key);
            for run in &mut self.runs {
                let row = pop_of(&mut run.rows, &key);
                newest = newest.or(row);
            }
            self.from = Bound::Excluded(key);
            out.extend(newest.filter(|row| row.row.is_some() || self.shows != Shows::Rows));
        }
        end.is_none() && changes.is_empty() && self.runs.iter().all(|run| run.rows.is_empty())
    }
}

impl<E: Env> Store<E> {
    async fn rows_of_blocks(
        &self,
        view: &RunView,
        numbers: std::ops::Range<usize>,
        from: &Bound<Box<[u8]>>,
    ) -> Result<VecDeque<RunRow>, StoreError> {
        let mut found = VecDeque::new();
        let mut add = |number: usize, bytes: &[u8]| {
            let mut rows = BlockRows::new(bytes, view.block(number).rows);
            loop {
                match rows.next() {
                    Ok(Some(row)) if is_above(rows.key(), from) => found.push_back(RunRow {
                        key: rows.key().into(),
                        seq: row.seq,
                        hlc: row.hlc,
                        row: row.row.map(|row| row.to_row()),
                    }),
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(_) => return Err(damaged(view, number)),
                }
            }
        };
        if numbers.len() == 1 {
            let block = self.read_block(view, numbers.start).await?;
            add(numbers.start, &block)?;
            return Ok(found);
        }
        let bytes = self.read_blocks(view, numbers.clone()).await?;
        let start = view.block(numbers.start).at;
        for number in numbers {
            let block = view.block(number);
            let at = (block.at - start) as usize;
            add(number, &bytes[at..at + block.bytes as usize])?;
        }
        Ok(found)
    }

    /// Visible rows in key order from a bound upwards, until the callback breaks. Of a PG in memory in one step; of
    /// a paged one in several, each showing rows as they are then.
    ///
    /// # Errors
    /// `Corrupt` when a block of a run does not verify; `NoBuffer`; of the device.
    pub async fn scan_rows(
        &self,
        pg: PgId,
        from: Bound<&[u8]>,
        mut each: impl FnMut(&[u8], RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if self.is_resident(pg) {
            self.scan(pg, from, each);
            return Ok(());
        }
        let mut cursor = Cursor::new(self, pg, from, Shows::Rows);
        loop {
            let rows = cursor.next(SCAN_ROWS).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for RunRow { key, row, .. } in &rows {
                if let Some(row) = row
                    && each(key, row.view()).is_break()
                {
                    return Ok(());
                }
            }
        }
    }
}
