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
    let mut at = 0;
    while at < out.len() {
        let place = from + at as u64;
        let word = mix(body, place / 8).to_le_bytes();
        let within = (place % 8) as usize;
        let take = (8 - within).min(out.len() - at);
        out[at..at + take].copy_from_slice(&word[within..within + take]);
        at += take;
    }
}

/// Whether `bytes` are those of body number `body` from `from`.
#[must_use]
pub fn is_body(body: u64, from: u64, bytes: &[u8]) -> bool {
    let mut want = vec![0; bytes.len()];
    fill_body(body, from, &mut want);
    want == bytes
}

fn mix(body: u64, word: u64) -> u64 {
    let mut z = body.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word.wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ (z >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}
