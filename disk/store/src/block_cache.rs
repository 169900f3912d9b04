//! Blocks of runs that were read and verified lately.
//!
//! Invariant: what it holds verified when it was read; at its limit it drops what was not asked for again. Owned
//! by one core.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

/// Bookkeeping of one block, bytes.
const BLOCK_OVERHEAD_BYTES: u64 = 96;

struct Cached {
    bytes: Rc<[u8]>,
    is_wanted: bool,
}

/// Verified blocks by run and number.
#[derive(Default)]
pub(crate) struct BlockCache {
    blocks: BTreeMap<(u64, u32), Cached>,
    /// In the order in which they are looked at when room is needed.
    order: VecDeque<(u64, u32)>,
    bytes: u64,
}

impl BlockCache {
    /// Memory it takes, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A block.
    pub(crate) fn get(&mut self, run: u64, number: u32) -> Option<Rc<[u8]>> {
        let cached = self.blocks.get_mut(&(run, number))?;
        cached.is_wanted = true;
        Some(cached.bytes.clone())
    }

    /// Keeps a block, and `bytes_max` of blocks at most.
    pub(crate) fn put(&mut self, run: u64, number: u32, bytes: Rc<[u8]>, bytes_max: u64) {
        self.bytes += bytes.len() as u64 + BLOCK_OVERHEAD_BYTES;
        let cached = Cached { bytes, is_wanted: false };
        match self.blocks.insert((run, number), cached) {
            Some(old) => self.bytes -= old.bytes.len() as u64 + BLOCK_OVERHEAD_BYTES,
            None => self.order.push_back((run, number)),
        }
        self.shrink(bytes_max);
    }

    /// Drops blocks until they take no more than `bytes_max`.
    pub(crate) fn shrink(&mut self, bytes_max: u64) {
        while self.bytes > bytes_max
            && let Some(next) = self.order.pop_front()
        {
            let cached = self.blocks.get_mut(&next).expect("every block is in the order");
            if std::mem::take(&mut cached.is_wanted) {
                self.order.push_back(next);
                continue;
            }
            self.bytes -= cached.bytes.len() as u64 + BLOCK_OVERHEAD_BYTES;
            self.blocks.remove(&next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_stays() {
        let mut cache = BlockCache::default();
        let most = 4 * (4096 + BLOCK_OVERHEAD_BYTES);
        for number in 0..100 {
            cache.put(1, number, Rc::from(vec![number as u8; 4096]), most);
            assert!(cache.get(1, 0).is_some_and(|bytes| bytes[0] == 0), "asked for after block {number}");
            assert!(cache.bytes() <= most && cache.order.len() == cache.blocks.len());
        }
        assert!(cache.get(1, 50).is_none() && cache.get(2, 0).is_none());
        cache.shrink(0);
        assert_eq!((cache.bytes(), cache.order.len()), (0, 0));
    }
}
