//! Checksums and entity tags over the parts of a multipart upload.
//!
//! Invariant: a full-object checksum made from parts equals the one over the whole body; a composite one
//! is a hash of digests and never passes for it. Any core. Owner: `net/s3`.

use super::{Algorithm, Checksum, Hasher, crc_digest};

/// What the checksum of a multipart object covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChecksumType {
    /// The whole body.
    FullObject,
    /// The digests of the parts.
    Composite,
}

impl ChecksumType {
    /// As in `x-amz-checksum-type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }

    /// By name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::FullObject, Self::Composite].into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether a multipart upload may have this type with `algorithm`.
    #[must_use]
    pub const fn allows(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Crc32 | Algorithm::Crc32c => true,
            Algorithm::Crc64Nvme => matches!(self, Self::FullObject),
            // Only a CRC of the whole follows from those of its parts.
            _ => matches!(self, Self::Composite),
        }
    }

    /// The type of an upload that names only its algorithm.
    #[must_use]
    pub const fn default_for(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc64Nvme => Self::FullObject,
            _ => Self::Composite,
        }
    }
}

/// The hash of the parts' digests in order; shown with `-` and the number of parts behind it. `None`
/// without parts or when a part has another algorithm.
#[must_use]
pub fn composite(algorithm: Algorithm, parts: &[Checksum]) -> Option<Checksum> {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        if part.algorithm != algorithm {
            return None;
        }
        hasher.update(part.digest.as_bytes());
    }
    (!parts.is_empty()).then(|| hasher.finish())
}

/// The CRC of the whole body, from each part's CRC and length in bytes. `None` without parts, when a
/// part has another algorithm, or when the algorithm is no CRC.
#[must_use]
pub fn combine_full_object(algorithm: Algorithm, parts: &[(Checksum, u64)]) -> Option<Checksum> {
    let crc = algorithm.crc()?;
    let mut whole: Option<u64> = None;
    for (part, bytes) in parts {
        if part.algorithm != algorithm {
            return None;
        }
        let value = part.digest.as_bytes().iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        whole = Some(match whole {
            None => value,
            Some(before) => crc_fast::checksum_combine(crc, before, value, *bytes),
        });
    }
    whole.map(|value| Checksum { algorithm, digest: crc_digest(algorithm, value) })
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// The entity tag of a body put in one piece, without quotes.
#[must_use]
pub fn etag(md5: &[u8; 16]) -> String {
    hex(md5)
}

/// An entity tag as text, held in place: a listing shows a thousand of them.
#[derive(Clone, Copy)]
pub struct EtagText {
    /// In quotes.
    bytes: [u8; ETAG_BYTES_MAX],
    len: u8,
}

/// Quotes, 32 hex digits, a hyphen and the digits of a part count.
const ETAG_BYTES_MAX: usize = 2 + 32 + 1 + 5;

impl EtagText {
    /// Of an MD5, and the number of parts, 0 for a body put in one piece.
    #[must_use]
    pub fn new(md5: &[u8; 16], part_count: u16) -> Self {
        let mut text = Self { bytes: [b'"'; ETAG_BYTES_MAX], len: 1 + 32 };
        for (pair, byte) in text.bytes[1..33].as_chunks_mut::<2>().0.iter_mut().zip(md5) {
            *pair =
                [b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]];
        }
        if part_count > 0 {
            text.push(b'-');
            let digits = part_count.ilog10();
            (0..=digits).rev().for_each(|at| text.push(b'0' + (part_count / 10u16.pow(at) % 10) as u8));
        }
        text.push(b'"');
        text
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    /// With its quotes, as in a header.
    #[must_use]
    pub fn quoted(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Without quotes.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[1..usize::from(self.len) - 1]).expect("hex digits are ASCII")
    }
}

impl std::fmt::Debug for EtagText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// The entity tag of a multipart object, without quotes.
#[must_use]
pub fn multipart_etag(parts: &[[u8; 16]]) -> String {
    let md5 = Hasher::of(Algorithm::Md5, parts.as_flattened());
    format!("{}-{}", hex(md5.digest.as_bytes()), parts.len())
}
