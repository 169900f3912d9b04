//! What is stored beside an object's bytes: content headers, user metadata, storage class, redirect.
//!
//! Invariant: user metadata is a type of its own and holds only what came as `x-amz-meta-*`; no header of
//! a client can become internal state. All values came through the head's parser or [`FieldValue`], so
//! none can split a response. Runs on the accepting core. Owner: `net/s3`.

use stria_base::limits::USER_METADATA_BYTES_MAX;
use stria_http::response::FieldValue;
use stria_http::{Head, Query};

use crate::code::ErrorCode;
use crate::config::tags::TagSet;
use crate::error::S3Error;

/// A header that is stored and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentHeader {
    /// Cache-Control
    CacheControl,
    /// Content-Disposition
    ContentDisposition,
    /// Content-Encoding, without `aws-chunked`
    ContentEncoding,
    /// Content-Language
    ContentLanguage,
    /// Content-Type
    ContentType,
    /// Expires
    Expires,
}

/// What an object without a Content-Type is.
pub const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

impl ContentHeader {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CacheControl,
        Self::ContentDisposition,
        Self::ContentEncoding,
        Self::ContentLanguage,
        Self::ContentType,
        Self::Expires,
    ];

    /// The header's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CacheControl => "Cache-Control",
            Self::ContentDisposition => "Content-Disposition",
            Self::ContentEncoding => "Content-Encoding",
            Self::ContentLanguage => "Content-Language",
            Self::ContentType => "Content-Type",
            Self::Expires => "Expires",
        }
    }

    /// The query parameter of GET that overrides it.
    #[must_use]
    pub const fn override_name(self) -> &'static str {
        match self {
            Self::CacheControl => "response-cache-control",
            Self::ContentDisposition => "response-content-disposition",
            Self::ContentEncoding => "response-content-encoding",
            Self::ContentLanguage => "response-content-language",
            Self::ContentType => "response-content-type",
            Self::Expires => "response-expires",
        }
    }
}

macro_rules! storage_classes {
    ($($name:ident $text:literal)*) => {
        /// A storage class, by S3's names.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum StorageClass { #[default] $(#[doc = $text] $name,)* }

        impl StorageClass {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As in `x-amz-storage-class`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// By name.
            #[must_use]
            pub fn from_name(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|class| class.name().as_bytes() == name)
            }
        }
    };
}

storage_classes! {
    Standard "STANDARD"
    ReducedRedundancy "REDUCED_REDUNDANCY"
    StandardIa "STANDARD_IA"
    OnezoneIa "ONEZONE_IA"
    IntelligentTiering "INTELLIGENT_TIERING"
    Glacier "GLACIER"
    GlacierIr "GLACIER_IR"
    DeepArchive "DEEP_ARCHIVE"
    ExpressOnezone "EXPRESS_ONEZONE"
}

/// Content headers and their values.
pub type ContentHeaders = Vec<(ContentHeader, Box<[u8]>)>;

/// User metadata: name without `x-amz-meta-` in lower case, and value.
pub type UserMetadata = Vec<(Box<str>, Box<[u8]>)>;

/// What is stored beside an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The content headers given, in the order of [`ContentHeader::ALL`].
    pub headers: ContentHeaders,
    /// The user's own headers.
    pub metadata: UserMetadata,
    /// The storage class.
    pub storage_class: StorageClass,
    /// `x-amz-website-redirect-location`
    pub website_redirect: Option<Box<[u8]>>,
    /// `x-amz-tagging`
    pub tags: TagSet,
}

impl Content {
    /// Of PutObject, CreateMultipartUpload, and CopyObject that replaces. `is_streaming` says whether the
    /// payload is aws-chunked, whose name is then no encoding of the object.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `InvalidStorageClass`, `InvalidArgument` for a redirect that is no location.
    pub fn parse(head: &Head, is_streaming: bool) -> Result<Self, S3Error> {
        let mut content = Self { metadata: metadata(head)?, ..Self::default() };
        for header in ContentHeader::ALL {
            let Some(value) = head.get(header.name()) else {
                continue;
            };
            let value: Box<[u8]> = if header == ContentHeader::ContentEncoding {
                content_encoding(head, is_streaming)
            } else {
                value.into()
            };
            if !value.is_empty() {
                content.headers.push((header, value));
            }
        }
        if let Some(name) = head.get("x-amz-storage-class") {
            content.storage_class = StorageClass::from_name(name).ok_or_else(|| {
                S3Error::from(ErrorCode::InvalidStorageClass).with("StorageClassRequested", name)
            })?;
        }
        if let Some(tags) = head.get("x-amz-tagging") {
            content.tags = TagSet::parse_header(tags)?;
        }
        if let Some(location) = head.get("x-amz-website-redirect-location") {
            let good = [&b"/"[..], b"http://", b"https://"].iter().any(|start| location.starts_with(start));
            if !good || location.len() > 2048 {
                let message =
                    "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
                return Err(S3Error::argument(message, "x-amz-website-redirect-location", location));
            }
            content.website_redirect = Some(location.into());
        }
        Ok(content)
    }

    /// The value of a header, if stored.
    #[must_use]
    pub fn header(&self, header: ContentHeader) -> Option<&[u8]> {
        self.headers.iter().find(|(name, _)| *name == header).map(|(_, value)| &**value)
    }
}

