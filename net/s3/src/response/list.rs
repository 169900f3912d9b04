//! Answers to ListObjects, ListObjectsV2 and ListMultipartUploads.
//!
//! Invariant: the parameters echoed are those the client sent, encoded as the keys are. Any core.
//! Owner: `net/s3`.

use super::{Owner, key_characters, key_text};
use crate::checksum::{Algorithm, ChecksumType, EtagText};
use crate::content::StorageClass;
use crate::xml::Writer;

/// One key of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The key.
    pub key: &'a str,
    /// Milliseconds since 1970.
    pub last_modified_unix_ms: u64,
    /// Its entity tag.
    pub etag: EtagText,
    /// The object's checksum algorithm and what it covers.
    pub checksum: Option<(Algorithm, ChecksumType)>,
    /// The object's size in bytes.
    pub size_bytes: u64,
    /// Its storage class.
    pub storage_class: StorageClass,
    /// Its owner, where the listing shows one.
    pub owner: Option<Owner<'a>>,
}

fn contents(xml: &mut Writer<'_>, entry: &Contents<'_>, encode_url: bool) {
    // A page has a thousand of these: adjoining tags are written at once.
    xml.constant("<Contents><Key>");
    key_characters(xml, entry.key, encode_url);
    xml.constant("</Key><LastModified>");
    xml.instant(entry.last_modified_unix_ms);
    xml.constant("</LastModified><ETag>&quot;");
    xml.etag_digits(&entry.etag);
    xml.constant("&quot;</ETag>");
    if let Some((algorithm, kind)) = entry.checksum {
        xml.constant("<ChecksumAlgorithm>");
        xml.constant(algorithm.name());
        xml.constant("</ChecksumAlgorithm><ChecksumType>");
        xml.constant(kind.name());
        xml.constant("</ChecksumType>");
    }
    xml.constant("<Size>");
    xml.digits(entry.size_bytes);
    xml.constant("</Size>");
    if let Some(owner) = &entry.owner {
        owner.write("Owner", xml);
    }
    xml.constant("<StorageClass>");
    xml.constant(entry.storage_class.name());
    xml.constant("</StorageClass></Contents>");
}

pub(super) fn common_prefixes(xml: &mut Writer<'_>, prefixes: &[&str], encode_url: bool) {
    for prefix in prefixes {
        xml.open("CommonPrefixes");
        key_text(xml, "Prefix", prefix, encode_url);
        xml.close("CommonPrefixes");
    }
}

pub(super) fn optional_key(xml: &mut Writer<'_>, element: &str, key: Option<&str>, encode_url: bool) {
    if let Some(key) = key {
        key_text(xml, element, key, encode_url);
    }
}

/// The answer to ListObjects.
#[derive(Clone, Copy, Debug)]
pub struct ListObjectsResult<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// As sent.
    pub prefix: &'a str,
    /// As sent; empty when absent.
    pub marker: &'a str,
    /// As sent.
    pub delimiter: Option<&'a str>,
    /// The page size in force.
    pub max_keys: usize,
    /// Whether there is more.
    pub is_truncated: bool,
    /// Where to go on; S3 sends it only with a delimiter.
    pub next_marker: Option<&'a str>,
    /// As sent.
    pub encode_url: bool,
    /// The keys, in UTF-8 binary order.
    pub contents: &'a [Contents<'a>],
    /// The rolled-up prefixes, in the same order.
    pub common_prefixes: &'a [&'a str],
}

/// Writes the answer to ListObjects.
pub fn list_objects(out: &mut Vec<u8>, result: &ListObjectsResult<'_>) {
    let mut xml = Writer::document(out);
    let url = result.encode_url;
    xml.open_root("ListBucketResult");
    xml.text("Name", result.bucket);
    key_text(&mut xml, "Prefix", result.prefix, url);
    key_text(&mut xml, "Marker", result.marker, url);
    if result.is_truncated {
        optional_key(&mut xml, "NextMarker", result.next_marker.filter(|_| result.delimiter.is_some()), url);
    }
    xml.number("MaxKeys", result.max_keys as u64);
    optional_key(&mut xml, "Delimiter", result.delimiter, url);
    xml.optional("EncodingType", url.then_some("url"));
    xml.boolean("IsTruncated", result.is_truncated);
    result.contents.iter().for_each(|entry| contents(&mut xml, entry, url));
    common_prefixes(&mut xml, result.common_prefixes, url);
    xml.close("ListBucketResult");
}

