//! Scrubbing: bits flipped under a running server are found, repaired where another copy exists, named where none
//! does, and never served.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{client::*, server::Server};

const FAST: [&str; 6] = ["--scrub-period", "1s", "--scrub-light-period", "1s", "--scrub-share", "100"];
const FOUND_SECONDS_MAX: u64 = 120;

/// The volumes of a data directory.
pub fn volumes(data: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(data.join("volumes"))
        .expect("volumes")
        .map(|entry| entry.expect("one").path())
        .collect();
    paths.sort();
    paths
}

/// Flips a bit of the byte at `at`, under whoever has the volume open.
pub fn flip_at(volume: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(volume).expect("a volume");
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 4], at).expect("written");
    file.sync_all().expect("synced");
}

/// Where `bytes` lie: volume and offset of each place. Volumes are mostly zeros, which are passed over.
pub fn places(data: &Path, bytes: &[u8]) -> Vec<(PathBuf, u64)> {
    const BLOCK_BYTES: usize = 4096;
    let (zeros, mut found) = ([0u8; BLOCK_BYTES], Vec::new());
    for volume in volumes(data) {
        let content = fs::read(&volume).expect("a volume");
        for start in (0..content.len()).step_by(BLOCK_BYTES) {
            if content[start..].starts_with(&zeros) {
                continue;
            }
            let end = (start + BLOCK_BYTES + bytes.len() - 1).min(content.len());
            let here = content[start..end].windows(bytes.len());
            let at = |(at, window): (usize, &[u8])| (window == bytes).then_some((start + at) as u64);
            found.extend(here.enumerate().filter_map(at).map(|at| (volume.clone(), at)));
        }
    }
    assert!(!found.is_empty(), "the bytes are in no volume");
    found
}

fn stria(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_stria")).args(args).output().expect("runs");
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// What `/scrub` says, as soon as it has what is wanted.
#[track_caller]
fn wait_for(server: &Server, wanted: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + Duration::from_secs(FOUND_SECONDS_MAX);
    loop {
        let said = get("/scrub").send_to(server.ports.admin).expect(200).text();
        if wanted(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "not within {FOUND_SECONDS_MAX} s: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn has(said: &str, kind: &str, repaired: bool) -> bool {
    let page: serde_json::Value = serde_json::from_str(said).expect("JSON");
    let damage = page["damage"].as_array().expect("a list");
    damage.iter().any(|one| one["kind"] == kind && one["repaired"] == repaired)
}

#[test]
fn hurt_bodies_are_found_named_and_never_served() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &FAST);
    let port = server.ports.s3;
    put("/scrubbed", "").send_to(port).expect(200);
    for (name, bytes) in [("small", 2_000), ("large", 500_000), ("sound", 70_000)] {
        put(&format!("/scrubbed/{name}"), body(bytes, bytes as u64)).send_to(port).expect(200);
    }
    for bytes in [2_000, 500_000] {
        let (volume, at) = places(folder.path(), &body(bytes, bytes as u64)[1_000..1_100]).swap_remove(0);
        flip_at(&volume, at + 50);
    }
    let two = |said: &str| said.matches("\"kind\":\"body\"").count() == 2;
    wait_for(&server, two);
    for (name, bytes) in [("small", 2_000), ("large", 500_000)] {
        // A cached copy was verified when it was read; one that is read now fails.
        let answer = get(&format!("/scrubbed/{name}")).send_to(port);
        assert!(answer.status == 500 || answer.body == body(bytes, bytes as u64), "{name}");
    }
    get("/scrubbed/sound").send_to(port).expect(200).expect_body(&body(70_000, 70_000));
    let admin = format!("127.0.0.1:{}", server.ports.admin);
    let data = folder.path().to_str().expect("UTF-8");
    let said = stria(&["info", "--data", data, "--admin-listen", &admin]);
    assert!(said.contains("a body does not verify") && said.contains("placement group"), "{said}");
    let metrics = get("/metrics").send_to(server.ports.admin).expect(200).text();
    let found: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("stria_damage_found_total") && line.contains("kind=\"body\""))
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number"))
        .sum();
    assert_eq!(found, 2.0);
    // What is gone is no damage any more.
    for name in ["small", "large"] {
        delete(&format!("/scrubbed/{name}")).send_to(port).expect(204);
    }
    wait_for(&server, |said| said.contains("\"damage\":[]"));
}

#[test]
fn copies_and_runs_are_repaired() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    put("/repaired", "").send_to(server.ports.s3).expect(200);
    for i in 0..50 {
        put(&format!("/repaired/key-{i}"), body(100, i)).send_to(server.ports.s3).expect(200);
    }
    server.stop();
    let server = Server::start(folder.path());
    let admin = format!("127.0.0.1:{}", server.ports.admin);
    let volume = volumes(folder.path()).swap_remove(0);
    for at in [4096 + 40, (4 << 20) - 100, (1 << 20) + 30] {
        flip_at(&volume, at);
    }
    for (volume, at) in places(folder.path(), b"STRIAMAN").into_iter().step_by(2) {
        flip_at(&volume, at + 70);
    }
    let (run, at) = places(folder.path(), b"STRIARUN").swap_remove(0);
    flip_at(&run, at + 70);
    let said = stria(&["scrub", "--light", "--admin-listen", &admin]);
    assert!(said.contains("light pass begun"), "{said}");
    for kind in ["superblock", "map", "manifest", "run"] {
        wait_for(&server, |said| has(said, kind, true));
    }
    // The checkpoint that replaces the run may still be on its way.
    std::thread::sleep(Duration::from_secs(2));
    stria(&["scrub", "--light", "--admin-listen", &admin]);
    wait_for(&server, |said| said.contains("\"damage\":[]"));
    server.stop();
    let said = stria(&["fsck", "--data", folder.path().to_str().expect("UTF-8")]);
    assert!(said.contains("damage          none"), "{said}");
}

#[test]
fn a_write_the_drive_lost_is_found_within_a_minute() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &["--scrub-readback", "1"]);
    let port = server.ports.s3;
    put("/fresh", "").send_to(port).expect(200);
    // On a busy machine the bit may flip after the write was read back: then there is another write.
    for i in 0..10 {
        put(&format!("/fresh/key-{i}"), body(3_000, i)).send_to(port).expect(200);
        let (volume, at) = places(folder.path(), &body(3_000, i)[100..200]).swap_remove(0);
        flip_at(&volume, at);
        std::thread::sleep(Duration::from_secs(15));
        let said = get("/scrub").send_to(server.ports.admin).expect(200).text();
        if has(&said, "fresh-write", false) {
            return;
        }
    }
    panic!("ten lost writes, and none was found");
}

#[test]
fn a_pass_is_begun_by_a_request_of_ours_only() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    post("/scrub/deep", "").send_to(server.ports.admin).expect(403);
    get("/scrub/deep").send_to(server.ports.admin).expect(405);
    post("/scrub/deep", "").with("x-stria-admin", "1").send_to(server.ports.admin).expect(202);
}
