//! CopyObject and UploadPartCopy.
//!
//! Invariant: the source is parsed once and carried as a value, so the object that is authorised is the
//! one that is read. Any core. Owner: `net/s3`.

use stria_http::Head;

use super::{part_number, unsupported, upload_id};
use crate::checksum::Algorithm;
use crate::code::ErrorCode;
use crate::conditions::Conditions;
use crate::content::Content;
use crate::copy_source::CopySource;
use crate::error::S3Error;
use crate::range::CopyRange;
use crate::route::Route;

/// Whether the target's metadata comes from the source or from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// From the source.
    Copy,
    /// From the request.
    Replace,
}

impl Directive {
    fn parse(head: &Head, header: &'static str) -> Result<Self, S3Error> {
        match head.get(header) {
            None | Some(b"COPY") => Ok(Self::Copy),
            Some(b"REPLACE") => Ok(Self::Replace),
            Some(other) => Err(S3Error::argument("Unknown directive.", header, other)),
        }
    }
}

/// CopyObject
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyObject {
    /// What is copied.
    pub source: CopySource,
    /// Conditions on the source.
    pub source_conditions: Conditions,
    /// Conditions on the target.
    pub conditions: Conditions,
    /// Where metadata comes from.
    pub metadata_directive: Directive,
    /// Where tags come from.
    pub tagging_directive: Directive,
    /// With [`Directive::Replace`] all of it is stored; with `Copy` only storage class and redirect.
    pub content: Content,
    /// Whether the request names a storage class.
    pub has_storage_class: bool,
    /// The checksum the target is to have.
    pub checksum_algorithm: Option<Algorithm>,
}

fn source(head: &Head) -> Result<CopySource, S3Error> {
    let duplicate = || S3Error::argument("The copy source is repeated", "x-amz-copy-source", b"");
    let value = head.get_single("x-amz-copy-source").map_err(|_| duplicate())?;
    CopySource::parse(value.unwrap_or_default())
}

/// `x-amz-checksum-algorithm`
pub(super) fn checksum_algorithm(head: &Head) -> Result<Option<Algorithm>, S3Error> {
    let Some(name) = head.get("x-amz-checksum-algorithm") else {
        return Ok(None);
    };
    Algorithm::from_name(name).map(Some).ok_or_else(|| {
        let message = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5, XXHASH64, XXHASH3, XXHASH128]";
        S3Error::new(ErrorCode::InvalidRequest, message)
    })
}

impl CopyObject {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidRequest` for a copy onto itself that changes nothing, `NotImplemented`.
    pub fn parse(route: &Route<'_>, head: &Head) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        let source = source(head)?;
        let request = Self {
            source_conditions: Conditions::of_copy_source(head),
            conditions: Conditions::of_write(head)?,
            metadata_directive: Directive::parse(head, "x-amz-metadata-directive")?,
            tagging_directive: Directive::parse(head, "x-amz-tagging-directive")?,
            content: Content::parse(head, false)?,
            has_storage_class: head.contains("x-amz-storage-class"),
            checksum_algorithm: checksum_algorithm(head)?,
            source,
        };
        let onto_itself = request.source.bucket == route.bucket()
            && request.source.key == route.key()
            && request.source.version_id.is_none();
        let changes = request.metadata_directive == Directive::Replace
            || request.has_storage_class
            || request.content.website_redirect.is_some()
            || request.checksum_algorithm.is_some();
        if onto_itself && !changes {
            let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        }
        Ok(request)
    }
}

/// UploadPartCopy
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPartCopy {
    /// The upload.
    pub upload_id: String,
    /// 1..=10,000
    pub part_number: u16,
    /// What is copied.
    pub source: CopySource,
    /// Conditions on the source.
    pub source_conditions: Conditions,
    /// The part of the source; `None` for all of it.
    pub range: Option<CopyRange>,
}

impl UploadPartCopy {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotImplemented`.
    pub fn parse(route: &Route<'_>, head: &Head) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        let number = route.query.get("partNumber").map_err(|_| ErrorCode::InvalidURI)?.unwrap_or_default();
        Ok(Self {
            upload_id: upload_id(route.query)?,
            part_number: part_number(&number)?,
            source: source(head)?,
            source_conditions: Conditions::of_copy_source(head),
            range: head.get("x-amz-copy-source-range").map(CopyRange::parse).transpose()?,
        })
    }
}
