//! What `x-amz-content-sha256` promises about the body.
//!
//! Invariant: a body framed as aws-chunked is always decoded as such and never stored with its framing:
//! `UNSIGNED-PAYLOAD` together with `aws-chunked` is refused. Any core. Owner: `net/sigv4`.

use stria_http::Head;

use crate::crypto::unhex;
use crate::error::AuthError;

/// How the body is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadMode {
    /// The body's SHA-256 must be this; verify it before anything is committed.
    Hex([u8; 32]),
    /// Nothing is promised.
    Unsigned,
    /// aws-chunked, every chunk signed.
    StreamingSigned,
    /// aws-chunked, every chunk and the trailer signed.
    StreamingSignedTrailer,
    /// aws-chunked with a trailer, nothing signed but the head.
    StreamingUnsignedTrailer,
}

impl PayloadMode {
    /// Whether the body is aws-chunked and `Content-Encoding: aws-chunked` is no property of the object.
    #[must_use]
    pub const fn is_streaming(self) -> bool {
        !matches!(self, Self::Hex(_) | Self::Unsigned)
    }

    /// Whether the chunks carry signatures.
    #[must_use]
    pub const fn is_chunk_signed(self) -> bool {
        matches!(self, Self::StreamingSigned | Self::StreamingSignedTrailer)
    }

    /// Whether a trailer section follows the last chunk.
    #[must_use]
    pub const fn has_trailer(self) -> bool {
        matches!(self, Self::StreamingSignedTrailer | Self::StreamingUnsignedTrailer)
    }

    /// From the value of `x-amz-content-sha256`.
    ///
    /// # Errors
    /// [`AuthError::BadContentSha256`], [`AuthError::PayloadNotImplemented`].
    pub fn parse(value: &[u8]) -> Result<Self, AuthError> {
        match value {
            b"UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::StreamingSigned),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::StreamingSignedTrailer),
            b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::StreamingUnsignedTrailer),
            b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => Err(AuthError::PayloadNotImplemented),
            _ => unhex(value).map(Self::Hex).ok_or(AuthError::BadContentSha256),
        }
    }

    /// Checked against the head's Content-Encoding.
    pub(crate) fn checked(self, head: &Head) -> Result<Self, AuthError> {
        let chunked = |value: &[u8]| {
            value.split(|&b| b == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"aws-chunked"))
        };
        if !self.is_streaming() && head.get_all("content-encoding").any(chunked) {
            return Err(AuthError::UnsignedAwsChunked);
        }
        Ok(self)
    }
}
