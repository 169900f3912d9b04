//! A request head: parsed once, held in one allocation, read by offset.
//!
//! Invariant: a `Head` that exists is unambiguous. Its lines end in CR LF, its names are tokens, its
//! values hold no control character, its Host is single, and its framing was decided. Runs on the
//! accepting core; owned by the connection for one request. Owner: `net/http`.

mod parse;
#[cfg(test)]
mod tests;

pub use parse::parse;

/// A request method S3 has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// PUT
    Put,
    /// POST
    Post,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// Any other token; its bytes are [`Head::method_bytes`].
    Other,
}

/// The protocol's minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: answered, then closed.
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the body that follows the head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body follows.
    None,
    /// Exactly this many bytes follow; 0 when the client said so.
    Length(u64),
    /// Chunks follow, to be read through [`crate::chunked::Decoder`].
    Chunked,
}

/// A range of the head's bytes. 16 bits hold every offset since a head has at most 16 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    end: u16,
}

const _: () = assert!(stria_base::limits::HEAD_BYTES_MAX <= u16::MAX as usize);

/// One header line.
#[derive(Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

/// Bytes of one [`Field`] in the index: four little-endian offsets.
const FIELD_BYTES: usize = 8;

impl Field {
    fn to_bytes(self) -> [u8; FIELD_BYTES] {
        let [a, b] = self.name.start.to_le_bytes();
        let [c, d] = self.name.end.to_le_bytes();
        let [e, f] = self.value.start.to_le_bytes();
        let [g, h] = self.value.end.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    fn from_bytes(bytes: &[u8; FIELD_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self {
            name: Span { start: u16::from_le_bytes([a, b]), end: u16::from_le_bytes([c, d]) },
            value: Span { start: u16::from_le_bytes([e, f]), end: u16::from_le_bytes([g, h]) },
        }
    }
}

/// A request head, small to move: one allocation holds its bytes and, behind them, the index of its
/// header lines.
#[derive(Clone)]
pub struct Head {
    bytes: Box<[u8]>,
    /// Where the index begins.
    head_bytes: u16,
    method: Method,
    version: Version,
    framing: BodyFraming,
    method_text: Span,
    path: Span,
    query: Option<Span>,
    host: Span,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers stay out: they carry signatures and tokens.
        let path = String::from_utf8_lossy(self.path());
        write!(f, "Head({:?} {path}, {:?}, {} headers)", self.method, self.framing, self.header_count())
    }
}

impl Method {
    /// From the token of a request line; methods are case-sensitive.
    #[must_use]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"PUT" => Self::Put,
            b"POST" => Self::Post,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// The token, empty for [`Method::Other`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "",
        }
    }
}

impl Head {
    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[usize::from(span.start)..usize::from(span.end)]
    }

    fn fields(&self) -> impl Iterator<Item = Field> + Clone + '_ {
        let (index, _) = self.bytes[usize::from(self.head_bytes)..].as_chunks::<FIELD_BYTES>();
        index.iter().map(Field::from_bytes)
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method's bytes as sent.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        self.slice(self.method_text)
    }

    /// The path as sent, percent-encoding untouched. Starts with `/`, or is `*` for OPTIONS.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.slice(self.path)
    }

    /// What follows the first `?` of the target, as sent; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.query.map_or(&[], |span| self.slice(span))
    }

    /// The protocol version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The Host header as sent, port included; empty with HTTP/1.0 without one.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.slice(self.host)
    }

    /// Number of header lines.
    #[must_use]
    pub fn header_count(&self) -> usize {
        (self.bytes.len() - usize::from(self.head_bytes)) / FIELD_BYTES
    }

    /// All header lines in the order sent: name as sent, value without surrounding white space.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.fields().map(|field| (self.slice(field.name), self.slice(field.value)))
    }

    /// The values of every line named `name`, in any case, in the order sent.
    pub fn get_all<'h, 'n>(&'h self, name: &'n str) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
        self.fields().filter(move |field| self.named(field, name)).map(|field| self.slice(field.value))
    }

    fn named(&self, field: &Field, name: &str) -> bool {
        usize::from(field.name.end - field.name.start) == name.len()
            && self.slice(field.name).eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value of the first line named `name`, in any case.
    #[must_use]
    pub fn get<'h>(&'h self, name: &str) -> Option<&'h [u8]> {
        let field = self.fields().find(|field| self.named(field, name))?;
        Some(self.slice(field.value))
    }

    /// The value of the only line named `name`.
    ///
    /// # Errors
    /// [`Duplicate`] when there is more than one such line.
    pub fn get_single<'h>(&'h self, name: &str) -> Result<Option<&'h [u8]>, Duplicate> {
        let mut values = self.get_all(name);
        let first = values.next();
        if values.next().is_some() { Err(Duplicate) } else { Ok(first) }
    }

    /// Whether there is a line named `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How the body ends; decided when the head was parsed.
    #[must_use]
    pub fn framing(&self) -> BodyFraming {
        self.framing
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expect_continue(&self) -> bool {
        self.version == Version::Http11
            && self.framing != BodyFraming::None
            && self.get("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Whether the connection may carry another request after this one.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        let closes = |value: &[u8]| {
            value.split(|&b| b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        self.version == Version::Http11 && !self.get_all("connection").any(closes)
    }
}

/// A header that may occur once occurs more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;
