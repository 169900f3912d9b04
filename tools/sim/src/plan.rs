//! What one seed does: chosen once, from the seed, so that every option meets every other.
//!
//! Invariant: follows from the seed alone. Runs on the simulator's thread.

use stria_base::MIB;
use stria_store::{FlushMethod, StoreConfig, SyncPolicy};

use crate::world::{Faults, Rng};

/// Most cores of a simulated node.
pub const CORES_MAX: u16 = 3;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Placement groups.
    pub pg_count: u16,
    /// Different keys.
    pub keys: u16,
    /// Cores at first.
    pub cores: u16,
    /// Whether the number of cores may change at a restart.
    pub changes_cores: bool,
    /// Whether cuts are aimed at the time in which some cores have settled after such a change and others have not.
    /// Every life ends with one.
    pub cuts_unsettled: bool,
    /// When a commit completes.
    pub sync: SyncPolicy,
    /// How a frame reaches stable media.
    pub flush_method: FlushMethod,
    /// Clients on each core.
    pub clients: u16,
    /// Largest inline body, bytes.
    pub inline_bytes_max: u32,
    /// Largest body in extents, bytes.
    pub extent_bytes_max: u32,
    /// Of 100 puts, how many go to extents.
    pub extents_percent: u64,
    /// Binary logarithm of a segment.
    pub segment_log2: u32,
    /// Size each drive can grow to, bytes.
    pub disk_bytes: u64,
    /// Whether the drives may run full.
    pub is_small: bool,
    /// What pauses are multiplied with: between operations a calm node does what only an idle one does.
    pub calm: u64,
    /// What goes wrong on the drives.
    pub faults: Faults,
    /// One in so many requests for a buffer is refused; 0 for none.
    pub refuse_buffers: u64,
    /// Lives of the node.
    pub lives: u32,
    /// Operations of one life.
    pub ops: u64,
    /// Log after which a checkpoint is due, bytes.
    pub checkpoint_log_bytes: u64,
    /// Whether any is written while the node runs.
    pub checkpoints: bool,
    /// Memory of the index of one core, bytes.
    pub index_bytes_max: u64,
    /// Whether checkpoints are also written when none is due.
    pub checkpoints_eagerly: bool,
    /// Whether the log is cleaned.
    pub cleans: bool,
    /// Whether it is cleaned also when that is not worth it.
    pub cleans_eagerly: bool,
    /// Only the log of this volume is then cleaned, so that others keep what is older.
    pub cleans_only: Option<u16>,
}

impl Plan {
    /// From a generator; `ops` in all.
    #[must_use]
    pub fn choose(rng: &mut Rng, ops: u64) -> Self {
        let sync = match rng.below(10) {
            0..=5 => SyncPolicy::Always,
            6..=7 => SyncPolicy::Threshold { bytes: rng.between(4096, 1 << 20) },
            8 => SyncPolicy::Periodic { ms: rng.between(1, 50) },
            _ => SyncPolicy::None,
        };
        let is_small = rng.chance(1, 5);
        let disk_segments = if is_small { rng.between(5, 12) } else { 512 };
        // Small segments roll and are cleaned after few bytes.
        let segment_log2 = *rng.pick(&[17, 17, 17, 17, 17, 18, 18, 21]);
        let segment_bytes = 1 << segment_log2;
        let rolls = rng.chance(1, 2);
        let faulty = rng.chance(1, 4);
        let lives = rng.between(2, 7) as u32;
        let plan = Self {
            pg_count: rng.between(3, 12) as u16,
            keys: *rng.pick(&[6, 20, 60]),
            cores: rng.between(1, u64::from(CORES_MAX) + 1) as u16,
            changes_cores: rng.chance(1, 2),
            cuts_unsettled: false,
            sync,
            flush_method: *rng.pick(&[FlushMethod::Flush, FlushMethod::Durable]),
            clients: rng.between(1, 6) as u16,
            inline_bytes_max: if rolls { segment_bytes as u32 / 5 } else { 6_000 },
            extent_bytes_max: *rng
                .pick(&[20_000, 20_000, 100_000, 300_000, 1_500_000])
                .min(&(3 * segment_bytes as u32)),
            extents_percent: *rng.pick(&[5, 30, 60]),
            segment_log2,
            disk_bytes: 4 * MIB + disk_segments * segment_bytes,
            is_small,
            calm: *rng.pick(&[1, 1, 1, 30, 1_000]),
            faults: if faulty { Self::faults(rng) } else { Faults::default() },
            refuse_buffers: if rng.chance(1, 5) { rng.between(3, 200) } else { 0 },
            lives,
            ops: (ops / u64::from(lives)).max(5),
            checkpoint_log_bytes: rng.between(segment_bytes / 32, 2 * segment_bytes),
            index_bytes_max: *rng.pick(&[0, 300, 3_000, 30_000, 1 << 30]),
            checkpoints: true,
            checkpoints_eagerly: rng.chance(2, 3),
            cleans_eagerly: rng.chance(2, 5),
            cleans_only: rng.chance(1, 2).then(|| rng.below(u64::from(CORES_MAX)) as u16),
            cleans: is_small || rng.chance(3, 4),
        };
        match rng.below(10) {
            0..=1 => plan.without_checkpoints(rng),
            2 => plan.filling_up(rng),
            3 => plan.settling(rng),
            _ => plan,
        }
    }

