//! Reads request bodies: quick-xml's events behind our limits, given to a visitor.
//!
//! Invariant: at most `XML_BYTES_MAX` bytes, `XML_DEPTH_MAX` levels, 64 attributes an element; no DTD,
//! no entity beyond the five, one root element, UTF-8 only. Any core. Owner: `net/s3`.

use quick_xml::events::{BytesStart, Event};
use stria_base::limits::{XML_BYTES_MAX, XML_DEPTH_MAX};

use crate::code::ErrorCode;
use crate::error::S3Error;

const ATTRIBUTES_MAX: usize = 64;

/// Why an XML body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// Larger than `XML_BYTES_MAX`.
    TooLarge,
    /// Nested deeper than `XML_DEPTH_MAX`.
    TooDeep,
    /// Not well-formed, with a DTD, or with an unknown entity.
    Malformed,
    /// Well-formed, but not the document the operation takes.
    Schema,
}

impl From<XmlError> for S3Error {
    fn from(error: XmlError) -> Self {
        match error {
            XmlError::TooLarge => Self::from(ErrorCode::MaxMessageLengthExceeded)
                .with("MaxMessageLengthBytes", XML_BYTES_MAX.to_string().as_bytes()),
            XmlError::TooDeep | XmlError::Malformed | XmlError::Schema => ErrorCode::MalformedXML.into(),
        }
    }
}

/// The names of the open elements, outermost first, without namespace prefixes.
#[derive(Debug, Default)]
pub struct Path {
    /// All names end to end, so that opening an element allocates nothing in the long run.
    names: String,
    ends: Vec<usize>,
}

impl Path {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.names[start..end])
    }

    fn push(&mut self, name: &str) {
        self.names.push_str(name);
        self.ends.push(self.names.len());
    }

    fn pop(&mut self) {
        self.ends.pop();
        self.names.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Whether the open elements are exactly these.
    #[must_use]
    pub fn is(&self, names: &[&str]) -> bool {
        self.ends.len() == names.len() && self.iter().eq(names.iter().copied())
    }

    /// Number of open elements, at least 1 in a visitor.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.ends.len()
    }

    /// The innermost element's name.
    #[must_use]
    pub fn last(&self) -> &str {
        self.iter().last().unwrap_or("")
    }
}

/// Receives a document element by element.
pub trait Visitor {
    /// An element begins; it is the last of `path`.
    ///
    /// # Errors
    /// [`XmlError`] ends the reading.
    fn open(&mut self, path: &Path) -> Result<(), XmlError>;

    /// An element ends; `text` is the character data directly in it, up to its last child.
    ///
    /// # Errors
    /// [`XmlError`] ends the reading.
    fn close(&mut self, path: &Path, text: &str) -> Result<(), XmlError>;
}

/// Reads one document.
///
/// # Errors
/// [`XmlError`] of the document or of the visitor.
pub fn read(body: &[u8], visitor: &mut dyn Visitor) -> Result<(), XmlError> {
    if body.len() > XML_BYTES_MAX {
        return Err(XmlError::TooLarge);
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|_| XmlError::Malformed)?;
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut state = State { path: Path::default(), text: String::new(), root_seen: false };
    loop {
        let event = reader.read_event().map_err(|_| XmlError::Malformed)?;
        if matches!(event, Event::Eof) {
            break;
        }
        state.event(event, visitor)?;
    }
    if state.root_seen && state.path.depth() == 0 { Ok(()) } else { Err(XmlError::Malformed) }
}

struct State {
    path: Path,
    text: String,
    root_seen: bool,
}

impl State {
    fn event(&mut self, event: Event<'_>, to: &mut dyn Visitor) -> Result<(), XmlError> {
        match event {
            Event::Start(start) => self.open(&start, to),
            Event::Empty(start) => {
                self.open(&start, to)?;
                self.close(to)
            }
            Event::End(_) => self.close(to),
            Event::Text(text) => self.append(&text),
            Event::CData(data) => self.append(&data),
            Event::GeneralRef(reference) => {
                let character = match &*reference {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "apos" => '\'',
                    "quot" => '"',
                    _ => match reference.resolve_char_ref() {
                        Ok(Some(character)) => character,
                        _ => return Err(XmlError::Malformed),
                    },
                };
                self.append(character.encode_utf8(&mut [0; 4]))
            }
            Event::DocType(_) => Err(XmlError::Malformed),
            Event::Decl(_) if self.root_seen => Err(XmlError::Malformed),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Eof => Ok(()),
        }
    }

