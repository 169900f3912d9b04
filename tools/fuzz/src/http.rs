//! Targets of `net/http`.
//!
//! Invariant: what was read does not depend on how the bytes were cut. Owner: the wire group.

use stria_http::chunked::{Decoder, Event};
use stria_http::error::ChunkError;
use stria_http::{BodyFraming, Head, head};

fn summary(head: &Head) -> (Vec<u8>, Vec<u8>, BodyFraming, usize) {
    (head.path().to_vec(), head.query().to_vec(), head.framing(), head.header_count())
}

/// Request heads: an accepted head is clean, ends where it says, and no prefix of it was judged otherwise.
pub fn http_head(bytes: &[u8]) {
    let Ok(Some((head, used))) = head::parse(bytes) else {
        return;
    };
    assert!(bytes[..used].ends_with(b"\r\n\r\n"));
    assert!(!bytes[..used - 4].windows(4).any(|window| window == b"\r\n\r\n"));
    let alone = head::parse(&bytes[..used]).expect("accepted with more bytes").expect("complete");
    assert_eq!((summary(&alone.0), alone.1), (summary(&head), used));
    let cut = usize::from(bytes[0]).wrapping_mul(131) % used;
    assert!(matches!(head::parse(&bytes[..cut]), Ok(None)), "cut at {cut}");
    for (name, value) in head.headers() {
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        assert!(value.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)));
    }
    let lengths = head.get_all("content-length").count();
    let encodings = head.get_all("transfer-encoding").count();
    match head.framing() {
        BodyFraming::None => assert_eq!((lengths, encodings), (0, 0)),
        BodyFraming::Length(_) => assert_eq!((lengths, encodings), (1, 0)),
        BodyFraming::Chunked => assert_eq!((lengths, encodings), (0, 1)),
    }
    let _ = (head.keep_alive(), head.expect_continue(), head.host(), head.method_bytes());
}

type Outcome = Result<(Vec<u8>, usize, bool), ChunkError>;

fn decode(body: &[u8], step: usize) -> Outcome {
    let (mut decoder, mut payload, mut taken) = (Decoder::new(), Vec::new(), 0);
    for piece in body.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, event) = decoder.decode(rest)?;
            taken += used;
            rest = &rest[used..];
            match event {
                Event::Data(data) => payload.extend_from_slice(data),
                Event::NeedInput => assert!(rest.is_empty()),
                Event::End => return Ok((payload, taken, true)),
            }
        }
    }
    Ok((payload, taken, false))
}

/// Chunked bodies: the cut does not matter.
pub fn chunked(bytes: &[u8]) {
    let Some((&step, body)) = bytes.split_first() else {
        return;
    };
    let whole = decode(body, body.len().max(1));
    assert_eq!(decode(body, usize::from(step).max(1)), whole);
    if let Ok((payload, taken, _)) = whole {
        assert!(payload.len() <= taken && taken <= body.len());
    }
}
