//! What a document may look like, as data: names, how often, what text.
//!
//! Invariant: what the schema does not name is refused with `MalformedXML`; nothing of a document is
//! silently dropped. Any core. Owner: `net/s3`. Source: the AWS S3 API reference, one page per operation.

use stria_http::date::parse_iso;

use super::tree::Element;
use crate::xml::XmlError;

/// Any number of times.
pub const MANY: u16 = u16::MAX;

/// A child an element may have.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Least occurrences.
    pub min: u16,
    /// Most occurrences.
    pub max: u16,
    /// What is in it.
    pub content: Content,
}

/// What is in an element.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// Elements.
    Of(&'static [Field]),
    /// Any text, kept as it is.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`, in any case.
    Boolean,
    /// A decimal number in a range.
    Number(i64, i64),
    /// A date of ISO 8601.
    Date,
}

/// Exactly once.
#[must_use]
pub const fn one(name: &'static str, content: Content) -> Field {
    Field { name, min: 1, max: 1, content }
}

/// At most once.
#[must_use]
pub const fn maybe(name: &'static str, content: Content) -> Field {
    Field { name, min: 0, max: 1, content }
}

/// Any number of times.
#[must_use]
pub const fn many(name: &'static str, content: Content) -> Field {
    Field { name, min: 0, max: MANY, content }
}

/// At least once.
#[must_use]
pub const fn some(name: &'static str, content: Content) -> Field {
    Field { name, min: 1, max: MANY, content }
}

/// Checks `element` against `content` and brings its texts into their one form.
///
/// # Errors
/// `Schema` for anything the schema does not name.
pub fn normalise(element: &mut Element, content: Content) -> Result<(), XmlError> {
    let Content::Of(fields) = content else {
        return normalise_text(element, content);
    };
    if !element.text.trim().is_empty() {
        return Err(XmlError::Schema);
    }
    element.text.clear();
    for child in &mut element.children {
        let field = fields.iter().find(|field| field.name == child.name).ok_or(XmlError::Schema)?;
        normalise(child, field.content)?;
    }
    for field in fields {
        let count = element.all(field.name).count();
        if count < usize::from(field.min) || (field.max != MANY && count > usize::from(field.max)) {
            return Err(XmlError::Schema);
        }
    }
    Ok(())
}

fn normalise_text(element: &mut Element, content: Content) -> Result<(), XmlError> {
    if !element.children.is_empty() {
        return Err(XmlError::Schema);
    }
    if matches!(content, Content::Text) {
        return Ok(());
    }
    let text = element.text.trim();
    let good = match content {
        Content::OneOf(words) => words.contains(&text),
        Content::Boolean => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
        Content::Number(min, max) => text.parse().is_ok_and(|number: i64| (min..=max).contains(&number)),
        Content::Date => parse_iso(text.as_bytes()).is_some(),
        Content::Of(_) | Content::Text => true,
    };
    if !good {
        return Err(XmlError::Schema);
    }
    element.text =
        if matches!(content, Content::Boolean) { text.to_ascii_lowercase() } else { text.to_owned() };
    Ok(())
}
