//! What an engine call can fail with. The only map from here to S3 codes is `src/error_map.rs`.

use stria_base::ErrorClass;
use stria_store::StoreError;

use crate::object::Version;

/// A failed engine call. Nothing of it took effect, except where a variant says otherwise.
#[derive(Debug)]
pub enum EngineError {
    /// The bucket is being deleted, or was.
    NoSuchBucket,
    /// No such object.
    NoSuchKey,
    /// No such version of the key.
    NoSuchVersion,
    /// The version asked for, or the current one, is a delete marker.
    IsDeleteMarker {
        /// Which.
        version: Version,
        /// When it was put, milliseconds since 1970.
        modified_ms: u64,
        /// Whether the request named it.
        named: bool,
    },
    /// No such multipart upload, or it was completed or aborted.
    NoSuchUpload,
    /// A precondition of the request does not hold against the newest durable state.
    PreconditionFailed {
        /// The header that failed, as S3 names it.
        condition: &'static str,
    },
    /// The object changed hands after the request was allowed.
    Overtaken,
    /// A part named by Complete was never uploaded, or its ETag or checksum differs.
    InvalidPart {
        /// The part's number.
        number: u16,
    },
    /// Rows fill their share of the memory budget.
    OverBudget,
    /// A row passed its checksum but cannot be decoded: a newer release wrote it, or a bug of ours.
    UnreadableRow,
    /// The store refused or failed.
    Store(StoreError),
}

impl EngineError {
    /// What the caller may do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::OverBudget | Self::Overtaken => ErrorClass::Retry,
            Self::UnreadableRow => ErrorClass::Corrupt,
            _ => ErrorClass::Client,
        }
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
