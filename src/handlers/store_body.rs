//! Bodies on their way to disk: from a request, or from another object.
//!
//! Invariant: a body that is not stored to its end leaves nothing behind: its space goes back. Small bodies
//! travel to the owner core and into its log; large ones are written by this core into extents the owner grants.

use std::rc::Rc;

use bytes::Bytes;
use stria_base::{DataId, KIB, MIB, limits::INLINE_BYTES_MAX};
use stria_engine::calls::{Allocate, Place, Release};
use stria_env::Env;
use stria_runtime::SlabBuf;
use stria_s3::{
    ErrorCode, S3Error,
    checksum::{Algorithm, BodyDigests, BodyHasher, RequestChecksums},
};
use stria_sigv4::PayloadMode;
use stria_store::{BodyWriter, Extent, NewBody, StoreError};

use super::Request;
use crate::{
    conn::{body::Body, failure::Failure, stream::ObjectStream},
    error_map::store_error,
    real_env::RealEnv,
    state::CoreState,
};

/// Bytes written to disk at once.
const PIECE_BYTES: usize = 256 * KIB as usize;
/// Bytes hashed before other tasks of the core get a turn: up to 40 us of SHA-256.
const HASH_SLICE_BYTES: usize = 64 * KIB as usize;
/// Space asked of the owner core at once. A multiple of the largest checksum block.
const GRANT_BYTES: u64 = 64 * MIB;
/// The same for a body of unknown length.
const OPEN_GRANT_BYTES: u64 = 4 * MIB;
/// Waiting for a buffer in the middle of a body: between two tries, and in all.
const BUFFER_RETRY_NS: u64 = 1_000_000;
const BUFFER_WAIT_NS_MAX: u64 = 30_000_000_000;

/// A stored body and what it hashed to.
pub struct StoredBody {
    /// For the row.
    pub body: NewBody,
    /// For ETag and checksum.
    pub digests: BodyDigests,
}

/// The SHA-256 a payload must have.
pub fn payload_sha256(payload: PayloadMode) -> Option<[u8; 32]> {
    match payload {
        PayloadMode::Hex(digest) => Some(digest),
        _ => None,
    }
}

/// Stores the body of a request: `length` bytes, all verified before this returns.
///
/// # Errors
/// Of the body, its digests, or the store. No space stays taken.
pub async fn from_request(
    state: &Rc<CoreState>,
    place: &Place,
    body: &mut Body<'_>,
    mut hasher: BodyHasher,
    length: u64,
) -> Result<StoredBody, Failure> {
    if length <= INLINE_BYTES_MAX {
        let bytes = body.read_all(INLINE_BYTES_MAX as usize, ErrorCode::EntityTooLarge).await?;
        hasher.update(&bytes);
        let digests = hasher.finish(&|name| body.trailer(name))?;
        return Ok(StoredBody { body: inline(state, bytes.into()), digests });
    }
    let mut sink = Sink::new(state, place, length);
    let stored = async {
        let mut left = length;
        while left > 0 {
            let buf = sink.buffer(left).await?;
            let buf = body.fill(buf, 0).await?;
            left = left.checked_sub(buf.len() as u64).ok_or(ErrorCode::IncompleteBody)?;
            if buf.len() < buf.capacity() && left > 0 {
                return Err(S3Error::from(ErrorCode::IncompleteBody).into());
            }
            sink.push(hash(state, &mut hasher, buf).await).await?;
        }
        finish_framing(body).await?;
        Ok(hasher.finish(&|name| body.trailer(name))?)
    };
    match stored.await {
        Ok(digests) => Ok(StoredBody { body: sink.finish().await?, digests }),
        Err(failure) => {
            sink.abort().await;
            Err(failure)
        }
    }
}

/// The payload is here, but what ends its framing (a last chunk, a trailer) may not be.
async fn finish_framing(body: &mut Body<'_>) -> Result<(), Failure> {
    if body.is_done() {
        return Ok(());
    }
    let rest = body.read_all(0, ErrorCode::IncompleteBody).await?;
    assert!(rest.is_empty());
    Ok(())
}

/// A body of a length nobody told.
pub trait Pieces {
    /// Appends some bytes to `out`; false at the end.
    async fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure>;
}

