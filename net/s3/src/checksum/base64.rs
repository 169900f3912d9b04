//! Base64 (RFC 4648 §4) of checksums and tokens: padded, strict.
//!
//! Invariant: exactly one text decodes to given bytes; trailing bits that are not zero are refused.
//! Any core. Owner: `net/s3`.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        let word = word << (8 * (3 - group.len()));
        for digit in 0..4 {
            if digit <= group.len() {
                out.push(char::from(ALPHABET[(word >> (18 - 6 * digit) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// The bytes of a text; `None` when it is not exactly what [`encode`] writes.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for (at, group) in text.chunks_exact(4).enumerate() {
        let last = (at + 1) * 4 == text.len();
        let padding = group.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || (padding > 0 && !last) {
            return None;
        }
        let mut word = 0;
        for &digit in &group[..4 - padding] {
            word = word << 6 | value(digit)?;
        }
        word <<= 6 * padding;
        let bytes = word.to_be_bytes();
        let (taken, rest) = bytes[1..].split_at(3 - padding);
        if rest.iter().any(|&byte| byte != 0) {
            return None;
        }
        out.extend_from_slice(taken);
    }
    Some(out)
}
