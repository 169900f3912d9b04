//! Answers to CreateMultipartUpload, CompleteMultipartUpload and ListParts.
//!
//! Invariant: see the module's. Any core. Owner: `net/s3`.

use super::{Owner, checksum_text, key_text};
use crate::checksum::{Algorithm, Checksum, ChecksumType};
use crate::content::StorageClass;
use crate::xml::Writer;

/// Writes the answer to CreateMultipartUpload.
pub fn create_upload(out: &mut Vec<u8>, bucket: &str, key: &str, upload_id: &str) {
    let mut xml = Writer::document(out);
    xml.open_root("InitiateMultipartUploadResult");
    xml.text("Bucket", bucket);
    xml.text("Key", key);
    xml.text("UploadId", upload_id);
    xml.close("InitiateMultipartUploadResult");
}

/// The answer to CompleteMultipartUpload.
#[derive(Clone, Copy, Debug)]
pub struct CompleteResult<'a> {
    /// Where the object is.
    pub location: &'a str,
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Without quotes.
    pub etag: &'a str,
    /// The object's checksum, what it covers, and the number of parts.
    pub checksum: Option<(Checksum, ChecksumType, usize)>,
}

/// Writes the answer to CompleteMultipartUpload. `has_declaration` says that the declaration was sent
/// before, followed by white space that kept the connection alive.
pub fn complete_upload(out: &mut Vec<u8>, result: &CompleteResult<'_>, has_declaration: bool) {
    let mut xml = if has_declaration { Writer::fragment(out) } else { Writer::document(out) };
    xml.open_root("CompleteMultipartUploadResult");
    xml.text("Location", result.location);
    xml.text("Bucket", result.bucket);
    xml.text("Key", result.key);
    xml.etag("ETag", result.etag);
    if let Some((checksum, kind, parts)) = result.checksum {
        checksum_text(&mut xml, checksum, Some((kind, parts)));
        xml.text("ChecksumType", kind.name());
    }
    xml.close("CompleteMultipartUploadResult");
}

/// One part of ListParts.
#[derive(Clone, Copy, Debug)]
pub struct PartEntry<'a> {
    /// 1..=10,000
    pub part_number: u16,
    /// Milliseconds since 1970.
    pub last_modified_unix_ms: u64,
    /// Without quotes.
    pub etag: &'a str,
    /// The part's size in bytes.
    pub size_bytes: u64,
    /// The part's checksum.
    pub checksum: Option<Checksum>,
}

/// The answer to ListParts.
#[derive(Clone, Copy, Debug)]
pub struct ListPartsResult<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The upload.
    pub upload_id: &'a str,
    /// As sent; 0 when absent.
    pub part_number_marker: u16,
    /// Where to go on; present exactly when there is more.
    pub next_part_number_marker: Option<u16>,
    /// The page size in force.
    pub max_parts: usize,
    /// As sent.
    pub encode_url: bool,
    /// Who started the upload.
    pub initiator: Owner<'a>,
    /// To whom the object will belong.
    pub owner: Owner<'a>,
    /// The upload's storage class.
    pub storage_class: StorageClass,
    /// The upload's checksum algorithm and what the object's will cover.
    pub checksum: Option<(Algorithm, ChecksumType)>,
    /// The parts, ascending.
    pub parts: &'a [PartEntry<'a>],
}

/// Writes the answer to ListParts.
pub fn list_parts(out: &mut Vec<u8>, result: &ListPartsResult<'_>) {
    let mut xml = Writer::document(out);
    xml.open_root("ListPartsResult");
    xml.text("Bucket", result.bucket);
    key_text(&mut xml, "Key", result.key, result.encode_url);
    xml.text("UploadId", result.upload_id);
    result.initiator.write("Initiator", &mut xml);
    result.owner.write("Owner", &mut xml);
    xml.text("StorageClass", result.storage_class.name());
    xml.number("PartNumberMarker", u64::from(result.part_number_marker));
    if let Some(next) = result.next_part_number_marker {
        xml.number("NextPartNumberMarker", u64::from(next));
    }
    xml.number("MaxParts", result.max_parts as u64);
    xml.boolean("IsTruncated", result.next_part_number_marker.is_some());
    if let Some((algorithm, kind)) = result.checksum {
        xml.text("ChecksumAlgorithm", algorithm.name());
        xml.text("ChecksumType", kind.name());
    }
    for part in result.parts {
        xml.open("Part");
        xml.number("PartNumber", u64::from(part.part_number));
        xml.time("LastModified", part.last_modified_unix_ms);
        xml.etag("ETag", part.etag);
        xml.number("Size", part.size_bytes);
        if let Some(checksum) = part.checksum {
            checksum_text(&mut xml, checksum, None);
        }
        xml.close("Part");
    }
    xml.close("ListPartsResult");
}
