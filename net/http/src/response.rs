//! Response heads, written straight into the connection's output buffer.
//!
//! Invariant: no response can carry a CR, LF or NUL that did not come from here, since names are checked
//! when compiled or built and values exist only as [`FieldValue`]; and every response says how its body
//! ends. Runs on the accepting core. Owner: `net/http`.

/// What a client that sent `Expect: 100-continue` waits for.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A header value: visible bytes, spaces and tabs, UTF-8 or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldValue<'a>(&'a [u8]);

/// A header name: a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName<'a>(&'a str);

/// The bytes cannot stand in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadField;

impl<'a> FieldValue<'a> {
    /// Of bytes from anywhere.
    ///
    /// # Errors
    /// [`BadField`] when they hold a control character other than a tab.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, BadField> {
        let mut at = 0;
        while at < bytes.len() {
            if (bytes[at] < b' ' && bytes[at] != b'\t') || bytes[at] == 0x7f {
                return Err(BadField);
            }
            at += 1;
        }
        Ok(Self(bytes))
    }

    /// Of a constant of ours.
    ///
    /// # Panics
    /// When the constant holds a control character: when compiled, if used in a `const`.
    #[must_use]
    pub const fn constant(text: &'static str) -> Self {
        match Self::new(text.as_bytes()) {
            Ok(value) => FieldValue(value.0),
            Err(BadField) => panic!("a constant header value holds a control character"),
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> FieldName<'a> {
    /// Of text from anywhere.
    ///
    /// # Errors
    /// [`BadField`] when it is empty or no token.
    pub const fn new(name: &'a str) -> Result<Self, BadField> {
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let good = bytes[at].is_ascii_alphanumeric()
                || matches!(
                    bytes[at],
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            if !good {
                return Err(BadField);
            }
            at += 1;
        }
        if bytes.is_empty() { Err(BadField) } else { Ok(Self(name)) }
    }

    /// Of a constant of ours.
    ///
    /// # Panics
    /// When the constant is no token.
    #[must_use]
    pub const fn constant(name: &'static str) -> Self {
        match Self::new(name) {
            Ok(name) => FieldName(name.0),
            Err(BadField) => panic!("a constant header name is no token"),
        }
    }
}

/// One response head being written. Ends with one of the `finish_*` functions, which decide the framing.
#[must_use = "a head is complete only after finish_*"]
pub struct Head<'o> {
    out: &'o mut Vec<u8>,
    status: u16,
}

/// The reason phrase of a status; empty for one we never send.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

impl<'o> Head<'o> {
    /// Starts a head at the end of `out`.
    ///
    /// # Panics
    /// When `status` is not 200..=599; interim responses are constants.
    pub fn new(out: &'o mut Vec<u8>, status: u16) -> Self {
        assert!((200..=599).contains(&status), "status {status}");
        out.extend_from_slice(b"HTTP/1.1 ");
        let mut head = Self { out, status };
        head.digits(u64::from(status));
        head.out.push(b' ');
        head.out.extend_from_slice(reason(status).as_bytes());
        head.out.extend_from_slice(b"\r\n");
        head
    }

    fn digits(&mut self, value: u64) {
        let mut text = [0u8; 20];
        let (mut at, mut rest) = (text.len(), value);
        loop {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&text[at..]);
    }

    fn name(&mut self, name: FieldName<'_>) {
        self.out.extend_from_slice(name.0.as_bytes());
        self.out.extend_from_slice(b": ");
    }

