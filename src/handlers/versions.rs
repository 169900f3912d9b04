//! Versions as the wire names them, and ListObjectVersions.
//!
//! Invariant: a version id printed here parses to the same version; `null` stays a name. Runs on the
//! accepting core.

use stria_engine::{
    EngineError,
    calls::{ListVersions, Lookup},
    codec::RowHead,
    object::{Version, VersionId, VersionSelector, Versioning},
    version_list::{VersionEntry, VersionQuery, merge},
};
use stria_http::response;
use stria_meta::Bucket;
use stria_s3::{
    S3Error,
    request::ListObjectVersions,
    response::{ListVersionsResult, VersionRow, list_versions as write_versions},
};

use super::{
    Request,
    door::Owners,
    list_objects::page_of_cores,
    object_meta::{checksum_type, wire_algorithm, wire_class},
};
use crate::conn::{
    failure::Failure,
    reply::{Reply, field},
};

/// Bytes of XML an entry takes, about.
const ENTRY_XML_BYTES: usize = 450;

/// What a bucket does with versions.
pub fn mode(bucket: &Bucket) -> Versioning {
    match bucket.configs.get("versioning") {
        Some(stored) if stored.contains("<Status>Enabled</Status>") => Versioning::Enabled,
        Some(stored) if stored.contains("<Status>Suspended</Status>") => Versioning::Suspended,
        _ => Versioning::Off,
    }
}

/// A version id as clients see it: 32 hex digits, or `null`.
pub fn print(version: Version) -> String {
    if version.is_null { "null".to_owned() } else { format!("{:032x}", version.id.0) }
}

/// The version a request names.
///
/// # Errors
/// `InvalidArgument` for a text that no version of ours has.
pub fn parse(text: Option<&str>) -> Result<VersionSelector, S3Error> {
    let Some(text) = text else { return Ok(VersionSelector::Current) };
    if text == "null" {
        return Ok(VersionSelector::Null);
    }
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| hex);
    let bad = || S3Error::argument("Invalid version id specified", "versionId", text.as_bytes());
    id.map(|id| VersionSelector::Id(VersionId(id))).ok_or_else(bad)
}

/// The version of the request.
///
/// # Errors
/// Of [`parse`].
pub fn wanted(request: &Request<'_>) -> Result<VersionSelector, S3Error> {
    parse(request.version_id()?.as_deref())
}

/// Writes `x-amz-version-id`, in a bucket that has or had versions.
pub fn write_id(out: &mut response::Head<'_>, bucket: &Bucket, version: Option<Version>) {
    write_id_as("x-amz-version-id", out, bucket, version);
}

/// As [`write_id`], under another name.
pub fn write_id_as(
    name: &'static str,
    out: &mut response::Head<'_>,
    bucket: &Bucket,
    version: Option<Version>,
) {
    match version {
        Some(version) => field(out, name, print(version).as_bytes()),
        None if mode(bucket) != Versioning::Off => field(out, name, b"null"),
        None => {}
    }
}

/// ListObjectVersions.
pub async fn list_object_versions(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = ListObjectVersions::parse(request.route)?;
    let bucket = request.bucket()?;
    let after = match (&wanted.key_marker, wanted.version_id_marker.as_deref()) {
        (None, _) => None,
        (Some(key), None) => Some((key.as_bytes().into(), None)),
        (Some(key), Some(marker)) => {
            let id = match parse(Some(marker))? {
                VersionSelector::Id(id) => Some(id),
                _ => null_of(request, &bucket, key).await?,
            };
            Some((key.as_bytes().into(), id))
        }
    };
    let query = VersionQuery {
        prefix: wanted.prefix.as_bytes().into(),
        delimiter: wanted.delimiter.as_deref().unwrap_or_default().as_bytes().into(),
        after,
        entries_max: wanted.max_keys,
    };
    let call = |pgs| ListVersions { bucket: bucket.bucket_id(), pgs, query: query.clone() };
    let (entries, more) = page_of_cores(request, &bucket, wanted.max_keys, call, merge).await?;
    let etags: Vec<String> = entries
        .iter()
        .map(|entry| entry.version.as_ref().map_or(String::new(), |(_, head)| head.etag.to_string()))
        .collect();
    let ids: Vec<String> =
        entries.iter().map(|entry| entry.version.as_ref().map_or(String::new(), id_of)).collect();
    let owners = Owners::of(&request.state.shared.identities, &bucket);
    let mut rows = Vec::with_capacity(entries.len());
    let mut prefixes = Vec::new();
    for ((entry, etag), id) in entries.iter().zip(&etags).zip(&ids) {
        let Ok(key) = std::str::from_utf8(&entry.key) else { continue };
        match &entry.version {
            Some((_, head)) => rows.push(row(key, entry, head, (etag, id), &owners)),
            None => prefixes.push(key),
        }
    }
    let last = entries.last().filter(|_| more);
    let result = ListVersionsResult {
        bucket: &bucket.name,
        prefix: &wanted.prefix,
        key_marker: wanted.key_marker.as_deref().unwrap_or_default(),
        version_id_marker: wanted.version_id_marker.as_deref().unwrap_or_default(),
        next_key_marker: last.and_then(|entry| std::str::from_utf8(&entry.key).ok()),
        next_version_id_marker: last.and(ids.last()).map(String::as_str).filter(|id| !id.is_empty()),
        delimiter: wanted.delimiter.as_deref(),
        max_keys: wanted.max_keys,
        encode_url: wanted.encode_url,
        versions: &rows,
        common_prefixes: &prefixes,
    };
    let mut out = Vec::with_capacity(rows.len() * ENTRY_XML_BYTES + 512);
    write_versions(&mut out, &result);
    Ok(request.to.xml(200, out))
}

fn id_of((id, head): &(VersionId, RowHead)) -> String {
    print(Version { id: *id, is_null: head.is_null })
}

fn row<'r>(
    key: &'r str,
    entry: &'r VersionEntry,
    head: &RowHead,
    (etag, version_id): (&'r str, &'r str),
    owners: &Owners<'r>,
) -> VersionRow<'r> {
    VersionRow {
        key,
        version_id,
        is_latest: entry.is_latest,
        is_delete_marker: head.is_delete_marker,
        last_modified_unix_ms: head.modified_ms,
        etag,
        checksum: head
            .checksum
            .map(|(algorithm, composite)| (wire_algorithm(algorithm), checksum_type(composite))),
        size_bytes: head.size,
        storage_class: wire_class(head.storage_class),
        owner: owners.shown(&entry.owner),
    }
}

/// Where the null version of a key stands, so that a page can begin behind it.
async fn null_of(request: &Request<'_>, bucket: &Bucket, key: &str) -> Result<Option<VersionId>, Failure> {
    let lookup = Lookup { place: request.place_of(bucket, key), version: VersionSelector::Null, body: false };
    match request.state.peers.call(lookup.place.pg, lookup).await {
        Ok(found) => {
            let plain = VersionId::of_plain(found.hlc);
            Ok(Some(found.meta.version.map_or(plain, |version| version.id)))
        }
        Err(EngineError::IsDeleteMarker { version, .. }) => Ok(Some(version.id)),
        Err(EngineError::NoSuchVersion) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
