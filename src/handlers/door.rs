//! The one door: authentication, then authorisation, for every operation alike.
//!
//! Invariant: [`Allowed`] exists only after both; nothing outside this file can make one. Root may do
//! everything, anybody else nothing; policies will decide here and nowhere else.

use std::rc::Rc;

use stria_http::Head;
use stria_s3::{ErrorCode, Op, Route, S3Error};
use stria_sigv4::{
    AuthError, Authenticated, OneKey, PayloadMode, RegionPolicy, VerifyOptions, aws_chunked, verify,
};

use crate::{conn::failure::named, state::CoreState};

/// Proof that the request may do what it asks.
pub struct Allowed {
    principal: Box<str>,
}

impl Allowed {
    /// Access key of who asks.
    pub fn principal(&self) -> &str {
        &self.principal
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
    let shared = &state.shared;
    let secrets = OneKey { access_key: &shared.access_key, secret: &shared.secret_key.0 };
    let options =
        VerifyOptions { now_unix_s: state.now_ms() / 1000, region: RegionPolicy::Any, service: "s3" };
    let who = verify(&mut state.keys.borrow_mut(), &secrets, head, &options);
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

fn auth_error(error: &AuthError) -> S3Error {
    let mut out = named(error.code_name(), error.message());
    error.details(&mut |name, value| {
        out = std::mem::replace(&mut out, ErrorCode::AccessDenied.into()).with(name, value);
    });
    out
}
