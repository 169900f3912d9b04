//! UploadPart.

use stria_engine::{
    calls::{FindUpload, PutPart},
    object::ObjectMeta,
};
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, BodyHasher, ChecksumType},
    request::{UploadPart, stored_length},
};

use super::{
    Request,
    object_meta::{stored_checksum, wire_algorithm, wire_checksum},
    store_body::{from_request, payload_sha256},
};
use crate::conn::{
    body::Body,
    failure::Failure,
    reply::{Reply, field},
};

/// Takes the part in, makes it durable, then makes it the part of that number.
pub async fn upload_part(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let Request { state, head, route, payload, to, .. } = request;
    let wanted = UploadPart::parse(route, head, payload.has_trailer())?;
    let length = stored_length(head.framing(), body.decoded())?;
    let bucket = request.bucket()?;
    let upload = request.upload(&bucket, &wanted.upload_id).await?;
    let pg = upload.place.pg;
    let started = state.peers.call(pg, FindUpload { upload: upload.clone() }).await?;
    let asked = asked_algorithm(&started);
    check_algorithm(asked, wanted.checksums.algorithm())?;
    let default = asked.unwrap_or(Algorithm::Crc64Nvme);
    let hasher = BodyHasher::new(wanted.checksums, payload_sha256(*payload), default);
    let stored = from_request(state, &upload.place, body, hasher, length).await?;
    let mut meta = ObjectMeta::new(length, stored.digests.md5);
    meta.checksum = Some(stored_checksum(&stored.digests.checksum, ChecksumType::FullObject));
    let (etag, checksum) = (meta.etag.to_string(), meta.checksum.as_ref().and_then(wire_checksum));
    let put = PutPart { upload, number: wanted.part_number, meta, body: stored.body };
    state.peers.call(pg, put).await?;
    Ok(to.empty(200, |out| {
        field(out, "ETag", format!("\"{etag}\"").as_bytes());
        if let Some((checksum, _)) = checksum {
            field(out, checksum.algorithm.header(), checksum.to_base64().as_bytes());
        }
    }))
}

/// The checksum algorithm an upload was started with.
pub fn asked_algorithm(upload: &ObjectMeta) -> Option<Algorithm> {
    upload.checksum.as_ref().map(|checksum| wire_algorithm(checksum.algorithm))
}

/// Parts of an upload that asked for one algorithm cannot carry another; of one that asked for none, none of
/// those that must be declared.
///
/// # Errors
/// `InvalidRequest`
pub fn check_algorithm(asked: Option<Algorithm>, given: Option<Algorithm>) -> Result<(), S3Error> {
    match (asked, given) {
        (Some(asked), Some(given)) if asked != given => {
            let message = "Checksum Type mismatch occurred: the checksum of the part is of another algorithm than the upload was started with.";
            Err(S3Error::new(ErrorCode::InvalidRequest, message)
                .with("ExpectedChecksumType", asked.name().as_bytes())
                .with("ActualChecksumType", given.name().as_bytes()))
        }
        (None, Some(given)) if given.must_be_declared() => {
            let message = "The upload was not created with this checksum algorithm.";
            Err(S3Error::new(ErrorCode::InvalidRequest, message)
                .with("ActualChecksumType", given.name().as_bytes()))
        }
        _ => Ok(()),
    }
}
