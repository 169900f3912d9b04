//! An error as the client sees it: a code, perhaps a better message, perhaps more elements.
//!
//! Invariant: messages are constants of ours; text of the request appears only in named elements, where
//! the writer escapes it. Any core. Owner: `net/s3`.

use stria_base::ErrorClass;

use crate::code::ErrorCode;
use crate::xml::Writer;

/// One more element of an error body, for example `BucketName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Element name.
    pub name: &'static str,
    /// Its text, as bytes of the request or a number of ours; invalid UTF-8 is replaced when written.
    pub value: Box<[u8]>,
}

/// An error of the S3 protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Error {
    /// The code; it decides the status.
    pub code: ErrorCode,
    /// A message more exact than the code's own.
    pub message: Option<&'static str>,
    /// More elements, in the order written.
    pub details: Vec<Detail>,
    /// Header lines of the answer.
    pub headers: Vec<Detail>,
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, details: Vec::new(), headers: Vec::new() }
    }
}

impl S3Error {
    /// A code with a message of ours.
    #[must_use]
    pub fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message: Some(message), details: Vec::new(), headers: Vec::new() }
    }

    /// `InvalidArgument` naming the argument and its value, as S3 does.
    #[must_use]
    pub fn argument(message: &'static str, name: &'static str, value: &[u8]) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
            .with("ArgumentName", name.as_bytes())
            .with("ArgumentValue", value)
    }

    /// `NotImplemented` naming the header, so that a promise is refused rather than ignored.
    #[must_use]
    pub fn header_not_implemented(name: &'static str) -> Self {
        Self::from(ErrorCode::NotImplemented).with("Header", name.as_bytes())
    }

    /// `NotImplemented` naming the operation: the answer to one whose state is `NotYet`.
    #[must_use]
    pub fn operation_not_implemented(op: crate::Op) -> Self {
        Self::new(ErrorCode::NotImplemented, "This operation is not implemented")
            .with("Operation", op.name().as_bytes())
    }

    /// Adds an element; values longer than 8 KiB are cut.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &[u8]) -> Self {
        self.details.push(Detail { name, value: value[..value.len().min(8192)].into() });
        self
    }

    /// Adds a header line to the answer.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push(Detail { name, value: value.into() });
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// What the caller may do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.code.class()
    }

    /// The message to send.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.message.unwrap_or(self.code.message())
    }
}

impl std::fmt::Display for S3Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message())
    }
}

impl std::error::Error for S3Error {}

/// What surrounds an error in its answer.
#[derive(Clone, Copy, Debug)]
pub struct ErrorContext<'a> {
    /// The path of the request as sent.
    pub resource: &'a [u8],
    /// Same as the header `x-amz-request-id`.
    pub request_id: &'a str,
    /// Same as the header `x-amz-id-2`.
    pub host_id: &'a str,
}

/// Appends the XML body of `error`. Answers to HEAD and 304 send no body; the caller leaves it out.
pub fn write_error(error: &S3Error, context: &ErrorContext<'_>, out: &mut Vec<u8>) {
    let mut xml = Writer::document(out);
    xml.open("Error");
    xml.text("Code", error.code.name());
    xml.text("Message", error.message());
    for detail in &error.details {
        xml.bytes(detail.name, &detail.value);
    }
    xml.bytes("Resource", context.resource);
    xml.text("RequestId", context.request_id);
    xml.text("HostId", context.host_id);
    xml.close("Error");
}

/// Appends the XML body of `error` in the form of the query APIs (IAM, STS, SNS), whose clients look
/// for `ErrorResponse`.
pub fn write_query_api_error(error: &S3Error, request_id: &str, out: &mut Vec<u8>) {
    let mut xml = Writer::document(out);
    xml.open_with_namespace("ErrorResponse", "https://iam.amazonaws.com/doc/2010-05-08/");
    xml.open("Error");
    xml.text("Type", if error.status() >= 500 { "Receiver" } else { "Sender" });
    xml.text("Code", error.code.name());
    xml.text("Message", error.message());
    xml.close("Error");
    xml.text("RequestId", request_id);
    xml.close("ErrorResponse");
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: ErrorContext<'_> =
        ErrorContext { resource: b"/b/k<&\x01", request_id: "0123", host_id: "n/a" };

    #[test]
    fn body_of_an_error() {
        let error = S3Error::from(ErrorCode::NoSuchKey).with("Key", b"k<&\"\x01\xff");
        let mut out = Vec::new();
        write_error(&error, &CONTEXT, &mut out);
        expect_test::expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>k&lt;&amp;&quot;&#x1;�</Key><Resource>/b/k&lt;&amp;&#x1;</Resource><RequestId>0123</RequestId><HostId>n/a</HostId></Error>"#]]
        .assert_eq(&String::from_utf8(out).expect("UTF-8"));
    }

    #[test]
    fn body_for_the_query_apis() {
        let mut out = Vec::new();
        write_query_api_error(&ErrorCode::NotImplemented.into(), "0123", &mut out);
        expect_test::expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Receiver</Type><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error><RequestId>0123</RequestId></ErrorResponse>"#]]
        .assert_eq(&String::from_utf8(out).expect("UTF-8"));
    }
}
