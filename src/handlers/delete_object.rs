//! DeleteObject.

use stria_engine::{EngineError, calls, precondition::WriteCondition};
use stria_s3::{ErrorCode, S3Error, conditions::DeleteConditions, request::DeleteObject};

use super::{Request, object_meta::match_condition};
use crate::conn::{failure::Failure, reply::Reply};

/// Removes the object; a key that holds none is as good as removed.
pub async fn delete_object(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = DeleteObject::parse(request.route, request.head)?;
    check_version(wanted.version_id.as_deref())?;
    let condition = condition(&wanted.conditions)?;
    let bucket = request.bucket()?;
    let place = request.place(&bucket);
    let delete = calls::DeleteObject { place: place.clone(), condition };
    deleted(request.state.peers.call(place.pg, delete).await)?;
    Ok(request.to.empty(204, |_| {}))
}

/// Without versioning, only the null version can be named.
pub fn check_version(version_id: Option<&str>) -> Result<(), S3Error> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(other) => Err(S3Error::from(ErrorCode::NoSuchVersion).with("VersionId", other.as_bytes())),
    }
}

/// The engine's form of a delete's conditions.
pub fn condition(conditions: &DeleteConditions) -> Result<WriteCondition, S3Error> {
    if conditions.last_modified_unix_s.is_some() {
        return Err(S3Error::header_not_implemented("x-amz-if-match-last-modified-time"));
    }
    if conditions.size_bytes.is_some() {
        return Err(S3Error::header_not_implemented("x-amz-if-match-size"));
    }
    Ok(conditions.if_match.as_ref().map_or(WriteCondition::Always, match_condition))
}

/// The outcome as S3 tells it: a condition on a missing key is a failed condition.
pub fn deleted(outcome: Result<calls::Deleted, EngineError>) -> Result<(), S3Error> {
    match outcome {
        Ok(_) => Ok(()),
        Err(EngineError::NoSuchKey) => Err(ErrorCode::PreconditionFailed.into()),
        Err(error) => Err(crate::error_map::s3_error(error)),
    }
}
