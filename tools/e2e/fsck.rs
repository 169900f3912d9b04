//! `stria fsck`: a sound store, a flipped bit, a store in use, no store.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use crate::{client::*, server::Server};

/// Exit code 0 or not, and what it printed.
fn fsck(data: &Path) -> (bool, String) {
    let out =
        Command::new(env!("CARGO_BIN_EXE_stria")).arg("fsck").arg("--data").arg(data).output().expect("runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text)
}

/// Flips one bit of the first copy of `bytes` in any volume.
fn flip(data: &Path, bytes: &[u8]) {
    for entry in fs::read_dir(data.join("volumes")).expect("volumes") {
        let path = entry.expect("an entry").path();
        let mut content = fs::read(&path).expect("a volume");
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at + bytes.len() / 2] ^= 4;
            fs::write(&path, content).expect("written back");
            return;
        }
    }
    panic!("the body is in no volume");
}

#[test]
fn a_flipped_bit_is_found_named_and_never_served() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    let port = server.ports.s3;
    put("/kept", "").send_to(port).expect(200);
    for (name, bytes) in [("small", 2_000), ("large", 500_000), ("sound", 70_000)] {
        put(&format!("/kept/{name}"), body(bytes, bytes as u64)).send_to(port).expect(200);
    }
    let (held, text) = fsck(folder.path());
    assert!(!held && text.contains("another process"), "{text}");
    server.stop();
    let (sound, text) = fsck(folder.path());
    assert!(sound && text.contains("3 objects") && text.contains("damage          none"), "{text}");
    flip(folder.path(), &body(500_000, 500_000)[200_000..200_100]);
    flip(folder.path(), &body(2_000, 2_000)[1_000..1_100]);
    let (sound, text) = fsck(folder.path());
    assert!(!sound && text.contains("kept/large") && !text.contains("kept/sound"), "{text}");
    let server = Server::start(folder.path());
    let port = server.ports.s3;
    get("/kept/sound").send_to(port).expect(200).expect_body(&body(70_000, 70_000));
    for (name, bytes) in [("large", 500_000), ("small", 2_000)] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.write_all(&get(&format!("/kept/{name}")).with("connection", "close").bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("closed in order");
        let served = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let status = &answer[9..12];
        let (body, written) = (&answer[served..], body(bytes, bytes as u64));
        // An error, or the whole blocks before the damage and then the end: never a wrong byte, never all of them.
        assert!(status == b"500" || (body.len() < bytes && written.starts_with(body)), "{name}");
    }
}

#[test]
fn a_directory_without_a_store_is_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let (found, text) = fsck(folder.path());
    assert!(!found && text.contains("holds no store"), "{text}");
}
