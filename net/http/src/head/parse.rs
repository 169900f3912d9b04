//! From bytes to a [`Head`], refusing every form two readers could take differently (RFC 9112 §11).
//!
//! Invariant: nothing is repaired. A head that httparse would tolerate (bare LF, folded lines, leading
//! empty lines) is refused before it is asked. Runs on the accepting core. Owner: `net/http`.

use std::mem::MaybeUninit;

use stria_base::limits::{HEAD_BYTES_MAX, HEADER_COUNT_MAX};

use super::{BodyFraming, FIELD_BYTES, Field, Head, Method, Span, Version};
use crate::HeadError;

/// Parses one head at the start of `bytes`: the head and the number of bytes it took, or `None` when
/// more bytes are needed. Bytes after the head are not looked at.
///
/// # Errors
/// [`HeadError`] as soon as the bytes at hand break a rule, also before the head is complete.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let Some(len) = head_len(bytes)? else {
        return Ok(None);
    };
    let bytes = &bytes[..len];
    let mut lines: [MaybeUninit<httparse::Header<'_>>; HEADER_COUNT_MAX] =
        [const { MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete(consumed)) if consumed == len => {}
        // The blank line was found by us, so an incomplete head is a malformed one.
        Ok(_) => return Err(HeadError::BadRequestLine),
        Err(error) => return Err(map_error(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::BadRequestLine);
    };
    let version = if minor == 1 { Version::Http11 } else { Version::Http10 };
    let mut store = Vec::with_capacity(len + request.headers.len() * FIELD_BYTES);
    store.extend_from_slice(bytes);
    for line in request.headers.iter() {
        if line.name.is_empty() {
            return Err(HeadError::BadHeaderName);
        }
        let name = span_of(bytes, line.name.as_bytes());
        let value = span_of(bytes, line.value.trim_ascii());
        store.extend_from_slice(&Field { name, value }.to_bytes());
    }
    let mut head = Head {
        bytes: store.into_boxed_slice(),
        head_bytes: len as u16,
        method: Method::from_token(method.as_bytes()),
        version,
        framing: BodyFraming::None,
        method_text: span_of(bytes, method.as_bytes()),
        path: Span::default(),
        query: None,
        host: Span::default(),
    };
    let target = span_of(bytes, target.as_bytes());
    set_host(&mut head)?;
    set_target(&mut head, target)?;
    head.framing = framing(&head)?;
    Ok(Some((head, len)))
}

/// Finds the blank line and checks every byte up to it.
fn head_len(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    if bytes.starts_with(b"PRI * HTTP/2") {
        return Err(HeadError::Http2Preface);
    }
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let mut line_start = 0;
    let (words, tail) = window.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let mut marks = control_marks(u64::from_le_bytes(*word));
        while marks != 0 {
            let at = index * 8 + (marks.trailing_zeros() / 8) as usize;
            if let Some(len) = control_byte(window, at, &mut line_start)? {
                return Ok(Some(len));
            }
            marks &= marks - 1;
        }
    }
    for at in window.len() - tail.len()..window.len() {
        if let Some(len) = control_byte(window, at, &mut line_start)? {
            return Ok(Some(len));
        }
    }
    if bytes.len() >= HEAD_BYTES_MAX { Err(HeadError::HeadTooLarge) } else { Ok(None) }
}

/// The high bit of every byte that is at most CR; perhaps of others above such a byte, never too few.
const fn control_marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LIMIT: u64 = ONES * (b'\r' as u64 + 1);
    word.wrapping_sub(LIMIT) & !word & (ONES << 7)
}

/// Judges the byte at `at`; the length of the head if it ends there.
fn control_byte(window: &[u8], at: usize, line_start: &mut usize) -> Result<Option<usize>, HeadError> {
    match window[at] {
        0 => return Err(HeadError::NulByte),
        b'\r' if window.get(at + 1).is_some_and(|&next| next != b'\n') => {
            return Err(HeadError::BareLineBreak);
        }
        b'\n' => {
            if at == 0 || window[at - 1] != b'\r' {
                return Err(HeadError::BareLineBreak);
            }
            if at - 1 == *line_start {
                // An empty line: before a request line it is noise, after it the end.
                return if at == 1 { Err(HeadError::BadRequestLine) } else { Ok(Some(at + 1)) };
            }
            *line_start = at + 1;
            if matches!(window.get(at + 1), Some(b' ' | b'\t')) {
                return Err(HeadError::ObsFold);
            }
        }
        _ => {}
    }
    Ok(None)
}

fn map_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::BadHeaderName,
        httparse::Error::HeaderValue => HeadError::BadHeaderValue,
        httparse::Error::NewLine => HeadError::BareLineBreak,
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => HeadError::BadVersion,
        httparse::Error::Token | httparse::Error::Status => HeadError::BadRequestLine,
    }
}

