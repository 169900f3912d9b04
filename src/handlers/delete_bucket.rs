//! DeleteBucket.

use stria_engine::calls::{PurgeBucket, SealBucket, UnsealBucket};
use stria_env::Env;
use stria_s3::{ErrorCode, S3Error};
use tokio::sync::oneshot;

use super::Request;
use crate::{
    conn::{failure::Failure, reply::Reply},
    control::{ControlError, ControlRequest},
};

/// Seals the bucket on every core, so that no write slips in behind the check that it is empty; then
/// removes it, or lifts the seal. Uploads in progress go with it.
pub async fn delete_bucket(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    let (id, peers) = (bucket.bucket_id(), &request.state.peers);
    let mut empty = Ok(true);
    for core in peers.cores() {
        empty = peers.call_core(core, SealBucket { bucket: id }).await;
        if !matches!(empty, Ok(true)) {
            break;
        }
    }
    let removed = match empty {
        Ok(true) => remove(request, id).await,
        Ok(false) => Err(S3Error::from(ErrorCode::BucketNotEmpty).with("BucketName", bucket.name.as_bytes())),
        Err(error) => Err(crate::error_map::s3_error(error)),
    };
    if let Err(error) = removed {
        for core in peers.cores() {
            peers.call_core(core, UnsealBucket { bucket: id }).await;
        }
        return Err(error.into());
    }
    peers.engine().bucket_deleted(id);
    let everywhere = peers.clone();
    request.state.env.spawn(async move {
        for core in everywhere.cores() {
            // What this leaves behind after an error or a crash is swept at the next start.
            let _ = everywhere.call_core(core, PurgeBucket { bucket: id }).await;
        }
    });
    Ok(request.to.empty(204, |_| {}))
}

async fn remove(request: &Request<'_>, id: stria_base::BucketId) -> Result<(), S3Error> {
    let (reply, answer) = oneshot::channel();
    let delete = ControlRequest::DeleteBucket { name: request.route.bucket().to_owned(), id, reply };
    request.state.control.try_send(delete).map_err(|_| S3Error::from(ErrorCode::SlowDown))?;
    match answer.await.unwrap_or(Err(ControlError::Unavailable)) {
        Ok(()) => Ok(()),
        Err(ControlError::Refused(_)) => Err(ErrorCode::NoSuchBucket.into()),
        Err(ControlError::Store(_) | ControlError::Unavailable) => Err(ErrorCode::ServiceUnavailable.into()),
    }
}
