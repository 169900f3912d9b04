//! Objects: what is put comes back, whatever its size, key and description (B-07, B-08, B-10, B-13).

use crate::client::*;

/// Around each bound inside: inline, checksum blocks, pieces.
const SIZES: [usize; 12] = [
    0,
    1,
    4095,
    4096,
    32 << 10,
    (32 << 10) + 1,
    64 << 10,
    (256 << 10) - 1,
    256 << 10,
    (256 << 10) + 1,
    1 << 20,
    (5 << 20) + 3,
];

#[test]
fn every_size_comes_back() {
    let bucket = bucket("sizes");
    for size in SIZES {
        let (target, data) = (format!("{bucket}/{size}"), body(size, 1));
        let etag = format!("\"{}\"", md5_hex(&data));
        assert_eq!(put(&target, data.clone()).expect(200).must("etag"), etag);
        let got = get(&target).expect(200).expect_body(&data);
        assert_eq!(got.must("etag"), etag);
        assert_eq!(head(&target).expect(200).must("content-length"), size.to_string());
    }
}

#[test]
fn a_put_replaces_and_a_delete_removes() {
    let target = bucket("replace") + "/key";
    for (seed, size) in [(1, 10), (2, 100_000), (3, 5), (4, 0), (5, 40_000)] {
        put(&target, body(size, seed)).expect(200);
        get(&target).expect(200).expect_body(&body(size, seed));
    }
    delete(&target).expect(204);
    get(&target).expect_error(404, "NoSuchKey");
    delete(&target).expect(204);
}

#[test]
fn headers_every_answer_about_an_object_has() {
    let target = bucket("headers") + "/key";
    put(&target, "x").expect(200);
    for request in [get(&target), head(&target)] {
        let answer = request.expect(200);
        for name in [
            "last-modified",
            "etag",
            "accept-ranges",
            "content-length",
            "x-amz-request-id",
            "x-amz-id-2",
            "date",
        ] {
            answer.must(name);
        }
        assert_eq!(answer.must("content-type"), "binary/octet-stream");
        assert!(answer.must("last-modified").ends_with(" GMT"));
        assert_eq!(answer.header("x-amz-checksum-crc64nvme"), None, "only on request");
    }
}

#[test]
fn what_describes_an_object_comes_back() {
    let target = bucket("described") + "/key";
    let described = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-language", "de"),
        ("content-disposition", "attachment; filename=\"a b\""),
        ("cache-control", "max-age=60"),
        ("content-encoding", "gzip"),
        ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
        ("x-amz-meta-one", "1"),
        ("x-amz-meta-two", "two words"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ];
    let request =
        described.iter().fold(put(&target, "x"), |request, (name, value)| request.with(name, value));
    request.expect(200);
    for answer in [get(&target).expect(200), head(&target).expect(200)] {
        for (name, value) in described {
            assert_eq!(answer.must(name), value, "{name}");
        }
    }
}

#[test]
fn overrides_of_a_get() {
    let target = bucket("overrides") + "/key";
    put(&target, "x").with("content-type", "a/b").expect(200);
    let answer =
        get(&format!("{target}?response-content-type=c%2Fd&response-cache-control=no-cache")).expect(200);
    assert_eq!((answer.must("content-type"), answer.must("cache-control")), ("c/d", "no-cache"));
    assert_eq!(get(&target).expect(200).must("content-type"), "a/b");
}

#[test]
fn the_framing_of_a_body_is_no_content_encoding() {
    let target = bucket("framing") + "/key";
    put(&target, body(100, 1)).payload(Payload::Chunks).expect(200);
    assert_eq!(get(&target).expect(200).expect_body(&body(100, 1)).header("content-encoding"), None);
}