/// Stores a body of `min..=max` bytes whose length shows at its end. Also that length.
///
/// # Errors
/// `EntityTooSmall`, `EntityTooLarge`; of the pieces, the digests or the store. No space stays taken.
pub async fn from_pieces(
    state: &Rc<CoreState>,
    place: &Place,
    mut pieces: impl Pieces,
    mut hasher: BodyHasher,
    (min, max): (u64, u64),
) -> Result<(StoredBody, u64), Failure> {
    let mut held = Vec::new();
    let mut more = true;
    while more && held.len() as u64 <= INLINE_BYTES_MAX {
        more = pieces.next(&mut held).await?;
    }
    if held.len() as u64 <= INLINE_BYTES_MAX {
        let bytes = check_length(held.len() as u64, min, max)?;
        hasher.update(&held);
        let digests = hasher.finish(&|_| None)?;
        return Ok((StoredBody { body: inline(state, held.into()), digests }, bytes));
    }
    let mut sink = Sink::open_ended(state, place);
    let stored = async {
        let mut bytes = 0;
        while more || !held.is_empty() {
            while more && held.len() < PIECE_BYTES {
                more = pieces.next(&mut held).await?;
            }
            let take = held.len().min(PIECE_BYTES);
            bytes += take as u64;
            check_length(bytes, 0, max)?;
            let mut buf = sink.buffer(PIECE_BYTES as u64).await?;
            buf.set_len(take);
            buf.copy_from_slice(&held[..take]);
            held.drain(..take);
            sink.push(hash(state, &mut hasher, buf).await).await?;
        }
        check_length(bytes, min, max)?;
        Ok((hasher.finish(&|_| None)?, bytes))
    };
    match stored.await {
        Ok((digests, bytes)) => Ok((StoredBody { body: sink.finish().await?, digests }, bytes)),
        Err(failure) => {
            sink.abort().await;
            Err(failure)
        }
    }
}

fn check_length(bytes: u64, min: u64, max: u64) -> Result<u64, Failure> {
    let size = |code: ErrorCode, name, bound: u64| {
        S3Error::from(code)
            .with("ProposedSize", bytes.to_string().as_bytes())
            .with(name, bound.to_string().as_bytes())
    };
    match bytes {
        _ if bytes < min => Err(size(ErrorCode::EntityTooSmall, "MinSizeAllowed", min).into()),
        _ if bytes > max => Err(size(ErrorCode::EntityTooLarge, "MaxSizeAllowed", max).into()),
        _ => Ok(bytes),
    }
}

/// Stores `length` bytes that come from another object.
///
/// # Errors
/// Of the source or the store. No space stays taken.
pub async fn from_object(
    state: &Rc<CoreState>,
    place: &Place,
    source: &mut ObjectStream,
    mut hasher: BodyHasher,
    length: u64,
) -> Result<StoredBody, Failure> {
    if length <= INLINE_BYTES_MAX {
        let mut bytes = Vec::with_capacity(length as usize);
        while let Some(piece) = source.next().await? {
            bytes.extend_from_slice(&piece);
        }
        hasher.update(&bytes);
        let digests = hasher.finish(&|_| None)?;
        return Ok(StoredBody { body: inline(state, bytes.into()), digests });
    }
    let mut sink = Sink::new(state, place, length);
    let stored = async {
        let mut left = length;
        let mut piece = Bytes::new();
        while left > 0 {
            let mut buf = sink.buffer(left).await?;
            let want = (buf.capacity() as u64).min(left) as usize;
            buf.set_len(want);
            let mut at = 0;
            while at < want {
                if piece.is_empty() {
                    piece = source.next().await?.ok_or(Failure::Gone)?;
                }
                let take = piece.len().min(want - at);
                buf[at..at + take].copy_from_slice(&piece.split_to(take));
                at += take;
            }
            left -= want as u64;
            sink.push(hash(state, &mut hasher, buf).await).await?;
        }
        Ok(hasher.finish(&|_| None)?)
    };
    match stored.await {
        Ok(digests) => Ok(StoredBody { body: sink.finish().await?, digests }),
        Err(failure) => {
            sink.abort().await;
            Err(failure)
        }
    }
}

fn data_id(state: &CoreState) -> DataId {
    DataId(u128::from(state.env.random()) << 64 | u128::from(state.env.random()))
}

fn inline(state: &CoreState, bytes: Bytes) -> NewBody {
    if bytes.is_empty() { NewBody::None } else { NewBody::Inline { id: data_id(state), bytes } }
}

/// Hashes a buffer in slices, so that a large body does not hold the core; its MD5 together with those of
/// other bodies, which is most of the work and cannot be split.
async fn hash(state: &CoreState, hasher: &mut BodyHasher, buf: SlabBuf) -> SlabBuf {
    for (i, slice) in buf.chunks(HASH_SLICE_BYTES).enumerate() {
        if i > 0 {
            state.env.runtime().yield_now().await;
        }
        hasher.update_all_but_md5(slice);
    }
    let (md5, buf) = state.md5.update(std::mem::take(hasher.md5()), buf).await;
    *hasher.md5() = md5;
    buf
}

