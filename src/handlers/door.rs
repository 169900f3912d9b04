//! The one door: authentication, then authorisation, for every operation alike.
//!
//! Invariant: nothing outside this file can make an [`Allowed`], no bucket is used but through
//! [`Allowed::check_bucket`], and no object is given to a handler but through [`look_up`]. An account may do
//! everything to what is its own, the operator to all, others what access control lists allow; policies will decide
//! here and nowhere else. Runs on the accepting core.

use std::rc::Rc;

use stria_engine::{
    EngineError,
    calls::{FindUpload, Found, Lookup, UploadPlace},
    object::{ObjectMeta, VersionSelector},
};
use stria_http::Head;
use stria_meta::Bucket;
use stria_s3::{
    ErrorCode, Op, Route, S3Error, State,
    checksum::base64_decode,
    config::acl::{ANONYMOUS_ID, Acl, Asking, Permission},
    post::Form,
    response::Owner,
};
use stria_sigv4::{
    AuthError, Authenticated, FormSignature, PayloadMode, RegionPolicy, VerifyOptions, aws_chunked, verify,
    verify_form, verify_query_api,
};

use super::{Request, name_key, versions};
use crate::{
    conn::failure::{Failure, named},
    identities::{Identities, Identity},
    peers::PinGuard,
    state::CoreState,
};

/// What an operation needs of a bucket or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// To be the bucket's owner.
    BucketOwner,
    /// A permission of the bucket's list.
    Bucket(Permission),
    /// Writing to the bucket, and to have started the upload.
    Upload,
    /// A permission of the object's list.
    Object(Permission),
    /// To be the object's owner.
    ObjectOwner,
}

impl Needs {
    /// Of an operation. What is not named here is the bucket's owner's alone.
    pub fn of(op: Op) -> Self {
        match op {
            Op::HeadBucket
            | Op::ListObjects
            | Op::ListObjectsV2
            | Op::ListObjectVersions
            | Op::ListMultipartUploads => Self::Bucket(Permission::Read),
            Op::GetBucketAcl => Self::Bucket(Permission::ReadAcp),
            Op::PutBucketAcl => Self::Bucket(Permission::WriteAcp),
            Op::PutObject
            | Op::CopyObject
            | Op::PostObject
            | Op::DeleteObject
            | Op::DeleteObjects
            | Op::CreateMultipartUpload => Self::Bucket(Permission::Write),
            Op::UploadPart
            | Op::UploadPartCopy
            | Op::CompleteMultipartUpload
            | Op::AbortMultipartUpload
            | Op::ListParts => Self::Upload,
            Op::GetObject | Op::HeadObject | Op::GetObjectAttributes => Self::Object(Permission::Read),
            Op::GetObjectAcl => Self::Object(Permission::ReadAcp),
            Op::PutObjectAcl => Self::Object(Permission::WriteAcp),
            Op::GetObjectTagging
            | Op::PutObjectTagging
            | Op::DeleteObjectTagging
            | Op::GetObjectLegalHold
            | Op::GetObjectRetention => Self::ObjectOwner,
            _ => Self::BucketOwner,
        }
    }
}

/// To whom objects of a bucket belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// To the bucket's owner; lists are off.
    Enforced,
    /// To the bucket's owner when the writer gives him full control.
    Preferred,
    /// To the writer.
    Writer,
}

impl Ownership {
    /// Of a bucket.
    pub fn of(bucket: &Bucket) -> Self {
        match bucket.configs.get("ownershipControls") {
            Some(stored) if stored.contains(">BucketOwnerEnforced<") => Self::Enforced,
            Some(stored) if stored.contains(">BucketOwnerPreferred<") => Self::Preferred,
            _ => Self::Writer,
        }
    }
}

/// Whether a switch of the bucket's public access block is on.
pub fn is_blocked(bucket: &Bucket, switch: &str) -> bool {
    let stored = bucket.configs.get("publicAccessBlock");
    let value = stored.and_then(|stored| stored.split_once(&format!("<{switch}>")));
    value.is_some_and(|(_, value)| value.starts_with("true"))
}

/// The list a bucket has beside its owner's full control.
pub fn bucket_acl(bucket: &Bucket) -> Option<Acl> {
    bucket.configs.get("acl").and_then(|stored| Acl::decode(stored.as_bytes()))
}

/// The list of an object, whatever its bucket says of lists. One that cannot be read is its bucket's owner's.
pub fn object_acl(identities: &Identities, bucket: &Bucket, meta: &ObjectMeta) -> Acl {
    let stored = (!meta.acl.is_empty()).then(|| Acl::decode(&meta.acl)).flatten();
    stored.unwrap_or_else(|| Acl::private(identities.shown_owner(bucket).id))
}

