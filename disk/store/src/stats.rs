//! Figures of one core's store. Plain values, counted when asked for.

use crate::{paged::PagedStats, scrub::ScrubStats};

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

/// Figures of one core's checkpoints since start.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointStats {
    /// Checkpoints written.
    pub count: u64,
    /// Attempts that failed, for want of room or because of the device.
    pub failed: u64,
    /// How long the last one took, nanoseconds.
    pub last_ns: u64,
    /// Bytes of runs and manifests written.
    pub bytes_written: u64,
    /// Runs there are.
    pub runs: u64,
    /// Bytes of extents that runs and manifests take.
    pub run_bytes: u64,
    /// Age of the position replay would begin at, nanoseconds.
    pub position_age_ns: u64,
    /// Bytes of log behind it.
    pub log_bytes: u64,
}
