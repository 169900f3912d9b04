//! The one door: from a head to an identity, or an error.
//!
//! Invariant: [`Verified`] is made only after a constant-time comparison succeeded; an unknown access key
//! takes the same path with a dummy secret. Runs on the accepting core. Owner: `net/sigv4`.

use stria_base::limits::CLOCK_SKEW_SECONDS_MAX;
use stria_http::{Head, Query};
use subtle::ConstantTimeEq;

use crate::auth::{AuthKind, SignedRequest, parse_auth};
use crate::canonical::{Parts, canonical_request};
use crate::crypto::{SigningKey, sha256_hex};
use crate::error::{AuthError, Fault, Mismatch};
use crate::key_cache::KeyCache;
use crate::payload::PayloadMode;
use crate::{ALGORITHM, HEX_BYTES};

/// What belongs to an access key.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    /// The secret access key.
    pub key: &'a [u8],
    /// The token that must accompany a temporary key.
    pub session_token: Option<&'a [u8]>,
}

/// Where secrets come from: a snapshot of this core.
pub trait SecretSource {
    /// The secret of an access key, if it exists and may be used now.
    fn secret(&self, access_key: &str) -> Option<Secret<'_>>;
}

/// A source with one key.
pub struct OneKey<'a> {
    /// The access key.
    pub access_key: &'a str,
    /// Its secret.
    pub secret: &'a str,
}

impl SecretSource for OneKey<'_> {
    fn secret(&self, access_key: &str) -> Option<Secret<'_>> {
        (access_key == self.access_key).then_some(Secret { key: self.secret.as_bytes(), session_token: None })
    }
}

/// Which regions a scope may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionPolicy<'a> {
    /// Any text.
    Any,
    /// This one; others are told of it.
    Only(&'a str),
}

/// What the caller knows beside the request.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions<'a> {
    /// Seconds since 1970, from `Env::wall_ms`.
    pub now_unix_s: u64,
    /// Regions served.
    pub region: RegionPolicy<'a>,
    /// The service of the scope, `s3` on the S3 port.
    pub service: &'a str,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub enum Authenticated {
    /// Nobody in particular.
    Anonymous {
        /// How the body is framed; never a signed form.
        payload: PayloadMode,
    },
    /// The holder of a secret.
    Signed(Verified),
}

/// A request whose signature verified.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whose secret signed it.
    pub access_key: Box<str>,
    /// `date/region/service/aws4_request`, for bodies whose chunks are signed; else empty.
    pub scope: Box<str>,
    /// `20130524T000000Z`
    pub amz_date: [u8; 16],
    /// The signature of the head, from which signed chunks are chained.
    pub seed_signature: [u8; HEX_BYTES],
    /// Signs the chunks.
    pub signing_key: SigningKey,
    /// What is promised about the body.
    pub payload: PayloadMode,
    /// Whether it came as a presigned URL.
    pub presigned: bool,
}

impl Authenticated {
    /// What is promised about the body.
    #[must_use]
    pub const fn payload(&self) -> PayloadMode {
        match self {
            Self::Anonymous { payload } => *payload,
            Self::Signed(verified) => verified.payload,
        }
    }
}

/// Verifies a head. The body is still to be checked, as [`Authenticated::payload`] says.
///
/// # Errors
/// [`AuthError`]; nothing of the request may be acted upon.
pub fn verify(
    cache: &mut KeyCache,
    secrets: &dyn SecretSource,
    head: &Head,
    options: &VerifyOptions<'_>,
) -> Result<Authenticated, AuthError> {
    let query = Query::new(head.query());
    match parse_auth(head, query)? {
        AuthKind::Anonymous => anonymous(head),
        AuthKind::Header(request) => {
            let payload_hash = head
                .get_single("x-amz-content-sha256")
                .map_err(|_| AuthError::BadContentSha256)?
                .ok_or(AuthError::MissingContentSha256)?;
            check_skew(request.unix_s, options.now_unix_s)?;
            signature(cache, secrets, head, options, &Claim { request, payload_hash, presigned: false })
        }
        AuthKind::Presigned { request, expires_s } => {
            let from_query = query.get_raw("X-Amz-Content-Sha256");
            let from_header =
                head.get_single("x-amz-content-sha256").map_err(|_| AuthError::BadContentSha256)?;
            let payload_hash = from_query.or(from_header).unwrap_or(b"UNSIGNED-PAYLOAD");
            check_lifetime(request.unix_s, expires_s, options.now_unix_s)?;
            signature(cache, secrets, head, options, &Claim { request, payload_hash, presigned: true })
        }
    }
}

