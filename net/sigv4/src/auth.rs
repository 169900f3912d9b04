//! From a head to the claim it makes: nobody's, a signed header's, or a presigned URL's.
//!
//! Invariant: a request makes exactly one claim; two claims, half a claim or a claim in a scheme we do
//! not speak is an error, never "anonymous". Nothing is verified here. Any core. Owner: `net/sigv4`.

use std::borrow::Cow;
use std::ops::Range;

use stria_base::limits::PRESIGN_SECONDS_MAX;
use stria_http::percent::{Plus, decode};
use stria_http::{Head, Query, date};

use crate::error::{AuthError, Fault};
use crate::{ALGORITHM, HEX_BYTES, TERMINATOR};

/// `access-key/date/region/service/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential<'h> {
    text: Cow<'h, str>,
    /// Ends of access key, date, region and service.
    ends: [usize; 4],
}

impl<'h> Credential<'h> {
    /// Parses a credential. The access key may contain `/`: the scope's four parts are cut from the end.
    #[must_use]
    pub fn parse(text: Cow<'h, str>) -> Option<Self> {
        let mut ends = [0; 4];
        let mut end = text.len();
        for slot in ends.iter_mut().rev() {
            end = text[..end].rfind('/')?;
            *slot = end;
        }
        let credential = Self { text, ends };
        let date = credential.date();
        let good = &credential.text[credential.ends[3] + 1..] == TERMINATOR
            && !credential.access_key().is_empty()
            && credential.access_key().bytes().all(|b| b.is_ascii_graphic())
            && date.len() == 8
            && date.bytes().all(|b| b.is_ascii_digit())
            && !credential.service().is_empty()
            && credential.text.bytes().all(|b| b.is_ascii_graphic());
        good.then_some(credential)
    }

    fn part(&self, range: Range<usize>) -> &str {
        &self.text[range]
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
    /// The access key.
    #[must_use]
    pub fn access_key(&self) -> &str {
        self.part(0..self.ends[0])
    }
    /// `YYYYMMDD`
    #[must_use]
    pub fn date(&self) -> &str {
        self.part(self.ends[0] + 1..self.ends[1])
    }
    /// The region; may be empty.
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(self.ends[1] + 1..self.ends[2])
    }
    /// The service, `s3` for us.
    #[must_use]
    pub fn service(&self) -> &str {
        self.part(self.ends[2] + 1..self.ends[3])
    }
    /// `date/region/service/aws4_request`
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.text[self.ends[0] + 1..]
    }
}

/// A claim with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest<'h> {
    /// Who claims it, and the scope.
    pub credential: Credential<'h>,
    /// `a;b;c`, lower case, no name twice.
    pub signed_headers: Cow<'h, str>,
    /// 64 hex digits.
    pub signature: Cow<'h, str>,
    /// `20130524T000000Z`
    pub amz_date: [u8; 16],
    /// The same, seconds since 1970.
    pub unix_s: u64,
}

/// The claim of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthKind<'h> {
    /// None.
    Anonymous,
    /// In the Authorization header.
    Header(SignedRequest<'h>),
    /// In the query string.
    Presigned {
        /// The claim.
        request: SignedRequest<'h>,
        /// Lifetime from its date, 0..=604,800 seconds.
        expires_s: u64,
    },
}

/// Reads the claim of a request.
///
/// # Errors
/// [`AuthError`] when the claim is malformed, double, or in an unknown scheme.
pub fn parse_auth<'h>(head: &'h Head, query: Query<'h>) -> Result<AuthKind<'h>, AuthError> {
    let header = head.get_single("authorization").map_err(|_| AuthError::MultipleMechanisms)?;
    let params = Params::collect(query)?;
    match (header, params.signature_v4, params.signature_v2) {
        (Some(_), true, _) | (Some(_), _, true) | (None, true, true) => Err(AuthError::MultipleMechanisms),
        (Some(value), false, false) => parse_header(head, value).map(AuthKind::Header),
        (None, true, false) => parse_presigned(params),
        (None, false, true) => Err(AuthError::UnsupportedVersion),
        (None, false, false) => Ok(AuthKind::Anonymous),
    }
}

/// The authentication parameters of a query string.
#[derive(Default)]
struct Params<'h> {
    values: [Option<Cow<'h, str>>; PARAMS.len()],
    repeated: bool,
    signature_v4: bool,
    signature_v2: bool,
}

const PARAMS: [&str; 6] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
];

