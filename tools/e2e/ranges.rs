//! Ranges of GET and HEAD: exact bytes, 206 and 416 as RFC 9110 and S3 have them.

use crate::client::*;

/// In the log, one block, several pieces.
const SIZES: [usize; 3] = [1000, 100_000, 3_000_001];

#[test]
fn ranges_are_exact() {
    let bucket = bucket("ranges");
    for size in SIZES {
        let (target, data) = (format!("{bucket}/{size}"), body(size, 1));
        put(&target, data.clone()).expect(200);
        let middle = size / 2;
        for (spec, first, end) in [
            ("0-0".to_owned(), 0, 1),
            (format!("0-{}", size - 1), 0, size),
            (format!("{middle}-"), middle, size),
            (format!("{}-{}", middle, middle + 300), middle, middle + 301),
            (format!("{}-{}", size - 1, size * 10), size - 1, size),
            ("-1".to_owned(), size - 1, size),
            (format!("-{}", size * 2), 0, size),
        ] {
            let request = get(&target).with("range", &format!("bytes={spec}"));
            let got = request.expect(206).expect_body(&data[first..end]);
            assert_eq!(got.must("content-range"), format!("bytes {first}-{}/{size}", end - 1), "{spec}");
        }
    }
}

#[test]
fn ranges_across_every_block_border() {
    let (target, data) = (bucket("borders") + "/key", body(1_200_000, 2));
    put(&target, data.clone()).expect(200);
    for border in [4096, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20] {
        for (first, last) in
            [(border - 1, border), (border, border), (border - 2, border - 1), (border - 1, border + 300_000)]
        {
            let last = last.min(data.len() - 1);
            let request = get(&target).with("range", &format!("bytes={first}-{last}"));
            request.expect(206).expect_body(&data[first..=last]);
        }
    }
}

#[test]
fn ranges_nothing_satisfies() {
    let bucket = bucket("unsatisfiable");
    put(&format!("{bucket}/ten"), body(10, 1)).expect(200);
    put(&format!("{bucket}/none"), "").expect(200);
    for (key, spec) in [("ten", "10-"), ("ten", "10-20"), ("ten", "-0"), ("none", "0-"), ("none", "0-5")] {
        let answer = get(&format!("{bucket}/{key}")).with("range", &format!("bytes={spec}")).send();
        let answer = answer.expect_error(416, "InvalidRange");
        assert!(answer.element("ActualObjectSize").is_some(), "{}", answer.text());
    }
}

#[test]
fn ranges_that_are_none_give_the_whole() {
    let (target, data) = (bucket("no-ranges") + "/key", body(100, 1));
    put(&target, data.clone()).expect(200);
    for value in ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes 0-1"] {
        let answer = get(&target).with("range", value).expect(200).expect_body(&data);
        assert_eq!(answer.header("content-range"), None, "{value}");
    }
}

#[test]
fn head_of_a_range() {
    let target = bucket("head-range") + "/key";
    put(&target, body(100, 1)).expect(200);
    let answer = head(&target).with("range", "bytes=10-19").expect(206);
    assert_eq!((answer.must("content-length"), answer.must("content-range")), ("10", "bytes 10-19/100"));
}
