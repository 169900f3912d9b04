//! The bytes of an object on their way out: piece by piece, verified, one piece read ahead.
//!
//! Invariant: pieces come in order, each verified before it is here; the object's space stays pinned until the
//! stream is dropped. Runs on the accepting core, through its own queue.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use stria_engine::{
    EngineError,
    calls::{FindPart, Found, FoundBody, Place},
    object::PartTable,
};
use stria_env::{
    Env,
    sync::{Receiver, oneshot},
};
use stria_store::{ExtentBody, StoreError, read_extents};

use crate::{peers::PinGuard, state::CoreState};

/// Bytes of one piece. A multiple of the small checksum block.
const PIECE_BYTES: u64 = 256 << 10;
/// A body up to this may be kept in the cache of the core that read it.
const CACHED_BYTES_MAX: u64 = 1 << 20;
/// Waiting for a buffer in the middle of a body: between two tries, and in all.
const BUFFER_RETRY_NS: u64 = 1_000_000;
const BUFFER_WAIT_NS_MAX: u64 = 30_000_000_000;

/// Where the bytes at the current offset are.
enum Source {
    Bytes(Bytes),
    Extents(Arc<ExtentBody>),
}

/// A range of an object, being sent.
pub struct ObjectStream {
    state: Rc<CoreState>,
    place: Place,
    parts: Option<PartTable>,
    /// Covers `source_start..source_end` of the object.
    source: Source,
    source_start: u64,
    source_end: u64,
    at: u64,
    end: u64,
    ahead: Option<Receiver<Result<Bytes, StoreError>>>,
    _pin: Option<PinGuard>,
}

impl ObjectStream {
    /// Bytes `start..end` of a found object, whose space `pin` keeps.
    pub fn new(
        state: &Rc<CoreState>,
        place: &Place,
        found: &Found,
        start: u64,
        end: u64,
        pin: Option<PinGuard>,
    ) -> Self {
        assert!(start <= end && end <= found.meta.size, "{start}..{end} of {}", found.meta.size);
        let (source, source_end) = match &found.body {
            FoundBody::None | FoundBody::Parts => (Source::Bytes(Bytes::new()), 0),
            FoundBody::Bytes(bytes) => (Source::Bytes(bytes.clone()), found.meta.size),
            FoundBody::Extents(extents) => (Source::Extents(extents.clone()), found.meta.size),
        };
        Self {
            state: state.clone(),
            place: place.clone(),
            parts: found.meta.parts.clone(),
            source,
            source_start: 0,
            source_end,
            at: start,
            end,
            ahead: None,
            _pin: pin,
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When a block does not verify, a drive fails, or no buffer comes free for long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        if self.at == self.end {
            return Ok(None);
        }
        if self.at >= self.source_end {
            self.next_part().await?;
        }
        let end = self.end.min(self.source_end);
        let piece = match &self.source {
            Source::Bytes(bytes) => {
                bytes.slice((self.at - self.source_start) as usize..(end - self.source_start) as usize)
            }
            Source::Extents(body) => {
                let body = body.clone();
                match self.ahead.take() {
                    Some(ahead) => ahead.await.unwrap_or(Err(StoreError::Failed))?,
                    None => self.read(&body, self.at, end).await?,
                }
            }
        };
        assert!(
            !piece.is_empty() && piece.len() as u64 <= end - self.at,
            "a piece lies inside what was asked"
        );
        self.at += piece.len() as u64;
        self.read_ahead(end);
        Ok(Some(piece))
    }

    /// Starts to read the piece after the one just handed out.
    fn read_ahead(&mut self, end: u64) {
        let Source::Extents(body) = &self.source else { return };
        if self.at >= end {
            return;
        }
        let (sender, receiver) = oneshot();
        let (body, state) = (body.clone(), self.state.clone());
        let (from, bytes) = (self.at - self.source_start, self.piece_bytes(self.at, end));
        self.state.env.spawn(async move {
            sender.send(read_waiting(&state, &body, from, bytes).await);
        });
        self.ahead = Some(receiver);
    }

    /// Pieces end at multiples of the piece size within the body, so that no checksum block is read twice.
    fn piece_bytes(&self, at: u64, end: u64) -> u64 {
        let within = at - self.source_start;
        (PIECE_BYTES - within % PIECE_BYTES).min(end - at)
    }

    async fn read(&self, body: &Arc<ExtentBody>, at: u64, end: u64) -> Result<Bytes, EngineError> {
        let engine = self.state.peers.engine();
        let within = at - self.source_start;
        let cached = match body.bytes <= CACHED_BYTES_MAX {
            true => self.cached(body).await?,
            false => None,
        };
        match cached {
            Some(whole) => Ok(whole.slice(within as usize..(within + end - at) as usize)),
            None => Ok(read_extents(engine.volumes(), body, within, self.piece_bytes(at, end)).await?),
        }
    }

    /// The whole body from the cache, into which it is read first if it belongs there.
    async fn cached(&self, body: &Arc<ExtentBody>) -> Result<Option<Bytes>, EngineError> {
        let engine = self.state.peers.engine();
        let admitted = {
            let mut cache = engine.cache().borrow_mut();
            if let Some(whole) = cache.get(body.id) {
                return Ok(Some(whole));
            }
            cache.admits(body.id, body.bytes as usize)
        };
        if !admitted {
            return Ok(None);
        }
        let mut whole = Vec::with_capacity(body.bytes as usize);
        while (whole.len() as u64) < body.bytes {
            let at = whole.len() as u64;
            let wanted = PIECE_BYTES.min(body.bytes - at);
            whole.extend_from_slice(&read_extents(engine.volumes(), body, at, wanted).await?);
        }
        let whole = Bytes::from(whole);
        engine.cache().borrow_mut().put(body.id, whole.clone());
        Ok(Some(whole))
    }

    /// Goes on to the part of a multipart object that holds the current offset.
    async fn next_part(&mut self) -> Result<(), EngineError> {
        let part = self.parts.as_ref().and_then(|parts| parts.at_offset(self.at));
        let (Some(part), Some(parts)) = (part, &self.parts) else {
            panic!("offset {} of an object without that part: sizes are sums of parts", self.at)
        };
        let call = FindPart { place: self.place.clone(), id: parts.id, number: part.number };
        let found = self.state.peers.call(self.place.pg, call).await?;
        if found.meta.size != part.bytes {
            return Err(EngineError::UnreadableRow);
        }
        self.source = match found.body {
            FoundBody::Bytes(bytes) => Source::Bytes(bytes),
            FoundBody::Extents(extents) => Source::Extents(extents),
            FoundBody::None | FoundBody::Parts => return Err(EngineError::UnreadableRow),
        };
        self.source_start = part.start;
        self.source_end = part.start + part.bytes;
        self.ahead = None;
        Ok(())
    }
}

/// Reads, waiting for a buffer when all are in use: in the middle of a body there is no other answer.
async fn read_waiting(
    state: &CoreState,
    body: &ExtentBody,
    from: u64,
    bytes: u64,
) -> Result<Bytes, StoreError> {
    let deadline = state.env.mono_ns() + BUFFER_WAIT_NS_MAX;
    loop {
        match read_extents(state.peers.engine().volumes(), body, from, bytes).await {
            Err(StoreError::NoBuffer) if state.env.mono_ns() < deadline => {
                state.env.sleep(BUFFER_RETRY_NS).await
            }
            done => return done,
        }
    }
}
