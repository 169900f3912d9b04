//! One core's storage: volumes, the log with group commit, the resident index, the allocator, replay.
//!
//! Invariant: a row is visible only when the record that made it is durable at the promised level, and
//! an extent is reused only when no durable row names it and nobody reads it. One `Store` per core; it
//! never leaves its core. Deliberately absent: buckets, objects, S3: row keys and metadata are opaque
//! bytes. Docs: docs/format/volume.md, docs/format/wal.md, docs/format/rows.md.

mod alloc;
mod block_cache;
mod blocks;
mod body;
mod check;
mod checkpoint;
mod clean;
mod cursor;
mod error;
mod index;
mod inspect;
mod leaf;
mod log;
mod log_reader;
mod log_writer;
mod manifest;
mod map;
mod open;
mod packed;
mod paged;
mod pg;
mod pins;
mod rebuild;
mod recover;
mod replay;
mod row;
mod run;
mod run_writer;
mod scrub;
mod scrub_deep;
mod scrub_fresh;
mod scrub_header;
mod scrub_space;
mod stats;
mod store;
mod superblock;
mod view;
mod volume;
mod volumes;
mod window;

#[cfg(test)]
mod tests;

pub use body::{BodyWriter, read_extents, read_inline};
pub use check::WholePg;
pub use checkpoint::Progress;
pub use clean::LogSegment;
pub use error::StoreError;
pub use index::{MemoryIndex, MetaIndex};
pub use inspect::{Copy, CopyState, LogEntry, RecordEntry, VolumeHead, each_frame, read_head, repair_header};
pub use log::{Commit, CommitInfo, FlushMethod, SyncPolicy, Ticket};
pub use manifest::{Entry, Manifest, ManifestRef};
pub use map::{DeviceMap, Geometry, Segment};
pub use open::{ExtentsInUse, format_volume, format_volume_sized, probe_volume};
pub use packed::RowView;
pub use paged::{PagedStats, Resolved};
pub use rebuild::{RebuildReport, rebuild};
pub use recover::Budget;
pub use replay::{PgRows, ReplayReport, Replayed, VolumeReplay, replay, replay_whole_log, replay_within};
pub use row::{BodyRef, Change, Extent, ExtentBody, Grant, Home, InlineRef, NewBody, Row};
pub use run::Run;
pub use scrub::{Damage, DamageKind, ScrubConfig, ScrubMark, ScrubStats, ScrubStep};
pub use scrub_space::{NamedSpace, SpaceWindow};
pub use stats::{CheckpointStats, StoreStats};
pub use store::{PgState, Store, StoreConfig};
pub use superblock::{Position, VolumeIdentity, VolumeInfo, Writers};
pub use volumes::Volumes;

/// What fuzzing calls: every decoder of checkpoints over the same bytes, as if their checksums were right.
///
/// # Panics
/// When a manifest that decodes is another after encoding.
pub fn fuzz_decode(bytes: &[u8]) {
    view::fuzz_decode(bytes);
    let volume = stria_base::VolumeId(0);
    if let Some(manifest) = manifest::Manifest::decode(bytes, volume) {
        let again = manifest::Manifest::decode(&manifest.encode(volume), volume);
        assert!(again.as_ref() == Some(&manifest), "a manifest is not what it was");
    }
}
