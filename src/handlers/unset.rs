//! Reads of sub-resources that cannot be set yet: the answer of a bucket where they were never set.

use stria_s3::{S3Error, Scope, State, response::unset_document};

use super::{Request, door::find};
use crate::conn::{failure::Failure, reply::Reply};

/// Finds the bucket, and in object scope the object, then says that nothing is set.
pub async fn unset(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    if request.route.operation.scope == Scope::Object {
        find(request, &bucket, false).await?;
    }
    if let State::UnsetError(code) = request.route.operation.state {
        return Err(S3Error::from(code).with("BucketName", bucket.name.as_bytes()).into());
    }
    let mut out = Vec::with_capacity(256);
    unset_document(&mut out, request.route.operation);
    Ok(request.to.xml(200, out))
}
