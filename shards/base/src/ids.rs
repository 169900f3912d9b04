//! Identities. Each is its own type so that two equal integers cannot be swapped in an argument list.

/// A pinned thread with its state, numbered from 0 on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// A placement group: the unit that owns rows and moves between cores. `0..pg_count` of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgId(pub u16);

/// One device of the node: a preallocated file of the data directory or a raw block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub u16);

/// A bucket's incarnation. Never reused: a bucket made again under the same name has another id, so
/// rows of the dead one can never be seen in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub u64);

/// Identity of one body as written to a device (an object or a part attempt). Seeds the checksum of
/// each of its blocks, so that a valid block of another body never passes for one of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataId(pub u128);

impl PgId {
    /// The core that owns this PG on a node of `cores` data cores.
    ///
    /// # Panics
    /// When `cores` is 0.
    #[must_use]
    pub fn owner(self, cores: u16) -> CoreId {
        assert!(cores > 0, "a node has at least one data core");
        CoreId(self.0 % cores)
    }
}

impl VolumeId {
    /// The core that allocates on this volume on a node of `cores` data cores.
    ///
    /// # Panics
    /// When `cores` is 0.
    #[must_use]
    pub fn owner(self, cores: u16) -> CoreId {
        assert!(cores > 0, "a node has at least one data core");
        CoreId(self.0 % cores)
    }
}

/// Where a key lives: its PG, from the bucket's spread `pgs_in_bucket` (N_b, a power of two) over the
/// `pg_count` PGs of the store (design D4). The same function on every node and in every release of
/// one store format: changing it is a format change.
///
/// # Panics
/// When `pgs_in_bucket` is not a power of two or exceeds `pg_count`.
#[must_use]
pub fn pg_of(bucket: BucketId, key: &[u8], pgs_in_bucket: u16, pg_count: u16) -> PgId {
    assert!(pgs_in_bucket.is_power_of_two() && pgs_in_bucket <= pg_count);
    let within = crate::hash::hash64(bucket.0, key) & (u64::from(pgs_in_bucket) - 1);
    pg_in_bucket(bucket, within as u16, pg_count)
}

/// The `nth` PG of a bucket, `0..pgs_in_bucket`: neighbours, so that they spread over all cores.
#[must_use]
pub fn pg_in_bucket(bucket: BucketId, nth: u16, pg_count: u16) -> PgId {
    let first = crate::hash::hash64(0x5067_4261_7365, &bucket.0.to_le_bytes()) % u64::from(pg_count);
    PgId(((first + u64::from(nth)) % u64::from(pg_count)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_spreads_evenly_over_its_pgs() {
        let mut hits = std::collections::BTreeMap::new();
        for i in 0..16_000u32 {
            let pg = pg_of(BucketId(7), format!("key-{i}").as_bytes(), 16, 256);
            *hits.entry(pg).or_insert(0u32) += 1;
        }
        assert_eq!(hits.len(), 16);
        assert!(hits.values().all(|&n| (800..1_200).contains(&n)), "{hits:?}");
    }

    #[test]
    fn every_key_lies_in_one_of_the_pgs_the_listing_asks() {
        let bucket = BucketId(99);
        let asked: Vec<_> = (0..8).map(|n| pg_in_bucket(bucket, n, 256)).collect();
        for i in 0..1_000u32 {
            assert!(asked.contains(&pg_of(bucket, &i.to_le_bytes(), 8, 256)));
        }
    }
}
