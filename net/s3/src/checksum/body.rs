//! What a request promises about its body, and the hashing that holds it to that.
//!
//! Invariant: [`BodyHasher::finish`] succeeds only if every digest the client gave, in a header or in a
//! trailer, equals the computed one. Runs on the accepting core. Owner: `net/s3`.

use stria_http::Head;
use stria_md5lanes::Md5;

use super::{Algorithm, Checksum, Digest, Hasher};
use crate::code::ErrorCode;
use crate::error::S3Error;

/// Where the client's checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none; the server adds its default.
    Nothing,
    /// In a header.
    Value(Checksum),
    /// In the trailer, under [`Algorithm::header`].
    Trailer(Algorithm),
}

/// The checksum headers of a request with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestChecksums {
    /// Content-MD5.
    pub content_md5: Option<Checksum>,
    /// The one `x-amz-checksum-*`.
    pub expected: Expected,
}

const MULTIPLE: &str = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";

/// Names that begin like a checksum and are none.
const OTHER_CHECKSUM_HEADERS: [&str; 3] =
    ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"];

impl RequestChecksums {
    /// Reads the headers. `has_trailer` says whether the payload mode has a trailer section.
    ///
    /// # Errors
    /// `InvalidDigest` for Content-MD5, `InvalidRequest` for the others, `NotImplemented` for an
    /// algorithm not spoken here.
    pub fn parse(head: &Head, has_trailer: bool) -> Result<Self, S3Error> {
        let content_md5 = match head.get_single("content-md5").map_err(|_| ErrorCode::InvalidDigest)? {
            None => None,
            Some(text) => Some(Checksum::parse(Algorithm::Md5, text).ok_or(ErrorCode::InvalidDigest)?),
        };
        let expected = match (in_header(head)?, in_trailer(head, has_trailer)?) {
            (Some(_), Some(_)) => return Err(S3Error::new(ErrorCode::InvalidRequest, MULTIPLE)),
            (Some(checksum), None) => Expected::Value(checksum),
            (None, Some(algorithm)) => Expected::Trailer(algorithm),
            (None, None) => Expected::Nothing,
        };
        let checksums = Self { content_md5, expected };
        checksums.check_sdk_algorithm(head)?;
        Ok(checksums)
    }

    /// The algorithm the client chose.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self.expected {
            Expected::Nothing => None,
            Expected::Value(checksum) => Some(checksum.algorithm),
            Expected::Trailer(algorithm) => Some(algorithm),
        }
    }

    fn check_sdk_algorithm(&self, head: &Head) -> Result<(), S3Error> {
        let Some(name) = head.get("x-amz-sdk-checksum-algorithm") else {
            return Ok(());
        };
        let message = match (Algorithm::from_name(name), self.algorithm()) {
            (Some(named), Some(given)) if named == given => return Ok(()),
            (Some(_), None) => {
                // MD5 in Content-MD5 serves the operations that ask for any checksum.
                if self.content_md5.is_some() {
                    return Ok(());
                }
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
            }
            _ => "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        };
        Err(S3Error::new(ErrorCode::InvalidRequest, message))
    }
}

fn in_header(head: &Head) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for (name, value) in head.headers() {
        let like = name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-checksum-"));
        if !like || OTHER_CHECKSUM_HEADERS.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes())) {
            continue;
        }
        let Some(algorithm) = Algorithm::from_header(name) else {
            // A promise we cannot check is refused, not ignored.
            return Err(S3Error::from(ErrorCode::NotImplemented).with("Header", name));
        };
        if found.is_some() {
            return Err(S3Error::new(ErrorCode::InvalidRequest, MULTIPLE));
        }
        let checksum = Checksum::parse(algorithm, value)
            .ok_or(S3Error::new(ErrorCode::InvalidRequest, algorithm.row().bad_header))?;
        found = Some(checksum);
    }
    Ok(found)
}

