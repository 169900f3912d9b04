//! ListObjects and ListObjectsV2.

use stria_base::ids::pg_in_bucket;
use stria_base::{CoreId, PgId};
use stria_engine::{
    EngineError, Operation,
    calls::List,
    list::{ListEntry, ListQuery, merge},
};
use stria_env::{Env, sync::oneshot};
use stria_meta::Bucket;
use stria_s3::{
    checksum::EtagText,
    request::{ContinuationToken, ListObjects, ListObjectsV2},
    response::{
        Contents, ListObjectsResult, ListObjectsV2Result, list_objects as write_v1,
        list_objects_v2 as write_v2,
    },
};

use super::{
    Request,
    door::Owners,
    object_meta::{checksum_type, wire_algorithm, wire_class},
};
use crate::conn::{failure::Failure, reply::Reply};

/// Bytes of XML an entry takes, about.
const ENTRY_XML_BYTES: usize = 400;

/// ListObjects, version 1.
pub async fn list_objects(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = ListObjects::parse(request.route)?;
    let bucket = request.bucket()?;
    let query = ListQuery {
        prefix: wanted.prefix.as_bytes().into(),
        delimiter: wanted.delimiter.as_deref().unwrap_or_default().as_bytes().into(),
        after: wanted.marker.as_deref().map(|marker| marker.as_bytes().into()),
        entries_max: wanted.max_keys,
    };
    let (entries, more) = entries(request, &bucket, query).await?;
    let owners = Owners::of(&request.state.shared.identities, &bucket);
    let rows = Rows::of(&entries, Some(&owners));
    let next = entries.last().and_then(|entry| std::str::from_utf8(&entry.key).ok());
    let mut out = Vec::with_capacity(entries.len() * ENTRY_XML_BYTES + 512);
    let result = ListObjectsResult {
        bucket: &bucket.name,
        prefix: &wanted.prefix,
        marker: wanted.marker.as_deref().unwrap_or_default(),
        delimiter: wanted.delimiter.as_deref(),
        max_keys: wanted.max_keys,
        is_truncated: more,
        // Without a delimiter a client continues from the last key it got.
        next_marker: next.filter(|_| more && wanted.delimiter.is_some()),
        encode_url: wanted.encode_url,
        contents: &rows.keys,
        common_prefixes: &rows.prefixes,
    };
    write_v1(&mut out, &result);
    Ok(request.to.xml(200, out))
}

/// ListObjectsV2.
pub async fn list_objects_v2(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = ListObjectsV2::parse(request.route)?;
    let bucket = request.bucket()?;
    let query = ListQuery {
        prefix: wanted.prefix.as_bytes().into(),
        delimiter: wanted.delimiter.as_deref().unwrap_or_default().as_bytes().into(),
        after: wanted.after().map(|after| after.as_bytes().into()),
        entries_max: wanted.max_keys,
    };
    let (entries, more) = entries(request, &bucket, query).await?;
    let owners = Owners::of(&request.state.shared.identities, &bucket);
    let rows = Rows::of(&entries, wanted.fetch_owner.then_some(&owners));
    let last = entries.last().and_then(|entry| std::str::from_utf8(&entry.key).ok());
    let next = last.filter(|_| more).map(|after| ContinuationToken { after: after.to_owned() }.encode());
    let given = wanted.continuation.as_ref().map(ContinuationToken::encode);
    let mut out = Vec::with_capacity(entries.len() * ENTRY_XML_BYTES + 512);
    let result = ListObjectsV2Result {
        bucket: &bucket.name,
        prefix: &wanted.prefix,
        delimiter: wanted.delimiter.as_deref(),
        start_after: wanted.start_after.as_deref(),
        continuation_token: given.as_deref(),
        next_continuation_token: next.as_deref(),
        max_keys: wanted.max_keys,
        encode_url: wanted.encode_url,
        contents: &rows.keys,
        common_prefixes: &rows.prefixes,
    };
    write_v2(&mut out, &result);
    Ok(request.to.xml(200, out))
}

