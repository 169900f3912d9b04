//! A query string as pairs, in the order sent.
//!
//! Invariant: iteration never fails and never allocates; decoding is asked for per value and is strict.
//! Runs on the accepting core, borrows from the head. Owner: `net/http`.

use std::borrow::Cow;

use crate::percent::{BadEscape, Plus, decode};

/// A raw query string, without the `?`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<'h> {
    raw: &'h [u8],
}

/// A decoded name and its decoded value.
pub type DecodedPair<'h> = (Cow<'h, [u8]>, Cow<'h, [u8]>);

impl<'h> Query<'h> {
    /// Over the bytes after the `?`.
    #[must_use]
    pub fn new(raw: &'h [u8]) -> Self {
        Self { raw }
    }

    /// The bytes as sent.
    #[must_use]
    pub fn raw(&self) -> &'h [u8] {
        self.raw
    }

    /// Name and value of each parameter as sent; a parameter without `=` has an empty value.
    pub fn pairs(&self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> + Clone + use<'h> {
        let segments = self.raw.split(|&b| b == b'&').filter(|segment| !segment.is_empty());
        segments.map(|segment| match segment.iter().position(|&b| b == b'=') {
            Some(equals) => (&segment[..equals], &segment[equals + 1..]),
            None => (segment, &b""[..]),
        })
    }

    /// Each parameter with name and value decoded (`+` is a space).
    pub fn decoded(&self) -> impl Iterator<Item = Result<DecodedPair<'h>, BadEscape>> + use<'h> {
        self.pairs().map(|(name, value)| Ok((decode(name, Plus::Space)?, decode(value, Plus::Space)?)))
    }

    /// The raw value of the first parameter whose decoded name is `name`.
    #[must_use]
    pub fn get_raw(&self, name: &str) -> Option<&'h [u8]> {
        let matches = |raw: &[u8]| {
            raw == name.as_bytes()
                || (raw.contains(&b'%') && decode(raw, Plus::Space).is_ok_and(|got| got == name.as_bytes()))
        };
        self.pairs().find(|(raw, _)| matches(raw)).map(|(_, value)| value)
    }

    /// The decoded value of the first parameter `name`.
    ///
    /// # Errors
    /// [`BadEscape`] when the value's escapes are malformed.
    pub fn get(&self, name: &str) -> Result<Option<Cow<'h, [u8]>>, BadEscape> {
        self.get_raw(name).map(|value| decode(value, Plus::Space)).transpose()
    }

    /// Whether a parameter `name` is there, with or without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get_raw(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_as_sent() {
        let query = Query::new(b"acl&prefix=a%2Fb&&marker=x=y&=z");
        let got: Vec<_> = query.pairs().collect();
        let want: Vec<(&[u8], &[u8])> =
            vec![(b"acl", b""), (b"prefix", b"a%2Fb"), (b"marker", b"x=y"), (b"", b"z")];
        assert_eq!(got, want);
        assert_eq!(query.get("prefix").expect("well-formed").as_deref(), Some(&b"a/b"[..]));
        assert!(query.contains("acl") && !query.contains("uploads"));
    }

    #[test]
    fn an_encoded_name_is_the_same_name() {
        // Otherwise `?%61cl` would slip past a check for `acl`.
        assert!(Query::new(b"%61cl").contains("acl"));
    }
}
