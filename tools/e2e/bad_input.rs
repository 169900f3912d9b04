//! Input no client should send: an S3 error or a closed connection, never half an object, and the server lives.

use std::thread;

use crate::client::*;

/// Sends bytes, says that nothing more comes: an error answer or none.
fn maltreat(bytes: &[u8]) -> Option<u16> {
    let mut connection = Connection::open();
    connection.write(bytes);
    connection.end_writing();
    connection.try_answer("GET").map(|answer| answer.status)
}

#[track_caller]
fn refused(bytes: &[u8]) {
    let status = maltreat(bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    assert!(status.is_none_or(|status| (400..600).contains(&status)), "{status:?} to {shown:?}");
    assert_ne!(status, Some(500), "{shown:?}");
}

#[test]
fn heads_that_are_none() {
    for head in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\nhost: x\n\n",
        "GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\na\0b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nhost: x\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{7f}",
        "GET / HTTP/1.1\r\nhost: x\r\n",
        "G",
    ] {
        refused(head.as_bytes());
    }
    still_serves();
}

#[test]
fn heads_that_are_too_large() {
    let long = "a".repeat(20_000);
    refused(format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    refused(format!("GET / HTTP/1.1\r\nhost: x\r\na: {long}\r\n\r\n").as_bytes());
    let many: String = (0..200).map(|i| format!("a{i}: b\r\n")).collect();
    refused(format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes());
    refused("a".repeat(1 << 20).as_bytes());
    still_serves();
}

/// Every request below smuggles a second one if its framing is read in two ways.
#[test]
fn framings_that_smuggle() {
    let bucket = bucket("smuggle");
    let target = format!("{bucket}/key");
    let smuggled = String::from_utf8(put(&format!("{bucket}/smuggled"), "").bytes()).expect("ASCII");
    let with = |lines: &str, tail: &str| {
        let mut request = put(&target, "");
        request.send_length = false;
        let head = String::from_utf8(request.payload(Payload::Unsigned).parts().0).expect("ASCII");
        format!("{}\r\n{lines}\r\n\r\n{tail}", head.trim_end())
    };
    for lines in [
        "content-length: 0\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 0\r\ncontent-length: 5",
        "content-length: 0, 5",
        "content-length: +0",
        "content-length: -1",
        "content-length: 0x0",
        "content-length: 99999999999999999999999",
        "content-length:",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding:\u{b}chunked",
        "transfer_encoding: chunked\r\ncontent-length: 0\r\ntransfer-encoding: x",
    ] {
        refused(with(lines, &format!("0\r\n\r\n{smuggled}")).as_bytes());
    }
    for chunks in [
        "0x0\r\n\r\n",
        "-1\r\n\r\n",
        "fffffffff\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\nx\n0\n\n",
        "\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
    ] {
        refused(with("transfer-encoding: chunked", chunks).as_bytes());
    }
    get(&format!("{bucket}/smuggled")).expect_error(404, "NoSuchKey");
    get(&target).expect_error(404, "NoSuchKey");
    still_serves();
}

#[test]
fn bodies_cut_off_keep_nothing() {
    let bucket = bucket("cut-off");
    for payload in [
        Payload::Sha256,
        Payload::Unsigned,
        Payload::Chunks,
        Payload::ChunksTrailer(stria_s3::checksum::Algorithm::Crc32),
        Payload::UnsignedChunksTrailer(stria_s3::checksum::Algorithm::Crc32),
    ] {
        for size in [100, 40_000, 400_000] {
            let (head, framed) = put(&format!("{bucket}/key"), body(size, 1)).payload(payload).parts();
            for keep in [0, 1, framed.len() / 2, framed.len() - 2, framed.len() - 1] {
                let cut = [&head[..], &framed[..keep]].concat();
                let status = maltreat(&cut);
                assert!(status.is_none_or(|status| status >= 400), "{payload:?} {keep} of {}", framed.len());
            }
        }
    }
    get(&format!("{bucket}/key")).expect_error(404, "NoSuchKey");
    still_serves();
}

#[test]
fn chunk_sizes_and_signatures_that_lie() {
    let bucket = bucket("lying-chunks");
    let target = format!("{bucket}/key");
    for size in [100usize, 100_000] {
        let (head, framed) = put(&target, body(size, 1)).payload(Payload::Chunks).parts();
        let first = size.min(CHUNK_BYTES);
        let replace = |from: &str, to: &str| {
            let at =
                framed.windows(from.len()).position(|window| window == from.as_bytes()).expect("in the body");
            let mut changed = framed.clone();
            changed.splice(at..at + from.len(), to.bytes());
            // Content-Length stays true for most of them: the lie is inside.
            changed.resize(framed.len(), b'0');
            changed
        };
        let header = format!("{first:x};chunk-signature=");
        for (from, to) in [
            (header.as_str(), format!("{:x};chunk-signature=", first + 1)),
            (&header, format!("{:x};chunk-signature=", first - 1)),
            (&header, "0;chunk-signature=".into()),
            (&header, "ffffffffff;chunk-signature=".into()),
            (&header, "fffffffffffffffffff;chunk-signature=".into()),
            (&header, "zz;chunk-signature=".into()),
            (&header, format!("{first:x};chunk-signature=0")),
            (&header, format!("{first:x}\r\n")),
            ("\r\n0;chunk-signature=", "\r\n1;chunk-signature=".into()),
            ("\r\n0;chunk-signature=", "\r\n0;chunk-signature=f".into()),
        ] {
            let answer = maltreat(&[&head[..], &replace(from, &to)].concat());
            assert!(answer.is_none_or(|status| (400..404).contains(&status)), "{answer:?}: {from} -> {to}");
        }
        get(&target).expect_error(404, "NoSuchKey");
    }
    still_serves();
}

#[test]
fn bytes_behind_the_end_of_a_chunked_body() {
    let bucket = bucket("surplus");
    for payload in [Payload::Chunks, Payload::UnsignedChunksTrailer(stria_s3::checksum::Algorithm::Crc32)] {
        let target = format!("{bucket}/key");
        let (head, framed) = put(&target, body(70_000, 1)).payload(payload).parts();
        let head = String::from_utf8(head).expect("ASCII");
        let longer = head.replace(
            &format!("content-length: {}\r\n\r\n", framed.len()),
            &format!("content-length: {}\r\n\r\n", framed.len() + 50),
        );
        assert_ne!(head, longer);
        let status = maltreat(&[longer.as_bytes(), &framed, &[b'x'; 50]].concat());
        assert!(status.is_none_or(|status| (400..404).contains(&status)), "{payload:?}: {status:?}");
        get(&target).expect_error(404, "NoSuchKey");
    }
    still_serves();
}

#[test]
fn signatures_that_are_none() {
    let target = bucket("bad-signatures") + "/key";
    put(&target, "x").expect(200);
    for value in [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=zz",
        "AWS4-HMAC-SHA256 Credential=e2e-root/20200101/us-east-1/s3/aws4_request, SignedHeaders=, Signature=00",
        "AWS4-HMAC-SHA512 Credential=a",
        "AWS e2e-root:signature",
        "Bearer token",
        "Basic ZTJlOmUyZQ==",
        &"A".repeat(8000),
    ] {
        refused(
            format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {value}\r\n\r\n").as_bytes(),
        );
    }
    let twice = String::from_utf8(get(&target).bytes()).expect("ASCII");
    let line = twice.lines().find(|line| line.starts_with("authorization")).expect("a line").to_owned();
    refused(twice.replacen(&line, &format!("{line}\r\n{line}"), 1).as_bytes());
    still_serves();
}

#[test]
fn bytes_of_noise() {
    for seed in 1..60 {
        refused(&body((seed as usize * 97) % 5000 + 1, seed));
    }
    // A valid request with one byte changed may be refused or be another valid request; nothing may break.
    let target = bucket("noise") + "/key";
    let valid = put(&target, body(2000, 1)).payload(Payload::Chunks).bytes();
    for i in 0..300 {
        let mut changed = valid.clone();
        let at = (i * 7919) % changed.len();
        changed[at] ^= 1 << (i % 8);
        let _ = maltreat(&changed);
    }
    still_serves();
}

#[test]
fn clients_that_leave() {
    let target = bucket("leavers") + "/key";
    let data = body(4 << 20, 1);
    put(&target, data.clone()).payload(Payload::Unsigned).expect(200);
    let leavers: Vec<_> = (0..8)
        .map(|i| {
            let target = target.clone();
            thread::spawn(move || {
                for _ in 0..5 {
                    let mut reader = Connection::open();
                    reader.write(&get(&target).bytes());
                    drop(reader);
                    let bytes = put(&format!("{target}{i}"), body(1 << 20, 1)).bytes();
                    let mut writer = Connection::open();
                    writer.write(&bytes[..bytes.len() / 2]);
                }
            })
        })
        .collect();
    leavers.into_iter().for_each(|leaver| leaver.join().expect("a leaver"));
    get(&target).expect(200).expect_body(&data);
    for i in 0..8 {
        get(&format!("{target}{i}")).expect_error(404, "NoSuchKey");
    }
    still_serves();
}
