//! `multipart/form-data` as far as uploads use it: fields, then one file.
//!
//! Invariant: at most [`PRELUDE_BYTES_MAX`] are kept before the file, whatever is sent; the file itself passes
//! through piece by piece. Source: RFC 7578, RFC 2046 section 5.1.

use stria_http::Head;

use crate::{code::ErrorCode, error::S3Error};

/// Most bytes before the file's first: fields and their heads.
pub const PRELUDE_BYTES_MAX: usize = 20 << 10;
/// Longest boundary, of RFC 2046.
const BOUNDARY_BYTES_MAX: usize = 70;

/// The fields of a form, in the order sent, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Names and values.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Name of the file as the browser knows it; empty when it says none.
    pub file_name: String,
}

impl Form {
    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// The first value of a field, when it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

fn malformed() -> S3Error {
    ErrorCode::MalformedPOSTRequest.into()
}

/// Reads a form up to its file.
#[derive(Debug)]
pub struct FormReader {
    /// `--boundary`
    delimiter: Vec<u8>,
    prelude: Vec<u8>,
}

/// Where the file ends, found while its bytes pass.
#[derive(Debug)]
pub struct FormFile {
    /// CRLF and the delimiter.
    end: Vec<u8>,
    /// Bytes that may be the begin of the end.
    held: Vec<u8>,
    is_over: bool,
}

impl FormReader {
    /// Of a request whose Content-Type is `multipart/form-data`.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` without a legal boundary.
    pub fn new(head: &Head) -> Result<Self, S3Error> {
        let kind = head.get("content-type").unwrap_or_default();
        let kind = std::str::from_utf8(kind).map_err(|_| malformed())?;
        let boundary = kind.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        });
        let boundary = boundary.filter(|text| !text.is_empty() && text.len() <= BOUNDARY_BYTES_MAX);
        let boundary = boundary.ok_or_else(malformed)?;
        Ok(Self { delimiter: [b"--", boundary.as_bytes()].concat(), prelude: Vec::new() })
    }

    /// Takes the next bytes. Once the file begins: the form, the file, and what of it has arrived.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceededError`, or `InvalidArgument` when the form ends
    /// without a file.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<(Form, FormFile, Vec<u8>)>, S3Error> {
        self.prelude.extend_from_slice(bytes);
        match self.parse()? {
            Some((form, file_at)) => {
                let rest = self.prelude.split_off(file_at);
                let end = [b"\r\n", self.delimiter.as_slice()].concat();
                Ok(Some((form, FormFile { end, held: Vec::new(), is_over: false }, rest)))
            }
            None if self.prelude.len() > PRELUDE_BYTES_MAX => {
                Err(ErrorCode::MaxPostPreDataLengthExceededError.into())
            }
            None => Ok(None),
        }
    }

    /// The form and where its file begins; `None` while more is needed.
    fn parse(&self) -> Result<Option<(Form, usize)>, S3Error> {
        let mut form = Form::default();
        let data = &self.prelude;
        let Some(mut at) = find(data, &self.delimiter) else { return Ok(None) };
        at += self.delimiter.len();
        loop {
            let rest = &data[at..];
            if rest.starts_with(b"--") {
                let message = "POST requires exactly one file upload per request.";
                return Err(S3Error::argument(message, "file", b"0"));
            }
            if rest.len() < 2 {
                return Ok(None);
            }
            let rest = rest.strip_prefix(b"\r\n").ok_or_else(malformed)?;
            at += 2;
            let Some(head_bytes) = find(rest, b"\r\n\r\n") else { return Ok(None) };
            let (name, file_name) = disposition(&rest[..head_bytes])?;
            at += head_bytes + 4;
            if name == "file" {
                form.file_name = file_name.unwrap_or_default();
                return Ok(Some((form, at)));
            }
            let end = [b"\r\n", self.delimiter.as_slice()].concat();
            let Some(value_bytes) = find(&data[at..], &end) else { return Ok(None) };
            form.fields.push((name, data[at..at + value_bytes].to_vec()));
            at += value_bytes + end.len();
        }
    }
}

/// Name and file name of a part.
fn disposition(head: &[u8]) -> Result<(String, Option<String>), S3Error> {
    let head = std::str::from_utf8(head).map_err(|_| malformed())?;
    let line = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let (mut name, mut file_name) = (None, None);
    for (key, value) in parameters(line.ok_or_else(malformed)?) {
        match key.as_str() {
            "name" => name = Some(value.to_lowercase()),
            "filename" => file_name = Some(value),
            _ => {}
        }
    }
    Ok((name.ok_or_else(malformed)?, file_name))
}

/// `; key="value"` pairs; a semicolon inside quotes belongs to the value.
fn parameters(line: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = line;
    while let Some((_, after)) = rest.split_once(';') {
        let Some((key, value)) = after.split_once('=') else { break };
        let (value, next) = match value.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        out.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        rest = next;
    }
    out
}

fn find(data: &[u8], what: &[u8]) -> Option<usize> {
    data.windows(what.len()).position(|window| window == what)
}

impl FormFile {
    /// Appends to `out` what of `bytes` is the file's. Bytes behind its end are dropped.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        self.held.extend_from_slice(bytes);
        if let Some(at) = find(&self.held, &self.end) {
            out.extend_from_slice(&self.held[..at]);
            self.held = Vec::new();
            self.is_over = true;
            return;
        }
        let sure = self.held.len().saturating_sub(self.end.len() - 1);
        out.extend(self.held.drain(..sure));
    }

    /// Whether the file's end was seen: without it the form was cut.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}
