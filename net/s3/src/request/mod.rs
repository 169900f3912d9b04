//! Requests as plain values, one type per operation, validated as S3 validates them.
//!
//! Invariant: parsing either yields a request whose every field is inside its range, or the S3 error;
//! a header that promises something this server does not do is refused (`unsupported`). Runs on the
//! accepting core. Owner: `net/s3`.

mod attributes;
mod bucket;
mod copy;
mod delete;
mod list;
mod multipart;
mod object;
#[cfg(test)]
mod tests;
mod unsupported;
mod versions;

use stria_base::limits::{PART_COUNT_MAX, PUT_BYTES_MAX};
use stria_http::{BodyFraming, Query};

use crate::code::ErrorCode;
use crate::error::S3Error;

pub use attributes::GetObjectAttributes;
pub use bucket::{CreateBucket, ListBuckets};
pub use copy::{CopyObject, Directive, UploadPartCopy};
pub use delete::{DeleteEntry, DeleteObject, DeleteObjects};
pub use list::{ContinuationToken, ListMultipartUploads, ListObjects, ListObjectsV2, ListParts};
pub use multipart::{
    AbortMultipartUpload, CompleteMultipartUpload, CompletePart, CreateMultipartUpload, UploadPart,
};
pub use object::{GetObject, PutObject};
pub use unsupported::check as check_unsupported;
pub use versions::ListObjectVersions;

/// The length of a body to be stored, in bytes: of the payload, when it is aws-chunked (`decoded`, from
/// `x-amz-decoded-content-length`), else of the message.
///
/// # Errors
/// `MissingContentLength` when nothing says it, `EntityTooLarge` above 5 GiB.
pub fn stored_length(framing: BodyFraming, decoded: Option<u64>) -> Result<u64, S3Error> {
    let bytes = match (decoded, framing) {
        (Some(bytes), _) | (None, BodyFraming::Length(bytes)) => bytes,
        (None, BodyFraming::None | BodyFraming::Chunked) => {
            return Err(ErrorCode::MissingContentLength.into());
        }
    };
    if bytes > PUT_BYTES_MAX {
        return Err(S3Error::from(ErrorCode::EntityTooLarge)
            .with("ProposedSize", bytes.to_string().as_bytes())
            .with("MaxSizeAllowed", PUT_BYTES_MAX.to_string().as_bytes()));
    }
    Ok(bytes)
}

/// A decoded query parameter as text; absent when it is not there or empty.
fn text(query: Query<'_>, name: &'static str) -> Result<Option<String>, S3Error> {
    let Some(value) = query.get(name).map_err(|_| ErrorCode::InvalidURI)? else {
        return Ok(None);
    };
    match String::from_utf8(value.into_owned()) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(S3Error::argument("Invalid UTF-8 in a query parameter", name, error.as_bytes())),
    }
}

/// A count in `0..=2^31-1`, cut to `max`; `max` when absent.
fn count(query: Query<'_>, name: &'static str, max: usize) -> Result<usize, S3Error> {
    let Some(value) = text(query, name)? else {
        return Ok(max);
    };
    let bad = |message| S3Error::argument(message, name, value.as_bytes());
    let digits = value.strip_prefix('-').unwrap_or(&value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("Provided value is not an integer or within integer range"));
    }
    match value.parse::<i64>() {
        Ok(count) if (0..=i64::from(i32::MAX)).contains(&count) => Ok((count as usize).min(max)),
        _ => Err(bad("The argument must be an integer between 0 and 2147483647")),
    }
}

/// A part number, `1..=10,000`.
fn part_number(text: &[u8]) -> Result<u16, S3Error> {
    let digits = !text.is_empty() && text.len() <= 9 && text.iter().all(u8::is_ascii_digit);
    let value = text.iter().fold(0u32, |sum, b| sum.wrapping_mul(10).wrapping_add(u32::from(b & 15)));
    match u16::try_from(value) {
        Ok(number) if digits && (1..=PART_COUNT_MAX).contains(&number) => Ok(number),
        _ => Err(S3Error::argument(
            "Part number must be an integer between 1 and 10000, inclusive",
            "partNumber",
            text,
        )),
    }
}

/// `versionId`, if given.
///
/// # Errors
/// `InvalidArgument` when it is empty.
pub fn version_id(query: Query<'_>) -> Result<Option<String>, S3Error> {
    if query.get_raw("versionId").is_some_and(<[u8]>::is_empty) {
        return Err(S3Error::argument("Version id cannot be the empty string", "versionId", b""));
    }
    text(query, "versionId")
}

fn upload_id(query: Query<'_>) -> Result<String, S3Error> {
    text(query, "uploadId")?.ok_or(ErrorCode::NoSuchUpload.into())
}
