//! Percent-encoding (RFC 3986) over bytes.
//!
//! Invariant: `decode(encode(x)) == x` for all bytes, and a malformed escape is an error, never text:
//! what was authorised and what is stored are the same bytes. Any core. Owner: `net/http`.

use std::borrow::Cow;

/// A `%` that is not followed by two hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape;

/// Which bytes beside the unreserved ones stay as they are when encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only `A-Z a-z 0-9 - _ . ~`.
    Unreserved,
    /// Those and `/`, as in paths and in keys of listings.
    Slash,
}

/// What `+` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    /// Itself, as in paths.
    Literal,
    /// A space, as in query strings.
    Space,
}

const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.' | b'~');
        byte += 1;
    }
    table
};

fn hex_value(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// Decodes `text`; borrows when there is nothing to decode.
///
/// # Errors
/// [`BadEscape`] on a malformed escape.
pub fn decode(text: &[u8], plus: Plus) -> Result<Cow<'_, [u8]>, BadEscape> {
    let special = |&b: &u8| b == b'%' || (b == b'+' && plus == Plus::Space);
    let Some(first) = text.iter().position(special) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (Some(&high), Some(&low)) = (tail.first(), tail.get(1)) else {
                    return Err(BadEscape);
                };
                let (Some(high), Some(low)) = (hex_value(high), hex_value(low)) else {
                    return Err(BadEscape);
                };
                out.push(high << 4 | low);
                rest = &tail[2..];
            }
            b'+' if plus == Plus::Space => out.push(b' '),
            _ => out.push(byte),
        }
    }
    Ok(Cow::Owned(out))
}

/// Appends the encoding of `text` to `out`, hex digits in upper case as SigV4 demands.
pub fn encode(text: &[u8], keep: Keep, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if UNRESERVED[usize::from(byte)] || (byte == b'/' && keep == Keep::Slash) {
            out.push(byte);
        } else {
            let escape = [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&escape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_escapes_are_refused() {
        for bad in ["%", "%4", "%zz", "a%2", "%%41", "%+1", "%-1"] {
            assert_eq!(decode(bad.as_bytes(), Plus::Literal), Err(BadEscape), "{bad}");
        }
    }

    #[test]
    fn plus_is_a_space_in_queries_only() {
        assert_eq!(decode(b"a+b%2B", Plus::Literal).as_deref(), Ok(&b"a+b+"[..]));
        assert_eq!(decode(b"a+b%2B", Plus::Space).as_deref(), Ok(&b"a b+"[..]));
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..64), slash: bool) {
            let mut text = Vec::new();
            encode(&bytes, if slash { Keep::Slash } else { Keep::Unreserved }, &mut text);
            prop_assert!(text.is_ascii());
            prop_assert_eq!(&*decode(&text, Plus::Space).expect("our own escapes"), &bytes[..]);
        }
    }
}
