//! Tags of objects and buckets: as a document, as the header `x-amz-tagging`, and their rules.
//!
//! Invariant: a [`TagSet`] obeys the limits it was made with. Any core. Owner: `net/s3`. Source: AWS S3 user
//! guide, "Categorizing your storage using tags".

use stria_http::Query;

use super::{documents::TAGGING, schema::normalise, tree::Element};
use crate::{code::ErrorCode, error::S3Error, xml::Writer};

/// Most tags of an object.
pub const OBJECT_TAGS_MAX: usize = 10;
/// Most tags of a bucket.
pub const BUCKET_TAGS_MAX: usize = 50;
/// Longest key, UTF-16 code units as S3 counts.
const KEY_UNITS_MAX: usize = 128;
/// Longest value, UTF-16 code units.
const VALUE_UNITS_MAX: usize = 256;

/// Tags in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagSet(Vec<(String, String)>);

impl TagSet {
    /// Of a `Tagging` document.
    ///
    /// # Errors
    /// `MalformedXML`, `InvalidTag`, `BadRequest` for too many.
    pub fn parse_document(body: &[u8], tags_max: usize) -> Result<Self, S3Error> {
        let mut element = Element::parse(body)?;
        if element.name != "Tagging" {
            return Err(ErrorCode::MalformedXML.into());
        }
        normalise(&mut element, TAGGING)?;
        Self::of(&element, tags_max)
    }

    /// Of a checked `Tagging` element.
    ///
    /// # Errors
    /// `InvalidTag`, `BadRequest` for too many.
    pub fn of(tagging: &Element, tags_max: usize) -> Result<Self, S3Error> {
        let tags = tagging.child("TagSet").into_iter().flat_map(|set| set.all("Tag"));
        let pairs = tags.map(|tag| {
            (
                tag.text_of("Key").unwrap_or_default().to_owned(),
                tag.text_of("Value").unwrap_or_default().to_owned(),
            )
        });
        Self::checked(pairs.collect(), tags_max)
    }

    /// Of the header `x-amz-tagging`: `key=value&key=value`, percent-encoded.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no query string, else as [`TagSet::of`].
    pub fn parse_header(value: &[u8]) -> Result<Self, S3Error> {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.";
        let bad = || S3Error::argument(message, "x-amz-tagging", value);
        let mut pairs = Vec::new();
        for pair in Query::new(value).decoded() {
            let (key, value) = pair.map_err(|_| bad())?;
            let text = |bytes: std::borrow::Cow<'_, [u8]>| String::from_utf8(bytes.into_owned());
            pairs.push((text(key).map_err(|_| bad())?, text(value).map_err(|_| bad())?));
        }
        let unique = pairs.iter().enumerate().all(|(at, (key, _))| pairs[..at].iter().all(|(k, _)| k != key));
        if !unique {
            return Err(bad());
        }
        Self::checked(pairs, OBJECT_TAGS_MAX)
    }

    fn checked(pairs: Vec<(String, String)>, tags_max: usize) -> Result<Self, S3Error> {
        let invalid = |message, key: &str| {
            Err(S3Error::new(ErrorCode::InvalidTag, message).with("TagKey", key.as_bytes()))
        };
        if pairs.len() > tags_max {
            let message = if tags_max == OBJECT_TAGS_MAX {
                "Object tags cannot be greater than 10"
            } else {
                "Bucket tag count cannot be greater than 50"
            };
            return Err(S3Error::new(ErrorCode::BadRequest, message));
        }
        for (at, (key, value)) in pairs.iter().enumerate() {
            let key_units = key.encode_utf16().count();
            if key_units == 0 || key_units > KEY_UNITS_MAX || !legal(key) {
                return invalid("The TagKey you have provided is invalid", key);
            }
            if value.encode_utf16().count() > VALUE_UNITS_MAX || !legal(value) {
                return invalid("The TagValue you have provided is invalid", key);
            }
            if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
                return invalid("System tags cannot be added/updated by requester", key);
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == key) {
                return invalid("Cannot provide multiple Tags with the same key", key);
            }
        }
        Ok(Self(pairs))
    }

    /// The tags.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As stored: pairs of length-prefixed texts.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            let bytes = u16::try_from(text.len()).expect("at most 256 UTF-16 units of at most 3 bytes");
            out.extend_from_slice(&bytes.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    /// From the stored form; what does not decode is left out.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Self {
        let mut texts = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>()
            && let Some((text, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
        {
            texts.push(String::from_utf8_lossy(text).into_owned());
            bytes = rest;
        }
        let mut texts = texts.into_iter();
        let pairs = std::iter::from_fn(|| texts.next().zip(texts.next()));
        Self(pairs.collect())
    }
}

/// Letters, digits, spaces and `+ - = . _ : / @` of any script.
fn legal(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "+-=._:/@".contains(c))
}

/// The answer to GetObjectTagging and GetBucketTagging.
pub fn write_tagging(out: &mut Vec<u8>, tags: &TagSet) {
    let mut xml = Writer::document(out);
    xml.open_root("Tagging");
    xml.open("TagSet");
    for (key, value) in tags.pairs() {
        xml.open("Tag");
        xml.text("Key", key);
        xml.text("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    xml.close("Tagging");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Vec<(String, String)>, ErrorCode> {
        TagSet::parse_header(text.as_bytes()).map(|tags| tags.0).map_err(|error| error.code)
    }

    #[test]
    fn a_header_is_a_query() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(header("a=1&b%20c=%2B"), Ok(vec![pair("a", "1"), pair("b c", "+")]));
        assert_eq!(header("flag"), Ok(vec![pair("flag", "")]));
        assert_eq!(header("a=1&a=2"), Err(ErrorCode::InvalidArgument));
        assert_eq!(header("a=%zz"), Err(ErrorCode::InvalidArgument));
        assert_eq!(header("aws:x=1"), Err(ErrorCode::InvalidTag));
        assert_eq!(header("a=%7B"), Err(ErrorCode::InvalidTag));
    }

    #[test]
    fn limits() {
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&");
        assert_eq!(header(&many(10)).map(|tags| tags.len()), Ok(10));
        assert_eq!(header(&many(11)), Err(ErrorCode::BadRequest));
        assert!(header(&format!("{}=v", "k".repeat(128))).is_ok());
        assert_eq!(header(&format!("{}=v", "k".repeat(129))), Err(ErrorCode::InvalidTag));
        assert!(header(&format!("k={}", "v".repeat(256))).is_ok());
        assert_eq!(header(&format!("k={}", "v".repeat(257))), Err(ErrorCode::InvalidTag));
    }

    #[test]
    fn survives_storage() {
        let tags = TagSet::parse_header("a=1&b=&%C3%A9=x".as_bytes()).expect("legal");
        assert_eq!(TagSet::decode(&tags.encode()), tags);
        assert_eq!(TagSet::decode(&tags.encode()[..4]).pairs().len(), 0);
    }
}
