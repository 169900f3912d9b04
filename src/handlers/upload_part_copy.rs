//! UploadPartCopy.

use stria_base::limits::PUT_BYTES_MAX;
use stria_engine::{
    calls::{FindUpload, PutPart},
    object::ObjectMeta,
};
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, ChecksumType},
    request::UploadPartCopy,
    response::{CopyResult, copy_result},
};

use super::{
    Request,
    copy_object::{SOURCE_VERSION_HEADER, find_source, plain_hasher},
    object_meta::{stored_checksum, wire_checksum},
    store_body::from_object,
    upload_part::asked_algorithm,
    versions,
};
use crate::conn::{failure::Failure, reply::Reply, stream::ObjectStream};

/// Copies a range of an object into a part.
pub async fn upload_part_copy(request: &Request<'_>) -> Result<Reply, Failure> {
    let Request { state, head, route, to, .. } = request;
    let wanted = UploadPartCopy::parse(route, head)?;
    let bucket = request.bucket()?;
    let upload = request.upload(&bucket, &wanted.upload_id).await?;
    let pg = upload.place.pg;
    let started = state.peers.call(pg, FindUpload { upload: upload.clone() }).await?;
    let (source_bucket, source_place, found, pin) =
        find_source(request, &wanted.source, &wanted.source_conditions).await?;
    let (start, end) = match wanted.range {
        Some(range) => {
            let range = range.check(found.meta.size)?;
            (range.first, range.last + 1)
        }
        None => (0, found.meta.size),
    };
    if end - start > PUT_BYTES_MAX {
        return Err(S3Error::from(ErrorCode::EntityTooLarge).into());
    }
    let algorithm = asked_algorithm(&started).unwrap_or(Algorithm::Crc64Nvme);
    let mut source = ObjectStream::new(state, &source_place, &found, start, end, pin);
    let stored = from_object(state, &upload.place, &mut source, plain_hasher(algorithm), end - start).await?;
    let mut meta = ObjectMeta::new(end - start, stored.digests.md5);
    meta.checksum = Some(stored_checksum(&stored.digests.checksum, ChecksumType::FullObject));
    let (etag, checksum) = (meta.etag.to_string(), meta.checksum.as_ref().and_then(wire_checksum));
    let put = PutPart { upload, number: wanted.part_number, meta, body: stored.body };
    let written = state.peers.call(pg, put).await?;
    let mut out = Vec::with_capacity(512);
    let result = CopyResult {
        etag: &etag,
        last_modified_unix_ms: written.modified_ms,
        checksum: checksum.map(|(checksum, _)| checksum),
        checksum_type: None,
    };
    copy_result(&mut out, &result, true);
    Ok(to.bytes(200, Some("application/xml"), out.into(), |out| {
        versions::write_id_as(SOURCE_VERSION_HEADER, out, &source_bucket, found.meta.version);
    }))
}
