//! HeadBucket.

use super::Request;
use crate::conn::{
    failure::Failure,
    reply::{Reply, field},
};

/// Says that the bucket is there, and where.
pub fn head_bucket(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    Ok(request.to.empty(200, |out| {
        field(out, "x-amz-bucket-region", bucket.region.as_bytes());
        out.constant("x-amz-access-point-alias", "false");
    }))
}
