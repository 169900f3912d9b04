//! The listings: ListObjects, ListObjectsV2, ListMultipartUploads, ListParts.
//!
//! Invariant: a continuation token is a key this server gave out, checked before use; page sizes never
//! exceed `LIST_KEYS_MAX`. Any core. Owner: `net/s3`.

use stria_base::checksum::crc32c;
use stria_base::limits::LIST_KEYS_MAX;
use stria_http::Head;

use super::{count, text, upload_id};
use crate::checksum::{base64_decode, base64_encode};
use crate::error::S3Error;
use crate::route::Route;

/// Where the next page of a listing starts: after this key or common prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinuationToken {
    /// The last key or common prefix of the page before.
    pub after: String,
}

/// First byte of a token, so that its form can change.
const TOKEN_VERSION: u8 = 1;

impl ContinuationToken {
    /// As sent in `<NextContinuationToken>`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = vec![TOKEN_VERSION];
        bytes.extend_from_slice(&crc32c(self.after.as_bytes()).to_le_bytes());
        bytes.extend_from_slice(self.after.as_bytes());
        base64_encode(&bytes)
    }

    /// Of `continuation-token`; `None` when it is none of ours.
    #[must_use]
    pub fn decode(token: &str) -> Option<Self> {
        let bytes = base64_decode(token.as_bytes())?;
        let (head, key) = bytes.split_at_checked(5)?;
        if head[0] != TOKEN_VERSION || head[1..] != crc32c(key).to_le_bytes() {
            return None;
        }
        Some(Self { after: String::from_utf8(key.to_vec()).ok()? })
    }
}

/// ListObjects (version 1)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjects {
    /// Only keys with this prefix; empty for all.
    pub prefix: String,
    /// Keys are rolled up at this text after the prefix.
    pub delimiter: Option<String>,
    /// Keys after this one.
    pub marker: Option<String>,
    /// Page size, 0..=1,000.
    pub max_keys: usize,
    /// Whether keys are percent-encoded in the answer.
    pub encode_url: bool,
}

pub(super) fn encode_url(route: &Route<'_>) -> Result<bool, S3Error> {
    match text(route.query, "encoding-type")? {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("url") => Ok(true),
        Some(value) => Err(S3Error::argument(
            "Invalid Encoding Method specified in Request",
            "encoding-type",
            value.as_bytes(),
        )),
    }
}

impl ListObjects {
    /// Of a route.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn parse(route: &Route<'_>) -> Result<Self, S3Error> {
        let query = route.query;
        Ok(Self {
            prefix: text(query, "prefix")?.unwrap_or_default(),
            delimiter: text(query, "delimiter")?,
            marker: text(query, "marker")?,
            max_keys: count(query, "max-keys", LIST_KEYS_MAX)?,
            encode_url: encode_url(route)?,
        })
    }
}

/// ListObjectsV2
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjectsV2 {
    /// Only keys with this prefix; empty for all.
    pub prefix: String,
    /// Keys are rolled up at this text after the prefix.
    pub delimiter: Option<String>,
    /// Keys after this one; without effect once there is a token.
    pub start_after: Option<String>,
    /// Where the page before ended.
    pub continuation: Option<ContinuationToken>,
    /// Page size, 0..=1,000.
    pub max_keys: usize,
    /// Whether keys are percent-encoded in the answer.
    pub encode_url: bool,
    /// Whether each key names its owner.
    pub fetch_owner: bool,
}

impl ListObjectsV2 {
    /// Of a route.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn parse(route: &Route<'_>) -> Result<Self, S3Error> {
        let query = route.query;
        let continuation = match query.get_raw("continuation-token") {
            None => None,
            Some(raw) => {
                let bad = || {
                    let message = "The continuation token provided is incorrect";
                    S3Error::argument(message, "continuation-token", raw)
                };
                let token = text(query, "continuation-token")?.ok_or_else(bad)?;
                Some(ContinuationToken::decode(&token).ok_or_else(bad)?)
            }
        };
        Ok(Self {
            prefix: text(query, "prefix")?.unwrap_or_default(),
            delimiter: text(query, "delimiter")?,
            start_after: text(query, "start-after")?,
            continuation,
            max_keys: count(query, "max-keys", LIST_KEYS_MAX)?,
            encode_url: encode_url(route)?,
            fetch_owner: text(query, "fetch-owner")?.is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }

    /// The key after which the page starts.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.continuation.as_ref().map(|token| token.after.as_str()).or(self.start_after.as_deref())
    }
}

/// ListMultipartUploads
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListMultipartUploads {
    /// Only keys with this prefix; empty for all.
    pub prefix: String,
    /// Keys are rolled up at this text after the prefix.
    pub delimiter: Option<String>,
    /// Uploads of later keys, or of this one after `upload_id_marker`.
    pub key_marker: Option<String>,
    /// Has an effect only with `key_marker`.
    pub upload_id_marker: Option<String>,
    /// Page size, 0..=1,000.
    pub max_uploads: usize,
    /// Whether keys are percent-encoded in the answer.
    pub encode_url: bool,
}

impl ListMultipartUploads {
    /// Of a route.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn parse(route: &Route<'_>) -> Result<Self, S3Error> {
        let query = route.query;
        let key_marker = text(query, "key-marker")?;
        let upload_id_marker = text(query, "upload-id-marker")?.filter(|_| key_marker.is_some());
        Ok(Self {
            prefix: text(query, "prefix")?.unwrap_or_default(),
            delimiter: text(query, "delimiter")?,
            key_marker,
            upload_id_marker,
            max_uploads: count(query, "max-uploads", LIST_KEYS_MAX)?,
            encode_url: encode_url(route)?,
        })
    }
}

/// ListParts
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListParts {
    /// The upload.
    pub upload_id: String,
    /// Parts after this number; 0 from the start.
    pub part_number_marker: u16,
    /// Page size, 0..=1,000.
    pub max_parts: usize,
    /// Whether the key is percent-encoded in the answer.
    pub encode_url: bool,
}

impl ListParts {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotImplemented` for customer keys.
    pub fn parse(route: &Route<'_>, head: &Head) -> Result<Self, S3Error> {
        super::unsupported::check(head)?;
        let query = route.query;
        // Numbers above the largest part are legal here and simply find nothing.
        let marker = match text(query, "part-number-marker")? {
            None => 0,
            Some(_) => count(query, "part-number-marker", usize::from(u16::MAX))? as u16,
        };
        Ok(Self {
            upload_id: upload_id(query)?,
            part_number_marker: marker,
            max_parts: count(query, "max-parts", LIST_KEYS_MAX)?,
            encode_url: encode_url(route)?,
        })
    }
}
