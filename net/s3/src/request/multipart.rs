//! CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload.
//!
//! Invariant: the parts of a completion are strictly ascending, 1 to 10,000 of them; an upload's
//! checksum algorithm and type fit each other. Any core. Owner: `net/s3`.

use stria_base::limits::PART_COUNT_MAX;
use stria_http::Head;

use super::copy::checksum_algorithm;
use super::{part_number, unsupported, upload_id};
use crate::checksum::{Algorithm, Checksum, ChecksumType, RequestChecksums};
use crate::code::ErrorCode;
use crate::conditions::Conditions;
use crate::content::Content;
use crate::error::S3Error;
use crate::route::Route;
use crate::xml::{Path, Visitor, XmlError, read};

/// CreateMultipartUpload
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateMultipartUpload {
    /// What the object will have beside its bytes.
    pub content: Content,
    /// The checksum of parts and object, and what the object's covers; `None` for the server's default.
    pub checksum: Option<(Algorithm, ChecksumType)>,
}

fn checksum_type(head: &Head) -> Result<Option<ChecksumType>, S3Error> {
    let Some(name) = head.get("x-amz-checksum-type") else {
        return Ok(None);
    };
    let message = "Value for x-amz-checksum-type header is invalid.";
    ChecksumType::from_name(name).map(Some).ok_or(S3Error::new(ErrorCode::InvalidRequest, message))
}

impl CreateMultipartUpload {
    /// Of a head.
    ///
    /// # Errors
    /// As for PutObject; `InvalidRequest` for a checksum type the algorithm does not allow.
    pub fn parse(head: &Head) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        let invalid = |message| S3Error::new(ErrorCode::InvalidRequest, message);
        let checksum = match (checksum_algorithm(head)?, checksum_type(head)?) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(invalid(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                ));
            }
            (Some(algorithm), kind) => {
                let kind = kind.unwrap_or(ChecksumType::default_for(algorithm));
                if !kind.allows(algorithm) {
                    return Err(invalid(
                        "The checksum type cannot be used with this checksum algorithm: CRC64NVME is FULL_OBJECT only, all but the CRCs are COMPOSITE only.",
                    ));
                }
                Some((algorithm, kind))
            }
        };
        Ok(Self { content: Content::parse(head, false)?, checksum })
    }
}

/// UploadPart
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPart {
    /// The upload.
    pub upload_id: String,
    /// 1..=10,000
    pub part_number: u16,
    /// What is promised about the bytes.
    pub checksums: RequestChecksums,
}

impl UploadPart {
    /// Of a route and its head.
    ///
    /// # Errors
    /// `InvalidArgument`, and those of checksums.
    pub fn parse(route: &Route<'_>, head: &Head, has_trailer: bool) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        let number = route.query.get("partNumber").map_err(|_| ErrorCode::InvalidURI)?.unwrap_or_default();
        Ok(Self {
            upload_id: upload_id(route.query)?,
            part_number: part_number(&number)?,
            checksums: RequestChecksums::parse(head, has_trailer)?,
        })
    }
}

/// AbortMultipartUpload
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortMultipartUpload {
    /// The upload.
    pub upload_id: String,
}

impl AbortMultipartUpload {
    /// Of a route.
    ///
    /// # Errors
    /// `NoSuchUpload` when the id is empty.
    pub fn parse(route: &Route<'_>) -> Result<Self, S3Error> {
        Ok(Self { upload_id: upload_id(route.query)? })
    }
}

/// One part of a completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletePart {
    /// 1..=10,000
    pub part_number: u16,
    /// Without quotes.
    pub etag: String,
    /// The part's checksum, when the client repeats it.
    pub checksum: Option<Checksum>,
}

/// CompleteMultipartUpload
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// The upload.
    pub upload_id: String,
    /// The parts, ascending.
    pub parts: Vec<CompletePart>,
    /// Conditions on the key.
    pub conditions: Conditions,
    /// The object's checksum, when the client gives it.
    pub checksum: Option<Checksum>,
    /// What it covers, when the client says so.
    pub checksum_type: Option<ChecksumType>,
    /// The object's size in bytes, when the client gives it.
    pub object_bytes: Option<u64>,
}

