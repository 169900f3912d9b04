//! Transfer-Encoding: chunked, incremental and without copying.
//!
//! Invariant: however the input is cut into pieces, the same payload comes out and the same number of
//! bytes is taken; the decoder buffers nothing. Extensions and trailers are checked, bounded and
//! dropped: nothing of S3 travels in them. Runs on the accepting core. Owner: `net/http`.

use crate::error::ChunkError;

/// Hex digits of one chunk size.
const SIZE_DIGITS_MAX: u8 = 8;
/// Bytes of all chunk extensions of one body: a body of one-byte chunks must not carry its weight in them.
const EXTENSION_BYTES_MAX: u16 = 4096;
/// Bytes of the whole trailer section.
const TRAILER_BYTES_MAX: u16 = 4096;

/// What one call of [`Decoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Payload, a slice of the input.
    Data(&'a [u8]),
    /// All input was taken; give more.
    NeedInput,
    /// The body is complete; what was not taken belongs to the next message.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

/// One body's decoder. After an error it must not be used again.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    size: u64,
    size_digits: u8,
    extension_bytes: u16,
    trailer_bytes: u16,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size, size: 0, size_digits: 0, extension_bytes: 0, trailer_bytes: 0 }
    }
}

impl Decoder {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the last chunk and the trailer section were read.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Takes bytes from the front of `input`: how many, and what they were. Call again with the rest
    /// until `NeedInput` or `End`.
    ///
    /// # Errors
    /// [`ChunkError`] when the framing is broken; the connection must close.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Event<'a>), ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::End {
            if self.state == State::Data {
                let available = (input.len() - at) as u64;
                let len = self.size.min(available) as usize;
                self.size -= len as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                assert!(len > 0, "a chunk in state Data has bytes left");
                return Ok((at + len, Event::Data(&input[at..at + len])));
            }
            self.step(input[at])?;
            at += 1;
        }
        Ok((at, if self.state == State::End { Event::End } else { Event::NeedInput }))
    }

    fn step(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r' | b';') if self.size_digits > 0 => {
                if byte == b'\r' {
                    State::SizeLf
                } else {
                    self.extension_byte()?
                }
            }
            (State::Size, _) => self.size_digit(byte)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension_byte()?,
            (State::Extension, _) => return Err(ChunkError::BadExtension),
            (State::SizeLf, b'\n') if self.size == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.size_digits = 0;
                State::Size
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, _) if is_token(byte) => self.trailer_byte(State::TrailerName)?,
            (State::TrailerName, b':') => self.trailer_byte(State::TrailerValue)?,
            (State::TrailerName, _) if is_token(byte) => self.trailer_byte(State::TrailerName)?,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => self.trailer_byte(State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::End,
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => {
                return Err(ChunkError::BadTrailer);
            }
            _ => return Err(ChunkError::BadLineBreak),
        };
        Ok(())
    }

    fn size_digit(&mut self, byte: u8) -> Result<State, ChunkError> {
        let digit = (byte as char).to_digit(16).ok_or(ChunkError::BadSize)?;
        if self.size_digits == SIZE_DIGITS_MAX {
            return Err(ChunkError::BadSize);
        }
        self.size = if self.size_digits == 0 { 0 } else { self.size << 4 } | u64::from(digit);
        self.size_digits += 1;
        Ok(State::Size)
    }

    fn extension_byte(&mut self) -> Result<State, ChunkError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(ChunkError::BadExtension);
        }
        Ok(State::Extension)
    }

    fn trailer_byte(&mut self, next: State) -> Result<State, ChunkError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX { Err(ChunkError::BadTrailer) } else { Ok(next) }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends the line before a chunk of `payload_bytes`, which must not be 0 (that would end the body).
/// CR LF must follow the payload.
///
/// # Panics
/// When `payload_bytes` is 0.
pub fn write_chunk_header(payload_bytes: usize, out: &mut Vec<u8>) {
    assert!(payload_bytes > 0, "an empty chunk ends the body");
    let mut digits = [0u8; 16];
    let (mut at, mut rest) = (digits.len(), payload_bytes);
    while rest > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Payload and number of bytes taken, feeding pieces of `step` bytes.
    fn run(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let (mut decoder, mut payload, mut taken) = (Decoder::new(), Vec::new(), 0);
        for piece in input.chunks(step.max(1)) {
            let mut rest = piece;
            loop {
                let (used, event) = decoder.decode(rest)?;
                taken += used;
                rest = &rest[used..];
                match event {
                    Event::Data(data) => payload.extend_from_slice(data),
                    Event::NeedInput => break,
                    Event::End => return Ok((payload, taken, true)),
                }
            }
            assert!(rest.is_empty(), "NeedInput takes everything");
        }
        Ok((payload, taken, false))
    }

    #[test]
    fn any_cut_gives_the_same_body() {
        let input = b"4;a=b\r\nWiki\r\nA\r\n0123456789\r\n000\r\nX-T: v\r\n\r\nGET / HTTP/1.1";
        for step in 1..=input.len() {
            let (payload, taken, end) = run(input, step).expect("well-formed");
            assert_eq!((&payload[..], taken, end), (&b"Wiki0123456789"[..], input.len() - 14, true));
        }
    }

    #[test]
    fn malformed_framing() {
        use ChunkError::{BadExtension, BadLineBreak, BadSize, BadTrailer};
        let long = format!("1;{}\r\n", "x".repeat(5000));
        let trailer = format!("0\r\nx:{}\r\n\r\n", "x".repeat(5000));
        let cases: &[(&str, ChunkError)] = &[
            ("\r\n", BadSize),
            ("g\r\n", BadSize),
            ("+1\r\n", BadSize),
            ("-1\r\n", BadSize),
            ("0x1\r\n", BadSize),
            (" 1\r\n", BadSize),
            ("1 \r\n", BadSize),
            ("000000001\r\n", BadSize),
            ("FFFFFFFFF\r\n", BadSize),
            ("1\n", BadSize),
            (";a\r\n", BadSize),
            ("1\rX", BadLineBreak),
            ("1;a\nX", BadExtension),
            ("1;\0\r\n", BadExtension),
            ("1\r\nab\r\n", BadLineBreak),
            ("1\r\na\n", BadLineBreak),
            ("1\r\na\r\r", BadLineBreak),
            ("0\r\n\n", BadTrailer),
            ("0\r\n\r\r", BadLineBreak),
            ("0\r\n x: y\r\n", BadTrailer),
            ("0\r\nx y\r\n", BadTrailer),
            ("0\r\n: y\r\n", BadTrailer),
            ("0\r\nx: y\n", BadTrailer),
            ("0\r\nx: \0\r\n", BadTrailer),
            (&long, BadExtension),
            (&trailer, BadTrailer),
        ];
        for (input, want) in cases {
            assert_eq!(run(input.as_bytes(), 7).map(|_| ()), Err(*want), "{input:?}");
        }
    }

    #[test]
    fn a_body_without_its_last_chunk_is_not_complete() {
        assert_eq!(run(b"1\r\na\r\n", 64).map(|(_, _, end)| end), Ok(false));
        assert_eq!(run(b"1\r\na\r\n0\r\n", 64).map(|(_, _, end)| end), Ok(false));
    }

    proptest! {
        #[test]
        fn round_trip(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8), step in 1usize..70) {
            let mut wire = Vec::new();
            for piece in &pieces {
                write_chunk_header(piece.len(), &mut wire);
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(LAST_CHUNK);
            prop_assert_eq!(run(&wire, step), Ok((pieces.concat(), wire.len(), true)));
        }
    }
}
