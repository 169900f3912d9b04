//! One core's storage: volumes, the log with group commit, the resident index, the allocator, replay.
//!
//! Invariant: a row is visible only when the record that made it is durable at the promised level, and
//! an extent is reused only when no durable row names it and nobody reads it. One `Store` per core; it
//! never leaves its core. Deliberately absent: buckets, objects, S3: row keys and metadata are opaque
//! bytes. Docs: docs/format/volume.md, docs/format/wal.md, docs/format/rows.md.

mod alloc;
mod block_cache;
mod body;
mod check;
mod checkpoint;
mod clean;
mod cursor;
mod error;
mod index;
mod leaf;
mod log;
mod log_writer;
mod manifest;
mod map;
mod open;
mod packed;
mod paged;
mod pg;
mod pins;
mod recover;
mod replay;
mod row;
mod run;
mod run_writer;
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
pub use checkpoint::{CheckpointStats, Progress};
pub use clean::LogSegment;
pub use error::StoreError;
pub use index::{MemoryIndex, MetaIndex};
pub use log::{Commit, CommitInfo, FlushMethod, SyncPolicy, Ticket};
pub use map::Geometry;
pub use open::{ExtentsInUse, format_volume, format_volume_sized, probe_volume};
pub use packed::RowView;
pub use paged::{PagedStats, Resolved};
pub use recover::Budget;
pub use replay::{PgRows, ReplayReport, Replayed, VolumeReplay, replay, replay_within};
pub use row::{BodyRef, Change, Extent, ExtentBody, Grant, Home, InlineRef, NewBody, Row};
pub use store::{PgState, Store, StoreConfig, StoreStats};
pub use superblock::{VolumeIdentity, VolumeInfo, Writers};
pub use volumes::Volumes;