/// Where `part`, a slice of `whole`, lies in it.
fn span_of(whole: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    if part.is_empty() && start > whole.len() {
        // A trimmed-away value may point anywhere; it is empty wherever it lies.
        return Span::default();
    }
    assert!(start + part.len() <= whole.len(), "httparse yields slices of its input");
    Span { start: start as u16, end: (start + part.len()) as u16 }
}

fn set_host(head: &mut Head) -> Result<(), HeadError> {
    let mut first = None;
    for field in head.fields().filter(|field| head.named(field, "host")) {
        if first.replace(field.value).is_some() {
            return Err(HeadError::DuplicateHost);
        }
    }
    match first {
        Some(value) if is_authority(head.slice(value)) => head.host = value,
        Some(_) => return Err(HeadError::BadHost),
        None if head.version == Version::Http11 => return Err(HeadError::MissingHost),
        None => {}
    }
    Ok(())
}

/// Host name, IPv4 or bracketed IPv6 with an optional port: no user info, no path, no white space.
fn is_authority(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|&b| b == b':') {
        Some(colon) if !host.ends_with(b"]") => (&host[..colon], &host[colon + 1..]),
        _ => (host, &b"0"[..]),
    };
    let bracketed = name.first() == Some(&b'[');
    let name_is_good = if bracketed {
        name.len() > 2
            && name.ends_with(b"]")
            && name[1..name.len() - 1].iter().all(|&b| b.is_ascii_hexdigit() || b":.".contains(&b))
    } else {
        !name.is_empty() && name.iter().all(|&b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    name_is_good && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

fn set_target(head: &mut Head, target: Span) -> Result<(), HeadError> {
    let text = head.slice(target);
    // Visible ASCII and raw UTF-8; a fragment never belongs into a request.
    if text.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'#') {
        return Err(HeadError::BadTarget);
    }
    let mut start = target.start;
    if text.first() != Some(&b'/') {
        if text == b"*" && head.method == Method::Options {
            head.path = target;
            return Ok(());
        }
        let authority = absolute_authority(text).ok_or(HeadError::BadTarget)?;
        if !authority.eq_ignore_ascii_case(head.host()) {
            return Err(HeadError::HostMismatch);
        }
        let scheme_len = text.len() - text.splitn(3, |&b| b == b'/').nth(2).map_or(0, <[u8]>::len);
        start += (scheme_len + authority.len()) as u16;
    }
    let rest = Span { start, end: target.end };
    let (path, query) = match head.slice(rest).iter().position(|&b| b == b'?') {
        Some(mark) => {
            let mark = rest.start + mark as u16;
            (Span { start: rest.start, end: mark }, Some(Span { start: mark + 1, end: rest.end }))
        }
        None => (rest, None),
    };
    if head.slice(path).first() != Some(&b'/') {
        return Err(HeadError::BadTarget);
    }
    (head.path, head.query) = (path, query);
    Ok(())
}

/// The authority of `http://authority/...`.
fn absolute_authority(text: &[u8]) -> Option<&[u8]> {
    let colon = text.iter().position(|&b| b == b':')?;
    let scheme = &text[..colon];
    if !(scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")) {
        return None;
    }
    let rest = text[colon..].strip_prefix(b"://")?;
    let end = rest.iter().position(|&b| b == b'/')?;
    (end > 0).then_some(&rest[..end])
}

/// RFC 9112 §6.3, with every doubtful combination refused.
fn framing(head: &Head) -> Result<BodyFraming, HeadError> {
    let (mut length, mut encoding) = (None, None);
    for field in head.fields() {
        if head.named(&field, "content-length") && length.replace(field.value).is_some() {
            return Err(HeadError::DuplicateContentLength);
        }
        if head.named(&field, "transfer-encoding") && encoding.replace(field.value).is_some() {
            return Err(HeadError::BadTransferEncoding);
        }
    }
    match (length, encoding) {
        (Some(_), Some(_)) => Err(HeadError::LengthAndTransferEncoding),
        (None, None) => Ok(BodyFraming::None),
        (Some(value), None) => {
            content_length(head.slice(value)).map(BodyFraming::Length).ok_or(HeadError::BadContentLength)
        }
        (None, Some(value)) => {
            let chunked = head.slice(value).eq_ignore_ascii_case(b"chunked");
            if chunked && head.version == Version::Http11 {
                Ok(BodyFraming::Chunked)
            } else {
                Err(HeadError::BadTransferEncoding)
            }
        }
    }
}

fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length = 0u64;
    for &digit in value {
        if !digit.is_ascii_digit() {
            return None;
        }
        length = length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (length <= i64::MAX as u64).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_control_byte_goes_unmarked(bytes: [u8; 8], low in proptest::array::uniform8(0u8..20)) {
            for word in [bytes, low] {
                let marks = super::control_marks(u64::from_le_bytes(word)).to_le_bytes();
                for (byte, mark) in word.into_iter().zip(marks) {
                    prop_assert!(byte > b'\r' || mark == 0x80);
                }
            }
        }
    }
}
