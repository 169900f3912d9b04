//! GetObjectAttributes.

use stria_engine::{
    calls::{FindPart, Place},
    object::{ObjectMeta, PartTable},
};
use stria_s3::{
    checksum::{Algorithm, ChecksumType},
    request::GetObjectAttributes,
    response::{ObjectAttributes, PartAttributes, PartsAttributes, object_attributes},
};

use super::{
    Request,
    door::find,
    object_meta::{wire_checksum, wire_class},
    versions,
};
use crate::conn::{
    failure::Failure,
    reply::{Reply, field},
};

/// What is known of an object without reading it.
pub async fn get_object_attributes(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = GetObjectAttributes::parse(request.route, request.head)?;
    let bucket = request.bucket()?;
    // Pinned as for reading: the rows of the parts stay while they are asked for.
    let (found, _pin) = find(request, &bucket, wanted.parts).await?;
    let place = request.place(&bucket);
    let meta = &found.meta;
    let etag = meta.etag.to_string();
    let checksum = meta.checksum.as_ref().and_then(wire_checksum);
    let attributes = ObjectAttributes {
        etag: wanted.etag.then_some(etag.as_str()),
        checksum: checksum
            .filter(|_| wanted.checksum)
            .map(|(checksum, kind)| (checksum, kind, usize::from(meta.etag.part_count))),
        parts: match &meta.parts {
            Some(table) if wanted.parts => Some(parts_of(request, &place, &wanted, meta, table).await?),
            _ => None,
        },
        storage_class: wanted.storage_class.then(|| wire_class(meta.storage_class)),
        size: wanted.size.then_some(meta.size),
    };
    let mut out = Vec::with_capacity(512);
    object_attributes(&mut out, &attributes);
    Ok(request.to.bytes(200, Some("application/xml"), out.into(), |out| {
        field(out, "Last-Modified", &stria_http::date::format_http(meta.modified_ms / 1000));
        versions::write_id(out, &bucket, meta.version);
    }))
}

/// A page of parts. They are named only when the upload asked for a checksum; CRC64NVME over the whole is also what an
/// upload gets that asked for none.
async fn parts_of(
    request: &Request<'_>,
    place: &Place,
    wanted: &GetObjectAttributes,
    meta: &ObjectMeta,
    table: &PartTable,
) -> Result<PartsAttributes, Failure> {
    let count = table.part_count();
    let asked = match meta.checksum.as_ref().and_then(wire_checksum) {
        Some((_, ChecksumType::Composite)) => true,
        Some((checksum, ChecksumType::FullObject)) => checksum.algorithm != Algorithm::Crc64Nvme,
        None => false,
    };
    let first = wanted.part_number_marker.saturating_add(1);
    let last = usize::from(wanted.part_number_marker).saturating_add(wanted.max_parts);
    let last = last.min(usize::from(count)) as u16;
    let mut parts = Vec::new();
    for ordinal in first..=last {
        let Some(part) = table.at_ordinal(ordinal).filter(|_| asked) else { break };
        let find = FindPart { place: place.clone(), id: table.id, number: part.number };
        let found = request.state.peers.call(place.pg, find).await?;
        if let Some((checksum, _)) = found.meta.checksum.as_ref().and_then(wire_checksum) {
            parts.push(PartAttributes { number: part.number, bytes: part.bytes, checksum });
        }
    }
    Ok(PartsAttributes {
        count,
        part_number_marker: wanted.part_number_marker,
        max_parts: wanted.max_parts,
        next_part_number_marker: last,
        is_truncated: last < count,
        parts,
    })
}
