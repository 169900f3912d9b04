//! What an object, an upload or a part is, apart from its bytes.
//!
//! Invariant: a value of these types survives `codec` unchanged. Owned by whoever holds it; rows keep
//! the encoded form only.

use stria_base::Hlc;

use crate::keys::UploadId;

/// An S3 ETag: the MD5 of the body, or of the part MD5s with their count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag {
    /// MD5 digest.
    pub md5: [u8; 16],
    /// 0 for an object put in one piece, else the number of parts.
    pub part_count: u16,
}

impl std::fmt::Display for Etag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut hex = [0u8; 32];
        for (i, byte) in self.md5.iter().enumerate() {
            hex[2 * i] = b"0123456789abcdef"[usize::from(byte >> 4)];
            hex[2 * i + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&hex).expect("hex digits are ASCII"))?;
        if self.part_count > 0 {
            write!(f, "-{}", self.part_count)?;
        }
        Ok(())
    }
}

/// Checksum algorithms a row may carry. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChecksumAlgorithm {
    /// CRC-32/ISO-HDLC.
    Crc32 = 1,
    /// CRC-32/ISCSI.
    Crc32c = 2,
    /// CRC-64/NVME.
    Crc64Nvme = 3,
    /// SHA-1.
    Sha1 = 4,
    /// SHA-256.
    Sha256 = 5,
    /// SHA-512.
    Sha512 = 6,
    /// MD5.
    Md5 = 7,
    /// XXH64.
    Xxhash64 = 8,
    /// XXH3 of 64 bits.
    Xxhash3 = 9,
    /// XXH3 of 128 bits.
    Xxhash128 = 10,
}

impl ChecksumAlgorithm {
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

    /// From the stored number.
    #[must_use]
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == number)
    }
}

/// A checksum as stored with an object, a part, or (with an empty value) asked for by an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChecksum {
    /// How it is computed.
    pub algorithm: ChecksumAlgorithm,
    /// Over the part checksums (true) or over the bytes of the whole object (false).
    pub composite: bool,
    /// The digest, big-endian as S3 encodes it; empty in an upload row.
    pub value: Box<[u8]>,
}

/// S3's storage class names, stored and returned; all data lies on the same drives today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum StorageClass {
    /// STANDARD.
    #[default]
    Standard = 0,
    /// REDUCED_REDUNDANCY.
    ReducedRedundancy = 1,
    /// STANDARD_IA.
    StandardIa = 2,
    /// ONEZONE_IA.
    OnezoneIa = 3,
    /// INTELLIGENT_TIERING.
    IntelligentTiering = 4,
    /// GLACIER.
    Glacier = 5,
    /// DEEP_ARCHIVE.
    DeepArchive = 6,
    /// GLACIER_IR.
    GlacierIr = 7,
}

/// The three tiers placement and lifecycle know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Read often.
    Standard,
    /// Read seldom.
    InfrequentAccess,
    /// Restored before reading.
    Archive,
}

impl StorageClass {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::Standard, "STANDARD"),
        (Self::ReducedRedundancy, "REDUCED_REDUNDANCY"),
        (Self::StandardIa, "STANDARD_IA"),
        (Self::OnezoneIa, "ONEZONE_IA"),
        (Self::IntelligentTiering, "INTELLIGENT_TIERING"),
        (Self::Glacier, "GLACIER"),
        (Self::DeepArchive, "DEEP_ARCHIVE"),
        (Self::GlacierIr, "GLACIER_IR"),
    ];

    /// The name S3 uses on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// From the name on the wire.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(class, _)| *class)
    }

    /// From the stored number.
    #[must_use]
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::NAMES.get(usize::from(number)).map(|(class, _)| *class)
    }

    /// Its tier.
    #[must_use]
    pub fn tier(self) -> Tier {
        match self {
            Self::Standard | Self::ReducedRedundancy | Self::IntelligentTiering => Tier::Standard,
            Self::StandardIa | Self::OnezoneIa | Self::GlacierIr => Tier::InfrequentAccess,
            Self::Glacier | Self::DeepArchive => Tier::Archive,
        }
    }
}

