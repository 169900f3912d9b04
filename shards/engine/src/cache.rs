//! Verified bodies kept in memory, by `DataId`. A body never changes under its id, so nothing is ever
//! invalidated; a stale entry merely ages out.
//!
//! CLOCK (second chance, Corbató 1968): one reference bit per entry, no list surgery on a hit. A large body
//! comes in only when it was asked for before, and at the bound only over one asked for less often (TinyLFU,
//! Einziger 2014): reading everything once, or more than fits evenly, must not cost a copy per read. Bounded
//! in bytes. Owned by one core; each core caches what it reads.

use std::collections::VecDeque;

use bytes::Bytes;
use stria_base::{DataId, FixedMap};

/// Bookkeeping per entry (map slot, queue slot, allocation headers), counted against the bound.
const ENTRY_OVERHEAD_BYTES: usize = 128;

struct Entry {
    body: Bytes,
    referenced: bool,
}

/// How often bodies were asked for lately, about: each has two counters, shared with others, of which the
/// smaller is nearer the truth. All are halved from time to time, so that what was popular once fades.
struct Sightings {
    counts: Box<[u8]>,
    /// Until the next halving.
    left: usize,
}

/// Counters in each of the two rows; a power of two.
const SIGHTING_COUNTERS: usize = 1 << 15;
/// Sightings between two halvings: enough that a counter means something, few enough that it stays below 255.
const SIGHTINGS_PER_AGE: usize = 4 * SIGHTING_COUNTERS;
const _: () = assert!(SIGHTING_COUNTERS.is_power_of_two());

impl Sightings {
    fn new() -> Self {
        Self { counts: vec![0; 2 * SIGHTING_COUNTERS].into(), left: SIGHTINGS_PER_AGE }
    }

    /// Ids are random: their own bits are the hash.
    fn slots(id: DataId) -> [usize; 2] {
        let (low, high) = (id.0 as usize, (id.0 >> 64) as usize);
        [low % SIGHTING_COUNTERS, SIGHTING_COUNTERS + high % SIGHTING_COUNTERS]
    }

