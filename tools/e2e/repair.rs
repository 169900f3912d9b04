//! Repair of a stopped store: copies, runs, manifests, lost frames; and looking into it.

use std::{path::Path, process::Command};

use crate::{
    client::*,
    scrub::{flip_at, places, volumes},
    server::Server,
};

/// Exit code and what it printed.
fn stria(data: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stria"));
    let out = command.args(args).arg("--data").arg(data).output().expect("runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().expect("it ended by itself"), text)
}

fn inspect(path: &Path, what: &[&str]) -> (serde_json::Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stria"));
    let out = command.arg("inspect").arg(path).args(what).arg("--json").output().expect("runs");
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{errors}");
    (serde_json::from_slice(&out.stdout).expect("JSON"), errors)
}

const KEYS: usize = 40;

fn fill(port: u16, bucket: &str) {
    put(&format!("/{bucket}"), "").send_to(port).expect(200);
    for i in 0..KEYS {
        let bytes = if i % 8 == 0 { 100_000 } else { 500 };
        put(&format!("/{bucket}/key-{i}"), body(bytes, i as u64)).send_to(port).expect(200);
    }
    put(&format!("/{bucket}/gone"), "x").send_to(port).expect(200);
    delete(&format!("/{bucket}/gone")).send_to(port).expect(204);
}

fn check(port: u16, bucket: &str) {
    for i in 0..KEYS {
        let bytes = if i % 8 == 0 { 100_000 } else { 500 };
        let got = get(&format!("/{bucket}/key-{i}")).send_to(port).expect(200);
        got.expect_body(&body(bytes, i as u64));
    }
    get(&format!("/{bucket}/gone")).send_to(port).expect_error(404, "NoSuchKey");
    let listed = get(&format!("/{bucket}?list-type=2")).send_to(port).expect(200);
    assert_eq!(elements(&listed.text(), "Key").len(), KEYS);
}

/// A stopped store with a checkpoint.
fn stopped(bucket: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    fill(server.ports.s3, bucket);
    server.stop();
    folder
}

#[test]
fn copies_of_the_header_are_written_again() {
    let folder = stopped("copies");
    let volume = volumes(folder.path()).swap_remove(0);
    // Three of four superblocks: a server refuses to guess from one.
    for at in [40, 4096 + 40, (4 << 20) - 100, (1 << 20) + 30] {
        flip_at(&volume, at);
    }
    let (manifest, at) = places(folder.path(), b"STRIAMAN").swap_remove(0);
    flip_at(&manifest, at + 70);
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 2 && said.contains("superblock at offset 4096"), "{code} {said}");
    let (code, said) = stria(folder.path(), &["fsck", "--repair"]);
    assert!(code == 0 && said.contains("copies written again"), "{code} {said}");
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 0 && said.contains("damage          none"), "{code} {said}");
    let server = Server::start(folder.path());
    check(server.ports.s3, "copies");
}

#[test]
fn damaged_runs_come_from_the_log() {
    let folder = stopped("runs");
    for (run, at) in places(folder.path(), b"STRIARUN").into_iter().take(3) {
        flip_at(&run, at + 70);
    }
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 2 && said.contains("runs of 3 placement groups"), "{code} {said}");
    let (code, said) = stria(folder.path(), &["fsck", "--repair"]);
    assert!(code == 0 && said.contains("the index was written anew"), "{code} {said}");
    let server = Server::start(folder.path());
    check(server.ports.s3, "runs");
    server.stop();
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 0, "{said}");
}

#[test]
fn an_index_without_manifests_is_rebuilt() {
    let folder = stopped("rebuilt");
    for (manifest, at) in places(folder.path(), b"STRIAMAN") {
        flip_at(&manifest, at + 70);
    }
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 3 && said.contains("rebuild-index"), "{code} {said}");
    let (code, said) = stria(folder.path(), &["rebuild-index", "--dry-run"]);
    assert!(code == 0 && said.contains("nothing was written"), "{code} {said}");
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 3, "a dry run repairs nothing: {said}");
    let (code, said) = stria(folder.path(), &["rebuild-index"]);
    assert!(code == 0 && said.contains(&format!("{KEYS} rows")), "{code} {said}");
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 0 && said.contains(&format!("{KEYS} objects")), "{code} {said}");
    let server = Server::start(folder.path());
    check(server.ports.s3, "rebuilt");
    server.stop();
    // Without believing anything, the same.
    let (code, said) = stria(folder.path(), &["rebuild-index", "--from-log"]);
    assert!(code == 0 && said.contains("kept            0"), "{code} {said}");
    let server = Server::start(folder.path());
    check(server.ports.s3, "rebuilt");
}

