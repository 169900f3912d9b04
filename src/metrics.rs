//! Counters of one core and their text form for Prometheus.
//!
//! Invariant: counters are plain cells, written by their core only; the control thread gets copies by
//! message. Deliberately absent: anything per key or per client.

use std::{cell::Cell, collections::BTreeMap, fmt::Write};

use stria_engine::events::EventKind;
use stria_runtime::CoreStats;
use stria_s3::Op;
use stria_store::{DamageKind, StoreStats};

/// Counters of a core's S3 traffic.
#[derive(Default)]
pub struct Counters {
    by_operation: std::cell::RefCell<BTreeMap<Op, OperationCount>>,
    /// Requests that were no operation.
    pub unrouted: Cell<u64>,
    /// Connections accepted.
    pub accepted: Cell<u64>,
    /// Connections refused at the limit.
    pub refused: Cell<u64>,
}

/// What became of one operation's requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct OperationCount {
    /// Answered 1xx to 3xx.
    pub ok: u64,
    /// Answered 4xx.
    pub client_errors: u64,
    /// Answered 503 SlowDown and kin.
    pub slowed: u64,
    /// Answered another 5xx.
    pub server_errors: u64,
    /// Sum of the times from head to answer, nanoseconds.
    pub ns: u64,
}

impl Counters {
    /// Counts one answer.
    pub fn answered(&self, operation: Option<Op>, status: u16, ns: u64) {
        let Some(operation) = operation else {
            self.unrouted.set(self.unrouted.get() + 1);
            return;
        };
        let mut all = self.by_operation.borrow_mut();
        let count = all.entry(operation).or_default();
        count.ns += ns;
        match status {
            0..400 => count.ok += 1,
            503 | 507 => count.slowed += 1,
            400..500 => count.client_errors += 1,
            _ => count.server_errors += 1,
        }
    }
}

