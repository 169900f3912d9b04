//! Free space in the extent segments of one volume.
//!
//! Invariant: free ranges are disjoint, never touch, and lie in extent segments; `by_size` holds the same
//! ranges as `by_start`. Rebuilt at every open from what the rows name; never read from disk. Owned by the
//! core that owns the volume.

use std::collections::{BTreeMap, BTreeSet};

use crate::blocks::Blocks;

/// Ranges of unnamed space remembered from one check of the space to the next.
const SUSPECTS_MAX: usize = 1024;
/// Space that no row names is lost when that is so for so long: no request takes that long to bring a body in.
const LOST_AFTER_NS: u64 = 12 * 3_600_000_000_000;

/// Free ranges of a volume, bytes.
#[derive(Debug, Default)]
pub struct Allocator {
    by_start: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
    free_bytes: u64,
    /// What changed since a check of the space began.
    touched: Option<Blocks>,
    /// Start, bytes and since when of ranges in use that no row named, and that did not change since.
    suspects: Vec<(u64, u64, u64)>,
}

impl Allocator {
    /// Bytes free.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    fn insert(&mut self, start: u64, bytes: u64) {
        self.by_start.insert(start, bytes);
        self.by_size.insert((bytes, start));
        self.free_bytes += bytes;
        self.touch(start, bytes);
    }

    /// Notes that a range changed hands, or got a name.
    pub fn touch(&mut self, start: u64, bytes: u64) {
        if let Some(touched) = &mut self.touched {
            touched.add(start, bytes);
        }
        if !self.suspects.is_empty() {
            self.suspects.retain(|&(at, len, _)| at + len <= start || start + bytes <= at);
        }
    }

    /// Notes from now on what changes in a range.
    pub fn watch(&mut self, first: u64, bytes: u64) {
        self.touched = Some(Blocks::new(first, bytes));
    }

    /// What changed since.
    pub fn unwatch(&mut self) -> Option<Blocks> {
        self.touched.take()
    }

    /// The free ranges.
    pub fn each_free(&self, mut each: impl FnMut(u64, u64)) {
        self.by_start.iter().for_each(|(&start, &bytes)| each(start, bytes));
    }

    /// Takes what a check of a range found in use and unnamed, now. Gives back what was found so long ago too and
    /// did not change since: space granted to a body that is still coming in is not lost.
    pub fn suspect_unnamed(
        &mut self,
        first: u64,
        bytes: u64,
        unnamed: Vec<(u64, u64)>,
        now_ns: u64,
    ) -> Vec<(u64, u64)> {
        let since = |&(at, len): &(u64, u64)| {
            let overlaps = |&&(start, bytes, _): &&(u64, u64, u64)| at < start + bytes && start < at + len;
            self.suspects.iter().find(overlaps).map_or(now_ns, |&(_, _, since_ns)| since_ns)
        };
        let found: Vec<_> = unnamed.iter().map(|range| (range.0, range.1, since(range))).collect();
        self.suspects.retain(|&(at, _, _)| at < first || first + bytes <= at);
        let room = SUSPECTS_MAX.saturating_sub(self.suspects.len());
        self.suspects.extend(found.iter().take(room));
        let is_lost = |&(_, _, since_ns): &(u64, u64, u64)| now_ns - since_ns >= LOST_AFTER_NS;
        found.into_iter().filter(is_lost).map(|(at, len, _)| (at, len)).collect()
    }

    fn remove(&mut self, start: u64, bytes: u64) {
        let held = self.by_start.remove(&start);
        assert_eq!(held, Some(bytes), "both orders hold the same ranges");
        self.by_size.remove(&(bytes, start));
        self.free_bytes -= bytes;
        self.touch(start, bytes);
    }

    /// Frees a range.
    ///
    /// # Panics
    /// When part of it is free already: two rows named it, or one named it twice.
    pub fn free(&mut self, start: u64, bytes: u64) {
        let (mut start, mut bytes) = (start, bytes);
        if let Some((&before, &before_bytes)) = self.by_start.range(..=start).next_back() {
            assert!(before + before_bytes <= start, "{start}+{bytes} overlaps free {before}+{before_bytes}");
            if before + before_bytes == start {
                self.remove(before, before_bytes);
                (start, bytes) = (before, bytes + before_bytes);
            }
        }
        if let Some((&after, &after_bytes)) = self.by_start.range(start..).next() {
            assert!(start + bytes <= after, "{start}+{bytes} overlaps free {after}+{after_bytes}");
            if start + bytes == after {
                self.remove(after, after_bytes);
                bytes += after_bytes;
            }
        }
        self.insert(start, bytes);
    }

    /// Takes a range out, wherever it lies in a free one. False when it is not wholly free.
    pub fn take_exact(&mut self, start: u64, bytes: u64) -> bool {
        let Some((&from, &from_bytes)) = self.by_start.range(..=start).next_back() else { return false };
        if from + from_bytes < start + bytes {
            return false;
        }
        self.remove(from, from_bytes);
        if from < start {
            self.insert(from, start - from);
        }
        if start + bytes < from + from_bytes {
            self.insert(start + bytes, from + from_bytes - start - bytes);
        }
        true
    }

    /// Takes those parts of a range out that are free.
    pub fn take_what_is_free(&mut self, start: u64, bytes: u64) {
        let end = start + bytes;
        let before = self.by_start.range(..start).next_back().map(|(&from, _)| from);
        let ranges: Vec<(u64, u64)> = self
            .by_start
            .range(before.unwrap_or(start)..end)
            .map(|(&from, &have)| (from.max(start), (from + have).min(end)))
            .filter(|(from, to)| from < to)
            .collect();
        for (from, to) in ranges {
            let taken = self.take_exact(from, to - from);
            assert!(taken, "{from}..{to} was found free");
        }
    }

    /// Takes `bytes` from the smallest range that has them; else, cut down to a multiple of `unit`, the
    /// largest range there is. `None` when not even a unit is free in one place.
    pub fn take(&mut self, bytes: u64, unit: u64) -> Option<(u64, u64)> {
        let (start, have, take) = match self.by_size.range((bytes, 0)..).next() {
            Some(&(have, start)) => (start, have, bytes),
            None => {
                let &(have, start) = self.by_size.last()?;
                (start, have, have - have % unit)
            }
        };
        if take == 0 {
            return None;
        }
        self.remove(start, have);
        if have > take {
            self.insert(start + take, have - take);
        }
        Some((start, take))
    }

    /// How many wholly free, aligned runs of `bytes` there are, counted from `first`.
    pub fn whole_segments(&self, first: u64, bytes: u64) -> u64 {
        let runs = self.by_size.range((bytes, 0)..).map(|&(have, start)| {
            let aligned = first + (start - first).next_multiple_of(bytes);
            (start + have).saturating_sub(aligned) / bytes
        });
        runs.sum()
    }

    /// A wholly free, aligned run of `bytes`, taken out: for turning an extent segment into a log segment.
    pub fn take_segment(&mut self, first: u64, bytes: u64) -> Option<u64> {
        let start = self.by_size.range((bytes, 0)..).find_map(|&(have, start)| {
            let aligned = first + (start - first).next_multiple_of(bytes);
            (aligned + bytes <= start + have).then_some(aligned)
        })?;
        let taken = self.take_exact(start, bytes);
        assert!(taken, "it was found free");
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a bitmap: never the same unit twice, everything comes back.
        #[test]
        fn equals_a_bitmap(steps in proptest::collection::vec((0u64..12, any::<bool>(), 0usize..8), 1..80)) {
            const UNITS: u64 = 64;
            let mut allocator = Allocator::default();
            allocator.free(0, UNITS * 4096);
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (units, give_back, which) in steps {
                if give_back && !held.is_empty() {
                    let (start, bytes) = held.swap_remove(which % held.len());
                    allocator.free(start, bytes);
                } else if let Some((start, bytes)) = allocator.take((units + 1) * 4096, 4096) {
                    prop_assert!(bytes <= (units + 1) * 4096 && start + bytes <= UNITS * 4096);
                    prop_assert!(held.iter().all(|&(s, b)| s + b <= start || start + bytes <= s));
                    held.push((start, bytes));
                }
                let used: u64 = held.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(allocator.free_bytes() + used, UNITS * 4096);
            }
            for (start, bytes) in held {
                allocator.free(start, bytes);
            }
            prop_assert_eq!(allocator.take(UNITS * 4096, 4096), Some((0, UNITS * 4096)));
        }
    }

    #[test]
    fn free_parts_of_a_shared_range_are_taken() {
        let mut allocator = Allocator::default();
        allocator.free(0, 100);
        allocator.free(200, 100);
        allocator.free(400, 100);
        allocator.take_what_is_free(50, 400);
        assert_eq!(allocator.free_bytes(), 100);
        assert!(allocator.take_exact(0, 50) && allocator.take_exact(450, 50));
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn freeing_twice_is_a_bug() {
        let mut allocator = Allocator::default();
        allocator.free(4096, 8192);
        allocator.free(8192, 4096);
    }

    #[test]
    fn a_segment_is_found_inside_a_larger_run() {
        let mut allocator = Allocator::default();
        allocator.free(100, 250);
        assert_eq!(allocator.whole_segments(50, 100), 2);
        assert_eq!(allocator.take_segment(50, 100), Some(150));
        assert_eq!(allocator.free_bytes(), 150);
        assert_eq!(allocator.take_segment(50, 100), Some(250));
        assert_eq!(allocator.take_segment(50, 100), None);
    }
}
