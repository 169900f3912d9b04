//! Errors as clients rely on them (B-01, B-02, B-03): code, status, form.

use crate::client::*;

#[test]
fn the_form_of_an_error() {
    let answer = get("/no-such-bucket/key").expect_error(404, "NoSuchBucket");
    assert_eq!(answer.must("content-type"), "application/xml");
    assert_eq!(answer.element("RequestId").as_deref(), answer.header("x-amz-request-id"));
    assert_eq!(answer.element("HostId").as_deref(), answer.header("x-amz-id-2"));
    assert_eq!(answer.element("Resource").as_deref(), Some("/no-such-bucket/key"));
    assert!(answer.element("Message").is_some_and(|message| !message.is_empty()));
}

#[test]
fn an_error_of_head_has_no_body() {
    let target = bucket("head-error") + "/missing";
    let mut connection = Connection::open();
    connection.write(&head(&target).bytes());
    let answer = connection.answer("HEAD").expect(404);
    answer.must("x-amz-request-id");
    // The next answer would begin with a body that should not be there.
    connection.write(&head(&target).bytes());
    connection.answer("HEAD").expect(404);
}

#[test]
fn sub_resources_that_were_never_set() {
    let bucket = bucket("unset");
    for (query, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("cors", "NoSuchCORSConfiguration"),
        ("tagging", "NoSuchTagSet"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
    ] {
        get(&format!("{bucket}?{query}")).expect_error(404, code);
        get(&format!("/no-such-bucket?{query}")).expect_error(404, "NoSuchBucket");
    }
    let versioning = get(&format!("{bucket}?versioning")).expect(200);
    assert!(versioning.text().contains("VersioningConfiguration"));
    assert!(!versioning.text().contains("<Status>"));
    assert!(get(&format!("{bucket}?location")).expect(200).text().contains("LocationConstraint"));
}

#[test]
fn who_may_not_enter() {
    let target = bucket("closed") + "/key";
    put(&target, "x").expect(200);
    let mut stranger = get(&target);
    stranger.signer.access_key = "nobody";
    stranger.expect_error(403, "InvalidAccessKeyId");
    let mut liar = get(&target);
    liar.signer.secret = "another secret";
    liar.expect_error(403, "SignatureDoesNotMatch");
    for skew in [-16 * 60, 16 * 60] {
        let mut late = get(&target);
        late.unix_s = late.unix_s.saturating_add_signed(skew);
        late.expect_error(403, "RequestTimeTooSkewed");
    }
    let mut connection = Connection::open();
    connection.write(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    connection.answer("GET").expect_error(403, "AccessDenied");
}

#[test]
fn what_is_signed_cannot_be_changed() {
    let target = bucket("tampered") + "/key";
    put(&target, "x").with("x-amz-meta-a", "1").expect(200);
    let signed = String::from_utf8(put(&target, "y").with("x-amz-meta-a", "1").bytes()).expect("ASCII");
    for (from, to) in [
        ("PUT ", "DELETE "),
        ("/key ", "/other "),
        ("x-amz-meta-a: 1", "x-amz-meta-a: 2"),
        ("host: 127.0.0.1", "host: elsewhere"),
        ("/key ", "/key?acl "),
    ] {
        let mut connection = Connection::open();
        connection.write(signed.replacen(from, to, 1).as_bytes());
        let answer = connection.answer("PUT");
        assert_eq!(answer.status, 403, "{from} -> {to}: {}", answer.text());
    }
    assert_eq!(get(&target).expect(200).expect_body(b"x").must("x-amz-meta-a"), "1");
}

#[test]
fn amazon_headers_must_be_signed() {
    let target = bucket("unsigned-header") + "/key";
    put(&target, "x").unsigned("x-amz-meta-smuggled", "1").expect_error(403, "AccessDenied");
    get(&target).expect_error(404, "NoSuchKey");
}

#[test]
fn operations_that_are_not_there() {
    let bucket = bucket("not-there");
    put(&format!("{bucket}?encryption"), "<ServerSideEncryptionConfiguration/>")
        .expect_error(501, "NotImplemented");
    put(&format!("{bucket}?policy"), "{}").expect_error(501, "NotImplemented");
    get(&format!("{bucket}/key?torrent")).expect_error(501, "NotImplemented");
    request("PATCH", &bucket).expect_error(405, "MethodNotAllowed");
    delete("/").expect_error(405, "MethodNotAllowed");
}

#[test]
fn xml_that_is_none() {
    let bucket = bucket("bad-xml");
    let target = format!("{bucket}/key");
    let id = crate::multipart::create(&target);
    let deep = format!("{}x{}", "<a>".repeat(100), "</a>".repeat(100));
    let entities = "<!DOCTYPE a [<!ENTITY b \"c\">]><CompleteMultipartUpload>&b;</CompleteMultipartUpload>";
    post(&format!("{target}?uploadId={id}"), "").expect_error(400, "MissingRequestBodyError");
    for xml in ["nonsense", "<CompleteMultipartUpload>", "<Other></Other>", "\u{0}", &deep, entities] {
        post(&format!("{target}?uploadId={id}"), xml).expect_error(400, "MalformedXML");
    }
    let big = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", " ".repeat(3 << 20));
    post(&format!("{target}?uploadId={id}"), big).expect_error(400, "MalformedXML");
    still_serves();
}