/// The PGs of a bucket by the core that owns them.
pub fn pgs_by_core(request: &Request<'_>, bucket: &Bucket) -> Vec<(CoreId, Vec<PgId>)> {
    let peers = &request.state.peers;
    let mut cores: Vec<(CoreId, Vec<PgId>)> = peers.cores().map(|core| (core, Vec::new())).collect();
    for nth in 0..bucket.pgs {
        let pg = pg_in_bucket(bucket.bucket_id(), nth, request.state.shared.pg_count);
        cores[usize::from(peers.owner(pg).0)].1.push(pg);
    }
    cores.retain(|(_, pgs)| !pgs.is_empty());
    cores
}

/// Asks all cores that hold PGs of the bucket at once, one message to each.
///
/// # Errors
/// `Gone` when the process ends meanwhile.
pub async fn ask_cores<O: Operation<Output: 'static> + 'static>(
    request: &Request<'_>,
    bucket: &Bucket,
    call: impl Fn(Vec<PgId>) -> O,
) -> Result<Vec<O::Output>, Failure> {
    let mut waiting = Vec::new();
    for (core, pgs) in pgs_by_core(request, bucket) {
        let (call, peers) = (call(pgs), request.state.peers.clone());
        let (sender, receiver) = oneshot();
        request.state.env.spawn(async move { sender.send(peers.call_core(core, call).await) });
        waiting.push(receiver);
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for answer in waiting {
        answers.push(answer.await.ok_or(Failure::Gone)?);
    }
    Ok(answers)
}

/// Entries in order, and whether more follow.
pub type Page<T> = (Vec<T>, bool);

/// One page of at most `entries_max` entries over all cores that hold PGs of the bucket.
///
/// # Errors
/// Of the engine.
pub async fn page_of_cores<T: 'static, O>(
    request: &Request<'_>,
    bucket: &Bucket,
    entries_max: usize,
    call: impl Fn(Vec<PgId>) -> O,
    merge: impl FnOnce(Vec<Page<T>>, usize) -> Page<T>,
) -> Result<Page<T>, Failure>
where
    O: Operation<Output = Result<Page<T>, EngineError>> + 'static,
{
    if entries_max == 0 {
        return Ok((Vec::new(), false));
    }
    let pages = ask_cores(request, bucket, call).await?.into_iter().collect::<Result<_, _>>()?;
    Ok(merge(pages, entries_max))
}

async fn entries(
    request: &Request<'_>,
    bucket: &Bucket,
    query: ListQuery,
) -> Result<Page<ListEntry>, Failure> {
    let call = |pgs| List { bucket: bucket.bucket_id(), pgs, query: query.clone() };
    page_of_cores(request, bucket, query.entries_max, call, merge).await
}

/// Entries as the XML wants them. Keys are UTF-8: the router takes no others.
struct Rows<'e> {
    keys: Vec<Contents<'e>>,
    prefixes: Vec<&'e str>,
}

impl<'e> Rows<'e> {
    fn of(entries: &'e [ListEntry], owners: Option<&Owners<'e>>) -> Self {
        let mut rows = Self { keys: Vec::with_capacity(entries.len()), prefixes: Vec::new() };
        for entry in entries {
            let Ok(key) = std::str::from_utf8(&entry.key) else { continue };
            let Some(head) = &entry.head else {
                rows.prefixes.push(key);
                continue;
            };
            let checksum = head
                .checksum
                .map(|(algorithm, composite)| (wire_algorithm(algorithm), checksum_type(composite)));
            rows.keys.push(Contents {
                key,
                last_modified_unix_ms: head.modified_ms,
                etag: EtagText::new(&head.etag.md5, head.etag.part_count),
                checksum,
                size_bytes: head.size,
                storage_class: wire_class(head.storage_class),
                owner: owners.map(|owners| owners.shown(&entry.owner)),
            });
        }
        rows
    }
}
