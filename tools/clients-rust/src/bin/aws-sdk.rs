//! aws-sdk-s3, the SDK of AWS for Rust, with its default checksums and trailers: put, get, ranges, listing, batch
//! deletion, multipart, copy, conditions.
//!
//! Invariant: prints `RESULT` only at the end; every check before it panics when it does not hold.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier},
};
use futures::{StreamExt, stream};

const BUCKET: &str = "aws-sdk-rust";
const KEYS: usize = 5000;
const AT_ONCE: usize = 16;
const DELETE_MAX: usize = 1000;
const PART_BYTES: usize = 5 << 20;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let variable = |name: &str| std::env::var(name).expect("started by cargo xtask clients");
    let (key, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(variable("STRIA_ENDPOINT"))
        .region(Region::new(variable("AWS_DEFAULT_REGION")))
        .credentials_provider(Credentials::new(key, secret, None, None, "clients"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .force_path_style(true)
        .build();
    let client = Client::from_conf(config);
    client.create_bucket().bucket(BUCKET).send().await.expect("the bucket");
    sizes_and_ranges(&client).await;
    checksums(&client).await;
    conditions(&client).await;
    multipart_and_copy(&client).await;
    listing(&client).await;
    delete_all(&client).await;
    client.delete_bucket().bucket(BUCKET).send().await.expect("the bucket goes");
    println!(
        "RESULT {}|put and get of 8 sizes, ranges, 4 checksums, conditions, multipart, copies, list and batch delete of {KEYS} keys",
        aws_sdk_s3::meta::PKG_VERSION
    );
}

/// Bytes that depend on their place and on `seed`.
fn body(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| word()).collect()
}

/// The S3 code of a failure.
fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    error.code().unwrap_or("none").to_owned()
}

async fn put(client: &Client, key: &str, data: Vec<u8>) -> String {
    let put = client.put_object().bucket(BUCKET).key(key).metadata("origin", "sdk");
    let done = put.body(ByteStream::from(data)).send().await.expect("put");
    done.e_tag().expect("an ETag").to_owned()
}

async fn get(client: &Client, key: &str) -> Vec<u8> {
    let got = client.get_object().bucket(BUCKET).key(key).send().await.expect("get");
    got.body.collect().await.expect("body").to_vec()
}

async fn sizes_and_ranges(client: &Client) {
    for bytes in [0, 1, 4096, 32 << 10, (32 << 10) + 1, 256 << 10, 1 << 20, (6 << 20) + 7] {
        let (key, data) = (format!("size/{bytes}"), body(bytes, 1));
        let etag = put(client, &key, data.clone()).await;
        let head = client.head_object().bucket(BUCKET).key(&key).send().await.expect("head");
        assert_eq!((head.content_length(), head.e_tag()), (Some(bytes as i64), Some(etag.as_str())));
        assert_eq!(head.metadata().and_then(|all| all.get("origin")).map(String::as_str), Some("sdk"));
        assert!(get(client, &key).await == data, "{bytes} bytes came back changed");
    }
    let (key, data) = ("size/6291463", body((6 << 20) + 7, 1));
    for (range, expected) in [
        ("bytes=0-0", &data[..1]),
        ("bytes=1048575-2097152", &data[1_048_575..=2_097_152]),
        ("bytes=-9", &data[data.len() - 9..]),
        ("bytes=6291460-", &data[6_291_460..]),
    ] {
        let got = client.get_object().bucket(BUCKET).key(key).range(range).send().await.expect("range");
        assert!(got.body.collect().await.expect("body").to_vec() == expected, "{range}");
    }
    let missing = client.get_object().bucket(BUCKET).key("missing").send().await.expect_err("missing");
    assert!(missing.request_id().is_some());
    assert!(missing.into_service_error().is_no_such_key());
    for key in ["with space", "plus+", "a=b&c", "per%cent", "ümlaut", "🦀", "a//b", "dot/../dot"] {
        put(client, key, key.into()).await;
        assert_eq!(get(client, key).await, key.as_bytes(), "{key}");
        client.delete_object().bucket(BUCKET).key(key).send().await.expect("delete");
    }
}

async fn checksums(client: &Client) {
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha256,
    ] {
        let (key, data) = (format!("checksum/{algorithm}"), body(100_000, 3));
        let put = client.put_object().bucket(BUCKET).key(&key).checksum_algorithm(algorithm);
        put.body(ByteStream::from(data.clone())).send().await.expect("put");
        // The SDK verifies the checksum the server returns while the body is read.
        assert!(get(client, &key).await == data);
    }
}

