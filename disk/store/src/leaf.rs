//! An ordered map from byte strings to byte strings, dense in memory.
//!
//! Entries lie in leaves of up to 4 KiB, each one allocation of exactly its bytes: no pointer, no allocation
//! header and no slack per entry, and the part all keys of a leaf start with is kept once. A scan reads memory
//! in order.
//!
//! Invariant: the keys of a leaf are not below its fence and below the fence of the next. Owned by one core.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

/// A leaf of several entries is split above this.
const LEAF_BYTES_MAX: usize = 4096;
/// A leaf whose keys come in order is left at this, with room for rows that change.
const LEAF_BYTES_FILLED: usize = LEAF_BYTES_MAX * 3 / 4;
/// A leaf below this joins its neighbour when there is room.
const LEAF_BYTES_MIN: usize = LEAF_BYTES_MAX / 4;
/// What a leaf costs beside its bytes and its fence: its entry in the map and two allocation headers.
const LEAF_OVERHEAD_BYTES: usize = 80;
const HEADER_BYTES: usize = 4;

const _: () = assert!(LEAF_BYTES_MAX <= u16::MAX as usize, "offsets inside a leaf of several entries");

/// Writes a number in as few bytes as it takes, seven bits in each.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number [`put_number`] wrote off the front.
///
/// # Panics
/// When there is none: only bytes of this process are read.
pub(crate) fn take_number(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a number was put here");
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}

/// ```text
/// 0  entries     2
/// 2  prefix      2   bytes every key starts with
/// 4  prefix, offset of each entry (2 each), entries: rest_bytes (number), rest of the key, value
/// ```
struct Leaf(Box<[u8]>);

/// Where an edit of a leaf goes.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Whether an entry is there that goes.
    replaces: bool,
}

impl Leaf {
    fn len(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    fn prefix(&self) -> &[u8] {
        let bytes = usize::from(u16::from_le_bytes([self.0[2], self.0[3]]));
        &self.0[HEADER_BYTES..HEADER_BYTES + bytes]
    }

    /// Offsets, and what they count from.
    fn parts(&self) -> (&[[u8; 2]], &[u8]) {
        let offsets_at = HEADER_BYTES + self.prefix().len();
        let (offsets, entries) = self.0[offsets_at..].split_at(2 * self.len());
        (offsets.as_chunks::<2>().0, entries)
    }

    /// Rest of the key and value of the entry at `at`.
    fn entry(&self, at: usize) -> (&[u8], &[u8]) {
        let (offsets, entries) = self.parts();
        let offset = |at: usize| usize::from(u16::from_le_bytes(offsets[at]));
        let end = if at + 1 < offsets.len() { offset(at + 1) } else { entries.len() };
        let mut entry = &entries[offset(at)..end];
        let rest_bytes = take_number(&mut entry) as usize;
        entry.split_at(rest_bytes)
    }

    /// Where `key` is, or where it would go.
    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some(rest) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { self.len() });
        };
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle).0.cmp(rest) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// This leaf with an entry put in or taken out, where its prefix can stay.
    fn edited(&self, place: Place, new: Option<(&[u8], &[u8])>) -> Self {
        let (offsets, entries) = self.parts();
        let offset = |at: usize| match offsets.get(at) {
            Some(offset) => usize::from(u16::from_le_bytes(*offset)),
            None => entries.len(),
        };
        let (head_end, tail_start) = (offset(place.at), offset(place.at + usize::from(place.replaces)));
        let mut entry = Vec::with_capacity(new.map_or(0, |(rest, value)| rest.len() + value.len() + 2));
        if let Some((rest, value)) = new {
            put_number(&mut entry, rest.len() as u64);
            entry.extend_from_slice(rest);
            entry.extend_from_slice(value);
        }
        let count = offsets.len() + usize::from(new.is_some()) - usize::from(place.replaces);
        let prefix = self.prefix();
        let body_bytes = head_end + entry.len() + entries.len() - tail_start;
        let mut out = Vec::with_capacity(HEADER_BYTES + prefix.len() + 2 * count + body_bytes);
        out.extend_from_slice(&(count as u16).to_le_bytes());
        out.extend_from_slice(&(prefix.len() as u16).to_le_bytes());
        out.extend_from_slice(prefix);
        out.extend_from_slice(offsets[..place.at].as_flattened());
        if new.is_some() {
            out.extend_from_slice(&(head_end as u16).to_le_bytes());
        }
        // A leaf that outgrows its offsets is split at once, from keys and values.
        let shifted = head_end + entry.len();
        for offset in &offsets[place.at + usize::from(place.replaces)..] {
            let at = usize::from(u16::from_le_bytes(*offset)) - tail_start + shifted;
            out.extend_from_slice(&(at as u16).to_le_bytes());
        }
        for part in [&entries[..head_end], &entry, &entries[tail_start..]] {
            out.extend_from_slice(part);
        }
        Self(out.into_boxed_slice())
    }
}

