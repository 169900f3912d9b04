//! Stores that earlier releases wrote, opened by this one: each was stopped in order once, then killed under
//! writes, so that it has runs (from format 2 on) and a log behind them.
//!
//! `fixtures/format-N.tar.gz` is the data directory, `format-N.txt` what was acknowledged: kind, key or version,
//! bytes, number of the body, ETag.

use std::{path::Path, process::Command};

use crate::{client::*, server::Server};

/// A body of the fixtures: a line of eight digits and a dash, over and over.
fn fixture_body(bytes: usize, number: usize) -> Vec<u8> {
    format!("{number:08}-").bytes().cycle().take(bytes).collect()
}

fn unpack(format: u32, into: &Path) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/e2e/fixtures");
    let archive = fixtures.join(format!("format-{format}.tar.gz"));
    let unpacked = Command::new("tar").arg("-xzSf").arg(archive).arg("-C").arg(into).status().expect("tar");
    assert!(unpacked.success());
    std::fs::read_to_string(fixtures.join(format!("format-{format}.txt"))).expect("what it holds")
}

fn escaped(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    key.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Everything the fixture was told to hold, byte for byte, and nothing else in the listing.
fn check(port: u16, expected: &str) -> usize {
    let mut keys = Vec::new();
    for line in expected.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, name, bytes, seed, etag] = fields[..] else { panic!("{line}") };
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let mut wanted = fixture_body(number(bytes), number(seed));
        let target = match kind {
            "version" => format!("/fixture-versions/v?versionId={name}"),
            _ => format!("/fixture/{}", escaped(name)),
        };
        if kind == "parts" {
            wanted.extend(fixture_body(100_000, 2003));
        }
        if kind != "version" {
            keys.push(name.to_owned());
        }
        let answer = get(&target).send_to(port).expect(200).expect_body(&wanted);
        assert!(etag == "-" || answer.must("etag") == etag, "{name}");
    }
    let listed = get("/fixture?list-type=2").send_to(port).expect(200).text();
    keys.sort();
    assert_eq!(elements(&listed, "Key"), keys);
    keys.len()
}

fn opens_and_goes_on(format: u32) {
    let folder = tempfile::tempdir().expect("a directory");
    let expected = unpack(format, folder.path());
    let server = Server::start(folder.path());
    let mut count = check(server.ports.s3, &expected);
    put("/fixture/new", fixture_body(50_000, 1)).send_to(server.ports.s3).expect(200);
    let expected = expected + "object\tnew\t50000\t1\t-\n";
    server.stop();
    let mut server = Server::start(folder.path());
    count += 1;
    assert_eq!(check(server.ports.s3, &expected), count, "after an orderly stop of this release");
    put("/fixture/newer", fixture_body(10, 2)).send_to(server.ports.s3).expect(200);
    server.signal("KILL");
    server.wait();
    let server = Server::start(folder.path());
    count += 1;
    let expected = expected + "object\tnewer\t10\t2\t-\n";
    assert_eq!(check(server.ports.s3, &expected), count, "after a kill of this release");
    if format > 1 {
        let tags = get("/fixture/large?tagging").send_to(server.ports.s3).expect(200).text();
        assert!(tags.contains("<Key>team</Key><Value>blue</Value>"), "{tags}");
        get("/fixture-versions/marked").send_to(server.ports.s3).expect_error(404, "NoSuchKey");
        get("/fixture-versions/v")
            .send_to(server.ports.s3)
            .expect(200)
            .expect_body(&fixture_body(2000, 3002));
    }
    server.stop();
}

#[test]
fn a_store_of_format_1_opens_and_goes_on() {
    opens_and_goes_on(1);
}

#[test]
fn a_store_of_format_2_opens_and_goes_on() {
    opens_and_goes_on(2);
}
