//! The corpus of heads: what is taken, and what is refused with which error. Each line of the refused
//! ones is a way in which some other reader of HTTP has disagreed with its neighbour.

use proptest::prelude::*;
use stria_base::limits::HEADER_COUNT_MAX;

use super::*;
use crate::HeadError as E;

const OK: &str = "GET /bucket/key?versionId=1 HTTP/1.1\r\nHost: s3.example.com:9000\r\nX-Amz-Date: 20130524T000000Z \r\nConnection: keep-alive\r\n\r\n";

fn check(text: &[u8]) -> Result<Head, HeadError> {
    let (head, used) = parse(text)?.expect("complete");
    assert!(used <= text.len());
    Ok(head)
}

use crate::HeadError;

#[test]
fn the_parts_of_a_head() {
    let head = check(OK.as_bytes()).expect("well-formed");
    assert_eq!((head.method(), head.method_bytes()), (Method::Get, &b"GET"[..]));
    assert_eq!((head.path(), head.query()), (&b"/bucket/key"[..], &b"versionId=1"[..]));
    assert_eq!(head.host(), b"s3.example.com:9000");
    assert_eq!(head.get("x-amz-DATE"), Some(&b"20130524T000000Z"[..]));
    assert_eq!((head.header_count(), head.get("missing")), (3, None));
    assert_eq!((head.framing(), head.keep_alive(), head.expect_continue()), (BodyFraming::None, true, false));
}

#[test]
fn bytes_after_the_head_are_left_alone() {
    let with_body = format!("{OK}body");
    let (_, used) = parse(with_body.as_bytes()).expect("well-formed").expect("complete");
    assert_eq!(used, OK.len());
}

#[test]
fn every_prefix_asks_for_more() {
    for cut in 0..OK.len() {
        assert!(matches!(parse(&OK.as_bytes()[..cut]), Ok(None)), "cut at {cut}");
    }
}

fn with(lines: &str) -> String {
    format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn framings() {
    let framing = |lines: &str| check(with(lines).as_bytes()).map(|head| head.framing());
    assert_eq!(framing(""), Ok(BodyFraming::None));
    assert_eq!(framing("Content-Length: 0\r\n"), Ok(BodyFraming::Length(0)));
    assert_eq!(framing("content-length:  0012\t\r\n"), Ok(BodyFraming::Length(12)));
    assert_eq!(framing("Content-Length: 9223372036854775807\r\n"), Ok(BodyFraming::Length(i64::MAX as u64)));
    assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(BodyFraming::Chunked));
}