/// Entries on their way into leaves.
#[derive(Default)]
struct Entries {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Where each one's key and value end.
    ends: Vec<(usize, usize)>,
}

impl Entries {
    fn push(&mut self, key: &[&[u8]], value: &[u8]) {
        key.iter().for_each(|part| self.keys.extend_from_slice(part));
        self.values.extend_from_slice(value);
        self.ends.push((self.keys.len(), self.values.len()));
    }

    fn take_from(&mut self, leaf: &Leaf, range: std::ops::Range<usize>) {
        for at in range {
            let (rest, value) = leaf.entry(at);
            self.push(&[leaf.prefix(), rest], value);
        }
    }

    fn start(&self, at: usize) -> (usize, usize) {
        at.checked_sub(1).map_or((0, 0), |before| self.ends[before])
    }

    fn key(&self, at: usize) -> &[u8] {
        &self.keys[self.start(at).0..self.ends[at].0]
    }

    fn value(&self, at: usize) -> &[u8] {
        &self.values[self.start(at).1..self.ends[at].1]
    }

    /// Bytes of a leaf of these entries.
    fn leaf_bytes(&self, range: std::ops::Range<usize>) -> usize {
        let (from, to) = (self.start(range.start), self.ends[range.end - 1]);
        let shared = shared_bytes(self.key(range.start), self.key(range.end - 1));
        let keys = to.0 - from.0 - (range.len() - 1) * shared;
        HEADER_BYTES + keys + to.1 - from.1 + 4 * range.len()
    }

    fn encode(&self, range: std::ops::Range<usize>) -> Leaf {
        let shared = shared_bytes(self.key(range.start), self.key(range.end - 1));
        let mut out = Vec::with_capacity(self.leaf_bytes(range.clone()));
        out.extend_from_slice(&(range.len() as u16).to_le_bytes());
        out.extend_from_slice(&(shared as u16).to_le_bytes());
        out.extend_from_slice(&self.key(range.start)[..shared]);
        let offsets_at = out.len();
        out.resize(offsets_at + 2 * range.len(), 0);
        let entries_at = out.len();
        for (nth, at) in range.enumerate() {
            let offset = (out.len() - entries_at) as u16;
            out[offsets_at + 2 * nth..][..2].copy_from_slice(&offset.to_le_bytes());
            let rest = &self.key(at)[shared..];
            put_number(&mut out, rest.len() as u64);
            out.extend_from_slice(rest);
            out.extend_from_slice(self.value(at));
        }
        Leaf(out.into_boxed_slice())
    }

    /// Cuts a range that outgrows a leaf into halves until none does.
    fn cut(&self, range: std::ops::Range<usize>, pieces: &mut Vec<std::ops::Range<usize>>) {
        if range.len() == 1 || self.leaf_bytes(range.clone()) <= LEAF_BYTES_MAX {
            pieces.push(range);
            return;
        }
        let half = self.leaf_bytes(range.clone()) / 2;
        let middle = (range.start + 1..range.end - 1)
            .find(|&at| self.leaf_bytes(range.start..at + 1) > half)
            .unwrap_or(range.end - 1);
        self.cut(range.start..middle, pieces);
        self.cut(middle..range.end, pieces);
    }
}

