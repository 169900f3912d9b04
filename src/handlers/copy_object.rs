//! CopyObject.

use std::sync::Arc;

use stria_engine::{
    EngineError,
    calls::{Found, Lookup, Place},
    object::ObjectMeta,
};
use stria_meta::Bucket;
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, BodyHasher, ChecksumType, Expected, RequestChecksums},
    conditions::Conditions,
    config::acl::Permission,
    copy_source::CopySource,
    request::{CopyObject, Directive},
    response::{CopyResult, copy_result},
};

use super::{
    Request, acl,
    door::{Needs, look_up},
    name_key,
    object_meta::{object_state, put_content, stored_checksum, stored_class, wire_checksum, write_condition},
    put_object::put_in,
    store_body::from_object,
    versions,
};
use crate::{
    conn::{failure::Failure, reply::Reply, stream::ObjectStream},
    peers::PinGuard,
};

/// Says which version was copied.
pub const SOURCE_VERSION_HEADER: &str = "x-amz-copy-source-version-id";
/// Largest object one CopyObject copies.
const COPY_BYTES_MAX: u64 = stria_base::limits::PUT_BYTES_MAX;

/// Reads the source through this core and puts it as a new object.
pub async fn copy_object(request: &Request<'_>) -> Result<Reply, Failure> {
    let Request { state, head, to, .. } = request;
    let wanted = CopyObject::parse(request.route, head)?;
    let target_bucket = request.bucket()?;
    let (source_bucket, source_place, found, pin) =
        find_source(request, &wanted.source, &wanted.source_conditions).await?;
    let size = found.meta.size;
    if size > COPY_BYTES_MAX {
        let message = "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120";
        return Err(S3Error::new(ErrorCode::InvalidRequest, message).into());
    }
    let mut meta = target_meta(&wanted, &found.meta)?;
    meta.acl = acl::of_write(request, head, &target_bucket)?;
    let place = request.place(&target_bucket);
    let algorithm = wanted.checksum_algorithm.unwrap_or_else(|| source_algorithm(&found.meta));
    let mut source = ObjectStream::new(state, &source_place, &found, 0, size, pin);
    let stored = from_object(state, &place, &mut source, plain_hasher(algorithm), size).await?;
    meta.etag.md5 = stored.digests.md5;
    meta.checksum = Some(stored_checksum(&stored.digests.checksum, ChecksumType::FullObject));
    let etag = meta.etag.to_string();
    let checksum = meta.checksum.as_ref().and_then(wire_checksum);
    let condition = write_condition(&wanted.conditions);
    let written = put_in(request, &target_bucket, place, meta, stored.body, condition).await;
    let written = written.map_err(|error| name_key(error.into(), request.route.key()))?;
    let mut out = Vec::with_capacity(512);
    let result = CopyResult {
        etag: &etag,
        last_modified_unix_ms: written.modified_ms,
        checksum: checksum.map(|(checksum, _)| checksum),
        checksum_type: checksum.map(|(_, kind)| kind),
    };
    copy_result(&mut out, &result, false);
    Ok(to.bytes(200, Some("application/xml"), out.into(), |out| {
        versions::write_id(out, &target_bucket, written.version);
        versions::write_id_as(SOURCE_VERSION_HEADER, out, &source_bucket, found.meta.version);
    }))
}

/// Hashes a body nobody promised anything about.
pub fn plain_hasher(algorithm: Algorithm) -> BodyHasher {
    let nothing = RequestChecksums { content_md5: None, expected: Expected::Nothing };
    BodyHasher::new(nothing, None, algorithm)
}

fn source_algorithm(meta: &ObjectMeta) -> Algorithm {
    let known = meta.checksum.as_ref().and_then(wire_checksum);
    known.map_or(Algorithm::Crc64Nvme, |(checksum, _)| checksum.algorithm)
}

/// Finds and pins a copy's source.
///
/// # Errors
/// `NoSuchBucket`, `NoSuchKey`, `PreconditionFailed`.
pub async fn find_source(
    request: &Request<'_>,
    source: &CopySource,
    conditions: &Conditions,
) -> Result<(Arc<Bucket>, Place, Found, Option<PinGuard>), Failure> {
    let needs = Needs::Object(Permission::Read);
    let bucket = request.source_bucket(&source.bucket, needs)?;
    let version = versions::parse(source.version_id.as_deref())?;
    let place = request.place_of(&bucket, &source.key);
    let lookup = Lookup { place: place.clone(), version, body: true };
    let (found, pin) = match look_up(request, &bucket, lookup, needs).await? {
        Err(EngineError::IsDeleteMarker { named: true, .. }) => {
            let message =
                "The source of a copy request may not specifically refer to a delete marker by version id.";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message).into());
        }
        found => found.map_err(|error| name_key(error.into(), &source.key))?,
    };
    let etag = found.meta.etag.to_string();
    conditions.decide_copy_source(object_state(&found.meta, &etag)).into_result()?;
    Ok((bucket, place, found, pin))
}

/// Metadata of the copy: the source's or the request's, as the directive says. Storage class and redirect are always the
/// request's.
fn target_meta(wanted: &CopyObject, source: &ObjectMeta) -> Result<ObjectMeta, S3Error> {
    let mut meta = ObjectMeta::new(source.size, [0; 16]);
    match wanted.metadata_directive {
        Directive::Replace => put_content(&mut meta, &wanted.content)?,
        Directive::Copy => {
            meta.headers.clone_from(&source.headers);
            meta.headers
                .retain(|(header, _)| *header != stria_engine::object::ContentHeader::WebsiteRedirect);
            meta.user.clone_from(&source.user);
            meta.storage_class = stored_class(wanted.content.storage_class)?;
            if let Some(location) = &wanted.content.website_redirect {
                meta.headers.push((stria_engine::object::ContentHeader::WebsiteRedirect, location.clone()));
            }
        }
    }
    meta.tags = match wanted.tagging_directive {
        Directive::Replace => wanted.content.tags.encode().into(),
        Directive::Copy => source.tags.clone(),
    };
    Ok(meta)
}
