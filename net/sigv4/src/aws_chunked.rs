//! The aws-chunked framing: chunks with signatures, trailers, and what completeness means.
//!
//! Invariant: [`Decoder::finish`] succeeds only when the last chunk was seen, every signature verified,
//! the payload has exactly the announced length, and the announced trailers are there. Payload is given
//! out before its chunk is verified: nothing of it may be committed before `finish`. Payload is never
//! copied; only framing lines are. Runs on the accepting core. Owner: `net/sigv4`.

use aws_lc_rs::digest;
use stria_base::limits::PUT_BYTES_MAX;
use stria_http::Head;
pub use stria_http::chunked::Event;
use subtle::ConstantTimeEq;

use crate::HEX_BYTES;
use crate::crypto::{EMPTY_SHA256_HEX, Hex, SigningKey, hex, sha256_hex};
use crate::error::StreamError;
use crate::payload::PayloadMode;
use crate::verify::Verified;

/// Signed chunks are buffered by no one, but their payload is doubtful until their end.
const SIGNED_CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Every signed chunk but the last (S3's rule; it bounds the hashing per payload byte).
const SIGNED_CHUNK_BYTES_MIN: u64 = 8192;
/// Hex digits of a chunk size; PUT_BYTES_MAX has 9.
const SIZE_DIGITS_MAX: usize = 10;
/// A chunk header or one trailer line.
const LINE_BYTES_MAX: usize = 1024;
/// Trailer lines of one body.
const TRAILERS_MAX: usize = 16;

/// The signatures of a body, each made from the one before.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    key: SigningKey,
    /// `\n date \n scope \n`, common to all strings to sign.
    context: Vec<u8>,
    previous: Hex,
}

impl Chain {
    pub(crate) fn new(key: SigningKey, amz_date: &[u8; 16], scope: &str, seed: Hex) -> Self {
        let context = [&b"\n"[..], amz_date, b"\n", scope.as_bytes(), b"\n"].concat();
        Self { key, context, previous: seed }
    }

    /// The signature of the chunk whose payload has this SHA-256.
    pub(crate) fn next_chunk(&mut self, sha256: &[u8]) -> Hex {
        self.previous = self.key.sign_hex(&[
            b"AWS4-HMAC-SHA256-PAYLOAD",
            &self.context,
            &self.previous,
            b"\n",
            EMPTY_SHA256_HEX.as_bytes(),
            b"\n",
            &hex(sha256),
        ]);
        self.previous
    }

    /// The signature of the trailer section.
    pub(crate) fn next_trailer(&mut self, canonical: &[u8]) -> Hex {
        self.previous = self.key.sign_hex(&[
            b"AWS4-HMAC-SHA256-TRAILER",
            &self.context,
            &self.previous,
            b"\n",
            &sha256_hex(canonical),
        ]);
        self.previous
    }
}

/// One line of the text that the trailer signature covers.
pub(crate) fn trailer_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.push(b':');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A trailer: name in lower case, value trimmed.
pub type Trailer = (Box<str>, Box<[u8]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ChunkHeader,
    Data,
    DataCr,
    DataLf,
    FinalCr,
    FinalLf,
    TrailerLine,
    End,
}

/// One body's decoder. After an error it must not be used again.
pub struct Decoder {
    state: State,
    mode: PayloadMode,
    chain: Option<Chain>,
    /// Payload bytes left of the chunk, and of the body.
    chunk_left: u64,
    body_left: u64,
    chunk_was_small: bool,
    hash: digest::Context,
    claimed: Hex,
    line: Vec<u8>,
    announced: Vec<Box<str>>,
    trailers: Vec<Trailer>,
    trailer_text: Vec<u8>,
    trailer_verified: bool,
    blank_before_signature: bool,
    /// How much of one surplus CR LF after the end was taken.
    surplus: usize,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoder({:?}, {:?}, {} bytes left)", self.mode, self.state, self.body_left)
    }
}

/// The announced length of the payload, from `x-amz-decoded-content-length`.
///
/// # Errors
/// [`StreamError::MissingDecodedLength`], [`StreamError::BadDecodedLength`].
pub fn decoded_length(head: &Head) -> Result<u64, StreamError> {
    let value = head
        .get_single("x-amz-decoded-content-length")
        .map_err(|_| StreamError::BadDecodedLength)?
        .ok_or(StreamError::MissingDecodedLength)?;
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(StreamError::BadDecodedLength);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The names in `x-amz-trailer`, lower case.
///
/// # Errors
/// [`StreamError::BadTrailer`] when there are too many.
fn announced_trailers(head: &Head) -> Result<Vec<Box<str>>, StreamError> {
    let mut names: Vec<Box<str>> = Vec::new();
    for value in head.get_all("x-amz-trailer") {
        for name in value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            let name = std::str::from_utf8(name).map_err(|_| StreamError::BadTrailer)?.to_ascii_lowercase();
            if names.len() == TRAILERS_MAX || names.iter().any(|known| **known == name) {
                return Err(StreamError::BadTrailer);
            }
            names.push(name.into());
        }
    }
    Ok(names)
}

