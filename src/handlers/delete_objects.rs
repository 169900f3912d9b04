//! DeleteObjects.

use stria_engine::calls;
use stria_env::{Env, sync::oneshot};
use stria_s3::{
    S3Error,
    request::{DeleteEntry, DeleteObjects},
    response::{DeleteOutcome, delete_objects as write_outcomes},
};

use super::{
    Request,
    delete_object::{check_version, condition, deleted},
    store_body::read_xml,
};
use crate::conn::{body::Body, failure::Failure, reply::Reply};

/// Removes up to 1,000 keys at once; each key has its own outcome. They share frames of the log, so a
/// thousand deletions cost a few flushes, not a thousand.
pub async fn delete_objects(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let xml = read_xml(request.payload, body).await?;
    let has_trailer = request.payload.has_trailer();
    let wanted = DeleteObjects::parse(request.head, &xml, has_trailer, &|name| body.trailer(name))?;
    let bucket = request.bucket()?;
    let mut waiting = Vec::with_capacity(wanted.entries.len());
    for entry in &wanted.entries {
        waiting.push(checked(entry).map(|condition| {
            let place = request.place_of(&bucket, &entry.key);
            let (sender, receiver) = oneshot();
            let peers = request.state.peers.clone();
            request.state.env.spawn(async move {
                let pg = place.pg;
                sender.send(deleted(peers.call(pg, calls::DeleteObject { place, condition }).await));
            });
            receiver
        }));
    }
    let mut results: Vec<Result<(), S3Error>> = Vec::with_capacity(waiting.len());
    for outcome in waiting {
        results.push(match outcome {
            Ok(receiver) => receiver.await.unwrap_or_else(|| Err(stria_s3::ErrorCode::InternalError.into())),
            Err(error) => Err(error),
        });
    }
    let outcomes = wanted.entries.iter().zip(&results).map(|(entry, result)| {
        let (key, version_id) = (entry.key.as_str(), entry.version_id.as_deref());
        match result {
            Ok(()) => DeleteOutcome::Deleted { key, version_id },
            Err(error) => DeleteOutcome::Failed { key, version_id, error },
        }
    });
    let mut out = Vec::with_capacity(64 * results.len() + 256);
    write_outcomes(&mut out, outcomes, wanted.quiet);
    Ok(request.to.xml(200, out))
}

fn checked(entry: &DeleteEntry) -> Result<stria_engine::precondition::WriteCondition, S3Error> {
    entry.check()?;
    check_version(entry.version_id.as_deref())?;
    condition(&entry.conditions)
}
