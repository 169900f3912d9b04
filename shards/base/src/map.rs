//! Hash maps whose order is the same in every process, for ids that no client chooses.
//!
//! Determinism: std's default hasher is seeded per process, which would make simulated runs differ.
//! Not for keys of clients: a fixed hash function lets them pick collisions; use `BTreeMap` there.

use std::hash::{BuildHasherDefault, Hasher};

/// A hash map over ids of ours.
#[expect(clippy::disallowed_types, reason = "the fixed hasher makes its order reproducible")]
pub type FixedMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;
/// A hash set over ids of ours.
#[expect(clippy::disallowed_types, reason = "the fixed hasher makes its order reproducible")]
pub type FixedSet<K> = std::collections::HashSet<K, BuildHasherDefault<IdHasher>>;

/// Multiply-and-rotate hash for small integer ids.
#[derive(Default)]
pub struct IdHasher(u64);

impl IdHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        self.mix(crate::hash::hash64(0, bytes));
    }
    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }
    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }
    fn write_u128(&mut self, n: u128) {
        self.mix(n as u64);
        self.mix((n >> 64) as u64);
    }
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
}
