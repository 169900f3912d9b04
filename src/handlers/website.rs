//! Visits to a bucket's website: objects for browsers, redirects, errors as HTML.
//!
//! Invariant: a visitor is nobody in particular, whatever the request is signed with, and sees only what the
//! door lets nobody in particular see; no text of a request reaches a page unescaped. Runs on the accepting core.

use std::{borrow::Cow, rc::Rc};

use stria_engine::object::ContentHeader;
use stria_http::{
    Head, Method, Query,
    percent::{Plus, decode},
};
use stria_s3::{
    ErrorCode, Op, Route, S3Error,
    config::website::{MOVED_STATUS, Redirect, Visit, Website},
    request::GetObject,
    response::{ErrorPage, error_page as error_page_html},
    route::check_key,
};
use stria_sigv4::PayloadMode;

use super::{Outcome, Request, cors, door, get_object::send_object, refused};
use crate::{
    conn::{
        ConnectionInput, body_of,
        failure::Failure,
        reply::{Reply, ReplyTo, field},
    },
    state::CoreState,
};

/// Serves one visit up to its answer.
pub async fn handle(
    state: &Rc<CoreState>,
    input: &mut ConnectionInput,
    head: &Head,
    to: &ReplyTo<'_>,
    operation: &mut Option<Op>,
    bucket: Cow<'_, str>,
) -> Outcome {
    let op = if head.method() == Method::Head { Op::HeadObject } else { Op::GetObject };
    *operation = Some(op);
    let route = route_of(op, &bucket, None);
    to.set_cors(cors::of_request(state, head, &route));
    let request = Request {
        state,
        head,
        route: &route,
        payload: PayloadMode::Unsigned,
        to,
        allowed: &door::admit_visitor(),
    };
    let answered = visit(&request).await;
    let mut body = body_of(state, input, head, None);
    match answered {
        Ok(reply) => {
            let done = body.drain().await;
            Outcome::Reply(reply, done)
        }
        Err(failure) => refused(&mut body, failure).await,
    }
}

fn route_of<'a>(op: Op, bucket: &'a str, key: Option<&'a str>) -> Route<'a> {
    let key = key.map(Cow::Borrowed);
    // Parameters mean nothing to a website: browsers and their trackers add some.
    let query = Query::new(b"");
    Route { operation: op.row(), bucket: Some(Cow::Borrowed(bucket)), key, query, virtual_host: true }
}

async fn visit(request: &Request<'_>) -> Result<Reply, Failure> {
    let (website, key) = match website_of(request) {
        Ok(found) => found,
        Err(error) => return Ok(error_page(request, &error, None)),
    };
    let visit = Visit { host: request.head.host(), key: &key };
    if let Some(redirect) = website.redirect_all(&visit).or_else(|| website.redirect(&visit, None)) {
        return Ok(moved(request, &redirect));
    }
    let error = match object(request, &website.key(&visit), None).await {
        Err(Failure::Error(error)) => error,
        settled => return settled,
    };
    let is_absent = matches!(error.status(), 403 | 404);
    if let Some(index) = website.index_below(&visit).filter(|_| is_absent)
        && is_readable(request, &index).await
    {
        return Ok(moved(request, &website.with_slash(&visit)));
    }
    if let Some(redirect) = website.redirect(&visit, Some(error.status())) {
        return Ok(moved(request, &redirect));
    }
    match website.error_document().filter(|_| (400..500).contains(&error.status())) {
        None => Ok(error_page(request, &error, None)),
        Some(document) => match object(request, document, Some(error.status())).await {
            Err(Failure::Error(second)) => Ok(error_page(request, &error, Some(&second))),
            settled => settled,
        },
    }
}

/// The website a visit is to, and the key of its path.
fn website_of(request: &Request<'_>) -> Result<(Website, String), S3Error> {
    let head = request.head;
    if !matches!(head.method(), Method::Get | Method::Head) {
        return Err(S3Error::from(ErrorCode::MethodNotAllowed)
            .with("Method", head.method_bytes())
            .with("ResourceType", b"OBJECT")
            .with_header("Allow", b"GET, HEAD"));
    }
    let name = request.route.bucket();
    let missing = |code| S3Error::from(code).with("BucketName", name.as_bytes());
    let bucket = request.state.bucket(name).ok_or_else(|| missing(ErrorCode::NoSuchBucket))?;
    let stored = bucket.configs.get("website").and_then(|stored| Website::load(stored));
    let website = stored.ok_or_else(|| missing(ErrorCode::NoSuchWebsiteConfiguration))?;
    let path = head.path().strip_prefix(b"/").ok_or(ErrorCode::InvalidURI)?;
    let key = decode(path, Plus::Literal).map_err(|_| ErrorCode::InvalidURI)?.into_owned();
    let key = String::from_utf8(key).map_err(|_| ErrorCode::InvalidURI)?;
    check_key(Some(&key))?;
    Ok((website, key))
}

/// The object of a key as the visit asks for it, or where it says it went; with an error's status, whole.
async fn object(request: &Request<'_>, key: &str, error_status: Option<u16>) -> Result<Reply, Failure> {
    check_key(Some(key))?;
    let route = route_of(request.route.op(), request.route.bucket(), Some(key));
    let request = &Request { route: &route, ..*request };
    let wanted = match error_status {
        None => GetObject::parse(&route, request.head, true)?,
        Some(_) => GetObject::default(),
    };
    let bucket = request.bucket()?;
    let (found, pin) = door::find(request, &bucket, !request.to.is_head).await?;
    if let Some(location) = found.meta.header(ContentHeader::WebsiteRedirect)
        && error_status.is_none()
    {
        return Ok(moved(request, &Redirect { status: MOVED_STATUS, location: location.to_vec() }));
    }
    send_object(request, &wanted, &bucket, (found, pin), error_status.unwrap_or(200)).await
}

/// Whether a visitor may read an object.
async fn is_readable(request: &Request<'_>, key: &str) -> bool {
    let route = route_of(Op::HeadObject, request.route.bucket(), Some(key));
    let request = &Request { route: &route, ..*request };
    let Ok(bucket) = request.bucket() else { return false };
    check_key(Some(key)).is_ok() && door::find(request, &bucket, false).await.is_ok()
}

fn moved(request: &Request<'_>, redirect: &Redirect) -> Reply {
    request.to.empty(redirect.status, |out| field(out, "Location", &redirect.location))
}

/// An error for people to read; `second` is what kept its own document from being shown.
fn error_page(request: &Request<'_>, error: &S3Error, second: Option<&S3Error>) -> Reply {
    let to = request.to;
    let mut html = Vec::with_capacity(512);
    let page = ErrorPage { error, second, request_id: to.request_id, host_id: &to.state.shared.host_id };
    error_page_html(&mut html, &page);
    to.bytes(error.status(), Some("text/html; charset=utf-8"), html.into(), |out| {
        field(out, "x-amz-error-code", error.code.name().as_bytes());
        field(out, "x-amz-error-message", error.message().as_bytes());
        for line in &error.headers {
            field(out, line.name, &line.value);
        }
    })
}
