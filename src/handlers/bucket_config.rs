//! Configurations of buckets: put, get, delete, list, for every kind of `stria_s3::config` alike.
//!
//! Invariant: what is stored passed its kind's checks, and is durable and known to every core before the
//! answer. Runs on the accepting core.

use std::ops::Bound;

use stria_engine::object::Versioning;
use stria_meta::{Bucket, Command, MetaError};
use stria_s3::{
    ErrorCode, S3Error,
    config::{Action, Kind, replication, tree::Element},
};
use tokio::sync::oneshot;

use super::{Request, door, store_body::read_document, unset, versions};
use crate::{
    conn::{body::Body, failure::Failure, reply::Reply},
    control::{ControlError, ControlRequest},
};

/// Documents on a page of a listing, as S3 has it.
const PAGE_ENTRIES: usize = 100;

/// Does what the operation says with a configuration of `kind`.
pub async fn bucket_config(
    request: &Request<'_>,
    body: &mut Body<'_>,
    kind: &'static Kind,
    action: Action,
) -> Result<Reply, Failure> {
    match action {
        Action::Put => put(request, body, kind).await,
        Action::Delete => {
            let bucket = request.bucket()?;
            let name = stored_name(kind, id(request, kind)?.as_deref());
            if kind.list.is_some() && !bucket.configs.contains_key(&name) {
                return Err(ErrorCode::NoSuchConfiguration.into());
            }
            set(request, &bucket, name, None).await?;
            Ok(request.to.empty(204, |_| {}))
        }
        Action::Get => {
            let bucket = request.bucket()?;
            let name = stored_name(kind, id(request, kind)?.as_deref());
            let Some(stored) = bucket.configs.get(&name) else { return unset::unset(request).await };
            let mut out = Vec::with_capacity(stored.len() + 256);
            kind.write(&mut out, stored);
            Ok(request.to.xml(200, out))
        }
        Action::List => list(request, kind),
    }
}

async fn put(request: &Request<'_>, body: &mut Body<'_>, kind: &'static Kind) -> Result<Reply, Failure> {
    let xml = read_document(request, body).await?;
    let bucket = request.bucket()?;
    let id = id(request, kind)?;
    let document = kind.parse(&xml, id.as_deref())?;
    check_here(request, &bucket, kind, &document)?;
    // A document that says nothing is the same as none.
    let stored = Some(kind.stored(&document)).filter(|stored| !stored.is_empty());
    set(request, &bucket, stored_name(kind, id.as_deref()), stored).await?;
    Ok(request.to.empty(kind.put_status, |_| {}))
}

/// What depends on this server's other buckets.
fn check_here(
    request: &Request<'_>,
    bucket: &Bucket,
    kind: &Kind,
    document: &Element,
) -> Result<(), S3Error> {
    match kind.name {
        "logging" => {
            let enabled = document.child("LoggingEnabled");
            let target = enabled.and_then(|enabled| enabled.text_of("TargetBucket"));
            match target.map(|target| request.state.bucket(target)) {
                Some(found) if found.as_ref().is_none_or(|found| found.owner != bucket.owner) => {
                    Err(ErrorCode::InvalidTargetBucketForLogging.into())
                }
                _ => Ok(()),
            }
        }
        "ownershipControls"
            if document.children.iter().any(is_enforced) && door::bucket_acl(bucket).is_some() =>
        {
            Err(ErrorCode::InvalidBucketAclWithObjectOwnership.into())
        }
        "replication" => check_replication(request, bucket, document),
        "versioning" if document.text_of("Status") == Some("Suspended") => {
            if bucket.configs.contains_key("replication") {
                let message = "A replication configuration is present on this bucket, so its versioning cannot be suspended. Delete that configuration first.";
                return Err(S3Error::new(ErrorCode::InvalidBucketState, message));
            }
            Ok(())
        }
        "accelerate" if bucket.name.contains('.') => {
            let message =
                "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names";
            Err(S3Error::new(ErrorCode::InvalidRequest, message))
        }
        _ => Ok(()),
    }
}

