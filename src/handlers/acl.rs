//! GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl, where the bucket's owner owns everything.

use stria_s3::{Scope, config::acl, response::Owner};

use super::{Request, list_objects::OWNER_NAME, name_key, store_body::read_document, versions};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// The one grant there is.
pub async fn get_acl(request: &Request<'_>) -> Result<Reply, Failure> {
    find(request).await?;
    let owner = Owner { id: &request.state.shared.owner_id, display_name: OWNER_NAME };
    let mut out = Vec::with_capacity(512);
    acl::write(&mut out, owner);
    Ok(request.to.xml(200, out))
}

/// Accepts what changes nothing, refuses the rest.
pub async fn put_acl(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_document(request, body).await?;
    find(request).await?;
    acl::check_put(request.head, &xml, &request.state.shared.owner_id)?;
    Ok(request.to.empty(200, |_| {}))
}

/// The bucket, and in object scope the object, must be there.
async fn find(request: &Request<'_>) -> Result<(), Failure> {
    let bucket = request.bucket()?;
    if request.route.operation.scope == Scope::Object {
        let lookup = versions::lookup(request, &bucket, false)?;
        let found = request.state.peers.call(lookup.place.pg, lookup).await;
        found.map_err(|error| name_key(error.into(), request.route.key()))?;
    }
    Ok(())
}
