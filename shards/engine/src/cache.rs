//! Verified bodies kept in memory, by `DataId`. A body never changes under its id, so nothing is ever
//! invalidated; a stale entry merely ages out.
//!
//! CLOCK (second chance, Corbató 1968): one reference bit per entry, no list surgery on a hit. Bounded in
//! bytes. Owned by one core; each core caches what it reads.

use std::collections::VecDeque;

use bytes::Bytes;
use stria_base::{DataId, FixedMap};

/// Bookkeeping per entry (map slot, queue slot, allocation headers), counted against the bound.
const ENTRY_OVERHEAD_BYTES: usize = 128;

struct Entry {
    body: Bytes,
    referenced: bool,
}

/// The cache of one core.
pub struct BodyCache {
    entries: FixedMap<DataId, Entry>,
    clock: VecDeque<DataId>,
    bytes: usize,
    bytes_max: usize,
    hits: u64,
    misses: u64,
}

impl BodyCache {
    /// Bounded to `bytes_max`, bookkeeping included.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { entries: FixedMap::default(), clock: VecDeque::new(), bytes: 0, bytes_max, hits: 0, misses: 0 }
    }

    /// The body, when it is here.
    pub fn get(&mut self, id: DataId) -> Option<Bytes> {
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

    fn evict_one(&mut self) {
        loop {
            let id =
                self.clock.pop_front().expect("bytes are held only by entries, and each is in the clock");
            let entry = self.entries.get_mut(&id).expect("the clock names entries only");
            if entry.referenced {
                entry.referenced = false;
                self.clock.push_back(id);
                continue;
            }
            self.bytes -= entry.body.len() + ENTRY_OVERHEAD_BYTES;
            self.entries.remove(&id);
            return;
        }
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
    fn a_body_too_large_for_the_cache_is_not_kept() {
        let mut cache = BodyCache::new(1_000);
        cache.put(DataId(1), Bytes::from(vec![0; 900]));
        assert_eq!(cache.stats().0, 0);
    }
}
