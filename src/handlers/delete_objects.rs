//! DeleteObjects.

use stria_engine::{
    calls::Deleted,
    object::{VersionSelector, Versioning},
    precondition::WriteCondition,
};
use stria_env::{Env, sync::oneshot};
use stria_s3::{
    S3Error,
    request::{DeleteEntry, DeleteObjects},
    response::{DeleteOutcome, delete_objects as write_outcomes},
};

use super::{
    Request,
    delete_object::{Deletion, condition, deleted},
    store_body::read_xml,
    versions,
};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// Removes up to 1,000 keys at once; each key has its own outcome. They share frames of the log, so a
/// thousand deletions cost a few flushes, not a thousand.
pub async fn delete_objects(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_xml(request.payload, body).await?;
    let has_trailer = request.payload.has_trailer();
    let wanted = DeleteObjects::parse(request.head, &xml, has_trailer, &|name| body.trailer(name))?;
    let bucket = request.bucket()?;
    let versions_too = request.check_deletes_versions(&bucket);
    let mut waiting = Vec::with_capacity(wanted.entries.len());
    for entry in &wanted.entries {
        let checked = checked(entry).and_then(|(version, condition)| {
            if version != VersionSelector::Current {
                versions_too.clone()?;
            }
            Ok((version, condition))
        });
        waiting.push(checked.map(|(version, condition)| {
            let call = Deletion::new(&bucket, request.place_of(&bucket, &entry.key), version, condition);
            let (sender, receiver) = oneshot();
            let peers = request.state.peers.clone();
            request.state.env.spawn(async move { sender.send(deleted(call.run(&peers).await)) });
            receiver
        }));
    }
    let mut results: Vec<Result<Deleted, S3Error>> = Vec::with_capacity(waiting.len());
    for outcome in waiting {
        results.push(match outcome {
            Ok(receiver) => receiver.await.unwrap_or_else(|| Err(stria_s3::ErrorCode::InternalError.into())),
            Err(error) => Err(error),
        });
    }
    let has_versions = versions::mode(&bucket) != Versioning::Off;
    let markers: Vec<Option<String>> = results
        .iter()
        .map(|result| {
            let deleted = result.as_ref().ok().filter(|deleted| deleted.is_delete_marker && has_versions);
            deleted.and_then(|deleted| deleted.version).map(versions::print)
        })
        .collect();
    let outcomes =
        wanted.entries.iter().zip(results.iter().zip(&markers)).map(|(entry, (result, marker))| {
            let (key, version_id) = (entry.key.as_str(), entry.version_id.as_deref());
            match result {
                Ok(_) => DeleteOutcome::Deleted { key, version_id, delete_marker: marker.as_deref() },
                Err(error) => DeleteOutcome::Failed { key, version_id, error },
            }
        });
    let mut out = Vec::with_capacity(64 * results.len() + 256);
    write_outcomes(&mut out, outcomes, wanted.quiet);
    Ok(request.to.xml(200, out))
}

fn checked(entry: &DeleteEntry) -> Result<(VersionSelector, WriteCondition), S3Error> {
    entry.check()?;
    Ok((versions::parse(entry.version_id.as_deref())?, condition(&entry.conditions)?))
}
