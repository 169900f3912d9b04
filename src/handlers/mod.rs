//! One file per S3 operation; each handler reads top-down as the story of its request.
//!
//! Invariant: a handler runs only with an `Allowed` that `door` gave out after authentication and
//! authorisation, whatever the operation. Runs on the accepting core.

mod abort_multipart_upload;
mod acl;
mod bucket_config;
mod complete_multipart_upload;
mod copy_object;
pub mod cors;
mod create_bucket;
mod create_multipart_upload;
mod delete_bucket;
mod delete_object;
mod delete_objects;
mod door;
mod get_bucket_location;
mod get_object;
mod get_object_attributes;
mod head_bucket;
mod list_buckets;
mod list_multipart_uploads;
mod list_objects;
mod list_parts;
mod object_meta;
mod object_tagging;
mod post_object;
mod put_object;
mod query_api;
mod store_body;
mod unset;
mod upload_part;
mod upload_part_copy;
mod versions;
mod website;

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use stria_base::ids::pg_of;
use stria_engine::{
    calls::{Place, UploadPlace},
    keys::UploadId,
};
use stria_env::Env;
use stria_http::Head;
use stria_meta::Bucket;
use stria_s3::{ErrorCode, Op, Route, S3Error, State};
use stria_sigv4::PayloadMode;

use self::door::{Allowed, Needs};
use crate::{
    conn::{
        ConnectionInput,
        body::Body,
        body_of,
        failure::Failure,
        reply::{Reply, ReplyTo},
    },
    state::CoreState,
};

/// How a request ended.
pub enum Outcome {
    /// With an answer, and whether its body was read to the end.
    Reply(Reply, bool),
    /// With a failure after which the connection closes.
    Failed(Failure),
    /// With an error; the body was read, so the connection goes on.
    FailedInOrder(S3Error),
}

/// What a handler has at hand.
pub struct Request<'a> {
    /// The core.
    pub state: &'a Rc<CoreState>,
    /// The head.
    pub head: &'a Head,
    /// The operation, bucket, key and query.
    pub route: &'a Route<'a>,
    /// What is promised about the body.
    pub payload: PayloadMode,
    /// Builds answers.
    pub to: &'a ReplyTo<'a>,
    /// Proof of authorisation.
    pub allowed: &'a Allowed,
}

