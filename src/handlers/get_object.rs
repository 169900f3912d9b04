//! GetObject and HeadObject.

use std::rc::Rc;

use stria_engine::{
    calls::{Found, FoundBody},
    object::ObjectMeta,
};
use stria_meta::Bucket;
use stria_s3::{
    ErrorCode, S3Error,
    range::{Range, Resolved, unsatisfiable},
    request::GetObject,
};

use super::{
    Request,
    door::find,
    object_meta::{etag_text, object_state, write_object_headers},
    versions,
};
use crate::{
    conn::{
        failure::Failure,
        reply::{Reply, ReplyBody, field},
        stream::ObjectStream,
    },
    peers::PinGuard,
    state::CoreState,
};

/// Bytes of the object to send, `start..end`, and how the answer says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Selected {
    status: u16,
    start: u64,
    end: u64,
    /// Parts of the object, when one of them was asked for.
    parts_count: Option<u16>,
}

/// Looks the object up, judges the conditions, sends what was asked for.
pub async fn get_object(request: &Request<'_>) -> Result<Reply, Failure> {
    let wanted = GetObject::parse(request.route, request.head, request.allowed.is_anonymous())?;
    let bucket = request.bucket()?;
    let found = find(request, &bucket, !request.to.is_head).await?;
    send_object(request, &wanted, &bucket, found, 200).await
}

/// Judges the conditions and sends what is wanted of an object that was found; `status` is that of the whole object.
///
/// # Errors
/// `PreconditionFailed`, `InvalidRange`, `InvalidPartNumber`; of reading.
pub async fn send_object(
    request: &Request<'_>,
    wanted: &GetObject,
    bucket: &Bucket,
    (found, pin): (Found, Option<PinGuard>),
    status: u16,
) -> Result<Reply, Failure> {
    let Request { state, head, to, .. } = request;
    let etag = etag_text(&found.meta.etag);
    let decision = wanted.conditions.decide_read(object_state(&found.meta, etag.text()));
    if decision == stria_s3::conditions::Decision::NotModified {
        return Ok(to.empty(304, |out| {
            field(out, "ETag", etag.quoted());
            field(out, "Last-Modified", &stria_http::date::format_http(found.meta.modified_ms / 1000));
            versions::write_id(out, bucket, found.meta.version);
        }));
    }
    decision.into_result()?;
    let known = range_applies(head, etag.quoted(), found.meta.modified_ms / 1000);
    let range = wanted.range.filter(|_| known);
    let selected = select(wanted, range, head.get("range").unwrap_or_default(), &found.meta)?;
    let length = selected.end - selected.start;
    let body = match &found.body {
        _ if to.is_head || length == 0 => ReplyBody::None,
        FoundBody::Bytes(bytes) => {
            ReplyBody::Bytes(bytes.slice(selected.start as usize..selected.end as usize))
        }
        _ => first_piece(state, &request.place(bucket), &found, &selected, pin).await?,
    };
    let whole = length == found.meta.size;
    let status = if selected.status == 200 { status } else { selected.status };
    Ok(to.object(status, length, body, |out| {
        write_object_headers(out, &found.meta, &etag, &wanted.overrides, wanted.checksum_mode && whole);
        versions::write_id(out, bucket, found.meta.version);
        if selected.status == 206 && length > 0 {
            out.content_range(selected.start, selected.end - 1, found.meta.size);
        }
        if let Some(count) = selected.parts_count {
            out.number("x-amz-mp-parts-count", u64::from(count));
        }
    }))
}

async fn first_piece(
    state: &Rc<CoreState>,
    place: &stria_engine::calls::Place,
    found: &Found,
    selected: &Selected,
    pin: Option<PinGuard>,
) -> Result<ReplyBody, Failure> {
    let mut stream = ObjectStream::new(state, place, found, selected.start, selected.end, pin);
    // The first piece is verified before the head is sent: what fails here can still be said.
    match stream.next().await? {
        Some(first) if first.len() as u64 == selected.end - selected.start => Ok(ReplyBody::Bytes(first)),
        Some(first) => Ok(ReplyBody::Object(first, Box::new(stream))),
        None => Ok(ReplyBody::None),
    }
}

/// If-Range: a client that goes on with what it has gets the whole object when that is another now.
fn range_applies(head: &stria_http::Head, etag: &[u8], modified_unix_s: u64) -> bool {
    head.get("if-range")
        .is_none_or(|known| known == etag || stria_http::date::parse_http(known) == Some(modified_unix_s))
}

fn select(
    wanted: &GetObject,
    range: Option<Range>,
    range_header: &[u8],
    meta: &ObjectMeta,
) -> Result<Selected, S3Error> {
    if let Some(number) = wanted.part_number {
        return select_part(number, meta);
    }
    let resolved = range.map_or(Resolved::Whole, |range| range.resolve(meta.size));
    match resolved {
        Resolved::Whole => Ok(Selected { status: 200, start: 0, end: meta.size, parts_count: None }),
        Resolved::Part { first, last } => {
            Ok(Selected { status: 206, start: first, end: last + 1, parts_count: None })
        }
        Resolved::Unsatisfiable => Err(unsatisfiable(range_header, meta.size)),
    }
}

/// A part by its place among the object's parts; an object put in one piece is its own part 1.
fn select_part(number: u16, meta: &ObjectMeta) -> Result<Selected, S3Error> {
    let unknown = || {
        S3Error::from(ErrorCode::InvalidPartNumber)
            .with("PartNumberRequested", number.to_string().as_bytes())
            .with("ActualPartCount", meta.etag.part_count.max(1).to_string().as_bytes())
    };
    match &meta.parts {
        None if number == 1 => {
            let status = if meta.size == 0 { 200 } else { 206 };
            Ok(Selected { status, start: 0, end: meta.size, parts_count: None })
        }
        None => Err(unknown()),
        Some(parts) => {
            let part = parts.at_ordinal(number).ok_or_else(unknown)?;
            let (start, end) = (part.start, part.start + part.bytes);
            Ok(Selected { status: 206, start, end, parts_count: Some(parts.part_count()) })
        }
    }
}