/// The answer to ListObjectsV2.
#[derive(Clone, Copy, Debug)]
pub struct ListObjectsV2Result<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// As sent.
    pub prefix: &'a str,
    /// As sent.
    pub delimiter: Option<&'a str>,
    /// As sent.
    pub start_after: Option<&'a str>,
    /// As sent.
    pub continuation_token: Option<&'a str>,
    /// Where to go on; present exactly when there is more.
    pub next_continuation_token: Option<&'a str>,
    /// The page size in force.
    pub max_keys: usize,
    /// As sent.
    pub encode_url: bool,
    /// The keys, in UTF-8 binary order.
    pub contents: &'a [Contents<'a>],
    /// The rolled-up prefixes, in the same order.
    pub common_prefixes: &'a [&'a str],
}

/// Writes the answer to ListObjectsV2; keys and common prefixes count alike.
pub fn list_objects_v2(out: &mut Vec<u8>, result: &ListObjectsV2Result<'_>) {
    let mut xml = Writer::document(out);
    let url = result.encode_url;
    let key_count = result.contents.len() + result.common_prefixes.len();
    assert!(key_count <= result.max_keys, "{key_count} keys on a page of {}", result.max_keys);
    xml.open_root("ListBucketResult");
    xml.text("Name", result.bucket);
    key_text(&mut xml, "Prefix", result.prefix, url);
    optional_key(&mut xml, "StartAfter", result.start_after, url);
    xml.optional("ContinuationToken", result.continuation_token);
    xml.optional("NextContinuationToken", result.next_continuation_token);
    xml.number("KeyCount", key_count as u64);
    xml.number("MaxKeys", result.max_keys as u64);
    optional_key(&mut xml, "Delimiter", result.delimiter, url);
    xml.optional("EncodingType", url.then_some("url"));
    xml.boolean("IsTruncated", result.next_continuation_token.is_some());
    result.contents.iter().for_each(|entry| contents(&mut xml, entry, url));
    common_prefixes(&mut xml, result.common_prefixes, url);
    xml.close("ListBucketResult");
}

/// One upload of ListMultipartUploads.
#[derive(Clone, Copy, Debug)]
pub struct UploadEntry<'a> {
    /// The key.
    pub key: &'a str,
    /// The upload.
    pub upload_id: &'a str,
    /// Who started it.
    pub initiator: Owner<'a>,
    /// To whom the object will belong.
    pub owner: Owner<'a>,
    /// Its storage class.
    pub storage_class: StorageClass,
    /// Milliseconds since 1970.
    pub initiated_unix_ms: u64,
    /// Its checksum algorithm and what the object's will cover.
    pub checksum: Option<(Algorithm, ChecksumType)>,
}

/// The answer to ListMultipartUploads.
#[derive(Clone, Copy, Debug)]
pub struct ListUploadsResult<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// As sent.
    pub prefix: &'a str,
    /// As sent.
    pub delimiter: Option<&'a str>,
    /// As sent; empty when absent.
    pub key_marker: &'a str,
    /// As sent; empty when absent.
    pub upload_id_marker: &'a str,
    /// Where to go on, key and upload; present exactly when there is more.
    pub next: Option<(&'a str, &'a str)>,
    /// The page size in force.
    pub max_uploads: usize,
    /// As sent.
    pub encode_url: bool,
    /// The uploads, by key, then by time of initiation.
    pub uploads: &'a [UploadEntry<'a>],
    /// The rolled-up prefixes.
    pub common_prefixes: &'a [&'a str],
}

/// Writes the answer to ListMultipartUploads.
pub fn list_uploads(out: &mut Vec<u8>, result: &ListUploadsResult<'_>) {
    let mut xml = Writer::document(out);
    let url = result.encode_url;
    xml.open_root("ListMultipartUploadsResult");
    xml.text("Bucket", result.bucket);
    key_text(&mut xml, "KeyMarker", result.key_marker, url);
    xml.text("UploadIdMarker", result.upload_id_marker);
    if let Some((key, upload_id)) = result.next {
        key_text(&mut xml, "NextKeyMarker", key, url);
        xml.text("NextUploadIdMarker", upload_id);
    }
    key_text(&mut xml, "Prefix", result.prefix, url);
    optional_key(&mut xml, "Delimiter", result.delimiter, url);
    xml.optional("EncodingType", url.then_some("url"));
    xml.number("MaxUploads", result.max_uploads as u64);
    xml.boolean("IsTruncated", result.next.is_some());
    for upload in result.uploads {
        xml.open("Upload");
        key_text(&mut xml, "Key", upload.key, url);
        xml.text("UploadId", upload.upload_id);
        upload.initiator.write("Initiator", &mut xml);
        upload.owner.write("Owner", &mut xml);
        xml.text("StorageClass", upload.storage_class.name());
        xml.time("Initiated", upload.initiated_unix_ms);
        if let Some((algorithm, kind)) = upload.checksum {
            xml.text("ChecksumAlgorithm", algorithm.name());
            xml.text("ChecksumType", kind.name());
        }
        xml.close("Upload");
    }
    common_prefixes(&mut xml, result.common_prefixes, url);
    xml.close("ListMultipartUploadsResult");
}
