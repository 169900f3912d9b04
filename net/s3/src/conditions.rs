//! Preconditions, decided without I/O in S3's order.
//!
//! Invariant: a precondition that is there is evaluated or the request refused; a write never proceeds
//! past a condition it did not understand. Any core; for writes the owner core decides, under the row it
//! is about to change. Owner: `net/s3`.

use stria_http::Head;
use stria_http::date::parse_http;

use crate::code::ErrorCode;
use crate::error::S3Error;

/// Entity tags of If-Match or If-None-Match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`
    Any,
    /// One of these, without quotes.
    List(Vec<Box<str>>),
}

impl Tags {
    /// Of a header's value. `W/` is dropped: S3 has only strong tags.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        if text.trim() == "*" {
            return Self::Any;
        }
        let tags = text.split(',').map(|tag| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag).into()
        });
        Self::List(tags.collect())
    }

    fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| **tag == *etag),
        }
    }
}

/// The conditions of a request, on the object or on the source of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// If-Match
    pub if_match: Option<Tags>,
    /// If-None-Match
    pub if_none_match: Option<Tags>,
    /// If-Modified-Since, seconds since 1970.
    pub if_modified_since: Option<u64>,
    /// If-Unmodified-Since, seconds since 1970.
    pub if_unmodified_since: Option<u64>,
}

/// What the conditions are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectState<'a> {
    /// Without quotes.
    pub etag: &'a str,
    /// Seconds since 1970, as Last-Modified shows it.
    pub last_modified_unix_s: u64,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Proceed,
    /// 304, reads only.
    NotModified,
    /// 412
    PreconditionFailed,
    /// 404: If-Match on a key that does not exist.
    NoSuchKey,
}

impl Conditions {
    fn named(head: &Head, names: [&str; 4]) -> Self {
        let [if_match, if_none_match, if_modified_since, if_unmodified_since] = names;
        // A malformed date is ignored, as RFC 9110 demands.
        let date = |name| head.get(name).and_then(parse_http);
        Self {
            if_match: head.get(if_match).map(Tags::parse),
            if_none_match: head.get(if_none_match).map(Tags::parse),
            if_modified_since: date(if_modified_since),
            if_unmodified_since: date(if_unmodified_since),
        }
    }

    /// Of a read.
    #[must_use]
    pub fn of_read(head: &Head) -> Self {
        Self::named(head, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
    }

    /// Of the source of a copy.
    #[must_use]
    pub fn of_copy_source(head: &Head) -> Self {
        Self::named(
            head,
            [
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-unmodified-since",
            ],
        )
    }

    /// Of a write: `If-None-Match: *` or `If-Match` with one entity tag.
    ///
    /// # Errors
    /// `NotImplemented` for the forms S3 does not take on writes.
    pub fn of_write(head: &Head) -> Result<Self, S3Error> {
        let if_none_match = head.get("if-none-match").map(Tags::parse);
        if if_none_match.as_ref().is_some_and(|tags| *tags != Tags::Any) {
            return Err(S3Error::header_not_implemented("If-None-Match"));
        }
        let if_match = head.get("if-match").map(Tags::parse);
        let many = matches!(&if_match, Some(Tags::List(tags)) if tags.len() != 1);
        if many || (if_match.is_some() && if_none_match.is_some()) {
            return Err(S3Error::header_not_implemented("If-Match"));
        }
        for name in ["If-Modified-Since", "If-Unmodified-Since"] {
            if head.contains(name) {
                return Err(S3Error::header_not_implemented(name));
            }
        }
        Ok(Self { if_match, if_none_match, ..Self::default() })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Of GET and HEAD on an object that exists.
    #[must_use]
    pub fn decide_read(&self, object: ObjectState<'_>) -> Decision {
        // If-Match wins over If-Unmodified-Since, If-None-Match over If-Modified-Since.
        let changed = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => !tags.matches(object.etag),
            (None, Some(date)) => object.last_modified_unix_s > date,
            (None, None) => false,
        };
        if changed {
            return Decision::PreconditionFailed;
        }
        let same = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags.matches(object.etag),
            (None, Some(date)) => object.last_modified_unix_s <= date,
            (None, None) => false,
        };
        if same { Decision::NotModified } else { Decision::Proceed }
    }

