//! The process: restarts keep everything, signals lose nothing, a start that cannot be says what to do.

use std::{path::Path, time::Duration};

use crate::{
    client::*,
    server::{Ports, Server, command, refused},
};

const SIZES: [usize; 6] = [0, 10, 32 << 10, (32 << 10) + 1, 300_000, 6 << 20];

fn write_all(port: u16) {
    put("/kept", "").send_to(port).expect(200);
    for (i, size) in SIZES.into_iter().enumerate() {
        put(&format!("/kept/{size}"), body(size, i as u64))
            .with("x-amz-meta-i", "1")
            .send_to(port)
            .expect(200);
    }
    put("/kept/gone", "x").send_to(port).expect(200);
    delete("/kept/gone").send_to(port).expect(204);
}

fn read_all(port: u16) {
    for (i, size) in SIZES.into_iter().enumerate() {
        let got = get(&format!("/kept/{size}")).send_to(port).expect(200).expect_body(&body(size, i as u64));
        assert_eq!(got.must("x-amz-meta-i"), "1");
    }
    get("/kept/gone").send_to(port).expect_error(404, "NoSuchKey");
    let listed = get("/kept?list-type=2").send_to(port).expect(200);
    assert_eq!(elements(&listed.text(), "Key").len(), SIZES.len());
}

#[test]
fn a_restart_keeps_everything() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    write_all(server.ports.s3);
    server.stop();
    let server = Server::start(folder.path());
    read_all(server.ports.s3);
    server.stop();
}

#[test]
fn a_kill_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(folder.path());
    write_all(server.ports.s3);
    server.signal("KILL");
    server.wait();
    let server = Server::start(folder.path());
    read_all(server.ports.s3);
    // An upload in progress goes on over a restart.
    let port = server.ports.s3;
    let id = post("/kept/multi?uploads", "").send_to(port).expect(200).element("UploadId").expect("an id");
    let part =
        put(&format!("/kept/multi?partNumber=1&uploadId={id}"), body(100_000, 9)).send_to(port).expect(200);
    drop(server);
    let server = Server::start(folder.path());
    let complete = crate::multipart::complete("/kept/multi", &id, &[(1, part.must("etag"))]);
    complete.send_to(server.ports.s3).expect(200);
    get("/kept/multi").send_to(server.ports.s3).expect(200).expect_body(&body(100_000, 9));
}

#[test]
fn sigterm_lets_a_request_in_flight_end() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(folder.path());
    let port = server.ports.s3;
    put("/flight", "").send_to(port).expect(200);
    let data = body(3 << 20, 1);
    let (head, framed) = put("/flight/key", data.clone()).payload(Payload::Unsigned).parts();
    let (mut connection, mut idle) = (Connection::open_to(port), Connection::open_to(port));
    connection.write(&head);
    connection.write(&framed[..1 << 20]);
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(idle.is_closed(), "an idle connection closes at once");
    connection.write(&framed[1 << 20..]);
    let answer = connection.answer("PUT").expect(200);
    assert_eq!(answer.header("x-amz-request-id").map(str::len), Some(16));
    assert_eq!(answer.must("connection"), "close");
    assert!(connection.is_closed());
    assert!(server.wait().success());
    let server = Server::start(folder.path());
    get("/flight/key").send_to(server.ports.s3).expect(200).expect_body(&data);
}

/// One line, with the cause and what to do.
#[track_caller]
fn one_line(said: &str, cause: &str) {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].starts_with("stria: ") && lines[0].contains(cause), "{said}");
}

#[test]
fn a_taken_port() {
    let folder = tempfile::tempdir().expect("a directory");
    let ports = Ports::free();
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports.s3)).expect("the port");
    one_line(&refused(&mut command(ports, folder.path())), "--listen");
    drop(taken);
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports.admin)).expect("the port");
    one_line(&refused(&mut command(ports, folder.path())), "--admin-listen");
    drop(taken);
    assert!(std::fs::read_dir(folder.path()).expect("a directory").next().is_none(), "nothing was written");
}

