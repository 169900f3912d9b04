//! ListObjectVersions.

use stria_base::limits::LIST_KEYS_MAX;

use super::{count, list::encode_url, text};
use crate::{error::S3Error, route::Route};

/// ListObjectVersions
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjectVersions {
    /// Only keys with this prefix; empty for all.
    pub prefix: String,
    /// Keys are rolled up at this text after the prefix.
    pub delimiter: Option<String>,
    /// Keys after this one, or of this one the versions after the marker.
    pub key_marker: Option<String>,
    /// Versions of the key after this one.
    pub version_id_marker: Option<String>,
    /// Page size, 0..=1,000.
    pub max_keys: usize,
    /// Whether keys are percent-encoded in the answer.
    pub encode_url: bool,
}

impl ListObjectVersions {
    /// Of a route.
    ///
    /// # Errors
    /// `InvalidArgument`, also for a version marker without a key marker.
    pub fn parse(route: &Route<'_>) -> Result<Self, S3Error> {
        let query = route.query;
        if query.get_raw("version-id-marker").is_some_and(<[u8]>::is_empty) {
            let message = "A version-id marker cannot be empty.";
            return Err(S3Error::argument(message, "version-id-marker", b""));
        }
        let request = Self {
            prefix: text(query, "prefix")?.unwrap_or_default(),
            delimiter: text(query, "delimiter")?,
            key_marker: text(query, "key-marker")?,
            version_id_marker: text(query, "version-id-marker")?,
            max_keys: count(query, "max-keys", LIST_KEYS_MAX)?,
            encode_url: encode_url(route)?,
        };
        if let (None, Some(marker)) = (&request.key_marker, &request.version_id_marker) {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(S3Error::argument(message, "version-id-marker", marker.as_bytes()));
        }
        Ok(request)
    }
}
