//! GetBucketLocation.

use stria_s3::response::bucket_location;

use super::Request;
use crate::conn::{failure::Failure, reply::Reply};

/// The LocationConstraint the bucket was made with.
pub fn get_bucket_location(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    let mut out = Vec::with_capacity(256);
    bucket_location(&mut out, &bucket.region);
    Ok(request.to.xml(200, out))
}
