//! PutObject.

use stria_engine::{
    EngineError, calls,
    calls::{Place, Written},
    object::{ObjectMeta, Versioning},
    precondition::WriteCondition,
};
use stria_meta::Bucket;
use stria_s3::{
    checksum::{Algorithm, BodyHasher, ChecksumType},
    request::{PutObject, stored_length},
};

use stria_store::NewBody;

use super::{
    Request, acl, name_key,
    object_meta::{etag_text, put_content, stored_checksum, write_condition},
    store_body::{from_request, payload_sha256},
    versions,
};
use crate::conn::{
    body::Body,
    failure::Failure,
    reply::{Reply, field},
};

/// Takes the body in, makes it durable, then makes it the object.
pub async fn put_object(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let Request { state, head, payload, to, .. } = request;
    let wanted = PutObject::parse(head, payload.is_streaming(), payload.has_trailer())?;
    let length = stored_length(head.framing(), body.decoded())?;
    let bucket = request.bucket()?;
    let place = request.place(&bucket);
    let mut meta = ObjectMeta::new(length, [0; 16]);
    meta.acl = acl::of_write(request, head, &bucket)?;
    put_content(&mut meta, &wanted.content)?;
    let hasher = BodyHasher::new(wanted.checksums, payload_sha256(*payload), Algorithm::Crc64Nvme);
    let stored = from_request(state, &place, body, hasher, length).await?;
    meta.etag.md5 = stored.digests.md5;
    let checksum = stored.digests.checksum;
    meta.checksum = Some(stored_checksum(&checksum, ChecksumType::FullObject));
    let etag = etag_text(&meta.etag);
    let condition = write_condition(&wanted.conditions);
    let written = put_in(request, &bucket, place, meta, stored.body, condition).await;
    let written = written.map_err(|error| name_key(error.into(), request.route.key()))?;
    Ok(to.empty(200, |out| {
        if written.version.is_some() {
            versions::write_id(out, &bucket, written.version);
        }
        field(out, "ETag", etag.quoted());
        field(out, checksum.algorithm.header(), checksum.to_base64().as_bytes());
        field(out, "x-amz-checksum-type", ChecksumType::FullObject.name().as_bytes());
    }))
}

/// Puts an object the way its bucket keeps versions.
///
/// # Errors
/// Of the engine.
pub async fn put_in(
    request: &Request<'_>,
    bucket: &Bucket,
    place: Place,
    meta: ObjectMeta,
    body: NewBody,
    condition: WriteCondition,
) -> Result<Written, EngineError> {
    let peers = &request.state.peers;
    let pg = place.pg;
    match versions::mode(bucket) {
        Versioning::Off => peers.call(pg, calls::PutObject { place, meta, body, condition }).await,
        mode => peers.call(pg, calls::PutVersion { place, meta, body, condition, mode }).await,
    }
}
