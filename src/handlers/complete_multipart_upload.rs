//! CompleteMultipartUpload.

use stria_base::limits::{PART_BYTES_MIN, PART_COUNT_MAX};
use stria_engine::{
    EngineError,
    calls::{CompleteUpload, ListParts, Lookup, PartEntry, PickedPart, UploadPlace},
    object::{Etag, ObjectMeta, Version, VersionSelector},
};
use stria_meta::Bucket;
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, Checksum, ChecksumType, Hasher, combine_full_object, composite},
    request::{CompleteMultipartUpload, CompletePart},
    response::{CompleteResult, complete_upload},
};

use super::{
    Request, acl,
    door::owns_upload,
    name_key,
    object_meta::{
        checksum_type, parse_etag, stored_checksum, wire_algorithm, wire_checksum, write_condition,
    },
    store_body::read_xml,
    upload_part::check_algorithm,
    versions,
};
use crate::conn::{
    body::Body,
    failure::Failure,
    reply::{Reply, field},
};

/// The object the parts make.
struct Assembled {
    picked: Vec<PickedPart>,
    meta: ObjectMeta,
}

/// Checks the parts, does the arithmetic over them, and makes the object in one record.
pub async fn complete_multipart_upload(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let Request { state, head, route, .. } = request;
    let xml = read_xml(request.payload, body).await?;
    let wanted = CompleteMultipartUpload::parse(route, head, &xml)?;
    let bucket = request.bucket()?;
    let upload = request.upload(&bucket, &wanted.upload_id).await?;
    let pg = upload.place.pg;
    let list = ListParts { upload: upload.clone(), after: 0, parts_max: usize::from(PART_COUNT_MAX) };
    let page = match state.peers.call(pg, list).await {
        Ok(page) => page,
        Err(EngineError::NoSuchUpload) => return completed_before(request, &bucket, &upload, &wanted).await,
        Err(error) => return Err(error.into()),
    };
    let mut assembled = assemble(&wanted, &page.upload, &page.parts)?;
    assembled.meta.acl = acl::of_completed(request, &bucket, &page.upload.acl);
    let meta = assembled.meta.clone();
    let complete = CompleteUpload {
        upload,
        parts: assembled.picked,
        meta: assembled.meta,
        condition: write_condition(&wanted.conditions),
        mode: versions::mode(&bucket),
    };
    let completed = state.peers.call(pg, complete).await;
    let completed = completed.map_err(|error| name_key(error.into(), route.key()))?;
    Ok(answer(request, &meta, completed.version))
}

fn answer(request: &Request<'_>, meta: &ObjectMeta, version: Option<Version>) -> Reply {
    let (bucket, key) = (request.route.bucket(), request.route.key());
    let host = String::from_utf8_lossy(request.head.host()).into_owned();
    let mut encoded = Vec::new();
    stria_http::percent::encode(key.as_bytes(), stria_http::percent::Keep::Slash, &mut encoded);
    let location = format!("http://{host}/{bucket}/{}", String::from_utf8_lossy(&encoded));
    let etag = meta.etag.to_string();
    let checksum = meta.checksum.as_ref().and_then(wire_checksum);
    let result = CompleteResult {
        location: &location,
        bucket,
        key,
        etag: &etag,
        checksum: checksum.map(|(checksum, kind)| (checksum, kind, usize::from(meta.etag.part_count))),
    };
    let mut out = Vec::with_capacity(512);
    complete_upload(&mut out, &result, false);
    request.to.bytes(200, Some("application/xml"), out.into(), |out| {
        if let Some(version) = version {
            field(out, "x-amz-version-id", versions::print(version).as_bytes());
        }
    })
}

/// A client that lost the answer asks again: when the key holds what this upload made, the answer is the
/// same.
async fn completed_before(
    request: &Request<'_>,
    bucket: &Bucket,
    upload: &UploadPlace,
    wanted: &CompleteMultipartUpload,
) -> Result<Reply, Failure> {
    let missing = || S3Error::from(ErrorCode::NoSuchUpload).with("UploadId", wanted.upload_id.as_bytes());
    let version = VersionSelector::Current;
    let lookup = Lookup { place: upload.place.clone(), version, body: false };
    let found = request.state.peers.call(upload.place.pg, lookup).await.map_err(|_| missing())?;
    match &found.meta.parts {
        Some(parts) if parts.id == upload.id && owns_upload(request, bucket, &found.meta) => {
            Ok(answer(request, &found.meta, found.meta.version))
        }
        _ => Err(missing().into()),
    }
}

