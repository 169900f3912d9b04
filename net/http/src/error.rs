//! What is wrong with the bytes of a client, one variant per rule of ours.
//!
//! Invariant: after any of these the connection is answered once and closed, because the end of the
//! message is no longer certain. Any core. Owner: `net/http`.

use stria_base::ErrorClass;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Request line and headers exceed `HEAD_BYTES_MAX`.
    HeadTooLarge,
    /// More than `HEADER_COUNT_MAX` header lines.
    TooManyHeaders,
    /// A CR or LF that is not part of a CR LF pair.
    BareLineBreak,
    /// A NUL byte.
    NulByte,
    /// A header line continued on the next line, or white space before the first header.
    ObsFold,
    /// The request line is not `method SP target SP version`.
    BadRequestLine,
    /// The target is neither a path, nor an absolute http URI, nor `*` with OPTIONS.
    BadTarget,
    /// The version is neither HTTP/1.1 nor HTTP/1.0.
    BadVersion,
    /// The connection preface of HTTP/2.
    Http2Preface,
    /// A header name that is empty, is no token, or is followed by white space.
    BadHeaderName,
    /// A control character in a header value.
    BadHeaderValue,
    /// HTTP/1.1 without a Host header.
    MissingHost,
    /// More than one Host header.
    DuplicateHost,
    /// A Host header that is no authority.
    BadHost,
    /// The target is an absolute URI whose authority differs from Host.
    HostMismatch,
    /// Content-Length is not a plain decimal number below 2^63.
    BadContentLength,
    /// More than one Content-Length.
    DuplicateContentLength,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndTransferEncoding,
    /// Transfer-Encoding is not exactly `chunked`, is repeated, or came with HTTP/1.0.
    BadTransferEncoding,
}

impl HeadError {
    /// The status of the answer, 400 to 505. The connection closes after it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::BadTransferEncoding => 501,
            Self::BadVersion | Self::Http2Preface => 505,
            _ => 400,
        }
    }

    /// All are the client's.
    #[must_use]
    pub const fn class(self) -> ErrorClass {
        ErrorClass::Client
    }

    /// One sentence for the answer's body and the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "the request line and headers are too large",
            Self::TooManyHeaders => "too many header lines",
            Self::BareLineBreak => "a line break that is not CR LF",
            Self::NulByte => "a NUL byte in the head",
            Self::ObsFold => "a folded header line",
            Self::BadRequestLine => "malformed request line",
            Self::BadTarget => "malformed request target",
            Self::BadVersion => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::Http2Preface => "HTTP/2 is not spoken here",
            Self::BadHeaderName => "malformed header name",
            Self::BadHeaderValue => "malformed header value",
            Self::MissingHost => "the Host header is missing",
            Self::DuplicateHost => "more than one Host header",
            Self::BadHost => "malformed Host header",
            Self::HostMismatch => "the target's authority differs from the Host header",
            Self::BadContentLength => "malformed Content-Length",
            Self::DuplicateContentLength => "more than one Content-Length",
            Self::LengthAndTransferEncoding => "both Content-Length and Transfer-Encoding",
            Self::BadTransferEncoding => "only Transfer-Encoding: chunked is spoken here",
        }
    }
}

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// The size is empty, holds a non-hex digit, or has more than 8 digits.
    BadSize,
    /// A chunk extension holds a control character, or extensions exceed their limit.
    BadExtension,
    /// CR LF is missing where the framing demands it.
    BadLineBreak,
    /// A trailer line is malformed, or trailers exceed their limit.
    BadTrailer,
}

impl ChunkError {
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
                std::fmt::Debug::fmt(self, f)
            }
        }
        impl std::error::Error for $name {}
    };
}
plain_error!(HeadError);
plain_error!(ChunkError);
