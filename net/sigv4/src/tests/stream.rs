//! Streaming bodies: the documentation's examples, every cut, and every lie about a chunk.

use proptest::prelude::*;

use super::*;
use crate::PayloadMode;
use crate::aws_chunked::{Decoder, Event, Trailer};
use crate::error::StreamError;
use crate::sign::StreamEncoder;

const STREAM: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const STREAM_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

fn read(mut decoder: Decoder, body: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Trailer>), StreamError> {
    let mut payload = Vec::new();
    for piece in body.chunks(step.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, event) = decoder.decode(rest)?;
            assert!(used > 0, "decode always takes something");
            rest = &rest[used..];
            if let Event::Data(data) = event {
                payload.extend_from_slice(data);
            }
        }
    }
    decoder.finish()?;
    Ok((payload, decoder.trailers().to_vec()))
}

/// A signed head for a body of `decoded` bytes, with what the body continues from.
fn upload(mode: &str, decoded: usize, trailers: &[&str]) -> (Head, crate::sign::Seed) {
    let mut signed = request("PUT", "/k", "");
    signed.headers.push(("x-amz-decoded-content-length".into(), decoded.to_string()));
    if !trailers.is_empty() {
        signed.headers.push(("x-amz-trailer".into(), trailers.join(",")));
    }
    let seed = SIGNER.sign(&mut signed, mode, NOW).expect("well-formed");
    (head_of(&signed, ""), seed)
}

fn decoder(head: &Head) -> Decoder {
    Decoder::for_verified(head, &verified(head)).expect("announced")
}

fn documentation_head(mode: &str, decoded: &str, more: &str, signed: &str, signature: &str) -> Head {
    parse(&format!(
        "PUT /examplebucket/chunkObject.txt HTTP/1.1\r\nHost: s3.amazonaws.com\r\nx-amz-date: 20130524T000000Z\r\nx-amz-storage-class: REDUCED_REDUNDANCY\r\nAuthorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}\r\nx-amz-content-sha256: {mode}\r\nContent-Encoding: aws-chunked\r\nx-amz-decoded-content-length: {decoded}\r\n{more}\r\n"
    ))
}

fn documentation_body(first: &str, second: &str, last: &str, end: &str) -> Vec<u8> {
    let mut body = format!("10000;chunk-signature={first}\r\n").into_bytes();
    body.resize(body.len() + 65_536, b'a');
    body.extend_from_slice(format!("\r\n400;chunk-signature={second}\r\n").as_bytes());
    body.resize(body.len() + 1024, b'a');
    body.extend_from_slice(format!("\r\n0;chunk-signature={last}\r\n{end}").as_bytes());
    body
}

