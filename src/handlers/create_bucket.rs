//! CreateBucket.

use std::collections::BTreeMap;

use stria_meta::CLOSED_CONFIGS;
use stria_s3::{
    ErrorCode, S3Error,
    config::acl::{Parties, from_headers},
    request::CreateBucket,
};
use tokio::sync::oneshot;

use super::{Request, bucket_config, store_body::read_xml};
use crate::{
    conn::{
        body::Body,
        failure::Failure,
        reply::{Reply, field},
    },
    control::{ControlError, ControlRequest},
};

/// Makes the bucket, durable and known to every core before the answer. An owner who makes his bucket again
/// is told that it is there: with 200 in us-east-1, as S3 does, else with 409.
pub async fn create_bucket(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    let Request { state, head, route, to, .. } = request;
    let xml = read_xml(request.payload, body).await?;
    let wanted = CreateBucket::parse(head, &xml)?;
    let name = route.bucket().to_owned();
    let asking = request.allowed.identity(&state.shared.identities)?;
    let configs = configs(request, &asking.config.canonical_id, wanted.ownership)?;
    let acl = configs.get("acl").cloned();
    let (reply, answer) = oneshot::channel();
    let create = ControlRequest::CreateBucket {
        name: name.clone(),
        owner: asking.config.canonical_id.clone(),
        region: wanted.location.unwrap_or_else(|| state.shared.region.clone()),
        pgs: state.shared.bucket_pgs,
        configs,
        now_ms: state.now_ms(),
        reply,
    };
    state.control.try_send(create).map_err(|_| S3Error::from(ErrorCode::SlowDown))?;
    match answer.await.unwrap_or(Err(ControlError::Unavailable)) {
        Ok(bucket) => state.peers.engine().bucket_created(bucket.bucket_id()),
        Err(error) => return again_or(request, acl, error).await,
    }
    Ok(to.empty(200, |out| field(out, "Location", format!("/{name}").as_bytes())))
}

/// What the bucket says of itself from the beginning. What a default says is kept with the bucket: another default
/// later changes nothing.
fn configs(
    request: &Request<'_>,
    owner: &str,
    ownership: Option<&str>,
) -> Result<BTreeMap<String, String>, S3Error> {
    let shared = &request.state.shared;
    let defaults = if shared.buckets_closed { &CLOSED_CONFIGS[..] } else { &[] };
    let mut configs: BTreeMap<String, String> =
        defaults.iter().map(|(name, stored)| ((*name).to_owned(), (*stored).to_owned())).collect();
    if let Some(word) = ownership {
        let stored = format!("<Rule><ObjectOwnership>{word}</ObjectOwnership></Rule>");
        configs.insert("ownershipControls".to_owned(), stored);
    }
    let parties = Parties { owner, bucket_owner: None, directory: &shared.identities };
    let Some(acl) = from_headers(request.head, &parties)?.filter(|acl| !acl.is_private_of(owner)) else {
        return Ok(configs);
    };
    let is_set = |name: &str, word: &str| configs.get(name).is_some_and(|stored| stored.contains(word));
    if is_set("ownershipControls", "BucketOwnerEnforced") {
        return Err(ErrorCode::InvalidBucketAclWithObjectOwnership.into());
    }
    if acl.is_public() && is_set("publicAccessBlock", "<BlockPublicAcls>true") {
        return Err(ErrorCode::InvalidBucketAclWithBlockPublicAccessError.into());
    }
    configs.insert("acl".to_owned(), acl.encode());
    Ok(configs)
}

/// What making a bucket that is there comes to. In us-east-1 its list is then the one of this request.
async fn again_or(request: &Request<'_>, acl: Option<String>, error: ControlError) -> Result<Reply, Failure> {
    let name = request.route.bucket();
    let refused = |code: ErrorCode| Err(S3Error::from(code).with("BucketName", name.as_bytes()).into());
    match error {
        ControlError::Refused(stria_meta::MetaError::BucketExists { owner }) => {
            let identities = &request.state.shared.identities;
            let asking = request.allowed.identity(identities)?;
            if !identities.owner_named(&owner).is_some_and(|owner| owner.shares_account(asking)) {
                return refused(ErrorCode::BucketAlreadyExists);
            }
            if request.state.shared.region != "us-east-1" {
                return refused(ErrorCode::BucketAlreadyOwnedByYou);
            }
            // One that this core does not know yet is being made by somebody else, with a list of his.
            if let Some(bucket) = request.state.bucket(name) {
                bucket_config::set(request, &bucket, "acl".to_owned(), acl).await?;
            }
            Ok(request.to.empty(200, |out| field(out, "Location", format!("/{name}").as_bytes())))
        }
        ControlError::Refused(stria_meta::MetaError::TooManyBuckets) => refused(ErrorCode::TooManyBuckets),
        ControlError::Refused(
            stria_meta::MetaError::NoSuchBucket | stria_meta::MetaError::TooManyConfigs,
        ) => refused(ErrorCode::NoSuchBucket),
        ControlError::Store(_) | ControlError::Unavailable => refused(ErrorCode::ServiceUnavailable),
    }
}
