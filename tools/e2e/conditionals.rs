//! Conditional requests of RFC 9110 and S3's conditional writes, races included.

use std::thread;

use crate::client::*;

#[test]
fn conditions_of_reads() {
    let target = bucket("read-conditions") + "/key";
    let etag = put(&target, "x").expect(200).must("etag").to_owned();
    let modified = head(&target).expect(200).must("last-modified").to_owned();
    let (past, future) = ("Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    let other = "\"00000000000000000000000000000000\"";
    for (conditions, status) in [
        (vec![("if-match", etag.as_str())], 200),
        (vec![("if-match", "*")], 200),
        (vec![("if-match", other)], 412),
        (vec![("if-none-match", etag.as_str())], 304),
        (vec![("if-none-match", "*")], 304),
        (vec![("if-none-match", other)], 200),
        (vec![("if-modified-since", past)], 200),
        (vec![("if-modified-since", modified.as_str())], 304),
        (vec![("if-unmodified-since", past)], 412),
        (vec![("if-unmodified-since", future)], 200),
        (vec![("if-match", etag.as_str()), ("if-unmodified-since", past)], 200),
        (vec![("if-none-match", other), ("if-modified-since", modified.as_str())], 200),
    ] {
        for request in [get(&target), head(&target)] {
            let request = conditions.iter().fold(request, |request, (name, value)| request.with(name, value));
            let answer = request.send();
            assert_eq!(answer.status, status, "{} {conditions:?}", request.method);
            if status == 304 {
                assert_eq!(answer.must("etag"), etag);
            }
        }
    }
}

#[test]
fn conditions_of_writes() {
    let target = bucket("write-conditions") + "/key";
    let other = "\"00000000000000000000000000000000\"";
    put(&target, "0").with("if-match", other).expect_error(404, "NoSuchKey");
    let etag = put(&target, "1").with("if-none-match", "*").expect(200).must("etag").to_owned();
    put(&target, "2").with("if-none-match", "*").expect_error(412, "PreconditionFailed");
    put(&target, "3").with("if-match", other).expect_error(412, "PreconditionFailed");
    get(&target).expect(200).expect_body(b"1");
    put(&target, "4").with("if-match", &etag).expect(200);
    put(&target, "5").with("if-match", &etag).expect_error(412, "PreconditionFailed");
    get(&target).expect(200).expect_body(b"4");
}

#[test]
fn a_large_body_refused_by_its_condition_leaves_nothing() {
    let target = bucket("large-condition") + "/key";
    put(&target, "first").expect(200);
    put(&target, body(2 << 20, 1)).with("if-none-match", "*").expect_error(412, "PreconditionFailed");
    get(&target).expect(200).expect_body(b"first");
}

#[test]
fn conditional_deletes() {
    let target = bucket("delete-conditions") + "/key";
    let etag = put(&target, "x").expect(200).must("etag").to_owned();
    delete(&target)
        .with("if-match", "\"00000000000000000000000000000000\"")
        .expect_error(412, "PreconditionFailed");
    get(&target).expect(200);
    delete(&target).with("if-match", &etag).expect(204);
    get(&target).expect_error(404, "NoSuchKey");
}

#[test]
fn one_of_many_creates_wins() {
    let bucket = bucket("create-race");
    for round in 0..10 {
        let target = format!("{bucket}/{round}");
        // Every second round with bodies that go to extents.
        let size = if round % 2 == 0 { 10 } else { 50_000 };
        let racers: Vec<_> = (0..8u64)
            .map(|i| {
                let request = put(&target, body(size, i)).with("if-none-match", "*");
                thread::spawn(move || request.send().status)
            })
            .collect();
        let statuses: Vec<u16> = racers.into_iter().map(|racer| racer.join().expect("a racer")).collect();
        let winners: Vec<usize> = (0..8).filter(|i| statuses[*i] == 200).collect();
        assert_eq!(winners.len(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 409 | 412)), "{statuses:?}");
        get(&target).expect(200).expect_body(&body(size, winners[0] as u64));
    }
}

#[test]
fn updates_by_etag_lose_nothing() {
    let target = bucket("counter") + "/key";
    put(&target, "0").expect(200);
    let adders: Vec<_> = (0..4)
        .map(|_| {
            let target = target.clone();
            thread::spawn(move || {
                for _ in 0..5 {
                    loop {
                        let now = get(&target).expect(200);
                        let next = now.text().parse::<u32>().expect("a number") + 1;
                        let request = put(&target, next.to_string()).with("if-match", now.must("etag"));
                        match request.send().status {
                            200 => break,
                            409 | 412 => {}
                            other => panic!("status {other}"),
                        }
                    }
                }
            })
        })
        .collect();
    adders.into_iter().for_each(|adder| adder.join().expect("an adder"));
    get(&target).expect(200).expect_body(b"20");
}
