//! ListMultipartUploads.

use stria_engine::{
    calls::{ListUploads, UploadEntry},
    codec::owner_of_acl,
};
use stria_s3::{
    request::ListMultipartUploads,
    response::{self, ListUploadsResult, list_uploads},
};

use super::{
    Request,
    door::Owners,
    list_objects::pgs_by_core,
    object_meta::{checksum_type, wire_algorithm, wire_class},
    parse_upload_id, print_upload_id,
};
use crate::conn::{failure::Failure, reply::Reply};

/// A listed upload or common prefix.
enum Entry {
    Upload(Box<UploadEntry>),
    Prefix(String),
}

impl Entry {
    fn marker(&self) -> (String, String) {
        match self {
            Self::Upload(upload) => {
                (String::from_utf8_lossy(&upload.key).into_owned(), print_upload_id(upload.id))
            }
            Self::Prefix(prefix) => (prefix.clone(), String::new()),
        }
    }
}

/// Uploads in progress, in order of key and id.
pub async fn list_multipart_uploads(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = ListMultipartUploads::parse(request.route)?;
    let bucket = request.bucket()?;
    let (entries, more) = page(request, &bucket, &wanted).await?;
    let next = entries.last().filter(|_| more).map(Entry::marker);
    let owners = Owners::of(&request.state.shared.identities, &bucket);
    let shown: Vec<(String, String, &UploadEntry)> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Upload(upload) => Some((
                String::from_utf8_lossy(&upload.key).into_owned(),
                print_upload_id(upload.id),
                &**upload,
            )),
            Entry::Prefix(_) => None,
        })
        .collect();
    let uploads: Vec<response::UploadEntry<'_>> = shown
        .iter()
        .map(|(key, upload_id, upload)| response::UploadEntry {
            key,
            upload_id,
            initiator: owners.writer(owner_of_acl(&upload.meta.acl)),
            owner: owners.shown(owner_of_acl(&upload.meta.acl)),
            storage_class: wire_class(upload.meta.storage_class),
            initiated_unix_ms: upload.meta.modified_ms,
            checksum: upload
                .meta
                .checksum
                .as_ref()
                .map(|asked| (wire_algorithm(asked.algorithm), checksum_type(asked.composite))),
        })
        .collect();
    let prefixes: Vec<&str> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Prefix(prefix) => Some(prefix.as_str()),
            Entry::Upload(_) => None,
        })
        .collect();
    let result = ListUploadsResult {
        bucket: &bucket.name,
        prefix: &wanted.prefix,
        delimiter: wanted.delimiter.as_deref(),
        key_marker: wanted.key_marker.as_deref().unwrap_or_default(),
        upload_id_marker: wanted.upload_id_marker.as_deref().unwrap_or_default(),
        next: next.as_ref().map(|(key, id)| (key.as_str(), id.as_str())),
        max_uploads: wanted.max_uploads,
        encode_url: wanted.encode_url,
        uploads: &uploads,
        common_prefixes: &prefixes,
    };
    let mut out = Vec::with_capacity(400 * entries.len() + 512);
    list_uploads(&mut out, &result);
    Ok(request.to.xml(200, out))
}

/// Collects a page, asking the cores again behind each common prefix, so that the uploads rolled up in one do
/// not use the page up.
async fn page(
    request: &Request<'_>,
    bucket: &stria_meta::Bucket,
    wanted: &ListMultipartUploads,
) -> Result<(Vec<Entry>, bool), Failure> {
    let mut entries: Vec<Entry> = Vec::new();
    let marker_id = wanted.upload_id_marker.as_deref().map(parse_upload_id).transpose()?;
    let mut after = wanted.key_marker.as_deref().map(|key| (Box::<[u8]>::from(key.as_bytes()), marker_id));
    let marked_prefix = wanted.key_marker.as_deref().filter(|key| prefix_of(key, wanted) == Some(key.len()));
    if let Some(prefix) = marked_prefix {
        after = Some((behind(prefix), None));
    }
    loop {
        let batch = uploads(request, bucket, wanted, after.clone()).await?;
        let (found, more) = batch;
        let mut again = None;
        for upload in found {
            let key = String::from_utf8_lossy(&upload.key).into_owned();
            if entries.len() == wanted.max_uploads {
                return Ok((entries, true));
            }
            if let Some(end) = prefix_of(&key, wanted) {
                again = Some(behind(&key[..end]));
                entries.push(Entry::Prefix(key[..end].to_owned()));
                break;
            }
            after = Some((upload.key.clone(), Some(upload.id)));
            entries.push(Entry::Upload(Box::new(upload)));
        }
        match again {
            Some(key) => after = Some((key, None)),
            None if more && entries.len() < wanted.max_uploads => {}
            None => return Ok((entries, more)),
        }
    }
}

/// End of the common prefix a key rolls up to.
fn prefix_of(key: &str, wanted: &ListMultipartUploads) -> Option<usize> {
    let delimiter = wanted.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(wanted.prefix.as_str())?;
    Some(wanted.prefix.len() + rest.find(delimiter)? + delimiter.len())
}

/// A marker above every key that starts with `prefix`: no key contains the byte `ff`.
fn behind(prefix: &str) -> Box<[u8]> {
    [prefix.as_bytes(), &[0xff]].concat().into()
}

async fn uploads(
    request: &Request<'_>,
    bucket: &stria_meta::Bucket,
    wanted: &ListMultipartUploads,
    after: Option<(Box<[u8]>, Option<stria_engine::keys::UploadId>)>,
) -> Result<(Vec<UploadEntry>, bool), Failure> {
    let (mut all, mut more) = (Vec::new(), false);
    for (core, pgs) in pgs_by_core(request, bucket) {
        let call = ListUploads {
            bucket: bucket.bucket_id(),
            pgs,
            prefix: wanted.prefix.as_bytes().into(),
            after: after.clone(),
            uploads_max: wanted.max_uploads.max(1),
        };
        let page = request.state.peers.call_core(core, call).await?;
        more |= page.more;
        all.extend(page.uploads);
    }
    all.sort_by(|a, b| (&a.key, a.id).cmp(&(&b.key, b.id)));
    more |= all.len() > wanted.max_uploads.max(1);
    all.truncate(wanted.max_uploads.max(1));
    Ok((all, more))
}