/// Content headers kept with an object. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentHeader {
    /// `Content-Type`.
    ContentType = 16,
    /// `Cache-Control`.
    CacheControl = 17,
    /// `Content-Disposition`.
    ContentDisposition = 18,
    /// `Content-Encoding`.
    ContentEncoding = 19,
    /// `Content-Language`.
    ContentLanguage = 20,
    /// `Expires`.
    Expires = 21,
    /// `x-amz-website-redirect-location`.
    WebsiteRedirect = 22,
}

impl ContentHeader {
    const ALL: [Self; 7] = [
        Self::ContentType,
        Self::CacheControl,
        Self::ContentDisposition,
        Self::ContentEncoding,
        Self::ContentLanguage,
        Self::Expires,
        Self::WebsiteRedirect,
    ];

    /// Header name on the wire, lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ContentType => "content-type",
            Self::CacheControl => "cache-control",
            Self::ContentDisposition => "content-disposition",
            Self::ContentEncoding => "content-encoding",
            Self::ContentLanguage => "content-language",
            Self::Expires => "expires",
            Self::WebsiteRedirect => "x-amz-website-redirect-location",
        }
    }

    /// From the lower-case name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// From the stored number.
    #[must_use]
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == number)
    }
}

/// Parts of equal size with consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRun {
    /// Number of the first part.
    pub first: u16,
    /// How many.
    pub count: u16,
    /// Size of each in bytes.
    pub bytes: u64,
}

/// Where the bytes of a multipart object are: in the part rows of `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTable {
    /// The upload the parts came from.
    pub id: UploadId,
    /// The parts in order of their numbers.
    pub runs: Vec<PartRun>,
}

/// One part as seen from an object offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartAt {
    /// Its number in the upload.
    pub number: u16,
    /// Its place among the object's parts, from 1.
    pub ordinal: u16,
    /// Offset of its first byte in the object.
    pub start: u64,
    /// Its size.
    pub bytes: u64,
}

impl PartTable {
    /// From the parts in order.
    #[must_use]
    pub fn new(id: UploadId, parts: impl IntoIterator<Item = (u16, u64)>) -> Self {
        let mut runs: Vec<PartRun> = Vec::new();
        for (number, bytes) in parts {
            match runs.last_mut() {
                Some(run) if run.bytes == bytes && run.first.checked_add(run.count) == Some(number) => {
                    run.count += 1
                }
                _ => runs.push(PartRun { first: number, count: 1, bytes }),
            }
        }
        Self { id, runs }
    }

    /// How many parts.
    #[must_use]
    pub fn part_count(&self) -> u16 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// The part that holds byte `offset`; `None` beyond the end.
    #[must_use]
    pub fn at_offset(&self, offset: u64) -> Option<PartAt> {
        let (mut start, mut ordinal) = (0u64, 1u16);
        for run in &self.runs {
            let run_bytes = run.bytes * u64::from(run.count);
            if offset < start + run_bytes {
                let within = ((offset - start) / run.bytes) as u16;
                return Some(PartAt {
                    number: run.first + within,
                    ordinal: ordinal + within,
                    start: start + u64::from(within) * run.bytes,
                    bytes: run.bytes,
                });
            }
            start += run_bytes;
            ordinal += run.count;
        }
        None
    }

    /// The part at `ordinal`, from 1, as GET's `partNumber` counts.
    #[must_use]
    pub fn at_ordinal(&self, ordinal: u16) -> Option<PartAt> {
        let (mut start, mut first_ordinal) = (0u64, 1u16);
        for run in &self.runs {
            let within = ordinal.checked_sub(first_ordinal)?;
            if within < run.count {
                return Some(PartAt {
                    number: run.first + within,
                    ordinal,
                    start: start + u64::from(within) * run.bytes,
                    bytes: run.bytes,
                });
            }
            start += run.bytes * u64::from(run.count);
            first_ordinal += run.count;
        }
        None
    }

    /// Every part number in order.
    pub fn numbers(&self) -> impl Iterator<Item = u16> + '_ {
        self.runs.iter().flat_map(|run| run.first..run.first + run.count)
    }
}

/// A version of a key: newer ones have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionId(pub u128);

impl VersionId {
    /// Where a row from before versioning stands among the versions of its key.
    #[must_use]
    pub fn of_plain(hlc: Hlc) -> Self {
        Self(u128::from(hlc.0) << 64)
    }
}

