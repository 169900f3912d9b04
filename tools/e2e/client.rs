//! An S3 client that can also send what no client should: requests are bytes, answers are read strictly.
//!
//! Invariant: an answer is complete or the test fails; a reader never waits longer than its timeout.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use stria_s3::checksum::{Algorithm, Hasher};
use stria_sigv4::sign::{Request as Signable, Seed, Signer, StreamEncoder};

use crate::server::{self, ACCESS_KEY, SECRET_KEY};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Chunks of aws-chunked bodies.
pub const CHUNK_BYTES: usize = 64 << 10;

pub fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

pub fn signer() -> Signer<'static> {
    Signer {
        access_key: ACCESS_KEY,
        secret: SECRET_KEY,
        region: "us-east-1",
        service: "s3",
        session_token: None,
    }
}

/// What a request promises about its body: the five modes of `x-amz-content-sha256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Sha256,
    Unsigned,
    Chunks,
    ChunksTrailer(Algorithm),
    UnsignedChunksTrailer(Algorithm),
}

/// A request being put together.
#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub unsigned_headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub payload: Payload,
    pub signer: Signer<'static>,
    pub unix_s: u64,
    pub send_length: bool,
}

/// `target` is path and query, encoded as it is sent.
pub fn request(method: &'static str, target: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method,
        path: path.into(),
        query: query.into(),
        headers: Vec::new(),
        unsigned_headers: Vec::new(),
        body: Vec::new(),
        payload: Payload::Sha256,
        signer: signer(),
        unix_s: now(),
        send_length: true,
    }
}

pub fn get(target: &str) -> Request {
    request("GET", target)
}

pub fn head(target: &str) -> Request {
    request("HEAD", target)
}

pub fn delete(target: &str) -> Request {
    request("DELETE", target)
}

pub fn put(target: &str, body: impl Into<Vec<u8>>) -> Request {
    request("PUT", target).body(body)
}

pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
    request("POST", target).body(body)
}

impl Request {
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A header line the signature does not cover.
    pub fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.unsigned_headers.push((name.into(), value.into()));
        self
    }

    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Head and body as they go over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let (mut out, body) = self.parts();
        out.extend_from_slice(&body);
        out
    }

    /// Head and body apart.
    pub fn parts(&self) -> (Vec<u8>, Vec<u8>) {
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == "host") {
            headers.push(("host".into(), "127.0.0.1".into()));
        }
        let hash = match self.payload {
            Payload::Sha256 => hex(Hasher::of(Algorithm::Sha256, &self.body).digest.as_bytes()),
            Payload::Unsigned => "UNSIGNED-PAYLOAD".into(),
            Payload::Chunks => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into(),
            Payload::ChunksTrailer(_) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".into(),
            Payload::UnsignedChunksTrailer(_) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
        };
        if !matches!(self.payload, Payload::Sha256 | Payload::Unsigned) {
            headers.push(("x-amz-decoded-content-length".into(), self.body.len().to_string()));
            headers.push(("content-encoding".into(), "aws-chunked".into()));
        }
        if let Payload::ChunksTrailer(algorithm) | Payload::UnsignedChunksTrailer(algorithm) = self.payload {
            headers.push(("x-amz-trailer".into(), algorithm.header().to_ascii_lowercase()));
        }
        let mut signable = Signable { method: self.method, path: &self.path, query: &self.query, headers };
        let seed = self.signer.sign(&mut signable, &hash, self.unix_s).expect("a decodable target");
        let body = self.framed(&seed);
        let mut out = start_line(self);
        for (name, value) in signable.headers.iter().chain(&self.unsigned_headers) {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.send_length && (!body.is_empty() || matches!(self.method, "PUT" | "POST")) {
            out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        (out, body)
    }

    fn framed(&self, seed: &Seed) -> Vec<u8> {
        let mut encoder = match self.payload {
            Payload::Sha256 | Payload::Unsigned => return self.body.clone(),
            Payload::UnsignedChunksTrailer(_) => StreamEncoder::unsigned(),
            Payload::Chunks | Payload::ChunksTrailer(_) => StreamEncoder::signed(seed),
        };
        let mut out = Vec::new();
        for chunk in self.body.chunks(CHUNK_BYTES) {
            encoder.chunk(chunk, &mut out);
        }
        match self.payload {
            Payload::ChunksTrailer(algorithm) | Payload::UnsignedChunksTrailer(algorithm) => {
                let value = Hasher::of(algorithm, &self.body).to_base64();
                let name = algorithm.header().to_ascii_lowercase();
                encoder.finish_with_trailers(&[(&name, &value)], &mut out);
            }
            _ => encoder.finish(&mut out),
        }
        out
    }

    /// Sends it to the shared server over a connection of its own.
    pub fn send(&self) -> Answer {
        self.send_to(server::shared())
    }

    /// Sends it to the server on this port over a connection of its own.
    pub fn send_to(&self, port: u16) -> Answer {
        let mut connection = Connection::open_to(port);
        connection.write(&self.bytes());
        connection.answer(self.method)
    }

    /// Sends it; the status must be this.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Answer {
        self.send().expect(status)
    }

    /// Sends it; the answer must be this error.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> Answer {
        self.send().expect_error(status, code)
    }
}

