//! CreateMultipartUpload.

use stria_engine::{
    calls::{CreateUpload, UploadPlace},
    keys::UploadId,
    object::{ObjectMeta, StoredChecksum},
};
use stria_s3::{checksum::ChecksumType, request::CreateMultipartUpload, response::create_upload};

use super::{
    Request, acl,
    object_meta::{put_content, stored_algorithm},
    print_upload_id,
};
use crate::conn::{
    failure::Failure,
    reply::{Reply, field},
};

/// Keeps what the object will have beside its bytes, and gives the upload its id.
pub async fn create_multipart_upload(request: &Request<'_>) -> Result<Reply, Failure> {
    let Request { state, head, route, to, .. } = request;
    let wanted = CreateMultipartUpload::parse(head)?;
    let bucket = request.bucket()?;
    let id = UploadId(request.random_u128());
    let mut meta = ObjectMeta::new(0, [0; 16]);
    put_content(&mut meta, &wanted.content)?;
    meta.acl = acl::of_upload(request, head, &bucket)?;
    // An empty value says what is asked for; parts and Complete give it one.
    meta.checksum = wanted.checksum.map(|(algorithm, kind)| StoredChecksum {
        algorithm: stored_algorithm(algorithm),
        composite: kind == ChecksumType::Composite,
        value: Box::default(),
    });
    let place = request.place(&bucket);
    let pg = place.pg;
    state.peers.call(pg, CreateUpload { upload: UploadPlace { place, id }, meta }).await?;
    let mut out = Vec::with_capacity(512);
    create_upload(&mut out, &bucket.name, route.key(), &print_upload_id(id));
    Ok(to.bytes(200, Some("application/xml"), out.into(), |out| {
        if let Some((algorithm, kind)) = wanted.checksum {
            field(out, "x-amz-checksum-algorithm", algorithm.name().as_bytes());
            field(out, "x-amz-checksum-type", kind.name().as_bytes());
        }
    }))
}
