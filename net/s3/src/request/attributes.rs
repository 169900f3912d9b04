//! GetObjectAttributes.
//!
//! Invariant: at least one attribute is asked for, each by a name S3 has. Any core. Owner: `net/s3`.

use stria_http::Head;

use super::version_id;
use crate::{code::ErrorCode, error::S3Error, route::Route};

/// Most parts on a page, and as many as S3 lists when not told otherwise.
const PARTS_MAX: usize = 1_000;

/// GetObjectAttributes
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetObjectAttributes {
    /// The version asked for.
    pub version_id: Option<String>,
    /// Whether ETag is asked for.
    pub etag: bool,
    /// Whether Checksum is asked for.
    pub checksum: bool,
    /// Whether ObjectParts is asked for.
    pub parts: bool,
    /// Whether StorageClass is asked for.
    pub storage_class: bool,
    /// Whether ObjectSize is asked for.
    pub size: bool,
    /// Parts after this one, counted from 1.
    pub part_number_marker: u16,
    /// Page size, up to 1,000.
    pub max_parts: usize,
}

impl GetObjectAttributes {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown attribute or number, `InvalidRequest` without any attribute.
    pub fn parse(route: &Route<'_>, head: &Head) -> Result<Self, S3Error> {
        super::unsupported::check(head)?;
        let mut request = Self { version_id: version_id(route.query)?, ..Self::default() };
        let words = head.get_all("x-amz-object-attributes").flat_map(|value| value.split(|&b| b == b','));
        let mut any = false;
        for word in words.map(<[u8]>::trim_ascii).filter(|word| !word.is_empty()) {
            any = true;
            match word {
                b"ETag" => request.etag = true,
                b"Checksum" => request.checksum = true,
                b"ObjectParts" => request.parts = true,
                b"StorageClass" => request.storage_class = true,
                b"ObjectSize" => request.size = true,
                other => {
                    let message = "Invalid attribute name specified.";
                    return Err(S3Error::argument(message, "x-amz-object-attributes", other));
                }
            }
        }
        if !any {
            let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        }
        request.max_parts = number(head, "x-amz-max-parts")?.map_or(PARTS_MAX, |n| n.min(PARTS_MAX));
        let marker = number(head, "x-amz-part-number-marker")?.unwrap_or(0);
        request.part_number_marker = u16::try_from(marker).unwrap_or(u16::MAX);
        Ok(request)
    }
}

fn number(head: &Head, name: &'static str) -> Result<Option<usize>, S3Error> {
    let Some(value) = head.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value).ok();
    let number = text.and_then(|text| text.trim().parse::<u32>().ok()).filter(|n| *n <= i32::MAX as u32);
    let bad = || S3Error::argument("Provided argument not an integer or within integer range", name, value);
    number.map(|number| Some(number as usize)).ok_or_else(bad)
}
