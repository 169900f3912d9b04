//! The state on disk: one LMDB environment in the data directory, written by the control thread only.
//!
//! Invariant: buckets, the next id and the epoch change in one LMDB transaction, synced before it
//! returns. LMDB's page faults and fsyncs block, which is why no data core comes near this file.

use std::{fmt, io, path::Path, sync::Arc};

use heed::{
    Database, Env, EnvOpenOptions,
    types::{Bytes, Str},
};
use serde::{Deserialize, Serialize};
use stria_base::{ErrorClass, GIB};

use crate::state::{BUCKET_FORMAT, Bucket, Command, MetaError, Snapshot};

/// Address space reserved for the map; LMDB's file only grows to what is used.
const MAP_BYTES: usize = GIB as usize;
const HEADER_KEY: &str = "header";

/// Why the state could not be read or written.
#[derive(Debug)]
pub enum MetaStoreError {
    /// LMDB or the file system failed.
    Lmdb(heed::Error),
    /// The directory could not be made.
    Io(io::Error),
    /// A record is not readable.
    Record(serde_json::Error),
    /// A newer release wrote a record.
    NewerFormat {
        /// Its version marker.
        found: u16,
    },
}

impl MetaStoreError {
    /// What the caller may do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Lmdb(_) | Self::Io(_) => ErrorClass::Retry,
            Self::Record(_) => ErrorClass::Corrupt,
            Self::NewerFormat { .. } => ErrorClass::Client,
        }
    }
}

impl fmt::Display for MetaStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lmdb(error) => write!(f, "the metadata store failed: {error}"),
            Self::Io(error) => write!(f, "the metadata directory: {error}"),
            Self::Record(error) => write!(f, "a metadata record is unreadable: {error}"),
            Self::NewerFormat { found } => write!(
                f,
                "the metadata is of format {found}, this release knows up to {BUCKET_FORMAT}: start the newer release"
            ),
        }
    }
}

impl std::error::Error for MetaStoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lmdb(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Record(error) => Some(error),
            Self::NewerFormat { .. } => None,
        }
    }
}

impl From<heed::Error> for MetaStoreError {
    fn from(error: heed::Error) -> Self {
        Self::Lmdb(error)
    }
}

impl From<serde_json::Error> for MetaStoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Record(error)
    }
}

/// Everything but the buckets, in one record.
#[derive(Default, Serialize, Deserialize)]
struct Header {
    format: u16,
    epoch: u64,
    next_bucket_id: u64,
}

/// The open state. Owned by the control thread.
pub struct MetaStore {
    env: Env,
    header: Database<Str, Bytes>,
    buckets: Database<Str, Bytes>,
    current: Arc<Snapshot>,
}

impl MetaStore {
    /// Opens or makes the state in `directory`.
    ///
    /// # Errors
    /// When LMDB fails, a record is unreadable or of a newer format.
    pub fn open(directory: &Path) -> Result<Self, MetaStoreError> {
        std::fs::create_dir_all(directory).map_err(MetaStoreError::Io)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(4);
        #[expect(unsafe_code, reason = "heed marks every open of a memory map unsafe")]
        // SAFETY: the data directory is held under an exclusive lock by this process (src/datadir.rs), so
        // nobody else writes or truncates the mapped file, and it is opened once per process.
        let env = unsafe { options.open(directory) }?;
        let mut txn = env.write_txn()?;
        let header: Database<Str, Bytes> = env.create_database(&mut txn, Some("header"))?;
        let buckets: Database<Str, Bytes> = env.create_database(&mut txn, Some("buckets"))?;
        txn.commit()?;
        let current = Arc::new(read(&env, header, buckets)?);
        Ok(Self { env, header, buckets, current })
    }

    /// The state as of the last durable command.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.clone()
    }

    /// Applies `command` and makes it durable. Blocks for a sync of the file.
    ///
    /// # Errors
    /// Outer: LMDB failed and nothing changed. Inner: the command was refused.
    pub fn apply(&mut self, command: &Command) -> Result<Result<Arc<Snapshot>, MetaError>, MetaStoreError> {
        let next = match self.current.apply(command) {
            Ok(next) => next,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut txn = self.env.write_txn()?;
        match command {
            Command::CreateBucket { name, .. } | Command::SetConfig { bucket: name, .. } => {
                let record = serde_json::to_vec(&*next.buckets[name])?;
                self.buckets.put(&mut txn, name, &record)?;
            }
            Command::DeleteBucket { name, .. } => {
                self.buckets.delete(&mut txn, name)?;
            }
        }
        let header = Header { format: BUCKET_FORMAT, epoch: next.epoch, next_bucket_id: next.next_bucket_id };
        self.header.put(&mut txn, HEADER_KEY, &serde_json::to_vec(&header)?)?;
        txn.commit()?;
        self.current = Arc::new(next);
        Ok(Ok(self.current.clone()))
    }
}