impl CompleteMultipartUpload {
    /// Of a route, its head and its whole body.
    ///
    /// # Errors
    /// `MalformedXML`, `InvalidPartOrder`, `InvalidArgument`, `InvalidRequest`, `NotImplemented`.
    pub fn parse(route: &Route<'_>, head: &Head, body: &[u8]) -> Result<Self, S3Error> {
        unsupported::check(head)?;
        let object_bytes = match head.get("x-amz-mp-object-size") {
            None => None,
            Some(text) => {
                let size = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
                let message = "Value for x-amz-mp-object-size header is invalid.";
                Some(size.ok_or(S3Error::new(ErrorCode::InvalidRequest, message))?)
            }
        };
        Ok(Self {
            upload_id: upload_id(route.query)?,
            parts: Self::parse_xml(body)?,
            conditions: Conditions::of_write(head)?,
            checksum: object_checksum(head)?,
            checksum_type: checksum_type(head)?,
            object_bytes,
        })
    }

    /// The parts of a body alone.
    ///
    /// # Errors
    /// `MalformedXML`, `MissingRequestBodyError`, `InvalidPartOrder`.
    pub fn parse_xml(body: &[u8]) -> Result<Vec<CompletePart>, S3Error> {
        if body.is_empty() {
            return Err(ErrorCode::MissingRequestBodyError.into());
        }
        let mut parts = Parts::default();
        read(body, &mut parts)?;
        let parts = parts.0;
        if parts.is_empty() || parts.iter().any(|part| part.part_number == 0 || part.etag.is_empty()) {
            return Err(ErrorCode::MalformedXML.into());
        }
        if parts.windows(2).any(|pair| pair[0].part_number >= pair[1].part_number) {
            return Err(ErrorCode::InvalidPartOrder.into());
        }
        Ok(parts)
    }
}

/// The object's checksum; a composite one carries `-N`, which the list of parts says anyway.
fn object_checksum(head: &Head) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        let Some(value) = head.get(algorithm.header()) else {
            continue;
        };
        let digest = value.iter().position(|&b| b == b'-').map_or(value, |dash| &value[..dash]);
        let checksum = Checksum::parse(algorithm, digest).ok_or_else(|| {
            S3Error::new(ErrorCode::InvalidRequest, "Value for x-amz-checksum header is invalid.")
                .with("Header", algorithm.header().as_bytes())
        })?;
        if found.replace(checksum).is_some() {
            let message =
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Parts(Vec<CompletePart>);

impl Visitor for Parts {
    fn open(&mut self, path: &Path) -> Result<(), XmlError> {
        match path.depth() {
            1 if path.is(&["CompleteMultipartUpload"]) => Ok(()),
            2 if path.last() == "Part" => {
                if self.0.len() == usize::from(PART_COUNT_MAX) {
                    return Err(XmlError::Schema);
                }
                self.0.push(CompletePart::default());
                Ok(())
            }
            3 => Ok(()),
            _ => Err(XmlError::Schema),
        }
    }

    fn close(&mut self, path: &Path, text: &str) -> Result<(), XmlError> {
        if path.depth() != 3 {
            return Ok(());
        }
        let part = self.0.last_mut().ok_or(XmlError::Schema)?;
        match path.last() {
            "PartNumber" if part.part_number == 0 => {
                part.part_number = part_number(text.trim().as_bytes()).map_err(|_| XmlError::Schema)?;
            }
            "ETag" if part.etag.is_empty() => text.trim().trim_matches('"').clone_into(&mut part.etag),
            name => {
                let algorithm = Algorithm::from_element(name).ok_or(XmlError::Schema)?;
                let checksum = Checksum::parse(algorithm, text.trim().as_bytes()).ok_or(XmlError::Schema)?;
                if part.checksum.replace(checksum).is_some() {
                    return Err(XmlError::Schema);
                }
            }
        }
        Ok(())
    }
}
