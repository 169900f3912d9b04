//! Presigned URLs (B-04): what they allow, for how long, and nothing beside it.

use stria_sigv4::sign::Request as Signable;

use crate::client::*;

fn presign(method: &'static str, target: &str, expires_s: u64, unix_s: u64) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = vec![("host".to_owned(), "127.0.0.1".to_owned())];
    let request = Signable { method, path, query, headers };
    format!("{path}?{}", signer().presign(&request, expires_s, unix_s).expect("a decodable target"))
}

fn plain(method: &str, target: &str, body: &[u8]) -> Answer {
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut connection = Connection::open();
    connection.write(&[head.as_bytes(), body].concat());
    connection.answer(method)
}

#[test]
fn put_and_get() {
    let target = bucket("presigned") + "/a%20key%2B";
    let data = body(50_000, 1);
    plain("PUT", &presign("PUT", &target, 60, now()), &data).expect(200);
    plain("GET", &presign("GET", &target, 60, now()), b"").expect(200).expect_body(&data);
    let url = presign("GET", &format!("{target}?response-content-type=x%2Fy"), 60, now());
    assert_eq!(plain("GET", &url, b"").expect(200).must("content-type"), "x/y");
    plain("HEAD", &presign("HEAD", &target, 60, now()), b"").expect(200);
    plain("DELETE", &presign("DELETE", &target, 60, now()), b"").expect(204);
}

#[test]
fn for_its_time_only() {
    let target = bucket("presigned-time") + "/key";
    put(&target, "x").expect(200);
    plain("GET", &presign("GET", &target, 60, now() - 61), b"").expect_error(403, "AccessDenied");
    plain("GET", &presign("GET", &target, 600, now() - 500), b"").expect(200);
    plain("GET", &presign("GET", &target, 7 * 24 * 3600, now()), b"").expect(200);
    plain("GET", &presign("GET", &target, 7 * 24 * 3600 + 1, now()), b"")
        .expect_error(400, "AuthorizationQueryParametersError");
}

#[test]
fn for_what_was_signed_only() {
    let target = bucket("presigned-only") + "/key";
    put(&target, "x").expect(200);
    put(&(target.clone() + "2"), "x").expect(200);
    let url = presign("GET", &target, 60, now());
    plain("DELETE", &url, b"").expect_error(403, "SignatureDoesNotMatch");
    plain("GET", &url.replace("/key?", "/key2?"), b"").expect_error(403, "SignatureDoesNotMatch");
    plain("GET", &(url.clone() + "&response-content-type=a"), b"").expect_error(403, "SignatureDoesNotMatch");
    plain("GET", &url.replace("Expires=60", "Expires=61"), b"").expect_error(403, "SignatureDoesNotMatch");
    plain("GET", &url[..url.len() - 1], b"").expect_error(400, "AuthorizationQueryParametersError");
    plain("GET", &url, b"").expect(200);
}
