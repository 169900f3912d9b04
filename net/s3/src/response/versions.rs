//! The answer to ListObjectVersions.

use super::{
    Owner, key_text,
    list::{common_prefixes, optional_key},
};
use crate::{
    checksum::{Algorithm, ChecksumType},
    content::StorageClass,
    xml::Writer,
};

/// One version or delete marker.
#[derive(Clone, Copy, Debug)]
pub struct VersionRow<'a> {
    /// The key.
    pub key: &'a str,
    /// Its id, or `null`.
    pub version_id: &'a str,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
    /// Whether it says that there is no object.
    pub is_delete_marker: bool,
    /// Milliseconds since 1970.
    pub last_modified_unix_ms: u64,
    /// Without quotes.
    pub etag: &'a str,
    /// The checksum algorithm and what it covers.
    pub checksum: Option<(Algorithm, ChecksumType)>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The storage class.
    pub storage_class: StorageClass,
    /// The owner.
    pub owner: Owner<'a>,
}

/// The answer to ListObjectVersions.
#[derive(Clone, Copy, Debug)]
pub struct ListVersionsResult<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// As sent.
    pub prefix: &'a str,
    /// As sent; empty when absent.
    pub key_marker: &'a str,
    /// As sent; empty when absent.
    pub version_id_marker: &'a str,
    /// Where to go on; present exactly when there is more.
    pub next_key_marker: Option<&'a str>,
    /// Where to go on inside that key; absent behind a common prefix.
    pub next_version_id_marker: Option<&'a str>,
    /// As sent.
    pub delimiter: Option<&'a str>,
    /// The page size in force.
    pub max_keys: usize,
    /// As sent.
    pub encode_url: bool,
    /// Keys in UTF-8 binary order, versions of a key newest first.
    pub versions: &'a [VersionRow<'a>],
    /// The rolled-up prefixes, in the same order.
    pub common_prefixes: &'a [&'a str],
}

/// Writes the answer to ListObjectVersions.
pub fn list_versions(out: &mut Vec<u8>, result: &ListVersionsResult<'_>) {
    let mut xml = Writer::document(out);
    let url = result.encode_url;
    xml.open_root("ListVersionsResult");
    xml.text("Name", result.bucket);
    key_text(&mut xml, "Prefix", result.prefix, url);
    key_text(&mut xml, "KeyMarker", result.key_marker, url);
    xml.text("VersionIdMarker", result.version_id_marker);
    optional_key(&mut xml, "NextKeyMarker", result.next_key_marker, url);
    xml.optional("NextVersionIdMarker", result.next_version_id_marker);
    xml.number("MaxKeys", result.max_keys as u64);
    optional_key(&mut xml, "Delimiter", result.delimiter, url);
    xml.optional("EncodingType", url.then_some("url"));
    xml.boolean("IsTruncated", result.next_key_marker.is_some());
    for row in result.versions {
        let element = if row.is_delete_marker { "DeleteMarker" } else { "Version" };
        xml.open(element);
        key_text(&mut xml, "Key", row.key, url);
        xml.text("VersionId", row.version_id);
        xml.boolean("IsLatest", row.is_latest);
        xml.time("LastModified", row.last_modified_unix_ms);
        if !row.is_delete_marker {
            xml.etag("ETag", row.etag);
            if let Some((algorithm, kind)) = row.checksum {
                xml.text("ChecksumAlgorithm", algorithm.name());
                xml.text("ChecksumType", kind.name());
            }
            xml.number("Size", row.size_bytes);
        }
        row.owner.write("Owner", &mut xml);
        if !row.is_delete_marker {
            xml.text("StorageClass", row.storage_class.name());
        }
        xml.close(element);
    }
    common_prefixes(&mut xml, result.common_prefixes, url);
    xml.close("ListVersionsResult");
}