fn read(
    env: &Env,
    header: Database<Str, Bytes>,
    buckets: Database<Str, Bytes>,
) -> Result<Snapshot, MetaStoreError> {
    let txn = env.read_txn()?;
    let header: Header = match header.get(&txn, HEADER_KEY)? {
        Some(record) => serde_json::from_slice(record)?,
        None => Header::default(),
    };
    check_format(header.format)?;
    let mut snapshot =
        Snapshot { epoch: header.epoch, next_bucket_id: header.next_bucket_id, ..Snapshot::default() };
    for record in buckets.iter(&txn)? {
        let (name, record) = record?;
        let bucket: Bucket = serde_json::from_slice(record)?;
        check_format(bucket.format)?;
        snapshot.buckets.insert(name.to_owned(), Arc::new(bucket.upgraded()));
    }
    Ok(snapshot)
}

fn check_format(found: u16) -> Result<(), MetaStoreError> {
    if found > BUCKET_FORMAT { Err(MetaStoreError::NewerFormat { found }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{BUCKET_FORMAT_WITH_ACLS, CLOSED_CONFIGS};
    use std::collections::BTreeMap;
    use stria_base::BucketId;

    fn create(name: &str) -> Command {
        Command::CreateBucket {
            name: name.into(),
            owner: "o".into(),
            region: "eu".into(),
            pgs: 4,
            configs: BTreeMap::new(),
            now_ms: 5,
        }
    }

    #[test]
    fn commands_survive_reopening() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let before = {
            let mut store = MetaStore::open(directory.path()).expect("opens");
            store.apply(&create("a")).expect("durable").expect("accepted");
            store.apply(&create("b")).expect("durable").expect("accepted");
            let delete = Command::DeleteBucket { name: "a".into(), id: BucketId(0) };
            store.apply(&delete).expect("durable").expect("accepted");
            let set = Command::SetConfig {
                bucket: "b".into(),
                id: BucketId(1),
                config: "cors".into(),
                value: Some("<CORSRule></CORSRule>".into()),
            };
            store.apply(&set).expect("durable").expect("accepted")
        };
        let after = MetaStore::open(directory.path()).expect("opens again").snapshot();
        assert_eq!(before, after);
        assert_eq!(after.next_bucket_id, 2);
    }

    #[test]
    fn a_record_of_a_newer_release_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        {
            let mut store = MetaStore::open(directory.path()).expect("opens");
            store.apply(&create("a")).expect("durable").expect("accepted");
            let mut txn = store.env.write_txn().expect("a transaction");
            let mut bucket: Bucket = (*store.current.buckets["a"]).clone();
            bucket.format = BUCKET_FORMAT + 1;
            store.buckets.put(&mut txn, "a", &serde_json::to_vec(&bucket).expect("encodes")).expect("puts");
            txn.commit().expect("commits");
        }
        let newer = BUCKET_FORMAT + 1;
        let opened = MetaStore::open(directory.path());
        assert!(matches!(opened, Err(MetaStoreError::NewerFormat { found }) if found == newer));
    }

    #[test]
    fn a_bucket_from_before_access_control_lists_stays_closed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configs = {
            let mut store = MetaStore::open(directory.path()).expect("opens");
            store.apply(&create("a")).expect("durable").expect("accepted");
            let mut txn = store.env.write_txn().expect("a transaction");
            let mut bucket: Bucket = (*store.current.buckets["a"]).clone();
            bucket.format = BUCKET_FORMAT_WITH_ACLS - 1;
            store.buckets.put(&mut txn, "a", &serde_json::to_vec(&bucket).expect("encodes")).expect("puts");
            txn.commit().expect("commits");
            drop(store);
            MetaStore::open(directory.path()).expect("opens").snapshot().buckets["a"].configs.clone()
        };
        assert_eq!(configs.len(), CLOSED_CONFIGS.len());
        assert!(configs["ownershipControls"].contains("BucketOwnerEnforced"));
    }
}
