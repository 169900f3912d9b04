//! Row metadata to bytes and back. The layout is drawn in docs/format/rows.md: a fixed head that a
//! listing reads without looking further, then tagged fields.
//!
//! Invariant: decoding any bytes ends in a value or in `None`, never in a panic; unknown tags are an
//! error, because a newer release wrote them and would lose them here.

use crate::{
    keys::UploadId,
    object::{
        ChecksumAlgorithm, ContentHeader, Etag, ObjectMeta, PartRun, PartTable, StorageClass, StoredChecksum,
        Version, VersionId,
    },
};

/// First byte of every row's metadata.
pub const ROW_FORMAT: u8 = 1;
/// Bytes of the fixed head.
pub const HEAD_BYTES: usize = 38;

mod tag {
    pub const CHECKSUM: u8 = 1;
    pub const PARTS: u8 = 2;
    pub const HOME_REGION: u8 = 3;
    pub const USER: u8 = 4;
    pub const TAGS: u8 = 5;
    pub const VERSION: u8 = 6;
    pub const ACL: u8 = 7;
    // 16..=22 are `ContentHeader`.
}

mod flag {
    pub const DELETE_MARKER: u8 = 1;
    pub const NULL: u8 = 2;
    pub const VERSIONED: u8 = 4;
    pub const KNOWN: u8 = 7;
}

/// What a listing shows of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowHead {
    /// Size in bytes.
    pub size: u64,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// ETag.
    pub etag: Etag,
    /// Storage class.
    pub storage_class: StorageClass,
    /// Algorithm and whether the value is composite.
    pub checksum: Option<(ChecksumAlgorithm, bool)>,
    /// Whether the row says that there is no object.
    pub is_delete_marker: bool,
    /// Whether clients know the version as `null`.
    pub is_null: bool,
    /// Whether the key has versions.
    pub is_versioned: bool,
}

/// Encodes `meta`.
///
/// # Panics
/// When a field exceeds 4 GiB, which the limits on heads and parts exclude.
#[must_use]
pub fn encode(meta: &ObjectMeta) -> Box<[u8]> {
    let mut out = Vec::with_capacity(HEAD_BYTES + 48);
    let checksum = meta.checksum.as_ref();
    out.push(ROW_FORMAT);
    out.push(flags(meta));
    out.push(meta.storage_class as u8);
    out.push(checksum.map_or(0, |c| c.algorithm as u8 | u8::from(c.composite) << 7));
    out.extend_from_slice(&meta.size.to_le_bytes());
    out.extend_from_slice(&meta.modified_ms.to_le_bytes());
    out.extend_from_slice(&meta.etag.md5);
    out.extend_from_slice(&meta.etag.part_count.to_le_bytes());
    assert_eq!(out.len(), HEAD_BYTES);
    if let Some(checksum) = checksum {
        field(&mut out, tag::CHECKSUM, &[&checksum.value]);
    }
    if let Some(parts) = &meta.parts {
        let runs: Vec<u8> = parts.runs.iter().flat_map(encode_run).collect();
        field(&mut out, tag::PARTS, &[&parts.id.0.to_le_bytes(), &runs]);
    }
    if let Some(region) = &meta.home_region {
        field(&mut out, tag::HOME_REGION, &[region]);
    }
    if !meta.tags.is_empty() {
        field(&mut out, tag::TAGS, &[&meta.tags]);
    }
    if !meta.acl.is_empty() {
        field(&mut out, tag::ACL, &[&meta.acl]);
    }
    if let Some(version) = meta.version {
        field(&mut out, tag::VERSION, &[&version.id.0.to_le_bytes()]);
    }
    for (header, value) in &meta.headers {
        field(&mut out, *header as u8, &[value]);
    }
    for (name, value) in &meta.user {
        let name_bytes = u16::try_from(name.len()).expect("user metadata is bounded by the request head");
        field(&mut out, tag::USER, &[&name_bytes.to_le_bytes(), name, value]);
    }
    out.into_boxed_slice()
}

fn flags(meta: &ObjectMeta) -> u8 {
    let mut flags = 0;
    if meta.is_delete_marker {
        flags |= flag::DELETE_MARKER;
    }
    if let Some(version) = meta.version {
        flags |= flag::VERSIONED;
        if version.is_null {
            flags |= flag::NULL;
        }
    }
    flags
}

