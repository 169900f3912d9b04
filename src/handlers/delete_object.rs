//! DeleteObject.

use stria_engine::{
    EngineError,
    calls::{self, Deleted, Place},
    object::{VersionSelector, Versioning},
    precondition::WriteCondition,
};
use stria_meta::Bucket;
use stria_s3::{ErrorCode, S3Error, conditions::DeleteConditions, request::DeleteObject};

use super::{Request, object_meta::match_condition, versions};
use crate::{
    conn::{
        failure::Failure,
        reply::{Reply, field},
    },
    peers::Peers,
};

/// Removes the object, one version of it, or covers it with a delete marker. A key that holds none is as good
/// as removed.
pub async fn delete_object(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = DeleteObject::parse(request.route, request.head)?;
    let version = versions::parse(wanted.version_id.as_deref())?;
    let condition = condition(&wanted.conditions)?;
    let bucket = request.bucket()?;
    if version != VersionSelector::Current {
        request.check_deletes_versions(&bucket)?;
    }
    let call = Deletion::new(&bucket, request.place(&bucket), version, condition);
    let deleted = deleted(call.run(&request.state.peers).await)?;
    Ok(request.to.empty(204, |out| {
        let id = deleted.version.map(versions::print).or(wanted.version_id);
        if let Some(id) = id.filter(|_| versions::mode(&bucket) != Versioning::Off) {
            field(out, "x-amz-version-id", id.as_bytes());
        }
        if deleted.is_delete_marker {
            out.constant("x-amz-delete-marker", "true");
        }
    }))
}

/// A deletion the way its bucket keeps versions.
pub struct Deletion {
    place: Place,
    version: VersionSelector,
    condition: WriteCondition,
    mode: Versioning,
}

impl Deletion {
    /// Of a key, or of one of its versions.
    pub fn new(bucket: &Bucket, place: Place, version: VersionSelector, condition: WriteCondition) -> Self {
        Self { place, version, condition, mode: versions::mode(bucket) }
    }

    /// Runs it on the owner core.
    ///
    /// # Errors
    /// Of the engine.
    pub async fn run(self, peers: &Peers) -> Result<Deleted, EngineError> {
        let Self { place, version, condition, mode } = self;
        let pg = place.pg;
        match (mode, version) {
            // Of a bucket that never had versions, the null version is the object.
            (Versioning::Off, VersionSelector::Current | VersionSelector::Null) => {
                peers.call(pg, calls::DeleteObject { place, condition }).await
            }
            _ => peers.call(pg, calls::DeleteVersion { place, condition, version, mode }).await,
        }
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
pub fn deleted(outcome: Result<Deleted, EngineError>) -> Result<Deleted, S3Error> {
    match outcome {
        Err(EngineError::NoSuchKey) => Err(ErrorCode::PreconditionFailed.into()),
        other => other.map_err(crate::error_map::s3_error),
    }
}
