//! CreateBucket and ListBuckets. HeadBucket, DeleteBucket and GetBucketLocation are their routes.
//!
//! Invariant: a location constraint is text of the client's; the server decides whether it serves it.
//! Any core. Owner: `net/s3`.

use stria_base::limits::BUCKETS_MAX;
use stria_http::Head;

use super::{count, text};
use crate::code::ErrorCode;
use crate::config::OWNERSHIPS;
use crate::error::S3Error;
use crate::route::Route;
use crate::xml::{Path, Visitor, XmlError, read};

/// CreateBucket
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateBucket {
    /// `<LocationConstraint>`; `None` means the server's own region.
    pub location: Option<String>,
    /// `x-amz-object-ownership`, one of S3's three words.
    pub ownership: Option<&'static str>,
}

impl Visitor for CreateBucket {
    fn open(&mut self, path: &Path) -> Result<(), XmlError> {
        let known = match path.depth() {
            1 => path.is(&["CreateBucketConfiguration"]),
            2 => matches!(path.last(), "LocationConstraint" | "Tags" | "Location" | "Bucket"),
            _ => true,
        };
        if known { Ok(()) } else { Err(XmlError::Schema) }
    }

    fn close(&mut self, path: &Path, text: &str) -> Result<(), XmlError> {
        if path.is(&["CreateBucketConfiguration", "LocationConstraint"]) {
            let repeated = self.location.replace(text.trim().to_owned()).is_some();
            return if repeated { Err(XmlError::Schema) } else { Ok(()) };
        }
        // Tags, directory buckets: promises this server does not keep.
        if path.depth() == 2 { Err(XmlError::Schema) } else { Ok(()) }
    }
}

impl CreateBucket {
    /// Of a head and its body, which may be empty.
    ///
    /// # Errors
    /// `MalformedXML`, `NotImplemented` for object lock, `InvalidArgument` for an unknown ownership.
    pub fn parse(head: &Head, body: &[u8]) -> Result<Self, S3Error> {
        super::unsupported::check(head)?;
        if head.get("x-amz-bucket-object-lock-enabled").is_some_and(|v| v.eq_ignore_ascii_case(b"true")) {
            return Err(S3Error::header_not_implemented("x-amz-bucket-object-lock-enabled"));
        }
        let mut request = Self::default();
        if let Some(value) = head.get("x-amz-object-ownership") {
            let known = OWNERSHIPS.iter().copied().find(|known| known.as_bytes() == value);
            let wrong =
                || S3Error::argument("Invalid x-amz-object-ownership", "x-amz-object-ownership", value);
            request.ownership = Some(known.ok_or_else(wrong)?);
        }
        if !body.trim_ascii().is_empty() {
            read(body, &mut request)?;
        }
        request.location = request.location.filter(|location| !location.is_empty());
        Ok(request)
    }
}

/// ListBuckets
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListBuckets {
    /// Only names with this prefix.
    pub prefix: Option<String>,
    /// Only buckets of this region.
    pub bucket_region: Option<String>,
    /// Page size, 1..=10,000; `None` asks for all buckets in one page.
    pub max_buckets: Option<usize>,
    /// Names after this one.
    pub continuation_token: Option<String>,
}

impl ListBuckets {
    /// Of a route.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn parse(route: &Route<'_>) -> Result<Self, S3Error> {
        let query = route.query;
        let max_buckets = match text(query, "max-buckets")? {
            None => None,
            Some(_) => match count(query, "max-buckets", BUCKETS_MAX + 1)? {
                max if (1..=BUCKETS_MAX).contains(&max) => Some(max),
                _ => {
                    let message = "Argument max-buckets must be an integer between 1 and 10000";
                    return Err(S3Error::new(ErrorCode::InvalidArgument, message));
                }
            },
        };
        Ok(Self {
            prefix: text(query, "prefix")?,
            bucket_region: text(query, "bucket-region")?,
            max_buckets,
            continuation_token: text(query, "continuation-token")?,
        })
    }
}
