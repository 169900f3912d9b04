//! The data directory: who holds it, which store it is, the root credentials.
//!
//! ```text
//! DIR/lock               held (flock) while a process serves it
//! DIR/store.json         which store this is, its PGs and its volumes
//! DIR/credentials.json   root access key and secret, mode 0600
//! DIR/meta/              LMDB: buckets
//! DIR/volumes/NNNN       one file per volume
//! ```
//!
//! Invariant: nothing in it is written before the lock is held. Start-up only; may block.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::config::Secret;

/// Version of store.json.
pub const STORE_FORMAT: u32 = 1;

/// Why the data directory cannot be used. Each prints as one line with the remedy.
#[derive(Debug)]
pub enum DataDirError {
    /// An operation on a path failed.
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Another process serves it.
    Held {
        /// The directory.
        path: PathBuf,
        /// The other process, when it wrote its number.
        pid: Option<u32>,
    },
    /// A file of ours is unreadable.
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// A newer release made it.
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The directory has files, but not ours.
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// An option that is fixed when a store is made differs.
    FixedOption {
        /// Its name.
        option: &'static str,
        /// What the store was made with.
        made_with: String,
    },
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => {
                write!(f, "cannot {doing} {}: {error}{}", path.display(), remedy(error))
            }
            Self::Held { path, pid } => {
                write!(f, "{} is served by another process", path.display())?;
                if let Some(pid) = pid {
                    write!(f, " (pid {pid})")?;
                }
                f.write_str("; stop it, or give another directory with --data")
            }
            Self::Record { path, error } => write!(
                f,
                "{} is not readable ({error}); restore it from a backup, or start with another --data",
                path.display()
            ),
            Self::NewerFormat { path, found } => write!(
                f,
                "{} is of format {found}, this release knows up to {STORE_FORMAT}; start the newer release",
                path.display()
            ),
            Self::NotOurs { path } => write!(
                f,
                "{} is not empty and holds no store; give an empty or a new directory with --data",
                path.display()
            ),
            Self::FixedOption { option, made_with } => write!(
                f,
                "{option} is fixed when a store is made, and this one was made with {made_with}; leave the option out, or make a new store with another --data"
            ),
        }
    }
}

impl std::error::Error for DataDirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Record { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What a person can do about a failed system call.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EROFS) => "; the file system is mounted read-only: remount it, or give another --data",
        Some(libc::EACCES | libc::EPERM) => {
            "; give a --data directory this user may write, or change its owner"
        }
        Some(libc::ENOSPC | libc::EDQUOT) => "; free some space, or give a --data directory on another disk",
        Some(libc::ENOTDIR | libc::EEXIST) => "; a file is in the way: give another --data",
        Some(libc::EMFILE | libc::ENFILE) => "; raise the limit of open files (ulimit -n)",
        _ => "",
    }
}

/// store.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRecord {
    /// Version of this record.
    pub format: u32,
    /// Identity of the store, hex.
    pub uuid: String,
    /// Placement groups.
    pub pg_count: u16,
    /// Its volumes in order of their ids.
    pub volumes: Vec<VolumeRecord>,
    /// With so many cores every core's rows are on its own volume and nowhere else; none while a change of the
    /// number of cores is being worked off. Only then may a volume be missing at a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_cores: Option<u16>,
}

/// One volume of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// A file below the data directory, or a device.
    pub path: PathBuf,
    /// First byte of the volume on a device that carries several.
    #[serde(default)]
    pub base_bytes: u64,
    /// Its fixed size on a device; a file grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// credentials.json.
#[derive(Serialize, Deserialize)]
struct CredentialsRecord {
    access_key: String,
    secret_key: String,
}

/// Root credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
}

/// A held data directory. Dropping it lets go.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DataDirError + 'a {
    move |error| DataDirError::Io { doing, path: path.to_owned(), error }
}