#[test]
fn connection_and_expect() {
    let head = |lines: &str| check(with(lines).as_bytes()).expect("well-formed");
    assert!(!head("Connection: foo, Close\r\n").keep_alive());
    assert!(!head("Connection: foo\r\nConnection: close\r\n").keep_alive());
    assert!(head("Connection: closed\r\n").keep_alive());
    assert!(head("Expect: 100-Continue\r\nContent-Length: 5\r\n").expect_continue());
    assert!(!head("Expect: 100-continue\r\n").expect_continue());
    let old = check(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("tolerated");
    assert!(!old.keep_alive() && old.host().is_empty());
}

#[test]
fn repeated_headers_are_seen() {
    let head = check(with("A: 1\r\nB:\r\na: 2\r\n").as_bytes()).expect("well-formed");
    assert_eq!(head.get_all("A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.get_single("a"), Err(Duplicate));
    assert_eq!((head.get_single("b"), head.get_single("c")), (Ok(Some(&b""[..])), Ok(None)));
}

#[test]
fn absolute_targets_must_agree_with_host() {
    let head = check(b"GET http://H:80/b/k?x HTTP/1.1\r\nHost: h:80\r\n\r\n").expect("same host");
    assert_eq!((head.path(), head.query()), (&b"/b/k"[..], &b"x"[..]));
    assert_eq!(check(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").expect("asterisk").path(), b"*");
}

#[test]
fn hosts() {
    for good in ["h", "a.b-c_d~e", "127.0.0.1:9000", "[::1]", "[::1]:9000", "[::ffff:1.2.3.4]:1", "h:"] {
        let text = format!("GET / HTTP/1.1\r\nHost: {good}\r\n\r\n");
        assert_eq!(check(text.as_bytes()).map(|head| head.host().to_vec()), Ok(good.into()), "{good}");
    }
}

/// Whole heads.
const REFUSED: &[(&str, HeadError)] = &[
    // Line breaks and control characters.
    ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", E::BareLineBreak),
    ("GET / HTTP/1.1\nHost: h\n\n", E::BareLineBreak),
    ("GET / HTTP/1.1\r\nHost: h\n\r\n", E::BareLineBreak),
    ("GET / HTTP/1.1\r\nHost: h\r\n\n", E::BareLineBreak),
    ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n", E::BareLineBreak),
    ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n", E::BareLineBreak),
    ("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", E::BareLineBreak),
    ("GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", E::BareLineBreak),
    ("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", E::NulByte),
    ("GET / HTTP/1.1\r\nHost: h\0\r\n\r\n", E::NulByte),
    ("GET / HTTP/1.1\r\n\0Host: h\r\n\r\n", E::NulByte),
    // Folding.
    ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", E::ObsFold),
    ("GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", E::ObsFold),
    ("GET / HTTP/1.1\r\nHost: h\r\n A: b\r\n\r\n", E::ObsFold),
    ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n", E::ObsFold),
    ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n 5\r\n\r\n", E::ObsFold),
    ("GET / HTTP/1.1\r\nHost: h\r\n \r\n\r\n", E::ObsFold),
    // Request lines.
    (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GET\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GET /\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GE(T / HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("G\u{e9}T / HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    (": / HTTP/1.1\r\nHost: h\r\n\r\n", E::BadRequestLine),
    ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", E::BareLineBreak),
    ("GET / HTTP/1.1x\r\nHost: h\r\n\r\n", E::BareLineBreak),
    // Versions.
    ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / HTTP/11\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / http/1.1\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / HTTP/1.\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / ICAP/1.1\r\nHost: h\r\n\r\n", E::BadVersion),
    ("GET / /HTTP/1.1\r\nHost: h\r\n\r\n", E::BadVersion),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::Http2Preface),
    // Targets.
    ("GET key HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET ?a HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", E::BadTarget),
    ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET http:///k HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", E::BadTarget),
    ("GET http://h?a/ HTTP/1.1\r\nHost: h\r\n\r\n", E::HostMismatch),
    ("GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n", E::HostMismatch),
    ("GET http://h:81/ HTTP/1.1\r\nHost: h:80\r\n\r\n", E::HostMismatch),
    ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", E::HostMismatch),
    ("GET https://h.evil/ HTTP/1.1\r\nHost: h\r\n\r\n", E::HostMismatch),
    // Hosts.
    ("GET / HTTP/1.1\r\n\r\n", E::MissingHost),
    ("GET / HTTP/1.1\r\nA: b\r\n\r\n", E::MissingHost),
    ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", E::DuplicateHost),
    ("GET / HTTP/1.1\r\nHost: h\r\nhOST: g\r\n\r\n", E::DuplicateHost),
    ("GET / HTTP/1.0\r\nHost: h\r\nHost: g\r\n\r\n", E::DuplicateHost),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: \r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: []\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", E::BadHost),
    ("GET / HTTP/1.1\r\nHost: h\u{e9}\r\n\r\n", E::BadHost),
];

/// Header lines of an otherwise good PUT.
const REFUSED_LINES: &[(&str, HeadError)] = &[
    // Names.
    (": v\r\n", E::BadHeaderName),
    (":\r\n", E::BadHeaderName),
    ("A : v\r\n", E::BadHeaderName),
    ("A\t: v\r\n", E::BadHeaderName),
    ("Content-Length : 5\r\n", E::BadHeaderName),
    ("Content-Length\t: 5\r\n", E::BadHeaderName),
    ("Transfer-Encoding : chunked\r\n", E::BadHeaderName),
    ("A B: v\r\n", E::BadHeaderName),
    ("A\r\n", E::BadHeaderName),
    ("A=b\r\n", E::BadHeaderName),
    ("A(b): v\r\n", E::BadHeaderName),
    ("\"A\": v\r\n", E::BadHeaderName),
    ("A@: v\r\n", E::BadHeaderName),
    ("A[]: v\r\n", E::BadHeaderName),
    ("A{}: v\r\n", E::BadHeaderName),
    ("A,B: v\r\n", E::BadHeaderName),
    ("A;B: v\r\n", E::BadHeaderName),
    ("A/B: v\r\n", E::BadHeaderName),
    ("A?: v\r\n", E::BadHeaderName),
    ("<A>: v\r\n", E::BadHeaderName),
    ("A\\: v\r\n", E::BadHeaderName),
    ("\u{e9}: v\r\n", E::BadHeaderName),
    ("\u{212a}ey: v\r\n", E::BadHeaderName),
    ("Content\u{ad}-Length: 5\r\n", E::BadHeaderName),
    ("A\x01: v\r\n", E::BadHeaderName),
    ("A\x0b: v\r\n", E::BadHeaderName),
    ("A\x7f: v\r\n", E::BadHeaderName),
    ("\x0bContent-Length: 5\r\n", E::BadHeaderName),
    // Values.
    ("A: \x01\r\n", E::BadHeaderValue),
    ("A: b\x08\r\n", E::BadHeaderValue),
    ("A: \x0bb\r\n", E::BadHeaderValue),
    ("A: b\x0c\r\n", E::BadHeaderValue),
    ("A: \x1b[0m\r\n", E::BadHeaderValue),
    ("A: \x7f\r\n", E::BadHeaderValue),
    ("Content-Length: \x0b5\r\n", E::BadHeaderValue),
    ("Content-Length: 5\x0c\r\n", E::BadHeaderValue),
    ("Transfer-Encoding: \x0bchunked\r\n", E::BadHeaderValue),
    ("Transfer-Encoding: chunked\x0c\r\n", E::BadHeaderValue),
    ("Transfer-Encoding: chunked\x00\r\n", E::NulByte),
    // Content-Length.
    ("Content-Length:\r\n", E::BadContentLength),
    ("Content-Length: \r\n", E::BadContentLength),
    ("Content-Length: +5\r\n", E::BadContentLength),
    ("Content-Length: -5\r\n", E::BadContentLength),
    ("Content-Length: -0\r\n", E::BadContentLength),
    ("Content-Length: 5,5\r\n", E::BadContentLength),
    ("Content-Length: 5, 5\r\n", E::BadContentLength),
    ("Content-Length: 5 5\r\n", E::BadContentLength),
    ("Content-Length: 5;\r\n", E::BadContentLength),
    ("Content-Length: \"5\"\r\n", E::BadContentLength),
    ("Content-Length: 0x5\r\n", E::BadContentLength),
    ("Content-Length: 5a\r\n", E::BadContentLength),
    ("Content-Length: 5.0\r\n", E::BadContentLength),
    ("Content-Length: 5e0\r\n", E::BadContentLength),
    ("Content-Length: 1_000\r\n", E::BadContentLength),
    ("Content-Length: \u{ff15}\r\n", E::BadContentLength),
    ("Content-Length: chunked\r\n", E::BadContentLength),
    ("Content-Length: 9223372036854775808\r\n", E::BadContentLength),
    ("Content-Length: 18446744073709551616\r\n", E::BadContentLength),
    ("Content-Length: 18446744073709551621\r\n", E::BadContentLength),
    ("Content-Length: 99999999999999999999999\r\n", E::BadContentLength),
    ("Content-Length: 00000000000000000005\r\n", E::BadContentLength),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", E::DuplicateContentLength),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", E::DuplicateContentLength),
    ("Content-Length: 5\r\ncontent-length: 0\r\n", E::DuplicateContentLength),
    ("Content-Length: 5\r\nA: b\r\nCONTENT-LENGTH: 5\r\n", E::DuplicateContentLength),
    ("Content-Length: 5\r\nContent-Length:\r\n", E::DuplicateContentLength),
    // Both framings.
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", E::LengthAndTransferEncoding),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", E::LengthAndTransferEncoding),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", E::LengthAndTransferEncoding),
    ("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", E::LengthAndTransferEncoding),
    ("Content-Length: x\r\nTransfer-Encoding: chunked\r\n", E::LengthAndTransferEncoding),
    ("Content-Length: 5\r\nTransfer-Encoding:\r\n", E::LengthAndTransferEncoding),
    // Transfer-Encoding.
    ("Transfer-Encoding:\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: identity\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: gzip\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: gzip, chunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked, gzip\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked, identity\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: identity, chunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked, chunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked,\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: ,chunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked;q=1\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: \"chunked\"\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: 'chunked'\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: xchunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunkedx\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chun ked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: c\u{a0}hunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked\u{a0}\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chun\u{212a}ed\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n", E::BadTransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", E::BadTransferEncoding),
];

#[test]
fn the_corpus_of_refused_heads() {
    assert!(REFUSED.len() + REFUSED_LINES.len() >= 150, "{}", REFUSED.len() + REFUSED_LINES.len());
    let mut wrong = Vec::new();
    let whole = REFUSED.iter().map(|(text, want)| ((*text).to_owned(), *want));
    for (text, want) in whole.chain(REFUSED_LINES.iter().map(|(lines, want)| (with(lines), *want))) {
        let got = parse(text.as_bytes()).map(|head| head.map(|_| ()));
        if got != Err(want) {
            wrong.push(format!("{text:?}: want {want:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_http_1_0_client_cannot_send_chunks() {
    let text = b"PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(check(text).map(|_| ()), Err(E::BadTransferEncoding));
}

#[test]
fn limits_of_bytes_and_lines() {
    let lines = |n: usize| with(&"A: b\r\n".repeat(n));
    assert!(check(lines(HEADER_COUNT_MAX - 1).as_bytes()).is_ok());
    assert_eq!(check(lines(HEADER_COUNT_MAX).as_bytes()).map(|_| ()), Err(E::TooManyHeaders));
    let long = |n: usize| with(&format!("A: {}\r\n", "x".repeat(n)));
    let room = stria_base::limits::HEAD_BYTES_MAX - with("A: \r\n").len();
    assert!(check(long(room).as_bytes()).is_ok());
    assert_eq!(check(long(room + 1).as_bytes()).map(|_| ()), Err(E::HeadTooLarge));
    // A client that never ends its head is told so at the limit, not later.
    assert_eq!(parse(&[b'G'; 16 * 1024]).map(|_| ()), Err(E::HeadTooLarge));
}

#[test]
fn statuses() {
    for (error, status) in [
        (E::HeadTooLarge, 431),
        (E::BadVersion, 505),
        (E::BadTransferEncoding, 501),
        (E::LengthAndTransferEncoding, 400),
    ] {
        assert_eq!(error.status(), status);
        assert!(!error.reason().is_empty());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    /// One byte of a good head changed: the result is an error or a head, and the same one whether the
    /// bytes came at once or with more behind them.
    #[test]
    fn one_byte_changed(at in 0..OK.len(), byte: u8) {
        let mut bytes = OK.as_bytes().to_vec();
        bytes[at] = byte;
        let alone = parse(&bytes).map(|head| head.map(|(head, used)| (head.path().to_vec(), used)));
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let more = parse(&bytes).map(|head| head.map(|(head, used)| (head.path().to_vec(), used)));
        if alone != Ok(None) {
            prop_assert_eq!(alone, more);
        }
    }

    /// What an early error says of a prefix, no later byte can mend.
    #[test]
    fn errors_are_final(cut in 0..OK.len(), byte: u8) {
        let mut bytes = OK.as_bytes()[..cut].to_vec();
        bytes.push(byte);
        if parse(&bytes).is_err() {
            bytes.extend_from_slice(&OK.as_bytes()[cut..]);
            prop_assert!(parse(&bytes).is_err());
        }
    }
}
