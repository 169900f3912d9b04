//! A request body as a handler reads it: framing and aws-chunked taken off, lengths enforced, the payload
//! hash checked at the end.
//!
//! Invariant: `fill` reports the end only after everything that proves the body was verified (declared
//! length, last chunk and its signature, trailers, SHA-256 of a signed payload); a handler that commits only then never commits
//! a body the client did not send. Runs on the accepting core.

use std::io;

use stria_base::limits::{BODY_BYTES_PER_SECOND_MIN, BODY_RATE_GRACE_MS};
use stria_env::IoBuf;
use stria_http::{BodyFraming, chunked};
use stria_runtime::{Core, SlabBuf};
use stria_s3::{ErrorCode, S3Error, checksum::Sha256};
use stria_sigv4::aws_chunked;

use super::input::Input;

/// Silence after which a body is given up.
const STALL_TIMEOUT_MS: u64 = 30_000;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a body did not come whole.
#[derive(Debug)]
pub enum BodyError {
    /// The client went away or broke the framing: close without an answer.
    Gone,
    /// To be answered; the connection closes after it, because the rest of the body is unread.
    Refused(S3Error),
}

impl From<S3Error> for BodyError {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ErrorCode> for BodyError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code.into())
    }
}

/// How the payload is coded inside the framing.
pub enum Coding {
    /// As it is.
    Plain,
    /// As it is, and its SHA-256 was signed.
    Hashed(Box<Sha256>, [u8; 32]),
    /// aws-chunked.
    AwsChunked(Box<aws_chunked::Decoder>),
}

enum Frame {
    Length(u64),
    Chunked(chunked::Decoder),
    End,
}

/// One request's body.
pub struct Body<'c> {
    input: &'c mut Input,
    core: Core,
    frame: Frame,
    coding: Coding,
    expects_continue: bool,
    /// Payload bytes of the whole body, when the client declared them.
    declared: Option<u64>,
    payload_bytes: u64,
    started_ns: u64,
    done: bool,
}

impl<'c> Body<'c> {
    /// Of a head with this framing. `declared` is the payload length the client promised, after decoding.
    pub fn new(
        input: &'c mut Input,
        core: Core,
        framing: BodyFraming,
        coding: Coding,
        declared: Option<u64>,
        expects_continue: bool,
    ) -> Self {
        let frame = match framing {
            BodyFraming::None | BodyFraming::Length(0) => Frame::End,
            BodyFraming::Length(bytes) => Frame::Length(bytes),
            BodyFraming::Chunked => Frame::Chunked(chunked::Decoder::new()),
        };
        let started_ns = core.now_ns();
        Self { input, core, frame, coding, expects_continue, declared, payload_bytes: 0, started_ns, done: false }
    }

    /// Payload bytes the client declared; `None` with plain chunked framing.
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// Whether everything was read, so that the connection can carry another request.
    pub fn is_done(&self) -> bool {
        self.done || (matches!(self.frame, Frame::End) && matches!(self.coding, Coding::Plain))
    }

    /// Trailing headers, once the body is done.
    pub fn trailer(&self, name: &str) -> Option<&[u8]> {
        match &self.coding {
            Coding::AwsChunked(decoder) => decoder.trailer(name),
            _ => None,
        }
    }

    /// Reads payload into `buf` from `from` on, until it is full to its capacity or the body ends. Returns
    /// the buffer with its length set to the bytes that are in it; the body has ended when that is short
    /// of the capacity.
    ///
    /// # Errors
    /// See [`BodyError`]; the buffer is lost to the pool.
    pub async fn fill(&mut self, mut buf: SlabBuf, from: usize) -> Result<SlabBuf, BodyError> {
        self.announce().await?;
        let capacity = buf.capacity();
        buf.set_len(capacity);
        let mut at = from;
        while at < capacity && !self.done {
            if let (Frame::Length(left), true, false) =
                (&self.frame, self.input.data().is_empty(), matches!(self.coding, Coding::AwsChunked(_)))
            {
                let want = usize::try_from(*left).unwrap_or(usize::MAX).min(capacity - at);
                let (got, back) = self.receive_into(buf, at, at + want).await?;
                buf = back;
                self.took_plain(&buf[at..at + got]);
                at += got;
            } else {
                at += self.decode_some(&mut buf[at..]).await?;
            }
            self.check_end()?;
        }
        buf.set_len(at);
        Ok(buf)
    }

