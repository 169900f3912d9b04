//! The canonical request, built once from the raw bytes.
//!
//! Invariant: verifier and signer share this code, and it sees what was sent: the path is decoded and
//! encoded once (S3's rule), never normalised, so the signed key is the stored key. Owner: `net/sigv4`.

use stria_http::Query;
use stria_http::percent::{BadEscape, Keep, Plus, decode, encode};

/// Gives every value of a header, in the order sent, to the closure.
pub type Lookup<'a> = &'a dyn Fn(&str, &mut dyn FnMut(&[u8]));

/// What a canonical request is made of.
pub struct Parts<'a> {
    pub method: &'a [u8],
    /// As sent.
    pub path: &'a [u8],
    /// As sent; `X-Amz-Signature` is left out.
    pub query: Query<'a>,
    /// Lower case, joined by `;`, in any order.
    pub signed_headers: &'a str,
    pub lookup: Lookup<'a>,
    pub payload_hash: &'a [u8],
}

/// Builds the canonical request in `out`.
///
/// # Errors
/// [`BadEscape`] when the path or the query cannot be decoded.
pub fn canonical_request(parts: &Parts<'_>, out: &mut Vec<u8>) -> Result<(), BadEscape> {
    out.clear();
    out.extend_from_slice(parts.method);
    out.push(b'\n');
    encode(&decode(parts.path, Plus::Literal)?, Keep::Slash, out);
    out.push(b'\n');
    canonical_query(parts.query, out)?;
    out.push(b'\n');
    // Clients send the names in order.
    if parts.signed_headers.split(';').is_sorted() {
        signed_headers(parts.signed_headers.split(';'), parts.lookup, out);
    } else {
        let mut names: Vec<&str> = parts.signed_headers.split(';').collect();
        names.sort_unstable();
        signed_headers(names.into_iter(), parts.lookup, out);
    }
    out.push(b'\n');
    out.extend_from_slice(parts.payload_hash);
    Ok(())
}

/// The header lines and, after an empty line, their names.
fn signed_headers<'n>(names: impl Iterator<Item = &'n str> + Clone, lookup: Lookup<'_>, out: &mut Vec<u8>) {
    names.clone().for_each(|name| canonical_header(name, lookup, out));
    out.push(b'\n');
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// Sorted by encoded name, then encoded value.
fn canonical_query(query: Query<'_>, out: &mut Vec<u8>) -> Result<(), BadEscape> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for pair in query.decoded() {
        let (name, value) = pair?;
        if name.eq_ignore_ascii_case(b"X-Amz-Signature") {
            continue;
        }
        let (mut encoded_name, mut encoded_value) =
            (Vec::with_capacity(name.len() + 8), Vec::with_capacity(value.len() + 8));
        encode(&name, Keep::Unreserved, &mut encoded_name);
        encode(&value, Keep::Unreserved, &mut encoded_value);
        pairs.push((encoded_name, encoded_value));
    }
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
    Ok(())
}

/// `name:value,value\n`, each value trimmed, runs of spaces folded to one.
fn canonical_header(name: &str, lookup: Lookup<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut first = true;
    lookup(name, &mut |value: &[u8]| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        let mut space = false;
        for &byte in value.trim_ascii() {
            if byte != b' ' || !space {
                out.push(byte);
            }
            space = byte == b' ';
        }
    });
    out.push(b'\n');
}
