//! The index of a PG: row keys in byte order, resident in memory.
//!
//! Behind a trait, so that checkpointed runs can follow without the store noticing. Owned by one core.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use crate::row::{BodyRef, Row};

/// An ordered map from row keys to rows.
pub trait MetaIndex {
    /// The row of `key`.
    fn get(&self, key: &[u8]) -> Option<&Row>;
    /// Puts a row; gives the one it replaces.
    fn put(&mut self, key: Box<[u8]>, row: Row) -> Option<Row>;
    /// Removes a row.
    fn remove(&mut self, key: &[u8]) -> Option<Row>;
    /// Rows in order from a bound upwards, until the callback breaks.
    fn scan(&self, from: Bound<&[u8]>, each: &mut dyn FnMut(&[u8], &Row) -> ControlFlow<()>);
    /// How many rows.
    fn rows(&self) -> u64;
    /// Memory it takes, bytes, estimated from sizes.
    fn bytes(&self) -> u64;
}

/// A B-tree in memory.
#[derive(Default)]
pub struct MemoryIndex {
    rows: BTreeMap<Box<[u8]>, Row>,
    bytes: u64,
}

/// Share of a B-tree node per entry (nodes are on average three quarters full) and allocation headers.
const ENTRY_OVERHEAD_BYTES: u64 = 48;

fn cost(key: &[u8], row: &Row) -> u64 {
    let fixed = size_of::<(Box<[u8]>, Row)>() as u64 + ENTRY_OVERHEAD_BYTES;
    let body = match &row.body {
        BodyRef::Extents(extents) => {
            (size_of_val(&**extents) + extents.extents.len() * 16 + extents.crcs.len() * 4) as u64
        }
        _ => 0,
    };
    fixed + (key.len() + row.meta.len()) as u64 + body
}

impl MemoryIndex {
    /// From rows in key order.
    #[must_use]
    pub fn from_sorted(rows: impl IntoIterator<Item = (Box<[u8]>, Row)>) -> Self {
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        let bytes = rows.iter().map(|(key, row)| cost(key, row)).sum();
        Self { rows, bytes }
    }
}

impl MetaIndex for MemoryIndex {
    fn get(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    fn put(&mut self, key: Box<[u8]>, row: Row) -> Option<Row> {
        let (new_cost, key_bytes) = (cost(&key, &row), key.len());
        let old = self.rows.insert(key, row);
        self.bytes += new_cost;
        if let Some(old) = &old {
            // The key's bytes are counted once, with whichever row is there.
            self.bytes -= cost(&[], old) + key_bytes as u64;
        }
        old
    }

    fn remove(&mut self, key: &[u8]) -> Option<Row> {
        let old = self.rows.remove(key)?;
        self.bytes -= cost(key, &old);
        Some(old)
    }

    fn scan(&self, from: Bound<&[u8]>, each: &mut dyn FnMut(&[u8], &Row) -> ControlFlow<()>) {
        for (key, row) in self.rows.range::<[u8], _>((from, Bound::Unbounded)) {
            if each(key, row).is_break() {
                return;
            }
        }
    }

    fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
