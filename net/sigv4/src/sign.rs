//! The client's side: signs heads, URLs and streaming bodies. For tests, tools and `stria info`.
//!
//! Invariant: built on the verifier's own canonical form, so the two can only be wrong together; the
//! examples of the AWS documentation tie both to the outside. Any thread. Owner: `net/sigv4`.

use aws_lc_rs::digest;
use stria_http::Query;
use stria_http::date::format_basic;
use stria_http::percent::{BadEscape, Keep, encode};

use crate::aws_chunked::{Chain, trailer_line};
use crate::canonical::{Parts, canonical_request};
use crate::crypto::{Hex, SigningKey};
use crate::verify::write_string_to_sign;
use crate::{ALGORITHM, TERMINATOR};

/// Who signs, for where.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The access key.
    pub access_key: &'a str,
    /// Its secret.
    pub secret: &'a str,
    /// The region of the scope.
    pub region: &'a str,
    /// The service of the scope, `s3`.
    pub service: &'a str,
    /// The token of a temporary key.
    pub session_token: Option<&'a str>,
}

/// A head to be signed.
#[derive(Debug)]
pub struct Request<'a> {
    /// Upper case.
    pub method: &'a str,
    /// As it will be sent, percent-encoded.
    pub path: &'a str,
    /// As it will be sent, without `?`.
    pub query: &'a str,
    /// Names in lower case; `host` must be among them. All are signed.
    pub headers: Vec<(String, String)>,
}

/// What a streaming body continues from.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The head's signature, hex.
    pub signature: Hex,
    /// Signs the chunks.
    pub signing_key: SigningKey,
    /// `date/region/service/aws4_request`
    pub scope: String,
    /// `20130524T000000Z`
    pub amz_date: [u8; 16],
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("hex digits and dates are ASCII")
}

impl Signer<'_> {
    fn scope(&self, amz_date: &[u8; 16]) -> String {
        format!("{}/{}/{}/{TERMINATOR}", ascii(&amz_date[..8]), self.region, self.service)
    }

    fn seed(&self, request: &Request<'_>, query: &str, hash: &str, unix_s: u64) -> Result<Seed, BadEscape> {
        let amz_date = format_basic(unix_s);
        let scope = self.scope(&amz_date);
        let (mut canonical, mut string_to_sign) = (Vec::new(), Vec::new());
        let headers = signed_headers(request);
        let parts = Parts {
            method: request.method.as_bytes(),
            path: request.path.as_bytes(),
            query: Query::new(query.as_bytes()),
            signed_headers: &headers,
            lookup: &|name, each| {
                let same = request.headers.iter().filter(|(header, _)| header == name);
                same.for_each(|(_, value)| each(value.as_bytes()));
            },
            payload_hash: hash.as_bytes(),
        };
        canonical_request(&parts, &mut canonical)?;
        write_string_to_sign(&amz_date, &scope, &canonical, &mut string_to_sign);
        let signing_key =
            SigningKey::derive(self.secret.as_bytes(), ascii(&amz_date[..8]), self.region, self.service);
        let signature = signing_key.sign_hex(&[&string_to_sign]);
        Ok(Seed { signature, signing_key, scope, amz_date })
    }

    /// Adds `x-amz-date`, `x-amz-content-sha256` and `authorization` to the request's headers.
    /// `payload_hash` is the hex SHA-256 of the body or one of the words of [`crate::PayloadMode`].
    ///
    /// # Errors
    /// [`BadEscape`] when path or query cannot be decoded.
    pub fn sign(
        &self,
        request: &mut Request<'_>,
        payload_hash: &str,
        unix_s: u64,
    ) -> Result<Seed, BadEscape> {
        let amz_date = format_basic(unix_s);
        request.headers.push(("x-amz-date".into(), ascii(&amz_date).into()));
        request.headers.push(("x-amz-content-sha256".into(), payload_hash.into()));
        if let Some(token) = self.session_token {
            request.headers.push(("x-amz-security-token".into(), token.into()));
        }
        let seed = self.seed(request, request.query, payload_hash, unix_s)?;
        let value = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
            self.access_key,
            seed.scope,
            signed_headers(request),
            ascii(&seed.signature)
        );
        request.headers.push(("authorization".into(), value));
        Ok(seed)
    }

    /// The query string of a presigned URL for `request`, valid for `expires_s` from `unix_s`.
    ///
    /// # Errors
    /// [`BadEscape`] when path or query cannot be decoded.
    pub fn presign(&self, request: &Request<'_>, expires_s: u64, unix_s: u64) -> Result<String, BadEscape> {
        let amz_date = format_basic(unix_s);
        let escaped = |text: &str| {
            let mut out = Vec::new();
            encode(text.as_bytes(), Keep::Unreserved, &mut out);
            String::from_utf8(out).expect("escapes are ASCII")
        };
        let mut query = request.query.to_owned();
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={expires_s}&X-Amz-SignedHeaders={}",
            escaped(&format!("{}/{}", self.access_key, self.scope(&amz_date))),
            ascii(&amz_date),
            escaped(&signed_headers(request)),
        ));
        if let Some(token) = self.session_token {
            query.push_str(&format!("&X-Amz-Security-Token={}", escaped(token)));
        }
        let seed = self.seed(request, &query, "UNSIGNED-PAYLOAD", unix_s)?;
        query.push_str(&format!("&X-Amz-Signature={}", ascii(&seed.signature)));
        Ok(query)
    }
}

fn signed_headers(request: &Request<'_>) -> String {
    let mut names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(";")
}

/// Writes an aws-chunked body.
#[derive(Debug)]
pub struct StreamEncoder {
    chain: Option<Chain>,
}

impl StreamEncoder {
    /// Chunks signed in a chain that starts at the head's signature.
    #[must_use]
    pub fn signed(seed: &Seed) -> Self {
        let chain = Chain::new(seed.signing_key.clone(), &seed.amz_date, &seed.scope, seed.signature);
        Self { chain: Some(chain) }
    }

    /// Chunks without signatures.
    #[must_use]
    pub fn unsigned() -> Self {
        Self { chain: None }
    }

    fn header(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{:x}", payload.len()).as_bytes());
        if let Some(chain) = &mut self.chain {
            let digest = digest::digest(&digest::SHA256, payload);
            out.extend_from_slice(b";chunk-signature=");
            out.extend_from_slice(&chain.next_chunk(digest.as_ref()));
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends one chunk.
    ///
    /// # Panics
    /// When `payload` is empty, which would end the body.
    pub fn chunk(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        assert!(!payload.is_empty(), "an empty chunk ends the body");
        self.header(payload, out);
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the end without a trailer section.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.header(b"", out);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the end with a trailer section, signed if the chunks are.
    pub fn finish_with_trailers(mut self, trailers: &[(&str, &str)], out: &mut Vec<u8>) {
        self.header(b"", out);
        let mut canonical = Vec::new();
        for (name, value) in trailers {
            trailer_line(name.as_bytes(), value.as_bytes(), &mut canonical);
            out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
        if let Some(chain) = &mut self.chain {
            out.extend_from_slice(b"x-amz-trailer-signature:");
            out.extend_from_slice(&chain.next_trailer(&canonical));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}
