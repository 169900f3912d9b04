//! A small S3 client over blocking sockets: one connection, one request at a time.
//!
//! Invariant: a response is given out only when all of its body came; anything less is an error, so an
//! answer that was seen is an answer that was sent. Any thread, one owner.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stria_sigv4::sign::{Request, Signer};

/// Longest silence of the server.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Root credentials that the tools give their servers.
pub const ACCESS_KEY: &str = "stria";
/// Its secret.
pub const SECRET_KEY: &str = "secretsecret";

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Head, as it came.
    pub head: String,
    /// Body, whole.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether it says that the request was done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// One connection to a server, made when first needed and again after it broke.
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    /// To a server that need not be there yet.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// One signed request; `target` is path and query, percent-encoded.
    ///
    /// # Errors
    /// Of the connection, which is then closed: whether the request was done is unknown.
    pub fn request(&mut self, method: &str, target: &str, body: &[u8]) -> io::Result<Response> {
        let head = self.signed_head(method, target, body.len())?;
        let outcome = self.exchange(method, head.as_bytes(), body);
        match &outcome {
            Ok(response) if response.header("connection") != Some("close") => {}
            _ => self.stream = None,
        }
        outcome
    }

    fn signed_head(&self, method: &str, target: &str, body_bytes: usize) -> io::Result<String> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request =
            Request { method, path, query, headers: vec![("host".into(), self.address.to_string())] };
        let signer = Signer {
            access_key: ACCESS_KEY,
            secret: SECRET_KEY,
            region: "us-east-1",
            service: "s3",
            session_token: None,
        };
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signed = signer.sign(&mut request, "UNSIGNED-PAYLOAD", unix_s);
        signed.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {body_bytes}\r\n\r\n"));
        Ok(head)
    }

    fn exchange(&mut self, method: &str, head: &[u8], body: &[u8]) -> io::Result<Response> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().expect("made above");
        // In one write when small: two would measure the client's own Nagle and not the server.
        let mut first = head.to_vec();
        let joined = body.len().min(64 << 10);
        first.extend_from_slice(&body[..joined]);
        let sent = stream.write_all(&first).and_then(|()| stream.write_all(&body[joined..]));
        // A server that refuses early answers before the body is through: its answer counts.
        match read_response(stream, method == "HEAD") {
            Ok(response) => Ok(response),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }
}

fn read_response(stream: &mut TcpStream, is_head: bool) -> io::Result<Response> {
    let mut bytes = Vec::with_capacity(4096);
    let mut piece = vec![0; 64 << 10];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let got = stream.read(&mut piece)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..got]);
    };
    let body = bytes.split_off(head_end);
    let head = String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut response = Response { status, head, body };
    let length: usize = response.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    if is_head {
        return Ok(response);
    }
    let have = response.body.len();
    response.body.resize(length.max(have), 0);
    stream.read_exact(&mut response.body[have..])?;
    Ok(response)
}

/// The text between `<name>` and `</name>`, each time it occurs.
pub fn elements<'x>(xml: &'x str, name: &'x str) -> impl Iterator<Item = &'x str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let end = start + rest[start..].find(&close)?;
        let text = &rest[start..end];
        rest = &rest[end..];
        Some(text)
    })
}
