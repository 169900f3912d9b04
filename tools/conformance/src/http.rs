//! One connection to an endpoint: bytes out, answers in, read strictly.
//!
//! Invariant: an answer is complete or an error; nobody waits longer than the timeout. Any thread.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer read to its end.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether `100 Continue` came before it.
    pub continued: bool,
}

impl Answer {
    /// The header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// To `host:port`.
    pub fn open(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("connect {address}: {error}"))?;
        let set =
            stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
        set.and_then(|()| stream.set_nodelay(true)).map_err(|error| error.to_string())?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Writes all of it; a server may close before.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing more comes.
    pub fn end_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether the server closes within the timeout without a further byte.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.fill(), Ok(0))
    }

    fn fill(&mut self) -> Result<usize, String> {
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(0),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.fill(),
            Err(error) => Err(format!("no answer: {error}")),
        }
    }

    fn need(&mut self, bytes: usize) -> Result<(), String> {
        while self.buffer.len() < bytes {
            if self.fill()? == 0 {
                return Err(format!("closed after {} of {bytes} bytes", self.buffer.len()));
            }
        }
        Ok(())
    }

    fn line_end(&mut self, end: &[u8]) -> Result<usize, String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(at + end.len());
            }
            if self.fill()? == 0 {
                return Err("closed without an answer".into());
            }
        }
    }

    /// The next head, interim ones too.
    pub fn head(&mut self) -> Result<Answer, String> {
        let end = self.line_end(b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let mut lines = text.trim_end().split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no status line: {text:?}"))?;
        let pair =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let headers: Option<Vec<_>> = lines.map(pair).collect();
        let headers = headers.ok_or_else(|| format!("a header line without colon: {text:?}"))?;
        Ok(Answer { status, headers, body: Vec::new(), continued: false })
    }

    /// The next answer, to a request of this method.
    pub fn answer(&mut self, method: &str) -> Result<Answer, String> {
        let mut answer = self.head()?;
        while answer.status == 100 {
            answer = Answer { continued: true, ..self.head()? };
        }
        self.body(method, answer)
    }

    /// Adds the body behind a head.
    pub fn body(&mut self, method: &str, mut answer: Answer) -> Result<Answer, String> {
        if method == "HEAD" || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|_| format!("content-length {length}"))?;
            self.need(length)?;
            answer.body = self.buffer.drain(..length).collect();
            return Ok(answer);
        }
        if answer.header("transfer-encoding").is_none_or(|coding| !coding.eq_ignore_ascii_case("chunked")) {
            while self.fill()? > 0 {}
            answer.body = std::mem::take(&mut self.buffer);
            return Ok(answer);
        }
        loop {
            let end = self.line_end(b"\r\n")?;
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end);
            let size =
                line.trim_end().split(';').next().and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| format!("no chunk size: {line:?}"))?;
            self.need(size + 2)?;
            answer.body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return Ok(answer);
            }
        }
    }
}