#[test]
fn odd_keys_are_keys() {
    let bucket = bucket("odd-keys");
    let keys = [
        "with%20space",
        "plus%2Bplus",
        "a//b",
        "/leading",
        "trailing/",
        "./dot",
        "../up",
        "a/../b",
        "per%25cent",
        "per%252Fcent",
        "%C3%A4",
        "%F0%9F%A6%80",
        "q%3Fa%3Db",
        "hash%23",
        "%22quote%27",
        "semi%3B",
        "tilde~*%28%29",
        "%3Cxml%3E%26",
        "%01control",
        "a%0Ab",
        "%5C",
        "@:,=",
    ];
    for (i, key) in keys.iter().enumerate() {
        put(&format!("{bucket}/{key}"), i.to_string()).expect(200);
    }
    for (i, key) in keys.iter().enumerate() {
        get(&format!("{bucket}/{key}")).expect(200).expect_body(i.to_string().as_bytes());
    }
    let listed = get(&format!("{bucket}?list-type=2&encoding-type=url")).expect(200);
    assert_eq!(listed.element("KeyCount"), Some(keys.len().to_string()), "each is a key of its own");
}

#[test]
fn keys_end_at_1024_bytes() {
    let bucket = bucket("long-keys");
    put(&format!("{bucket}/{}", "k".repeat(1024)), "x").expect(200);
    put(&format!("{bucket}/{}", "k".repeat(1025)), "x").expect_error(400, "KeyTooLongError");
}

#[test]
fn user_metadata_ends_at_2_kib() {
    let target = bucket("metadata") + "/key";
    put(&target, "x").with("x-amz-meta-a", &"v".repeat(2047)).expect(200);
    put(&target, "x").with("x-amz-meta-a", &"v".repeat(2048)).expect_error(400, "MetadataTooLarge");
}

#[test]
fn delete_objects_answers_for_each_key() {
    let bucket = bucket("delete-many");
    put(&format!("{bucket}/a"), "x").expect(200);
    let xml = "<Delete><Object><Key>a</Key></Object><Object><Key>never &amp; was</Key></Object></Delete>";
    let md5 = stria_s3::checksum::Hasher::of(stria_s3::checksum::Algorithm::Md5, xml.as_bytes()).to_base64();
    let answer = post(&format!("{bucket}?delete"), xml).with("content-md5", &md5).expect(200);
    assert_eq!(elements(&answer.text(), "Key"), ["a", "never &amp; was"]);
    assert!(!answer.text().contains("<Error>"));
    get(&format!("{bucket}/a")).expect_error(404, "NoSuchKey");
    let quiet = xml.replace("<Delete>", "<Delete><Quiet>true</Quiet>");
    let md5 =
        stria_s3::checksum::Hasher::of(stria_s3::checksum::Algorithm::Md5, quiet.as_bytes()).to_base64();
    let answer = post(&format!("{bucket}?delete"), quiet).with("content-md5", &md5).expect(200);
    assert!(!answer.text().contains("<Deleted>"));
}

#[test]
fn delete_objects_needs_a_digest() {
    let bucket = bucket("delete-digest");
    let xml = "<Delete><Object><Key>a</Key></Object></Delete>";
    put(&format!("{bucket}/a"), "x").expect(200);
    post(&format!("{bucket}?delete"), xml)
        .with("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .expect_error(400, "BadDigest");
    get(&format!("{bucket}/a")).expect(200);
}

#[test]
fn buckets_come_and_go() {
    let name = bucket("come-and-go");
    put(&name, "").expect(200);
    head(&name).expect(200);
    assert!(elements(&get("/").expect(200).text(), "Name").contains(&"come-and-go".to_owned()));
    put(&format!("{name}/key"), "x").expect(200);
    delete(&name).expect_error(409, "BucketNotEmpty");
    delete(&format!("{name}/key")).expect(204);
    delete(&name).expect(204);
    assert_eq!(head(&name).expect(404).body, b"");
    delete(&name).expect_error(404, "NoSuchBucket");
    put(&format!("{name}/key"), "x").expect_error(404, "NoSuchBucket");
    put(&name, "").expect(200);
    get(&format!("{name}/key")).expect_error(404, "NoSuchKey");
}

#[test]
fn names_that_are_no_buckets() {
    for name in ["ab", "UPPER", "a_b", "a..b", "-ab", "192.168.1.1", &"a".repeat(64)] {
        put(&format!("/{name}"), "").expect_error(400, "InvalidBucketName");
    }
}
