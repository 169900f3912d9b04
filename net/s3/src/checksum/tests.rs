//! Check values, the documentation's validation errors, and combination against the whole.

use proptest::prelude::*;

use super::*;
use crate::code::ErrorCode;

fn hex_of(algorithm: Algorithm, bytes: &[u8]) -> String {
    Hasher::of(algorithm, bytes).digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The buffer over which xxHash publishes its check values.
fn xxhash_sanity(bytes: usize) -> Vec<u8> {
    let mut state = 2_654_435_761u64;
    std::iter::repeat_with(|| {
        let byte = (state >> 56) as u8;
        state = state.wrapping_mul(11_400_714_785_074_694_797);
        byte
    })
    .take(bytes)
    .collect()
}

#[test]
fn xxhash_check_values_in_canonical_order() {
    for (algorithm, bytes, value) in [
        (Algorithm::Xxhash64, 0, "ef46db3751d8e999"),
        (Algorithm::Xxhash64, 1, "e934a84adb052768"),
        (Algorithm::Xxhash64, 4, "9136a0dca57457ee"),
        (Algorithm::Xxhash64, 14, "8282dcc4994e35c8"),
        (Algorithm::Xxhash64, 222, "b641ae8cb691c174"),
        (Algorithm::Xxhash3, 0, "2d06800538d394c2"),
        (Algorithm::Xxhash3, 1, "c44bdff4074eecdb"),
        (Algorithm::Xxhash3, 6, "27b56a84cd2d7325"),
        (Algorithm::Xxhash3, 12, "a713daf0dfbb77e7"),
        (Algorithm::Xxhash3, 24, "a3fe70bf9d3510eb"),
        (Algorithm::Xxhash3, 48, "397da259ecba1f11"),
        (Algorithm::Xxhash3, 80, "bcdefbbb2c47c90a"),
        (Algorithm::Xxhash3, 195, "cd94217ee362ec3a"),
        (Algorithm::Xxhash3, 403, "cdeb804d65c6dea4"),
        (Algorithm::Xxhash3, 2048, "dd59e2c3a5f038e0"),
        (Algorithm::Xxhash128, 0, "99aa06d3014798d86001c324468d497f"),
        (Algorithm::Xxhash128, 1, "a6cd5e9392000f6ac44bdff4074eecdb"),
        (Algorithm::Xxhash128, 6, "082afe0b8162d12a3e7039bdda43cfc6"),
    ] {
        let data = xxhash_sanity(bytes);
        assert_eq!(hex_of(algorithm, &data), value, "{algorithm:?} of {bytes}");
        let mut pieces = Hasher::new(algorithm);
        data.chunks(7).for_each(|piece| pieces.update(piece));
        assert_eq!(pieces.finish(), Hasher::of(algorithm, &data));
    }
}

#[test]
fn check_values() {
    let of = |algorithm| hex_of(algorithm, b"123456789");
    assert_eq!(of(Algorithm::Crc32), "cbf43926");
    assert_eq!(of(Algorithm::Crc32c), "e3069283");
    assert_eq!(of(Algorithm::Crc64Nvme), "ae8b14860a799888");
    assert_eq!(of(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    assert_eq!(of(Algorithm::Sha256), "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    assert_eq!(of(Algorithm::Md5), "25f9e794323b453885f5181f1b624d0b");
    // Of FIPS 180-4.
    let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                  2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(hex_of(Algorithm::Sha512, b"abc"), sha512);
    // From the trailer example of the AWS documentation: 65 KiB of `a`.
    let body = vec![b'a'; 66_560];
    assert_eq!(Hasher::of(Algorithm::Crc32c, &body).to_base64(), "sOO8/Q==");
}

#[test]
fn base64_is_strict() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64_encode(bytes.as_bytes()), text);
        assert_eq!(base64_decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
    }
    for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "====", "Zm9v\n", "Zm9-", " Zg=="] {
        assert_eq!(base64_decode(bad.as_bytes()), None, "{bad:?}");
    }
}

fn parse(lines: &str, has_trailer: bool) -> Result<RequestChecksums, S3Error> {
    let text = format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let head = stria_http::head::parse(text.as_bytes()).expect("well-formed").expect("complete").0;
    RequestChecksums::parse(&head, has_trailer)
}

use crate::error::S3Error;

#[test]
fn headers_and_trailers() {
    let none = parse("x-amz-checksum-mode: ENABLED\r\nx-amz-checksum-type: COMPOSITE\r\n", false);
    assert_eq!(none.map(|got| got.expected), Ok(Expected::Nothing));
    let value = parse("X-Amz-Checksum-CRC32: y/Q5Jg==\r\nx-amz-sdk-checksum-algorithm: crc32\r\n", false);
    let crc = Hasher::of(Algorithm::Crc32, b"123456789");
    assert_eq!(value.map(|got| got.expected), Ok(Expected::Value(crc)));
    let trailer = parse("x-amz-trailer: x-amz-checksum-crc64nvme\r\n", true);
    assert_eq!(trailer.map(|got| got.expected), Ok(Expected::Trailer(Algorithm::Crc64Nvme)));
    for (lines, has_trailer, code) in [
        (
            "x-amz-checksum-crc32: AAAAAA==\r\nx-amz-checksum-crc32c: AAAAAA==\r\n",
            false,
            ErrorCode::InvalidRequest,
        ),
        (
            "x-amz-checksum-crc32: AAAAAA==\r\nx-amz-checksum-crc32: AAAAAA==\r\n",
            false,
            ErrorCode::InvalidRequest,
        ),
        (
            "x-amz-checksum-crc32: AAAAAA==\r\nx-amz-trailer: x-amz-checksum-crc32\r\n",
            true,
            ErrorCode::InvalidRequest,
        ),
        ("x-amz-checksum-crc32: AAAA\r\n", false, ErrorCode::InvalidRequest),
        ("x-amz-checksum-sha256: AAAAAA==\r\n", false, ErrorCode::InvalidRequest),
        ("x-amz-checksum-crc32: \r\n", false, ErrorCode::InvalidRequest),
        ("x-amz-checksum-blake3: AAAAAAAAAAA=\r\n", false, ErrorCode::NotImplemented),
        ("x-amz-trailer: x-amz-checksum-crc32\r\n", false, ErrorCode::InvalidRequest),
        ("x-amz-trailer: x-amz-meta-a\r\n", true, ErrorCode::InvalidRequest),
        ("x-amz-trailer: x-amz-checksum-crc32, x-amz-checksum-sha1\r\n", true, ErrorCode::InvalidRequest),
        ("x-amz-sdk-checksum-algorithm: CRC32\r\n", false, ErrorCode::InvalidRequest),
        (
            "x-amz-sdk-checksum-algorithm: SHA1\r\nx-amz-checksum-crc32: AAAAAA==\r\n",
            false,
            ErrorCode::InvalidRequest,
        ),
        (
            "x-amz-sdk-checksum-algorithm: FOO\r\nx-amz-checksum-crc32: AAAAAA==\r\n",
            false,
            ErrorCode::InvalidRequest,
        ),
        ("Content-MD5: AAAA\r\n", false, ErrorCode::InvalidDigest),
        ("Content-MD5: \r\n", false, ErrorCode::InvalidDigest),
        (
            "Content-MD5: JfnnlDI7RTiF9RgfG2JNCw==\r\nContent-MD5: JfnnlDI7RTiF9RgfG2JNCw==\r\n",
            false,
            ErrorCode::InvalidDigest,
        ),
    ] {
        assert_eq!(parse(lines, has_trailer).map_err(|error| error.code), Err(code), "{lines}");
    }
    let error = parse("x-amz-checksum-crc32: AAAA\r\n", false).expect_err("too short");
    assert_eq!(error.message(), "Value for x-amz-checksum-crc32 header is invalid.");
}

fn body(
    lines: &str,
    sha256: Option<[u8; 32]>,
    trailer: Option<&'static [u8]>,
) -> Result<BodyDigests, ErrorCode> {
    let checksums = parse(lines, trailer.is_some()).expect("well-formed");
    let mut hasher = BodyHasher::new(checksums, sha256, Algorithm::Crc64Nvme);
    hasher.update(b"12345");
    hasher.update(b"6789");
    hasher.finish(&|_| trailer).map_err(|error| error.code)
}

#[test]
fn a_body_is_held_to_every_promise() {
    let good = body("Content-MD5: JfnnlDI7RTiF9RgfG2JNCw==\r\n", None, None).expect("the right MD5");
    assert_eq!(good.checksum.algorithm, Algorithm::Crc64Nvme);
    assert_eq!(etag(&good.md5), "25f9e794323b453885f5181f1b624d0b");
    let sha256 = Hasher::of(Algorithm::Sha256, b"123456789").digest.as_bytes().try_into().expect("32 bytes");
    assert!(body("", Some(sha256), None).is_ok());
    assert!(
        body("x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=\r\n", Some(sha256), None)
            .is_ok()
    );
    assert_eq!(body("", Some([0; 32]), None), Err(ErrorCode::XAmzContentSHA256Mismatch));
    let sha_header = "x-amz-checksum-sha256: FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=\r\n";
    assert_eq!(body(sha_header, Some([0; 32]), None), Err(ErrorCode::XAmzContentSHA256Mismatch));
    assert_eq!(body("Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", None, None), Err(ErrorCode::BadDigest));
    assert_eq!(body("x-amz-checksum-crc32: AAAAAA==\r\n", None, None), Err(ErrorCode::BadDigest));
    // The entity tag's MD5 is also the checksum.
    let of_md5 = body("x-amz-checksum-md5: JfnnlDI7RTiF9RgfG2JNCw==\r\n", None, None).expect("the right MD5");
    assert_eq!(of_md5.checksum, Hasher::of(Algorithm::Md5, b"123456789"));
    assert_eq!(
        body("x-amz-checksum-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", None, None),
        Err(ErrorCode::BadDigest)
    );
    let both = "x-amz-checksum-md5: JfnnlDI7RTiF9RgfG2JNCw==\r\n";
    assert_eq!(body(both, Some([0; 32]), None), Err(ErrorCode::XAmzContentSHA256Mismatch));
    let announced = "x-amz-trailer: x-amz-checksum-crc32\r\n";
    assert!(body(announced, None, Some(b"y/Q5Jg==")).is_ok());
    assert_eq!(body(announced, None, Some(b"AAAAAA==")), Err(ErrorCode::BadDigest));
    assert_eq!(body(announced, None, Some(b"nonsense")), Err(ErrorCode::InvalidRequest));
}

#[test]
fn types_of_multipart_checksums() {
    for algorithm in Algorithm::ALL {
        assert!(ChecksumType::default_for(algorithm).allows(algorithm));
    }
    assert!(!ChecksumType::Composite.allows(Algorithm::Crc64Nvme));
    let linear = [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme];
    for algorithm in Algorithm::ALL {
        assert_eq!(ChecksumType::FullObject.allows(algorithm), linear.contains(&algorithm));
        let sum = Hasher::of(algorithm, b"a");
        assert_eq!(combine_full_object(algorithm, &[(sum, 1)]).is_some(), linear.contains(&algorithm));
        assert_eq!(composite(algorithm, &[sum]), Some(Hasher::of(algorithm, sum.digest.as_bytes())));
    }
    assert_eq!(multipart_etag(&[[0; 16]]), "4ae71336e44bf9bf79d2752e234818a5-1");
}

proptest! {
    #[test]
    fn crcs_of_parts_combine_to_the_crc_of_the_whole(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
        which in 0usize..3,
    ) {
        let algorithm = Algorithm::ALL[which];
        let digests: Vec<_> =
            parts.iter().map(|part| (Hasher::of(algorithm, part), part.len() as u64)).collect();
        prop_assert_eq!(combine_full_object(algorithm, &digests), Some(Hasher::of(algorithm, &parts.concat())));
    }

    #[test]
    fn base64_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
        prop_assert_eq!(base64_decode(base64_encode(&bytes).as_bytes()), Some(bytes));
    }

    #[test]
    fn base64_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        if let Some(decoded) = base64_decode(&bytes) {
            prop_assert_eq!(base64_encode(&decoded).into_bytes(), bytes);
        }
    }
}

#[test]
fn an_entity_tag_is_written_in_place_as_it_is_printed() {
    let md5 = std::array::from_fn(|i| 17 * i as u8);
    for count in [0u16, 1, 9, 10, 1_000, 10_000, u16::MAX] {
        let suffix = if count == 0 { String::new() } else { format!("-{count}") };
        let text = super::EtagText::new(&md5, count);
        assert_eq!(text.text(), format!("{}{suffix}", super::etag(&md5)));
        assert_eq!(text.quoted(), format!("\"{}\"", text.text()).as_bytes());
    }
}
