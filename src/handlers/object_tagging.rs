//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use stria_engine::calls::{Amend, Amendment};
use stria_s3::config::tags::{OBJECT_TAGS_MAX, TagSet, write_tagging};

use super::{
    Request,
    door::{find, find_version},
    name_key,
    store_body::read_document,
    versions,
};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// The tags of an object; none is a document without tags.
pub async fn get_object_tagging(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    let (found, _) = find(request, &bucket, false).await?;
    let mut out = Vec::with_capacity(256);
    write_tagging(&mut out, &TagSet::decode(&found.meta.tags));
    Ok(request.to.bytes(200, Some("application/xml"), out.into(), |out| {
        versions::write_id(out, &bucket, found.meta.version);
    }))
}

/// Replaces the tags of an object.
pub async fn put_object_tagging(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_document(request, body).await?;
    let tags = TagSet::parse_document(&xml, OBJECT_TAGS_MAX)?;
    set(request, tags, 200).await
}

/// Removes the tags of an object.
pub async fn delete_object_tagging(request: &Request<'_>) -> Result<Reply, Failure> {
    set(request, TagSet::default(), 204).await
}

async fn set(request: &Request<'_>, tags: TagSet, status: u16) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    let version = versions::wanted(request)?;
    let place = request.place(&bucket);
    let (found, _) = find_version(request, &bucket, version, false).await?;
    let amendment = Amendment::Tags { judged: found.meta.acl, tags: tags.encode().into() };
    let change = Amend { place: place.clone(), version, amendment };
    let changed = request.state.peers.call(place.pg, change).await;
    let version = changed.map_err(|error| name_key(error.into(), request.route.key()))?;
    Ok(request.to.empty(status, |out| versions::write_id(out, &bucket, version)))
}