    /// Of the source of a copy: what would be 304 for a read is 412.
    #[must_use]
    pub fn decide_copy_source(&self, object: ObjectState<'_>) -> Decision {
        match self.decide_read(object) {
            Decision::NotModified => Decision::PreconditionFailed,
            decision => decision,
        }
    }

    /// Of PutObject, CopyObject's target and CompleteMultipartUpload. `object` is what the key holds now.
    #[must_use]
    pub fn decide_write(&self, object: Option<ObjectState<'_>>) -> Decision {
        if self.if_none_match.is_some() && object.is_some() {
            return Decision::PreconditionFailed;
        }
        match (&self.if_match, object) {
            (None, _) => Decision::Proceed,
            (Some(_), None) => Decision::NoSuchKey,
            (Some(tags), Some(object)) if tags.matches(object.etag) => Decision::Proceed,
            (Some(_), Some(_)) => Decision::PreconditionFailed,
        }
    }
}

/// The conditions of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteConditions {
    /// If-Match or `<ETag>`.
    pub if_match: Option<Tags>,
    /// Last-Modified must be this, seconds since 1970.
    pub last_modified_unix_s: Option<u64>,
    /// The size must be this.
    pub size_bytes: Option<u64>,
}

impl DeleteConditions {
    /// Of DeleteObject.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed date or size.
    pub fn parse(head: &Head) -> Result<Self, S3Error> {
        let date = match head.get("x-amz-if-match-last-modified-time") {
            None => None,
            Some(text) => Some(parse_http(text).ok_or_else(|| {
                S3Error::argument("Invalid date", "x-amz-if-match-last-modified-time", text)
            })?),
        };
        let size = match head.get("x-amz-if-match-size") {
            None => None,
            Some(text) => Some(
                std::str::from_utf8(text)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| S3Error::argument("Invalid size", "x-amz-if-match-size", text))?,
            ),
        };
        let if_match = head.get("if-match").map(Tags::parse);
        Ok(Self { if_match, last_modified_unix_s: date, size_bytes: size })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Against what the key holds now, and its size in bytes. Without conditions a delete of a missing
    /// key succeeds; with one it fails.
    #[must_use]
    pub fn decide(&self, object: Option<(ObjectState<'_>, u64)>) -> Decision {
        if self.is_empty() {
            return Decision::Proceed;
        }
        let Some((object, size_bytes)) = object else {
            return Decision::PreconditionFailed;
        };
        let holds = self.if_match.as_ref().is_none_or(|tags| tags.matches(object.etag))
            && self.last_modified_unix_s.is_none_or(|date| date == object.last_modified_unix_s)
            && self.size_bytes.is_none_or(|size| size == size_bytes);
        if holds { Decision::Proceed } else { Decision::PreconditionFailed }
    }
}

impl Decision {
    /// The error to answer with, unless it is to proceed. `NotModified` is an error here because it ends
    /// the request; its answer has no body.
    ///
    /// # Errors
    /// The code of the decision.
    pub fn into_result(self) -> Result<(), S3Error> {
        match self {
            Self::Proceed => Ok(()),
            Self::NotModified => Err(ErrorCode::NotModified.into()),
            Self::PreconditionFailed => Err(ErrorCode::PreconditionFailed.into()),
            Self::NoSuchKey => Err(ErrorCode::NoSuchKey.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: ObjectState<'_> = ObjectState { etag: "abc", last_modified_unix_s: 784_111_777 };
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn head(lines: &str) -> Head {
        let text = format!("GET /b/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0
    }

    #[test]
    fn reads() {
        use Decision::{NotModified, PreconditionFailed, Proceed};
        for (lines, want) in [
            (String::new(), Proceed),
            ("If-Match: \"abc\"\r\n".into(), Proceed),
            ("If-Match: abc\r\n".into(), Proceed),
            ("If-Match: \"x\", \"abc\"\r\n".into(), Proceed),
            ("If-Match: *\r\n".into(), Proceed),
            ("If-Match: \"x\"\r\n".into(), PreconditionFailed),
            ("If-None-Match: \"abc\"\r\n".into(), NotModified),
            ("If-None-Match: W/\"abc\"\r\n".into(), NotModified),
            ("If-None-Match: *\r\n".into(), NotModified),
            ("If-None-Match: \"x\"\r\n".into(), Proceed),
            (format!("If-Modified-Since: {SAME}\r\n"), NotModified),
            (format!("If-Modified-Since: {BEFORE}\r\n"), Proceed),
            ("If-Modified-Since: never\r\n".into(), Proceed),
            (format!("If-Unmodified-Since: {SAME}\r\n"), Proceed),
            (format!("If-Unmodified-Since: {BEFORE}\r\n"), PreconditionFailed),
            // The tag decides, the date is not asked.
            (format!("If-Match: abc\r\nIf-Unmodified-Since: {BEFORE}\r\n"), Proceed),
            (format!("If-None-Match: x\r\nIf-Modified-Since: {SAME}\r\n"), Proceed),
            (format!("If-None-Match: abc\r\nIf-Modified-Since: {BEFORE}\r\n"), NotModified),
            ("If-Match: x\r\nIf-None-Match: abc\r\n".into(), PreconditionFailed),
        ] {
            assert_eq!(Conditions::of_read(&head(&lines)).decide_read(OBJECT), want, "{lines}");
        }
        let source = head("x-amz-copy-source-if-none-match: abc\r\n");
        assert_eq!(Conditions::of_copy_source(&source).decide_copy_source(OBJECT), PreconditionFailed);
    }

    #[test]
    fn writes() {
        let decide = |lines: &str, object| {
            Conditions::of_write(&head(lines)).map(|c| c.decide_write(object)).map_err(|error| error.code)
        };
        use Decision::{NoSuchKey, PreconditionFailed, Proceed};
        assert_eq!(decide("", Some(OBJECT)), Ok(Proceed));
        assert_eq!(decide("If-None-Match: *\r\n", None), Ok(Proceed));
        assert_eq!(decide("If-None-Match: *\r\n", Some(OBJECT)), Ok(PreconditionFailed));
        assert_eq!(decide("If-Match: \"abc\"\r\n", Some(OBJECT)), Ok(Proceed));
        assert_eq!(decide("If-Match: \"x\"\r\n", Some(OBJECT)), Ok(PreconditionFailed));
        assert_eq!(decide("If-Match: \"abc\"\r\n", None), Ok(NoSuchKey));
        for lines in [
            "If-None-Match: \"abc\"\r\n",
            "If-Match: a, b\r\n",
            "If-Match: a\r\nIf-None-Match: *\r\n",
            "If-Unmodified-Since: x\r\n",
        ] {
            assert_eq!(decide(lines, None), Err(ErrorCode::NotImplemented), "{lines}");
        }
    }

    #[test]
    fn deletes() {
        let decide = |lines: &str, object: Option<_>| {
            DeleteConditions::parse(&head(lines)).map(|c| c.decide(object)).map_err(|error| error.code)
        };
        use Decision::{PreconditionFailed, Proceed};
        let object = Some((OBJECT, 5));
        assert_eq!(decide("", None), Ok(Proceed));
        assert_eq!(decide("If-Match: *\r\n", object), Ok(Proceed));
        assert_eq!(decide("If-Match: *\r\n", None), Ok(PreconditionFailed));
        assert_eq!(decide("If-Match: x\r\n", object), Ok(PreconditionFailed));
        assert_eq!(decide("x-amz-if-match-size: 5\r\n", object), Ok(Proceed));
        assert_eq!(decide("x-amz-if-match-size: 6\r\n", object), Ok(PreconditionFailed));
        let date = format!("x-amz-if-match-last-modified-time: {BEFORE}\r\n");
        assert_eq!(decide(&date, object), Ok(PreconditionFailed));
        assert_eq!(decide("x-amz-if-match-size: many\r\n", object), Err(ErrorCode::InvalidArgument));
    }
}
