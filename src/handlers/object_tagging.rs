//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use stria_engine::calls::{Lookup, SetTags};
use stria_s3::config::tags::{OBJECT_TAGS_MAX, TagSet, write_tagging};

use super::{Request, delete_object::check_version, name_key, store_body::read_document};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// The tags of an object; none is a document without tags.
pub async fn get_object_tagging(request: &Request<'_>) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    check_version(request.version_id()?.as_deref())?;
    let place = request.place(&bucket);
    let found = request.state.peers.call(place.pg, Lookup { place: place.clone(), body: false }).await;
    let found = found.map_err(|error| name_key(error.into(), request.route.key()))?;
    let mut out = Vec::with_capacity(256);
    write_tagging(&mut out, &TagSet::decode(&found.meta.tags));
    Ok(request.to.xml(200, out))
}

/// Replaces the tags of an object.
pub async fn put_object_tagging(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_document(request, body).await?;
    let tags = TagSet::parse_document(&xml, OBJECT_TAGS_MAX)?;
    set(request, tags).await?;
    Ok(request.to.empty(200, |_| {}))
}

/// Removes the tags of an object.
pub async fn delete_object_tagging(request: &Request<'_>) -> Result<Reply, Failure> {
    set(request, TagSet::default()).await?;
    Ok(request.to.empty(204, |_| {}))
}

async fn set(request: &Request<'_>, tags: TagSet) -> Result<(), Failure> {
    let bucket = request.bucket()?;
    check_version(request.version_id()?.as_deref())?;
    let place = request.place(&bucket);
    let change = SetTags { place: place.clone(), tags: tags.encode().into() };
    let changed = request.state.peers.call(place.pg, change).await;
    changed.map_err(|error| name_key(error.into(), request.route.key()))
}
