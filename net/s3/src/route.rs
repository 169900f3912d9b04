//! From a request head to the one operation it means.
//!
//! Invariant: a parameter that selects an operation is never ignored. Either the chosen row of the table
//! names it, or the request is refused, so `?acl` cannot become GetObject nor `?partNumber` a whole PUT.
//! Runs on the accepting core, borrows from the head. Owner: `net/s3`.

use std::borrow::Cow;

use stria_base::limits::KEY_BYTES_MAX;
use stria_http::percent::{Plus, decode};
use stria_http::{Head, Method, Query};

use crate::bucket_name;
use crate::code::ErrorCode;
use crate::error::S3Error;
use crate::ops::{HeaderMark, OPERATIONS, Op, Operation, Scope, SubResource, SubResourceSet};

/// What the router must know of the deployment.
#[derive(Clone, Debug, Default)]
pub struct RouteConfig {
    /// Domains below which a label is a bucket (`bucket.domain`), without port, in lower case.
    pub base_domains: Vec<String>,
    /// Domains below which a label is a bucket whose website is visited, likewise; none is a base domain.
    pub website_domains: Vec<String>,
}

/// A recognised request.
#[derive(Clone, Debug)]
pub struct Route<'h> {
    /// The row of the operation; its `state` says whether there is a handler.
    pub operation: &'static Operation,
    /// The bucket, a valid name; `None` in service scope.
    pub bucket: Option<Cow<'h, str>>,
    /// The key, decoded, 1 to 1,024 bytes; `None` unless in object scope.
    pub key: Option<Cow<'h, str>>,
    /// The query string.
    pub query: Query<'h>,
    /// Whether the bucket came from the host name.
    pub virtual_host: bool,
}

impl Route<'_> {
    /// The operation.
    #[must_use]
    pub fn op(&self) -> Op {
        self.operation.op
    }

    /// The bucket of an operation in bucket or object scope.
    ///
    /// # Panics
    /// In service scope: a handler asked for what its operation does not have.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.bucket.as_deref().expect("bucket and object scope have a bucket")
    }

    /// The key of an operation in object scope.
    ///
    /// # Panics
    /// In service or bucket scope.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().expect("object scope has a key")
    }
}

/// Recognises a request.
///
/// # Errors
/// `InvalidURI`, `InvalidBucketName`, `KeyTooLongError`, `MethodNotAllowed`, or `InvalidArgument` for a
/// combination of parameters that is no operation. Operations without a handler are no error here.
pub fn route<'h>(head: &'h Head, config: &RouteConfig) -> Result<Route<'h>, S3Error> {
    let query = Query::new(head.query());
    let target = target(head, config)?;
    let present = sub_resources(query)?;
    let operation = select(head, target.scope(), present)?;
    if operation.op == Op::ListObjectsV2 {
        let list_type = query.get("list-type").map_err(|_| ErrorCode::InvalidURI)?.unwrap_or_default();
        if &*list_type != b"2" {
            return Err(S3Error::argument("Invalid List Type specified in Request", "list-type", &list_type));
        }
    }
    let Target { bucket, key, virtual_host } = target;
    Ok(Route { operation, bucket, key, query, virtual_host })
}

struct Target<'h> {
    bucket: Option<Cow<'h, str>>,
    key: Option<Cow<'h, str>>,
    virtual_host: bool,
}

impl Target<'_> {
    fn scope(&self) -> Scope {
        match (&self.bucket, &self.key) {
            (None, _) => Scope::Service,
            (Some(_), None) => Scope::Bucket,
            (Some(_), Some(_)) => Scope::Object,
        }
    }
}

fn target<'h>(head: &'h Head, config: &RouteConfig) -> Result<Target<'h>, S3Error> {
    let path = head.path();
    if path == b"*" || (head.method() == Method::Post && path == b"/WriteGetObjectResponse") {
        return Ok(Target { bucket: None, key: None, virtual_host: false });
    }
    assert!(path.first() == Some(&b'/'), "the head's parser takes no other target");
    let from_host = bucket_of_host(head.host(), &config.base_domains).map(|(bucket, _)| bucket);
    let virtual_host = from_host.is_some();
    let (bucket, raw_key) = match from_host {
        Some(bucket) => (Some(bucket), &path[1..]),
        None if path == b"/" => (None, &path[..0]),
        None => {
            let rest = &path[1..];
            let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let bucket = text(&rest[..end])?;
            (Some(bucket), rest.get(end + 1..).unwrap_or_default())
        }
    };
    if let Some(bucket) = &bucket
        && !bucket_name::is_valid(bucket)
    {
        return Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", bucket.as_bytes()));
    }
    let key = if raw_key.is_empty() { None } else { Some(text(raw_key)?) };
    check_key(key.as_deref())?;
    Ok(Target { bucket, key, virtual_host })
}

/// A path segment as text: escapes decoded once, `+` left alone.
fn text(raw: &[u8]) -> Result<Cow<'_, str>, S3Error> {
    match decode(raw, Plus::Literal).map_err(|_| ErrorCode::InvalidURI)? {
        Cow::Borrowed(bytes) => {
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| ErrorCode::InvalidURI.into())
        }
        Cow::Owned(bytes) => {
            String::from_utf8(bytes).map(Cow::Owned).map_err(|_| ErrorCode::InvalidURI.into())
        }
    }
}

/// The limit of keys, wherever one comes from.
pub fn check_key(key: Option<&str>) -> Result<(), S3Error> {
    match key {
        Some(key) if key.len() > KEY_BYTES_MAX => Err(S3Error::from(ErrorCode::KeyTooLongError)
            .with("Size", key.len().to_string().as_bytes())
            .with("MaxSizeAllowed", KEY_BYTES_MAX.to_string().as_bytes())),
        _ => Ok(()),
    }
}