/// Replication works on versions, of this bucket and of those it goes to.
fn check_replication(request: &Request<'_>, bucket: &Bucket, document: &Element) -> Result<(), S3Error> {
    let refused = |message| Err(S3Error::new(ErrorCode::InvalidRequest, message));
    if versions::mode(bucket) != Versioning::Enabled {
        return refused("Versioning must be 'Enabled' on the bucket to apply a replication configuration");
    }
    for name in replication::destinations(document) {
        match request.state.bucket(name) {
            None => return refused("Destination bucket must exist."),
            Some(found) if versions::mode(&found) != Versioning::Enabled => {
                return refused("Destination bucket must have versioning enabled.");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn is_enforced(rule: &Element) -> bool {
    rule.text_of("ObjectOwnership") == Some("BucketOwnerEnforced")
}

fn list(request: &Request<'_>, kind: &'static Kind) -> Result<Reply, Failure> {
    let bucket = request.bucket()?;
    let token = parameter(request, "continuation-token")?;
    let from = stored_name(kind, Some(token.as_deref().unwrap_or_default()));
    let prefix = stored_name(kind, Some(""));
    let mut found = bucket
        .configs
        .range::<str, _>((Bound::Excluded(from.as_str()), Bound::Unbounded))
        .take_while(|(name, _)| name.starts_with(&prefix));
    let page: Vec<_> = found.by_ref().take(PAGE_ENTRIES).collect();
    let more = found.next().is_some();
    let last = page.last().map(|(name, _)| &name[prefix.len()..]).filter(|_| more);
    let mut out = Vec::with_capacity(512 * page.len() + 256);
    kind.write_list(&mut out, page.iter().map(|(_, stored)| stored.as_str()), token.as_deref(), last);
    Ok(request.to.xml(200, out))
}

/// The id of the request, for kinds that have one.
fn id(request: &Request<'_>, kind: &Kind) -> Result<Option<String>, S3Error> {
    if kind.list.is_none() {
        return Ok(None);
    }
    match parameter(request, "id")? {
        Some(id) if !id.is_empty() => Ok(Some(id)),
        _ => Err(ErrorCode::InvalidConfigurationId.into()),
    }
}

fn parameter(request: &Request<'_>, name: &'static str) -> Result<Option<String>, S3Error> {
    let value = request.route.query.get(name).map_err(|_| ErrorCode::InvalidURI)?;
    let text = value.map(|value| String::from_utf8(value.into_owned())).transpose();
    text.map_err(|error| S3Error::argument("Invalid UTF-8 in a query parameter", name, error.as_bytes()))
}

/// The name a document is stored under.
fn stored_name(kind: &Kind, id: Option<&str>) -> String {
    match id {
        Some(id) => format!("{}/{id}", kind.name),
        None => kind.name.to_owned(),
    }
}

/// Sets or removes a configuration; when this returns every core knows it.
///
/// # Errors
/// `NoSuchBucket` when the bucket went away meanwhile, `SlowDown`, `ServiceUnavailable`.
pub async fn set(
    request: &Request<'_>,
    bucket: &Bucket,
    config: String,
    value: Option<String>,
) -> Result<(), S3Error> {
    if value.is_none() && !bucket.configs.contains_key(&config) {
        return Ok(());
    }
    let (reply, answer) = oneshot::channel();
    let command = Command::SetConfig { bucket: bucket.name.clone(), id: bucket.bucket_id(), config, value };
    let change = ControlRequest::SetConfig { command, reply };
    request.state.control.try_send(change).map_err(|_| S3Error::from(ErrorCode::SlowDown))?;
    answer.await.unwrap_or(Err(ControlError::Unavailable)).map_err(|error| match error {
        ControlError::Refused(MetaError::TooManyConfigs) => ErrorCode::TooManyConfigurations.into(),
        ControlError::Refused(_) => {
            S3Error::from(ErrorCode::NoSuchBucket).with("BucketName", bucket.name.as_bytes())
        }
        ControlError::Store(_) | ControlError::Unavailable => ErrorCode::ServiceUnavailable.into(),
    })
}