fn field(out: &mut Vec<u8>, tag: u8, pieces: &[&[u8]]) {
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.push(tag);
    out.extend_from_slice(&u32::try_from(bytes).expect("a field is far below 4 GiB").to_le_bytes());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

fn encode_run(run: &PartRun) -> [u8; 12] {
    let mut out = [0u8; 12];
    out[..2].copy_from_slice(&run.first.to_le_bytes());
    out[2..4].copy_from_slice(&run.count.to_le_bytes());
    out[4..].copy_from_slice(&run.bytes.to_le_bytes());
    out
}

/// Decodes the fixed head.
#[must_use]
pub fn decode_head(bytes: &[u8]) -> Option<RowHead> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    if head[0] != ROW_FORMAT || head[1] & !flag::KNOWN != 0 {
        return None;
    }
    let checksum = match head[3] {
        0 => None,
        byte => Some((ChecksumAlgorithm::from_stored(byte & 0x7f)?, byte & 0x80 != 0)),
    };
    Some(RowHead {
        size: u64_at(head, 4),
        modified_ms: u64_at(head, 12),
        etag: Etag {
            md5: head[20..36].try_into().expect("16 bytes of a 38-byte head"),
            part_count: u16::from_le_bytes([head[36], head[37]]),
        },
        storage_class: StorageClass::from_stored(head[2])?,
        checksum,
        is_delete_marker: head[1] & flag::DELETE_MARKER != 0,
        is_null: head[1] & flag::VERSIONED == 0 || head[1] & flag::NULL != 0,
        is_versioned: head[1] & flag::VERSIONED != 0,
    })
}

/// The owner a row names, as its stored access control list begins with him; empty when that is the bucket's. Looks no
/// further than it has to: listings ask this of every row.
#[must_use]
pub fn decode_owner(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
    while let Some((&tag, after_tag)) = rest.split_first() {
        let Some((length, after_length)) = after_tag.split_first_chunk::<4>() else { break };
        let Some((value, after)) = after_length.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            break;
        };
        match tag {
            tag::ACL => return owner_of_acl(value),
            // What `encode` writes before the list; behind these there is none.
            tag::CHECKSUM | tag::PARTS | tag::HOME_REGION | tag::TAGS => rest = after,
            _ => break,
        }
    }
    &[]
}

/// The owner a stored access control list names: its first line.
#[must_use]
pub fn owner_of_acl(acl: &[u8]) -> &[u8] {
    acl.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn u64_at(head: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes of a 38-byte head"))
}

/// Decodes all of it.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<ObjectMeta> {
    let head = decode_head(bytes)?;
    let mut meta = ObjectMeta {
        size: head.size,
        modified_ms: head.modified_ms,
        etag: head.etag,
        storage_class: head.storage_class,
        checksum: head.checksum.map(|(algorithm, composite)| StoredChecksum {
            algorithm,
            composite,
            value: Box::default(),
        }),
        headers: Vec::new(),
        user: Vec::new(),
        parts: None,
        tags: Box::default(),
        acl: Box::default(),
        home_region: None,
        version: head.is_versioned.then_some(Version { id: VersionId(0), is_null: head.is_null }),
        is_delete_marker: head.is_delete_marker,
    };
    let mut rest = &bytes[HEAD_BYTES..];
    while let Some((&tag, after_tag)) = rest.split_first() {
        let (length, after_length) = after_tag.split_first_chunk::<4>()?;
        let (value, after) = after_length.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        decode_field(&mut meta, tag, value)?;
        rest = after;
    }
    Some(meta)
}

fn decode_field(meta: &mut ObjectMeta, tag: u8, value: &[u8]) -> Option<()> {
    match tag {
        tag::CHECKSUM => meta.checksum.as_mut()?.value = value.into(),
        tag::PARTS => meta.parts = Some(decode_parts(value)?),
        tag::VERSION => meta.version.as_mut()?.id = VersionId(u128::from_le_bytes(value.try_into().ok()?)),
        tag::TAGS => meta.tags = value.into(),
        tag::ACL => meta.acl = value.into(),
        tag::HOME_REGION => meta.home_region = Some(value.into()),
        tag::USER => {
            let (name_bytes, rest) = value.split_first_chunk::<2>()?;
            let (name, value) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_bytes)))?;
            meta.user.push((name.into(), value.into()));
        }
        other => meta.headers.push((ContentHeader::from_stored(other)?, value.into())),
    }
    Some(())
}