#[test]
fn a_lost_frame_is_named_and_its_loss_accepted() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(folder.path());
    fill(server.ports.s3, "lost");
    server.signal("KILL");
    server.wait();
    let (volume, at) = places(folder.path(), &body(500, 1)[100..200]).swap_remove(0);
    flip_at(&volume, at);
    let (code, said) = stria(folder.path(), &["fsck"]);
    assert!(code == 3 && said.contains("acknowledged changes that are lost: "), "{code} {said}");
    let server = Server::start(folder.path());
    let answers: Vec<Answer> =
        (0..KEYS).map(|i| put(&format!("/lost/new-{i}"), "x").send_to(server.ports.s3)).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty() && refused.iter().all(|answer| answer.text().contains("needs repair")));
    get("/health").send_to(server.ports.admin).expect(503);
    server.stop();
    let (code, said) = stria(folder.path(), &["info"]);
    assert!(code == 0 && said.contains("READ-ONLY"), "{code} {said}");
    let (code, said) = stria(folder.path(), &["fsck", "--repair"]);
    assert!(code == 3 && said.contains("--accept-loss"), "nothing is accepted unasked: {said}");
    let (_, said) = stria(folder.path(), &["fsck", "--repair", "--accept-loss", "all"]);
    assert!(said.contains("writable again"), "{said}");
    let server = Server::start(folder.path());
    for i in 0..KEYS {
        put(&format!("/lost/new-{i}"), "x").send_to(server.ports.s3).expect(200);
    }
    get("/lost/key-8").send_to(server.ports.s3).expect(200).expect_body(&body(100_000, 8));
    get("/health").send_to(server.ports.admin).expect(200);
}

#[test]
fn every_structure_can_be_looked_at() {
    let folder = stopped("looked");
    let (superblock, _) = inspect(folder.path(), &[]);
    assert_eq!(superblock["copies"].as_array().map(Vec::len), Some(2 * 8), "four, two and two per volume");
    let (log, _) = inspect(folder.path(), &["log"]);
    let frames = log["log, oldest frame first"].as_array().expect("frames").clone();
    assert!(frames.iter().all(|frame| frame["frame"].is_number()), "{frames:?}");
    let (frame, _) = inspect(folder.path(), &["frame", &frames[0]["frame"].to_string()]);
    assert!(frame["frame"].to_string().contains("looked/key-"), "{frame}");
    let (key, _) = inspect(folder.path(), &["key", "looked/key-8"]);
    let rows = key["rows of the key"].as_array().expect("rows").clone();
    assert_eq!((rows.len(), rows[0]["kind"].as_str()), (1, Some("extent")));
    let (extents, _) = inspect(folder.path(), &["extents"]);
    let place = &rows[0]["offset"];
    let extents = extents["extents in use"].as_array().expect("extents").clone();
    assert!(extents.iter().any(|extent| &extent["offset"] == place && extent["named_by"] == "looked/key-8"));
    for what in ["map", "runs", "manifest"] {
        assert!(!inspect(folder.path(), &[what]).0.to_string().is_empty());
    }
    let alone = volumes(folder.path()).swap_remove(1);
    let (superblock, _) = inspect(&alone, &["superblock"]);
    assert_eq!(superblock["copies"][0]["volume"], 1, "a volume says itself which it is");
    let server = Server::start(folder.path());
    let (_, warned) = inspect(folder.path(), &["superblock"]);
    assert!(warned.contains("a server is writing"), "{warned}");
    check(server.ports.s3, "looked");
}

#[test]
fn a_repaired_store_misses_no_volume_before_it_has_settled() {
    let folder = stopped("settled");
    let record = || std::fs::read_to_string(folder.path().join("store.json")).expect("a record");
    // Two starts settle it.
    Server::start(folder.path()).stop();
    assert!(record().contains("settled_cores"), "{}", record());
    let (code, said) = stria(folder.path(), &["rebuild-index", "--from-log"]);
    assert!(code == 0 && !record().contains("settled_cores"), "{said}");
    let server = Server::start(folder.path());
    check(server.ports.s3, "settled");
}
