//! A request body as a handler reads it: framing and aws-chunked taken off, lengths enforced.
//!
//! Invariant: the end is reported only after everything that the framing proves was verified (declared
//! length, last chunk and its signature, trailers); a handler that commits only then never commits a body
//! the client did not send. Digests are the handler's (`BodyHasher`). Runs on the accepting core.

use std::io;

use stria_base::limits::{BODY_BYTES_PER_SECOND_MIN, BODY_RATE_GRACE_MS};
use stria_http::{BodyFraming, chunked};
use stria_runtime::SlabBuf;
use stria_s3::{ErrorCode, S3Error};
use stria_sigv4::{StreamError, aws_chunked};

use super::{failure::Failure, input::Input};
use crate::real_env::RealEnv;

/// Silence after which a body is given up.
const STALL_TIMEOUT_MS: u64 = 30_000;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

enum Frame {
    Length(u64),
    Chunked(chunked::Decoder),
    End,
}

/// One request's body.
pub struct Body<'c> {
    input: &'c mut Input,
    env: RealEnv,
    frame: Frame,
    aws: Option<Box<aws_chunked::Decoder>>,
    expects_continue: bool,
    /// Payload bytes the client declared.
    declared: Option<u64>,
    payload_bytes: u64,
    started_ns: u64,
    done: bool,
}

impl<'c> Body<'c> {
    /// Of a head with this framing; `aws` when the payload is aws-chunked.
    pub fn new(
        input: &'c mut Input,
        env: RealEnv,
        framing: BodyFraming,
        aws: Option<aws_chunked::Decoder>,
        expects_continue: bool,
    ) -> Self {
        let frame = match framing {
            BodyFraming::None | BodyFraming::Length(0) => Frame::End,
            BodyFraming::Length(bytes) => Frame::Length(bytes),
            BodyFraming::Chunked => Frame::Chunked(chunked::Decoder::new()),
        };
        let declared = match (&aws, framing) {
            (Some(decoder), _) => Some(decoder.body_left()),
            (None, BodyFraming::Length(bytes)) => Some(bytes),
            (None, BodyFraming::None) => Some(0),
            (None, BodyFraming::Chunked) => None,
        };
        let done = matches!(frame, Frame::End) && aws.is_none();
        let started_ns = env.runtime().now_ns();
        Self {
            input,
            env,
            frame,
            aws: aws.map(Box::new),
            expects_continue,
            declared,
            payload_bytes: 0,
            started_ns,
            done,
        }
    }

    /// Payload bytes an aws-chunked body announced; `None` for other bodies.
    pub fn decoded(&self) -> Option<u64> {
        self.aws.as_ref().and(self.declared)
    }

    /// Whether everything was read, so that the connection can carry another request.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// A trailing header by its lower-case name, once the body is done.
    pub fn trailer(&self, name: &str) -> Option<&[u8]> {
        let trailers = self.aws.as_ref()?.trailers();
        trailers.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Reads payload into `buf` from `from` on, until it is full or the body ends. The buffer's length is
    /// then the bytes in it; the body has ended when that is short of the capacity, or [`Body::is_done`].
    ///
    /// # Errors
    /// The client went away, broke the framing, or was too slow. The buffer returns to the pool.
    pub async fn fill(&mut self, mut buf: SlabBuf, from: usize) -> Result<SlabBuf, Failure> {
        self.announce().await?;
        let capacity = buf.capacity();
        buf.set_len(capacity);
        let mut at = from;
        self.check_end()?;
        while at < capacity && !self.done {
            match &self.frame {
                Frame::Length(left) if self.aws.is_none() && self.input.data().is_empty() => {
                    let want = usize::try_from(*left).unwrap_or(usize::MAX).min(capacity - at);
                    let (got, back) = self.receive_into(buf, at, at + want).await?;
                    buf = back;
                    at += got;
                }
                _ => at += self.decode_some(&mut buf[at..]).await?,
            }
            self.check_end()?;
        }
        buf.set_len(at);
        Ok(buf)
    }

    /// Reads some of the payload into `out`; 0 bytes at its end.
    ///
    /// # Errors
    /// As [`Body::fill`].
    pub async fn read_some(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        self.announce().await?;
        self.check_end()?;
        while !self.done {
            let got = self.decode_some(out).await?;
            self.check_end()?;
            if got > 0 {
                return Ok(got);
            }
        }
        Ok(0)
    }

    /// Reads what is left of the body, at most `bytes_max`.
    ///
    /// # Errors
    /// `too_large` when it is longer; else as [`Body::fill`].
    pub async fn read_all(&mut self, bytes_max: usize, too_large: ErrorCode) -> Result<Vec<u8>, Failure> {
        // What `fill` took before counts no more: only the end of the framing may be left.
        let left = self.declared.map(|bytes| bytes.saturating_sub(self.payload_bytes));
        if left.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(S3Error::from(too_large).into());
        }
        self.announce().await?;
        let mut all = Vec::with_capacity(left.unwrap_or(0) as usize);
        let mut piece = [0u8; 4096];
        self.check_end()?;
        while !self.done {
            let got = self.decode_some(&mut piece).await?;
            all.extend_from_slice(&piece[..got]);
            if all.len() > bytes_max {
                return Err(S3Error::from(too_large).into());
            }
            self.check_end()?;
        }
        Ok(all)
    }

