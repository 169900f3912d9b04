//! PutObject, GetObject and HeadObject.
//!
//! Invariant: see the module's. The body of PutObject is not touched here. Any core. Owner: `net/s3`.

use stria_http::Head;

use super::{part_number, unsupported, version_id};
use crate::checksum::RequestChecksums;
use crate::code::ErrorCode;
use crate::conditions::Conditions;
use crate::content::{Content, ContentHeaders, response_overrides};
use crate::error::S3Error;
use crate::range::Range;
use crate::route::Route;

/// PutObject
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObject {
    /// What is stored beside the bytes.
    pub content: Content,
    /// What is promised about the bytes.
    pub checksums: RequestChecksums,
    /// `If-None-Match: *` or `If-Match`.
    pub conditions: Conditions,
}

impl PutObject {
    /// Of a head. `is_streaming` and `has_trailer` describe the payload mode.
    ///
    /// # Errors
    /// Any of S3's for the headers of a PUT.
    pub fn parse(head: &Head, is_streaming: bool, has_trailer: bool) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        Ok(Self {
            content: Content::parse(head, is_streaming)?,
            checksums: RequestChecksums::parse(head, has_trailer)?,
            conditions: Conditions::of_write(head)?,
        })
    }
}

/// GetObject and HeadObject; by default all of the current version
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetObject {
    /// The version asked for; `null` is the one of an unversioned bucket.
    pub version_id: Option<String>,
    /// The part asked for, 1..=10,000.
    pub part_number: Option<u16>,
    /// The range, when it is one S3 honours.
    pub range: Option<Range>,
    /// The preconditions.
    pub conditions: Conditions,
    /// Whether checksums are to be shown.
    pub checksum_mode: bool,
    /// `response-*`
    pub overrides: ContentHeaders,
}

impl GetObject {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidRequest`, `NotImplemented` for customer keys.
    pub fn parse(route: &Route<'_>, head: &Head, is_anonymous: bool) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        let number = route.query.get("partNumber").map_err(|_| ErrorCode::InvalidURI)?;
        let part_number = number.map(|text| part_number(&text)).transpose()?;
        let range = head.get("range").and_then(Range::parse);
        if part_number.is_some() && range.is_some() {
            let message = "Cannot specify both Range header and partNumber query parameter.";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        }
        Ok(Self {
            version_id: version_id(route.query)?,
            part_number,
            range,
            conditions: Conditions::of_read(head),
            checksum_mode: head
                .get("x-amz-checksum-mode")
                .is_some_and(|value| value.eq_ignore_ascii_case(b"ENABLED")),
            overrides: response_overrides(route.query, is_anonymous)?,
        })
    }
}