fn in_trailer(head: &Head, has_trailer: bool) -> Result<Option<Algorithm>, S3Error> {
    let mut found = None;
    for name in head.get_all("x-amz-trailer").flat_map(|value| value.split(|&b| b == b',')) {
        let name = name.trim_ascii();
        if name.is_empty() {
            continue;
        }
        let Some(algorithm) = Algorithm::from_header(name).filter(|_| has_trailer) else {
            let message = "The value specified in the x-amz-trailer header is not supported";
            return Err(S3Error::new(ErrorCode::InvalidRequest, message));
        };
        if found.replace(algorithm).is_some() {
            return Err(S3Error::new(ErrorCode::InvalidRequest, MULTIPLE));
        }
    }
    Ok(found)
}

/// Hashes one body in all the ways it needs.
pub struct BodyHasher {
    request: RequestChecksums,
    payload_sha256: Option<[u8; 32]>,
    md5: Md5,
    /// Absent when the checksum is the MD5, which the entity tag needs anyway.
    checksum: Option<Hasher>,
    /// Absent when nothing asks for it, or when the checksum is SHA-256 anyway.
    sha256: Option<Hasher>,
}

/// What a verified body hashed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigests {
    /// For the entity tag.
    pub md5: [u8; 16],
    /// The client's checksum, or the default one.
    pub checksum: Checksum,
}

impl BodyHasher {
    /// For a body that must have `payload_sha256`, if given (`x-amz-content-sha256`). Without a checksum
    /// of the client's, `default` is computed.
    #[must_use]
    pub fn new(request: RequestChecksums, payload_sha256: Option<[u8; 32]>, default: Algorithm) -> Self {
        let algorithm = request.algorithm().unwrap_or(default);
        let sha256_apart = payload_sha256.is_some() && algorithm != Algorithm::Sha256;
        Self {
            request,
            payload_sha256,
            md5: Md5::new(),
            checksum: (algorithm != Algorithm::Md5).then(|| Hasher::new(algorithm)),
            sha256: sha256_apart.then(|| Hasher::new(Algorithm::Sha256)),
        }
    }

    /// Takes the next bytes of the payload.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.update_all_but_md5(bytes);
    }

    /// Takes the next bytes of the payload for everything but the MD5, which the caller brings up to date
    /// in [`BodyHasher::md5`]: it is worth computing beside other bodies' MD5s.
    pub fn update_all_but_md5(&mut self, bytes: &[u8]) {
        for hasher in [&mut self.checksum, &mut self.sha256].into_iter().flatten() {
            hasher.update(bytes);
        }
    }

    /// The MD5, to be taken, given the bytes, and put back before the next call.
    pub fn md5(&mut self) -> &mut Md5 {
        &mut self.md5
    }

    /// Compares everything promised. `trailer` looks a trailer up by its lower-case name.
    ///
    /// # Errors
    /// `XAmzContentSHA256Mismatch`, `BadDigest`, or `InvalidRequest` for a malformed trailer.
    pub fn finish<'t>(self, trailer: &dyn Fn(&str) -> Option<&'t [u8]>) -> Result<BodyDigests, S3Error> {
        let md5 = self.md5.finish();
        let md5_digest = Digest::of(&md5);
        let of_md5 = Checksum { algorithm: Algorithm::Md5, digest: md5_digest };
        let checksum = self.checksum.map_or(of_md5, Hasher::finish);
        if let Some(expected) = self.payload_sha256 {
            let computed = self.sha256.map_or(checksum, Hasher::finish);
            if computed.digest.as_bytes() != expected {
                return Err(ErrorCode::XAmzContentSHA256Mismatch.into());
            }
        }
        if self.request.content_md5.is_some_and(|expected| expected.digest != md5_digest) {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(S3Error::new(ErrorCode::BadDigest, message));
        }
        let expected = match self.request.expected {
            Expected::Nothing => None,
            Expected::Value(expected) => Some(expected),
            Expected::Trailer(algorithm) => {
                let value = trailer(algorithm.header()).ok_or(ErrorCode::MalformedTrailerError)?;
                let bad = S3Error::new(ErrorCode::InvalidRequest, algorithm.row().bad_trailer);
                Some(Checksum::parse(algorithm, value).ok_or(bad)?)
            }
        };
        if expected.is_some_and(|expected| expected != checksum) {
            return Err(S3Error::new(ErrorCode::BadDigest, checksum.algorithm.row().mismatch));
        }
        Ok(BodyDigests { md5, checksum })
    }
}