/// Services that speak the query API, in the credentials of their clients.
const QUERY_APIS: [&str; 3] = ["iam", "sts", "sns"];

/// Verifies a request of IAM, STS or SNS with the body it came with: its clients sign the body's hash and do not
/// send it. Their region may be empty. Presigned ones are refused.
///
/// # Errors
/// [`AuthError`]; nothing of the request may be acted upon.
pub fn verify_query_api(
    cache: &mut KeyCache,
    secrets: &dyn SecretSource,
    head: &Head,
    body: &[u8],
    now_unix_s: u64,
) -> Result<Authenticated, AuthError> {
    let request = match parse_auth(head, Query::new(head.query()))? {
        AuthKind::Anonymous => return anonymous(head),
        AuthKind::Header(request) => request,
        AuthKind::Presigned { .. } => return Err(AuthError::Query(Fault::Service)),
    };
    let asked = request.credential.service();
    let service = QUERY_APIS.into_iter().find(|known| *known == asked).unwrap_or(QUERY_APIS[0]);
    check_skew(request.unix_s, now_unix_s)?;
    let hash = sha256_hex(body);
    let options = VerifyOptions { now_unix_s, region: RegionPolicy::Any, service };
    signature(cache, secrets, head, &options, &Claim { request, payload_hash: &hash[..], presigned: false })
}

struct Claim<'h> {
    request: SignedRequest<'h>,
    payload_hash: &'h [u8],
    presigned: bool,
}

fn anonymous(head: &Head) -> Result<Authenticated, AuthError> {
    let value = head.get_single("x-amz-content-sha256").map_err(|_| AuthError::BadContentSha256)?;
    let payload = value.map_or(Ok(PayloadMode::Unsigned), PayloadMode::parse)?.checked(head)?;
    if payload.is_chunk_signed() {
        return Err(AuthError::StreamingNeedsSignature);
    }
    Ok(Authenticated::Anonymous { payload })
}

fn check_skew(request_unix_s: u64, server_unix_s: u64) -> Result<(), AuthError> {
    if request_unix_s.abs_diff(server_unix_s) > CLOCK_SKEW_SECONDS_MAX {
        return Err(AuthError::Skewed { request_unix_s, server_unix_s });
    }
    Ok(())
}

fn check_lifetime(from_unix_s: u64, expires_s: u64, now_unix_s: u64) -> Result<(), AuthError> {
    if from_unix_s > now_unix_s.saturating_add(CLOCK_SKEW_SECONDS_MAX) {
        return Err(AuthError::NotYetValid);
    }
    let expired_unix_s = from_unix_s + expires_s;
    if now_unix_s > expired_unix_s {
        return Err(AuthError::Expired { expires_s, expired_unix_s, server_unix_s: now_unix_s });
    }
    Ok(())
}

/// Every header that changes the meaning of an S3 request must be covered by the signature.
fn check_signed_headers(head: &Head, list: &str) -> Result<(), AuthError> {
    let is_signed =
        |name: &[u8]| list.as_bytes().split(|&b| b == b';').any(|signed| name.eq_ignore_ascii_case(signed));
    let not_signed =
        |name: &[u8]| AuthError::HeaderNotSigned(String::from_utf8_lossy(name).to_ascii_lowercase().into());
    if !is_signed(b"host") {
        return Err(not_signed(b"host"));
    }
    for (name, _) in head.headers() {
        let amz = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-"));
        if amz && !is_signed(name) {
            return Err(not_signed(name));
        }
    }
    // A header that was signed and is gone was removed on the way.
    match list.split(';').find(|name| !head.contains(name)) {
        Some(gone) => Err(not_signed(gone.as_bytes())),
        None => Ok(()),
    }
}