    /// Reads and drops a small rest, so that the connection can be kept after an early answer. False
    /// when it must be closed.
    pub async fn drain(&mut self) -> bool {
        const DRAIN_BYTES_MAX: u64 = 64 * stria_base::KIB;
        if self.done {
            // Also when there was nothing to wait for: botocore that got a final answer instead misreads the
            // next one on the connection, and a head without a body is what it sends for every empty object.
            return self.announce().await.is_ok();
        }
        let Frame::Length(left) = self.frame else { return matches!(self.frame, Frame::End) };
        // A client that waits for 100 Continue may or may not send the body after an error: only closing
        // leaves no doubt where the next request begins.
        if self.expects_continue || left > DRAIN_BYTES_MAX {
            return false;
        }
        let mut left = left as usize;
        while left > 0 {
            if !matches!(self.input.fill(STALL_TIMEOUT_MS).await, Ok(true)) {
                return false;
            }
            let take = self.input.data().len().min(left);
            self.input.consume(take);
            left -= take;
        }
        true
    }

    /// Sends `100 Continue` when the client waits for it, before the first read or before the answer.
    async fn announce(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.expects_continue) && self.input.data().is_empty() {
            self.input
                .stream
                .send_bytes(bytes::Bytes::from_static(CONTINUE))
                .await
                .map_err(|_| Failure::Gone)?;
        }
        Ok(())
    }

    async fn receive_into(
        &mut self,
        buf: SlabBuf,
        from: usize,
        to: usize,
    ) -> Result<(usize, SlabBuf), Failure> {
        match self.input.receive_into(buf, from, to, STALL_TIMEOUT_MS).await {
            Ok((Ok(0), _)) | Ok((Err(_), _)) => Err(Failure::Gone),
            Ok((Ok(got), buf)) => {
                if let Frame::Length(left) = &mut self.frame {
                    *left -= got as u64;
                }
                self.payload_bytes += got as u64;
                self.check_rate()?;
                Ok((got, buf))
            }
            Err(error) => Err(stalled(&error)),
        }
    }

    /// Waits for input and decodes some of it into `out`. May give 0 bytes: framing was consumed.
    async fn decode_some(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        match self.input.fill(STALL_TIMEOUT_MS).await {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Gone),
            Err(error) => return Err(stalled(&error)),
        }
        // Decoding never makes more of less, so what fits into `out` undecoded fits decoded too, and
        // nothing has to be kept aside.
        let data = self.input.data();
        let window = &data[..data.len().min(out.len())];
        let (taken, piece) = unframe(&mut self.frame, window)?;
        let copied = match &mut self.aws {
            Some(decoder) => uncode(decoder, piece, out),
            None => {
                out[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
        };
        // Before an error is told: the frame counts these bytes as read, and what stayed in the input would be
        // taken for the next request.
        self.input.consume(taken);
        let copied = copied?;
        self.payload_bytes += copied as u64;
        self.check_rate()?;
        Ok(copied)
    }

    /// Marks the body done, when its framing ended and everything that proves it holds.
    fn check_end(&mut self) -> Result<(), Failure> {
        if self.done || !matches!(self.frame, Frame::End | Frame::Length(0)) {
            return Ok(());
        }
        if let Some(decoder) = &self.aws {
            decoder.finish().map_err(stream_error)?;
        }
        self.done = true;
        Ok(())
    }

    /// A body slower than the floor holds memory and a connection for nothing.
    fn check_rate(&self) -> Result<(), Failure> {
        let elapsed_ms = (self.env.runtime().now_ns() - self.started_ns) / 1_000_000;
        let Some(counted_ms) = elapsed_ms.checked_sub(BODY_RATE_GRACE_MS) else { return Ok(()) };
        if self.payload_bytes < counted_ms * BODY_BYTES_PER_SECOND_MIN / 1_000 {
            return Err(S3Error::from(ErrorCode::RequestTimeout).into());
        }
        Ok(())
    }
}

fn stalled(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut => S3Error::from(ErrorCode::RequestTimeout).into(),
        _ => Failure::Gone,
    }
}

/// The S3 error of a broken aws-chunked body.
pub fn stream_error(error: StreamError) -> Failure {
    super::failure::named(error.code_name(), error.message()).into()
}

/// Takes the framing off the start of `window`: bytes taken, and the body bytes among them.
fn unframe<'w>(frame: &mut Frame, window: &'w [u8]) -> Result<(usize, &'w [u8]), Failure> {
    match frame {
        Frame::Length(left) => {
            let take = window.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= take as u64;
            Ok((take, &window[..take]))
        }
        Frame::Chunked(decoder) => {
            let (taken, event) = decoder
                .decode(window)
                .map_err(|_| S3Error::new(ErrorCode::InvalidRequest, "The chunked body is malformed."))?;
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

/// Takes aws-chunked off all of `piece` into `out`, which is at least as long. Returns the bytes put there.
fn uncode(decoder: &mut aws_chunked::Decoder, piece: &[u8], out: &mut [u8]) -> Result<usize, Failure> {
    let (mut taken, mut put) = (0, 0);
    while taken < piece.len() {
        let (used, event) = decoder.decode(&piece[taken..]).map_err(stream_error)?;
        if let chunked::Event::Data(payload) = event {
            out[put..put + payload.len()].copy_from_slice(payload);
            put += payload.len();
        }
        taken += used;
    }
    Ok(put)
}
