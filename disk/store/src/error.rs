//! What storage calls fail with.

use std::{fmt, io};

use stria_base::{DataId, ErrorClass, PgId, VolumeId};

/// A failed storage call.
#[derive(Debug)]
pub enum StoreError {
    /// An operation on a volume failed.
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which volume.
        volume: VolumeId,
        /// Why.
        error: io::Error,
    },
    /// The log failed earlier: what was in flight then may or may not be durable, nothing further is
    /// accepted on this core until a restart.
    Failed,
    /// No room left that is not reserved for deletions and the log.
    Full,
    /// This core's I/O buffers are all in use.
    NoBuffer,
    /// A block of a body does not verify.
    Corrupt {
        /// The body.
        id: DataId,
        /// Its block.
        block: u64,
        /// The volume.
        volume: VolumeId,
    },
    /// The PG may have lost an acknowledged write; it takes no more until repaired.
    ReadOnly {
        /// Which.
        pg: PgId,
    },
    /// The volume carries no superblock of ours.
    NotAVolume {
        /// Which.
        volume: VolumeId,
    },
    /// Fewer than two superblock copies of one epoch verify.
    NoSuperblock {
        /// Which.
        volume: VolumeId,
        /// Copies that verify.
        valid: u8,
    },
    /// Neither slot of the device map verifies.
    NoMap {
        /// Which.
        volume: VolumeId,
    },
    /// A newer release wrote the volume.
    NewerFormat {
        /// Which.
        volume: VolumeId,
        /// Its format.
        found: u32,
    },
    /// The volume belongs to another store or has another number.
    Foreign {
        /// The volume expected.
        volume: VolumeId,
        /// The number found.
        found: VolumeId,
    },
    /// The volume was not there when the store was opened.
    Absent {
        /// Which.
        volume: VolumeId,
    },
    /// A record is larger than a frame may be.
    TooLarge {
        /// Its bytes.
        bytes: u64,
    },
}

impl StoreError {
    /// What the caller may do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } | Self::Failed | Self::ReadOnly { .. } | Self::NoBuffer | Self::Absent { .. } => {
                ErrorClass::Retry
            }
            Self::Full => ErrorClass::Full,
            Self::Corrupt { .. } | Self::NoSuperblock { .. } | Self::NoMap { .. } => ErrorClass::Corrupt,
            Self::NotAVolume { .. }
            | Self::NewerFormat { .. }
            | Self::Foreign { .. }
            | Self::TooLarge { .. } => ErrorClass::Client,
        }
    }

    pub(crate) fn io(doing: &'static str, volume: VolumeId) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { doing, volume, error }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, volume, error } => write!(f, "cannot {doing} volume {}: {error}", volume.0),
            Self::Failed => f.write_str("the log of this core failed; restart to recover"),
            Self::Full => f.write_str("no space left; delete objects or add a drive"),
            Self::NoBuffer => f.write_str("all I/O buffers of this core are in use"),
            Self::Corrupt { id, block, volume } => {
                write!(f, "block {block} of body {:032x} on volume {} does not verify", id.0, volume.0)
            }
            Self::ReadOnly { pg } => write!(f, "placement group {} needs repair and is read-only", pg.0),
            Self::NotAVolume { volume } => write!(
                f,
                "volume {} carries no store; a drive may be missing or exchanged: attach the one it was on",
                volume.0
            ),
            Self::NoSuperblock { volume, valid } => write!(
                f,
                "volume {}: {valid} of 4 superblock copies verify and no two agree; restore it from a replica or a backup",
                volume.0
            ),
            Self::NoMap { volume } => {
                write!(
                    f,
                    "volume {}: neither slot of the device map verifies; restore it from a replica or a backup",
                    volume.0
                )
            }
            Self::NewerFormat { volume, found } => {
                write!(
                    f,
                    "volume {} is of format {found}, which a newer release wrote; start that release",
                    volume.0
                )
            }
            Self::Foreign { volume, found } => {
                write!(
                    f,
                    "in the place of volume {} lies volume {} or one of another store; attach the drive it was on",
                    volume.0, found.0
                )
            }
            Self::Absent { volume } => write!(
                f,
                "volume {} was missing or unreadable at the start; attach its drive and start again",
                volume.0
            ),
            Self::TooLarge { bytes } => write!(f, "a record of {bytes} bytes exceeds what one frame holds"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