/// A copy of everything one core counts.
#[derive(Clone, Debug, Default)]
pub struct CoreReport {
    /// Which core.
    pub core: u16,
    /// By operation.
    pub operations: Vec<(&'static str, OperationCount)>,
    /// Requests that were no operation.
    pub unrouted: u64,
    /// Connections open.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused at the limit.
    pub refused: u64,
    /// Bytes, hits and misses of the body cache.
    pub cache: (usize, u64, u64),
    /// Storage events, in the order of [`EventKind::ALL`].
    pub events: [u64; EventKind::ALL.len()],
    /// The reactor.
    pub runtime: CoreStats,
    /// The store.
    pub store: StoreStats,
    /// Placement groups of the store.
    pub pg_count: u16,
    /// Whether I/O goes through io_uring.
    pub uring: bool,
}

impl crate::state::CoreState {
    /// Copies this core's counters.
    #[must_use]
    pub fn report(&self) -> CoreReport {
        let runtime = self.env.runtime();
        let counters = &self.counters;
        CoreReport {
            core: runtime.id().0,
            operations: counters
                .by_operation
                .borrow()
                .iter()
                .map(|(op, count)| (op.name(), *count))
                .collect(),
            unrouted: counters.unrouted.get(),
            connections: u64::from(self.connections.get()),
            accepted: counters.accepted.get(),
            refused: counters.refused.get(),
            cache: self.peers.engine().cache().borrow().stats(),
            events: self.events.counts(),
            runtime: runtime.stats(),
            store: self.peers.engine().store().stats(),
            pg_count: self.shared.pg_count,
            uring: !matches!(runtime.backend(), stria_runtime::ActiveBackend::Epoll),
        }
    }
}

/// One metric: name, help, kind, and its value per core.
type Metric = (&'static str, &'static str, &'static str, fn(&CoreReport) -> f64);

const METRICS: &[Metric] = &[
    ("stria_connections", "Connections open.", "gauge", |r| r.connections as f64),
    ("stria_connections_accepted_total", "Connections accepted.", "counter", |r| r.accepted as f64),
    ("stria_connections_refused_total", "Connections closed at the limit.", "counter", |r| r.refused as f64),
    ("stria_requests_unrouted_total", "Requests that were no operation.", "counter", |r| r.unrouted as f64),
    ("stria_cache_bytes", "Bytes of cached bodies.", "gauge", |r| r.cache.0 as f64),
    ("stria_cache_hits_total", "Bodies found in the cache.", "counter", |r| r.cache.1 as f64),
    ("stria_cache_misses_total", "Bodies not found in the cache.", "counter", |r| r.cache.2 as f64),
    ("stria_io_uring", "1 when I/O goes through io_uring, 0 for epoll.", "gauge", |r| {
        f64::from(u8::from(r.uring))
    }),
    ("stria_loop_turns_total", "Turns of the core's loop.", "counter", |r| r.runtime.turns as f64),
    ("stria_enters_total", "System calls that submit and wait.", "counter", |r| r.runtime.enters as f64),
    ("stria_completions_total", "Completions reaped.", "counter", |r| r.runtime.completions as f64),
    ("stria_cq_overflows_total", "Completion queue overflows.", "counter", |r| r.runtime.cq_overflows as f64),
    ("stria_stalls_total", "Task polls above 100 us.", "counter", |r| r.runtime.stalls as f64),
    ("stria_receive_starved_total", "Receives that waited for a buffer.", "counter", |r| {
        r.runtime.recv_starved as f64
    }),
    ("stria_buffers_used_bytes", "I/O buffers handed out.", "gauge", |r| r.runtime.slab_used_bytes as f64),
    ("stria_buffers_refused_total", "Buffers the budget refused.", "counter", |r| {
        r.runtime.slab_refused as f64
    }),
    ("stria_rows", "Rows of the index.", "gauge", |r| r.store.rows as f64),
    ("stria_index_bytes", "Memory of the index.", "gauge", |r| r.store.index_bytes as f64),
    ("stria_rows_in_memory", "Rows of the index in memory.", "gauge", |r| {
        r.store.paged.rows_in_memory as f64
    }),
    ("stria_pgs_paged", "Placement groups whose rows are left to their runs.", "gauge", |r| {
        r.store.paged.pgs as f64
    }),
    ("stria_index_cache_bytes", "Blocks of runs in memory.", "gauge", |r| r.store.paged.cache_bytes as f64),
    ("stria_index_block_reads_total", "Blocks of runs read.", "counter", |r| {
        r.store.paged.block_reads as f64
    }),
    ("stria_index_block_hits_total", "Blocks of runs found in memory.", "counter", |r| {
        r.store.paged.cache_hits as f64
    }),
    ("stria_index_filter_denials_total", "Runs passed over by their filter.", "counter", |r| {
        r.store.paged.filter_denials as f64
    }),
    ("stria_index_filter_misses_total", "Blocks looked at in vain.", "counter", |r| {
        r.store.paged.filter_misses as f64
    }),
    ("stria_log_frames_total", "Log frames written.", "counter", |r| r.store.frames as f64),
    ("stria_log_bytes_total", "Log bytes written.", "counter", |r| r.store.log_bytes_written as f64),
    ("stria_log_segments", "Log segments in use.", "gauge", |r| r.store.log_segments as f64),
    ("stria_log_live_bytes", "Log bytes that make visible rows.", "gauge", |r| r.store.live_log_bytes as f64),
    ("stria_log_moves_total", "Times the log left a segment because a write failed.", "counter", |r| {
        r.store.log_moves as f64
    }),
    ("stria_write_errors_total", "Writes to volumes that failed.", "counter", |r| {
        r.store.write_errors as f64
    }),
    ("stria_withheld_bytes", "Space not used before a restart because a write in it failed.", "gauge", |r| {
        r.store.withheld_bytes as f64
    }),
    ("stria_log_segments_cleaned_total", "Log segments cleaned.", "counter", |r| {
        r.store.cleaned_segments as f64
    }),
    ("stria_log_relocated_bytes_total", "Log bytes rewritten by cleaning.", "counter", |r| {
        r.store.relocated_bytes as f64
    }),
    ("stria_volume_bytes", "Bytes of all segments.", "gauge", |r| r.store.volume_bytes as f64),
    ("stria_volume_free_bytes", "Bytes of segments not in use.", "gauge", |r| r.store.free_bytes as f64),
    ("stria_pgs_needing_repair", "Placement groups that are read-only.", "gauge", |r| {
        r.store.needs_repair as f64
    }),
    ("stria_checkpoints_total", "Checkpoints written.", "counter", |r| r.store.checkpoints.count as f64),
    ("stria_checkpoints_failed_total", "Checkpoints given up, for want of room mostly.", "counter", |r| {
        r.store.checkpoints.failed as f64
    }),
    ("stria_checkpoint_seconds", "Duration of the last checkpoint.", "gauge", |r| {
        r.store.checkpoints.last_ns as f64 / 1e9
    }),
    ("stria_checkpoint_bytes_total", "Bytes of runs and manifests written.", "counter", |r| {
        r.store.checkpoints.bytes_written as f64
    }),
    ("stria_runs", "Runs of the index.", "gauge", |r| r.store.checkpoints.runs as f64),
    ("stria_run_bytes", "Bytes of runs and manifests in use.", "gauge", |r| {
        r.store.checkpoints.run_bytes as f64
    }),
    ("stria_replay_bytes", "Bytes of log a restart would replay.", "gauge", |r| {
        r.store.checkpoints.log_bytes as f64
    }),
    ("stria_replay_age_seconds", "Age of the place in the log where replay would begin.", "gauge", |r| {
        r.store.checkpoints.position_age_ns as f64 / 1e9
    }),
    (
        "stria_volume_missing",
        "1 when the volume of the core's rows was missing at the start.",
        "gauge",
        |r| f64::from(u8::from(r.store.absent)),
    ),
    ("stria_scrub_bytes_total", "Bytes read back and verified by scrubbing.", "counter", |r| {
        r.store.scrub.bytes as f64
    }),
    ("stria_scrub_read_back_total", "Acknowledged writes read back from the drive.", "counter", |r| {
        r.store.scrub.read_back as f64
    }),
    ("stria_scrub_deep_passes_total", "Deep passes ended.", "counter", |r| r.store.scrub.deep_passes as f64),
    ("stria_scrub_light_passes_total", "Light passes ended.", "counter", |r| {
        r.store.scrub.light_passes as f64
    }),
    ("stria_scrub_deep_done_seconds", "When the last deep pass ended, since 1970; 0 never.", "gauge", |r| {
        r.store.scrub.mark.deep_done_ms as f64 / 1e3
    }),
    (
        "stria_scrub_light_done_seconds",
        "When the last light pass ended, since 1970; 0 never.",
        "gauge",
        |r| r.store.scrub.mark.light_done_ms as f64 / 1e3,
    ),
    ("stria_scrub_position", "How far the deep pass is: 0 log, 1 runs, 2 to 3 bodies.", "gauge", |r| {
        r.store.scrub.position(r.pg_count)
    }),
    (
        "stria_damage",
        "Things that do not verify and could not be repaired, as far as is known.",
        "gauge",
        |r| r.store.scrub.open as f64,
    ),
    ("stria_log_failed", "1 when the core's log failed.", "gauge", |r| f64::from(u8::from(r.store.failed))),
];

/// Counted by kind: name, help and the counts per core.
type ByKind = (&'static str, &'static str, fn(&CoreReport) -> [u64; DamageKind::ALL.len()]);

const DAMAGE: [ByKind; 2] = [
    ("stria_damage_found_total", "Damage found by scrubbing.", |r| r.store.scrub.found),
    ("stria_damage_repaired_total", "Damage repaired by scrubbing.", |r| r.store.scrub.repaired),
];

/// The text form of all cores' reports.
#[must_use]
pub fn prometheus(reports: &[CoreReport]) -> String {
    let mut out = String::new();
    for (name, help, kind, value) in METRICS {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for report in reports {
            let _ = writeln!(out, "{name}{{core=\"{}\"}} {}", report.core, value(report));
        }
    }
    let name = "stria_requests_total";
    let _ = writeln!(out, "# HELP {name} Requests by operation and outcome.\n# TYPE {name} counter");
    for report in reports {
        for (operation, count) in &report.operations {
            let outcomes = [
                ("ok", count.ok),
                ("client_error", count.client_errors),
                ("slow_down", count.slowed),
                ("server_error", count.server_errors),
            ];
            for (outcome, n) in outcomes {
                let _ = writeln!(
                    out,
                    "{name}{{core=\"{}\",operation=\"{operation}\",outcome=\"{outcome}\"}} {n}",
                    report.core
                );
            }
        }
    }
    for (name, help, counts) in DAMAGE {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for report in reports {
            for (kind, count) in DamageKind::ALL.into_iter().zip(counts(report)) {
                let _ = writeln!(out, "{name}{{core=\"{}\",kind=\"{}\"}} {count}", report.core, kind.name());
            }
        }
    }
    let name = "stria_events_total";
    let _ = writeln!(out, "# HELP {name} Committed changes by kind.\n# TYPE {name} counter");
    for report in reports {
        for (kind, count) in EventKind::ALL.into_iter().zip(report.events) {
            let _ = writeln!(out, "{name}{{core=\"{}\",kind=\"{}\"}} {count}", report.core, kind.name());
        }
    }
    let name = "stria_request_seconds_total";
    let _ = writeln!(out, "# HELP {name} Time from head to answer, summed.\n# TYPE {name} counter");
    for report in reports {
        for (operation, count) in &report.operations {
            let _ = writeln!(
                out,
                "{name}{{core=\"{}\",operation=\"{operation}\"}} {}",
                report.core,
                count.ns as f64 / 1e9
            );
        }
    }
    out
}