    fn note(&mut self, id: DataId) {
        for slot in Self::slots(id) {
            self.counts[slot] = self.counts[slot].saturating_add(1);
        }
        self.left -= 1;
        if self.left == 0 {
            self.left = SIGHTINGS_PER_AGE;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }

    fn count(&self, id: DataId) -> u8 {
        let [one, other] = Self::slots(id);
        self.counts[one].min(self.counts[other])
    }
}

/// The cache of one core.
pub struct BodyCache {
    entries: FixedMap<DataId, Entry>,
    clock: VecDeque<DataId>,
    sightings: Sightings,
    bytes: usize,
    bytes_max: usize,
    hits: u64,
    misses: u64,
}

impl BodyCache {
    /// Bounded to `bytes_max`, bookkeeping included.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            entries: FixedMap::default(),
            clock: VecDeque::new(),
            sightings: Sightings::new(),
            bytes: 0,
            bytes_max,
            hits: 0,
            misses: 0,
        }
    }

    /// The body, when it is here.
    pub fn get(&mut self, id: DataId) -> Option<Bytes> {
        self.sightings.note(id);
        match self.entries.get_mut(&id) {
            Some(entry) => {
                entry.referenced = true;
                self.hits += 1;
                Some(entry.body.clone())
            }
            None => {
                self.misses += 1;
                None
            }
        }
    }

    /// Whether a body of `bytes` that [`BodyCache::get`] just missed is worth a copy: it was asked for before,
    /// and it would replace nothing that is asked for more.
    #[must_use]
    pub fn admits(&mut self, id: DataId, bytes: usize) -> bool {
        let (cost, seen) = (bytes + ENTRY_OVERHEAD_BYTES, self.sightings.count(id));
        if cost > self.bytes_max / 8 || seen < 2 {
            return false;
        }
        if self.bytes + cost <= self.bytes_max {
            return true;
        }
        let victim = self.victim();
        let better = seen > self.sightings.count(victim);
        if !better {
            // The next one to ask is compared with another.
            self.clock.rotate_left(1);
        }
        better
    }

    /// Keeps `body`. Bodies above an eighth of the bound are not kept: one of them would push out
    /// everything else.
    pub fn put(&mut self, id: DataId, body: Bytes) {
        let cost = body.len() + ENTRY_OVERHEAD_BYTES;
        if cost > self.bytes_max / 8 || self.entries.contains_key(&id) {
            return;
        }
        while self.bytes + cost > self.bytes_max {
            self.evict_one();
        }
        self.bytes += cost;
        self.entries.insert(id, Entry { body, referenced: false });
        self.clock.push_back(id);
    }

    /// Bytes held, hits, misses.
    #[must_use]
    pub fn stats(&self) -> (usize, u64, u64) {
        (self.bytes, self.hits, self.misses)
    }

    /// Turns the clock to the entry that goes next and names it.
    fn victim(&mut self) -> DataId {
        loop {
            let &id = self.clock.front().expect("bytes are held only by entries, and each is in the clock");
            let entry = self.entries.get_mut(&id).expect("the clock names entries only");
            if !std::mem::take(&mut entry.referenced) {
                return id;
            }
            self.clock.rotate_left(1);
        }
    }

    fn evict_one(&mut self) {
        let id = self.victim();
        self.clock.pop_front();
        let entry = self.entries.remove(&id).expect("the clock names entries only");
        self.bytes -= entry.body.len() + ENTRY_OVERHEAD_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 872])
    }

    #[test]
    fn holds_its_bound_and_prefers_what_was_read() {
        let mut cache = BodyCache::new(10_000);
        for i in 0..10 {
            cache.put(DataId(i), body(i as u8));
        }
        assert_eq!(cache.stats().0, 10_000);
        assert_eq!(cache.get(DataId(0)), Some(body(0)));
        cache.put(DataId(10), body(10));
        assert_eq!(cache.stats().0, 10_000);
        assert!(cache.get(DataId(0)).is_some(), "read once, so kept over its successor");
        assert!(cache.get(DataId(1)).is_none());
    }

    #[test]
    fn a_large_body_comes_in_when_it_was_asked_for_more_than_what_it_replaces() {
        let mut cache = BodyCache::new(10_000);
        let id = |n: u128| DataId(n << 64 | n);
        assert!(cache.get(id(1)).is_none());
        assert!(!cache.admits(id(1), 872), "asked for once");
        assert!(cache.get(id(1)).is_none());
        assert!(cache.admits(id(1), 872), "asked for again, and there is room");
        for n in 1..=10 {
            assert!(cache.get(id(n)).is_none());
            cache.put(id(n), body(n as u8));
        }
        for _ in 0..2 {
            assert!((1..=10).all(|n| cache.get(id(n)).is_some()));
        }
        assert!(cache.get(id(11)).is_none() && cache.get(id(11)).is_none());
        assert!(!cache.admits(id(11), 872), "all of the others are asked for more often");
        for _ in 0..3 {
            assert!(cache.get(id(11)).is_none());
        }
        assert!(cache.admits(id(11), 872));
        cache.put(id(11), body(11));
        assert_eq!((cache.stats().0, cache.get(id(11)).is_some()), (10_000, true));
    }

    #[test]
    fn sightings_fade() {
        let mut sightings = Sightings::new();
        (0..8).for_each(|_| sightings.note(DataId(5)));
        assert_eq!(sightings.count(DataId(5)), 8);
        (8..SIGHTINGS_PER_AGE).for_each(|_| sightings.note(DataId(7)));
        assert_eq!(sightings.count(DataId(5)), 4);
    }

    #[test]
    fn a_body_too_large_for_the_cache_is_not_kept() {
        let mut cache = BodyCache::new(1_000);
        cache.put(DataId(1), Bytes::from(vec![0; 900]));
        assert_eq!(cache.stats().0, 0);
    }
}