fn check_scope(claim: &Claim<'_>, options: &VerifyOptions<'_>) -> Result<(), AuthError> {
    let credential = &claim.request.credential;
    if credential.service() != options.service {
        let fault = if claim.presigned { AuthError::Query } else { AuthError::Header };
        return Err(fault(Fault::Service));
    }
    match options.region {
        RegionPolicy::Only(expected) if credential.region() != expected => {
            Err(AuthError::WrongRegion { expected: expected.into(), presigned: claim.presigned })
        }
        _ => Ok(()),
    }
}

/// Stands in for the secret of an access key that does not exist.
pub(crate) const DUMMY: Secret<'static> =
    Secret { key: b"no such access key: 0123456789abcdef0123", session_token: None };

fn signature(
    cache: &mut KeyCache,
    secrets: &dyn SecretSource,
    head: &Head,
    options: &VerifyOptions<'_>,
    claim: &Claim<'_>,
) -> Result<Authenticated, AuthError> {
    let request = &claim.request;
    let credential = &request.credential;
    check_scope(claim, options)?;
    check_signed_headers(head, &request.signed_headers)?;
    let payload = PayloadMode::parse(claim.payload_hash)?.checked(head)?;
    let [mut canonical, mut string_to_sign] = std::mem::take(&mut cache.scratch);
    let parts = Parts {
        method: head.method_bytes(),
        path: head.path(),
        query: Query::new(head.query()),
        signed_headers: &request.signed_headers,
        lookup: &|name, each| head.get_all(name).for_each(each),
        payload_hash: claim.payload_hash,
    };
    canonical_request(&parts, &mut canonical).map_err(|_| AuthError::BadUri)?;
    write_string_to_sign(&request.amz_date, credential.scope(), &canonical, &mut string_to_sign);

    let found = secrets.secret(credential.access_key());
    let secret = found.unwrap_or(DUMMY);
    let cached = cache.get(credential, secret.key);
    let was_cached = cached.is_some();
    let signing_key = cached.unwrap_or_else(|| {
        SigningKey::derive(secret.key, credential.date(), credential.region(), credential.service())
    });
    let expected = signing_key.sign_hex(&[&string_to_sign]);
    let same = bool::from(expected.ct_eq(request.signature.as_bytes()));
    if found.is_none() {
        return Err(AuthError::UnknownAccessKey(credential.access_key().into()));
    }
    if !same {
        return Err(AuthError::SignatureDoesNotMatch(Box::new(Mismatch {
            access_key: credential.access_key().into(),
            string_to_sign: string_to_sign.into(),
            signature_provided: request.signature.as_ref().into(),
            canonical_request: canonical.into(),
        })));
    }
    cache.scratch = [canonical, string_to_sign];
    check_token(head, secret.session_token)?;
    if !was_cached {
        cache.insert(credential, secret.key, signing_key.clone());
    }
    Ok(Authenticated::Signed(Verified {
        access_key: credential.access_key().into(),
        scope: if payload.is_chunk_signed() { credential.scope().into() } else { Box::default() },
        amz_date: request.amz_date,
        seed_signature: expected,
        signing_key,
        payload,
        presigned: claim.presigned,
    }))
}

fn check_token(head: &Head, expected: Option<&[u8]>) -> Result<(), AuthError> {
    let from_header = head.get_single("x-amz-security-token").map_err(|_| AuthError::InvalidToken)?;
    let from_query =
        Query::new(head.query()).get("X-Amz-Security-Token").map_err(|_| AuthError::InvalidToken)?;
    let given = match (from_header, &from_query) {
        (Some(_), Some(_)) => return Err(AuthError::InvalidToken),
        (Some(token), None) => Some(token),
        (None, token) => token.as_deref(),
    };
    match (given, expected) {
        (None, None) => Ok(()),
        (Some(given), Some(expected)) if bool::from(given.ct_eq(expected)) => Ok(()),
        _ => Err(AuthError::InvalidToken),
    }
}

/// What the signing key signs.
pub(crate) fn write_string_to_sign(amz_date: &[u8; 16], scope: &str, canonical: &[u8], out: &mut Vec<u8>) {
    out.clear();
    for line in [ALGORITHM.as_bytes(), amz_date, scope.as_bytes()] {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(&sha256_hex(canonical));
}
