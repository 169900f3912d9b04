//! CopyObject: bytes, metadata, directives, conditions of the source.

use crate::client::*;

fn copy(from: &str, to: &str) -> Request {
    put(to, "").with("x-amz-copy-source", from)
}

#[test]
fn copies_of_every_kind_of_body() {
    let (from, to) = (bucket("copy-from"), bucket("copy-to"));
    for size in [0, 1, 32 << 10, (32 << 10) + 1, 1 << 20, (5 << 20) + 1] {
        let (source, data) = (format!("{from}/a%20%2B%C3%A4{size}"), body(size, 1));
        let etag = put(&source, data.clone()).expect(200).must("etag").to_owned();
        let answer = copy(&source, &format!("{to}/{size}")).expect(200);
        assert_eq!(answer.element("ETag").map(|etag| etag.replace("&quot;", "\"")), Some(etag.clone()));
        assert_eq!(get(&format!("{to}/{size}")).expect(200).expect_body(&data).must("etag"), etag);
        delete(&source).expect(204);
        get(&format!("{to}/{size}")).expect(200).expect_body(&data);
    }
}

#[test]
fn metadata_as_the_directive_says() {
    let bucket = bucket("copy-metadata");
    let (from, to) = (format!("{bucket}/from"), format!("{bucket}/to"));
    put(&from, "x").with("x-amz-meta-a", "1").with("content-type", "a/b").expect(200);
    copy(&from, &to).with("x-amz-meta-b", "2").expect(200);
    let kept = head(&to).expect(200);
    assert_eq!((kept.header("x-amz-meta-a"), kept.header("x-amz-meta-b")), (Some("1"), None));
    assert_eq!(kept.must("content-type"), "a/b");
    copy(&from, &to).with("x-amz-metadata-directive", "REPLACE").with("x-amz-meta-b", "2").expect(200);
    let replaced = head(&to).expect(200);
    assert_eq!((replaced.header("x-amz-meta-a"), replaced.header("x-amz-meta-b")), (None, Some("2")));
}

#[test]
fn a_copy_onto_itself_must_change_something() {
    let target = bucket("copy-self") + "/key";
    let data = body(100_000, 1);
    put(&target, data.clone()).expect(200);
    copy(&target, &target).expect_error(400, "InvalidRequest");
    copy(&target, &target).with("x-amz-metadata-directive", "REPLACE").with("x-amz-meta-b", "2").expect(200);
    assert_eq!(get(&target).expect(200).expect_body(&data).must("x-amz-meta-b"), "2");
}

#[test]
fn conditions_of_the_source() {
    let bucket = bucket("copy-conditions");
    let (from, to) = (format!("{bucket}/from"), format!("{bucket}/to"));
    let etag = put(&from, "x").expect(200).must("etag").to_owned();
    for (name, value, status) in [
        ("x-amz-copy-source-if-match", etag.as_str(), 200),
        ("x-amz-copy-source-if-match", "\"0\"", 412),
        ("x-amz-copy-source-if-none-match", etag.as_str(), 412),
        ("x-amz-copy-source-if-none-match", "\"0\"", 200),
        ("x-amz-copy-source-if-unmodified-since", "Mon, 01 Jan 2001 00:00:00 GMT", 412),
        ("x-amz-copy-source-if-modified-since", "Mon, 01 Jan 2001 00:00:00 GMT", 200),
    ] {
        let answer = copy(&from, &to).with(name, value).send();
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
    }
}

#[test]
fn sources_that_are_none() {
    let bucket = bucket("copy-nothing");
    let to = format!("{bucket}/to");
    copy(&format!("{bucket}/missing"), &to).expect_error(404, "NoSuchKey");
    copy("/no-such-bucket/key", &to).expect_error(404, "NoSuchBucket");
    for source in ["", "/", "nothing", "/%zz/a"] {
        let answer = copy(source, &to).send();
        assert!((400..500).contains(&answer.status), "'{source}': {}", answer.status);
    }
    get(&to).expect_error(404, "NoSuchKey");
}
