//! SHA-256, HMAC and hex, as SigV4 strings them together.
//!
//! Invariant: a [`SigningKey`] never prints itself. Any core. Owner: `net/sigv4`.

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};

use crate::{HEX_BYTES, TERMINATOR};

/// Lower-case hex digits of 32 bytes.
pub type Hex = [u8; HEX_BYTES];

/// SHA-256 of the empty string, in hex.
pub const EMPTY_SHA256_HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub fn hex(bytes: &[u8]) -> Hex {
    assert_eq!(bytes.len(), HEX_BYTES / 2, "SHA-256 and HMAC-SHA-256 have 32 bytes");
    let mut out = [0; HEX_BYTES];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    out
}

/// The 32 bytes of 64 hex digits in either case.
pub fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != HEX_BYTES {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(out)
}

pub fn sha256_hex(bytes: &[u8]) -> Hex {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The key that signs for one access key, date, region and service. Cheap to clone; prints nothing.
#[derive(Clone)]
pub struct SigningKey(Arc<hmac::Key>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

impl SigningKey {
    /// Derived from a secret, for `date` (`YYYYMMDD`), `region` and `service`.
    #[must_use]
    pub fn derive(secret: &[u8], date: &str, region: &str, service: &str) -> Self {
        let mut first = Vec::with_capacity(4 + secret.len());
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret);
        let of_date = mac(&first, date);
        let of_region = mac(of_date.as_ref(), region);
        let of_service = mac(of_region.as_ref(), service);
        let last = mac(of_service.as_ref(), TERMINATOR);
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, last.as_ref())))
    }

    /// The signature of the parts, one after the other, in hex.
    #[must_use]
    pub fn sign_hex(&self, parts: &[&[u8]]) -> Hex {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        hex(context.sign().as_ref())
    }
}
