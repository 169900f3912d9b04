//! Edges of HTTP and of the admin port: who is told that a connection closes, who is given up, what a sick server says.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    client::*,
    server::{self, Ports, Server, command},
};

/// Above what the server reads to keep a connection.
const UNREAD_BYTES: usize = 200_000;

#[test]
fn an_answer_says_that_the_connection_closes() {
    let bucket = bucket("says-close");
    put(&format!("{bucket}/key"), "x").expect(200);
    // Successful answers to requests whose body nobody reads.
    for (method, status) in [("GET", 200), ("DELETE", 204)] {
        let mut request = request(method, &format!("{bucket}/key")).payload(Payload::Unsigned);
        request.body = body(UNREAD_BYTES, 1);
        let mut connection = Connection::open();
        connection.write(&request.bytes());
        let answer = connection.answer(method).expect(status);
        assert_eq!(answer.must("connection"), "close", "{method}");
        assert!(connection.is_closed(), "{method}");
    }
    // A small one is read, and the connection goes on.
    put(&format!("{bucket}/key"), "x").expect(200);
    let mut small = get(&format!("{bucket}/key")).payload(Payload::Unsigned);
    small.body = body(1000, 1);
    let mut connection = Connection::open();
    for _ in 0..3 {
        connection.write(&small.bytes());
        assert_eq!(connection.answer("GET").expect(200).header("connection"), None);
    }
}

#[test]
fn heads_and_bodies_that_trickle_are_given_up() {
    let target = bucket("trickle") + "/key";
    let (head, _) = put(&target, body(100_000, 1)).payload(Payload::Unsigned).parts();
    let (mut slow_head, mut slow_body) = (Connection::open(), Connection::open());
    let started = Instant::now();
    slow_head.write(&head[..40]);
    slow_body.write(&head);
    while started.elapsed() < Duration::from_secs(12) {
        slow_head.write(b"a");
        slow_body.write(b"x");
        std::thread::sleep(Duration::from_millis(250));
    }
    for (connection, what) in [(&mut slow_head, "head"), (&mut slow_body, "body")] {
        let answer = connection.answer("PUT").expect_error(400, "RequestTimeout");
        assert_eq!(answer.must("connection"), "close", "{what}");
        assert!(connection.is_closed(), "{what}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "ten seconds and a little");
    get(&target).expect_error(404, "NoSuchKey");
}

#[test]
fn connections_above_the_limit_are_closed_and_those_below_go_on() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &["--connections-max", "16"]);
    let port = server.ports.s3;
    put("/limit", "").send_to(port).expect(200);
    let serves = |connection: &mut Connection| {
        connection.write(&get("/limit?list-type=2").bytes());
        connection.try_answer("GET").is_some_and(|answer| answer.status == 200)
    };
    // The connections used so far may still be on their way out.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut held: Vec<Connection> = Vec::new();
    while held.len() < 16 {
        let mut connection = Connection::open_to(port);
        if serves(&mut connection) {
            held.push(connection);
        }
        assert!(Instant::now() < deadline, "{} of 16 connections", held.len());
    }
    for _ in 0..5 {
        assert!(!serves(&mut Connection::open_to(port)), "a seventeenth connection is served");
    }
    assert!(held.iter_mut().all(serves), "those below the limit go on");
    drop(held.pop());
    while !serves(&mut Connection::open_to(port)) {
        assert!(Instant::now() < deadline, "a place that became free is not given again");
    }
    assert!(
        admin(server.ports, "/metrics")
            .text()
            .lines()
            .any(|line| { line.starts_with("stria_connections_refused_total") && !line.ends_with(" 0") })
    );
}

