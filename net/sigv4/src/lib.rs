//! AWS Signature Version 4 for S3: who sent this request, and is its body what they signed.
//!
//! Invariant: [`verify()`] is the one door. Every kind of authentication is a variant of [`AuthKind`], and
//! there is no way to a [`Verified`] but a constant-time comparison of signatures. Runs on the accepting
//! core, sans I/O; the [`KeyCache`] belongs to one core. Owner: the wire group (`net/`).
//! Deliberately absent: policies, users, clocks (the caller says what time it is), S3 operations.

pub mod auth;
pub mod aws_chunked;
mod canonical;
mod crypto;
pub mod error;
pub mod form;
mod key_cache;
pub mod payload;
pub mod sign;
pub mod verify;

pub use auth::{AuthKind, Credential, SignedRequest, parse_auth};
pub use crypto::SigningKey;
pub use error::{AuthError, StreamError};
pub use form::{FormSignature, verify_form};
pub use key_cache::KeyCache;
pub use payload::PayloadMode;
pub use verify::{
    Authenticated, OneKey, RegionPolicy, Secret, SecretSource, Verified, VerifyOptions, verify,
    verify_query_api,
};

/// The only algorithm spoken here.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The end of every credential scope.
pub(crate) const TERMINATOR: &str = "aws4_request";
/// Hex digits of a SHA-256 or of a signature.
pub(crate) const HEX_BYTES: usize = 64;

#[cfg(test)]
mod tests;