    /// Only the log says what there is, over many segments and perhaps several numbers of cores: a start depends
    /// on every frame.
    fn without_checkpoints(self, rng: &mut Rng) -> Self {
        let segment_log2 = 17;
        Self {
            keys: 60,
            sync: SyncPolicy::Always,
            inline_bytes_max: (1 << segment_log2) / 5,
            extents_percent: 5,
            extent_bytes_max: 20_000,
            segment_log2,
            disk_bytes: 4 * MIB + (512 << segment_log2),
            is_small: false,
            calm: 1,
            faults: Faults::default(),
            lives: rng.between(2, 4) as u32,
            checkpoints: false,
            cleans: false,
            ..self
        }
    }

    /// The number of cores changes again and again, and hardly ever does the node get through with settling: what
    /// counts lies in runs and logs of different cores. Some keys change in every life, and some do not.
    fn settling(self, rng: &mut Rng) -> Self {
        let lives = rng.between(6, 12) as u32;
        Self {
            cores: CORES_MAX,
            changes_cores: true,
            cuts_unsettled: true,
            keys: *rng.pick(&[20, 60]),
            sync: SyncPolicy::Always,
            inline_bytes_max: 6_000,
            extents_percent: *rng.pick(&[5, 60]),
            extent_bytes_max: 20_000,
            disk_bytes: 4 * MIB + (512 << self.segment_log2),
            is_small: false,
            faults: Faults::default(),
            lives,
            ops: self.ops * u64::from(self.lives) / u64::from(lives),
            index_bytes_max: *rng.pick(&[0, 0, 300, 1 << 30]),
            checkpoints_eagerly: true,
            cleans: true,
            ..self
        }
    }

    /// Bodies fill drives of a few segments, and life after life takes from what is kept for the log.
    fn filling_up(self, rng: &mut Rng) -> Self {
        let (segment_log2, lives) = (17, rng.between(6, 12) as u32);
        Self {
            cores: 1,
            changes_cores: false,
            keys: 60,
            sync: SyncPolicy::Always,
            inline_bytes_max: 2_000,
            extents_percent: 80,
            extent_bytes_max: 100_000,
            segment_log2,
            disk_bytes: 4 * MIB + (rng.between(5, 8) << segment_log2),
            is_small: true,
            lives,
            ops: self.ops * u64::from(self.lives) / u64::from(lives),
            cleans: rng.chance(1, 3),
            ..self
        }
    }

    fn faults(rng: &mut Rng) -> Faults {
        let mut one = |n| if rng.chance(1, 2) { rng.between(20, n) } else { 0 };
        Faults {
            write_error_one_in: one(2_000),
            flush_error_one_in: one(1_000),
            read_error_one_in: one(300),
            slow_one_in: one(100),
        }
    }

    /// The store's configuration on `cores` cores.
    #[must_use]
    pub fn config(&self, cores: u16) -> StoreConfig {
        StoreConfig {
            cores,
            pg_count: self.pg_count,
            sync: self.sync,
            flush_method: self.flush_method,
            checkpoint_log_bytes: self.checkpoint_log_bytes,
            index_bytes_max: self.index_bytes_max,
        }
    }
}
