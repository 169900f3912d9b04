//! Why a request or its body is not authentic, with the S3 code, message and elements of each answer.
//!
//! Invariant: messages are constants; what the client sent appears only in named details. No variant
//! carries a secret or a signature of ours. Any core. Owner: `net/sigv4`.

use stria_base::ErrorClass;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// Both the header and the query string authenticate, or one does so twice.
    MultipleMechanisms,
    /// An Authorization header of another scheme.
    UnsupportedScheme,
    /// Signature version 2 or 4A.
    UnsupportedVersion,
    /// The Authorization header is malformed, in this way.
    Header(Fault),
    /// The authentication parameters of the query string are malformed, in this way.
    Query(Fault),
    /// The scope names another region than the one served here.
    WrongRegion {
        /// The region to sign for.
        expected: Box<str>,
        /// Whether the request was presigned.
        presigned: bool,
    },
    /// Neither `x-amz-date` nor `Date` is there and well-formed.
    MissingDate,
    /// `x-amz-content-sha256` is missing.
    MissingContentSha256,
    /// `x-amz-content-sha256` is neither a hash nor one of the known words.
    BadContentSha256,
    /// `UNSIGNED-PAYLOAD` with `Content-Encoding: aws-chunked`.
    UnsignedAwsChunked,
    /// A payload mode that needs signature version 4A.
    PayloadNotImplemented,
    /// A signed streaming payload without a signature to chain from.
    StreamingNeedsSignature,
    /// A header that must be signed is not.
    HeaderNotSigned(Box<str>),
    /// The path or the query string cannot be decoded.
    BadUri,
    /// The request's date is more than 15 minutes from ours.
    Skewed {
        /// The request's, seconds since 1970.
        request_unix_s: u64,
        /// Ours.
        server_unix_s: u64,
    },
    /// A presigned request whose date lies in the future.
    NotYetValid,
    /// A presigned request whose time is over.
    Expired {
        /// Its lifetime in seconds.
        expires_s: u64,
        /// When it ended, seconds since 1970.
        expired_unix_s: u64,
        /// Ours.
        server_unix_s: u64,
    },
    /// There is no such access key.
    UnknownAccessKey(Box<str>),
    /// The session token is missing, superfluous or wrong.
    InvalidToken,
    /// The signature is wrong.
    SignatureDoesNotMatch(Box<Mismatch>),
}

/// What of an Authorization header or its query twin is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A part is missing or there twice.
    Parts,
    /// The credential is not `key/date/region/service/aws4_request`.
    Credential,
    /// The list of signed headers is empty, unsorted in case, or repeats a name.
    SignedHeaders,
    /// The signature is not 64 hex digits.
    Signature,
    /// The date is malformed.
    Date,
    /// The scope's date is not the request's.
    ScopeDate,
    /// The scope names another service.
    Service,
    /// The algorithm is unknown.
    Algorithm,
    /// The lifetime is not a number.
    ExpiresNumber,
    /// The lifetime exceeds seven days.
    ExpiresTooLong,
}

/// What S3 tells about a wrong signature so that the client can find its mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The access key.
    pub access_key: Box<str>,
    /// What we signed.
    pub string_to_sign: Box<[u8]>,
    /// What the client sent.
    pub signature_provided: Box<str>,
    /// What we made of the request.
    pub canonical_request: Box<[u8]>,
}