#[test]
fn documentation_chunked_upload() {
    let head = documentation_head(
        STREAM,
        "66560",
        "Content-Length: 66824\r\n",
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let body = documentation_body(
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        "\r\n",
    );
    assert_eq!(body.len(), 66_824);
    for step in [1, 7, 100, 4096, body.len()] {
        let (payload, trailers) = read(decoder(&head), &body, step).expect("the documented signatures");
        assert!(payload.len() == 66_560 && payload.iter().all(|&b| b == b'a') && trailers.is_empty());
    }
}

#[test]
fn documentation_chunked_upload_with_trailer() {
    let head = documentation_head(
        STREAM_TRAILER,
        "66560",
        "x-amz-trailer: x-amz-checksum-crc32c\r\n",
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    let first = "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2";
    let second = "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7";
    let last = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992";
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    // As the documentation has it, and with the line breaks one widespread client makes of it.
    for end in [
        format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{signature}\r\n\r\n"),
        format!("x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:{signature}\r\n\r\n"),
    ] {
        let body = documentation_body(first, second, last, &end);
        let (payload, trailers) = read(decoder(&head), &body, 1000).expect("the documented signatures");
        assert_eq!(payload.len(), 66_560);
        let want: Trailer = ("x-amz-checksum-crc32c".into(), b"sOO8/Q=="[..].into());
        assert_eq!(trailers, [want]);
    }
    let end = format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{last}\r\n\r\n");
    let body = documentation_body(first, second, last, &end);
    assert_eq!(read(decoder(&head), &body, 1000), Err(StreamError::TrailerSignature));
}

fn signed_body(seed: &crate::sign::Seed, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut encoder, mut out) = (StreamEncoder::signed(seed), Vec::new());
    for chunk in chunks {
        encoder.chunk(chunk, &mut out);
    }
    encoder.finish(&mut out);
    out
}

#[test]
fn lies_about_signed_chunks() {
    let big = vec![7u8; 9000];
    let (head, seed) = upload(STREAM, 9005, &[]);
    let good = signed_body(&seed, &[&big, b"hello"]);
    assert!(read(decoder(&head), &good, 333).is_ok());
    // Every truncation, at coarse and at fine steps near the framing.
    for cut in (0..good.len()).filter(|cut| *cut < 120 || *cut > 9000 || cut % 500 == 0) {
        assert_eq!(read(decoder(&head), &good[..cut], 64), Err(StreamError::Incomplete), "cut at {cut}");
    }
    // Every byte changed.
    for at in (0..good.len()).filter(|at| *at < 120 || *at > 9000 || at % 500 == 0) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(read(decoder(&head), &bad, 64).is_err(), "byte {at}");
    }
    // Chunks swapped, repeated, left out.
    let (head, seed) = upload(STREAM, 18_000, &[]);
    let other = vec![8u8; 9000];
    let good = signed_body(&seed, &[&big, &other]);
    let len = 9000 + 6 + 17 + 64 + 4 - 2;
    let (first, second, last) = (&good[..len], &good[len..2 * len], &good[2 * len..]);
    for (bad, want) in [
        ([second, first, last].concat(), StreamError::ChunkSignature),
        ([first, first, last].concat(), StreamError::ChunkSignature),
        ([first, last].concat(), StreamError::Incomplete),
        ([first, second, second, last].concat(), StreamError::ChunkTooLarge),
        ([first, second].concat(), StreamError::Incomplete),
        ([first, second, last, b"\r\n"].concat(), StreamError::TrailingBytes),
        ([first, second, last, last].concat(), StreamError::TrailingBytes),
    ] {
        assert_eq!(read(decoder(&head), &bad, 4096), Err(want));
    }
    // A body signed for another head.
    let (_, other_seed) = upload(STREAM, 18_001, &[]);
    let foreign = signed_body(&other_seed, &[&big, &other]);
    assert_eq!(read(decoder(&head), &foreign, 4096), Err(StreamError::ChunkSignature));
}

#[test]
fn small_chunks_only_at_the_end() {
    let (head, seed) = upload(STREAM, 10, &[]);
    let body = signed_body(&seed, &[b"hello", b"world"]);
    assert_eq!(read(decoder(&head), &body, 64), Err(StreamError::ChunkTooSmall));
    let body = signed_body(&seed, &[b"helloworld"]);
    assert!(read(decoder(&head), &body, 64).is_ok());
}

