//! Where each structure of the history's volume lies.
//!
//! Invariant: found by asking the store and by the format, so a place holds what its name says. Pure but for
//! reading.

use std::ops::Range;

use stria_store::BodyRef;

use super::history::{NEW_EXTENTS, NEW_INLINE, OLD_EXTENTS, OLD_INLINE};
use crate::{
    clients::row_key,
    model::Key,
    node::Node,
    world::{PAGE_BYTES, SimDisk},
};

/// A structure on the volume.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name in the table.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Range<u64>,
}

impl Place {
    fn new(name: &'static str, bytes: Range<u64>) -> Self {
        assert!(!bytes.is_empty(), "{name} has no bytes");
        Self { name, bytes }
    }

    /// The pages it lies in.
    #[must_use]
    pub fn pages(&self) -> Range<usize> {
        let page = PAGE_BYTES as u64;
        (self.bytes.start / page) as usize..self.bytes.end.div_ceil(page) as usize
    }
}

fn inline_of(node: &Node, key: Key) -> Range<u64> {
    node.store_of(key.0).row(key.0, &row_key(key.1), |row| match row.map(|row| row.body()) {
        Some(BodyRef::Inline(inline)) => inline.offset..inline.offset + u64::from(inline.bytes),
        other => panic!("{key:?} is {other:?}"),
    })
}

fn extents_of(node: &Node, key: Key) -> Range<u64> {
    node.store_of(key.0).row(key.0, &row_key(key.1), |row| match row.map(|row| row.body()) {
        Some(BodyRef::Extents(body)) => {
            let first = body.extents.first().expect("a body has a piece");
            first.offset..first.offset + body.bytes.min(u64::from(first.bytes))
        }
        other => panic!("{key:?} is {other:?}"),
    })
}

/// The frame that holds `inside`.
fn frame_start(disk: &SimDisk, inside: u64) -> u64 {
    let page = PAGE_BYTES as u64;
    let mut at = inside / page * page;
    while disk.peek(at, 4) != b"SWF1" {
        at -= page;
    }
    at
}

/// All of them, after [`super::history::History::go_on`].
#[must_use]
pub fn all(node: &Node, disk: &SimDisk) -> Vec<Place> {
    const SLOTS: [u64; 2] = [1 << 20, 2 << 20];
    const MAP_BYTES: u64 = 64 + 4 * 16;
    let (manifest, runs) = node.stores[0].checkpoint_extents();
    let (_, run) = runs[0];
    let (run_start, run_end) = (run.offset, run.offset + u64::from(run.bytes));
    let body = inline_of(node, NEW_INLINE);
    let frame = frame_start(disk, body.start);
    let copy = |nth: usize| {
        let copy = manifest[nth];
        copy.offset..copy.offset + u64::from(copy.bytes)
    };
    vec![
        Place::new("superblock copy 0", 0..4096),
        Place::new("superblock copy 1", 4096..8192),
        Place::new("superblock copy 2", (4 << 20) - 8192..(4 << 20) - 4096),
        Place::new("superblock copy 3", (4 << 20) - 4096..4 << 20),
        Place::new("device map slot 0", SLOTS[0]..SLOTS[0] + MAP_BYTES),
        Place::new("device map slot 1", SLOTS[1]..SLOTS[1] + MAP_BYTES),
        Place::new("manifest copy 0", copy(0)),
        Place::new("manifest copy 1", copy(1)),
        Place::new("run, first block", run_start..run_start + 4096),
        Place::new("run, index", run_end - 4096..run_end),
        Place::new("frame header", frame..frame + 64),
        Place::new("frame payload", frame + 64..body.start),
        Place::new("inline body, behind the checkpoint", body),
        Place::new("inline body, below it", inline_of(node, OLD_INLINE)),
        Place::new("extents body, behind the checkpoint", extents_of(node, NEW_EXTENTS)),
        Place::new("extents body, below it", extents_of(node, OLD_EXTENTS)),
    ]
}