#[test]
fn what_is_pipelined_behind_an_error() {
    let bucket = bucket("behind-errors");
    put(&format!("{bucket}/key"), "here").expect(200);
    // Errors whose bodies are read, between requests that succeed.
    let good = get(&format!("{bucket}/key")).bytes();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.extend(get(&format!("{bucket}/missing")).bytes());
        all.extend(put("/no-such-bucket/key", body(1000, 1)).bytes());
        all.extend(&good);
    }
    let mut connection = Connection::open();
    connection.write(&all);
    for _ in 0..5 {
        connection.answer("GET").expect_error(404, "NoSuchKey");
        connection.answer("PUT").expect_error(404, "NoSuchBucket");
        connection.answer("GET").expect(200).expect_body(b"here");
    }
    // Nothing behind an error that closes is taken for a request: not a body's rest, not a head's.
    let mut large = put("/no-such-bucket/key", body(UNREAD_BYTES, 1)).bytes();
    large.extend(&good);
    for (bytes, status) in [(large, 404), ([b"GET / HTTP/1.1\r\nbad\r\n\r\n", &good[..]].concat(), 400)] {
        let mut connection = Connection::open();
        connection.write(&[&good[..], &bytes].concat());
        connection.answer("GET").expect(200);
        let answer = connection.answer("PUT");
        assert_eq!((answer.status, answer.must("connection")), (status, "close"));
        assert!(connection.is_closed(), "something behind an error that closes was answered");
    }
}

pub fn admin(ports: Ports, path: &str) -> Answer {
    let mut connection = Connection::open_to(ports.admin);
    connection.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
    connection.answer("GET")
}

/// Stops one thread of a process as a debugger does, until its input ends. ptrace needs unsafe code in Rust.
const STOP_THREAD: &str = r#"
import ctypes, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
tid = int(sys.argv[1])
SEIZE, INTERRUPT = 0x4206, 0x4207
if ptrace(SEIZE, tid, None, None) or ptrace(INTERRUPT, tid, None, None):
    print("refused", flush=True)
else:
    print("stopped", flush=True)
sys.stdin.read()
"#;

/// A thread of the server that does not run, as long as this lives.
struct Hung(Child);

impl Hung {
    /// `None` where this user may not trace, or there is no Python.
    fn core(server: &Server, core: u16) -> Option<Self> {
        let name = format!("core-{core}\n");
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("threads").flatten();
        let thread = tasks
            .map(|task| task.path())
            .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == name))
            .expect("a thread per core");
        let mut start = Command::new("python3");
        start.args(["-c", STOP_THREAD]).arg(thread.file_name().expect("a number"));
        let mut child = start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        let hung = Self(child);
        (line.trim() == "stopped").then_some(hung)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // The end of the tracer lets the thread go on.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn health_names_a_core_that_hangs() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    let ask = || {
        let started = Instant::now();
        let answer = admin(server.ports, "/health");
        assert!(started.elapsed() < Duration::from_secs(6), "health takes {:?}", started.elapsed());
        answer
    };
    let well = ask().expect(200).text();
    assert!(well.contains("\"status\":\"ok\"") && well.contains("\"cores_not_answering\":[]"), "{well}");
    let Some(hung) = Hung::core(&server, 1) else {
        writeln!(std::io::stderr(), "SKIPPED: nobody may be traced here, so no core can be made to hang")
            .expect("stderr");
        return;
    };
    for _ in 0..3 {
        let sick = ask().expect(503).text();
        assert!(
            sick.contains("\"status\":\"failing\"") && sick.contains("\"cores_not_answering\":[1]"),
            "{sick}"
        );
    }
    // Whoever looks often must not fill the hung core's inbox: the page stays bounded, and the core comes back.
    std::thread::scope(|scope| (0..20).for_each(|_| drop(scope.spawn(|| ask().expect(503)))));
    drop(hung);
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask().status != 200 {
        assert!(Instant::now() < deadline, "a core that goes on is well again");
    }
}

