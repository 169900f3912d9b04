//! The state machine of the control plane: commands in, a new immutable snapshot or a refusal out.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use stria_base::{BucketId, ErrorClass, limits::BUCKETS_MAX};

/// Version marker of stored bucket records.
pub const BUCKET_FORMAT: u16 = 3;
/// The first format whose buckets name their ownership and public access block themselves.
pub const BUCKET_FORMAT_WITH_ACLS: u16 = 3;
/// Configurations of a bucket without access control lists, nothing of which is public: what buckets of earlier
/// formats were, and what S3 makes today.
pub const CLOSED_CONFIGS: [(&str, &str); 2] = [
    ("ownershipControls", "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"),
    (
        "publicAccessBlock",
        "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>",
    ),
];
/// Configurations a bucket may have, of all kinds together.
pub const CONFIGS_MAX: usize = 1_000;

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
    /// Configurations by kind, or kind and id (`inventory/weekly`): the content of the document's root
    /// element, checked and escaped (`stria_s3::config`). Since format 2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, String>,
}

impl Bucket {
    /// A stored record as this release sees it: what earlier formats took for granted is said.
    #[must_use]
    pub fn upgraded(mut self) -> Self {
        if self.format < BUCKET_FORMAT_WITH_ACLS {
            for (name, stored) in CLOSED_CONFIGS {
                self.configs.entry(name.to_owned()).or_insert_with(|| stored.to_owned());
            }
        }
        self
    }

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
        /// Configurations it begins with.
        configs: BTreeMap<String, String>,
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
    /// Sets or removes a configuration of a bucket.
    SetConfig {
        /// The bucket's name.
        bucket: String,
        /// The incarnation the request was judged by.
        id: BucketId,
        /// Kind, or kind and id.
        config: String,
        /// The content; `None` removes it.
        value: Option<String>,
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
    /// The limit on a bucket's configurations is reached.
    TooManyConfigs,
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
            Self::TooManyConfigs => write!(f, "{CONFIGS_MAX} configurations exist, which is the limit"),
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
            Command::CreateBucket { name, owner, region, pgs, configs, now_ms } => {
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
                    configs: configs.clone(),
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
            Command::SetConfig { bucket, id, config, value } => {
                let known = self.buckets.get(bucket).filter(|known| known.bucket_id() == *id);
                let mut changed = Bucket::clone(known.ok_or(MetaError::NoSuchBucket)?);
                changed.format = BUCKET_FORMAT;
                match value {
                    Some(value) => changed.configs.insert(config.clone(), value.clone()),
                    None => changed.configs.remove(config),
                };
                if changed.configs.len() > CONFIGS_MAX {
                    return Err(MetaError::TooManyConfigs);
                }
                next.buckets.insert(bucket.clone(), Arc::new(changed));
            }
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
            configs: BTreeMap::new(),
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

    #[test]
    fn configurations_belong_to_one_incarnation() {
        let one = Snapshot::default().apply(&create("a")).expect("the name is free");
        let set = |id, config: &str, value: Option<&str>| Command::SetConfig {
            bucket: "a".into(),
            id,
            config: config.into(),
            value: value.map(str::to_owned),
        };
        let id = one.buckets["a"].bucket_id();
        let two = one.apply(&set(id, "cors", Some("x"))).expect("set");
        assert_eq!(two.buckets["a"].configs.get("cors").map(String::as_str), Some("x"));
        assert!(one.buckets["a"].configs.is_empty(), "a snapshot never changes");
        assert_eq!(two.apply(&set(BucketId(99), "cors", None)), Err(MetaError::NoSuchBucket));
        let three = two.apply(&set(id, "cors", None)).expect("removed");
        assert!(three.buckets["a"].configs.is_empty());
        let mut full = three;
        for n in 0..CONFIGS_MAX {
            full = full.apply(&set(id, &format!("metrics/{n}"), Some(""))).expect("room");
        }
        assert_eq!(full.apply(&set(id, "cors", Some(""))), Err(MetaError::TooManyConfigs));
    }
}
