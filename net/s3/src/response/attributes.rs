//! The answer to GetObjectAttributes.

use crate::{
    checksum::{Checksum, ChecksumType},
    content::StorageClass,
    xml::Writer,
};

use super::checksum_text;

/// One part of an object, with the checksum it was uploaded with.
#[derive(Clone, Copy, Debug)]
pub struct PartAttributes {
    /// Its place, from 1.
    pub number: u16,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its checksum.
    pub checksum: Checksum,
}

/// The parts of an object.
#[derive(Clone, Debug)]
pub struct PartsAttributes {
    /// How many there are.
    pub count: u16,
    /// As asked.
    pub part_number_marker: u16,
    /// As asked.
    pub max_parts: usize,
    /// Last part shown.
    pub next_part_number_marker: u16,
    /// Whether more follow.
    pub is_truncated: bool,
    /// The page; empty for an object whose upload asked for no checksum.
    pub parts: Vec<PartAttributes>,
}

/// The attributes asked for, each `None` otherwise.
#[derive(Clone, Debug, Default)]
pub struct ObjectAttributes<'a> {
    /// Without quotes.
    pub etag: Option<&'a str>,
    /// The checksum, what it covers, and of how many parts.
    pub checksum: Option<(Checksum, ChecksumType, usize)>,
    /// Of a multipart object.
    pub parts: Option<PartsAttributes>,
    /// The storage class.
    pub storage_class: Option<StorageClass>,
    /// Size in bytes.
    pub size: Option<u64>,
}

/// Writes the answer to GetObjectAttributes.
pub fn object_attributes(out: &mut Vec<u8>, attributes: &ObjectAttributes<'_>) {
    let mut xml = Writer::document(out);
    xml.open_root("GetObjectAttributesResponse");
    xml.optional("ETag", attributes.etag);
    if let Some((checksum, kind, parts)) = attributes.checksum {
        xml.open("Checksum");
        checksum_text(&mut xml, checksum, Some((kind, parts)));
        xml.text("ChecksumType", kind.name());
        xml.close("Checksum");
    }
    if let Some(parts) = &attributes.parts {
        xml.open("ObjectParts");
        xml.number("PartsCount", u64::from(parts.count));
        if !parts.parts.is_empty() {
            xml.number("PartNumberMarker", u64::from(parts.part_number_marker));
            xml.number("NextPartNumberMarker", u64::from(parts.next_part_number_marker));
            xml.number("MaxParts", parts.max_parts as u64);
            xml.boolean("IsTruncated", parts.is_truncated);
        }
        for part in &parts.parts {
            xml.open("Part");
            xml.number("PartNumber", u64::from(part.number));
            xml.number("Size", part.bytes);
            checksum_text(&mut xml, part.checksum, None);
            xml.close("Part");
        }
        xml.close("ObjectParts");
    }
    xml.optional("StorageClass", attributes.storage_class.map(StorageClass::name));
    if let Some(bytes) = attributes.size {
        xml.number("ObjectSize", bytes);
    }
    xml.close("GetObjectAttributesResponse");
}
