//! Where a log ends: a torn tail is cut, rot is not.

use crate::frame::FrameHeader;

/// What the first bad frame of an open segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A write that a crash interrupted; nobody was told it succeeded.
    Torn,
    /// A frame that had been acknowledged and can no longer be read.
    Rot,
}

/// Follows the chain of frames of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// The number the next frame must have.
    pub next_seq: u64,
    /// The `prev_hash` the next frame must have.
    pub prev_hash: u64,
}

impl Chain {
    /// Whether `header` is the next frame; if so the chain moves on.
    pub fn accept(&mut self, header: &FrameHeader) -> bool {
        if header.seq != self.next_seq || header.prev_hash != self.prev_hash {
            return false;
        }
        self.next_seq += 1;
        self.prev_hash = header.hash();
        true
    }
}

/// Judges the bad frame number `bad_seq` by the valid frames of the same segment and generation found
/// behind it: one that was written when `bad_seq` was already durable proves that it had been acknowledged.
pub fn find_end(bad_seq: u64, behind: impl IntoIterator<Item = FrameHeader>) -> End {
    let proves = |header: FrameHeader| header.seq > bad_seq && header.durable_upto >= bad_seq;
    if behind.into_iter().any(proves) { End::Rot } else { End::Torn }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seq: u64, durable_upto: u64) -> FrameHeader {
        FrameHeader {
            count: 0,
            generation: 1,
            seq,
            prev_hash: 0,
            durable_upto,
            payload_bytes: 0,
            payload_crc: 0,
        }
    }

    #[test]
    fn only_a_later_frame_that_knew_it_durable_proves_rot() {
        assert_eq!(find_end(5, []), End::Torn);
        assert_eq!(find_end(5, [header(6, 4)]), End::Torn, "6 was in flight beside 5");
        assert_eq!(find_end(5, [header(6, 4), header(7, 5)]), End::Rot);
        assert_eq!(find_end(5, [header(4, 9)]), End::Torn, "not later");
    }

    #[test]
    fn a_chain_takes_neither_a_gap_nor_a_stranger() {
        let first = header(1, 0);
        let mut chain = Chain { next_seq: 1, prev_hash: 0 };
        assert!(chain.accept(&first));
        assert!(!chain.accept(&header(3, 0)));
        assert!(!chain.accept(&FrameHeader { prev_hash: 9, ..header(2, 0) }));
        assert!(chain.accept(&FrameHeader { prev_hash: first.hash(), ..header(2, 0) }));
    }
}