impl Request<'_> {
    /// The bucket of the request.
    ///
    /// # Errors
    /// `NoSuchBucket`, `AccessDenied`.
    pub fn bucket(&self) -> Result<Arc<Bucket>, S3Error> {
        let bucket = self.bucket_named(self.route.bucket(), Needs::of(self.route.op()))?;
        self.check_expected_owner(&bucket, "x-amz-expected-bucket-owner")?;
        Ok(bucket)
    }

    /// The bucket a copy reads from.
    ///
    /// # Errors
    /// `NoSuchBucket`, `AccessDenied`.
    pub fn source_bucket(&self, name: &str, needs: Needs) -> Result<Arc<Bucket>, S3Error> {
        let bucket = self.bucket_named(name, needs)?;
        self.check_expected_owner(&bucket, "x-amz-source-expected-bucket-owner")?;
        Ok(bucket)
    }

    /// A client that knows whose bucket it wants must not be given another's.
    fn check_expected_owner(&self, bucket: &Bucket, header: &str) -> Result<(), S3Error> {
        let Some(expected) = self.head.get(header) else { return Ok(()) };
        let owner = self.state.shared.identities.owner_of(bucket);
        let account = owner.and_then(|owner| owner.config.account.as_deref());
        let canonical_id = owner.map(|owner| owner.config.canonical_id.as_str());
        let is_known = [account, canonical_id].into_iter().flatten().any(|id| id.as_bytes() == expected);
        if is_known { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
    }

    /// Whether versions of keys may be deleted: what a list allows others covers the current one only.
    ///
    /// # Errors
    /// `AccessDenied`
    pub fn check_deletes_versions(&self, bucket: &Bucket) -> Result<(), S3Error> {
        self.allowed.check_bucket(&self.state.shared.identities, bucket, Needs::BucketOwner)
    }

    /// A bucket by name, that the request may use for what it needs.
    ///
    /// # Errors
    /// `NoSuchBucket`, `AccessDenied`.
    fn bucket_named(&self, name: &str, needs: Needs) -> Result<Arc<Bucket>, S3Error> {
        let missing = || S3Error::from(ErrorCode::NoSuchBucket).with("BucketName", name.as_bytes());
        let bucket = self.state.bucket(name).ok_or_else(missing)?;
        self.allowed.check_bucket(&self.state.shared.identities, &bucket, needs)?;
        Ok(bucket)
    }

    /// Where the key of the request lives.
    pub fn place(&self, bucket: &Bucket) -> Place {
        self.place_of(bucket, self.route.key())
    }

    /// Where a key lives.
    pub fn place_of(&self, bucket: &Bucket, key: &str) -> Place {
        let id = bucket.bucket_id();
        let pg = pg_of(id, key.as_bytes(), bucket.pgs, self.state.shared.pg_count);
        Place { pg, bucket: id, key: Bytes::copy_from_slice(key.as_bytes()) }
    }

    /// Where an upload of the request's key lives, that the request may use.
    ///
    /// # Errors
    /// `NoSuchUpload` when the id is none of ours, `AccessDenied` for another's.
    pub async fn upload(&self, bucket: &Bucket, id: &str) -> Result<UploadPlace, Failure> {
        let upload = UploadPlace { place: self.place(bucket), id: parse_upload_id(id)? };
        door::check_upload(self, bucket, &upload).await?;
        Ok(upload)
    }

    /// The version the request names.
    ///
    /// # Errors
    /// `InvalidArgument` when it is empty.
    pub fn version_id(&self) -> Result<Option<String>, S3Error> {
        stria_s3::request::version_id(self.route.query)
    }

    /// 128 random bits.
    pub fn random_u128(&self) -> u128 {
        u128::from(self.state.env.random()) << 64 | u128::from(self.state.env.random())
    }
}

/// An upload id as clients see it: 32 hex digits.
fn print_upload_id(id: UploadId) -> String {
    format!("{:032x}", id.0)
}

fn parse_upload_id(text: &str) -> Result<UploadId, S3Error> {
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| hex);
    id.map(UploadId).ok_or_else(|| S3Error::from(ErrorCode::NoSuchUpload).with("UploadId", text.as_bytes()))
}

/// Adds the key to errors that S3 gives it with.
fn name_key(error: Failure, key: &str) -> Failure {
    match error {
        Failure::Error(error) if error.code == ErrorCode::NoSuchKey => {
            Failure::Error(error.with("Key", key.as_bytes()))
        }
        other => other,
    }
}

pub use versions::print as print_version;

/// Serves one request up to its answer.
pub async fn handle(
    state: &Rc<CoreState>,
    input: &mut ConnectionInput,
    head: &Head,
    to: &ReplyTo<'_>,
    operation: &mut Option<Op>,
) -> Outcome {
    if let Some(bucket) = stria_s3::website_bucket(head, &state.shared.route) {
        // In a box: requests of the API do not carry the state of a visit.
        return Box::pin(website::handle(state, input, head, to, operation, bucket)).await;
    }
    let admitted = match stria_s3::route(head, &state.shared.route) {
        Ok(route) => {
            *operation = Some(route.op());
            to.set_cors(cors::of_request(state, head, &route));
            door::admit(state, head, &route).map(|allowed| (route, allowed))
        }
        Err(error) => Err(error),
    };
    let (route, (allowed, payload, aws)) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => {
            let mut body = body_of(state, input, head, None);
            return refused(&mut body, error.into()).await;
        }
    };
    let mut body = body_of(state, input, head, aws);
    let request = Request { state, head, route: &route, payload, to, allowed: &allowed };
    match dispatch(&request, &mut body).await {
        Ok(reply) => {
            let done = body.drain().await;
            Outcome::Reply(reply, done)
        }
        Err(failure) => refused(&mut body, failure).await,
    }
}

