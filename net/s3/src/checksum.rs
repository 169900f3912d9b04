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
use xxhash_rust::{xxh3::Xxh3, xxh64::Xxh64};

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
    /// SHA-512
    Sha512,
    /// MD5: also of entity tags and Content-MD5
    Md5,
    /// XXH64, seed 0
    Xxhash64,
    /// XXH3 of 64 bits, seed 0
    Xxhash3,
    /// XXH3 of 128 bits, seed 0
    Xxhash128,
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

static ROWS: [Row; 10] = [
    row!(Crc32 "CRC32" "x-amz-checksum-crc32" "ChecksumCRC32" 4),
    row!(Crc32c "CRC32C" "x-amz-checksum-crc32c" "ChecksumCRC32C" 4),
    row!(Crc64Nvme "CRC64NVME" "x-amz-checksum-crc64nvme" "ChecksumCRC64NVME" 8),
    row!(Sha1 "SHA1" "x-amz-checksum-sha1" "ChecksumSHA1" 20),
    row!(Sha256 "SHA256" "x-amz-checksum-sha256" "ChecksumSHA256" 32),
    row!(Sha512 "SHA512" "x-amz-checksum-sha512" "ChecksumSHA512" 64),
    row!(Md5 "MD5" "x-amz-checksum-md5" "ChecksumMD5" 16),
    row!(Xxhash64 "XXHASH64" "x-amz-checksum-xxhash64" "ChecksumXXHASH64" 8),
    row!(Xxhash3 "XXHASH3" "x-amz-checksum-xxhash3" "ChecksumXXHASH3" 8),
    row!(Xxhash128 "XXHASH128" "x-amz-checksum-xxhash128" "ChecksumXXHASH128" 16),
];

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::Xxhash64,
        Self::Xxhash3,
        Self::Xxhash128,
    ];

    fn row(self) -> &'static Row {
        let row = &ROWS[self as usize];
        assert!(row.algorithm == self, "rows stand in the order of the enum");
        row
    }

    /// As in `x-amz-checksum-algorithm`, in capitals.
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

    /// By name, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| name.eq_ignore_ascii_case(algorithm.name().as_bytes()))
    }

    /// By header or trailer name, in any case; not `content-md5`.
    #[must_use]
    pub fn from_header(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| name.eq_ignore_ascii_case(algorithm.header().as_bytes()))
    }

    /// By XML element.
    #[must_use]
    pub fn from_element(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.element() == name)
    }

    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            _ => None,
        }
    }

    /// Whether an upload's parts may carry it only when the upload was started with it. The five of
    /// before 2026 may come undeclared.
    #[must_use]
    pub fn must_be_declared(self) -> bool {
        matches!(self, Self::Sha512 | Self::Md5 | Self::Xxhash64 | Self::Xxhash3 | Self::Xxhash128)
    }
}

/// Of SHA-512, the longest.
const DIGEST_BYTES_MAX: usize = 64;

/// A digest of 4 to 64 bytes, big-endian where it is a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; DIGEST_BYTES_MAX],
    len: u8,
}

impl Digest {
    /// Of at most 64 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut digest = Self { bytes: [0; DIGEST_BYTES_MAX], len: 0 };
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
        Self::new(bytes).expect("no algorithm here has more than 64 bytes")
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
    /// SHA-1, SHA-256 or SHA-512.
    Sha(Algorithm, digest::Context),
    /// MD5.
    Md5(Md5),
    /// XXH64.
    Xxh64(Xxh64),
    /// XXH3 of 64 or 128 bits. In a box: its state is half a KiB, which every body would carry.
    Xxh3(Algorithm, Box<Xxh3>),
}

impl Hasher {
    /// At the start of a body.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let sha = |which| Self::Sha(algorithm, digest::Context::new(which));
        match algorithm {
            Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme => {
                let crc = algorithm.crc().expect("these three are the CRCs");
                Self::Crc(algorithm, crc_fast::Digest::new(crc))
            }
            Algorithm::Sha1 => sha(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Algorithm::Sha256 => sha(&digest::SHA256),
            Algorithm::Sha512 => sha(&digest::SHA512),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Xxhash64 => Self::Xxh64(Xxh64::new(0)),
            Algorithm::Xxhash3 | Algorithm::Xxhash128 => Self::Xxh3(algorithm, Box::new(Xxh3::new())),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, hasher) => hasher.update(bytes),
            Self::Sha(_, hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Xxh64(hasher) => hasher.update(bytes),
            Self::Xxh3(_, hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Checksum {
        let (algorithm, digest) = match self {
            Self::Crc(algorithm, hasher) => (algorithm, crc_digest(algorithm, hasher.finalize())),
            Self::Sha(algorithm, hasher) => (algorithm, Digest::of(hasher.finish().as_ref())),
            Self::Md5(hasher) => (Algorithm::Md5, Digest::of(&hasher.finish())),
            Self::Xxh64(hasher) => (Algorithm::Xxhash64, Digest::of(&hasher.digest().to_be_bytes())),
            Self::Xxh3(Algorithm::Xxhash128, hasher) => {
                (Algorithm::Xxhash128, Digest::of(&hasher.digest128().to_be_bytes()))
            }
            Self::Xxh3(algorithm, hasher) => (algorithm, Digest::of(&hasher.digest().to_be_bytes())),
        };
        Checksum { algorithm, digest }
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