#[test]
fn malformed_framing() {
    use StreamError::{BadChunkHeader, BadLineBreak, BadTrailer, ChunkTooLarge, Incomplete, TrailingBytes};
    let (head, _) = upload(UNSIGNED_TRAILER, 5, &["x-amz-checksum-crc32"]);
    let trailer = "x-amz-checksum-crc32:AAAAAA==\r\n";
    assert!(read(decoder(&head), format!("5\r\nhello\r\n0\r\n{trailer}\r\n").as_bytes(), 1).is_ok());
    // One widespread client ends its trailers with LF, and adds a CR LF.
    let odd = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n\r\n";
    assert!(read(decoder(&head), odd.as_bytes(), 1).is_ok());
    for (body, want) in [
        ("".into(), Incomplete),
        ("\r\n".into(), BadChunkHeader),
        ("g\r\n".into(), BadChunkHeader),
        ("5\nhello".into(), BadChunkHeader),
        (" 5\r\nhello".into(), BadChunkHeader),
        ("+5\r\nhello".into(), BadChunkHeader),
        ("5;x=y\r\nhello".into(), BadChunkHeader),
        (format!("5;chunk-signature={}\r\nhello", "0".repeat(64)), BadChunkHeader),
        ("00000000005\r\nhello".into(), BadChunkHeader),
        ("x".repeat(2000), BadChunkHeader),
        ("6\r\nhello!".into(), ChunkTooLarge),
        ("ffffffffff\r\nhello".into(), ChunkTooLarge),
        ("5\r\nhello0\r\n".into(), BadLineBreak),
        ("5\r\nhello\n".into(), BadLineBreak),
        ("4\r\nhell\r\n0\r\n\r\n".into(), Incomplete),
        ("5\r\nhello\r\n0\r\n".into(), Incomplete),
        ("5\r\nhello\r\n0\r\n\r\n".into(), BadTrailer),
        ("5\r\nhello\r\n0\r\nno colon\r\n".into(), BadTrailer),
        (format!("5\r\nhello\r\n0\r\n{trailer}{trailer}\r\n"), BadTrailer),
        ("5\r\nhello\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n".into(), BadTrailer),
        ("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:A\rB\r\n\r\n".into(), BadTrailer),
        (format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{}", "A".repeat(2000)), BadTrailer),
        (format!("5\r\nhello\r\n0\r\n{trailer}\r\nx"), TrailingBytes),
        (format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n\r\n"), TrailingBytes),
        (format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r"), Incomplete),
    ] {
        for step in [1, 4096] {
            assert_eq!(read(decoder(&head), body.as_bytes(), step), Err(want), "{body:?}");
        }
    }
}

#[test]
fn announcements_are_checked() {
    let new = |lines: &str| {
        let head = parse(&format!("PUT / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        Decoder::for_anonymous(&head).map(|_| ())
    };
    assert_eq!(new(""), Err(StreamError::MissingDecodedLength));
    for bad in ["", "-1", "+1", "5,5", "0x5", "9999999999999999999"] {
        let lines = format!("x-amz-decoded-content-length: {bad}\r\n");
        assert_eq!(new(&lines), Err(StreamError::BadDecodedLength), "{bad}");
    }
    let length = "x-amz-decoded-content-length: 5\r\n";
    assert_eq!(new(&format!("{length}{length}")), Err(StreamError::BadDecodedLength));
    assert_eq!(new(&format!("{length}x-amz-trailer: a, A\r\n")), Err(StreamError::BadTrailer));
    assert_eq!(new(&format!("{length}x-amz-trailer: a, b\r\n")), Ok(()));
    let (head, _) = upload(STREAM, 5, &["x-amz-checksum-crc32"]);
    let verified = verified(&head);
    assert_eq!(verified.payload, PayloadMode::StreamingSigned);
    assert_eq!(Decoder::for_verified(&head, &verified).map(|_| ()), Err(StreamError::BadTrailer));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Encoder and decoder agree, whatever the chunks, the mode and the cuts.
    #[test]
    fn round_trip(
        sizes in proptest::collection::vec(8192usize..9000, 0..3),
        last in 0usize..8192,
        mode in 0usize..3,
        step in 1usize..5000,
        fill: u8,
    ) {
        let total = sizes.iter().sum::<usize>() + last;
        let mode = [STREAM, STREAM_TRAILER, UNSIGNED_TRAILER][mode];
        let trailers: &[&str] = if mode == STREAM { &[] } else { &["x-amz-checksum-crc32", "x-amz-checksum-sha1"] };
        let (head, seed) = upload(mode, total, trailers);
        let mut encoder =
            if mode == UNSIGNED_TRAILER { StreamEncoder::unsigned() } else { StreamEncoder::signed(&seed) };
        let mut body = Vec::new();
        for size in sizes.iter().copied().chain([last]).filter(|size| *size > 0) {
            encoder.chunk(&vec![fill; size], &mut body);
        }
        if mode == STREAM {
            encoder.finish(&mut body);
        } else {
            let values: Vec<_> = trailers.iter().map(|name| (*name, "AAAAAA==")).collect();
            encoder.finish_with_trailers(&values, &mut body);
        }
        let (payload, got) = read(decoder(&head), &body, step).expect("what the encoder wrote");
        prop_assert!(payload.len() == total && payload.iter().all(|&b| b == fill));
        prop_assert_eq!(got.len(), trailers.len());
    }

    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
        let (head, _) = upload(UNSIGNED_TRAILER, 5, &[]);
        let _ = read(decoder(&head), &body, step);
    }
}
