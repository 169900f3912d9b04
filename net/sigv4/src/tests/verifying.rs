//! The examples of the AWS documentation ("Signature calculations for the Authorization header",
//! "Authenticating requests: using query parameters"), and what clients vary.

use super::*;
use crate::PayloadMode;

fn example(request_line: &str, lines: &str, signed_headers: &str, signature: &str) -> Head {
    parse(&format!(
        "{request_line} HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n{lines}Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed_headers},Signature={signature}\r\n\r\n"
    ))
}

const EMPTY: &str = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\nx-amz-date: 20130524T000000Z\r\n";

#[test]
fn documentation_get_object() {
    let lines = format!("Range: bytes=0-9\r\n{EMPTY}");
    let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let head = example("GET /test.txt", &lines, "host;range;x-amz-content-sha256;x-amz-date", signature);
    let verified = verified(&head);
    assert_eq!((&*verified.access_key, verified.presigned), (ACCESS_KEY, false));
    assert_eq!(&verified.seed_signature, signature.as_bytes());
    assert!(matches!(verified.payload, PayloadMode::Hex([0xe3, 0xb0, ..])));
}

#[test]
fn documentation_put_object() {
    let lines = "Date: Fri, 24 May 2013 00:00:00 GMT\r\nx-amz-date: 20130524T000000Z\r\nx-amz-storage-class: REDUCED_REDUNDANCY\r\nx-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\r\n";
    let signed = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class";
    let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    verified(&example("PUT /test%24file.text", lines, signed, signature));
    // The same key, not escaped by the client: the same canonical form.
    verified(&example("PUT /test$file.text", lines, signed, signature));
}

#[test]
fn documentation_sub_resource_and_list() {
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    verified(&example("GET /?lifecycle", EMPTY, signed, lifecycle));
    verified(&example("GET /?lifecycle=", EMPTY, signed, lifecycle));
    let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    verified(&example("GET /?max-keys=2&prefix=J", EMPTY, signed, list));
    verified(&example("GET /?prefix=J&max-keys=2", EMPTY, signed, list));
    verified(&example("GET /?prefix=%4a&&max-keys=%32&", EMPTY, signed, list));
}

#[test]
fn documentation_presigned_url() {
    let head = parse(
        "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n\r\n",
    );
    let verified = verified(&head);
    assert!(verified.presigned && verified.payload == PayloadMode::Unsigned);
    assert!(verify_at(&head, NOW + 86_400).is_ok());
    assert!(matches!(verify_at(&head, NOW + 86_401), Err(AuthError::Expired { expires_s: 86_400, .. })));
    assert!(verify_at(&head, NOW - 900).is_ok());
    assert_eq!(verify_at(&head, NOW - 901).map(|_| ()), Err(AuthError::NotYetValid));
}

#[test]
fn header_values_are_trimmed_and_folded() {
    let mut signed = request("PUT", "/k", "");
    signed.headers.push(("x-amz-meta-note".into(), "a b c".into()));
    SIGNER.sign(&mut signed, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
    signed.headers[1].1 = "   a  b   c \t".into();
    verified(&head_of(&signed, ""));
    signed.headers[1].1 = "a bc".into();
    assert!(matches!(verify_at(&head_of(&signed, ""), NOW), Err(AuthError::SignatureDoesNotMatch(_))));
}

#[test]
fn keys_are_not_normalised() {
    for path in ["/a//b", "/a/../b", "/./a", "/a%2Fb", "/%E2%82%AC", "/a+b", "/a%20b", "/~a", "/a%7Eb", "//"]
    {
        let mut signed = Request { path, ..request("GET", "/", "") };
        SIGNER.sign(&mut signed, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
        verified(&head_of(&signed, ""));
    }
}

#[test]
fn the_port_belongs_to_host() {
    let mut signed = request("GET", "/", "");
    signed.headers[0].1 = "localhost:9000".into();
    SIGNER.sign(&mut signed, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
    verified(&head_of(&signed, ""));
    signed.headers[0].1 = "localhost".into();
    assert!(matches!(verify_at(&head_of(&signed, ""), NOW), Err(AuthError::SignatureDoesNotMatch(_))));
}

#[test]
fn the_clock_may_differ_by_a_quarter_of_an_hour() {
    let mut signed = request("GET", "/", "");
    SIGNER.sign(&mut signed, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
    let head = head_of(&signed, "");
    for (now, good) in [(NOW + 900, true), (NOW - 900, true), (NOW + 901, false), (NOW - 901, false)] {
        assert_eq!(verify_at(&head, now).is_ok(), good, "{now}");
    }
}

#[test]
fn one_signing_key_serves_many_requests_until_the_secret_changes() {
    let mut cache = KeyCache::new();
    let mut signed = request("GET", "/", "");
    SIGNER.sign(&mut signed, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
    let head = head_of(&signed, "");
    let options = VerifyOptions { now_unix_s: NOW, region: RegionPolicy::Any, service: "s3" };
    for _ in 0..3 {
        let secrets = OneKey { access_key: ACCESS_KEY, secret: SECRET };
        assert!(crate::verify(&mut cache, &secrets, &head, &options).is_ok());
    }
    assert_eq!(cache.len(), 1);
    let changed = OneKey { access_key: ACCESS_KEY, secret: "other" };
    assert!(crate::verify(&mut cache, &changed, &head, &options).is_err());
}

#[test]
fn temporary_keys_need_their_token() {
    struct Temporary;
    impl crate::SecretSource for Temporary {
        fn secret(&self, _: &str) -> Option<crate::Secret<'_>> {
            Some(crate::Secret { key: SECRET.as_bytes(), session_token: Some(b"token") })
        }
    }
    let options = VerifyOptions { now_unix_s: NOW, region: RegionPolicy::Any, service: "s3" };
    for (token, good) in [(Some("token"), true), (Some("other"), false), (None, false)] {
        let signer = Signer { session_token: token, ..SIGNER };
        let mut signed = request("GET", "/", "");
        signer.sign(&mut signed, "UNSIGNED-PAYLOAD", NOW).expect("well-formed");
        let by_header = crate::verify(&mut KeyCache::new(), &Temporary, &head_of(&signed, ""), &options);
        let plain = request("GET", "/", "");
        let query = signer.presign(&plain, 60, NOW).expect("well-formed");
        let by_url = crate::verify(&mut KeyCache::new(), &Temporary, &head_of(&plain, &query), &options);
        assert_eq!((by_header.is_ok(), by_url.is_ok()), (good, good), "{token:?}");
    }
}