fn decode_parts(value: &[u8]) -> Option<PartTable> {
    let (id, runs) = value.split_first_chunk::<16>()?;
    let (runs, []) = runs.as_chunks::<12>() else { return None };
    let mut parts_total = 0u32;
    let mut bytes_total = 0u64;
    let mut table =
        PartTable { id: UploadId(u128::from_le_bytes(*id)), runs: Vec::with_capacity(runs.len()) };
    for run in runs {
        let run = PartRun {
            first: u16::from_le_bytes([run[0], run[1]]),
            count: u16::from_le_bytes([run[2], run[3]]),
            bytes: u64::from_le_bytes(run[4..].try_into().ok()?),
        };
        // Bounds the arithmetic of `PartTable` on rows that rotted past their checksum or were forged.
        run.first.checked_add(run.count)?;
        parts_total += u32::from(run.count);
        bytes_total = bytes_total.checked_add(run.bytes.checked_mul(u64::from(run.count))?)?;
        table.runs.push(run);
    }
    (parts_total <= u32::from(u16::MAX) && table.runs.iter().all(|run| run.count > 0)).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rows written by any release name their algorithm by these numbers.
    #[test]
    fn the_numbers_of_checksum_algorithms_are_stored() {
        let numbers = ChecksumAlgorithm::ALL.map(|algorithm| algorithm as u8);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let names = ChecksumAlgorithm::ALL.map(|algorithm| format!("{algorithm:?}"));
        let known = "Crc32 Crc32c Crc64Nvme Sha1 Sha256 Sha512 Md5 Xxhash64 Xxhash3 Xxhash128";
        assert_eq!(names.join(" "), known);
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(ChecksumAlgorithm::from_stored(algorithm as u8), Some(algorithm));
        }
        assert_eq!([0, 11, 0x7f].map(ChecksumAlgorithm::from_stored), [None; 3]);
    }

    fn sample() -> ObjectMeta {
        ObjectMeta {
            size: 12_345,
            modified_ms: 1_700_000_000_123,
            etag: Etag { md5: [7; 16], part_count: 2 },
            storage_class: StorageClass::Glacier,
            checksum: Some(StoredChecksum {
                algorithm: ChecksumAlgorithm::Sha256,
                composite: true,
                value: vec![9; 32].into(),
            }),
            headers: vec![
                (ContentHeader::ContentType, b"text/plain"[..].into()),
                (ContentHeader::Expires, b"x"[..].into()),
            ],
            user: vec![(b"mtime"[..].into(), b"1.5"[..].into()), (b"empty"[..].into(), Box::default())],
            parts: Some(PartTable::new(UploadId(77), [(1, 10_000), (2, 2_345)])),
            tags: b"tags"[..].into(),
            acl: b"owner"[..].into(),
            home_region: Some(b"eu-1"[..].into()),
            version: Some(Version { id: VersionId(9 << 70), is_null: true }),
            is_delete_marker: false,
        }
    }

    #[test]
    fn survives_encoding() {
        let meta = sample();
        let bytes = encode(&meta);
        assert_eq!(decode(&bytes), Some(meta.clone()));
        assert_eq!(decode_head(&bytes).map(|h| (h.size, h.etag)), Some((meta.size, meta.etag)));
    }

    #[test]
    fn the_owner_is_the_first_line_of_the_list() {
        let owned = ObjectMeta { acl: b"owner\nf*"[..].into(), ..sample() };
        assert_eq!(decode_owner(&encode(&owned)), b"owner");
        assert_eq!(decode_owner(&encode(&sample())), b"owner");
        assert_eq!(decode_owner(&encode(&ObjectMeta { acl: Box::default(), ..sample() })), b"");
        let bytes = encode(&owned);
        for end in 0..bytes.len() {
            let found = decode_owner(&bytes[..end]);
            assert!(found.is_empty() || found == b"owner", "at {end}");
        }
    }

    #[test]
    fn every_truncation_is_refused_or_drops_whole_fields() {
        let bytes = encode(&sample());
        for end in 0..bytes.len() {
            if let Some(cut) = decode(&bytes[..end]) {
                assert_eq!(cut.size, 12_345, "at {end}");
            }
        }
        assert_eq!(decode(&bytes[..HEAD_BYTES - 1]), None);
    }

    #[test]
    fn a_row_of_a_newer_release_is_refused() {
        let mut bytes = encode(&sample()).into_vec();
        bytes[0] = ROW_FORMAT + 1;
        assert_eq!(decode(&bytes), None);
        let mut bytes = encode(&ObjectMeta::new(0, [0; 16])).into_vec();
        bytes.extend_from_slice(&[200, 0, 0, 0, 0]);
        assert_eq!(decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let mut prefixed = encode(&ObjectMeta::new(1, [1; 16])).into_vec();
            prefixed.extend_from_slice(&bytes);
            if let Some(parts) = decode(&prefixed).and_then(|meta| meta.parts) {
                let _ = parts.at_offset(u64::MAX);
                let _ = parts.at_ordinal(u16::MAX);
            }
        }
    }
}
