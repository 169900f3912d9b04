//! GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl, and the lists that writes bring with them.
//!
//! Invariant: the owner never changes with a list, and a list that is nobody's but the bucket's owner's is not stored.
//! Runs on the accepting core.

use stria_engine::calls::{Amend, Amendment};
use stria_http::Head;
use stria_meta::Bucket;
use stria_s3::{
    ErrorCode, S3Error, Scope,
    config::acl::{self, Acl, Parties},
};

use super::{
    Request, bucket_config,
    door::{Ownership, bucket_acl, find, find_version, is_blocked, object_acl},
    name_key,
    store_body::read_document,
    versions,
};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// The list of the bucket or object; where lists are off, its owner's full control.
pub async fn get_acl(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    let identities = &request.state.shared.identities;
    let owner = identities.shown_owner(&bucket);
    let private = || Acl::private(owner.id);
    let (acl, version) = if request.route.operation.scope == Scope::Object {
        let (found, _) = find(request, &bucket, false).await?;
        let acl = match Ownership::of(&bucket) {
            Ownership::Enforced => private(),
            _ => object_acl(identities, &bucket, &found.meta),
        };
        (acl, found.meta.version)
    } else {
        (bucket_acl(&bucket).unwrap_or_else(private), None)
    };
    let mut out = Vec::with_capacity(512);
    // A bucket's owner of the first stores is known by its access key.
    acl.write(&mut out, |id| if id == owner.id { owner } else { identities.shown(id) });
    Ok(request.to.bytes(200, Some("application/xml"), out.into(), |out| {
        if version.is_some() {
            versions::write_id(out, &bucket, version);
        }
    }))
}

/// Replaces the list.
pub async fn put_acl(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_document(request, body).await?;
    let bucket = request.bucket()?;
    let identities = &request.state.shared.identities;
    let bucket_owner = identities.shown_owner(&bucket).id;
    let is_object = request.route.operation.scope == Scope::Object;
    let version = versions::wanted(request)?;
    let found = if is_object { Some(find_version(request, &bucket, version, false).await?.0) } else { None };
    let parties = Parties { owner: bucket_owner, bucket_owner: None, directory: identities };
    if Ownership::of(&bucket) == Ownership::Enforced {
        acl::check_closed(request.head, &xml, &parties)?;
        return Ok(request.to.empty(200, |_| {}));
    }
    let Some(found) = found else {
        let acl = acl::of_put(request.head, &xml, &parties)?;
        check_public(&bucket, &acl)?;
        let stored = stored(&acl, bucket_owner);
        let stored = Some(stored).filter(|stored| !stored.is_empty());
        bucket_config::set(request, &bucket, "acl".to_owned(), stored).await?;
        return Ok(request.to.empty(200, |_| {}));
    };
    let current = object_acl(identities, &bucket, &found.meta);
    let parties = Parties { owner: &current.owner, bucket_owner: Some(bucket_owner), directory: identities };
    let acl = acl::of_put(request.head, &xml, &parties)?;
    check_public(&bucket, &acl)?;
    let amendment =
        Amendment::Acl { judged: found.meta.acl, acl: stored(&acl, bucket_owner).into_bytes().into() };
    let place = request.place(&bucket);
    let amended = request.state.peers.call(place.pg, Amend { place, version, amendment }).await;
    let version = amended.map_err(|error| name_key(error.into(), request.route.key()))?;
    Ok(request.to.empty(200, |out| {
        if version.is_some() {
            versions::write_id(out, &bucket, version);
        }
    }))
}

/// As a row or a bucket keeps it: empty when it is the bucket's owner's alone.
fn stored(acl: &Acl, bucket_owner: &str) -> String {
    if acl.is_private_of(bucket_owner) { String::new() } else { acl.encode() }
}

fn check_public(bucket: &Bucket, acl: &Acl) -> Result<(), S3Error> {
    if acl.is_public() && is_blocked(bucket, "BlockPublicAcls") {
        return Err(ErrorCode::AccessDenied.into());
    }
    Ok(())
}

/// The list of an object that this request writes, as its row keeps it.
///
/// # Errors
/// `AccessControlListNotSupported` where lists are off, `AccessDenied` for a public one where those are blocked, else
/// of `acl::from_headers`.
pub fn of_write(request: &Request<'_>, head: &Head, bucket: &Bucket) -> Result<Box<[u8]>, S3Error> {
    let acl = of_upload(request, head, bucket)?;
    Ok(of_completed(request, bucket, &acl))
}

/// As [`of_write`], for an upload: it stays its writer's until it is an object.
///
/// # Errors
/// Of [`of_write`].
pub fn of_upload(request: &Request<'_>, head: &Head, bucket: &Bucket) -> Result<Box<[u8]>, S3Error> {
    if Ownership::of(bucket) == Ownership::Enforced {
        return if acl::is_harmless(head) {
            Ok(Box::default())
        } else {
            Err(ErrorCode::AccessControlListNotSupported.into())
        };
    }
    let identities = &request.state.shared.identities;
    let bucket_owner = identities.shown_owner(bucket).id;
    let owner = request.allowed.writer(identities, bucket);
    let parties = Parties { owner, bucket_owner: Some(bucket_owner), directory: identities };
    let acl = acl::from_headers(head, &parties)?.unwrap_or_else(|| Acl::private(owner));
    check_public(bucket, &acl)?;
    Ok(stored(&acl, bucket_owner).into_bytes().into())
}

/// The list of an object from the list of its upload: where the bucket's owner is preferred and was given full
/// control, it is his.
pub fn of_completed(request: &Request<'_>, bucket: &Bucket, upload: &[u8]) -> Box<[u8]> {
    let bucket_owner = request.state.shared.identities.shown_owner(bucket).id;
    match Acl::decode(upload) {
        Some(mut acl)
            if Ownership::of(bucket) == Ownership::Preferred
                && *acl.owner != *bucket_owner
                && acl.gives_all_to(bucket_owner) =>
        {
            let writer = acl::Grantee::Id(std::mem::replace(&mut acl.owner, bucket_owner.into()));
            acl.grants.retain(|grant| grant.grantee != writer);
            stored(&acl, bucket_owner).into_bytes().into()
        }
        _ => upload.into(),
    }
}
