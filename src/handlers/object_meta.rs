//! Between the wire's description of an object and the engine's.
//!
//! Invariant: what a client stored comes back as it was given; the two sides' enumerations are matched
//! exhaustively here and nowhere else.

use stria_engine::object::{
    ChecksumAlgorithm, ContentHeader as Stored, Etag, ObjectMeta, StorageClass as StoredClass, StoredChecksum,
};
use stria_engine::precondition::WriteCondition;
use stria_http::response;
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, Checksum, ChecksumType, Digest, EtagText},
    conditions::{Conditions, ObjectState, Tags},
    config::tags::TagSet,
    content::{Content, ContentHeader, ContentHeaders, DEFAULT_CONTENT_TYPE, StorageClass},
    error::S3Error as Error,
};

use crate::conn::reply::field;

/// The engine's form of a storage class.
///
/// # Errors
/// `InvalidStorageClass` for a class of directory buckets.
pub fn stored_class(class: StorageClass) -> Result<StoredClass, S3Error> {
    StoredClass::from_name(class.name().as_bytes()).ok_or_else(|| {
        Error::from(ErrorCode::InvalidStorageClass).with("StorageClassRequested", class.name().as_bytes())
    })
}

/// The wire's form of a storage class.
pub fn wire_class(class: StoredClass) -> StorageClass {
    StorageClass::from_name(class.name().as_bytes()).unwrap_or_default()
}

fn stored_header(header: ContentHeader) -> Stored {
    match header {
        ContentHeader::CacheControl => Stored::CacheControl,
        ContentHeader::ContentDisposition => Stored::ContentDisposition,
        ContentHeader::ContentEncoding => Stored::ContentEncoding,
        ContentHeader::ContentLanguage => Stored::ContentLanguage,
        ContentHeader::ContentType => Stored::ContentType,
        ContentHeader::Expires => Stored::Expires,
    }
}

/// Puts what a request says of an object into its metadata.
///
/// # Errors
/// As [`stored_class`].
pub fn put_content(meta: &mut ObjectMeta, content: &Content) -> Result<(), S3Error> {
    meta.storage_class = stored_class(content.storage_class)?;
    meta.tags = content.tags.encode().into();
    meta.headers =
        content.headers.iter().map(|(header, value)| (stored_header(*header), value.clone())).collect();
    if let Some(location) = &content.website_redirect {
        meta.headers.push((Stored::WebsiteRedirect, location.clone()));
    }
    meta.user =
        content.metadata.iter().map(|(name, value)| (name.as_bytes().into(), value.clone())).collect();
    Ok(())
}

/// The engine's name of a checksum algorithm.
pub fn stored_algorithm(algorithm: Algorithm) -> ChecksumAlgorithm {
    match algorithm {
        Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
        Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
        Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
        Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
        Algorithm::Sha512 => ChecksumAlgorithm::Sha512,
        Algorithm::Md5 => ChecksumAlgorithm::Md5,
        Algorithm::Xxhash64 => ChecksumAlgorithm::Xxhash64,
        Algorithm::Xxhash3 => ChecksumAlgorithm::Xxhash3,
        Algorithm::Xxhash128 => ChecksumAlgorithm::Xxhash128,
    }
}

/// The wire's name of a checksum algorithm.
pub fn wire_algorithm(algorithm: ChecksumAlgorithm) -> Algorithm {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
        ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
        ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
        ChecksumAlgorithm::Sha512 => Algorithm::Sha512,
        ChecksumAlgorithm::Md5 => Algorithm::Md5,
        ChecksumAlgorithm::Xxhash64 => Algorithm::Xxhash64,
        ChecksumAlgorithm::Xxhash3 => Algorithm::Xxhash3,
        ChecksumAlgorithm::Xxhash128 => Algorithm::Xxhash128,
    }
}

/// A checksum to be stored.
pub fn stored_checksum(checksum: &Checksum, kind: ChecksumType) -> StoredChecksum {
    StoredChecksum {
        algorithm: stored_algorithm(checksum.algorithm),
        composite: kind == ChecksumType::Composite,
        value: checksum.digest.as_bytes().into(),
    }
}

/// A stored checksum and what it covers; `None` when it has no value (an upload's request).
pub fn wire_checksum(stored: &StoredChecksum) -> Option<(Checksum, ChecksumType)> {
    let checksum =
        Checksum { algorithm: wire_algorithm(stored.algorithm), digest: Digest::new(&stored.value)? };
    Some((checksum, checksum_type(stored.composite)))
}

/// The wire's name of what a checksum covers.
pub fn checksum_type(composite: bool) -> ChecksumType {
    if composite { ChecksumType::Composite } else { ChecksumType::FullObject }
}

/// An ETag as text.
pub fn etag_text(etag: &Etag) -> EtagText {
    EtagText::new(&etag.md5, etag.part_count)
}