fn content_encoding(head: &Head, is_streaming: bool) -> Box<[u8]> {
    let words = head.get_all("content-encoding").flat_map(|value| value.split(|&b| b == b','));
    let kept = words
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty() && (!is_streaming || !word.eq_ignore_ascii_case(b"aws-chunked")));
    kept.collect::<Vec<_>>().join(&b","[..]).into()
}

fn metadata(head: &Head) -> Result<UserMetadata, S3Error> {
    let mut metadata = UserMetadata::new();
    let mut bytes = 0;
    for (name, value) in head.headers() {
        let Some((prefix, rest)) = name.split_at_checked(11) else {
            continue;
        };
        if !prefix.eq_ignore_ascii_case(b"x-amz-meta-") || rest.is_empty() {
            continue;
        }
        let rest = String::from_utf8_lossy(rest).to_ascii_lowercase();
        bytes += rest.len() + value.len();
        // Lines of one name are one value, as HTTP joins them.
        match metadata.iter_mut().find(|(known, _)| **known == rest) {
            Some((_, joined)) => *joined = [&**joined, b",", value].concat().into(),
            None => metadata.push((rest.into(), value.into())),
        }
    }
    if bytes > USER_METADATA_BYTES_MAX {
        return Err(S3Error::from(ErrorCode::MetadataTooLarge)
            .with("Size", bytes.to_string().as_bytes())
            .with("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string().as_bytes()));
    }
    Ok(metadata)
}

/// The `response-*` parameters of GET and HEAD.
///
/// # Errors
/// `InvalidRequest` when an anonymous request has one; `InvalidArgument` when a value cannot stand in a
/// header.
pub fn response_overrides(query: Query<'_>, is_anonymous: bool) -> Result<ContentHeaders, S3Error> {
    let mut overrides = Vec::new();
    if !query.raw().windows(9).any(|window| window == b"response-") {
        return Ok(overrides);
    }
    for header in ContentHeader::ALL {
        let name = header.override_name();
        let Some(value) = query.get(name).map_err(|_| ErrorCode::InvalidURI)? else {
            continue;
        };
        if is_anonymous {
            let message = "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        }
        if FieldValue::new(&value).is_err() {
            return Err(S3Error::argument("Header value cannot be represented", name, &value));
        }
        overrides.push((header, value.into_owned().into()));
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str, is_streaming: bool) -> Result<Content, ErrorCode> {
        let text = format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0;
        Content::parse(&head, is_streaming).map_err(|error| error.code)
    }

    #[test]
    fn headers_are_kept() {
        let lines = "Content-Type: text/plain\r\nCache-Control: no-cache\r\nExpires: 0\r\nX-Amz-Meta-MTime: 1.5\r\nx-amz-meta-a: 1\r\nX-AMZ-META-A: 2\r\nx-amz-meta-: x\r\nx-amz-metadata: y\r\nx-amz-storage-class: STANDARD_IA\r\n";
        let content = parse(lines, false).expect("well-formed");
        assert_eq!(content.header(ContentHeader::ContentType), Some(&b"text/plain"[..]));
        assert_eq!(content.header(ContentHeader::ContentLanguage), None);
        let metadata: Vec<_> = content.metadata.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(metadata, [("mtime", &b"1.5"[..]), ("a", &b"1,2"[..])]);
        assert_eq!(content.storage_class, StorageClass::StandardIa);
    }

    #[test]
    fn aws_chunked_is_no_encoding_of_a_streamed_object() {
        let encoding = |lines, is_streaming| {
            let content = parse(lines, is_streaming).expect("well-formed");
            content.header(ContentHeader::ContentEncoding).map(<[u8]>::to_vec)
        };
        assert_eq!(encoding("Content-Encoding: aws-chunked\r\n", true), None);
        assert_eq!(encoding("Content-Encoding: gzip,aws-chunked\r\n", true), Some(b"gzip".to_vec()));
        assert_eq!(
            encoding("Content-Encoding: AWS-chunked\r\nContent-Encoding: br\r\n", true),
            Some(b"br".to_vec())
        );
        assert_eq!(encoding("Content-Encoding: gzip\r\n", false), Some(b"gzip".to_vec()));
    }

    #[test]
    fn limits() {
        let lines = |n: usize| format!("x-amz-meta-a: {}\r\n", "x".repeat(n));
        assert!(parse(&lines(2047), false).is_ok());
        assert_eq!(parse(&lines(2048), false).map(|_| ()), Err(ErrorCode::MetadataTooLarge));
        assert_eq!(parse("x-amz-storage-class: standard\r\n", false), Err(ErrorCode::InvalidStorageClass));
        assert!(parse("x-amz-website-redirect-location: /x\r\n", false).is_ok());
        assert_eq!(parse("x-amz-website-redirect-location: x\r\n", false), Err(ErrorCode::InvalidArgument));
    }

    #[test]
    fn overrides() {
        let get = |query: &'static str, is_anonymous| {
            response_overrides(Query::new(query.as_bytes()), is_anonymous).map_err(|error| error.code)
        };
        let got = get("response-content-type=text%2Fplain&response-expires=x", false).expect("good");
        assert_eq!(got.len(), 2);
        assert_eq!(get("response-content-type=a%0d%0ab", false), Err(ErrorCode::InvalidArgument));
        assert_eq!(get("response-content-type=a", true), Err(ErrorCode::InvalidRequest));
        assert_eq!(get("prefix=a", true), Ok(vec![]));
    }
}