/// Which version of its key an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its place among the versions.
    pub id: VersionId,
    /// Whether clients know it as `null`: written while versioning was suspended, or before it was enabled.
    pub is_null: bool,
}

/// A version as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionSelector {
    /// The newest.
    Current,
    /// The one called `null`.
    Null,
    /// By its id.
    Id(VersionId),
}

/// What a bucket does with the versions of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// There is one version, replaced in place.
    #[default]
    Off,
    /// Every write makes a version.
    Enabled,
    /// Every write replaces the null version; others stay.
    Suspended,
}

/// Everything about an object but its bytes. Also the shape of upload rows (size 0) and part rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Size in bytes.
    pub size: u64,
    /// When it was made, milliseconds since 1970.
    pub modified_ms: u64,
    /// Its ETag.
    pub etag: Etag,
    /// Its storage class.
    pub storage_class: StorageClass,
    /// Its checksum.
    pub checksum: Option<StoredChecksum>,
    /// Content headers.
    pub headers: Vec<(ContentHeader, Box<[u8]>)>,
    /// `x-amz-meta-*` without the prefix, lower case, and values.
    pub user: Vec<(Box<[u8]>, Box<[u8]>)>,
    /// Set for a completed multipart object.
    pub parts: Option<PartTable>,
    /// Its tags, in the wire's stored form; empty for none.
    pub tags: Box<[u8]>,
    /// Its owner and access control list, in the wire's stored form; empty when it is its bucket's owner's alone.
    pub acl: Box<[u8]>,
    /// The region that ordered this write.
    pub home_region: Option<Box<[u8]>>,
    /// Set once the key has versions: then the row of the current version carries no body, its version
    /// row does. `None` is the null version, alone in its row.
    pub version: Option<Version>,
    /// Whether this version says that there is no object.
    pub is_delete_marker: bool,
}

/// `home_region` when a row names none.
pub const HOME_REGION_DEFAULT: &str = "local";

impl ObjectMeta {
    /// Bare metadata of a body.
    #[must_use]
    pub fn new(size: u64, md5: [u8; 16]) -> Self {
        Self {
            size,
            modified_ms: 0,
            etag: Etag { md5, part_count: 0 },
            storage_class: StorageClass::Standard,
            checksum: None,
            headers: Vec::new(),
            user: Vec::new(),
            parts: None,
            tags: Box::default(),
            acl: Box::default(),
            home_region: None,
            version: None,
            is_delete_marker: false,
        }
    }

    /// The value of one content header.
    #[must_use]
    pub fn header(&self, which: ContentHeader) -> Option<&[u8]> {
        self.headers.iter().find(|(header, _)| *header == which).map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_table_finds_parts_by_offset_and_by_ordinal() {
        let table = PartTable::new(UploadId(1), [(2, 10), (3, 10), (7, 10), (9, 4)]);
        assert_eq!(table.runs.len(), 3);
        assert_eq!(table.part_count(), 4);
        assert_eq!(table.at_offset(19).map(|p| (p.number, p.start)), Some((3, 10)));
        assert_eq!(table.at_offset(20).map(|p| (p.number, p.ordinal)), Some((7, 3)));
        assert_eq!(table.at_offset(34), None);
        assert_eq!(table.at_ordinal(4).map(|p| (p.number, p.start, p.bytes)), Some((9, 30, 4)));
        assert_eq!((table.at_ordinal(0), table.at_ordinal(5)), (None, None));
        assert_eq!(table.numbers().collect::<Vec<_>>(), [2, 3, 7, 9]);
    }

    #[test]
    fn an_etag_prints_as_clients_see_it() {
        let md5 = [0xd4; 16];
        assert_eq!(Etag { md5, part_count: 0 }.to_string(), "d4".repeat(16));
        assert_eq!(Etag { md5, part_count: 3 }.to_string(), format!("{}-3", "d4".repeat(16)));
    }

    #[test]
    fn storage_class_numbers_match_their_names() {
        for (i, (class, name)) in StorageClass::NAMES.iter().enumerate() {
            assert_eq!(*class as usize, i);
            assert_eq!(StorageClass::from_name(name.as_bytes()), Some(*class));
        }
    }
}