    /// A header line. Content-Length and Transfer-Encoding belong to `finish_*`.
    pub fn field(&mut self, name: FieldName<'_>, value: FieldValue<'_>) -> &mut Self {
        debug_assert!(!name.0.eq_ignore_ascii_case("content-length"));
        self.name(name);
        self.out.extend_from_slice(value.0);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// A header line of a name and a value of ours.
    pub fn constant(&mut self, name: &'static str, value: &'static str) -> &mut Self {
        self.field(FieldName::constant(name), FieldValue::constant(value))
    }

    /// A header line whose value is a number.
    pub fn number(&mut self, name: &'static str, value: u64) -> &mut Self {
        self.name(FieldName::constant(name));
        self.digits(value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// A header line with quotes around the value, as ETag wants it.
    pub fn quoted(&mut self, name: &'static str, value: FieldValue<'_>) -> &mut Self {
        self.name(FieldName::constant(name));
        self.out.push(b'"');
        self.out.extend_from_slice(value.0);
        self.out.extend_from_slice(b"\"\r\n");
        self
    }

    /// The Date header, from the core's [`crate::date::DateCache`].
    pub fn date(&mut self, text: &[u8; 29]) -> &mut Self {
        self.out.extend_from_slice(b"Date: ");
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Content-Range: bytes first-last/total`, positions inclusive.
    pub fn content_range(&mut self, first: u64, last: u64, total: u64) -> &mut Self {
        assert!(first <= last && last < total, "range {first}-{last} of {total}");
        self.out.extend_from_slice(b"Content-Range: bytes ");
        self.digits(first);
        self.out.push(b'-');
        self.digits(last);
        self.out.push(b'/');
        self.digits(total);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Content-Range: bytes */total`, the companion of 416.
    pub fn content_range_unsatisfied(&mut self, total: u64) -> &mut Self {
        self.out.extend_from_slice(b"Content-Range: bytes */");
        self.digits(total);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Connection: close`.
    pub fn close(&mut self) -> &mut Self {
        self.constant("Connection", "close")
    }

    /// Ends the head; `bytes` of body follow (none follow an answer to HEAD, which says the same length).
    ///
    /// # Panics
    /// When the status is 204 or 304, which have no body and no length.
    pub fn finish_length(mut self, bytes: u64) {
        assert!(!matches!(self.status, 204 | 304), "{} has no body", self.status);
        self.number("Content-Length", bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the head; chunks follow, see [`crate::chunked::write_chunk_header`].
    ///
    /// # Panics
    /// When the status is 204 or 304.
    pub fn finish_chunked(mut self) {
        assert!(!matches!(self.status, 204 | 304), "{} has no body", self.status);
        self.constant("Transfer-Encoding", "chunked");
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the head of a 204 or 304.
    ///
    /// # Panics
    /// With any other status, whose body would have no end.
    pub fn finish_empty(self) {
        assert!(matches!(self.status, 204 | 304), "{} needs a length", self.status);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_as_bytes() {
        let mut out = Vec::new();
        let mut head = Head::new(&mut out, 206);
        head.date(b"Sun, 06 Nov 1994 08:49:37 GMT")
            .quoted("ETag", FieldValue::constant("abc"))
            .content_range(0, 9, 100)
            .number("x-amz-mp-parts-count", 0)
            .close();
        head.finish_length(10);
        expect_test::expect![[r#"
            HTTP/1.1 206 Partial Content
            Date: Sun, 06 Nov 1994 08:49:37 GMT
            ETag: "abc"
            Content-Range: bytes 0-9/100
            x-amz-mp-parts-count: 0
            Connection: close
            Content-Length: 10

        "#]]
        .assert_eq(&String::from_utf8(out).expect("ASCII").replace('\r', ""));
    }

    #[test]
    fn values_and_names_cannot_split_a_response() {
        for bad in ["a\r\nSet-Cookie: x", "a\nb", "\0", "\x7f", "a\rb", "\x1b[0m"] {
            assert_eq!(FieldValue::new(bad.as_bytes()), Err(BadField), "{bad:?}");
        }
        for bad in ["", "a b", "a:", "a\r\n", "é"] {
            assert_eq!(FieldName::new(bad), Err(BadField), "{bad:?}");
        }
        assert!(FieldValue::new("größe\t1".as_bytes()).is_ok());
    }

    #[test]
    #[should_panic(expected = "has no body")]
    fn a_304_has_no_length() {
        Head::new(&mut Vec::new(), 304).finish_length(0);
    }
}
