//! The XML of every response that has one, written from plain borrowed values.
//!
//! Invariant: text of users passes the writer's escaping, or percent-encoding where the client asked for
//! it, and nothing else. Runs on the accepting core. Owner: `net/s3`.

mod attributes;
mod html;
mod list;
mod multipart;
#[cfg(test)]
mod tests;
mod versions;

use stria_http::percent::{Keep, encode};

use crate::checksum::{Checksum, ChecksumType};
use crate::ops::{Operation, State};
use crate::xml::Writer;

pub use attributes::{ObjectAttributes, PartAttributes, PartsAttributes, object_attributes};
pub use html::{ErrorPage, error_page};
pub use list::{
    Contents, ListObjectsResult, ListObjectsV2Result, ListUploadsResult, UploadEntry, list_objects,
    list_objects_v2, list_uploads,
};
pub use multipart::{CompleteResult, ListPartsResult, PartEntry, complete_upload, create_upload, list_parts};
pub use versions::{ListVersionsResult, VersionRow, list_versions};

/// Who owns a bucket, an object or an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Canonical id.
    pub id: &'a str,
    /// Name to show; empty for none.
    pub display_name: &'a str,
}

impl Owner<'_> {
    pub(crate) fn write(&self, element: &str, xml: &mut Writer<'_>) {
        xml.open(element);
        self.write_fields(xml);
        xml.close(element);
    }

    pub(crate) fn write_fields(&self, xml: &mut Writer<'_>) {
        xml.text("ID", self.id);
        xml.optional("DisplayName", Some(self.display_name).filter(|name| !name.is_empty()));
    }
}

/// A key or prefix, percent-encoded if the client asked for it. A space becomes `%20`, which both kinds
/// of client decoders read.
fn key_text(xml: &mut Writer<'_>, element: &str, key: &str, encode_url: bool) {
    xml.open(element);
    key_characters(xml, key, encode_url);
    xml.close(element);
}

fn key_characters(xml: &mut Writer<'_>, key: &str, encode_url: bool) {
    if encode_url {
        let mut out = Vec::with_capacity(key.len() + 16);
        encode(key.as_bytes(), Keep::Slash, &mut out);
        xml.characters(&String::from_utf8_lossy(&out));
    } else {
        xml.characters(key);
    }
}

/// The element of a checksum; a composite one shows how many parts it is of.
fn checksum_text(xml: &mut Writer<'_>, checksum: Checksum, kind: Option<(ChecksumType, usize)>) {
    let digest = checksum.to_base64();
    match kind {
        Some((ChecksumType::Composite, parts)) => {
            xml.text(checksum.algorithm.element(), &format!("{digest}-{parts}"));
        }
        _ => xml.text(checksum.algorithm.element(), &digest),
    }
}

/// One bucket of ListBuckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Its region, shown on paged listings.
    pub region: Option<&'a str>,
}

/// The answer to ListBuckets.
pub fn list_buckets<'a>(
    out: &mut Vec<u8>,
    owner: Owner<'_>,
    buckets: impl IntoIterator<Item = BucketEntry<'a>>,
    prefix: Option<&str>,
    next_token: Option<&str>,
) {
    let mut xml = Writer::document(out);
    xml.open_root("ListAllMyBucketsResult");
    owner.write("Owner", &mut xml);
    xml.open("Buckets");
    for bucket in buckets {
        xml.open("Bucket");
        xml.text("Name", bucket.name);
        xml.time("CreationDate", bucket.created_unix_ms);
        xml.optional("BucketRegion", bucket.region);
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.optional("Prefix", prefix);
    xml.optional("ContinuationToken", next_token);
    xml.close("ListAllMyBucketsResult");
}

/// The answer to GetBucketLocation; `us-east-1` is the empty text, as S3 has it.
pub fn bucket_location(out: &mut Vec<u8>, region: &str) {
    let mut xml = Writer::document(out);
    xml.open_root("LocationConstraint");
    if region != "us-east-1" {
        xml.characters(region);
    }
    xml.close("LocationConstraint");
}

/// The answer to POST Object that asked for 201.
pub fn post_response(out: &mut Vec<u8>, location: &str, bucket: &str, key: &str, etag: &str) {
    let mut xml = Writer::document(out);
    xml.open("PostResponse");
    xml.text("Location", location);
    xml.text("Bucket", bucket);
    xml.text("Key", key);
    xml.etag("ETag", etag);
    xml.close("PostResponse");
}

/// What became of one key of DeleteObjects.
#[derive(Clone, Copy, Debug)]
pub enum DeleteOutcome<'a> {
    /// It is gone, or never was.
    Deleted {
        /// The key.
        key: &'a str,
        /// The version asked for.
        version_id: Option<&'a str>,
        /// The delete marker that was put, or that went.
        delete_marker: Option<&'a str>,
    },
    /// It is still there.
    Failed {
        /// The key.
        key: &'a str,
        /// The version asked for.
        version_id: Option<&'a str>,
        /// Why.
        error: &'a crate::S3Error,
    },
}

/// The answer to DeleteObjects; when `quiet`, only failures are listed.
pub fn delete_objects<'a>(
    out: &mut Vec<u8>,
    outcomes: impl IntoIterator<Item = DeleteOutcome<'a>>,
    quiet: bool,
) {
    let mut xml = Writer::document(out);
    xml.open_root("DeleteResult");
    for outcome in outcomes {
        match outcome {
            DeleteOutcome::Deleted { .. } if quiet => {}
            DeleteOutcome::Deleted { key, version_id, delete_marker } => {
                xml.open("Deleted");
                xml.text("Key", key);
                xml.optional("VersionId", version_id);
                if let Some(marker) = delete_marker {
                    xml.boolean("DeleteMarker", true);
                    xml.text("DeleteMarkerVersionId", marker);
                }
                xml.close("Deleted");
            }
            DeleteOutcome::Failed { key, version_id, error } => {
                xml.open("Error");
                xml.text("Key", key);
                xml.optional("VersionId", version_id);
                xml.text("Code", error.code.name());
                xml.text("Message", error.message());
                xml.close("Error");
            }
        }
    }
    xml.close("DeleteResult");
}

/// The answer to CopyObject and UploadPartCopy.
#[derive(Clone, Copy, Debug)]
pub struct CopyResult<'a> {
    /// Of the target, without quotes.
    pub etag: &'a str,
    /// Milliseconds since 1970.
    pub last_modified_unix_ms: u64,
    /// Of the target.
    pub checksum: Option<Checksum>,
    /// What it covers; `None` for a part.
    pub checksum_type: Option<ChecksumType>,
}

/// Writes `CopyObjectResult`, or `CopyPartResult` when `of_part`.
pub fn copy_result(out: &mut Vec<u8>, result: &CopyResult<'_>, of_part: bool) {
    let root = if of_part { "CopyPartResult" } else { "CopyObjectResult" };
    let mut xml = Writer::document(out);
    xml.open_root(root);
    xml.time("LastModified", result.last_modified_unix_ms);
    xml.etag("ETag", result.etag);
    if let Some(checksum) = result.checksum {
        checksum_text(&mut xml, checksum, None);
        xml.optional("ChecksumType", result.checksum_type.map(ChecksumType::name));
    }
    xml.close(root);
}

/// The document of an operation that reads a sub-resource which was never set; `false` when the
/// operation has none.
pub fn unset_document(out: &mut Vec<u8>, operation: &Operation) -> bool {
    let State::UnsetDocument(root, content) = operation.state else {
        return false;
    };
    let mut xml = Writer::document(out);
    xml.open_root(root);
    xml.constant(content);
    xml.close(root);
    true
}