impl Decoder {
    /// For the body of a verified request whose payload mode is one of the streaming forms.
    ///
    /// # Errors
    /// [`StreamError`] when the head does not announce the body as it must.
    ///
    /// # Panics
    /// When the mode is not a streaming form.
    pub fn for_verified(head: &Head, verified: &Verified) -> Result<Self, StreamError> {
        let chain = verified.payload.is_chunk_signed().then(|| {
            let key = verified.signing_key.clone();
            Chain::new(key, &verified.amz_date, &verified.scope, verified.seed_signature)
        });
        Self::new(head, verified.payload, chain)
    }

    /// For the body of an anonymous request: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    ///
    /// # Errors
    /// [`StreamError`] when the head does not announce the body as it must.
    pub fn for_anonymous(head: &Head) -> Result<Self, StreamError> {
        Self::new(head, PayloadMode::StreamingUnsignedTrailer, None)
    }

    fn new(head: &Head, mode: PayloadMode, chain: Option<Chain>) -> Result<Self, StreamError> {
        assert!(mode.is_streaming(), "{mode:?} is not aws-chunked");
        assert_eq!(mode.is_chunk_signed(), chain.is_some(), "signed chunks need a chain");
        let announced = announced_trailers(head)?;
        if !announced.is_empty() && !mode.has_trailer() {
            return Err(StreamError::BadTrailer);
        }
        Ok(Self {
            state: State::ChunkHeader,
            mode,
            chain,
            chunk_left: 0,
            body_left: decoded_length(head)?,
            chunk_was_small: false,
            hash: digest::Context::new(&digest::SHA256),
            claimed: [0; HEX_BYTES],
            line: Vec::new(),
            announced,
            trailers: Vec::new(),
            trailer_text: Vec::new(),
            trailer_verified: false,
            blank_before_signature: false,
            surplus: 0,
        })
    }

    /// Payload bytes not yet given out.
    #[must_use]
    pub fn body_left(&self) -> u64 {
        self.body_left
    }

    /// The trailers, once [`Event::End`] was seen.
    #[must_use]
    pub fn trailers(&self) -> &[Trailer] {
        &self.trailers
    }

