//! A drive that is missing at the start takes its own part of the store with it and nothing else.

use std::{fs, path::Path, process::Command};

use crate::{
    client::*,
    server::{Ports, Server, command, refused},
};

const KEYS: usize = 40;

fn name(nth: usize) -> String {
    format!("/half/key-{nth:02}")
}

/// Puts every key's number as body; how many were taken and how many answered 503.
fn put_all(port: u16) -> (usize, usize) {
    let statuses: Vec<u16> =
        (0..KEYS).map(|nth| put(&name(nth), body(900 + nth, nth as u64)).send_to(port).status).collect();
    let count = |status| statuses.iter().filter(|&&found| found == status).count();
    assert_eq!(count(200) + count(503), KEYS, "{statuses:?}");
    (count(200), count(503))
}

/// Keys that are read back whole, the rest answering 503: a key that cannot be looked for is not absent.
fn readable(port: u16) -> usize {
    let mut whole = 0;
    for nth in 0..KEYS {
        let answer = get(&name(nth)).send_to(port);
        match answer.status {
            200 => {
                answer.expect_body(&body(900 + nth, nth as u64));
                whole += 1;
            }
            _ => drop(answer.expect(503)),
        }
    }
    whole
}

fn hide(data: &Path) {
    fs::rename(data.join("volumes/0001"), data.join("hidden")).expect("moved away");
}

fn bring_back(data: &Path) {
    fs::rename(data.join("hidden"), data.join("volumes/0001")).expect("moved back");
}

/// A server on so many cores, at any ports.
fn on_cores(data: &Path, cores: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stria"));
    command.arg("serve").arg("--data").arg(data).args(["--cores", cores, "--memory", "256M"]);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command
}

#[test]
fn a_missing_volume_takes_only_its_own_keys_with_it() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    put("/half", "").send_to(server.ports.s3).expect(200);
    put("/half-empty", "").send_to(server.ports.s3).expect(200);
    assert_eq!(put_all(server.ports.s3), (KEYS, 0));
    server.stop();
    hide(folder.path());
    let server = Server::start(folder.path());
    let port = server.ports.s3;
    let whole = readable(port);
    assert!(whole > 0 && whole < KEYS, "{whole} of {KEYS}");
    assert_eq!(put_all(port), (whole, KEYS - whole), "writes go where reads do");
    get("/half?list-type=2").send_to(port).expect(503);
    get("/half?versions").send_to(port).expect(503);
    // Nobody knows whether it is empty.
    delete("/half-empty").send_to(port).expect(503);
    let health = crate::edges::admin(server.ports, "/health").expect(503);
    let health = String::from_utf8_lossy(&health.body).into_owned();
    assert!(health.contains("\"cores_with_missing_volume\":[1]"), "{health}");
    server.stop();
    bring_back(folder.path());
    let server = Server::start(folder.path());
    assert_eq!(readable(server.ports.s3), KEYS);
    get("/half?list-type=2").send_to(server.ports.s3).expect(200);
    server.stop();
}

#[test]
fn nothing_is_served_when_rows_may_lie_elsewhere_or_all_volumes_are_missing() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    put("/half", "").send_to(server.ports.s3).expect(200);
    put_all(server.ports.s3);
    server.stop();
    hide(folder.path());
    let said = refused(&mut on_cores(folder.path(), "1"));
    assert!(said.contains("0001") && said.contains("a drive may be missing"), "{said}");
    fs::rename(folder.path().join("volumes/0000"), folder.path().join("hidden-too")).expect("moved");
    let said = refused(&mut command(Ports::free(), folder.path()));
    assert!(said.contains("no volume of the store can be read"), "{said}");
    fs::rename(folder.path().join("hidden-too"), folder.path().join("volumes/0000")).expect("moved");
    bring_back(folder.path());
    let server = Server::start(folder.path());
    assert_eq!(readable(server.ports.s3), KEYS, "refusals changed nothing");
    server.stop();
}

/// More cores bring new volumes; a kill before they were made left a store that named them.
#[test]
fn a_start_with_more_cores_that_is_killed_leaves_the_store_as_it_was() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    put("/half", "").send_to(server.ports.s3).expect(200);
    put_all(server.ports.s3);
    server.stop();
    // The making of the new volume fails as early as a kill could come: a folder is in its place.
    fs::create_dir(folder.path().join("volumes/0002")).expect("in the way");
    let said = refused(&mut on_cores(folder.path(), "3"));
    assert!(said.contains("0002"), "{said}");
    let record = fs::read_to_string(folder.path().join("store.json")).expect("store.json");
    assert!(record.contains("0001") && !record.contains("0002"), "{record}");
    fs::remove_dir(folder.path().join("volumes/0002")).expect("out of the way");
    let server = Server::start(folder.path());
    assert_eq!(readable(server.ports.s3), KEYS);
    server.stop();
}
