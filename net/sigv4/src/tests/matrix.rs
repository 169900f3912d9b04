//! Everything a request can get wrong about its authentication, one error each.

use stria_base::ErrorClass;

use super::*;
use crate::PayloadMode;
use crate::error::Fault;

const SIGNATURE: &str = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";

fn with_lines(lines: &str) -> Result<Authenticated, AuthError> {
    verify_at(&parse(&format!("GET /b/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n")), NOW)
}

fn with_authorization(value: &str) -> Result<Authenticated, AuthError> {
    with_lines(&format!(
        "x-amz-date: 20130524T000000Z\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nAuthorization: {value}\r\n"
    ))
}

#[test]
fn authorization_headers() {
    let good_credential = format!("Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request");
    let rest = format!("SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={SIGNATURE}");
    let cases: Vec<(String, AuthError)> = vec![
        ("Basic YTpi".into(), AuthError::UnsupportedScheme),
        ("Bearer x".into(), AuthError::UnsupportedScheme),
        ("".into(), AuthError::UnsupportedScheme),
        (format!("aws4-hmac-sha256 {good_credential}, {rest}"), AuthError::UnsupportedScheme),
        ("AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=".into(), AuthError::UnsupportedVersion),
        (format!("AWS4-ECDSA-P256-SHA256 {good_credential}, {rest}"), AuthError::UnsupportedVersion),
        ("AWS4-HMAC-SHA256".into(), AuthError::Header(Fault::Parts)),
        (format!("AWS4-HMAC-SHA256 {rest}"), AuthError::Header(Fault::Parts)),
        (format!("AWS4-HMAC-SHA256 {good_credential}"), AuthError::Header(Fault::Parts)),
        (format!("AWS4-HMAC-SHA256 {good_credential} {rest}"), AuthError::Header(Fault::Parts)),
        (
            format!("AWS4-HMAC-SHA256 {good_credential}, {good_credential}, {rest}"),
            AuthError::Header(Fault::Parts),
        ),
        (format!("AWS4-HMAC-SHA256 {good_credential}, {rest}, X=y"), AuthError::Header(Fault::Parts)),
        (format!("AWS4-HMAC-SHA256 {good_credential}, {rest}0"), AuthError::Header(Fault::Signature)),
        (
            format!("AWS4-HMAC-SHA256 Credential=AK/20130524/s3/aws4_request, {rest}"),
            AuthError::Header(Fault::Credential),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential=/20130524/us-east-1/s3/aws4_request, {rest}"),
            AuthError::Header(Fault::Credential),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential=AK/2013052/us-east-1/s3/aws4_request, {rest}"),
            AuthError::Header(Fault::Credential),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential=AK/20130524/us-east-1/s3/aws4, {rest}"),
            AuthError::Header(Fault::Credential),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential=AK/20130525/us-east-1/s3/aws4_request, {rest}"),
            AuthError::Header(Fault::ScopeDate),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/ec2/aws4_request, {rest}"),
            AuthError::Header(Fault::Service),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/eu-west-1/s3/aws4_request, {rest}"),
            AuthError::WrongRegion { expected: "us-east-1".into(), presigned: false },
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential=NOBODY/20130524/us-east-1/s3/aws4_request, {rest}"),
            AuthError::UnknownAccessKey("NOBODY".into()),
        ),
        (
            format!("AWS4-HMAC-SHA256 Credential=a/b/20130524/us-east-1/s3/aws4_request, {rest}"),
            AuthError::UnknownAccessKey("a/b".into()),
        ),
    ];
    check_authorizations(cases);
}

fn check_authorizations(cases: Vec<(String, AuthError)>) {
    for (value, want) in cases {
        assert_eq!(with_authorization(&value).map(|_| ()), Err(want), "{value}");
    }
}

#[test]
fn lists_of_signed_headers() {
    let good_credential = format!("Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request");
    let cases: Vec<(String, AuthError)> = vec![
        (
            format!("AWS4-HMAC-SHA256 {good_credential}, SignedHeaders=, Signature={SIGNATURE}"),
            AuthError::Header(Fault::SignedHeaders),
        ),
        (
            format!("AWS4-HMAC-SHA256 {good_credential}, SignedHeaders=Host, Signature={SIGNATURE}"),
            AuthError::Header(Fault::SignedHeaders),
        ),
        (
            format!("AWS4-HMAC-SHA256 {good_credential}, SignedHeaders=host;host, Signature={SIGNATURE}"),
            AuthError::Header(Fault::SignedHeaders),
        ),
        (
            format!(
                "AWS4-HMAC-SHA256 {good_credential}, SignedHeaders=x-amz-content-sha256;x-amz-date, Signature={SIGNATURE}"
            ),
            AuthError::HeaderNotSigned("host".into()),
        ),
        (
            format!(
                "AWS4-HMAC-SHA256 {good_credential}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"
            ),
            AuthError::HeaderNotSigned("x-amz-content-sha256".into()),
        ),
        (
            format!(
                "AWS4-HMAC-SHA256 {good_credential}, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature={SIGNATURE}"
            ),
            AuthError::HeaderNotSigned("range".into()),
        ),
    ];
    check_authorizations(cases);
}