fn shared_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// The map.
#[derive(Default)]
pub(crate) struct LeafMap {
    leaves: BTreeMap<Box<[u8]>, Leaf>,
    entries: u64,
    bytes: usize,
}

impl LeafMap {
    /// How many entries.
    pub(crate) fn len(&self) -> u64 {
        self.entries
    }

    /// Memory it takes, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    fn leaf_of(&self, key: &[u8]) -> Option<(&[u8], &Leaf)> {
        let range = (Bound::Unbounded, Bound::Included(key));
        self.leaves.range::<[u8], _>(range).next_back().map(|(fence, leaf)| (&**fence, leaf))
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let (_, leaf) = self.leaf_of(key)?;
        leaf.search(key).ok().map(|at| leaf.entry(at).1)
    }

    fn insert_leaf(&mut self, fence: Box<[u8]>, leaf: Leaf) {
        self.bytes += fence.len() + leaf.0.len() + LEAF_OVERHEAD_BYTES;
        if let Some(old) = self.leaves.insert(fence, leaf) {
            self.bytes -= old.0.len() + LEAF_OVERHEAD_BYTES;
        }
    }

    fn remove_leaf(&mut self, fence: &[u8]) -> Option<Leaf> {
        let leaf = self.leaves.remove(fence)?;
        self.bytes -= fence.len() + leaf.0.len() + LEAF_OVERHEAD_BYTES;
        Some(leaf)
    }

    fn replace_leaf(&mut self, fence: &[u8], leaf: Leaf) {
        let there = self.leaves.get_mut(fence).expect("the leaf was found under this fence");
        self.bytes = self.bytes + leaf.0.len() - there.0.len();
        *there = leaf;
    }

    /// Puts a value; `old` is shown the one it replaces.
    pub(crate) fn put<R>(&mut self, key: &[u8], value: &[u8], old: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let Some((fence, leaf)) = self.leaf_of(key) else {
            let mut entries = Entries::default();
            entries.push(&[key], value);
            self.insert_leaf(Box::default(), entries.encode(0..1));
            self.entries += 1;
            return None;
        };
        let fence: Box<[u8]> = fence.into();
        let found = leaf.search(key);
        let (Ok(at) | Err(at)) = found;
        let before = found.ok().map(|at| old(leaf.entry(at).1));
        let place = Place { at, replaces: found.is_ok() };
        let grown = leaf.0.len() + key.len() + value.len() + HEADER_BYTES;
        let most = if at == leaf.len() { LEAF_BYTES_FILLED } else { LEAF_BYTES_MAX };
        match key.strip_prefix(leaf.prefix()) {
            Some(rest) if grown <= most => {
                let edited = leaf.edited(place, Some((rest, value)));
                self.replace_leaf(&fence, edited);
            }
            _ => self.rebuild(fence, place, (key, value)),
        }
        self.entries += u64::from(!place.replaces);
        before
    }

    /// Puts an entry that its leaf has no room for, or whose key does not start as the others of the leaf do.
    fn rebuild(&mut self, fence: Box<[u8]>, place: Place, (key, value): (&[u8], &[u8])) {
        let leaf = self.remove_leaf(&fence).expect("the leaf was found under this fence");
        let mut entries = Entries::default();
        entries.take_from(&leaf, 0..place.at);
        entries.push(&[key], value);
        entries.take_from(&leaf, place.at + usize::from(place.replaces)..leaf.len());
        let count = entries.ends.len();
        let mut pieces = Vec::new();
        let is_last = !place.replaces && place.at + 1 == count && count > 1;
        if is_last && entries.leaf_bytes(0..count) > LEAF_BYTES_FILLED {
            // Keys that come in order leave full leaves behind.
            pieces.extend([0..count - 1, count - 1..count]);
        } else {
            entries.cut(0..count, &mut pieces);
        }
        self.insert_pieces(fence, &entries, &pieces);
    }

    /// Inserts leaves; the first one under `fence`, the others under as much of their first key as sets it apart.
    fn insert_pieces(&mut self, fence: Box<[u8]>, entries: &Entries, pieces: &[std::ops::Range<usize>]) {
        let mut fence = Some(fence);
        for piece in pieces {
            let fence = fence.take().unwrap_or_else(|| {
                let first = entries.key(piece.start);
                first[..shared_bytes(first, entries.key(piece.start - 1)) + 1].into()
            });
            self.insert_leaf(fence, entries.encode(piece.clone()));
        }
    }

    /// Removes a value; `old` is shown it.
    pub(crate) fn remove<R>(&mut self, key: &[u8], old: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let (fence, leaf) = self.leaf_of(key)?;
        let fence: Box<[u8]> = fence.into();
        let at = leaf.search(key).ok()?;
        let before = old(leaf.entry(at).1);
        let edited = (leaf.len() > 1).then(|| leaf.edited(Place { at, replaces: true }, None));
        self.entries -= 1;
        let Some(edited) = edited else {
            self.remove_leaf(&fence);
            return Some(before);
        };
        let is_small = edited.0.len() < LEAF_BYTES_MIN;
        self.replace_leaf(&fence, edited);
        if is_small {
            self.join(&fence);
        }
        Some(before)
    }

    /// Joins the leaf at `fence` with the one behind it, when both fit into one with room to spare.
    fn join(&mut self, fence: &[u8]) {
        let behind = (Bound::Excluded(fence), Bound::Unbounded);
        let Some((next, other)) = self.leaves.range::<[u8], _>(behind).next() else { return };
        let mut entries = Entries::default();
        let leaf = &self.leaves[fence];
        entries.take_from(leaf, 0..leaf.len());
        entries.take_from(other, 0..other.len());
        let count = entries.ends.len();
        if entries.leaf_bytes(0..count) > LEAF_BYTES_MAX * 3 / 4 {
            return;
        }
        let next = next.clone();
        self.remove_leaf(&next);
        self.replace_leaf(fence, entries.encode(0..count));
    }

    /// Entries in order from a bound upwards, until the callback breaks.
    pub(crate) fn scan(&self, from: Bound<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) {
        let (fence, mut at) = match from {
            Bound::Unbounded => (None, 0),
            Bound::Included(key) | Bound::Excluded(key) => match self.leaf_of(key) {
                None => (None, 0),
                Some((fence, leaf)) => {
                    let found = leaf.search(key);
                    let passes = matches!(from, Bound::Excluded(_)) && found.is_ok();
                    let (Ok(at) | Err(at)) = found;
                    (Some(fence), at + usize::from(passes))
                }
            },
        };
        let range = (fence.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded);
        let mut key = Vec::new();
        for leaf in self.leaves.range::<[u8], _>(range).map(|(_, leaf)| leaf) {
            key.clear();
            key.extend_from_slice(leaf.prefix());
            let prefix_bytes = key.len();
            for at in at..leaf.len() {
                let (rest, value) = leaf.entry(at);
                key.truncate(prefix_bytes);
                key.extend_from_slice(rest);
                if each(&key, value).is_break() {
                    return;
                }
            }
            at = 0;
        }
    }
}

