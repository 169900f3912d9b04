//! The state machine of the control plane: commands in, a new immutable snapshot or a refusal out.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use stria_base::{BucketId, ErrorClass, limits::BUCKETS_MAX};

/// Version marker of stored bucket records.
pub const BUCKET_FORMAT: u16 = 1;

/// A bucket as stored and as the cores see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Version marker of this record.
    pub format: u16,
    /// Its name.
    pub name: String,
    /// Its incarnation.
    pub id: u64,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Access key of the account that made it.
    pub owner: String,
    /// LocationConstraint it was made with; empty is us-east-1.
    pub region: String,
    /// PGs it spreads over: a power of two.
    pub pgs: u16,
    /// Default encryption; nothing sets it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_config: Option<serde_json::Value>,
    /// Object lock defaults; nothing sets them yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_config: Option<serde_json::Value>,
}

impl Bucket {
    /// Its incarnation, typed.
    #[must_use]
    pub fn bucket_id(&self) -> BucketId {
        BucketId(self.id)
    }
}

/// What the control plane may be asked to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a bucket.
    CreateBucket {
        /// Its name, already validated.
        name: String,
        /// Access key of the account.
        owner: String,
        /// LocationConstraint.
        region: String,
        /// PGs it spreads over.
        pgs: u16,
        /// Milliseconds since 1970.
        now_ms: u64,
    },
    /// Removes a bucket; the caller made sure every core sealed it and holds no object of it.
    DeleteBucket {
        /// Its name.
        name: String,
        /// The incarnation that was found empty.
        id: BucketId,
    },
}

/// Why a command was refused. Nothing changed.
#[derive(Debug, PartialEq, Eq)]
pub enum MetaError {
    /// The name is taken.
    BucketExists {
        /// By whom.
        owner: String,
    },
    /// There is no such bucket, or it is another incarnation by now.
    NoSuchBucket,
    /// The limit on buckets is reached.
    TooManyBuckets,
}

impl MetaError {
    /// What the caller may do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Client
    }
}

impl std::fmt::Display for MetaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BucketExists { .. } => f.write_str("the bucket exists"),
            Self::NoSuchBucket => f.write_str("no such bucket"),
            Self::TooManyBuckets => write!(f, "{BUCKETS_MAX} buckets exist, which is the limit"),
        }
    }
}

impl std::error::Error for MetaError {}

/// The whole state at one epoch. Immutable; shared by all cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows by one with every command that took effect.
    pub epoch: u64,
    /// The id the next bucket gets. Never goes back, so ids are never reused.
    pub next_bucket_id: u64,
    /// Buckets by name.
    pub buckets: BTreeMap<String, Arc<Bucket>>,
}

impl Snapshot {
    /// The state after `command`.
    ///
    /// # Errors
    /// The refusal; the state is unchanged.
    pub fn apply(&self, command: &Command) -> Result<Self, MetaError> {
        let mut next = self.clone();
        next.epoch += 1;
        match command {
            Command::CreateBucket { name, owner, region, pgs, now_ms } => {
                if let Some(bucket) = self.buckets.get(name) {
                    return Err(MetaError::BucketExists { owner: bucket.owner.clone() });
                }
                if self.buckets.len() >= BUCKETS_MAX {
                    return Err(MetaError::TooManyBuckets);
                }
                assert!(pgs.is_power_of_two(), "the configuration validates {pgs}");
                let bucket = Bucket {
                    format: BUCKET_FORMAT,
                    name: name.clone(),
                    id: self.next_bucket_id,
                    created_ms: *now_ms,
                    owner: owner.clone(),
                    region: region.clone(),
                    pgs: *pgs,
                    encryption_config: None,
                    lock_config: None,
                };
                next.next_bucket_id += 1;
                next.buckets.insert(name.clone(), Arc::new(bucket));
            }
            Command::DeleteBucket { name, id } => match self.buckets.get(name) {
                Some(bucket) if bucket.bucket_id() == *id => {
                    next.buckets.remove(name);
                }
                _ => return Err(MetaError::NoSuchBucket),
            },
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(name: &str) -> Command {
        Command::CreateBucket {
            name: name.into(),
            owner: "root".into(),
            region: String::new(),
            pgs: 8,
            now_ms: 1,
        }
    }

    #[test]
    fn a_bucket_made_again_is_another_incarnation() {
        let empty = Snapshot::default();
        let one = empty.apply(&create("a")).expect("the name is free");
        let first = one.buckets["a"].bucket_id();
        assert_eq!(one.apply(&create("a")), Err(MetaError::BucketExists { owner: "root".into() }));
        let gone = one.apply(&Command::DeleteBucket { name: "a".into(), id: first }).expect("it exists");
        let again = gone.apply(&create("a")).expect("the name is free again");
        assert_ne!(again.buckets["a"].bucket_id(), first);
        assert_eq!(
            again.apply(&Command::DeleteBucket { name: "a".into(), id: first }),
            Err(MetaError::NoSuchBucket)
        );
        assert_eq!(again.epoch, 3);
    }
}
