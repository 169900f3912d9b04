//! ListParts.

use stria_engine::{calls, codec::owner_of_acl};
use stria_s3::{
    request::ListParts,
    response::{ListPartsResult, PartEntry, list_parts as write_parts},
};

use super::{
    Request,
    door::Owners,
    object_meta::{checksum_type, wire_algorithm, wire_checksum, wire_class},
};
use crate::conn::{failure::Failure, reply::Reply};

/// The uploaded parts in order of their numbers.
pub async fn list_parts(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = ListParts::parse(request.route, request.head)?;
    let bucket = request.bucket()?;
    let upload = request.upload(&bucket, &wanted.upload_id).await?;
    let list = calls::ListParts {
        upload: upload.clone(),
        after: wanted.part_number_marker,
        parts_max: wanted.max_parts,
    };
    let page = request.state.peers.call(upload.place.pg, list).await?;
    let etags: Vec<String> = page.parts.iter().map(|part| part.meta.etag.to_string()).collect();
    let parts: Vec<PartEntry<'_>> = page
        .parts
        .iter()
        .zip(&etags)
        .map(|(part, etag)| PartEntry {
            part_number: part.number,
            last_modified_unix_ms: part.meta.modified_ms,
            etag,
            size_bytes: part.meta.size,
            checksum: part.meta.checksum.as_ref().and_then(wire_checksum).map(|(checksum, _)| checksum),
        })
        .collect();
    let owners = Owners::of(&request.state.shared.identities, &bucket);
    let asked = page.upload.checksum.as_ref();
    let result = ListPartsResult {
        bucket: &bucket.name,
        key: request.route.key(),
        upload_id: &wanted.upload_id,
        part_number_marker: wanted.part_number_marker,
        next_part_number_marker: page.parts.last().filter(|_| page.more).map(|part| part.number),
        max_parts: wanted.max_parts,
        encode_url: wanted.encode_url,
        initiator: owners.writer(owner_of_acl(&page.upload.acl)),
        owner: owners.shown(owner_of_acl(&page.upload.acl)),
        storage_class: wire_class(page.upload.storage_class),
        checksum: asked.map(|asked| (wire_algorithm(asked.algorithm), checksum_type(asked.composite))),
        parts: &parts,
    };
    let mut out = Vec::with_capacity(256 * parts.len() + 512);
    write_parts(&mut out, &result);
    Ok(request.to.xml(200, out))
}
