//! ListBuckets.

use std::ops::Bound;

use stria_s3::{
    request::ListBuckets,
    response::{BucketEntry, list_buckets as write_buckets},
};

use super::Request;
use crate::conn::{failure::Failure, reply::Reply};

/// The buckets of the asking account, in order of their names.
pub fn list_buckets(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = ListBuckets::parse(request.route)?;
    let identities = &request.state.shared.identities;
    let asking = request.allowed.identity(identities)?;
    let snapshot = request.state.snapshot.borrow().clone();
    let paged = wanted.max_buckets.is_some();
    let page_max = wanted.max_buckets.unwrap_or(usize::MAX);
    let from = match &wanted.continuation_token {
        Some(token) => Bound::Excluded(token.as_str()),
        None => Bound::Unbounded,
    };
    let owned = snapshot.buckets.range::<str, _>((from, Bound::Unbounded)).map(|(_, bucket)| bucket).filter(
        |bucket| {
            identities.owner_of(bucket).is_some_and(|owner| owner.shares_account(asking))
                && wanted.prefix.as_deref().is_none_or(|prefix| bucket.name.starts_with(prefix))
                && wanted.bucket_region.as_deref().is_none_or(|region| bucket.region == region)
        },
    );
    let mut buckets: Vec<_> = owned.take(page_max.saturating_add(1)).collect();
    let more = buckets.len() > page_max;
    buckets.truncate(page_max);
    let next = buckets.last().filter(|_| more).map(|bucket| bucket.name.clone());
    let owner = asking.shown();
    let entries = buckets.iter().map(|bucket| BucketEntry {
        name: &bucket.name,
        created_unix_ms: bucket.created_ms,
        region: paged.then_some(bucket.region.as_str()),
    });
    let mut out = Vec::with_capacity(128 * buckets.len() + 512);
    write_buckets(&mut out, owner, entries, wanted.prefix.as_deref(), next.as_deref());
    Ok(request.to.xml(200, out))
}