/// To whom listings say that objects of a bucket belong.
pub struct Owners<'a> {
    identities: &'a Identities,
    bucket: Owner<'a>,
    lists_count: bool,
}

impl<'a> Owners<'a> {
    /// Of a bucket.
    pub fn of(identities: &'a Identities, bucket: &'a Bucket) -> Self {
        let lists_count = Ownership::of(bucket) != Ownership::Enforced;
        Self { identities, bucket: identities.shown_owner(bucket), lists_count }
    }

    /// Of an object whose row names this owner; the bucket's where it names none, or where lists are off.
    pub fn shown(&self, stored: &'a [u8]) -> Owner<'a> {
        if self.lists_count { self.writer(stored) } else { self.bucket }
    }

    /// Who wrote it, whether or not it belongs to him.
    pub fn writer(&self, stored: &'a [u8]) -> Owner<'a> {
        match std::str::from_utf8(stored) {
            Ok(id) if !id.is_empty() => self.identities.shown(id),
            _ => self.bucket,
        }
    }
}

/// Proof that the request may do what it asks.
pub struct Allowed {
    /// Access key of who asks; empty for nobody in particular.
    principal: Box<str>,
}

impl Allowed {
    /// Who asks.
    ///
    /// # Errors
    /// `AccessDenied` when nobody signed.
    pub fn identity<'i>(&self, identities: &'i Identities) -> Result<&'i Identity, S3Error> {
        identities.by_access_key(&self.principal).ok_or_else(|| ErrorCode::AccessDenied.into())
    }

    /// Whether nobody signed.
    pub fn is_anonymous(&self) -> bool {
        self.principal.is_empty()
    }

    /// Whether who asks is the operator or of the bucket's account.
    pub fn owns(&self, identities: &Identities, bucket: &Bucket) -> bool {
        let Some(asking) = identities.by_access_key(&self.principal) else { return false };
        asking.is_operator || identities.owner_of(bucket).is_some_and(|owner| owner.shares_account(asking))
    }

    /// Canonical id of whom an object belongs to that this request writes.
    pub fn writer<'a>(&self, identities: &'a Identities, bucket: &'a Bucket) -> &'a str {
        let Some(asking) = identities.by_access_key(&self.principal) else { return ANONYMOUS_ID };
        match identities.owner_of(bucket) {
            Some(owner) if owner.shares_account(asking) => &owner.config.canonical_id,
            _ => &asking.config.canonical_id,
        }
    }