impl<'h> Params<'h> {
    fn collect(query: Query<'h>) -> Result<Self, AuthError> {
        let mut params = Self::default();
        for (name, value) in query.pairs() {
            let name = decode(name, Plus::Space).map_err(|_| AuthError::BadUri)?;
            if matches!(&*name, b"AWSAccessKeyId" | b"Signature") {
                params.signature_v2 = true;
            }
            let known = |param: &str| name.eq_ignore_ascii_case(param.as_bytes());
            let Some(at) = PARAMS.iter().position(|param| known(param)) else {
                continue;
            };
            let text = decode(value, Plus::Space).map_err(|_| AuthError::BadUri)?;
            let text = match text {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
                Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
            };
            params.signature_v4 = true;
            params.repeated |= params.values[at].is_some();
            params.values[at] = Some(text.ok_or(AuthError::BadUri)?);
        }
        Ok(params)
    }
}

fn parse_presigned(params: Params<'_>) -> Result<AuthKind<'_>, AuthError> {
    let fault = |fault| AuthError::Query(fault);
    if params.repeated {
        return Err(fault(Fault::Parts));
    }
    let [Some(algorithm), Some(credential), Some(date), Some(expires), Some(signed_headers), Some(signature)] =
        params.values
    else {
        return Err(fault(Fault::Parts));
    };
    if algorithm.starts_with("AWS4-ECDSA") {
        return Err(AuthError::UnsupportedVersion);
    }
    if algorithm != ALGORITHM {
        return Err(fault(Fault::Algorithm));
    }
    // A URL that lives no second is a mistake of whoever made it; S3 takes 1 to a week.
    let digits = expires.bytes().any(|b| b != b'0') && expires.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(fault(Fault::ExpiresNumber));
    }
    let expires_s = expires.parse::<u64>().unwrap_or(u64::MAX);
    if expires_s > PRESIGN_SECONDS_MAX {
        return Err(fault(Fault::ExpiresTooLong));
    }
    let unix_s = date::parse_basic(date.as_bytes()).ok_or(fault(Fault::Date))?;
    let request = signed_request(credential, signed_headers, signature, unix_s).map_err(fault)?;
    Ok(AuthKind::Presigned { request, expires_s })
}

fn parse_header<'h>(head: &'h Head, value: &'h [u8]) -> Result<SignedRequest<'h>, AuthError> {
    let fault = |fault| AuthError::Header(fault);
    let value = std::str::from_utf8(value).map_err(|_| fault(Fault::Parts))?;
    let (scheme, rest) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    match scheme {
        ALGORITHM => {}
        "AWS" => return Err(AuthError::UnsupportedVersion),
        _ if scheme.starts_with("AWS4-ECDSA") => return Err(AuthError::UnsupportedVersion),
        _ => return Err(AuthError::UnsupportedScheme),
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or(fault(Fault::Parts))?;
        let slot = match name.trim() {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(fault(Fault::Parts)),
        };
        if slot.replace(value.trim()).is_some() {
            return Err(fault(Fault::Parts));
        }
    }
    let (Some(credential), Some(signed_headers), Some(signature)) = (credential, signed_headers, signature)
    else {
        return Err(fault(Fault::Parts));
    };
    let unix_s = request_date(head)?;
    signed_request(credential.into(), signed_headers.into(), signature.into(), unix_s).map_err(fault)
}

/// `x-amz-date`, else `Date` in any of its forms.
fn request_date(head: &Head) -> Result<u64, AuthError> {
    let single = |name| head.get_single(name).map_err(|_| AuthError::MissingDate);
    let parsed = match single("x-amz-date")? {
        Some(text) => date::parse_basic(text).or_else(|| date::parse_http(text)),
        None => single("date")?.and_then(|text| date::parse_http(text).or_else(|| date::parse_basic(text))),
    };
    parsed.ok_or(AuthError::MissingDate)
}

fn signed_request<'h>(
    credential: Cow<'h, str>,
    signed_headers: Cow<'h, str>,
    signature: Cow<'h, str>,
    unix_s: u64,
) -> Result<SignedRequest<'h>, Fault> {
    let credential = Credential::parse(credential).ok_or(Fault::Credential)?;
    if !signed_headers_are_good(&signed_headers) {
        return Err(Fault::SignedHeaders);
    }
    if signature.len() != HEX_BYTES || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Fault::Signature);
    }
    let amz_date = date::format_basic(unix_s);
    if credential.date().as_bytes() != &amz_date[..8] {
        return Err(Fault::ScopeDate);
    }
    Ok(SignedRequest { credential, signed_headers, signature, amz_date, unix_s })
}

fn signed_headers_are_good(list: &str) -> bool {
    let lower_token = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && *b != b':')
    };
    let names = || list.as_bytes().split(|&b| b == b';');
    if !names().all(lower_token) || names().count() > stria_base::limits::HEADER_COUNT_MAX {
        return false;
    }
    // Clients sort the list, and an ascending list has no name twice.
    if names().zip(names().skip(1)).all(|(one, next)| one < next) {
        return true;
    }
    let mut sorted: Vec<_> = names().collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}
