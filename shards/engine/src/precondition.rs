//! Preconditions of writes, judged on the owner core at sequencing time against the newest sequenced
//! state. Reads judge theirs on the accepting core: they change nothing.

use crate::{error::EngineError, object::Etag};

/// What must hold for a write to be sequenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    #[default]
    Always,
    /// `If-None-Match: *`: the key has no object.
    Absent,
    /// `If-Match: *`: the key has an object.
    Present,
    /// `If-Match: "etag"`; `None` is an ETag no object of ours can have.
    Matches(Option<Etag>),
}

impl WriteCondition {
    /// Judges against the newest state of the key.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NoSuchKey` when an object is demanded and there is none.
    pub fn judge(self, newest: Option<Etag>) -> Result<(), EngineError> {
        match (self, newest) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Absent, Some(_)) => Err(EngineError::PreconditionFailed { condition: "If-None-Match" }),
            (Self::Present | Self::Matches(_), None) => Err(EngineError::NoSuchKey),
            (Self::Matches(wanted), Some(found)) if wanted == Some(found) => Ok(()),
            (Self::Matches(_), Some(_)) => Err(EngineError::PreconditionFailed { condition: "If-Match" }),
        }
    }
}