#[test]
fn events_are_counted_by_kind() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start(folder.path());
    let port = server.ports.s3;
    put("/events", "").send_to(port).expect(200);
    // Making it again is answered, and is no event.
    put("/events", "").send_to(port).expect(200);
    for i in 0..6 {
        put(&format!("/events/{i}"), "x").send_to(port).expect(200);
    }
    put("/events/refused", "x").with("if-match", "\"none\"").send_to(port).expect(404);
    for i in 0..6 {
        delete(&format!("/events/{i}")).send_to(port).expect(204);
    }
    delete("/events/never-there").send_to(port).expect(204);
    delete("/events").send_to(port).expect(204);
    let kinds = ["object_created", "object_deleted", "bucket_created", "bucket_deleted"];
    assert_eq!(events(&server, kinds), [6, 6, 1, 1]);
}

#[test]
fn the_region_is_given_back() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &["--region", "eu-west-1"]);
    let port = server.ports.s3;
    let location = |bucket: &str| {
        let text = get(&format!("/{bucket}?location")).send_to(port).expect(200).text();
        let end = text.split_once("</LocationConstraint>").expect("a location").0;
        end.rsplit('>').next().unwrap_or_default().to_owned()
    };
    put("/here", "").send_to(port).expect(200);
    assert_eq!(location("here"), "eu-west-1");
    put("/here", "").send_to(port).expect_error(409, "BucketAlreadyOwnedByYou");
    let constraint = |region: &str| {
        format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        )
    };
    put("/there", constraint("eu-central-1")).send_to(port).expect(200);
    assert_eq!(location("there"), "eu-central-1", "any is taken and given back");
    assert_eq!(head("/there").send_to(port).expect(200).must("x-amz-bucket-region"), "eu-central-1");
}

/// How often each kind of event happened.
fn events<const N: usize>(server: &Server, kinds: [&str; N]) -> [u64; N] {
    let page = admin(server.ports, "/metrics").text();
    kinds.map(|kind| {
        let lines = page.lines().filter(|line| {
            line.starts_with("stria_events_total{") && line.contains(&format!("kind=\"{kind}\""))
        });
        lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
    })
}

#[test]
fn a_list_that_changes_is_an_event() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &["--bucket-defaults", "classic"]);
    let port = server.ports.s3;
    put("/events", "").send_to(port).expect(200);
    put("/events/k", "x").send_to(port).expect(200);
    for acl in ["public-read", "public-read", "private"] {
        put("/events/k?acl", "").with("x-amz-acl", acl).send_to(port).expect(200);
    }
    assert_eq!(events(&server, ["object_acl_put"]), [2], "the second time nothing changed");
    put("/events/k?tagging", "<Tagging><TagSet/></Tagging>").send_to(port).expect(200);
    assert_eq!(events(&server, ["object_acl_put", "object_tagged", "object_created"]), [2, 1, 1]);
}

#[test]
fn a_taken_port_is_reported_at_once_and_with_its_holder() {
    let (folder, other) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = Server::start(folder.path());
    let started = Instant::now();
    let said = server::refused(&mut command(server.ports, other.path()));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(said.contains(&format!("pid {}, stria", server.pid())), "{said}");
}

#[test]
fn a_killed_server_can_be_started_again_at_once() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(folder.path());
    for round in 0..3 {
        put("/again", "").send_to(server.ports.s3).expect(200);
        // With I/O in flight, so that its ring takes a while to be taken down.
        let mut busy = Connection::open_to(server.ports.s3);
        busy.write(&put("/again/key", body(4 << 20, round)).payload(Payload::Unsigned).bytes());
        let ports = server.ports;
        server.signal("KILL");
        server.wait();
        server = Server::start_on(ports, folder.path());
        // The dead process's ring may still take connections of clients, but it does not answer them.
        admin(ports, "/health").expect(200);
    }
}

#[test]
fn a_signal_right_after_the_banner_is_heeded_also_when_nobody_reads_on() {
    let folder = tempfile::tempdir().expect("a directory");
    for _ in 0..5 {
        let mut start = command(Ports::free(), folder.path());
        let mut child = start.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the server");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        for line in lines {
            if line.expect("text").contains("ready after") {
                let kill = Command::new("kill").arg(child.id().to_string()).status();
                assert!(kill.expect("kill").success());
                break;
            }
        }
        assert!(child.wait().expect("a child").success(), "an orderly stop");
    }
}