    /// Whether this request may use a bucket for what it needs. Every handler gets its buckets through this,
    /// sources of copies too; what it needs of an object is judged by [`look_up`].
    ///
    /// # Errors
    /// `AccessDenied`
    pub fn check_bucket(
        &self,
        identities: &Identities,
        bucket: &Bucket,
        needs: Needs,
    ) -> Result<(), S3Error> {
        if self.owns(identities, bucket) {
            return Ok(());
        }
        let lists_count = Ownership::of(bucket) != Ownership::Enforced;
        let may = lists_count
            && match needs {
                Needs::BucketOwner => false,
                Needs::Bucket(wanted) => self.bucket_allows(identities, bucket, wanted),
                Needs::Upload => self.bucket_allows(identities, bucket, Permission::Write),
                Needs::Object(_) | Needs::ObjectOwner => true,
            };
        if may { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
    }

    fn bucket_allows(&self, identities: &Identities, bucket: &Bucket, wanted: Permission) -> bool {
        self.owns(identities, bucket)
            || (Ownership::of(bucket) != Ownership::Enforced
                && bucket_acl(bucket).is_some_and(|acl| self.is_allowed(identities, bucket, &acl, wanted)))
    }

    fn is_allowed(&self, identities: &Identities, bucket: &Bucket, acl: &Acl, wanted: Permission) -> bool {
        let is = |id: &str| self.is(identities, id);
        let public_counts = !is_blocked(bucket, "IgnorePublicAcls");
        acl.allows(wanted, &Asking { is: &is, is_authenticated: !self.is_anonymous(), public_counts })
    }

    /// Whether who asks is known by a canonical id.
    fn is(&self, identities: &Identities, id: &str) -> bool {
        match identities.by_access_key(&self.principal) {
            Some(asking) => identities.has_canonical_id(asking, id),
            None => id == ANONYMOUS_ID,
        }
    }

    /// Whether this request may do with an object what it needs.
    fn may_use(&self, identities: &Identities, bucket: &Bucket, meta: &ObjectMeta, needs: Needs) -> bool {
        if identities.by_access_key(&self.principal).is_some_and(|asking| asking.is_operator) {
            return true;
        }
        if meta.acl.is_empty() || Ownership::of(bucket) == Ownership::Enforced {
            return self.owns(identities, bucket);
        }
        let acl = object_acl(identities, bucket, meta);
        match needs {
            Needs::Object(wanted) => self.is_allowed(identities, bucket, &acl, wanted),
            _ => self.is(identities, &acl.owner),
        }
    }
}

/// Judges whether the request may use its bucket. A bucket that is not there is for the handler to miss.
///
/// # Errors
/// `AccessDenied`
pub fn authorise(request: &Request<'_>) -> Result<(), S3Error> {
    match request.route.op() {
        // What makes a bucket needs none; a form says only later who sends it; a preflight question asks for
        // nothing.
        Op::CreateBucket | Op::PostObject | Op::PreflightBucket | Op::PreflightObject => Ok(()),
        op => {
            let bucket = request.route.bucket.as_deref().and_then(|name| request.state.bucket(name));
            let Some(bucket) = bucket else { return Ok(()) };
            request.allowed.check_bucket(&request.state.shared.identities, &bucket, Needs::of(op))
        }
    }
}

/// Looks an object up, and judges whether the request may do with it what it needs. Who may not list the bucket is
/// not told whether a key exists.
///
/// # Errors
/// Outer: `AccessDenied`. Inner: of the engine.
pub async fn look_up(
    request: &Request<'_>,
    bucket: &Bucket,
    lookup: Lookup,
    needs: Needs,
) -> Result<Result<(Found, Option<PinGuard>), EngineError>, Failure> {
    let (identities, peers) = (&request.state.shared.identities, &request.state.peers);
    let pg = lookup.place.pg;
    match peers.call(pg, lookup).await {
        Ok(found) => {
            let pin = found.pin.map(|pin| peers.guard(pg, pin));
            if !request.allowed.may_use(identities, bucket, &found.meta, needs) {
                return Err(ErrorCode::AccessDenied.into());
            }
            Ok(Ok((found, pin)))
        }
        Err(EngineError::NoSuchKey | EngineError::NoSuchVersion | EngineError::IsDeleteMarker { .. })
            if !request.allowed.bucket_allows(identities, bucket, Permission::Read) =>
        {
            Err(ErrorCode::AccessDenied.into())
        }
        Err(error) => Ok(Err(error)),
    }
}

/// The object of the request, that it may do with what its operation needs.
///
/// # Errors
/// `AccessDenied`, `NoSuchKey`, `NoSuchVersion`.
pub async fn find(
    request: &Request<'_>,
    bucket: &Bucket,
    body: bool,
) -> Result<(Found, Option<PinGuard>), Failure> {
    find_version(request, bucket, versions::wanted(request)?, body).await
}

/// As [`find`], of a version that was parsed.
///
/// # Errors
/// Of [`find`].
pub async fn find_version(
    request: &Request<'_>,
    bucket: &Bucket,
    version: VersionSelector,
    body: bool,
) -> Result<(Found, Option<PinGuard>), Failure> {
    let lookup = Lookup { place: request.place(bucket), version, body };
    let found = look_up(request, bucket, lookup, Needs::of(request.route.op())).await?;
    found.map_err(|error| name_key(error.into(), request.route.key()))
}

/// Judges whether the request may use an upload: the bucket's owner may, and who started it. One that is not there is
/// for the handler to miss.
///
/// # Errors
/// `AccessDenied`
pub async fn check_upload(
    request: &Request<'_>,
    bucket: &Bucket,
    upload: &UploadPlace,
) -> Result<(), Failure> {
    let identities = &request.state.shared.identities;
    if request.allowed.owns(identities, bucket) {
        return Ok(());
    }
    match request.state.peers.call(upload.place.pg, FindUpload { upload: upload.clone() }).await {
        Ok(meta) if owns_upload(request, bucket, &meta) => Ok(()),
        Ok(_) => Err(ErrorCode::AccessDenied.into()),
        Err(EngineError::NoSuchUpload) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether an upload, or the object it has become, is the request's to use.
pub fn owns_upload(request: &Request<'_>, bucket: &Bucket, meta: &ObjectMeta) -> bool {
    let identities = &request.state.shared.identities;
    request.allowed.owns(identities, bucket)
        || request.allowed.is(identities, &object_acl(identities, bucket, meta).owner)
}

/// A body's promise and decoder, beside the permission.
pub type Admitted = (Allowed, PayloadMode, Option<aws_chunked::Decoder>);

/// Verifies the signature and decides whether the operation is allowed.
///
/// # Errors
/// S3's authentication errors, or `AccessDenied`.
pub fn admit(state: &Rc<CoreState>, head: &Head, route: &Route<'_>) -> Result<Admitted, S3Error> {
    if route.op() == Op::QueryApi {
        // Its body is signed and seldom announced: who sends it is known when it was read.
        return Ok((Allowed { principal: Box::default() }, PayloadMode::Unsigned, None));
    }
    if matches!(route.op(), Op::PreflightService | Op::PreflightBucket | Op::PreflightObject) {
        // A browser cannot sign this question; the answer tells the bucket's CORS rules and nothing else.
        return Ok((Allowed { principal: Box::default() }, PayloadMode::Unsigned, None));
    }
    let identities = &state.shared.identities;
    if route.op() == Op::PostObject && !head.contains("authorization") {
        // Who sends a form is known when its fields are: until then it may use no bucket.
        return Ok((Allowed { principal: Box::default() }, PayloadMode::Unsigned, None));
    }
    let options =
        VerifyOptions { now_unix_s: state.now_ms() / 1000, region: RegionPolicy::Any, service: "s3" };
    let who = verify(&mut state.keys.borrow_mut(), identities, head, &options);
    match who.map_err(|error| auth_error(&error))? {
        // Lists say what nobody in particular may do; what this server cannot do yet, they do not ask for.
        Authenticated::Anonymous { payload } if !matches!(route.operation.state, State::NotYet) => {
            let aws = if payload.is_streaming() {
                let decoder = aws_chunked::Decoder::for_anonymous(head);
                Some(decoder.map_err(|error| named(error.code_name(), error.message()))?)
            } else {
                None
            };
            Ok((Allowed { principal: Box::default() }, payload, aws))
        }
        Authenticated::Anonymous { .. } => Err(ErrorCode::AccessDenied.into()),
        Authenticated::Signed(verified) => {
            let aws = if verified.payload.is_streaming() {
                let decoder = aws_chunked::Decoder::for_verified(head, &verified);
                Some(decoder.map_err(|error| named(error.code_name(), error.message()))?)
            } else {
                None
            };
            let payload = verified.payload;
            Ok((Allowed { principal: verified.access_key }, payload, aws))
        }
    }
}

/// Who visits a website: nobody in particular, whatever the request is signed with.
pub fn admit_visitor() -> Allowed {
    Allowed { principal: Box::default() }
}

/// Who signed a request of IAM, STS or SNS.
///
/// # Errors
/// `AccessDenied` when nobody did, else S3's authentication errors.
pub fn admit_query_api(state: &CoreState, head: &Head, body: &[u8]) -> Result<Allowed, S3Error> {
    let identities = &state.shared.identities;
    let now_unix_s = state.now_ms() / 1000;
    match verify_query_api(&mut state.keys.borrow_mut(), identities, head, body, now_unix_s) {
        Ok(Authenticated::Signed(verified)) => Ok(Allowed { principal: verified.access_key }),
        Ok(Authenticated::Anonymous { .. }) => Err(ErrorCode::AccessDenied.into()),
        Err(error) => Err(auth_error(&error)),
    }
}

/// Who signed the policy of a form; nobody, when it has none.
///
/// # Errors
/// `InvalidArgument` for one that is not signed as it should be, else
/// S3's authentication errors.
pub fn admit_form(state: &CoreState, form: &Form) -> Result<Allowed, S3Error> {
    let Some(policy) = form.get("policy") else {
        return Ok(Allowed { principal: Box::default() });
    };
    let signature = FormSignature {
        policy,
        algorithm: form.text("x-amz-algorithm"),
        credential: form.text("x-amz-credential"),
        date: form.text("x-amz-date"),
        signature: form.text("x-amz-signature"),
        token: form.text("x-amz-security-token"),
        access_key_v2: form.text("awsaccesskeyid"),
        signature_v2: form.text("signature"),
    };
    match verify_form(&state.shared.identities, &signature, base64_decode) {
        Ok(principal) => Ok(Allowed { principal }),
        Err(AuthError::Query(_)) => {
            let message = "Bucket POST must contain the fields that authenticate it: policy, x-amz-algorithm, x-amz-credential, x-amz-date and x-amz-signature.";
            Err(S3Error::new(ErrorCode::InvalidArgument, message))
        }
        Err(error) => Err(auth_error(&error)),
    }
}

fn auth_error(error: &AuthError) -> S3Error {
    let mut out = named(error.code_name(), error.message());
    error.details(&mut |name, value| {
        out = std::mem::replace(&mut out, ErrorCode::AccessDenied.into()).with(name, value);
    });
    out
}
