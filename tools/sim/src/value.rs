//! What the workload stores: values that say what they are, and bodies that follow from their number.
//!
//! Invariant: a value's metadata decodes to the value, and its body can be made again from its number, so
//! that any byte read back can be judged. Runs on the simulator's thread.

/// A row's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Number of the write that made it.
    pub id: u64,
    /// Number of its body; a metadata-only update keeps it.
    pub body: u64,
    /// Bytes of the body.
    pub bytes: u32,
    /// Whether the body lies in extents.
    pub in_extents: bool,
}

const HEAD_BYTES: usize = 21;

impl Value {
    /// As row metadata, with padding that varies with the number.
    #[must_use]
    pub fn encode(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(HEAD_BYTES + 40);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.body.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.push(u8::from(self.in_extents));
        out.resize(HEAD_BYTES + (self.id % 40) as usize, self.id as u8);
        out.into()
    }

    /// From row metadata; `None` when it is none of ours or hurt.
    #[must_use]
    pub fn decode(meta: &[u8]) -> Option<Self> {
        let head = meta.first_chunk::<HEAD_BYTES>()?;
        let value = Self {
            id: u64::from_le_bytes(head[..8].try_into().ok()?),
            body: u64::from_le_bytes(head[8..16].try_into().ok()?),
            bytes: u32::from_le_bytes(head[16..20].try_into().ok()?),
            in_extents: head[20] == 1,
        };
        (*value.encode() == *meta).then_some(value)
    }
}

/// Writes bytes `from..` of body number `body` into `out`.
pub fn fill_body(body: u64, from: u64, out: &mut [u8]) {
    let lead = (from.wrapping_neg() % 8).min(out.len() as u64) as usize;
    let (head, rest) = out.split_at_mut(lead);
    fill_within(body, from, head);
    let first = (from + lead as u64) / 8;
    let mut words = rest.chunks_exact_mut(8);
    let count = words.len() as u64;
    for (place, word) in (first..).zip(&mut words) {
        word.copy_from_slice(&word_of(body, place).to_le_bytes());
    }
    fill_within(body, (first + count) * 8, words.into_remainder());
}

/// A part of one word.
fn fill_within(body: u64, from: u64, out: &mut [u8]) {
    let within = (from % 8) as usize;
    out.copy_from_slice(&word_of(body, from / 8).to_le_bytes()[within..within + out.len()]);
}

/// Differs by body and by place; no multiplication per word, so that a loop over it is a vector loop.
fn word_of(body: u64, place: u64) -> u64 {
    let z = body.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93);
    z ^ (z >> 29)
}

/// Whether `bytes` are those of body number `body` from `from`.
#[must_use]
pub fn is_body(body: u64, from: u64, bytes: &[u8]) -> bool {
    // Piece by piece, so that what it is compared with stays near.
    const PIECE_BYTES: usize = 4096;
    let mut want = [0; PIECE_BYTES];
    bytes.chunks(PIECE_BYTES).enumerate().all(|(nth, piece)| {
        let want = &mut want[..piece.len()];
        fill_body(body, from + (nth * PIECE_BYTES) as u64, want);
        *want == *piece
    })
}
