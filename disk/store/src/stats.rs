//! Figures of one core's store. Plain values, counted when asked for.

use crate::{checkpoint::CheckpointStats, paged::PagedStats, scrub::ScrubStats};

/// Figures of one core's store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStats {
    /// Rows visible.
    pub rows: u64,
    /// Memory of the index, bytes.
    pub index_bytes: u64,
    /// Frames written since start.
    pub frames: u64,
    /// Bytes of log written since start.
    pub log_bytes_written: u64,
    /// Log segments in use, on all volumes of this core.
    pub log_segments: u64,
    /// Bytes of changes in the log that make visible rows.
    pub live_log_bytes: u64,
    /// Log segments cleaned since start.
    pub cleaned_segments: u64,
    /// Bytes rewritten by cleaning since start.
    pub relocated_bytes: u64,
    /// Bytes of all segments.
    pub volume_bytes: u64,
    /// Bytes free in them.
    pub free_bytes: u64,
    /// Bytes the volumes can still grow by.
    pub growable_bytes: u64,
    /// PGs that are read-only.
    pub needs_repair: u64,
    /// Times the log left a segment because a write failed.
    pub log_moves: u64,
    /// Writes of this core that failed.
    pub write_errors: u64,
    /// Bytes this core withholds because a write in them failed, until a restart.
    pub withheld_bytes: u64,
    /// Whether the volume of its rows was missing at the start.
    pub absent: bool,
    /// Whether the log failed.
    pub failed: bool,
    /// Its checkpoints.
    pub checkpoints: CheckpointStats,
    /// Its scrubbing.
    pub scrub: ScrubStats,
    /// What is left to runs.
    pub paged: PagedStats,
}
