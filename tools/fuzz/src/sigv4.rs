//! Targets of `net/sigv4`.
//!
//! Invariant: nobody without the secret is ever taken for its holder, and its holder always is.
//! Owner: the wire group.

use stria_http::{Head, head};
use stria_sigv4::aws_chunked::{Decoder, Event};
use stria_sigv4::sign::{Request, Signer};
use stria_sigv4::{
    AuthError, Authenticated, KeyCache, OneKey, RegionPolicy, StreamError, VerifyOptions, verify,
};

const SECRETS: OneKey<'static> = OneKey { access_key: "AK", secret: "a secret no input knows" };
const SIGNER: Signer<'static> = Signer {
    access_key: "AK",
    secret: "a secret no input knows",
    region: "us-east-1",
    service: "s3",
    session_token: None,
};
const NOW: u64 = 1_369_353_600;
const OPTIONS: VerifyOptions<'static> =
    VerifyOptions { now_unix_s: NOW, region: RegionPolicy::Any, service: "s3" };

fn check(head: &Head) -> Result<Authenticated, AuthError> {
    verify(&mut KeyCache::new(), &SECRETS, head, &OPTIONS)
}

/// Heads: raw ones never authenticate; a path and query signed by us always do.
pub fn sigv4_canonical(bytes: &[u8]) {
    if let Ok(Some((head, _))) = head::parse(bytes) {
        match check(&head) {
            Ok(Authenticated::Signed(_)) => panic!("forged"),
            Ok(Authenticated::Anonymous { .. }) => assert!(!head.contains("authorization")),
            Err(error) => error.details(&mut |_, _| ()),
        }
    }
    let Ok(target) = std::str::from_utf8(bytes) else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = vec![("host".to_owned(), "h:9000".to_owned())];
    let mut request = Request { method: "GET", path, query, headers };
    if SIGNER.sign(&mut request, "UNSIGNED-PAYLOAD", NOW).is_err() {
        return;
    }
    let mut text = format!("GET {path}?{query} HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let Ok(Some((head, used))) = head::parse(text.as_bytes()) else {
        return;
    };
    // Only when the input did not end the head early or claim something in the query itself.
    if used == text.len() && head.path() == path.as_bytes() && head.query() == query.as_bytes() {
        match check(&head) {
            Ok(Authenticated::Signed(_)) | Err(AuthError::MultipleMechanisms | AuthError::BadUri) => {}
            // The input may carry a session token, or leave our headers out by ending the request line.
            Err(AuthError::InvalidToken) => {}
            other => panic!("{other:?} for {text:?}"),
        }
    }
}

fn decode(mut decoder: Decoder, body: &[u8], step: usize) -> Result<Vec<u8>, StreamError> {
    let mut payload = Vec::new();
    for piece in body.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, event) = decoder.decode(rest)?;
            assert!(used > 0);
            rest = &rest[used..];
            if let Event::Data(data) = event {
                payload.extend_from_slice(data);
            }
        }
    }
    decoder.finish()?;
    assert_eq!(decoder.body_left(), 0);
    Ok(payload)
}

/// Streaming bodies: first byte = mode, second = step, third = announced length. The cut does not
/// matter, and a signed body that we did not sign is never complete.
pub fn aws_chunked(bytes: &[u8]) {
    let [mode, step, length, body @ ..] = bytes else {
        return;
    };
    let mode = [
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ][usize::from(mode % 3)];
    let trailer = if mode.ends_with("TRAILER") { "x-amz-checksum-crc32" } else { "" };
    let mut request = Request { method: "PUT", path: "/b/k", query: "", headers: Vec::new() };
    for (name, value) in
        [("host", "h"), ("x-amz-decoded-content-length", &length.to_string()), ("x-amz-trailer", trailer)]
    {
        request.headers.push((name.into(), value.into()));
    }
    SIGNER.sign(&mut request, mode, NOW).expect("no escapes");
    let lines: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!("PUT /b/k HTTP/1.1\r\n{lines}\r\n");
    let (head, _) = head::parse(text.as_bytes()).expect("well-formed").expect("complete");
    let Ok(Authenticated::Signed(verified)) = check(&head) else {
        panic!("our own signature");
    };
    let new = || Decoder::for_verified(&head, &verified).expect("announced");
    let whole = decode(new(), body, body.len().max(1));
    assert_eq!(decode(new(), body, usize::from(*step).max(1)), whole);
    if let Ok(payload) = whole {
        assert_eq!(payload.len(), usize::from(*length));
        assert!(!verified.payload.is_chunk_signed(), "forged");
    }
}
