//! Checksums and the five ways to promise a payload (B-05, B-06): right ones are kept, wrong ones keep nothing.

use stria_s3::checksum::{Algorithm, Hasher};

use crate::client::*;

/// In the log; in extents; several chunks and pieces.
const SIZES: [usize; 6] = [0, 1, 32 << 10, (32 << 10) + 1, 256 << 10, 1_000_000];

#[test]
fn every_payload_mode_at_every_size() {
    let bucket = bucket("payload-modes");
    for size in SIZES {
        let data = body(size, 1);
        for (i, payload) in [
            Payload::Sha256,
            Payload::Unsigned,
            Payload::Chunks,
            Payload::ChunksTrailer(Algorithm::Crc32),
            Payload::UnsignedChunksTrailer(Algorithm::Crc64Nvme),
        ]
        .into_iter()
        .enumerate()
        {
            let target = format!("{bucket}/{size}-{i}");
            let answer = put(&target, data.clone()).payload(payload).send();
            assert_eq!(answer.status, 200, "{payload:?} {size}: {}", answer.text());
            get(&target).expect(200).expect_body(&data);
        }
    }
}

#[test]
fn every_algorithm_as_header_and_as_trailer() {
    let target = bucket("algorithms") + "/key";
    for size in [1000, 100_000] {
        let data = body(size, 2);
        for algorithm in Algorithm::ALL {
            let value = Hasher::of(algorithm, &data).to_base64();
            let header = put(&target, data.clone()).with(&algorithm.header().to_lowercase(), &value);
            let trailers = [Payload::ChunksTrailer(algorithm), Payload::UnsignedChunksTrailer(algorithm)]
                .map(|payload| put(&target, data.clone()).payload(payload));
            for request in [vec![header], trailers.to_vec()].concat() {
                assert_eq!(request.expect(200).must(algorithm.header()), value);
                let answer =
                    get(&target).with("x-amz-checksum-mode", "ENABLED").expect(200).expect_body(&data);
                assert_eq!(answer.must(algorithm.header()), value, "{algorithm:?}");
                assert_eq!(answer.must("x-amz-checksum-type"), "FULL_OBJECT");
                delete(&target).expect(204);
            }
        }
    }
}

#[test]
fn without_one_the_server_makes_crc64nvme() {
    let (target, data) = (bucket("default-sum") + "/key", body(70_000, 3));
    put(&target, data.clone()).expect(200);
    let answer = head(&target).with("x-amz-checksum-mode", "ENABLED").expect(200);
    assert_eq!(answer.must("x-amz-checksum-crc64nvme"), Hasher::of(Algorithm::Crc64Nvme, &data).to_base64());
}

#[test]
fn wrong_digests_keep_nothing() {
    let bucket = bucket("wrong-digests");
    for size in [10, 100_000] {
        let (target, data) = (format!("{bucket}/{size}"), body(size, 4));
        for algorithm in Algorithm::ALL {
            let other = Hasher::of(algorithm, b"another body").to_base64();
            put(&target, data.clone())
                .with(&algorithm.header().to_lowercase(), &other)
                .expect_error(400, "BadDigest");
        }
        let other = Hasher::of(Algorithm::Md5, b"another body").to_base64();
        put(&target, data.clone()).with("content-md5", &other).expect_error(400, "BadDigest");
        put(&target, data.clone()).with("content-md5", "no base64!").expect_error(400, "InvalidDigest");
        put(&target, data.clone()).with("x-amz-checksum-crc32", "AAAA").expect_error(400, "InvalidRequest");
        get(&target).expect_error(404, "NoSuchKey");
        let right = Hasher::of(Algorithm::Md5, &data).to_base64();
        put(&target, data).with("content-md5", &right).expect(200);
    }
}

