//! GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl, where the bucket's owner owns everything.

use std::sync::Arc;

use stria_meta::Bucket;
use stria_s3::{Scope, config::acl};

use super::{Request, name_key, store_body::read_document, versions};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// The one grant there is.
pub async fn get_acl(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = find(request).await?;
    let owner = request.state.shared.identities.shown_owner(&bucket);
    let mut out = Vec::with_capacity(512);
    acl::write(&mut out, owner);
    Ok(request.to.xml(200, out))
}

/// Accepts what changes nothing, refuses the rest.
pub async fn put_acl(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_document(request, body).await?;
    let bucket = find(request).await?;
    let owner = request.state.shared.identities.shown_owner(&bucket);
    acl::check_put(request.head, &xml, owner.id)?;
    Ok(request.to.empty(200, |_| {}))
}

/// The bucket, and in object scope the object, must be there.
async fn find(request: &Request<'_>) -> Result<Arc<Bucket>, Failure> {
    let bucket = request.bucket()?;
    if request.route.operation.scope == Scope::Object {
        let lookup = versions::lookup(request, &bucket, false)?;
        let found = request.state.peers.call(lookup.place.pg, lookup).await;
        found.map_err(|error| name_key(error.into(), request.route.key()))?;
    }
    Ok(bucket)
}
