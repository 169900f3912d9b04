//! The one door: authentication, then authorisation, for every operation alike.
//!
//! Invariant: nothing outside this file can make an [`Allowed`], and no bucket is used but through
//! [`Allowed::check_bucket`]. An account may do everything to its own buckets, the operator to all; policies will
//! decide here and nowhere else.

use std::rc::Rc;

use stria_http::Head;
use stria_meta::Bucket;
use stria_s3::{ErrorCode, Op, Route, S3Error, checksum::base64_decode, post::Form};
use stria_sigv4::{
    AuthError, Authenticated, FormSignature, PayloadMode, RegionPolicy, VerifyOptions, aws_chunked, verify,
    verify_form,
};

use crate::{
    conn::failure::named,
    identities::{Identities, Identity},
    state::CoreState,
};

/// Proof that the request may do what it asks.
pub struct Allowed {
    /// Access key of who asks; empty when nobody has to be known.
    principal: Box<str>,
}

impl Allowed {
    /// Who asks.
    ///
    /// # Errors
    /// `AccessDenied` when nobody signed.
    pub fn identity<'i>(&self, identities: &'i Identities) -> Result<&'i Identity, S3Error> {
        identities.by_access_key(&self.principal).ok_or_else(|| ErrorCode::AccessDenied.into())
    }

    /// Whether this request may use a bucket: its own account's, or any when the operator asks. Every handler
    /// gets its buckets through this, sources of copies too.
    ///
    /// # Errors
    /// `AccessDenied`
    pub fn check_bucket(&self, identities: &Identities, bucket: &Bucket) -> Result<(), S3Error> {
        let asking = self.identity(identities)?;
        let owner = identities.owner_of(bucket);
        if asking.is_operator || owner.is_some_and(|owner| owner.shares_account(asking)) {
            Ok(())
        } else {
            Err(ErrorCode::AccessDenied.into())
        }
    }
}

/// A body's promise and decoder, beside the permission.
pub type Admitted = (Allowed, PayloadMode, Option<aws_chunked::Decoder>);

/// Verifies the signature and decides whether the operation is allowed.
///
/// # Errors
/// S3's authentication errors, or `AccessDenied`.
pub fn admit(state: &Rc<CoreState>, head: &Head, route: &Route<'_>) -> Result<Admitted, S3Error> {
    if route.op() == Op::QueryApi {
        return Err(S3Error::new(
            ErrorCode::NotImplemented,
            "IAM, STS and SNS are not implemented by this server yet.",
        ));
    }
    if matches!(route.op(), Op::PreflightService | Op::PreflightBucket | Op::PreflightObject) {
        // A browser cannot sign this question; the answer tells the bucket's CORS rules and nothing else.
        return Ok((Allowed { principal: Box::default() }, PayloadMode::Unsigned, None));
    }
    let identities = &state.shared.identities;
    if route.op() == Op::PostObject && !head.contains("authorization") {
        // Who sends a form is known when its fields are: until then it may use no bucket.
        return Ok((Allowed { principal: Box::default() }, PayloadMode::Unsigned, None));
    }
    let options =
        VerifyOptions { now_unix_s: state.now_ms() / 1000, region: RegionPolicy::Any, service: "s3" };
    let who = verify(&mut state.keys.borrow_mut(), identities, head, &options);
    match who.map_err(|error| auth_error(&error))? {
        // Buckets of this release are all private.
        Authenticated::Anonymous { .. } => Err(ErrorCode::AccessDenied.into()),
        Authenticated::Signed(verified) => {
            let aws = if verified.payload.is_streaming() {
                let decoder = aws_chunked::Decoder::for_verified(head, &verified);
                Some(decoder.map_err(|error| named(error.code_name(), error.message()))?)
            } else {
                None
            };
            let payload = verified.payload;
            Ok((Allowed { principal: verified.access_key }, payload, aws))
        }
    }
}

/// Who signed the policy of a form.
///
/// # Errors
/// `AccessDenied` for a form without one, `InvalidArgument` for one that is not signed as it should be, else
/// S3's authentication errors.
pub fn admit_form(state: &CoreState, form: &Form) -> Result<Allowed, S3Error> {
    let Some(policy) = form.get("policy") else { return Err(ErrorCode::AccessDenied.into()) };
    let signature = FormSignature {
        policy,
        algorithm: form.text("x-amz-algorithm"),
        credential: form.text("x-amz-credential"),
        date: form.text("x-amz-date"),
        signature: form.text("x-amz-signature"),
        token: form.text("x-amz-security-token"),
        access_key_v2: form.text("awsaccesskeyid"),
        signature_v2: form.text("signature"),
    };
    match verify_form(&state.shared.identities, &signature, base64_decode) {
        Ok(principal) => Ok(Allowed { principal }),
        Err(AuthError::Query(_)) => {
            let message = "Bucket POST must contain the fields that authenticate it: policy, x-amz-algorithm, x-amz-credential, x-amz-date and x-amz-signature.";
            Err(S3Error::new(ErrorCode::InvalidArgument, message))
        }
        Err(error) => Err(auth_error(&error)),
    }
}

fn auth_error(error: &AuthError) -> S3Error {
    let mut out = named(error.code_name(), error.message());
    error.details(&mut |name, value| {
        out = std::mem::replace(&mut out, ErrorCode::AccessDenied.into()).with(name, value);
    });
    out
}