/// An ETag as a client may send it, without quotes; `None` is one that no object of ours has.
pub fn parse_etag(text: &str) -> Option<Etag> {
    let (hex, count) = match text.split_once('-') {
        Some((hex, count)) => (hex, count.parse().ok().filter(|count| *count > 0)?),
        None => (text, 0),
    };
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some(Etag { md5: u128::from_str_radix(hex, 16).ok()?.to_be_bytes(), part_count: count })
}

/// The engine's form of If-Match and If-None-Match of a write.
pub fn write_condition(conditions: &Conditions) -> WriteCondition {
    match (&conditions.if_none_match, &conditions.if_match) {
        (Some(_), _) => WriteCondition::Absent,
        (None, Some(tags)) => match_condition(tags),
        (None, None) => WriteCondition::Always,
    }
}

/// The engine's form of If-Match.
pub fn match_condition(tags: &Tags) -> WriteCondition {
    match tags {
        Tags::Any => WriteCondition::Present,
        Tags::List(tags) => WriteCondition::Matches(tags.iter().find_map(|tag| parse_etag(tag))),
    }
}

/// What conditions of reads are compared with.
pub fn object_state<'e>(meta: &ObjectMeta, etag: &'e str) -> ObjectState<'e> {
    ObjectState { etag, last_modified_unix_s: meta.modified_ms / 1000 }
}

/// Writes the headers every answer about an object has.
pub fn write_object_headers(
    head: &mut response::Head<'_>,
    meta: &ObjectMeta,
    etag: &EtagText,
    overrides: &ContentHeaders,
    checksum: bool,
) {
    field(head, "Last-Modified", &stria_http::date::format_http(meta.modified_ms / 1000));
    field(head, "ETag", etag.quoted());
    head.constant("Accept-Ranges", "bytes");
    for header in ContentHeader::ALL {
        let given = overrides.iter().find(|(name, _)| *name == header).map(|(_, value)| &**value);
        match given.or_else(|| meta.header(stored_header(header))) {
            Some(value) => field(head, header.name(), value),
            None if header == ContentHeader::ContentType => {
                head.constant("Content-Type", DEFAULT_CONTENT_TYPE);
            }
            None => {}
        }
    }
    if let Some(location) = meta.header(Stored::WebsiteRedirect) {
        field(head, "x-amz-website-redirect-location", location);
    }
    for (name, value) in &meta.user {
        if let Ok(name) = std::str::from_utf8(name) {
            field(head, &format!("x-amz-meta-{name}"), value);
        }
    }
    if meta.storage_class != StoredClass::Standard {
        field(head, "x-amz-storage-class", meta.storage_class.name().as_bytes());
    }
    if !meta.tags.is_empty() {
        head.number("x-amz-tagging-count", TagSet::decode(&meta.tags).pairs().len() as u64);
    }
    if checksum {
        write_checksum(head, meta);
    }
}

/// Writes the checksum headers of an object.
fn write_checksum(head: &mut response::Head<'_>, meta: &ObjectMeta) {
    let Some((checksum, kind)) = meta.checksum.as_ref().and_then(wire_checksum) else { return };
    let text = match kind {
        ChecksumType::Composite => format!("{}-{}", checksum.to_base64(), meta.etag.part_count),
        ChecksumType::FullObject => checksum.to_base64(),
    };
    field(head, checksum.algorithm.header(), text.as_bytes());
    field(head, "x-amz-checksum-type", kind.name().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_the_wire_but_one_is_kept() {
        for class in StorageClass::ALL {
            match stored_class(*class) {
                Ok(stored) => assert_eq!(wire_class(stored), *class),
                Err(_) => assert_eq!(class.name(), "EXPRESS_ONEZONE"),
            }
        }
    }

    #[test]
    fn every_checksum_comes_back_as_what_it_was_stored_as() {
        assert_eq!(Algorithm::ALL.len(), ChecksumAlgorithm::ALL.len());
        for algorithm in Algorithm::ALL {
            let checksum = stria_s3::checksum::Hasher::of(algorithm, b"abc");
            for kind in [ChecksumType::Composite, ChecksumType::FullObject] {
                let stored = stored_checksum(&checksum, kind);
                assert_eq!(wire_checksum(&stored), Some((checksum, kind)));
            }
        }
    }

    #[test]
    fn only_etags_of_ours_parse() {
        let simple = parse_etag(&"0f".repeat(16)).expect("an MD5");
        assert_eq!((simple.md5, simple.part_count), ([15; 16], 0));
        assert_eq!(parse_etag(&format!("{}-3", "0f".repeat(16))).map(|etag| etag.part_count), Some(3));
        for odd in ["", "x", "*", &"0g".repeat(16), &format!("{}-0", "0f".repeat(16)), &"+f".repeat(16)] {
            assert_eq!(parse_etag(odd), None, "{odd}");
        }
    }
}
