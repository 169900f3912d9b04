//! The index of a PG: row keys in byte order, resident in memory.
//!
//! Behind a trait, so that a plain map can stand in as the model. Owned by one core.

use std::ops::{Bound, ControlFlow};

use stria_base::Hlc;

use crate::{
    leaf::{LeafMap, LeafMapBuilder, put_number, take_number},
    packed::{RowView, pack},
    row::Row,
};

/// An ordered map from row keys to rows.
pub trait MetaIndex {
    /// The row of `key`.
    fn get(&self, key: &[u8]) -> Option<RowView<'_>>;
    /// Puts a row; gives the one it replaces.
    fn put(&mut self, key: &[u8], row: &Row) -> Option<Row>;
    /// Removes a row.
    fn remove(&mut self, key: &[u8]) -> Option<Row>;
    /// Rows in order from a bound upwards, until the callback breaks.
    fn scan(&self, from: Bound<&[u8]>, each: &mut dyn FnMut(&[u8], RowView<'_>) -> ControlFlow<()>);
    /// How many rows.
    fn rows(&self) -> u64;
    /// Memory it takes, bytes.
    fn bytes(&self) -> u64;
}

/// Packed rows in memory.
#[derive(Default)]
pub struct MemoryIndex {
    rows: LeafMap,
    scratch: Vec<u8>,
}

/// Fills an index with rows in key order.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    rows: LeafMapBuilder,
}

impl IndexBuilder {
    /// Adds a row.
    ///
    /// # Panics
    /// When its key is not above the one before.
    pub(crate) fn push(&mut self, key: &[u8], row: &RowView<'_>) {
        self.rows.push_with(key, |out| pack(row, out));
    }

    /// The index.
    pub(crate) fn finish(self) -> MemoryIndex {
        MemoryIndex { rows: self.rows.finish(), scratch: Vec::new() }
    }
}

fn row_of(bytes: &[u8]) -> Row {
    RowView::of(bytes).to_row()
}

impl MetaIndex for MemoryIndex {
    fn get(&self, key: &[u8]) -> Option<RowView<'_>> {
        self.rows.get(key).map(RowView::of)
    }

    fn put(&mut self, key: &[u8], row: &Row) -> Option<Row> {
        self.scratch.clear();
        pack(&row.view(), &mut self.scratch);
        self.rows.put(key, &self.scratch, row_of)
    }

    fn remove(&mut self, key: &[u8]) -> Option<Row> {
        self.rows.remove(key, row_of)
    }

    fn scan(&self, from: Bound<&[u8]>, each: &mut dyn FnMut(&[u8], RowView<'_>) -> ControlFlow<()>) {
        self.rows.scan(from, &mut |key, bytes| each(key, RowView::of(bytes)));
    }

    fn rows(&self) -> u64 {
        self.rows.len()
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

/// Keys with the number and stamp of their last change.
#[derive(Default)]
pub(crate) struct Changed(LeafMap);

fn number_of(mut bytes: &[u8]) -> (u64, Hlc) {
    (take_number(&mut bytes), Hlc(take_number(&mut bytes)))
}

impl Changed {
    pub(crate) fn insert(&mut self, key: &[u8], (seq, hlc): (u64, Hlc)) {
        let mut value = Vec::with_capacity(16);
        put_number(&mut value, seq);
        put_number(&mut value, hlc.0);
        self.0.put(key, &value, |_| ());
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.0.remove(key, |_| ());
    }

    /// Number and stamp of a key's last change.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(u64, Hlc)> {
        self.0.get(key).map(number_of)
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Memory it takes, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Up to `most` of them in key order, from a bound upwards.
    pub(crate) fn some(&self, from: Bound<&[u8]>, most: usize) -> Vec<(Box<[u8]>, u64, Hlc)> {
        let mut found = Vec::with_capacity(most.min(self.0.len() as usize));
        self.0.scan(from, &mut |key, value| {
            if found.len() == most {
                return ControlFlow::Break(());
            }
            let (seq, hlc) = number_of(value);
            found.push((key.into(), seq, hlc));
            ControlFlow::Continue(())
        });
        found
    }

    /// Adds later ones.
    pub(crate) fn extend(&mut self, later: &Self) {
        later.0.scan(Bound::Unbounded, &mut |key, value| {
            self.0.put(key, value, |_| ());
            ControlFlow::Continue(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use stria_base::VolumeId;

    use super::*;
    use crate::row::{BodyRef, Home};

    /// The reference model.
    #[derive(Default)]
    struct Model(BTreeMap<Box<[u8]>, Row>);

    impl MetaIndex for Model {
        fn get(&self, key: &[u8]) -> Option<RowView<'_>> {
            self.0.get(key).map(Row::view)
        }

        fn put(&mut self, key: &[u8], row: &Row) -> Option<Row> {
            self.0.insert(key.into(), row.clone())
        }

        fn remove(&mut self, key: &[u8]) -> Option<Row> {
            self.0.remove(key)
        }

        fn scan(&self, from: Bound<&[u8]>, each: &mut dyn FnMut(&[u8], RowView<'_>) -> ControlFlow<()>) {
            for (key, row) in self.0.range::<[u8], _>((from, Bound::Unbounded)) {
                if each(key, row.view()).is_break() {
                    return;
                }
            }
        }

        fn rows(&self) -> u64 {
            self.0.len() as u64
        }

        fn bytes(&self) -> u64 {
            0
        }
    }

    fn seen(index: &impl MetaIndex, from: Bound<&[u8]>, most: usize) -> Vec<String> {
        let mut found = Vec::new();
        index.scan(from, &mut |key, row| {
            found.push(format!("{key:?} {:?}", row.to_row()));
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    proptest! {
        #[test]
        fn does_what_the_model_does(steps in prop::collection::vec((0u8..200, 0u64..1 << 40, any::<bool>()), 0..400)) {
            let (mut index, mut model) = (MemoryIndex::default(), Model::default());
            for (key, seq, removes) in steps {
                let key = format!("some/folder/{key}");
                let home = Home { volume: VolumeId(1), segment: seq as u32, bytes: 9 };
                let meta = vec![7; seq as usize % 300].into();
                let row = Row { seq, hlc: Hlc(seq << 7), meta, body: BodyRef::None, home };
                let (one, other) = if removes {
                    (index.remove(key.as_bytes()), model.remove(key.as_bytes()))
                } else {
                    (index.put(key.as_bytes(), &row), model.put(key.as_bytes(), &row))
                };
                prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            }
            prop_assert_eq!(index.rows(), model.rows());
            for number in 0..200u8 {
                let key = format!("some/folder/{number}").into_bytes();
                let rows = [index.get(&key), model.get(&key)].map(|row| format!("{:?}", row.map(|row| row.to_row())));
                prop_assert_eq!(&rows[0], &rows[1]);
                prop_assert_eq!(seen(&index, Bound::Excluded(&key), 9), seen(&model, Bound::Excluded(&key), 9));
            }
        }
    }
}