impl AuthError {
    /// The S3 error code's name.
    #[must_use]
    pub const fn code_name(&self) -> &'static str {
        match self {
            Self::MultipleMechanisms
            | Self::UnsupportedScheme
            | Self::BadContentSha256
            | Self::UnsignedAwsChunked => "InvalidArgument",
            Self::UnsupportedVersion | Self::MissingContentSha256 | Self::StreamingNeedsSignature => {
                "InvalidRequest"
            }
            Self::Header(_) | Self::WrongRegion { presigned: false, .. } => "AuthorizationHeaderMalformed",
            Self::Query(_) | Self::WrongRegion { presigned: true, .. } => "AuthorizationQueryParametersError",
            Self::MissingDate | Self::HeaderNotSigned(_) | Self::NotYetValid | Self::Expired { .. } => {
                "AccessDenied"
            }
            Self::PayloadNotImplemented => "NotImplemented",
            Self::BadUri => "InvalidURI",
            Self::Skewed { .. } => "RequestTimeTooSkewed",
            Self::UnknownAccessKey(_) => "InvalidAccessKeyId",
            Self::InvalidToken => "InvalidToken",
            Self::SignatureDoesNotMatch(_) => "SignatureDoesNotMatch",
        }
    }

    /// A message more exact than the code's own, where there is one.
    #[must_use]
    pub const fn message(&self) -> Option<&'static str> {
        Some(match self {
            Self::MultipleMechanisms => {
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
            }
            Self::UnsupportedScheme => "Unsupported Authorization Type",
            Self::UnsupportedVersion => {
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
            }
            Self::Header(fault) | Self::Query(fault) => return Some(fault.message()),
            Self::WrongRegion { .. } => {
                "The authorization header is malformed; the region is wrong; see the element Region for the expected one"
            }
            Self::MissingDate => "AWS authentication requires a valid Date or x-amz-date header",
            Self::MissingContentSha256 => "Missing required header for this request: x-amz-content-sha256",
            Self::BadContentSha256 => {
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
            }
            Self::UnsignedAwsChunked => {
                "aws-chunked encoding needs one of the STREAMING values of x-amz-content-sha256"
            }
            Self::StreamingNeedsSignature => "A signed streaming payload needs a signed request",
            Self::HeaderNotSigned(_) => "There were headers present in the request which were not signed",
            Self::NotYetValid => "Request is not yet valid",
            Self::Expired { .. } => "Request has expired",
            Self::PayloadNotImplemented
            | Self::BadUri
            | Self::Skewed { .. }
            | Self::UnknownAccessKey(_)
            | Self::InvalidToken
            | Self::SignatureDoesNotMatch(_) => return None,
        })
    }

    /// Gives each further element of the error's XML, name and bytes, to `put`.
    pub fn details(&self, put: &mut dyn FnMut(&'static str, &[u8])) {
        let iso = |unix_s: u64| stria_http::date::format_iso_ms(unix_s.saturating_mul(1000));
        match self {
            Self::WrongRegion { expected, .. } => put("Region", expected.as_bytes()),
            Self::HeaderNotSigned(name) => put("HeadersNotSigned", name.as_bytes()),
            Self::UnknownAccessKey(key) => put("AWSAccessKeyId", key.as_bytes()),
            Self::Skewed { request_unix_s, server_unix_s } => {
                put("RequestTime", &stria_http::date::format_basic(*request_unix_s));
                put("ServerTime", &iso(*server_unix_s));
                put("MaxAllowedSkewMilliseconds", b"900000");
            }
            Self::Expired { expires_s, expired_unix_s, server_unix_s } => {
                put("X-Amz-Expires", expires_s.to_string().as_bytes());
                put("Expires", &iso(*expired_unix_s));
                put("ServerTime", &iso(*server_unix_s));
            }
            Self::SignatureDoesNotMatch(mismatch) => {
                put("AWSAccessKeyId", mismatch.access_key.as_bytes());
                put("StringToSign", &mismatch.string_to_sign);
                put("SignatureProvided", mismatch.signature_provided.as_bytes());
                put("CanonicalRequest", &mismatch.canonical_request);
            }
            _ => {}
        }
    }

    /// All are the client's.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Client
    }
}

impl Fault {
    const fn message(self) -> &'static str {
        match self {
            Self::Parts => {
                "Credential, SignedHeaders, Signature and, in a query string, X-Amz-Algorithm, X-Amz-Date and X-Amz-Expires must each be given once"
            }
            Self::Credential => {
                "The Credential is malformed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
            }
            Self::SignedHeaders => "SignedHeaders must list lower-case header names, each once",
            Self::Signature => "The Signature must be 64 hex digits",
            Self::Date => "The date must be in the ISO 8601 basic format \"yyyyMMdd'T'HHmmss'Z'\"",
            Self::ScopeDate => "The date of the Credential is not the same as X-Amz-Date",
            Self::Service => "Incorrect service in the Credential. This endpoint belongs to \"s3\".",
            Self::Algorithm => "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
            Self::ExpiresNumber => "X-Amz-Expires should be a number",
            Self::ExpiresTooLong => {
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
            }
        }
    }
}

/// Why a streaming body is refused. Nothing of it may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// `x-amz-decoded-content-length` is missing.
    MissingDecodedLength,
    /// `x-amz-decoded-content-length` is no number.
    BadDecodedLength,
    /// A chunk header is malformed.
    BadChunkHeader,
    /// A chunk exceeds the limit, or the announced length.
    ChunkTooLarge,
    /// A signed chunk before the last has less than 8 KiB.
    ChunkTooSmall,
    /// CR LF is missing after a chunk's payload.
    BadLineBreak,
    /// A chunk's signature is wrong.
    ChunkSignature,
    /// The trailer's signature is wrong.
    TrailerSignature,
    /// A trailer is malformed, repeated, not announced, or announced and missing.
    BadTrailer,
    /// The payload is shorter than announced, or its last chunk is missing.
    Incomplete,
    /// Bytes follow the end.
    TrailingBytes,
}

impl StreamError {
    /// The S3 error code's name.
    #[must_use]
    pub const fn code_name(self) -> &'static str {
        match self {
            Self::MissingDecodedLength => "MissingContentLength",
            Self::BadDecodedLength => "InvalidArgument",
            Self::BadChunkHeader | Self::BadLineBreak | Self::TrailingBytes => "InvalidRequest",
            Self::ChunkTooLarge | Self::Incomplete => "IncompleteBody",
            Self::ChunkTooSmall => "InvalidChunkSizeError",
            Self::ChunkSignature | Self::TrailerSignature => "SignatureDoesNotMatch",
            Self::BadTrailer => "MalformedTrailerError",
        }
    }

    /// A message more exact than the code's own, where there is one.
    #[must_use]
    pub const fn message(self) -> Option<&'static str> {
        match self {
            Self::BadChunkHeader | Self::BadLineBreak | Self::TrailingBytes => {
                Some("The aws-chunked framing of the body is malformed")
            }
            Self::BadDecodedLength => Some("x-amz-decoded-content-length must be a number"),
            _ => None,
        }
    }

    /// All are the client's.
    #[must_use]
    pub const fn class(self) -> ErrorClass {
        ErrorClass::Client
    }
}

macro_rules! plain_error {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.code_name())
            }
        }
        impl std::error::Error for $name {}
    };
}
plain_error!(AuthError);
plain_error!(StreamError);
