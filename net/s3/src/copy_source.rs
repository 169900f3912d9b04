//! `x-amz-copy-source`: the object a copy reads.
//!
//! Invariant: the source is a valid bucket and a non-empty key, decoded once; what is authorised is what
//! is read. Any core. Owner: `net/s3`.

use std::borrow::Cow;

use stria_http::percent::{Plus, decode};

use crate::bucket_name;
use crate::code::ErrorCode;
use crate::error::S3Error;

/// A parsed copy source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// The source bucket, a valid name.
    pub bucket: String,
    /// The source key.
    pub key: String,
    /// The version asked for.
    pub version_id: Option<String>,
}

const HEADER: &str = "x-amz-copy-source";

fn text(raw: &[u8], whole: &[u8]) -> Result<String, S3Error> {
    let bad = || S3Error::argument("Invalid copy source encoding", HEADER, whole);
    // S3 takes a plus for a space here; clients that encode as forms do rely on it, and the others write %2B.
    let bytes = decode(raw, Plus::Space).map(Cow::into_owned).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

impl CopySource {
    /// Of the header: `[/]bucket/key[?versionId=id]`, percent-encoded.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidBucketName`, `KeyTooLongError`; `NotImplemented` for an access point.
    pub fn parse(value: &[u8]) -> Result<Self, S3Error> {
        if value.starts_with(b"arn:") {
            return Err(S3Error::header_not_implemented(HEADER));
        }
        let (path, version) = match value.windows(11).rposition(|window| window == b"?versionId=") {
            Some(at) => (&value[..at], Some(text(&value[at + 11..], value)?)),
            None => (value, None),
        };
        // Some clients escape the slash between bucket and key, so it is looked for after decoding.
        let path = text(path, value)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() || key.is_empty() {
            let message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
            return Err(S3Error::argument(message, HEADER, value));
        }
        if !bucket_name::is_valid(bucket) {
            return Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", bucket.as_bytes()));
        }
        crate::route::check_key(Some(key))?;
        if version.as_deref() == Some("") {
            return Err(S3Error::argument("Version id cannot be the empty string", "versionId", b""));
        }
        Ok(Self { bucket: bucket.into(), key: key.into(), version_id: version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for (value, want) in [
            ("/bkt/k", Ok(("bkt", "k", None))),
            ("bkt/a/b//c", Ok(("bkt", "a/b//c", None))),
            ("bkt//k", Ok(("bkt", "/k", None))),
            ("bkt/a+b%20c%2B", Ok(("bkt", "a b c+", None))),
            ("bkt%2Fk", Ok(("bkt", "k", None))),
            ("bkt/../x", Ok(("bkt", "../x", None))),
            ("bkt/k?versionId=abc", Ok(("bkt", "k", Some("abc")))),
            ("bkt/k%3FversionId=abc", Ok(("bkt", "k?versionId=abc", None))),
            ("bkt/k?x", Ok(("bkt", "k?x", None))),
            ("", Err(ErrorCode::InvalidArgument)),
            ("/", Err(ErrorCode::InvalidArgument)),
            ("bkt", Err(ErrorCode::InvalidArgument)),
            ("bkt/", Err(ErrorCode::InvalidArgument)),
            ("bkt/%zz", Err(ErrorCode::InvalidArgument)),
            ("bkt/%ff", Err(ErrorCode::InvalidArgument)),
            ("bkt/k?versionId=", Err(ErrorCode::InvalidArgument)),
            ("BKT/k", Err(ErrorCode::InvalidBucketName)),
            ("../k", Err(ErrorCode::InvalidBucketName)),
            ("arn:aws:s3:::bkt/k", Err(ErrorCode::NotImplemented)),
        ] {
            let got = CopySource::parse(value.as_bytes()).map_err(|error| error.code);
            let got =
                got.as_ref().map(|s| (&*s.bucket, &*s.key, s.version_id.as_deref())).map_err(|code| *code);
            assert_eq!(got, want, "{value}");
        }
        let long = format!("bkt/{}", "k".repeat(1025));
        assert_eq!(CopySource::parse(long.as_bytes()).map_err(|e| e.code), Err(ErrorCode::KeyTooLongError));
    }
}
