//! Tags, attributes and access control lists of objects.

use crate::client::*;

fn tagging(pairs: &[(&str, &str)]) -> String {
    let tags: String = pairs
        .iter()
        .map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>"))
        .collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

#[test]
fn tags_of_an_object() {
    let bucket = bucket("tags");
    // Inline, in extents, empty: the body stays what it is.
    for (name, bytes) in [("small", 100), ("large", 300_000), ("empty", 0)] {
        let target = format!("{bucket}/{name}");
        let content = body(bytes, 7);
        put(&target, content.clone()).with("x-amz-tagging", "a=1&b=x%20y").expect(200);
        let before = head(&target).expect(200);
        assert_eq!(before.must("x-amz-tagging-count"), "2");
        let read = get(&format!("{target}?tagging")).expect(200);
        assert_eq!(elements(&read.text(), "Key"), ["a", "b"]);
        assert_eq!(elements(&read.text(), "Value"), ["1", "x y"]);
        put(&format!("{target}?tagging"), tagging(&[("c", "3")])).expect(200);
        let read = get(&format!("{target}?tagging")).expect(200);
        assert_eq!(elements(&read.text(), "Key"), ["c"]);
        let after = get(&target).expect(200);
        assert_eq!(after.must("last-modified"), before.must("last-modified"));
        assert_eq!(after.must("etag"), before.must("etag"));
        after.expect_body(&content);
        delete(&format!("{target}?tagging")).expect(204);
        assert!(head(&target).expect(200).header("x-amz-tagging-count").is_none());
        get(&target).expect(200).expect_body(&content);
        assert!(elements(&get(&format!("{target}?tagging")).expect(200).text(), "Key").is_empty());
    }
}

#[test]
fn tags_have_limits() {
    let target = bucket("tag-limits") + "/key";
    put(&target, "x").expect(200);
    let tags = format!("{target}?tagging");
    let many: Vec<(String, String)> = (0..11).map(|n| (format!("k{n}"), "v".into())).collect();
    let pairs: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    put(&tags, tagging(&pairs[..10])).expect(200);
    put(&tags, tagging(&pairs)).expect_error(400, "BadRequest");
    put(&tags, tagging(&[("", "v")])).expect_error(400, "InvalidTag");
    put(&tags, tagging(&[(&"k".repeat(129), "v")])).expect_error(400, "InvalidTag");
    put(&tags, tagging(&[("k", &"v".repeat(257))])).expect_error(400, "InvalidTag");
    put(&tags, tagging(&[("k", "1"), ("k", "2")])).expect_error(400, "InvalidTag");
    put(&tags, tagging(&[("aws:k", "1")])).expect_error(400, "InvalidTag");
    put(&tags, "<Tagging/>").expect_error(400, "MalformedXML");
    put(&target, "y").with("x-amz-tagging", "a=1&a=2").expect_error(400, "InvalidArgument");
    get(&target).expect(200).expect_body(b"x");
    assert_eq!(elements(&get(&tags).expect(200).text(), "Key").len(), 10, "a refused set changes nothing");
    let missing = format!("{}/missing?tagging", target.trim_end_matches("/key"));
    get(&missing).expect_error(404, "NoSuchKey");
    put(&missing, tagging(&[])).expect_error(404, "NoSuchKey");
    delete(&missing).expect_error(404, "NoSuchKey");
}

#[test]
fn tags_go_with_a_copy_and_an_upload() {
    let bucket = bucket("tag-copies");
    let source = format!("{bucket}/source");
    put(&source, "x").with("x-amz-tagging", "a=1").expect(200);
    let copy = |name: &str| put(&format!("{bucket}/{name}"), "").with("x-amz-copy-source", &source);
    let tags_of = |name: &str| elements(&get(&format!("{bucket}/{name}?tagging")).expect(200).text(), "Key");
    copy("same").expect(200);
    assert_eq!(tags_of("same"), ["a"]);
    copy("ignored").with("x-amz-tagging", "b=2").expect(200);
    assert_eq!(tags_of("ignored"), ["a"], "without the directive the source's count");
    copy("other").with("x-amz-tagging", "b=2").with("x-amz-tagging-directive", "REPLACE").expect(200);
    assert_eq!(tags_of("other"), ["b"]);
    copy("none").with("x-amz-tagging-directive", "REPLACE").expect(200);
    assert!(tags_of("none").is_empty());
    copy("bad").with("x-amz-tagging-directive", "KEEP").expect_error(400, "InvalidArgument");
    let target = format!("{bucket}/parts");
    let started = post(&format!("{target}?uploads"), "").with("x-amz-tagging", "up=load").expect(200);
    let id = started.element("UploadId").expect("an id");
    let etag =
        put(&format!("{target}?partNumber=1&uploadId={id}"), "part").expect(200).must("etag").to_owned();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    post(&format!("{target}?uploadId={id}"), complete).expect(200);
    assert_eq!(tags_of("parts"), ["up"]);
    put(&format!("{target}?tagging"), tagging(&[("new", "")])).expect(200);
    get(&target).expect(200).expect_body(b"part");
}

#[test]
fn attributes_of_an_object() {
    let bucket = bucket("attributes");
    let target = format!("{bucket}/key");
    put(&target, "hello")
        .with("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=")
        .expect(200);
    let ask = |names: &str| get(&format!("{target}?attributes")).with("x-amz-object-attributes", names);
    let all = ask("ETag,Checksum,ObjectParts,StorageClass,ObjectSize").expect(200);
    assert_eq!(all.element("ETag").as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(all.element("ObjectSize").as_deref(), Some("5"));
    assert_eq!(all.element("StorageClass").as_deref(), Some("STANDARD"));
    assert_eq!(all.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
    assert!(all.element("ChecksumSHA256").is_some() && all.element("ObjectParts").is_none());
    all.must("last-modified");
    let some = ask("ObjectSize").expect(200);
    assert!(some.element("ETag").is_none() && some.element("ObjectSize").is_some());
    ask("Colour").expect_error(400, "InvalidArgument");
    get(&format!("{target}?attributes")).expect_error(400, "InvalidRequest");
    get(&format!("{bucket}/missing?attributes"))
        .with("x-amz-object-attributes", "ETag")
        .expect_error(404, "NoSuchKey");
}

#[test]
fn attributes_of_parts() {
    let target = bucket("attribute-parts") + "/key";
    let start = post(&format!("{target}?uploads"), "")
        .with("x-amz-checksum-algorithm", "SHA256")
        .with("x-amz-checksum-type", "COMPOSITE");
    let id = start.expect(200).element("UploadId").expect("an id");
    let mut list = String::new();
    for number in 1..=3 {
        let part = put(&format!("{target}?partNumber={number}&uploadId={id}"), body(5 << 20, number))
            .with("x-amz-sdk-checksum-algorithm", "SHA256")
            .payload(Payload::UnsignedChunksTrailer(stria_s3::checksum::Algorithm::Sha256));
        let answer = part.expect(200);
        let (etag, sum) = (answer.must("etag"), answer.must("x-amz-checksum-sha256"));
        list += &format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256></Part>"
        );
    }
    let complete = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    post(&format!("{target}?uploadId={id}"), complete).expect(200);
    let ask = get(&format!("{target}?attributes")).with("x-amz-object-attributes", "ObjectParts,Checksum");
    let all = ask.expect(200);
    assert_eq!(all.element("PartsCount").as_deref(), Some("3"));
    assert_eq!(elements(&all.text(), "PartNumber"), ["1", "2", "3"]);
    assert!(all.element("ChecksumSHA256").is_some_and(|sum| sum.ends_with("-3")));
    let page = ask.with("x-amz-max-parts", "1").with("x-amz-part-number-marker", "1").expect(200);
    assert_eq!(elements(&page.text(), "PartNumber"), ["2"]);
    assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
    assert_eq!(page.element("NextPartNumberMarker").as_deref(), Some("2"));
}

#[test]
fn access_control_lists_are_off() {
    let bucket = bucket("acls");
    let target = format!("{bucket}/key");
    put(&target, "x").with("x-amz-acl", "bucket-owner-full-control").expect(200);
    for place in [&bucket, &target] {
        let acl = format!("{place}?acl");
        let read = get(&acl).expect(200);
        assert_eq!(read.element("Permission").as_deref(), Some("FULL_CONTROL"));
        let owner = read.element("ID").expect("an owner");
        put(&acl, read.body.clone()).expect(200);
        put(&acl, "").with("x-amz-acl", "private").expect(200);
        put(&acl, "").with("x-amz-acl", "public-read").expect_error(400, "AccessControlListNotSupported");
        put(&acl, "").with("x-amz-acl", "everybody").expect_error(400, "InvalidArgument");
        put(&acl, "").with("x-amz-grant-read", "id=1").expect_error(400, "AccessControlListNotSupported");
        put(&acl, "").expect_error(400, "MissingSecurityHeader");
        put(&acl, "<AccessControlPolicy/>").expect_error(400, "MalformedACLError");
        let stranger = read.text().replace(&owner, &"0".repeat(64));
        put(&acl, stranger).expect_error(400, "AccessControlListNotSupported");
    }
    get(&format!("{bucket}/missing?acl")).expect_error(404, "NoSuchKey");
}