/// Fills a map with entries that come in order: full leaves, each written once.
#[derive(Default)]
pub(crate) struct LeafMapBuilder {
    map: LeafMap,
    entries: Entries,
    /// What sets the first entry apart from those before.
    fence: Box<[u8]>,
}

impl LeafMapBuilder {
    /// Adds an entry; `put` appends its value.
    ///
    /// # Panics
    /// When its key is not above the one before.
    pub(crate) fn push_with(&mut self, key: &[u8], put: impl FnOnce(&mut Vec<u8>)) {
        let count = self.entries.ends.len();
        let start = self.entries.ends.last().copied().unwrap_or((0, 0));
        assert!(count == 0 || self.entries.key(count - 1) < key, "entries come in order");
        self.entries.keys.extend_from_slice(key);
        put(&mut self.entries.values);
        self.entries.ends.push((self.entries.keys.len(), self.entries.values.len()));
        if count > 0 && self.entries.leaf_bytes(0..count + 1) > LEAF_BYTES_FILLED {
            let shared = shared_bytes(key, self.entries.key(count - 1));
            self.flush(count, start, key[..shared + 1].into());
        }
    }

    /// Makes a leaf of the first `count` entries, which end at `end`; what follows begins the next.
    fn flush(&mut self, count: usize, end: (usize, usize), next: Box<[u8]>) {
        let leaf = self.entries.encode(0..count);
        self.map.insert_leaf(std::mem::replace(&mut self.fence, next), leaf);
        self.map.entries += count as u64;
        self.entries.keys.drain(..end.0);
        self.entries.values.drain(..end.1);
        self.entries.ends.drain(..count);
        self.entries.ends.iter_mut().for_each(|of| *of = (of.0 - end.0, of.1 - end.1));
    }