#[test]
fn a_second_server_on_one_directory() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    one_line(&refused(&mut command(Ports::free(), folder.path())), &folder.path().display().to_string());
    put("/alive", "").send_to(server.ports.s3).expect(200);
}

#[test]
fn a_directory_that_cannot_be_written() {
    // Root may write everywhere, so the directory is a path below a file.
    let file = tempfile::NamedTempFile::new().expect("a file");
    one_line(&refused(&mut command(Ports::free(), &file.path().join("data"))), "data");
    let on_proc = Path::new("/proc/stria-data");
    one_line(&refused(&mut command(Ports::free(), on_proc)), "/proc/stria-data");
}

#[test]
fn options_that_are_none() {
    let folder = tempfile::tempdir().expect("a directory");
    for (flag, value) in [("--cores", "x"), ("--memory", "1"), ("--sync", "sometimes"), ("--pg-count", "7")] {
        let ports = Ports::free();
        let mut start = std::process::Command::new(env!("CARGO_BIN_EXE_stria"));
        start.arg("serve").arg("--data").arg(folder.path()).args([flag, value]);
        start.args(["--listen", &format!("127.0.0.1:{}", ports.s3)]);
        start.args(["--admin-listen", &format!("127.0.0.1:{}", ports.admin)]);
        one_line(&refused(start.stdout(std::process::Stdio::null())), &flag[2..]);
    }
}

#[test]
fn first_credentials_are_kept_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a directory");
    let ports = Ports::free();
    let mut start = command(ports, folder.path());
    start.env_remove("STRIA_ROOT_ACCESS_KEY").env_remove("STRIA_ROOT_SECRET_KEY");
    let mut child = start.spawn().expect("the server");
    let file = folder.path().join("credentials.json");
    while std::net::TcpStream::connect(("127.0.0.1", ports.s3)).is_err() {
        assert!(child.try_wait().expect("a child").is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    let mode = std::fs::metadata(&file).expect("kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).expect("text").len() > 40);
}

#[test]
fn health_and_metrics() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    assert_eq!(server.data(), folder.path());
    for path in ["/health", "/metrics"] {
        let mut connection = Connection::open_to(server.ports.admin);
        connection.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        assert_eq!(connection.answer("GET").status, 200, "{path}");
    }
}

#[test]
fn at_the_memory_bound_work_is_refused_and_not_lost() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &["--preset", "performance"]);
    let port = server.ports.s3;
    put("/bound", "").send_to(port).expect(200);
    let data = body(1 << 20, 1);
    // Each holds buffers until its body is whole; there are fewer buffers than clients.
    let mut uploads: Vec<(Connection, Vec<u8>)> = (0..400)
        .map(|i| {
            let (head, framed) = put(&format!("/bound/{i}"), data.clone()).payload(Payload::Unsigned).parts();
            let mut connection = Connection::open_to(port);
            connection.write(&head);
            connection.write(&framed[..200_000]);
            (connection, framed)
        })
        .collect();
    let statuses: Vec<u16> = uploads
        .iter_mut()
        .map(|(connection, framed)| {
            connection.write(&framed[200_000..]);
            let answer = connection.answer("PUT");
            match answer.status {
                503 => assert_eq!(answer.element("Code").as_deref(), Some("SlowDown")),
                // On a slow machine the client's pause between the two halves outlasts the body's time limit.
                400 => assert_eq!(answer.element("Code").as_deref(), Some("RequestTimeout")),
                _ => {}
            }
            answer.status
        })
        .collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 400 | 503)), "{statuses:?}");
    let refused = statuses.iter().filter(|status| **status != 200).count();
    assert!(statuses.contains(&503), "nothing was refused at the bound");
    assert!((1..statuses.len()).contains(&refused), "{refused} of {} refused", statuses.len());
    for (i, status) in statuses.iter().enumerate().filter(|(i, _)| i % 20 == 0) {
        let got = get(&format!("/bound/{i}")).send_to(port);
        if *status == 200 { drop(got.expect(200).expect_body(&data)) } else { drop(got.expect(404)) }
    }
}
