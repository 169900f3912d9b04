//! What a client has sent and nobody has consumed yet.
//!
//! Invariant: bytes leave in the order they came, each once. A head that arrives whole in one receive is
//! parsed where it lies; only a head cut in two is copied. Runs on the accepting core, one per connection.

use std::io;

use stria_http::{Head, HeadError};
use stria_runtime::{Core, Elapsed, RecvBuf, SlabBuf, TcpStream};

const NS_PER_MS: u64 = 1_000_000;
/// How long, and how many bytes, a client may go on sending after an answer that closes.
const LINGER_MS_MAX: u64 = 10_000;
const LINGER_SILENCE_MS: u64 = 2_000;
const LINGER_BYTES_MAX: u64 = 64 << 20;

/// The receiving side of a connection.
pub struct Input {
    pub(crate) stream: TcpStream,
    core: Core,
    /// Bytes of earlier receives, when a head did not arrive whole.
    carry: Vec<u8>,
    carry_start: usize,
    current: Option<RecvBuf>,
}

/// Why no head came.
pub enum NoHead {
    /// The client closed, or stayed silent, between two requests: nothing to answer.
    Closed,
    /// The client stopped in the middle of a head: a timeout is answered, a closed stream is not.
    TimedOut,
    /// The head is not acceptable: answered, then closed.
    Malformed(HeadError),
}

impl Input {
    /// Over a fresh stream.
    pub fn new(core: Core, stream: TcpStream) -> Self {
        Self { stream, core, carry: Vec::new(), carry_start: 0, current: None }
    }

    /// What is here and not consumed.
    pub fn data(&self) -> &[u8] {
        match &self.current {
            _ if self.carry_start < self.carry.len() => &self.carry[self.carry_start..],
            Some(received) => received,
            None => &[],
        }
    }

    /// Takes `bytes` of [`Input::data`].
    pub fn consume(&mut self, bytes: usize) {
        if self.carry_start < self.carry.len() {
            self.carry_start += bytes;
            assert!(self.carry_start <= self.carry.len());
            if self.carry_start == self.carry.len() {
                self.carry.clear();
                self.carry_start = 0;
            }
            return;
        }
        if let Some(received) = &mut self.current {
            received.advance(bytes);
            if received.is_empty() {
                self.current = None;
            }
            return;
        }
        assert_eq!(bytes, 0, "nothing is here to consume");
    }

    /// Waits for more when [`Input::data`] is empty. False at the end of the stream.
    ///
    /// # Errors
    /// Of the socket; `TimedOut` after `timeout_ms`.
    pub async fn fill(&mut self, timeout_ms: u64) -> io::Result<bool> {
        if !self.data().is_empty() {
            return Ok(true);
        }
        let received = self.receive(timeout_ms).await?;
        let more = !received.is_empty();
        self.current = more.then_some(received);
        Ok(more)
    }

    async fn receive(&mut self, timeout_ms: u64) -> io::Result<RecvBuf> {
        match self.core.timeout(timeout_ms * NS_PER_MS, self.stream.recv()).await {
            Ok(received) => received,
            Err(Elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends the sending side and reads what the client still sends, for a while. Closing with unread bytes
    /// makes TCP reset the connection, and the client loses the answer that says why.
    pub async fn linger(&mut self) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        let deadline_ns = self.core.now_ns() + LINGER_MS_MAX * NS_PER_MS;
        let mut left = LINGER_BYTES_MAX;
        loop {
            let here = self.data().len();
            self.consume(here);
            left = left.saturating_sub(here as u64);
            if left == 0 || self.core.now_ns() >= deadline_ns {
                return;
            }
            if !matches!(self.fill(LINGER_SILENCE_MS).await, Ok(true)) {
                return;
            }
        }
    }

    /// Receives straight into `buf[from..to]`, for bodies whose bytes need no decoding. Only when
    /// [`Input::data`] is empty. `exact` waits for all of it.
    pub async fn receive_into(
        &mut self,
        buf: SlabBuf,
        from: usize,
        to: usize,
        timeout_ms: u64,
    ) -> Result<(io::Result<usize>, SlabBuf), io::Error> {
        assert!(self.data().is_empty(), "bytes already here come first");
        let receive = self.stream.recv_into(buf, from, to, false);
        match self.core.timeout(timeout_ms * NS_PER_MS, receive).await {
            Ok(done) => Ok(done),
            Err(Elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The next request head.
    pub async fn head(&mut self, idle_ms: u64, head_ms: u64) -> Result<Head, NoHead> {
        if !matches!(self.fill(idle_ms).await, Ok(true)) {
            return Err(NoHead::Closed);
        }
        let deadline_ns = self.core.now_ns() + head_ms * NS_PER_MS;
        loop {
            match stria_http::head::parse(self.data()) {
                Ok(Some((head, bytes))) => {
                    self.consume(bytes);
                    return Ok(head);
                }
                Ok(None) => {}
                Err(error) => return Err(NoHead::Malformed(error)),
            }
            self.carry_over();
            let left_ns = deadline_ns.saturating_sub(self.core.now_ns());
            if left_ns == 0 {
                return Err(NoHead::TimedOut);
            }
            match self.receive(left_ns.div_ceil(NS_PER_MS)).await {
                Ok(received) if received.is_empty() => return Err(NoHead::Closed),
                Ok(received) => self.carry.extend_from_slice(&received),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(NoHead::TimedOut),
                Err(_) => return Err(NoHead::Closed),
            }
        }
    }

    /// Moves what is here into `carry`, so that more can be appended. The parser refuses a head above
    /// its limit, so this never grows beyond that and one receive.
    fn carry_over(&mut self) {
        if let Some(received) = self.current.take() {
            assert!(self.carry.is_empty(), "what was carried comes before what was received");
            self.carry.extend_from_slice(&received);
        } else if self.carry_start > 0 {
            self.carry.drain(..self.carry_start);
            self.carry_start = 0;
        }
    }
}