async fn conditions(client: &Client) {
    let first = put(client, "condition", b"first".to_vec()).await;
    let create = || client.put_object().bucket(BUCKET).key("condition").body(ByteStream::from_static(b"x"));
    let error = create().if_none_match("*").send().await.expect_err("it is there");
    assert_eq!(code(&error), "PreconditionFailed");
    create().if_match(&first).send().await.expect("it is the first");
    let error = create().if_match(&first).send().await.expect_err("it is the first no more");
    assert_eq!(code(&error), "PreconditionFailed");
    let get = || client.get_object().bucket(BUCKET).key("condition");
    let error = get().if_match(&first).send().await.expect_err("another one");
    assert_eq!(code(&error), "PreconditionFailed");
    get().if_none_match(&first).send().await.expect("another one");
    let creates = (0..AT_ONCE).map(|i| {
        let data = ByteStream::from(vec![i as u8; 10]);
        client.put_object().bucket(BUCKET).key("race").if_none_match("*").body(data).send()
    });
    let done = futures::future::join_all(creates).await;
    assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 1, "winners of a race");
}

async fn multipart_and_copy(client: &Client) {
    let (key, data) = ("multi", body(2 * PART_BYTES + 77, 2));
    let begin = client.create_multipart_upload().bucket(BUCKET).key(key);
    let begun = begin.checksum_algorithm(ChecksumAlgorithm::Crc32).send().await.expect("upload");
    let id = begun.upload_id().expect("an id");
    let mut parts = Vec::new();
    for (i, piece) in data.chunks(PART_BYTES).enumerate() {
        let number = i as i32 + 1;
        let part = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(number);
        let part = part.checksum_algorithm(ChecksumAlgorithm::Crc32).body(ByteStream::from(piece.to_vec()));
        let done = part.send().await.expect("part");
        let part = CompletedPart::builder().part_number(number).set_e_tag(done.e_tag().map(str::to_owned));
        parts.push(part.set_checksum_crc32(done.checksum_crc32().map(str::to_owned)).build());
    }
    let listed = client.list_parts().bucket(BUCKET).key(key).upload_id(id).send().await.expect("list parts");
    assert_eq!(listed.parts().len(), 3);
    let all = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id);
    complete.multipart_upload(all).send().await.expect("complete");
    assert!(get(client, key).await == data, "multipart");
    let copy =
        client.copy_object().bucket(BUCKET).key("copy of multi").copy_source(format!("{BUCKET}/{key}"));
    copy.send().await.expect("copy");
    assert!(get(client, "copy of multi").await == data, "copy");
    let begun = client.create_multipart_upload().bucket(BUCKET).key("aborted").send().await.expect("upload");
    let id = begun.upload_id().expect("an id");
    let part = client.upload_part_copy().bucket(BUCKET).key("aborted").upload_id(id).part_number(1);
    let part = part.copy_source(format!("{BUCKET}/{key}")).copy_source_range("bytes=0-99");
    part.send().await.expect("part by copy");
    client.abort_multipart_upload().bucket(BUCKET).key("aborted").upload_id(id).send().await.expect("abort");
    let left = client.list_multipart_uploads().bucket(BUCKET).send().await.expect("list uploads");
    assert!(left.uploads().is_empty());
}

async fn listing(client: &Client) {
    let names: Vec<String> = (0..KEYS).map(|i| format!("list/{:02}/{i:05}", i % 20)).collect();
    let puts = stream::iter(&names).map(|name| put(client, name, b"x".to_vec()));
    assert_eq!(puts.buffer_unordered(AT_ONCE).count().await, KEYS);
    let mut pages = client.list_objects_v2().bucket(BUCKET).prefix("list/").into_paginator().send();
    let (mut listed, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        listed.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        count += 1;
    }
    let mut expected = names.clone();
    expected.sort();
    assert!(listed == expected && count == KEYS / 1000, "{} keys in {count} pages", listed.len());
    let folders = client.list_objects_v2().bucket(BUCKET).prefix("list/").delimiter("/").max_keys(7);
    let (mut pages, mut found) = (folders.into_paginator().send(), 0);
    while let Some(page) = pages.next().await {
        found += page.expect("a page").common_prefixes().len();
    }
    assert_eq!(found, 20);
}

async fn delete_all(client: &Client) {
    let mut pages =
        client.list_objects_v2().bucket(BUCKET).max_keys(DELETE_MAX as i32).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(
            page.expect("a page").contents().iter().filter_map(|object| object.key().map(str::to_owned)),
        );
    }
    assert!(keys.len() > KEYS);
    for some in keys.chunks(DELETE_MAX) {
        let named = some.iter().map(|key| ObjectIdentifier::builder().key(key).build().expect("a key"));
        let delete = Delete::builder().set_objects(Some(named.collect())).build().expect("some keys");
        let done = client.delete_objects().bucket(BUCKET).delete(delete).send().await.expect("delete");
        assert_eq!((done.deleted().len(), done.errors().len()), (some.len(), 0));
    }
    let left = client.list_objects_v2().bucket(BUCKET).send().await.expect("list");
    assert_eq!(left.key_count(), Some(0));
}
