//! Signatures of browser forms: the policy in a form field is what is signed.
//!
//! Invariant: an access key is given back only after a constant-time comparison succeeded; an unknown one takes
//! the same path with a dummy secret. Any core. Owner: `net/sigv4`. Source: AWS S3 API reference,
//! "Authenticating requests in browser-based uploads using POST", for both signature versions.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use crate::{
    ALGORITHM,
    auth::Credential,
    crypto::SigningKey,
    error::{AuthError, Fault, Mismatch},
    verify::{DUMMY, SecretSource},
};

/// The authentication fields of a form, as sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormSignature<'f> {
    /// `policy`, still in base64: these very bytes are signed.
    pub policy: &'f [u8],
    /// `x-amz-algorithm`
    pub algorithm: Option<&'f str>,
    /// `x-amz-credential`
    pub credential: Option<&'f str>,
    /// `x-amz-date`
    pub date: Option<&'f str>,
    /// `x-amz-signature`, hex.
    pub signature: Option<&'f str>,
    /// `x-amz-security-token`
    pub token: Option<&'f str>,
    /// `AWSAccessKeyId`, of version 2.
    pub access_key_v2: Option<&'f str>,
    /// `signature`, of version 2, base64.
    pub signature_v2: Option<&'f str>,
}

/// Verifies the signature of a form's policy. The access key that signed it.
///
/// # Errors
/// `Query` for a missing or malformed field, `UnknownAccessKey`, `InvalidToken`, `SignatureDoesNotMatch`.
pub fn verify_form(
    secrets: &dyn SecretSource,
    form: &FormSignature<'_>,
    decode_base64: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<Box<str>, AuthError> {
    let bad = |fault| AuthError::Query(fault);
    let (access_key, credential) = match (form.credential, form.access_key_v2) {
        (Some(text), _) => {
            if form.algorithm != Some(ALGORITHM) {
                return Err(bad(Fault::Algorithm));
            }
            let credential = Credential::parse(text.into()).ok_or(bad(Fault::Credential))?;
            if !form.date.is_some_and(|date| date.starts_with(credential.date())) {
                return Err(bad(Fault::Date));
            }
            (credential.access_key().to_owned(), Some(credential))
        }
        (None, Some(access_key)) => (access_key.to_owned(), None),
        (None, None) => return Err(bad(Fault::Credential)),
    };
    let found = secrets.secret(&access_key);
    let secret = found.unwrap_or(DUMMY);
    let provided = if credential.is_some() { form.signature } else { form.signature_v2 };
    let provided = provided.ok_or(bad(Fault::Signature))?;
    let same = match &credential {
        Some(credential) => {
            let key =
                SigningKey::derive(secret.key, credential.date(), credential.region(), credential.service());
            bool::from(key.sign_hex(&[form.policy]).as_slice().ct_eq(provided.as_bytes()))
        }
        None => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.key);
            let expected = hmac::sign(&key, form.policy);
            let given = decode_base64(provided.as_bytes()).unwrap_or_default();
            bool::from(expected.as_ref().ct_eq(&given))
        }
    };
    if found.is_none() {
        return Err(AuthError::UnknownAccessKey(access_key.into()));
    }
    if !same {
        return Err(AuthError::SignatureDoesNotMatch(Box::new(Mismatch {
            access_key: access_key.into(),
            string_to_sign: form.policy.into(),
            signature_provided: provided.into(),
            canonical_request: Box::default(),
        })));
    }
    let token_is_right = match (form.token, secret.session_token) {
        (None, None) => true,
        (Some(given), Some(expected)) => bool::from(given.as_bytes().ct_eq(expected)),
        _ => false,
    };
    if token_is_right { Ok(access_key.into()) } else { Err(AuthError::InvalidToken) }
}
