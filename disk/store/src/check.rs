//! A whole store as its volumes say it is, for reading only: `stria fsck`, and whoever else must not write.
//!
//! Invariant: nothing here writes. The caller holds the store, so that nobody else does meanwhile. Runs on any
//! one core that was given every volume.

use std::ops::{Bound, ControlFlow};

use stria_base::{PgId, VolumeId};

use crate::{
    index::{MemoryIndex, MetaIndex},
    open::into_pg,
    packed::RowView,
    replay::{PgRows, Replayed},
    store::PgState,
};

/// The rows of one PG.
pub struct WholePg {
    /// Which.
    pub pg: PgId,
    /// Whether an acknowledged write of it may be lost.
    pub state: PgState,
    /// Numbers of records that are missing: changes that were acknowledged and that nothing has any more.
    pub lost: Vec<(u64, u64)>,
    /// The highest number of it that is known.
    pub seq_high: u64,
    index: MemoryIndex,
}

impl WholePg {
    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.index.rows()
    }

    /// Its rows in key order.
    pub fn each(&self, mut row: impl FnMut(&[u8], RowView<'_>)) {
        self.index.scan(Bound::Unbounded, &mut |key, found| {
            row(key, found);
            ControlFlow::Continue(())
        });
    }
}

impl Replayed {
    /// The PGs, complete when every volume of the store was replayed.
    #[must_use]
    pub fn into_whole(self) -> Vec<WholePg> {
        let whole = |rows: PgRows| {
            let (number, lost, seq_high) = (rows.pg, rows.lost(), rows.seq_high);
            let (pg, _) = into_pg(rows, VolumeId(0), false);
            WholePg { pg: number, state: pg.state, lost, seq_high, index: pg.index }
        };
        self.pgs.into_iter().map(whole).collect()
    }
}
