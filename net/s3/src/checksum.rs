//! Checksums of S3: algorithms, what a request promises about its body, and their combination over parts.
//!
//! Invariant: a checksum the client sent is either verified over the whole body or the request is
//! refused; none is ignored. Runs on the accepting core. Owner: `net/s3`. Source: the AWS S3 user guide,
//! "Checking object integrity".

mod base64;
mod body;
mod parts;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest;
use stria_md5lanes::Md5;

pub use base64::{decode as base64_decode, encode as base64_encode};
pub use body::{BodyDigests, BodyHasher, Expected, RequestChecksums};
pub use parts::{ChecksumType, EtagText, combine_full_object, composite, etag, multipart_etag};

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// CRC-32/ISO-HDLC
    Crc32,
    /// CRC-32/ISCSI (Castagnoli)
    Crc32c,
    /// CRC-64/NVME, S3's default
    Crc64Nvme,
    /// SHA-1
    Sha1,
    /// SHA-256
    Sha256,
    /// MD5: of entity tags and Content-MD5; never an `x-amz-checksum-*`.
    Md5,
}

struct Row {
    algorithm: Algorithm,
    name: &'static str,
    header: &'static str,
    element: &'static str,
    bytes: usize,
    bad_header: &'static str,
    bad_trailer: &'static str,
    mismatch: &'static str,
}

macro_rules! row {
    ($algorithm:ident $name:literal $header:literal $element:literal $bytes:literal) => {
        Row {
            algorithm: Algorithm::$algorithm,
            name: $name,
            header: $header,
            element: $element,
            bytes: $bytes,
            bad_header: concat!("Value for ", $header, " header is invalid."),
            bad_trailer: concat!("Value for ", $header, " trailing header is invalid."),
            mismatch: concat!("The ", $name, " you specified did not match the calculated checksum."),
        }
    };
}

static ROWS: [Row; 6] = [
    row!(Crc32 "CRC32" "x-amz-checksum-crc32" "ChecksumCRC32" 4),
    row!(Crc32c "CRC32C" "x-amz-checksum-crc32c" "ChecksumCRC32C" 4),
    row!(Crc64Nvme "CRC64NVME" "x-amz-checksum-crc64nvme" "ChecksumCRC64NVME" 8),
    row!(Sha1 "SHA1" "x-amz-checksum-sha1" "ChecksumSHA1" 20),
    row!(Sha256 "SHA256" "x-amz-checksum-sha256" "ChecksumSHA256" 32),
    row!(Md5 "MD5" "content-md5" "ChecksumMD5" 16),
];

impl Algorithm {
    /// Those with an `x-amz-checksum-*` header.
    pub const S3: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    fn row(self) -> &'static Row {
        let row = &ROWS[self as usize];
        assert!(row.algorithm == self, "rows stand in the order of the enum");
        row
    }

    /// As in `x-amz-checksum-algorithm`: `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1`, `SHA256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The header or trailer that carries it, in lower case.
    #[must_use]
    pub fn header(self) -> &'static str {
        self.row().header
    }

    /// The XML element that carries it.
    #[must_use]
    pub fn element(self) -> &'static str {
        self.row().element
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        self.row().bytes
    }

    /// By name, in any case; MD5 is none of S3's.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::S3.into_iter().find(|algorithm| name.eq_ignore_ascii_case(algorithm.name().as_bytes()))
    }

    /// By header or trailer name, in any case; not `content-md5`.
    #[must_use]
    pub fn from_header(name: &[u8]) -> Option<Self> {
        Self::S3.into_iter().find(|algorithm| name.eq_ignore_ascii_case(algorithm.header().as_bytes()))
    }

    /// By XML element.
    #[must_use]
    pub fn from_element(name: &str) -> Option<Self> {
        Self::S3.into_iter().find(|algorithm| algorithm.element() == name)
    }

    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 | Self::Md5 => None,
        }
    }
}

/// A digest of 4 to 32 bytes, big-endian where it is a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; 32],
    len: u8,
}

impl Digest {
    /// Of at most 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut digest = Self { bytes: [0; 32], len: 0 };
        digest.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        digest.len = bytes.len() as u8;
        Some(digest)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn of(bytes: &[u8]) -> Self {
        Self::new(bytes).expect("no algorithm here has more than 32 bytes")
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&base64_encode(self.as_bytes()))
    }
}

/// A digest and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The digest, of the algorithm's length.
    pub digest: Digest,
}

impl Checksum {
    /// From the base64 of a header, trailer or element.
    #[must_use]
    pub fn parse(algorithm: Algorithm, text: &[u8]) -> Option<Self> {
        let bytes = base64_decode(text)?;
        if bytes.len() != algorithm.digest_bytes() {
            return None;
        }
        Some(Self { algorithm, digest: Digest::new(&bytes)? })
    }

    /// Base64 of the digest.
    #[must_use]
    pub fn to_base64(&self) -> String {
        base64_encode(self.digest.as_bytes())
    }
}

/// One incremental hash.
#[expect(
    clippy::large_enum_variant,
    reason = "three per body in flight; a box would be an allocation per request"
)]
pub enum Hasher {
    /// One of the three CRCs.
    Crc(Algorithm, crc_fast::Digest),
    /// SHA-1 or SHA-256.
    Sha(Algorithm, digest::Context),
    /// MD5.
    Md5(Md5),
}

impl Hasher {
    /// At the start of a body.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match (algorithm, algorithm.crc()) {
            (_, Some(crc)) => Self::Crc(algorithm, crc_fast::Digest::new(crc)),
            (Algorithm::Sha1, None) => {
                Self::Sha(algorithm, digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY))
            }
            (Algorithm::Md5, None) => Self::Md5(Md5::new()),
            (_, None) => Self::Sha(algorithm, digest::Context::new(&digest::SHA256)),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, hasher) => hasher.update(bytes),
            Self::Sha(_, hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Checksum {
        match self {
            Self::Crc(algorithm, hasher) => {
                Checksum { algorithm, digest: crc_digest(algorithm, hasher.finalize()) }
            }
            Self::Sha(algorithm, hasher) => {
                Checksum { algorithm, digest: Digest::of(hasher.finish().as_ref()) }
            }
            Self::Md5(hasher) => Checksum { algorithm: Algorithm::Md5, digest: Digest::of(&hasher.finish()) },
        }
    }

    /// Of one slice.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Self::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }
}

fn crc_digest(algorithm: Algorithm, value: u64) -> Digest {
    Digest::of(&value.to_be_bytes()[8 - algorithm.digest_bytes()..])
}