    /// Takes bytes from the front of `input`: how many, and what they were. Call again with the rest
    /// until all is taken; after [`Event::End`] too, for what follows the end is an error.
    ///
    /// # Errors
    /// [`StreamError`]; the body must be discarded.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Event<'a>), StreamError> {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Data {
                let len = self.chunk_left.min((input.len() - at) as u64) as usize;
                let data = &input[at..at + len];
                if self.chain.is_some() {
                    self.hash.update(data);
                }
                self.chunk_left -= len as u64;
                self.body_left -= len as u64;
                if self.chunk_left == 0 {
                    self.state = State::DataCr;
                }
                return Ok((at + len, Event::Data(data)));
            }
            self.step(input[at])?;
            at += 1;
        }
        Ok((at, if self.state == State::End { Event::End } else { Event::NeedInput }))
    }

    /// Says that the message has no more bytes.
    ///
    /// # Errors
    /// [`StreamError::Incomplete`] unless the end was seen; then the body is what was signed.
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.state == State::End && self.surplus != 1 { Ok(()) } else { Err(StreamError::Incomplete) }
    }

    fn step(&mut self, byte: u8) -> Result<(), StreamError> {
        match (self.state, byte) {
            (State::ChunkHeader | State::TrailerLine, b'\n') => {
                let line = std::mem::take(&mut self.line);
                if self.state == State::ChunkHeader {
                    self.chunk_header(&line)?;
                } else {
                    self.trailer(line.strip_suffix(b"\r").unwrap_or(&line))?;
                }
                self.line = line;
                self.line.clear();
            }
            (State::ChunkHeader | State::TrailerLine, _) => {
                if self.line.len() == LINE_BYTES_MAX {
                    return Err(self.line_error());
                }
                self.line.push(byte);
            }
            (State::DataCr, b'\r') => self.state = State::DataLf,
            (State::DataLf, b'\n') => {
                self.chunk_end()?;
                self.state = State::ChunkHeader;
            }
            (State::FinalCr, b'\r') => self.state = State::FinalLf,
            (State::FinalLf, b'\n') => self.end()?,
            // Some clients end an unsigned trailer section with one CR LF too many.
            (State::End, _) if self.mode.has_trailer() && b"\r\n".get(self.surplus) == Some(&byte) => {
                self.surplus += 1;
            }
            (State::End, _) => return Err(StreamError::TrailingBytes),
            _ => return Err(StreamError::BadLineBreak),
        }
        Ok(())
    }

    fn line_error(&self) -> StreamError {
        if self.state == State::ChunkHeader { StreamError::BadChunkHeader } else { StreamError::BadTrailer }
    }

    fn chunk_header(&mut self, line: &[u8]) -> Result<(), StreamError> {
        let line = line.strip_suffix(b"\r").ok_or(StreamError::BadChunkHeader)?;
        let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
        if digits == 0 || digits > SIZE_DIGITS_MAX {
            return Err(StreamError::BadChunkHeader);
        }
        let (size, rest) = line.split_at(digits);
        let hex_value = |&digit: &u8| u64::from((digit as char).to_digit(16).unwrap_or(0));
        let size = size.iter().map(hex_value).fold(0u64, |sum, digit| sum << 4 | digit);
        if self.chain.is_some() {
            let signature = rest.strip_prefix(b";chunk-signature=").ok_or(StreamError::BadChunkHeader)?;
            self.claimed = signature.try_into().map_err(|_| StreamError::BadChunkHeader)?;
        } else if !rest.is_empty() {
            return Err(StreamError::BadChunkHeader);
        }
        let limit = if self.chain.is_some() { SIGNED_CHUNK_BYTES_MAX } else { PUT_BYTES_MAX };
        if size > self.body_left || size > limit {
            return Err(StreamError::ChunkTooLarge);
        }
        if size > 0 {
            if self.chain.is_some() && std::mem::take(&mut self.chunk_was_small) {
                return Err(StreamError::ChunkTooSmall);
            }
            self.chunk_was_small = size < SIGNED_CHUNK_BYTES_MIN;
            self.chunk_left = size;
            self.state = State::Data;
            return Ok(());
        }
        if self.body_left != 0 {
            return Err(StreamError::Incomplete);
        }
        self.chunk_end()?;
        self.state = if self.mode.has_trailer() { State::TrailerLine } else { State::FinalCr };
        Ok(())
    }

    /// Compares the chunk's signature with the one its header claimed.
    fn chunk_end(&mut self) -> Result<(), StreamError> {
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let hash = std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256));
        let expected = chain.next_chunk(hash.finish().as_ref());
        if bool::from(expected.ct_eq(&self.claimed)) { Ok(()) } else { Err(StreamError::ChunkSignature) }
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), StreamError> {
        if line.is_empty() {
            if self.chain.is_none() || self.trailer_verified {
                return self.end();
            }
            // Some clients put one empty line before the signature of the trailers.
            let repeated = std::mem::replace(&mut self.blank_before_signature, true);
            return if repeated { Err(StreamError::BadTrailer) } else { Ok(()) };
        }
        if self.trailer_verified {
            return Err(StreamError::BadTrailer);
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(StreamError::BadTrailer)?;
        let name = std::str::from_utf8(&line[..colon]).map_err(|_| StreamError::BadTrailer)?;
        let name = name.to_ascii_lowercase();
        let value = line[colon + 1..].trim_ascii();
        if let (Some(chain), "x-amz-trailer-signature") = (&mut self.chain, name.as_str()) {
            let expected = chain.next_trailer(&self.trailer_text);
            if !bool::from(expected.ct_eq(value)) {
                return Err(StreamError::TrailerSignature);
            }
            self.trailer_verified = true;
            return Ok(());
        }
        let announced = self.announced.iter().any(|known| **known == name);
        let repeated = self.trailers.iter().any(|(known, _)| **known == name);
        let printable = value.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        if !announced || repeated || !printable {
            return Err(StreamError::BadTrailer);
        }
        trailer_line(name.as_bytes(), value, &mut self.trailer_text);
        self.trailers.push((name.into(), value.into()));
        Ok(())
    }

    fn end(&mut self) -> Result<(), StreamError> {
        if self.trailers.len() != self.announced.len() {
            return Err(StreamError::BadTrailer);
        }
        assert_eq!(self.body_left, 0, "the last chunk came with nothing left");
        self.state = State::End;
        Ok(())
    }
}