/// An error whose request body may be unread: read it when it is small, else close.
async fn refused(body: &mut Body<'_>, failure: Failure) -> Outcome {
    match failure {
        Failure::Gone => Outcome::Failed(Failure::Gone),
        Failure::Error(error) if body.drain().await => Outcome::FailedInOrder(error),
        failure => Outcome::Failed(failure),
    }
}

async fn dispatch(request: &Request<'_>, body: &mut Body<'_>) -> Result<Reply, Failure> {
    // Before anything of the request is judged: what is wrong with it is no business of who may not ask.
    door::authorise(request)?;
    if request.route.op() == Op::QueryApi {
        return query_api::query_api(request, body).await;
    }
    match request.route.operation.state {
        State::Implemented => {}
        State::UnsetError(_) | State::UnsetDocument(..) => {
            return match stria_s3::config::of_op(request.route.op()) {
                Some((kind, action)) => bucket_config::bucket_config(request, body, kind, action).await,
                None => unset::unset(request).await,
            };
        }
        State::NotYet => {
            let message = "This operation is not implemented by this server yet.";
            return Err(S3Error::new(ErrorCode::NotImplemented, message)
                .with("Operation", request.route.op().name().as_bytes())
                .into());
        }
    }
    match request.route.op() {
        Op::GetObject | Op::HeadObject => get_object::get_object(request).await,
        Op::PutObject => put_object::put_object(request, body).await,
        Op::DeleteObject => delete_object::delete_object(request).await,
        Op::ListObjectsV2 => list_objects::list_objects_v2(request).await,
        Op::ListObjects => list_objects::list_objects(request).await,
        Op::UploadPart => upload_part::upload_part(request, body).await,
        Op::CreateMultipartUpload => create_multipart_upload::create_multipart_upload(request).await,
        Op::CompleteMultipartUpload => {
            complete_multipart_upload::complete_multipart_upload(request, body).await
        }
        Op::AbortMultipartUpload => abort_multipart_upload::abort_multipart_upload(request).await,
        Op::CopyObject => copy_object::copy_object(request).await,
        Op::UploadPartCopy => upload_part_copy::upload_part_copy(request).await,
        Op::DeleteObjects => delete_objects::delete_objects(request, body).await,
        Op::ListParts => list_parts::list_parts(request).await,
        Op::ListMultipartUploads => list_multipart_uploads::list_multipart_uploads(request).await,
        Op::ListBuckets => list_buckets::list_buckets(request),
        Op::HeadBucket => head_bucket::head_bucket(request),
        Op::GetBucketLocation => get_bucket_location::get_bucket_location(request),
        Op::CreateBucket => create_bucket::create_bucket(request, body).await,
        Op::ListObjectVersions => versions::list_object_versions(request).await,
        Op::GetObjectAttributes => get_object_attributes::get_object_attributes(request).await,
        Op::GetBucketAcl | Op::GetObjectAcl => acl::get_acl(request).await,
        Op::PutBucketAcl | Op::PutObjectAcl => acl::put_acl(request, body).await,
        Op::PostObject => post_object::post_object(request, body).await,
        Op::GetObjectTagging => object_tagging::get_object_tagging(request).await,
        Op::PutObjectTagging => object_tagging::put_object_tagging(request, body).await,
        Op::DeleteObjectTagging => object_tagging::delete_object_tagging(request).await,
        Op::PreflightService | Op::PreflightBucket | Op::PreflightObject => cors::preflight(request),
        Op::DeleteBucket => delete_bucket::delete_bucket(request).await,
        other => match stria_s3::config::of_op(other) {
            Some((kind, action)) => bucket_config::bucket_config(request, body, kind, action).await,
            None => Err(S3Error::from(ErrorCode::NotImplemented)
                .with("Operation", other.name().as_bytes())
                .into()),
        },
    }
}