    /// Reads the whole body, at most `bytes_max`.
    ///
    /// # Errors
    /// `too_large` when it is longer; else see [`BodyError`].
    pub async fn read_all(&mut self, bytes_max: usize, too_large: ErrorCode) -> Result<Vec<u8>, BodyError> {
        if self.declared.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(too_large.into());
        }
        self.announce().await?;
        let mut all = Vec::with_capacity(self.declared.unwrap_or(0) as usize);
        let mut piece = [0u8; 4096];
        self.check_end()?;
        while !self.done {
            let got = self.decode_some(&mut piece).await?;
            all.extend_from_slice(&piece[..got]);
            if all.len() > bytes_max {
                return Err(too_large.into());
            }
            self.check_end()?;
        }
        Ok(all)
    }

    /// Reads and drops a small rest, so that the connection can be kept after an early answer. False
    /// when the rest is too large to be worth it or the client waits for a 100 it will not get.
    pub async fn drain(&mut self) -> bool {
        const DRAIN_BYTES_MAX: u64 = 64 * stria_base::KIB;
        if self.is_done() {
            return true;
        }
        let small = matches!(self.frame, Frame::Length(left) if left <= DRAIN_BYTES_MAX);
        if self.expects_continue || !small {
            return false;
        }
        while let Frame::Length(left) = &mut self.frame {
            if *left == 0 {
                return true;
            }
            if !matches!(self.input.fill(STALL_TIMEOUT_MS).await, Ok(true)) {
                return false;
            }
            let take = self.input.data().len().min(*left as usize);
            self.input.consume(take);
            *left -= take as u64;
        }
        true
    }

    /// Sends `100 Continue` when the client waits for it, before the first read.
    async fn announce(&mut self) -> Result<(), BodyError> {
        if std::mem::take(&mut self.expects_continue) && self.input.data().is_empty() {
            let sent = self.input.stream.send(CONTINUE.to_vec(), bytes::Bytes::new()).await;
            sent.map_err(|_| BodyError::Gone)?;
        }
        Ok(())
    }

    async fn receive_into(&mut self, buf: SlabBuf, from: usize, to: usize) -> Result<(usize, SlabBuf), BodyError> {
        match self.input.receive_into(buf, from, to, STALL_TIMEOUT_MS).await {
            Ok((Ok(0), _)) => Err(BodyError::Gone),
            Ok((Ok(got), buf)) => {
                self.check_rate()?;
                Ok((got, buf))
            }
            Ok((Err(_), _)) => Err(BodyError::Gone),
            Err(error) => Err(stalled(&error)),
        }
    }

    fn took_plain(&mut self, payload: &[u8]) {
        if let Frame::Length(left) = &mut self.frame {
            *left -= payload.len() as u64;
        }
        if let Coding::Hashed(hasher, _) = &mut self.coding {
            hasher.update(payload);
        }
        self.payload_bytes += payload.len() as u64;
    }

    /// Waits for input and decodes some of it into `out`. May give 0 bytes: framing was consumed.
    async fn decode_some(&mut self, out: &mut [u8]) -> Result<usize, BodyError> {
        match self.input.fill(STALL_TIMEOUT_MS).await {
            Ok(true) => {}
            Ok(false) => return Err(BodyError::Gone),
            Err(error) => return Err(stalled(&error)),
        }
        // Decoding never makes more of less, so what fits into `out` undecoded fits decoded too, and
        // nothing has to be kept aside.
        let data = self.input.data();
        let window = &data[..data.len().min(out.len())];
        let (taken, piece) = unframe(&mut self.frame, window)?;
        let copied = uncode(&mut self.coding, piece, out)?;
        self.input.consume(taken);
        self.payload_bytes += copied as u64;
        self.check_rate()?;
        Ok(copied)
    }

    /// Marks the body done, when its framing ended and everything that proves it holds.
    fn check_end(&mut self) -> Result<(), BodyError> {
        if self.done || !matches!(self.frame, Frame::End | Frame::Length(0)) {
            return Ok(());
        }
        match &mut self.coding {
            Coding::Plain => {}
            Coding::Hashed(hasher, signed) => {
                if hasher.finish() != *signed {
                    return Err(ErrorCode::XAmzContentSHA256Mismatch.into());
                }
            }
            Coding::AwsChunked(decoder) => {
                if !decoder.is_end() {
                    return Err(ErrorCode::IncompleteBody.into());
                }
            }
        }
        if self.declared.is_some_and(|bytes| bytes != self.payload_bytes) {
            return Err(ErrorCode::IncompleteBody.into());
        }
        self.done = true;
        Ok(())
    }

    /// A body slower than the floor holds memory and a connection for nothing.
    fn check_rate(&mut self) -> Result<(), BodyError> {
        let elapsed_ms = (self.core.now_ns() - self.started_ns) / 1_000_000;
        if elapsed_ms < BODY_RATE_GRACE_MS {
            return Ok(());
        }
        let floor = (elapsed_ms - BODY_RATE_GRACE_MS) * BODY_BYTES_PER_SECOND_MIN / 1_000;
        if self.payload_bytes < floor { Err(ErrorCode::RequestTimeout.into()) } else { Ok(()) }
    }
}

fn stalled(error: &io::Error) -> BodyError {
    if error.kind() == io::ErrorKind::TimedOut { ErrorCode::RequestTimeout.into() } else { BodyError::Gone }
}

/// Takes the framing off the start of `window`: bytes taken, and the body bytes among them.
fn unframe<'w>(frame: &mut Frame, window: &'w [u8]) -> Result<(usize, &'w [u8]), BodyError> {
    match frame {
        Frame::Length(left) => {
            let take = window.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= take as u64;
            Ok((take, &window[..take]))
        }
        Frame::Chunked(decoder) => {
            let (taken, event) = decoder.decode(window).map_err(|_| BodyError::Gone)?;
            match event {
                chunked::Event::Data(piece) => Ok((taken, piece)),
                chunked::Event::NeedInput => Ok((taken, &[])),
                chunked::Event::End => {
                    *frame = Frame::End;
                    Ok((taken, &[]))
                }
            }
        }
        Frame::End => Ok((0, &[])),
    }
}

/// Takes the payload coding off all of `piece` into `out`, which is at least as long. Returns the bytes
/// put there.
fn uncode(coding: &mut Coding, piece: &[u8], out: &mut [u8]) -> Result<usize, BodyError> {
    match coding {
        Coding::Plain => {}
        Coding::Hashed(hasher, _) => hasher.update(piece),
        Coding::AwsChunked(decoder) => {
            let (mut taken, mut put) = (0, 0);
            while taken < piece.len() {
                let (used, payload) = decoder.decode(&piece[taken..])?;
                out[put..put + payload.len()].copy_from_slice(payload);
                put += payload.len();
                taken += used;
            }
            return Ok(put);
        }
    }
    out[..piece.len()].copy_from_slice(piece);
    Ok(piece.len())
}