/// Picks the wanted parts among the uploaded ones and computes size, ETag and checksum.
fn assemble(
    wanted: &CompleteMultipartUpload,
    upload: &ObjectMeta,
    uploaded: &[PartEntry],
) -> Result<Assembled, S3Error> {
    let mut parts: Vec<&PartEntry> = Vec::with_capacity(wanted.parts.len());
    for part in &wanted.parts {
        parts.push(pick(part, uploaded)?);
    }
    assert!(parts.is_sorted_by(|a, b| a.number < b.number), "the parser takes ascending numbers only");
    check_sizes(&parts)?;
    let size: u64 = parts.iter().map(|part| part.meta.size).sum();
    if wanted.object_bytes.is_some_and(|bytes| bytes != size) {
        let message = "The provided 'x-amz-mp-object-size' header does not match what was computed.";
        return Err(S3Error::new(ErrorCode::InvalidRequest, message));
    }
    let md5s: Vec<u8> = parts.iter().flat_map(|part| part.meta.etag.md5).collect();
    let digest = Hasher::of(Algorithm::Md5, &md5s);
    let mut meta = ObjectMeta { size, checksum: None, ..upload.clone() };
    meta.etag = Etag {
        md5: digest.digest.as_bytes().try_into().expect("MD5 has 16 bytes"),
        part_count: parts.len() as u16,
    };
    let checksum = object_checksum(wanted, upload, &parts)?;
    meta.checksum = checksum.map(|(checksum, kind)| stored_checksum(&checksum, kind));
    let picked = parts
        .iter()
        .map(|part| PickedPart { number: part.number, seq: part.seq, bytes: part.meta.size })
        .collect();
    Ok(Assembled { picked, meta })
}

fn pick<'p>(wanted: &CompletePart, uploaded: &'p [PartEntry]) -> Result<&'p PartEntry, S3Error> {
    let number = wanted.part_number;
    let invalid = || S3Error::from(ErrorCode::InvalidPart).with("PartNumber", number.to_string().as_bytes());
    let found = uploaded.binary_search_by_key(&number, |part| part.number).map_err(|_| invalid())?;
    let part = &uploaded[found];
    if parse_etag(&wanted.etag) != Some(part.meta.etag) {
        return Err(invalid().with("ETag", wanted.etag.as_bytes()));
    }
    if let Some(checksum) = &wanted.checksum
        && part.meta.checksum.as_ref().and_then(wire_checksum).map(|(known, _)| known) != Some(*checksum)
    {
        return Err(invalid());
    }
    Ok(part)
}

fn check_sizes(parts: &[&PartEntry]) -> Result<(), S3Error> {
    let Some((_, all_but_last)) = parts.split_last() else { return Err(ErrorCode::MalformedXML.into()) };
    match all_but_last.iter().find(|part| part.meta.size < PART_BYTES_MIN) {
        None => Ok(()),
        Some(part) => Err(S3Error::from(ErrorCode::EntityTooSmall)
            .with("ProposedSize", part.meta.size.to_string().as_bytes())
            .with("MinSizeAllowed", PART_BYTES_MIN.to_string().as_bytes())
            .with("PartNumber", part.number.to_string().as_bytes())
            .with("ETag", part.meta.etag.to_string().as_bytes())),
    }
}

/// The object's checksum: of the algorithm and type the upload asked for, else CRC64NVME over the whole. `None`
/// when the parts have checksums of several algorithms.
fn object_checksum(
    wanted: &CompleteMultipartUpload,
    upload: &ObjectMeta,
    parts: &[&PartEntry],
) -> Result<Option<(Checksum, ChecksumType)>, S3Error> {
    let (algorithm, kind) = match &upload.checksum {
        Some(asked) => (wire_algorithm(asked.algorithm), checksum_type(asked.composite)),
        None => {
            check_algorithm(None, wanted.checksum.map(|checksum| checksum.algorithm))?;
            (Algorithm::Crc64Nvme, ChecksumType::FullObject)
        }
    };
    if wanted.checksum_type.is_some_and(|given| given != kind && upload.checksum.is_some()) {
        let message = "The upload was created using another checksum type than the complete request gives.";
        return Err(S3Error::new(ErrorCode::BadDigest, message));
    }
    let of_parts: Vec<(Checksum, u64)> = parts
        .iter()
        .filter_map(|part| Some((part.meta.checksum.as_ref().and_then(wire_checksum)?.0, part.meta.size)))
        .collect();
    let computed = match kind {
        _ if of_parts.len() != parts.len() => None,
        ChecksumType::FullObject => combine_full_object(algorithm, &of_parts),
        ChecksumType::Composite => {
            composite(algorithm, &of_parts.iter().map(|(checksum, _)| *checksum).collect::<Vec<_>>())
        }
    };
    if let (Some(expected), Some(computed)) = (&wanted.checksum, &computed)
        && expected.algorithm == computed.algorithm
        && expected != computed
    {
        return Err(S3Error::new(
            ErrorCode::BadDigest,
            "The checksum of the object does not match the one given.",
        ));
    }
    Ok(computed.map(|checksum| (checksum, kind)))
}
