//! Why a request gets no answer of its handler.

use stria_engine::EngineError;
use stria_s3::{ErrorCode, S3Error};

/// Ends a request.
#[derive(Debug)]
pub enum Failure {
    /// The client went away: nothing to answer.
    Gone,
    /// To be answered with this error.
    Error(S3Error),
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Self {
        Self::Error(error)
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code.into())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Error(crate::error_map::s3_error(error))
    }
}

/// The S3 error of a code that the signature layer, which knows no S3, only names.
#[must_use]
pub fn named(code: &str, message: Option<&'static str>) -> S3Error {
    let code =
        ErrorCode::ALL.iter().copied().find(|known| known.name() == code).unwrap_or(ErrorCode::AccessDenied);
    S3Error { message, ..S3Error::from(code) }
}