impl DataDir {
    /// Makes the directory when it does not exist, and takes hold of it.
    ///
    /// # Errors
    /// When it cannot be made or written, holds something else, or is held by another process.
    pub fn hold(path: &Path) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(failed("make the data directory", path))?;
        let path = path.canonicalize().map_err(failed("find the data directory", path))?;
        let foreign = !path.join("store.json").exists()
            && fs::read_dir(&path).map_err(failed("read the data directory", &path))?.flatten().any(
                |entry| {
                    !["lock", "lost+found", "credentials.json"]
                        .contains(&&*entry.file_name().to_string_lossy())
                },
            );
        if foreign && !path.join("lock").exists() {
            return Err(DataDirError::NotOurs { path });
        }
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed("write the lock file", &lock_path))?;
        if let Err(error) = lock.try_lock() {
            return match error {
                std::fs::TryLockError::WouldBlock => {
                    let mut text = String::new();
                    let _ = lock.read_to_string(&mut text);
                    Err(DataDirError::Held { path, pid: text.trim().parse().ok() })
                }
                std::fs::TryLockError::Error(error) => Err(failed("lock", &lock_path)(error)),
            };
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed("write", &lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where LMDB lives.
    #[must_use]
    pub fn meta_path(&self) -> PathBuf {
        self.path.join("meta")
    }

    /// The store kept here, if one was made.
    ///
    /// # Errors
    /// When store.json is unreadable or of a newer format.
    pub fn store(&self) -> Result<Option<StoreRecord>, DataDirError> {
        read_store(&self.path)
    }

    /// Keeps `record`, durably. The store exists from then on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_store(&self, record: &StoreRecord) -> Result<(), DataDirError> {
        let bytes = serde_json::to_vec_pretty(record).expect("a record of plain fields encodes");
        self.replace("store.json", &bytes, 0o644)
    }

    /// The root credentials: those kept here, or new random ones, kept with mode 0600. The flag says
    /// whether they are new.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn credentials(
        &self,
        random: impl FnOnce() -> Credentials,
    ) -> Result<(Credentials, bool), DataDirError> {
        let path = self.path.join("credentials.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let kept: CredentialsRecord =
                    serde_json::from_slice(&bytes).map_err(|error| DataDirError::Record { path, error })?;
                Ok((Credentials { access_key: kept.access_key, secret_key: Secret(kept.secret_key) }, false))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = random();
                let record = CredentialsRecord {
                    access_key: made.access_key.clone(),
                    secret_key: made.secret_key.0.clone(),
                };
                let bytes = serde_json::to_vec_pretty(&record).expect("two strings encode");
                self.replace("credentials.json", &bytes, 0o600)?;
                Ok((made, true))
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Writes a file whole or not at all: a crash leaves the old one or the new one.
    fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), DataDirError> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }
}

/// The store kept in a directory, which another process may hold: the record is replaced whole.
///
/// # Errors
/// When store.json is unreadable or of a newer format.
pub fn read_store(directory: &Path) -> Result<Option<StoreRecord>, DataDirError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let path = directory.join("store.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let record = |error| DataDirError::Record { path: path.clone(), error };
    let found = serde_json::from_slice::<Version>(&bytes).map_err(record)?.format;
    if found > STORE_FORMAT {
        return Err(DataDirError::NewerFormat { path, found });
    }
    serde_json::from_slice(&bytes).map_err(record).map(Some)
}

/// Random root credentials: 20 characters of key, 40 of secret, from the kernel's generator.
///
/// # Panics
/// When the kernel gives no random bytes: nothing secure can be done then.
#[must_use]
pub fn random_credentials() -> Credentials {
    Credentials { access_key: format!("STRIA{}", random_text(15)), secret_key: Secret(random_text(40)) }
}

fn random_text(letters: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0u8; letters];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

/// A random identity, hex.
///
/// # Panics
/// As [`random_credentials`].
#[must_use]
pub fn random_uuid() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    u128::from_le_bytes(bytes)
}

/// Whether two paths are the same open file; used to refuse one device given twice.
///
/// # Errors
/// When one cannot be opened.
pub fn same_file(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (a, b) = (fs::metadata(a)?, fs::metadata(b)?);
    Ok((a.dev(), a.ino(), a.rdev()) == (b.dev(), b.ino(), b.rdev()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_holder_is_told_who_holds_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::hold(directory.path()).expect("nobody holds it");
        let Err(DataDirError::Held { pid, .. }) = DataDir::hold(directory.path()) else {
            panic!("it was held twice")
        };
        assert_eq!(pid, Some(std::process::id()));
        drop(held);
        DataDir::hold(directory.path()).expect("it was let go");
    }

    #[test]
    fn credentials_are_made_once_and_readable_by_the_owner_only() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::hold(directory.path()).expect("nobody holds it");
        let (first, new) = held.credentials(random_credentials).expect("kept");
        let (second, again) = held.credentials(random_credentials).expect("read");
        assert!(new && !again);
        assert_eq!((first.access_key, first.secret_key), (second.access_key, second.secret_key));
        let mode =
            fs::metadata(directory.path().join("credentials.json")).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_directory_with_other_files_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("thesis.tex"), "x").expect("writes");
        assert!(matches!(DataDir::hold(directory.path()), Err(DataDirError::NotOurs { .. })));
    }

    #[test]
    fn a_newer_store_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::hold(directory.path()).expect("nobody holds it");
        fs::write(directory.path().join("store.json"), "{\"format\": 2, \"surprise\": true}")
            .expect("writes");
        assert!(matches!(held.store(), Err(DataDirError::NewerFormat { found: 2, .. })));
    }
}
