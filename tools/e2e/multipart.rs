//! Multipart uploads: parts in any order, numbers and sizes as S3 bounds them, one atomic end.

use crate::client::*;

pub const PART_BYTES: usize = 5 << 20;

pub fn create(target: &str) -> String {
    post(&format!("{target}?uploads"), "").expect(200).element("UploadId").expect("an upload id")
}

pub fn part(target: &str, id: &str, number: u32, data: &[u8]) -> String {
    let request =
        put(&format!("{target}?partNumber={number}&uploadId={id}"), data).payload(Payload::Unsigned);
    request.expect(200).must("etag").to_owned()
}

pub fn complete(target: &str, id: &str, parts: &[(u32, &str)]) -> Request {
    let part = |(number, etag): &(u32, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    post(
        &format!("{target}?uploadId={id}"),
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"),
    )
}

#[test]
fn parts_in_any_order_make_the_object() {
    let target = bucket("multi") + "/key%20%2B";
    let data = body(2 * PART_BYTES + 77, 1);
    let create = post(&format!("{target}?uploads"), "").with("content-type", "m/p").with("x-amz-meta-a", "1");
    let id = create.expect(200).element("UploadId").expect("an upload id");
    let last = part(&target, &id, 9, &data[2 * PART_BYTES..]);
    let replaced = part(&target, &id, 2, b"another body that is replaced");
    let first = part(&target, &id, 2, &data[..PART_BYTES]);
    let second = part(&target, &id, 5, &data[PART_BYTES..2 * PART_BYTES]);
    get(&target).expect_error(404, "NoSuchKey");
    complete(&target, &id, &[(2, &replaced), (5, &second), (9, &last)]).expect_error(400, "InvalidPart");
    let done = complete(&target, &id, &[(2, &first), (5, &second), (9, &last)]).expect(200);
    let etag = done.element("ETag").expect("an ETag").replace("&quot;", "\"");
    assert!(etag.ends_with("-3\""), "{etag}");
    let got = get(&target).expect(200).expect_body(&data);
    assert_eq!((got.must("etag"), got.must("content-type"), got.must("x-amz-meta-a")), (&*etag, "m/p", "1"));
    // A client that lost the answer asks again.
    complete(&target, &id, &[(2, &first), (5, &second), (9, &last)]).expect(200);
    for (first, last) in
        [(PART_BYTES - 1, PART_BYTES), (0, 2 * PART_BYTES + 10), (2 * PART_BYTES - 3, data.len() - 1)]
    {
        let range = get(&target).with("range", &format!("bytes={first}-{last}"));
        range.expect(206).expect_body(&data[first..=last]);
    }
    let second =
        get(&format!("{target}?partNumber=2")).expect(206).expect_body(&data[PART_BYTES..2 * PART_BYTES]);
    assert_eq!(second.must("x-amz-mp-parts-count"), "3");
    get(&format!("{target}?partNumber=4")).expect_error(416, "InvalidPartNumber");
}

#[test]
fn what_complete_refuses() {
    let target = bucket("multi-refused") + "/key";
    let id = create(&target);
    let (one, two) = (part(&target, &id, 1, b"small"), part(&target, &id, 2, b"small too"));
    complete(&target, &id, &[(1, &one), (2, &two)]).expect_error(400, "EntityTooSmall");
    complete(&target, &id, &[(2, &two), (1, &one)]).expect_error(400, "InvalidPartOrder");
    complete(&target, &id, &[(1, &one), (1, &one)]).expect_error(400, "InvalidPartOrder");
    complete(&target, &id, &[(3, &one)]).expect_error(400, "InvalidPart");
    complete(&target, &id, &[]).expect_error(400, "MalformedXML");
    complete(&target, "no-such-id", &[(1, &one)]).expect_error(404, "NoSuchUpload");
    get(&target).expect_error(404, "NoSuchKey");
    complete(&target, &id, &[(1, &one)]).expect(200);
    get(&target).expect(200).expect_body(b"small");
}

#[test]
fn part_numbers_from_1_to_10000() {
    let target = bucket("part-numbers") + "/key";
    let id = create(&target);
    for number in ["0", "10001", "-1", "x", ""] {
        put(&format!("{target}?partNumber={number}&uploadId={id}"), "x").expect_error(400, "InvalidArgument");
    }
    let last = part(&target, &id, 10_000, b"x");
    complete(&target, &id, &[(10_000, &last)]).expect(200);
}

#[test]
fn an_aborted_upload_is_gone() {
    let target = bucket("abort") + "/key";
    let id = create(&target);
    part(&target, &id, 1, &body(100_000, 1));
    delete(&format!("{target}?uploadId={id}")).expect(204);
    get(&format!("{target}?uploadId={id}")).expect_error(404, "NoSuchUpload");
    put(&format!("{target}?partNumber=1&uploadId={id}"), "x").expect_error(404, "NoSuchUpload");
    get(&target).expect_error(404, "NoSuchKey");
}

#[test]
fn uploads_and_parts_are_listed() {
    let bucket = bucket("list-uploads");
    let ids: Vec<String> = (0..3).map(|i| create(&format!("{bucket}/key{i}"))).collect();
    let listed = get(&format!("{bucket}?uploads")).expect(200).text();
    assert_eq!(elements(&listed, "UploadId"), ids);
    let page = get(&format!("{bucket}?uploads&max-uploads=2")).expect(200);
    assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
    let (key, id) = (
        page.element("NextKeyMarker").expect("a marker"),
        page.element("NextUploadIdMarker").expect("an id"),
    );
    let rest = get(&format!("{bucket}?uploads&key-marker={key}&upload-id-marker={id}")).expect(200);
    assert_eq!(elements(&rest.text(), "UploadId"), [ids[2].clone()]);
    for number in [7, 3, 5] {
        part(&format!("{bucket}/key0"), &ids[0], number, &body(number as usize, 1));
    }
    let parts = get(&format!("{bucket}/key0?uploadId={}", ids[0])).expect(200).text();
    assert_eq!(elements(&parts, "PartNumber"), ["3", "5", "7"]);
    assert_eq!(elements(&parts, "Size"), ["3", "5", "7"]);
    let page = get(&format!("{bucket}/key0?uploadId={}&max-parts=2", ids[0])).expect(200);
    assert_eq!(
        (page.element("IsTruncated").as_deref(), page.element("NextPartNumberMarker").as_deref()),
        (Some("true"), Some("5"))
    );
    // Uploads in progress do not keep a bucket.
    delete(&bucket).expect(204);
}

#[test]
fn parts_by_copy() {
    let bucket = bucket("copy-parts");
    let (from, to, data) = (format!("{bucket}/from"), format!("{bucket}/to"), body(PART_BYTES + 1000, 3));
    put(&from, data.clone()).expect(200);
    let id = create(&to);
    let copy = |number: u32, range: &str| {
        put(&format!("{to}?partNumber={number}&uploadId={id}"), "")
            .with("x-amz-copy-source", &from)
            .with("x-amz-copy-source-range", range)
    };
    let one = copy(1, &format!("bytes=7-{}", PART_BYTES + 6)).expect(200).element("ETag").expect("an ETag");
    let two = copy(2, "bytes=0-9").expect(200).element("ETag").expect("an ETag");
    copy(3, &format!("bytes=0-{}", data.len())).expect_error(400, "InvalidArgument");
    complete(&to, &id, &[(1, &one), (2, &two)]).expect(200);
    get(&to).expect(200).expect_body(&[&data[7..PART_BYTES + 7], &data[..10]].concat());
}

#[test]
fn many_parts_and_a_replaced_object() {
    let target = bucket("replace-multi") + "/key";
    let data = body(3 * PART_BYTES, 4);
    for round in 0..2 {
        let id = create(&target);
        let etags: Vec<String> = (0..3)
            .map(|i| part(&target, &id, i + 1, &data[i as usize * PART_BYTES..][..PART_BYTES]))
            .collect();
        let parts: Vec<(u32, &str)> = (1..).zip(etags.iter().map(String::as_str)).collect();
        complete(&target, &id, &parts).expect(200);
        get(&target).expect(200).expect_body(&data);
        put(&target, format!("plain {round}")).expect(200);
        get(&target).expect(200).expect_body(format!("plain {round}").as_bytes());
    }
}

#[test]
fn a_conditional_complete() {
    let target = bucket("multi-condition") + "/key";
    put(&target, "there").expect(200);
    let id = create(&target);
    let one = part(&target, &id, 1, b"x");
    complete(&target, &id, &[(1, &one)]).with("if-none-match", "*").expect_error(412, "PreconditionFailed");
    get(&target).expect(200).expect_body(b"there");
    delete(&target).expect(204);
    complete(&target, &id, &[(1, &one)]).with("if-none-match", "*").expect(200);
}
