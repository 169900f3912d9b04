//! An answer: head bytes ready to send, and a body.
//!
//! Invariant: a reply's Content-Length is what its body will be, or the answer is to HEAD. Built by handlers on
//! the accepting core.

use std::cell::OnceCell;

use bytes::Bytes;
use stria_http::response::{self, FieldName, FieldValue};

use stria_s3::config::cors;

use super::stream::ObjectStream;
use crate::state::CoreState;

/// Bytes a head usually takes.
const HEAD_BYTES_TYPICAL: usize = 512;
/// A body up to this is copied behind its head: cheaper than a vector of two for the kernel to read.
const COPIED_BODY_BYTES_MAX: usize = 4096;

/// The body of a reply.
pub enum ReplyBody {
    /// None: the answer to HEAD, or a status without one.
    None,
    /// Here it is.
    Bytes(Bytes),
    /// The first piece, verified, and where the rest comes from.
    Object(Bytes, Box<ObjectStream>),
}

/// A whole answer.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// The head, complete.
    pub head: Vec<u8>,
    /// The body.
    pub body: ReplyBody,
}

impl Reply {
    /// Says that the connection closes after this answer, where the head does not say so yet.
    pub fn announce_close(&mut self) {
        let end = self.head.len() - b"\r\n".len();
        assert_eq!(&self.head[end..], b"\r\n", "a head ends in an empty line");
        self.head.truncate(end);
        self.head.extend_from_slice(b"Connection: close\r\n\r\n");
    }

    /// What leaves first, in one call: head and first piece of the body; and where the rest comes from.
    pub fn into_sends(self) -> (Bytes, Bytes, Option<Box<ObjectStream>>) {
        let mut head = self.head;
        let (first, rest) = match self.body {
            ReplyBody::None => (Bytes::new(), None),
            ReplyBody::Bytes(bytes) => (bytes, None),
            ReplyBody::Object(first, rest) => (first, Some(rest)),
        };
        if first.len() > COPIED_BODY_BYTES_MAX {
            return (head.into(), first, rest);
        }
        head.extend_from_slice(&first);
        (head.into(), Bytes::new(), rest)
    }
}

/// Builds the heads of one request's answer.
pub struct ReplyTo<'a> {
    /// The core.
    pub state: &'a CoreState,
    /// x-amz-request-id.
    pub request_id: &'a str,
    /// Whether the request is HEAD.
    pub is_head: bool,
    /// Whether the connection closes after this answer.
    pub close: bool,
    /// What the bucket's CORS rules say to this origin.
    pub cors: OnceCell<cors::Allowed>,
}

impl ReplyTo<'_> {
    /// Lets every answer, errors too, say what the bucket's CORS rules allow.
    pub fn set_cors(&self, allowed: Option<cors::Allowed>) {
        if let Some(allowed) = allowed {
            // Set once per request.
            let _ = self.cors.set(allowed);
        }
    }

    /// A reply whose body is `body`; `fields` adds its header lines.
    pub fn bytes(
        &self,
        status: u16,
        content_type: Option<&'static str>,
        body: Bytes,
        fields: impl FnOnce(&mut response::Head<'_>),
    ) -> Reply {
        let head = self.head(status, Some(body.len() as u64), |out| {
            if let Some(kind) = content_type {
                out.constant("Content-Type", kind);
            }
            fields(out);
        });
        let body = if self.is_head || body.is_empty() { ReplyBody::None } else { ReplyBody::Bytes(body) };
        Reply { status, head, body }
    }

    /// An XML document.
    pub fn xml(&self, status: u16, document: Vec<u8>) -> Reply {
        self.bytes(status, Some("application/xml"), Bytes::from(document), |_| {})
    }

    /// A reply without a body: 204, 304, or an empty 200.
    pub fn empty(&self, status: u16, fields: impl FnOnce(&mut response::Head<'_>)) -> Reply {
        let length = if matches!(status, 204 | 304) { None } else { Some(0) };
        Reply { status, head: self.head(status, length, fields), body: ReplyBody::None }
    }

    /// A reply of `length` bytes that come as `body`.
    pub fn object(
        &self,
        status: u16,
        length: u64,
        body: ReplyBody,
        fields: impl FnOnce(&mut response::Head<'_>),
    ) -> Reply {
        let head = self.head(status, Some(length), fields);
        let body = if self.is_head { ReplyBody::None } else { body };
        Reply { status, head, body }
    }

    fn head(
        &self,
        status: u16,
        length: Option<u64>,
        fields: impl FnOnce(&mut response::Head<'_>),
    ) -> Vec<u8> {
        let body_bytes = length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let copied_bytes = if body_bytes <= COPIED_BODY_BYTES_MAX { body_bytes } else { 0 };
        let mut bytes = Vec::with_capacity(HEAD_BYTES_TYPICAL + copied_bytes);
        let mut head = response::Head::new(&mut bytes, status);
        head.date(self.state.date.borrow_mut().at(self.state.now_ms() / 1000));
        head.constant("Server", "Stria");
        field(&mut head, "x-amz-request-id", self.request_id.as_bytes());
        field(&mut head, "x-amz-id-2", self.state.shared.host_id.as_bytes());
        if self.close {
            head.close();
        }
        if let Some(rule) = self.cors.get() {
            crate::handlers::cors::write(&mut head, rule);
        }
        fields(&mut head);
        match length {
            Some(length) => head.finish_length(length),
            None => head.finish_empty(),
        }
        bytes
    }
}

/// A header line whose value came from outside; one that cannot stand in a head is left out (the head parser let
/// none in, so this is a second lock, not a first).
pub fn field(head: &mut response::Head<'_>, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (FieldName::new(name), FieldValue::new(value)) {
        head.field(name, value);
    }
}