fn start_line(request: &Request) -> Vec<u8> {
    let mark = if request.query.is_empty() { "" } else { "?" };
    format!("{} {}{mark}{} HTTP/1.1\r\n", request.method, request.path, request.query).into_bytes()
}

/// An answer read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn must(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands in the first element of this name.
    pub fn element(&self, name: &str) -> Option<String> {
        elements(&self.text(), name).into_iter().next()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.element("Code").as_deref()), (status, Some(code)), "{}", self.text());
        self
    }

    #[track_caller]
    pub fn expect_body(self, body: &[u8]) -> Self {
        assert_eq!(self.body.len(), body.len(), "length of the body");
        assert!(self.body == body, "the body is another one of the same length");
        self
    }
}

/// What stands in each element of this name, in order.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}

/// A connection to a server.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn open() -> Self {
        Self::open_to(server::shared())
    }

    pub fn open_to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: Vec::new() }
    }

    /// Writes all of it; a server may close before.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Writes all of it; the server must take it.
    pub fn write_all(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what is sent, even when it has answered");
    }

    /// Says that nothing more comes.
    pub fn end_writing(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 64 << 10];
        let received = loop {
            match self.stream.read(&mut piece) {
                // A signal is no answer.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        match received {
            Ok(0) => false,
            Ok(bytes) => {
                self.buffer.extend_from_slice(&piece[..bytes]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// The next answer, to a request of this method.
    #[track_caller]
    pub fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("an answer, not a closed connection")
    }

    /// The next answer, or `None` when the server closed without one.
    pub fn try_answer(&mut self, method: &str) -> Option<Answer> {
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if !self.fill() => {
                    assert!(
                        self.buffer.is_empty(),
                        "half a head: {:?}",
                        String::from_utf8_lossy(&self.buffer)
                    );
                    return None;
                }
                None => {}
            }
        };
        let text = String::from_utf8(self.buffer.drain(..end).collect()).expect("an ASCII head");
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().expect("a status line").split(' ').nth(1).expect("a status");
        let status: u16 = status.parse().expect("a number");
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header line"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if method != "HEAD" && status >= 200 && !matches!(status, 204 | 304) {
            let length: usize = answer.must("content-length").parse().expect("a length");
            while self.buffer.len() < length {
                assert!(self.fill(), "{} of {length} bytes of the body, then the end", self.buffer.len());
            }
            answer.body = self.buffer.drain(..length).collect();
        }
        Some(answer)
    }

    /// Whether the server has closed: nothing more comes.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn md5_hex(bytes: &[u8]) -> String {
    hex(Hasher::of(Algorithm::Md5, bytes).digest.as_bytes())
}

/// Bytes that depend on their place and on `seed`.
pub fn body(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Makes a bucket of this name on the shared server.
#[track_caller]
pub fn bucket(name: &str) -> String {
    put(&format!("/{name}"), "").expect(200);
    format!("/{name}")
}

/// The server lives and serves: the last line of every test that maltreats it.
#[track_caller]
pub fn still_serves() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let target = &format!("/still-serves/{}", CALLS.fetch_add(1, Ordering::Relaxed));
    put("/still-serves", "").expect(200);
    // Several connections, so that both cores answer.
    for i in 0..8u8 {
        put(target, [i; 100]).expect(200);
        get(target).expect(200).expect_body(&[i; 100]);
    }
}