/// The bucket whose website a request visits. Where base domains and website domains lie below each other, the longer
/// one says what its hosts are.
#[must_use]
pub fn website_bucket<'h>(head: &'h Head, config: &RouteConfig) -> Option<Cow<'h, str>> {
    let (bucket, domain_bytes) = bucket_of_host(head.host(), &config.website_domains)?;
    let base = bucket_of_host(head.host(), &config.base_domains);
    base.is_none_or(|(_, base_bytes)| base_bytes < domain_bytes).then_some(bucket)
}

/// `bucket` of a Host `bucket.domain[:port]`, and the domain's length.
fn bucket_of_host<'h>(host: &'h [u8], domains: &[String]) -> Option<(Cow<'h, str>, usize)> {
    if domains.is_empty() || host.starts_with(b"[") {
        return None;
    }
    let host = std::str::from_utf8(host).ok()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    for base in domains {
        let Some(cut) = name.len().checked_sub(base.len()).filter(|&cut| cut >= 2) else {
            continue;
        };
        if name.is_char_boundary(cut)
            && name[cut..].eq_ignore_ascii_case(base)
            && name.as_bytes()[cut - 1] == b'.'
        {
            let bucket = &name[..cut - 1];
            let upper = bucket.bytes().any(|b| b.is_ascii_uppercase());
            let bucket = if upper { bucket.to_ascii_lowercase().into() } else { bucket.into() };
            return Some((bucket, base.len()));
        }
    }
    None
}

fn sub_resources(query: Query<'_>) -> Result<SubResourceSet, S3Error> {
    let mut present = SubResourceSet::default();
    for (name, _) in query.pairs() {
        let name = decode(name, Plus::Space).map_err(|_| ErrorCode::InvalidURI)?;
        let Some(one) = SubResource::from_name(&name) else {
            continue;
        };
        if SubResourceSet::of(&[one]).is_subset(present) {
            return Err(S3Error::argument("A query parameter is repeated", one.name(), b""));
        }
        present.insert(one);
    }
    Ok(present)
}

fn header_marks(head: &Head) -> u8 {
    if !matches!(head.method(), Method::Put | Method::Post) {
        return 0;
    }
    let marked = |present: bool, mark: HeaderMark| if present { mark.bit() } else { 0 };
    let content_type = head.get("content-type").unwrap_or_default();
    let is_type = |want: &str| {
        content_type.get(..want.len()).is_some_and(|start| start.eq_ignore_ascii_case(want.as_bytes()))
    };
    marked(head.contains("x-amz-copy-source"), HeaderMark::CopySource)
        | marked(head.contains("x-amz-write-offset-bytes"), HeaderMark::WriteOffset)
        | marked(is_type("multipart/form-data"), HeaderMark::FormData)
        | marked(is_type("application/x-www-form-urlencoded"), HeaderMark::FormUrlEncoded)
        | marked(head.contains("x-amz-request-route"), HeaderMark::RequestRoute)
}

/// `?id=` belongs to a configuration; alone it selects nothing and is ignored like any unknown name.
const IGNORED_ALONE: SubResourceSet = SubResourceSet::of(&[SubResource::Id]);

/// Where the row of a method and scope without any discriminator stands: nearly every request's.
static PLAIN: [[Option<usize>; 3]; 7] = {
    let mut table = [[None; 3]; 7];
    let mut at = 0;
    while at < OPERATIONS.len() {
        let row = &OPERATIONS[at];
        if row.query.is_empty() && row.header.bit() == 0 {
            table[row.method as usize][row.scope as usize] = Some(at);
        }
        at += 1;
    }
    table
};

fn select(head: &Head, scope: Scope, present: SubResourceSet) -> Result<&'static Operation, S3Error> {
    let marks = header_marks(head);
    if present.is_empty()
        && marks == 0
        && let Some(at) = PLAIN[head.method() as usize][scope as usize]
    {
        return Ok(&OPERATIONS[at]);
    }
    let same = |row: &&Operation| row.method == head.method() && row.scope == scope;
    let matches =
        |row: &&Operation| row.query.is_subset(present) && row.header.bit() & marks == row.header.bit();
    let weight = |row: &&Operation| row.query.len() * 2 + u32::from(row.header != HeaderMark::None);
    let best = OPERATIONS.iter().filter(same).filter(matches).max_by_key(weight);
    let not_allowed = || {
        let scope_name = match scope {
            Scope::Service => "SERVICE",
            Scope::Bucket => "BUCKET",
            Scope::Object => "OBJECT",
        };
        S3Error::from(ErrorCode::MethodNotAllowed)
            .with("Method", head.method_bytes())
            .with("ResourceType", scope_name.as_bytes())
    };
    let Some(best) = best else {
        return Err(match present.first() {
            Some(one) if OPERATIONS.iter().filter(same).any(|row| uses(row, one)) => conflict(one),
            _ => not_allowed(),
        });
    };
    match present.without(best.query).without(best.allowed).without(IGNORED_ALONE).first() {
        None => Ok(best),
        // The method knows the parameter, only not in this company.
        Some(one) if OPERATIONS.iter().filter(same).any(|row| uses(row, one)) => Err(conflict(one)),
        Some(_) => Err(not_allowed()),
    }
}

fn uses(row: &Operation, one: SubResource) -> bool {
    SubResourceSet::of(&[one]).is_subset(row.query)
}

fn conflict(one: SubResource) -> S3Error {
    S3Error::argument(
        "Conflicting or incomplete query string parameters",
        "ResourceType",
        one.name().as_bytes(),
    )
}

#[cfg(test)]
mod tests;
