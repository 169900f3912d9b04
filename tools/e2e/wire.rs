//! HTTP/1.1 as clients speak it: keep-alive, pipelining, 100-continue, early answers, virtual hosts (B-09, B-10).

use std::{thread::sleep, time::Duration};

use crate::{client::*, server::DOMAIN};

#[test]
fn a_connection_carries_many_requests() {
    let target = bucket("keep-alive") + "/key";
    let mut connection = Connection::open();
    for i in 0..200usize {
        let data = body(i * 331, i as u64);
        connection.write(&put(&target, data.clone()).bytes());
        connection.answer("PUT").expect(200);
        connection.write(&get(&target).bytes());
        connection.answer("GET").expect(200).expect_body(&data);
    }
}

#[test]
fn errors_do_not_end_a_connection_whose_body_was_read() {
    let bucket = bucket("error-goes-on");
    let mut connection = Connection::open();
    for _ in 0..5 {
        connection.write(&get(&format!("{bucket}/missing")).bytes());
        connection.answer("GET").expect_error(404, "NoSuchKey");
        connection.write(&put("/no-such-bucket/key", body(1000, 1)).bytes());
        connection.answer("PUT").expect_error(404, "NoSuchBucket");
    }
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let bucket = bucket("pipelined");
    let mut all = Vec::new();
    for i in 0..20usize {
        // Keys of both cores; the first ones are the slowest.
        all.extend(put(&format!("{bucket}/{i}"), body((20 - i) * 10_000, i as u64)).bytes());
    }
    for i in 0..20 {
        all.extend(get(&format!("{bucket}/{i}")).bytes());
    }
    let mut connection = Connection::open();
    connection.write(&all);
    for _ in 0..20 {
        connection.answer("PUT").expect(200);
    }
    for i in 0..20usize {
        connection.answer("GET").expect(200).expect_body(&body((20 - i) * 10_000, i as u64));
    }
}

#[test]
fn a_head_in_pieces() {
    let target = bucket("in-pieces") + "/key";
    for payload in [Payload::Sha256, Payload::Chunks] {
        let data = body(70_000, 1);
        let bytes = put(&target, data.clone()).payload(payload).bytes();
        let mut connection = Connection::open();
        for byte in &bytes[..700] {
            connection.write(&[*byte]);
        }
        for piece in bytes[700..].chunks(1013) {
            connection.write(piece);
        }
        connection.answer("PUT").expect(200);
        get(&target).expect(200).expect_body(&data);
    }
}

#[test]
fn continue_comes_before_the_body() {
    let target = bucket("continue") + "/key";
    for size in [10, 0, 500_000] {
        let data = body(size, 1);
        let (head, body) = put(&target, data.clone()).unsigned("expect", "100-continue").parts();
        let mut connection = Connection::open();
        connection.write(&head);
        assert_eq!(connection.answer("PUT").status, 100);
        connection.write(&body);
        connection.answer("PUT").expect(200);
        connection.write(&get(&target).bytes());
        connection.answer("GET").expect(200).expect_body(&data);
    }
}

#[test]
fn a_refusal_comes_instead_of_continue() {
    let (head, _) = put("/no-such-bucket/key", body(500_000, 1)).unsigned("expect", "100-continue").parts();
    let mut connection = Connection::open();
    connection.write(&head);
    connection.answer("PUT").expect_error(404, "NoSuchBucket");
    assert!(connection.is_closed(), "whether the body still comes, nobody can know");
}

#[test]
fn a_client_that_does_not_wait_still_reads_why() {
    // 20 MiB without waiting for anything: closing at once would reset the connection under the answer.
    for _ in 0..5 {
        let request = put("/no-such-bucket/key", body(20 << 20, 1)).payload(Payload::Unsigned);
        let mut connection = Connection::open();
        connection.write_all(&request.bytes());
        let answer = connection.answer("PUT").expect_error(404, "NoSuchBucket");
        assert_eq!(answer.must("connection"), "close");
    }
}

#[test]
fn close_when_asked() {
    let target = bucket("close") + "/key";
    let mut connection = Connection::open();
    connection.write(&put(&target, "x").unsigned("connection", "close").bytes());
    assert_eq!(connection.answer("PUT").expect(200).must("connection"), "close");
    assert!(connection.is_closed());
}

#[test]
fn a_slow_reader_gets_everything() {
    let (target, data) = (bucket("slow-reader") + "/key", body(8 << 20, 1));
    put(&target, data.clone()).payload(Payload::Unsigned).expect(200);
    let mut connections: Vec<Connection> = (0..8).map(|_| Connection::open()).collect();
    connections.iter_mut().for_each(|connection| connection.write(&get(&target).bytes()));
    sleep(Duration::from_millis(500));
    put(&target, "replaced while they read").expect(200);
    for mut connection in connections {
        connection.answer("GET").expect(200).expect_body(&data);
    }
}

#[test]
fn an_overwritten_object_is_read_whole_or_not_at_all() {
    let target = bucket("torn") + "/key";
    put(&target, body(600_000, 0)).expect(200);
    let writer = {
        let target = target.clone();
        std::thread::spawn(move || {
            for seed in 1..20 {
                put(&target, body(600_000, seed)).expect(200);
            }
        })
    };
    let all: Vec<Vec<u8>> = (0..20).map(|seed| body(600_000, seed)).collect();
    while !writer.is_finished() {
        let got = get(&target).expect(200);
        assert!(all.contains(&got.body), "one of the bodies, whole");
        assert_eq!(got.must("etag"), format!("\"{}\"", md5_hex(&got.body)));
    }
    writer.join().expect("the writer");
}

#[test]
fn virtual_host_style() {
    let bucket = bucket("vhost");
    let host = format!("vhost.{DOMAIN}");
    put("/abc/key", "x").with("host", &host).expect(200);
    get(&format!("{bucket}/abc/key")).expect(200).expect_body(b"x");
    get("/abc/key").with("host", &format!("{host}:9000")).expect(200).expect_body(b"x");
    let listed = get("/?list-type=2").with("host", &host).expect(200);
    assert_eq!(elements(&listed.text(), "Key"), ["abc/key"]);
    get("/abc/key").with("host", DOMAIN).expect_error(404, "NoSuchBucket");
}

#[test]
fn many_connections_at_once() {
    let target = bucket("many") + "/key";
    put(&target, "x").expect(200);
    let mut connections: Vec<Connection> = (0..400).map(|_| Connection::open()).collect();
    for connection in &mut connections {
        connection.write(&get(&target).bytes());
    }
    for connection in &mut connections {
        connection.answer("GET").expect(200).expect_body(b"x");
    }
}
