//! AbortMultipartUpload.

use stria_engine::calls::AbortUpload;
use stria_s3::request::AbortMultipartUpload;

use super::Request;
use crate::conn::{failure::Failure, reply::Reply};

/// Drops the upload and its parts in one record.
pub async fn abort_multipart_upload(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = AbortMultipartUpload::parse(request.route)?;
    let bucket = request.bucket()?;
    let upload = request.upload(&bucket, &wanted.upload_id).await?;
    request.state.peers.call(upload.place.pg, AbortUpload { upload }).await?;
    Ok(request.to.empty(204, |_| {}))
}