/// A large body being written.
struct Sink<'a> {
    state: &'a Rc<CoreState>,
    place: &'a Place,
    writer: BodyWriter<RealEnv>,
    granted: u64,
    length: u64,
    /// Asked of the owner core at once.
    grant_bytes: u64,
}

impl<'a> Sink<'a> {
    /// For a body of unknown length: space comes in smaller steps, because the last is mostly given back.
    fn open_ended(state: &'a Rc<CoreState>, place: &'a Place) -> Self {
        let volumes = state.peers.engine().volumes().clone();
        let writer = BodyWriter::new(volumes, data_id(state), None);
        Self { state, place, writer, granted: 0, length: u64::MAX, grant_bytes: OPEN_GRANT_BYTES }
    }

    fn new(state: &'a Rc<CoreState>, place: &'a Place, length: u64) -> Self {
        let volumes = state.peers.engine().volumes().clone();
        Self {
            state,
            place,
            writer: BodyWriter::new(volumes, data_id(state), Some(length)),
            granted: 0,
            length,
            grant_bytes: GRANT_BYTES,
        }
    }

    /// A buffer for the next piece. The first one is asked for and not waited for: at the bound of the memory budget new
    /// work is refused; work in progress waits.
    async fn buffer(&self, left: u64) -> Result<SlabBuf, Failure> {
        let bytes = (left.min(PIECE_BYTES as u64)) as usize;
        let deadline = self.state.env.mono_ns() + BUFFER_WAIT_NS_MAX;
        loop {
            if let Some(buf) = self.state.env.buf(bytes) {
                return Ok(buf);
            }
            if self.granted == 0 || self.state.env.mono_ns() >= deadline {
                return Err(store_error(&StoreError::NoBuffer).into());
            }
            self.state.env.sleep(BUFFER_RETRY_NS).await;
        }
    }

    async fn push(&mut self, buf: SlabBuf) -> Result<(), Failure> {
        while self.writer.room() < buf.len() as u64 {
            let bytes = (self.length - self.granted).min(self.grant_bytes);
            let grant = self.state.peers.call(self.place.pg, Allocate { bytes }).await?;
            self.granted += bytes;
            self.writer.give(grant.extents);
        }
        self.writer.push(buf).await.map_err(|error| store_error(&error).into())
    }

    async fn finish(self) -> Result<NewBody, Failure> {
        match self.writer.finish().await {
            Ok((body, unused)) => {
                release(self.state, self.place, unused).await;
                Ok(NewBody::Extents(Box::new(body)))
            }
            Err((error, space)) => {
                release(self.state, self.place, space).await;
                Err(store_error(&error).into())
            }
        }
    }

    async fn abort(self) {
        let space = self.writer.abort().await;
        release(self.state, self.place, space).await;
    }
}

async fn release(state: &CoreState, place: &Place, extents: Vec<Extent>) {
    if !extents.is_empty() {
        state.peers.call(place.pg, Release { extents }).await;
    }
}

/// Reads the XML body of a request and checks that it is what was signed.
///
/// # Errors
/// `MalformedXML` above the limit, `XAmzContentSHA256Mismatch`, or of the body.
pub async fn read_xml(payload: PayloadMode, body: &mut Body<'_>) -> Result<Vec<u8>, Failure> {
    let xml = body.read_all(stria_base::limits::XML_BYTES_MAX, ErrorCode::MalformedXML).await?;
    if let Some(signed) = payload_sha256(payload) {
        let found = stria_s3::checksum::Hasher::of(stria_s3::checksum::Algorithm::Sha256, &xml);
        if found.digest.as_bytes() != signed {
            return Err(ErrorCode::XAmzContentSHA256Mismatch.into());
        }
    }
    Ok(xml)
}

/// Reads a document whose digests, where the client sent any, are verified: Content-MD5, a checksum as header or
/// trailer, the payload's SHA-256.
///
/// # Errors
/// `MalformedXML` when it is too long, `BadDigest`, `XAmzContentSHA256Mismatch`.
pub async fn read_document(request: &Request<'_>, body: &mut Body<'_>) -> Result<Vec<u8>, Failure> {
    let xml = read_xml(request.payload, body).await?;
    let checksums = RequestChecksums::parse(request.head, request.payload.has_trailer())?;
    let mut hasher = BodyHasher::new(checksums, None, Algorithm::Crc32);
    hasher.update(&xml);
    hasher.finish(&|name| body.trailer(name))?;
    Ok(xml)
}
