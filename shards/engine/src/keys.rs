//! Row keys inside a PG. Their byte order is the order of listings, so the encoding is part of the disk
//! format (docs/format/rows.md).
//!
//! ```text
//! object   bucket:8be 01 key
//! version  bucket:8be 02 escaped(key) !id:16be
//! upload   bucket:8be 03 escaped(key) id:16be
//! part     bucket:8be 04 id:16be number:2be
//! ```
//! Versions lie newest first, because their ids are inverted. `escaped` ends a key so that a longer key sorts after a shorter one
//! whatever follows: `00` becomes `00 ff`, the end is `00 01`.

use stria_base::BucketId;

use crate::object::VersionId;

/// Kinds of rows, the ninth byte of a row key.
pub mod kind {
    /// The current version of an object.
    pub const OBJECT: u8 = 1;
    /// A version of an object, delete markers among them.
    pub const VERSION: u8 = 2;
    /// A multipart upload in progress.
    pub const UPLOAD: u8 = 3;
    /// An uploaded part, of an upload or of a completed object.
    pub const PART: u8 = 4;
}

/// Identity of a multipart upload and, once completed, of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub u128);

const BUCKET_AND_KIND_BYTES: usize = 9;

fn start(bucket: BucketId, kind: u8, capacity: usize) -> Vec<u8> {
    let mut row = Vec::with_capacity(BUCKET_AND_KIND_BYTES + capacity);
    row.extend_from_slice(&bucket.0.to_be_bytes());
    row.push(kind);
    row
}

/// Row key of the current version of `key`.
#[must_use]
pub fn object(bucket: BucketId, key: &[u8]) -> Box<[u8]> {
    let mut row = start(bucket, kind::OBJECT, key.len());
    row.extend_from_slice(key);
    row.into_boxed_slice()
}

/// The object key inside an object row key, when `row` is one of `bucket`.
#[must_use]
pub fn object_key(bucket: BucketId, row: &[u8]) -> Option<&[u8]> {
    let rest = row.strip_prefix(&bucket.0.to_be_bytes())?;
    rest.strip_prefix(&[kind::OBJECT])
}

/// Row key of a version of `key`.
#[must_use]
pub fn version(bucket: BucketId, key: &[u8], id: VersionId) -> Box<[u8]> {
    let mut row = start(bucket, kind::VERSION, key.len() + 18);
    escape_into(&mut row, key);
    row.extend_from_slice(&(!id.0).to_be_bytes());
    row.into_boxed_slice()
}

/// First row key versions of `key` or of a later key may have, below `after` and all newer ones when given.
#[must_use]
pub fn versions_from(bucket: BucketId, key: &[u8], after: Option<VersionId>) -> Box<[u8]> {
    let mut row = start(bucket, kind::VERSION, key.len() + 19);
    escape_into(&mut row, key);
    if let Some(id) = after {
        row.extend_from_slice(&(!id.0).to_be_bytes());
        row.push(0);
    }
    row.into_boxed_slice()
}

/// First row key of versions of keys that start with `prefix`.
#[must_use]
pub fn versions_of_prefix(bucket: BucketId, prefix: &[u8]) -> Box<[u8]> {
    let mut row = versions_from(bucket, prefix, None).into_vec();
    // A prefix is no whole key: longer keys go on where its end mark would be.
    row.truncate(row.len() - 2);
    row.into_boxed_slice()
}

/// Key and id inside a version row key, when `row` is one of `bucket`.
#[must_use]
pub fn version_of(bucket: BucketId, row: &[u8]) -> Option<(Vec<u8>, VersionId)> {
    let rest = row.strip_prefix(&bucket.0.to_be_bytes())?.strip_prefix(&[kind::VERSION])?;
    let (key, id) = unescape(rest)?;
    Some((key, VersionId(!u128::from_be_bytes(id.try_into().ok()?))))
}

/// Row key of an upload.
#[must_use]
pub fn upload(bucket: BucketId, key: &[u8], id: UploadId) -> Box<[u8]> {
    let mut row = start(bucket, kind::UPLOAD, key.len() + 18);
    escape_into(&mut row, key);
    row.extend_from_slice(&id.0.to_be_bytes());
    row.into_boxed_slice()
}

/// First row key an upload of `key` or of a later key may have, above uploads of `key` itself up to and
/// including `after` when given.
#[must_use]
pub fn upload_from(bucket: BucketId, key: &[u8], after: Option<UploadId>) -> Box<[u8]> {
    let mut row = start(bucket, kind::UPLOAD, key.len() + 19);
    escape_into(&mut row, key);
    if let Some(id) = after {
        row.extend_from_slice(&id.0.to_be_bytes());
        row.push(0);
    }
    row.into_boxed_slice()
}

