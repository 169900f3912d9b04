//! Cross-origin requests: what a bucket's rules say of a request, and the preflight questions of browsers.
//!
//! Invariant: an answer names an origin only when a rule of the bucket allows it; CORS grants nothing, it
//! only lets a browser read what the request was allowed to have. Runs on the accepting core.

use stria_http::{Head, response};
use stria_s3::{
    ErrorCode, Route, S3Error,
    config::{
        cors::{Allowed, Asked, allowed},
        named,
    },
};

use super::Request;
use crate::{
    conn::{
        failure::Failure,
        reply::{Reply, field},
    },
    state::CoreState,
};

/// What the answer to a request of a browser says beside its own headers; `None` without `Origin` or a rule.
pub fn of_request(state: &CoreState, head: &Head, route: &Route<'_>) -> Option<Allowed> {
    let origin = text(head, "origin")?;
    let method = std::str::from_utf8(head.method_bytes()).ok()?;
    rule_of(state, route.bucket.as_deref()?, &Asked { origin, method, headers: "" }).ok()?
}

/// The rule of a bucket for what is asked.
fn rule_of(state: &CoreState, bucket: &str, asked: &Asked<'_>) -> Result<Option<Allowed>, S3Error> {
    let missing = || S3Error::from(ErrorCode::NoSuchBucket).with("BucketName", bucket.as_bytes());
    let bucket = state.bucket(bucket).ok_or_else(missing)?;
    let Some(stored) = bucket.configs.get("cors") else {
        let message = "CORSResponse: CORS is not enabled for this bucket.";
        return Err(S3Error::new(ErrorCode::AccessForbidden, message));
    };
    let configuration = named("cors").and_then(|kind| kind.load(stored));
    Ok(configuration.and_then(|configuration| allowed(&configuration, asked)))
}

fn text<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
    head.get(name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Answers a preflight question. It is asked without a signature and answered from the rules alone.
pub fn preflight(request: &Request<'_>) -> Result<Reply, Failure> {
    let Request { state, head, route, to, .. } = request;
    let bad = |message| S3Error::new(ErrorCode::BadRequest, message);
    let origin =
        text(head, "origin").ok_or_else(|| bad("Insufficient information. Origin request header needed."))?;
    let method = text(head, "access-control-request-method")
        .ok_or_else(|| bad("Invalid Access-Control-Request-Method: null"))?;
    let headers = text(head, "access-control-request-headers").unwrap_or_default();
    let Some(bucket) = route.bucket.as_deref() else {
        return Err(ErrorCode::AccessForbidden.into());
    };
    let found = rule_of(state, bucket, &Asked { origin, method, headers })?;
    let rule = found.ok_or(ErrorCode::AccessForbidden)?;
    Ok(to.empty(200, |out| {
        write(out, &rule);
        if !rule.headers.is_empty() {
            field(out, "Access-Control-Allow-Headers", rule.headers.as_bytes());
        }
    }))
}

/// The header lines a rule adds to an answer.
pub fn write(out: &mut response::Head<'_>, rule: &Allowed) {
    field(out, "Access-Control-Allow-Origin", rule.origin.as_bytes());
    field(out, "Access-Control-Allow-Methods", rule.methods.as_bytes());
    if !rule.expose.is_empty() {
        field(out, "Access-Control-Expose-Headers", rule.expose.as_bytes());
    }
    if let Some(seconds) = &rule.max_age {
        field(out, "Access-Control-Max-Age", seconds.as_bytes());
    }
    if rule.origin != "*" {
        out.constant("Access-Control-Allow-Credentials", "true");
    }
    out.constant("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
}