    /// The map.
    pub(crate) fn finish(mut self) -> LeafMap {
        let count = self.entries.ends.len();
        if let Some(end) = self.entries.ends.last().copied() {
            self.flush(count, end, Box::default());
        }
        self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(map: &LeafMap, from: Bound<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        map.scan(from, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        });
        found
    }

    fn counted(map: &LeafMap) -> usize {
        map.leaves.iter().map(|(fence, leaf)| fence.len() + leaf.0.len() + LEAF_OVERHEAD_BYTES).sum()
    }

    /// Keys that share much, little or nothing; one in eight values outgrows a leaf.
    fn key_of(number: u16) -> Vec<u8> {
        match number % 3 {
            0 => format!("bucket/folder/{number:06}").into_bytes(),
            1 => number.to_be_bytes().to_vec(),
            _ => vec![b'b'; usize::from(number % 40)],
        }
    }

    proptest! {
        #[test]
        fn is_the_map_it_stands_for(steps in prop::collection::vec((0u16..600, 0usize..9, any::<bool>()), 0..900)) {
            let (mut map, mut model) = (LeafMap::default(), BTreeMap::new());
            for (number, size, removes) in steps {
                let key = key_of(number);
                let value = vec![number as u8; if size == 8 { 5000 } else { size * 40 }];
                if removes {
                    prop_assert_eq!(map.remove(&key, <[u8]>::to_vec), model.remove(&key));
                } else {
                    prop_assert_eq!(map.put(&key, &value, <[u8]>::to_vec), model.insert(key, value));
                }
            }
            prop_assert_eq!((map.len(), map.bytes), (model.len() as u64, counted(&map)));
            for number in 0..600 {
                let key = key_of(number);
                prop_assert_eq!(map.get(&key), model.get(&key).map(Vec::as_slice));
                if number % 50 == 0 {
                    let range = model.range::<Vec<u8>, _>((Bound::Excluded(&key), Bound::Unbounded));
                    let wanted: Vec<_> = range.map(|(key, value)| (key.clone(), value.clone())).collect();
                    prop_assert_eq!(all(&map, Bound::Excluded(&key)), wanted);
                }
            }
            let mut builder = LeafMapBuilder::default();
            model.iter().for_each(|(key, value)| builder.push_with(key, |out| out.extend_from_slice(value)));
            let built = builder.finish();
            prop_assert_eq!((built.len(), built.bytes), (model.len() as u64, counted(&built)));
            prop_assert_eq!(all(&built, Bound::Unbounded), all(&map, Bound::Unbounded));
            for key in model.keys() {
                prop_assert_eq!(built.get(key), map.get(key));
            }
        }
    }

    #[test]
    fn keys_that_come_in_order_fill_leaves() {
        let mut map = LeafMap::default();
        for number in 0..10_000u32 {
            map.put(format!("folder/{number:09}").as_bytes(), &[7; 90], |_| ());
        }
        let per_entry = map.bytes() / map.len();
        assert!(per_entry < 110, "{per_entry} bytes an entry of 106");
        for number in 0..10_000u32 {
            assert!(map.remove(format!("folder/{number:09}").as_bytes(), |_| ()).is_some());
        }
        assert_eq!((map.len(), map.bytes()), (0, 0));
    }
}