/// Key and id inside an upload row key, when `row` is one of `bucket`.
#[must_use]
pub fn upload_parts_of(bucket: BucketId, row: &[u8]) -> Option<(Vec<u8>, UploadId)> {
    let rest = row.strip_prefix(&bucket.0.to_be_bytes())?.strip_prefix(&[kind::UPLOAD])?;
    let (key, id) = unescape(rest)?;
    Some((key, UploadId(u128::from_be_bytes(id.try_into().ok()?))))
}

/// Row key of part `number` of `id`.
#[must_use]
pub fn part(bucket: BucketId, id: UploadId, number: u16) -> Box<[u8]> {
    let mut row = start(bucket, kind::PART, 18);
    row.extend_from_slice(&id.0.to_be_bytes());
    row.extend_from_slice(&number.to_be_bytes());
    row.into_boxed_slice()
}

/// Upload id and number inside a part row key, when `row` is one of `bucket`.
#[must_use]
pub fn part_of(bucket: BucketId, row: &[u8]) -> Option<(UploadId, u16)> {
    let rest = row.strip_prefix(&bucket.0.to_be_bytes())?.strip_prefix(&[kind::PART])?;
    let (id, number) = rest.split_at_checked(16)?;
    Some((UploadId(u128::from_be_bytes(id.try_into().ok()?)), u16::from_be_bytes(number.try_into().ok()?)))
}

/// Bucket and kind of any row key.
#[must_use]
pub fn bucket_and_kind(row: &[u8]) -> Option<(BucketId, u8)> {
    let (bucket, rest) = row.split_first_chunk::<8>()?;
    Some((BucketId(u64::from_be_bytes(*bucket)), *rest.first()?))
}

/// The least key above every key that starts with `prefix`; `None` when there is none (all `ff`).
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

fn escape_into(row: &mut Vec<u8>, key: &[u8]) {
    for &byte in key {
        row.push(byte);
        if byte == 0 {
            row.push(0xff);
        }
    }
    row.extend_from_slice(&[0, 1]);
}

fn unescape(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut key = Vec::with_capacity(bytes.len());
    let mut at = 0;
    loop {
        let byte = *bytes.get(at)?;
        if byte != 0 {
            key.push(byte);
            at += 1;
            continue;
        }
        match *bytes.get(at + 1)? {
            0xff => key.push(0),
            1 => return Some((key, &bytes[at + 2..])),
            _ => return None,
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUCKET: BucketId = BucketId(0x0102_0304);

    proptest! {
        #[test]
        fn uploads_sort_by_key_then_id(a: Vec<u8>, b: Vec<u8>, x: u128, y: u128) {
            let (left, right) = (upload(BUCKET, &a, UploadId(x)), upload(BUCKET, &b, UploadId(y)));
            prop_assert_eq!(left.cmp(&right), (&a, x).cmp(&(&b, y)));
            prop_assert_eq!(upload_parts_of(BUCKET, &left), Some((a, UploadId(x))));
        }

        #[test]
        fn versions_sort_by_key_then_newest_first(a: Vec<u8>, b: Vec<u8>, x: u128, y: u128) {
            let (left, right) = (version(BUCKET, &a, VersionId(x)), version(BUCKET, &b, VersionId(y)));
            prop_assert_eq!(left.cmp(&right), (&a, !x).cmp(&(&b, !y)));
            prop_assert_eq!(version_of(BUCKET, &left), Some((a.clone(), VersionId(x))));
            prop_assert!(versions_of_prefix(BUCKET, &a[..a.len() / 2]) <= left);
            prop_assert!(versions_from(BUCKET, &a, None) < left);
            prop_assert!(versions_from(BUCKET, &a, Some(VersionId(x))) > left);
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = version_of(BUCKET, &bytes);
            let _ = upload_parts_of(BUCKET, &bytes);
            let _ = part_of(BUCKET, &bytes);
            let _ = object_key(BUCKET, &bytes);
            let _ = bucket_and_kind(&bytes);
        }

        #[test]
        fn after_prefix_is_the_least_upper_bound(prefix: Vec<u8>, rest: Vec<u8>) {
            let inside = [prefix.clone(), rest].concat();
            match after_prefix(&prefix) {
                Some(next) => prop_assert!(inside < next && !next.starts_with(&prefix)),
                None => prop_assert!(prefix.iter().all(|&b| b == 0xff)),
            }
        }
    }

    #[test]
    fn an_upload_scan_resumes_after_the_marker() {
        let marker = upload_from(BUCKET, b"k", Some(UploadId(7)));
        assert!(upload(BUCKET, b"k", UploadId(7)) < marker);
        assert!(upload(BUCKET, b"k", UploadId(8)) > marker);
        assert!(upload(BUCKET, b"k\0", UploadId(0)) > marker);
        assert!(upload_from(BUCKET, b"k", None) < upload(BUCKET, b"k", UploadId(0)));
    }
}
