//! DeleteObject and DeleteObjects.
//!
//! Invariant: a batch has 1 to 1,000 entries, each a key of legal length. Any core. Owner: `net/s3`.

use stria_base::limits::DELETE_KEYS_MAX;
use stria_http::Head;
use stria_http::date::{parse_http, parse_iso};

use super::version_id;
use crate::checksum::{Algorithm, BodyHasher, Expected, RequestChecksums};
use crate::code::ErrorCode;
use crate::conditions::{DeleteConditions, Tags};
use crate::error::S3Error;
use crate::route::{Route, check_key};
use crate::xml::{Path, Visitor, XmlError, read};

/// DeleteObject
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteObject {
    /// The version to delete.
    pub version_id: Option<String>,
    /// The preconditions.
    pub conditions: DeleteConditions,
}

impl DeleteObject {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn parse(route: &Route<'_>, head: &Head) -> Result<Self, S3Error> {
        Ok(Self { version_id: version_id(route.query)?, conditions: DeleteConditions::parse(head)? })
    }
}

/// One key of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteEntry {
    /// The key. Longer than 1,024 bytes it is answered with `KeyTooLongError` in its own entry.
    pub key: String,
    /// The version to delete.
    pub version_id: Option<String>,
    /// The preconditions.
    pub conditions: DeleteConditions,
}

impl DeleteEntry {
    /// Whether the key may exist.
    ///
    /// # Errors
    /// `KeyTooLongError`, for the entry's own result.
    pub fn check(&self) -> Result<(), S3Error> {
        check_key(Some(&self.key))
    }
}

/// DeleteObjects
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteObjects {
    /// Whether only failures are reported.
    pub quiet: bool,
    /// The keys, in the order given.
    pub entries: Vec<DeleteEntry>,
}

impl DeleteObjects {
    /// Of a head and its whole body, whose checksum is verified first.
    ///
    /// # Errors
    /// `InvalidRequest` without Content-MD5 or checksum, `BadDigest`, `MalformedXML`.
    pub fn parse<'t>(
        head: &Head,
        body: &[u8],
        has_trailer: bool,
        trailer: &dyn Fn(&str) -> Option<&'t [u8]>,
    ) -> Result<Self, S3Error> {
        let checksums = RequestChecksums::parse(head, has_trailer)?;
        if checksums.content_md5.is_none() && checksums.expected == Expected::Nothing {
            let message = "Missing required header for this request: Content-MD5";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        }
        let mut hasher = BodyHasher::new(checksums, None, Algorithm::Crc32);
        hasher.update(body);
        hasher.finish(trailer)?;
        Self::parse_xml(body)
    }

    /// Of a body alone.
    ///
    /// # Errors
    /// `MalformedXML`, `MissingRequestBodyError`.
    pub fn parse_xml(body: &[u8]) -> Result<Self, S3Error> {
        if body.is_empty() {
            return Err(ErrorCode::MissingRequestBodyError.into());
        }
        let mut request = Self::default();
        read(body, &mut request)?;
        let keys_are_good = request.entries.iter().all(|entry| !entry.key.is_empty());
        if request.entries.is_empty() || !keys_are_good {
            return Err(ErrorCode::MalformedXML.into());
        }
        Ok(request)
    }

    fn field(&mut self, name: &str, text: &str) -> Result<(), XmlError> {
        let entry = self.entries.last_mut().ok_or(XmlError::Schema)?;
        let conditions = &mut entry.conditions;
        match name {
            "Key" if entry.key.is_empty() => text.clone_into(&mut entry.key),
            "VersionId" if entry.version_id.is_none() => {
                entry.version_id = Some(text.to_owned()).filter(|id| !id.is_empty());
            }
            "ETag" if conditions.if_match.is_none() => {
                conditions.if_match = Some(Tags::parse(text.as_bytes()))
            }
            "LastModifiedTime" if conditions.last_modified_unix_s.is_none() => {
                let date = parse_iso(text.as_bytes()).or_else(|| parse_http(text.as_bytes()));
                conditions.last_modified_unix_s = Some(date.ok_or(XmlError::Schema)?);
            }
            "Size" if conditions.size_bytes.is_none() => {
                conditions.size_bytes = Some(text.trim().parse().map_err(|_| XmlError::Schema)?);
            }
            _ => return Err(XmlError::Schema),
        }
        Ok(())
    }
}

impl Visitor for DeleteObjects {
    fn open(&mut self, path: &Path) -> Result<(), XmlError> {
        match path.depth() {
            1 if path.is(&["Delete"]) => Ok(()),
            2 if path.last() == "Quiet" => Ok(()),
            2 if path.last() == "Object" => {
                if self.entries.len() == DELETE_KEYS_MAX {
                    return Err(XmlError::Schema);
                }
                self.entries.push(DeleteEntry::default());
                Ok(())
            }
            3 if path.is(&["Delete", "Object", path.last()]) => Ok(()),
            _ => Err(XmlError::Schema),
        }
    }

    fn close(&mut self, path: &Path, text: &str) -> Result<(), XmlError> {
        match path.depth() {
            2 if path.last() == "Quiet" => {
                self.quiet = match text.trim() {
                    "true" | "True" | "TRUE" | "1" => true,
                    "false" | "False" | "FALSE" | "0" | "" => false,
                    _ => return Err(XmlError::Schema),
                };
                Ok(())
            }
            3 => self.field(path.last(), text),
            _ => Ok(()),
        }
    }
}