#[test]
fn a_wrong_signature_is_explained() {
    let good_credential = format!("Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request");
    let rest = format!("SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={SIGNATURE}");
    let wrong = with_authorization(&format!("AWS4-HMAC-SHA256 {good_credential}, {rest}"));
    let Err(AuthError::SignatureDoesNotMatch(mismatch)) = wrong else { panic!("{wrong:?}") };
    expect_test::expect![[r#"
        GET
        /b/k

        host:h
        x-amz-content-sha256:UNSIGNED-PAYLOAD
        x-amz-date:20130524T000000Z

        host;x-amz-content-sha256;x-amz-date
        UNSIGNED-PAYLOAD"#]]
    .assert_eq(&String::from_utf8_lossy(&mismatch.canonical_request));
    assert_eq!(&*mismatch.signature_provided, SIGNATURE);
}

#[test]
fn dates_and_payloads_of_a_signed_header() {
    let authorization = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature={SIGNATURE}\r\n"
    );
    let date = "x-amz-date: 20130524T000000Z\r\n";
    for (lines, want) in [
        (String::new(), AuthError::MissingDate),
        ("x-amz-date: yesterday\r\n".into(), AuthError::MissingDate),
        (format!("{date}{date}"), AuthError::MissingDate),
        ("Date: never\r\n".into(), AuthError::MissingDate),
        (date.into(), AuthError::MissingContentSha256),
        (
            "x-amz-date: 20130524T001501Z\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n".into(),
            AuthError::Skewed { request_unix_s: NOW + 901, server_unix_s: NOW },
        ),
        (
            format!("{date}x-amz-content-sha256: a\r\nx-amz-content-sha256: b\r\n"),
            AuthError::BadContentSha256,
        ),
        (format!("{date}{authorization}"), AuthError::MultipleMechanisms),
    ] {
        assert_eq!(with_lines(&format!("{lines}{authorization}")).map(|_| ()), Err(want), "{lines}");
    }
}

#[test]
fn payload_words() {
    assert_eq!(PayloadMode::parse(b"UNSIGNED-PAYLOAD"), Ok(PayloadMode::Unsigned));
    assert_eq!(PayloadMode::parse(&[b'A'; 64]), Ok(PayloadMode::Hex([0xaa; 32])));
    for bad in ["", "unsigned-payload", "STREAMING", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
        assert_eq!(PayloadMode::parse(bad.as_bytes()), Err(AuthError::BadContentSha256), "{bad}");
    }
    let ecdsa = b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
    assert_eq!(PayloadMode::parse(ecdsa), Err(AuthError::PayloadNotImplemented));
}

#[test]
fn framing_is_never_stored_as_payload() {
    for encoding in ["aws-chunked", "gzip, AWS-Chunked"] {
        for hash in ["UNSIGNED-PAYLOAD", &"0".repeat(64)] {
            let mut signed = request("PUT", "/k", "");
            signed.headers.push(("content-encoding".into(), encoding.into()));
            SIGNER.sign(&mut signed, hash, NOW).expect("well-formed");
            let got = verify_at(&head_of(&signed, ""), NOW).map(|_| ());
            assert_eq!(got, Err(AuthError::UnsignedAwsChunked), "{encoding} {hash}");
        }
        let lines = format!("Content-Encoding: {encoding}\r\n");
        assert_eq!(with_lines(&lines).map(|_| ()), Err(AuthError::UnsignedAwsChunked));
    }
    let signed = "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n";
    assert_eq!(with_lines(signed).map(|_| ()), Err(AuthError::StreamingNeedsSignature));
    let unsigned = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n";
    assert!(matches!(with_lines(unsigned), Ok(Authenticated::Anonymous { .. })));
}

#[test]
fn presigned_queries() {
    let plain = request("GET", "/k", "");
    let good = SIGNER.presign(&plain, 60, NOW).expect("well-formed");
    assert!(verify_at(&head_of(&plain, &good), NOW).is_ok());
    let credential = format!("{ACCESS_KEY}%2F20130524%2Fus-east-1%2Fs3%2Faws4_request");
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    for (query, want) in [
        (replaced("X-Amz-Expires=60", "X-Amz-Expires="), AuthError::Query(Fault::ExpiresNumber)),
        (replaced("X-Amz-Expires=60", "X-Amz-Expires=-1"), AuthError::Query(Fault::ExpiresNumber)),
        (replaced("X-Amz-Expires=60", "X-Amz-Expires=%2B60"), AuthError::Query(Fault::ExpiresNumber)),
        (replaced("X-Amz-Expires=60", "X-Amz-Expires=604801"), AuthError::Query(Fault::ExpiresTooLong)),
        (
            replaced("X-Amz-Expires=60", "X-Amz-Expires=99999999999999999999"),
            AuthError::Query(Fault::ExpiresTooLong),
        ),
        (replaced("X-Amz-Expires=60&", ""), AuthError::Query(Fault::Parts)),
        (replaced("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""), AuthError::Query(Fault::Parts)),
        (replaced("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), AuthError::Query(Fault::Algorithm)),
        (replaced("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), AuthError::UnsupportedVersion),
        (replaced(&credential, "x"), AuthError::Query(Fault::Credential)),
        (
            replaced("us-east-1", "eu-west-1"),
            AuthError::WrongRegion { expected: "us-east-1".into(), presigned: true },
        ),
        (replaced("%2Fs3%2F", "%2Fiam%2F"), AuthError::Query(Fault::Service)),
        (replaced("X-Amz-Date=20130524T", "X-Amz-Date=20130525T"), AuthError::Query(Fault::ScopeDate)),
        (replaced("X-Amz-Date=20130524T000000Z", "X-Amz-Date=now"), AuthError::Query(Fault::Date)),
        (format!("{good}&X-Amz-Expires=60"), AuthError::Query(Fault::Parts)),
        (format!("{good}&x-amz-signature={SIGNATURE}"), AuthError::Query(Fault::Parts)),
        ("X-Amz-Signature=".to_owned(), AuthError::Query(Fault::Parts)),
        ("AWSAccessKeyId=AK&Signature=x&Expires=1".to_owned(), AuthError::UnsupportedVersion),
        (format!("{good}&Signature=x"), AuthError::MultipleMechanisms),
        (format!("{good}&a=%zz"), AuthError::BadUri),
    ] {
        assert_eq!(verify_at(&head_of(&plain, &query), NOW).map(|_| ()), Err(want), "{query}");
    }
    // A header that S3 acts upon, smuggled into somebody's URL.
    let mut smuggled = request("GET", "/k", "");
    smuggled.headers.push(("X-Amz-Copy-Source".into(), "/secret/k".into()));
    let got = verify_at(&head_of(&smuggled, &good), NOW).map(|_| ());
    assert_eq!(got, Err(AuthError::HeaderNotSigned("x-amz-copy-source".into())));
    // Any further parameter changes the signature.
    let more = verify_at(&head_of(&plain, &format!("{good}&versionId=1")), NOW);
    assert!(matches!(more, Err(AuthError::SignatureDoesNotMatch(_))));
    // Both mechanisms at once.
    let mut both = request("GET", "/k", "");
    SIGNER.sign(&mut both, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
    assert_eq!(verify_at(&head_of(&both, &good), NOW).map(|_| ()), Err(AuthError::MultipleMechanisms));
}

#[test]
fn every_part_of_a_request_is_covered() {
    let mut signed = request("PUT", "/bkt/key", "partNumber=1&uploadId=x");
    signed.headers.push(("x-amz-meta-a".into(), "b".into()));
    SIGNER.sign(&mut signed, &"0".repeat(64), NOW).expect("well-formed");
    let query = "partNumber=1&uploadId=x";
    verified(&head_of(&signed, query));
    let copy = |method, path| Request { method, path, query: "", headers: signed.headers.clone() };
    let mut other_value = copy("PUT", "/bkt/key");
    other_value.headers[1].1 = "c".into();
    let mut other_hash = copy("PUT", "/bkt/key");
    let at = other_hash.headers.iter().position(|(name, _)| name == "x-amz-content-sha256").expect("signed");
    other_hash.headers[at].1 = "1".repeat(64);
    for (what, head) in [
        ("method", head_of(&copy("GET", "/bkt/key"), query)),
        ("path", head_of(&copy("PUT", "/bkt/kez"), query)),
        ("query value", head_of(&signed, "partNumber=2&uploadId=x")),
        ("query name", head_of(&signed, "partNumber=1")),
        ("header", head_of(&other_value, query)),
        ("payload hash", head_of(&other_hash, query)),
    ] {
        let got = verify_at(&head, NOW);
        assert!(matches!(got, Err(AuthError::SignatureDoesNotMatch(_))), "{what}: {got:?}");
    }
}

#[test]
fn errors_tell_their_details() {
    let mut details = Vec::new();
    let error = AuthError::WrongRegion { expected: "us-east-1".into(), presigned: false };
    error.details(&mut |name, value| details.push((name, value.to_vec())));
    assert_eq!(details, [("Region", b"us-east-1".to_vec())]);
    assert_eq!((error.code_name(), error.class()), ("AuthorizationHeaderMalformed", ErrorClass::Client));
}