    fn open(&mut self, start: &BytesStart<'_>, to: &mut dyn Visitor) -> Result<(), XmlError> {
        if self.path.depth() == XML_DEPTH_MAX {
            return Err(XmlError::TooDeep);
        }
        if self.path.depth() == 0 && std::mem::replace(&mut self.root_seen, true) {
            return Err(XmlError::Malformed);
        }
        for (count, attribute) in start.attributes().with_checks(false).enumerate() {
            if count == ATTRIBUTES_MAX || attribute.is_err() {
                return Err(XmlError::Malformed);
            }
        }
        // No document of S3 has text beside elements.
        if !self.text.trim().is_empty() {
            return Err(XmlError::Schema);
        }
        self.path.push(start.local_name().into_inner());
        self.text.clear();
        to.open(&self.path)
    }

    fn close(&mut self, to: &mut dyn Visitor) -> Result<(), XmlError> {
        if self.path.depth() == 0 {
            return Err(XmlError::Malformed);
        }
        let result = to.close(&self.path, &self.text);
        self.text.clear();
        self.path.pop();
        result
    }

    fn append(&mut self, text: &str) -> Result<(), XmlError> {
        if self.path.depth() == 0 {
            // Between the declaration and the root, and after it, only white space may stand.
            let blank = text.chars().all(|c| c.is_ascii_whitespace());
            return if blank { Ok(()) } else { Err(XmlError::Malformed) };
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a document, one line each.
    #[derive(Default)]
    struct Trace(String);

    impl Visitor for Trace {
        fn open(&mut self, path: &Path) -> Result<(), XmlError> {
            self.0.push_str(&format!("{}{{", path.last()));
            Ok(())
        }
        fn close(&mut self, path: &Path, text: &str) -> Result<(), XmlError> {
            assert!(path.depth() > 0);
            self.0.push_str(&format!("{text:?}}}"));
            Ok(())
        }
    }

    fn trace(body: &str) -> Result<String, XmlError> {
        let mut trace = Trace::default();
        read(body.as_bytes(), &mut trace).map(|()| trace.0)
    }

    #[test]
    fn a_document() {
        let body = "\u{feff}<?xml version='1.0'?>\n<!-- c --><a xmlns='x'><s:b q=\"1\">1&lt;&#x41;<![CDATA[<]]></s:b><c/></a>\n";
        assert_eq!(trace(body).as_deref(), Ok("a{b{\"1<A<\"}c{\"\"}\"\"}"));
    }

    #[test]
    fn refused_documents() {
        let deep = "<a>".repeat(17) + &"</a>".repeat(17);
        let attributes = format!("<a {}/>", (0..65).map(|n| format!("a{n}='' ")).collect::<String>());
        let large = format!("<a>{}</a>", " ".repeat(XML_BYTES_MAX));
        for (body, want) in [
            ("", XmlError::Malformed),
            ("text", XmlError::Malformed),
            ("<a>", XmlError::Malformed),
            ("</a>", XmlError::Malformed),
            ("<a></b>", XmlError::Malformed),
            ("<a/><b/>", XmlError::Malformed),
            ("<a/>text", XmlError::Malformed),
            ("<a/><?xml version='1.0'?>", XmlError::Malformed),
            ("<a>&b;</a>", XmlError::Malformed),
            ("<a>&#0;</a>", XmlError::Malformed),
            ("<a>& b</a>", XmlError::Malformed),
            ("<a b=c/>", XmlError::Malformed),
            ("<!DOCTYPE a><a/>", XmlError::Malformed),
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", XmlError::Malformed),
            (&attributes, XmlError::Malformed),
            (&deep, XmlError::TooDeep),
            (&large, XmlError::TooLarge),
        ] {
            assert_eq!(trace(body), Err(want), "{}", &body[..body.len().min(80)]);
        }
        assert_eq!(read(b"<a>\xff</a>", &mut Trace::default()), Err(XmlError::Malformed));
        assert!(trace(&("<a>".repeat(16) + &"</a>".repeat(16))).is_ok());
    }
}
