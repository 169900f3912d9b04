//! The one map from engine errors to S3 errors.

use stria_engine::EngineError;
use stria_s3::{ErrorCode, S3Error};
use stria_store::StoreError;

/// What the client is told. Errors that a human must look at are logged here, once.
#[must_use]
pub fn s3_error(error: EngineError) -> S3Error {
    match error {
        EngineError::NoSuchBucket => ErrorCode::NoSuchBucket.into(),
        EngineError::NoSuchKey => ErrorCode::NoSuchKey.into(),
        EngineError::NoSuchVersion => ErrorCode::NoSuchVersion.into(),
        EngineError::IsDeleteMarker { version, modified_ms, named } => {
            let code = if named { ErrorCode::MethodNotAllowed } else { ErrorCode::NoSuchKey };
            let error = S3Error::from(code)
                .with_header("x-amz-delete-marker", b"true")
                .with_header("x-amz-version-id", crate::handlers::print_version(version).as_bytes());
            if !named {
                return error;
            }
            let modified = stria_http::date::format_http(modified_ms / 1000);
            error
                .with("Method", b"GET")
                .with("ResourceType", b"DeleteMarker")
                .with_header("Allow", b"DELETE")
                .with_header("Last-Modified", &modified)
        }
        EngineError::Overtaken => ErrorCode::OperationAborted.into(),
        EngineError::NoSuchUpload => ErrorCode::NoSuchUpload.into(),
        EngineError::PreconditionFailed { condition } => {
            S3Error::from(ErrorCode::PreconditionFailed).with("Condition", condition.as_bytes())
        }
        EngineError::InvalidPart { number } => {
            S3Error::from(ErrorCode::InvalidPart).with("PartNumber", number.to_string().as_bytes())
        }
        EngineError::OverBudget => ErrorCode::SlowDown.into(),
        EngineError::UnreadableRow => {
            tracing::error!(
                "a row cannot be decoded although its checksum verifies; a newer release wrote it, or this is a bug"
            );
            ErrorCode::InternalError.into()
        }
        EngineError::Store(error) => store_error(&error),
    }
}

/// What the client is told of a storage error.
#[must_use]
pub fn store_error(error: &StoreError) -> S3Error {
    match error {
        StoreError::NoBuffer => ErrorCode::SlowDown.into(),
        StoreError::Full => S3Error::new(ErrorCode::SlowDown, "No space is left on this server's drives."),
        StoreError::Failed => S3Error::new(
            ErrorCode::ServiceUnavailable,
            "A drive of this server failed; it accepts no writes until it is restarted.",
        ),
        StoreError::ReadOnly { .. } => S3Error::new(
            ErrorCode::ServiceUnavailable,
            "The placement group that holds this key needs repair and is read-only; its operator finds the remedy in the server's log and with stria fsck.",
        ),
        StoreError::Absent { .. } => S3Error::new(
            ErrorCode::ServiceUnavailable,
            "The drive that holds this part of the store is missing; nothing else is affected.",
        ),
        StoreError::Io { .. } => {
            tracing::error!("{error}");
            ErrorCode::ServiceUnavailable.into()
        }
        StoreError::TooLarge { .. } => ErrorCode::EntityTooLarge.into(),
        StoreError::Corrupt { .. }
        | StoreError::NotAVolume { .. }
        | StoreError::NoSuperblock { .. }
        | StoreError::NoMap { .. }
        | StoreError::NewerFormat { .. }
        | StoreError::Foreign { .. } => {
            tracing::error!("{error}");
            ErrorCode::InternalError.into()
        }
    }
}