#[test]
fn a_payload_that_is_not_what_was_signed() {
    let bucket = bucket("other-payload");
    for (i, payload) in [
        Payload::Sha256,
        Payload::Chunks,
        Payload::ChunksTrailer(Algorithm::Crc32),
        Payload::UnsignedChunksTrailer(Algorithm::Crc32),
    ]
    .into_iter()
    .enumerate()
    {
        for size in [100, 200_000] {
            let target = format!("{bucket}/{i}-{size}");
            let (head, mut framed) = put(&target, body(size, 5)).payload(payload).parts();
            // Inside the first chunk's payload, behind its header.
            framed[98] ^= 1;
            let mut connection = Connection::open();
            connection.write(&[head, framed].concat());
            let answer = connection.answer("PUT");
            assert!((400..404).contains(&answer.status), "{payload:?} {size}: {}", answer.text());
            get(&target).expect_error(404, "NoSuchKey");
        }
    }
    still_serves();
}

#[test]
fn checksums_of_multipart_objects() {
    use crate::multipart::{PART_BYTES, complete};
    let bucket = bucket("multi-sums");
    let data = body(PART_BYTES + 1000, 6);
    for (algorithm, kind) in [
        (Algorithm::Crc32, "FULL_OBJECT"),
        (Algorithm::Crc32c, "COMPOSITE"),
        (Algorithm::Crc64Nvme, "FULL_OBJECT"),
        (Algorithm::Sha256, "COMPOSITE"),
        (Algorithm::Sha512, "COMPOSITE"),
        (Algorithm::Md5, "COMPOSITE"),
        (Algorithm::Xxhash128, "COMPOSITE"),
    ] {
        let target = format!("{bucket}/{}", algorithm.name());
        let create = post(&format!("{target}?uploads"), "")
            .with("x-amz-checksum-algorithm", algorithm.name())
            .with("x-amz-checksum-type", kind);
        let id = create.expect(200).element("UploadId").expect("an id");
        let etags = [(1, &data[..PART_BYTES]), (2, &data[PART_BYTES..])].map(|(number, piece)| {
            let value = Hasher::of(algorithm, piece).to_base64();
            let part = put(&format!("{target}?partNumber={number}&uploadId={id}"), piece)
                .with(&algorithm.header().to_lowercase(), &value);
            part.expect(200).must("etag").to_owned()
        });
        complete(&target, &id, &[(1, &etags[0]), (2, &etags[1])]).expect(200);
        let answer = head(&target).with("x-amz-checksum-mode", "ENABLED").expect(200);
        assert_eq!(answer.must("x-amz-checksum-type"), kind);
        let found = answer.must(algorithm.header());
        if kind == "FULL_OBJECT" {
            assert_eq!(found, Hasher::of(algorithm, &data).to_base64());
        } else {
            let digests: Vec<u8> = [&data[..PART_BYTES], &data[PART_BYTES..]]
                .iter()
                .flat_map(|piece| Hasher::of(algorithm, piece).digest.as_bytes().to_vec())
                .collect();
            assert_eq!(found, format!("{}-2", Hasher::of(algorithm, &digests).to_base64()));
        }
    }
}

#[test]
fn unsigned_payload_is_not_aws_chunked() {
    let target = bucket("unsigned-chunked") + "/key";
    let request = put(&target, "x").payload(Payload::Unsigned).with("content-encoding", "aws-chunked");
    request.with("x-amz-decoded-content-length", "1").expect_error(400, "InvalidArgument");
}

#[test]
fn a_streaming_payload_says_its_length() {
    let target = bucket("no-decoded-length") + "/key";
    let (head, framed) = put(&target, "x").payload(Payload::Chunks).parts();
    let head = String::from_utf8(head)
        .expect("ASCII")
        .replace("x-amz-decoded-content-length: 1", "x-amz-decoded-content-length: 2");
    let mut connection = Connection::open();
    connection.write(&[head.into_bytes(), framed].concat());
    connection.answer("PUT").expect_error(403, "SignatureDoesNotMatch");
    get(&target).expect_error(404, "NoSuchKey");
}
