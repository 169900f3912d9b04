//! The options of `stria`: one table, from which the file keys, the environment names, the flags,
//! `--help` and docs/config.md come.
//!
//! Invariant: an option exists once, in `table::OPTIONS`; [`Config`] is what its values mean. Read once
//! at start, before any core runs.

mod identity;
mod markdown;
mod resolve;
pub mod table;
mod values;

use std::{net::SocketAddr, path::PathBuf};

pub use identity::{IdentityConfig, canonical_id_of};
pub use markdown::markdown;
pub use resolve::{ConfigError, flags_command, resolve};
pub use values::{parse_duration, parse_size, print_duration, print_size};

/// When an acknowledged write is on stable media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before the answer.
    Always,
    /// At the latest after so many bytes of log.
    Threshold {
        /// Bytes of log that may be unflushed.
        bytes: u64,
    },
    /// At the latest after so long.
    Periodic {
        /// Milliseconds.
        ms: u64,
    },
    /// When the device likes.
    None,
}

impl std::fmt::Display for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always => f.write_str("always: 200 means on stable media"),
            Self::Threshold { bytes } => {
                write!(
                    f,
                    "threshold: a power cut may lose the last {} of writes per core",
                    print_size(*bytes)
                )
            }
            Self::Periodic { ms } => write!(f, "periodic: a power cut may lose the last {ms} ms of writes"),
            Self::None => f.write_str("none: a power cut may lose what the device had not written"),
        }
    }
}

/// Which back end carries I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoBackend {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll with pread/pwrite threads.
    Epoll,
}

/// How a log frame reaches stable media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// Whichever a probe at start finds faster.
    Auto,
    /// Write, then fdatasync.
    Fdatasync,
    /// One write with RWF_DSYNC (FUA where the device has it).
    Dsync,
}

/// Least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A human must look.
    Error,
    /// Something is off, and we go on.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
}

/// What the options mean, bounds checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Raw block devices; empty means files in the data directory.
    pub devices: Vec<PathBuf>,
    /// Where S3 is served.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub admin_listen: SocketAddr,
    /// Data cores.
    pub cores: u16,
    /// Whether cores are pinned to CPUs.
    pub pin: bool,
    /// Memory budget, bytes.
    pub memory_bytes: u64,
    /// Part of it for the index, bytes.
    pub index_bytes: u64,
    /// Sync strategy.
    pub sync: Sync,
    /// Back end.
    pub io_backend: IoBackend,
    /// Flush method.
    pub flush_method: FlushMethod,
    /// Spin before sleeping, microseconds.
    pub spin_us: u32,
    /// PGs of a new store.
    pub pg_count: u16,
    /// PGs of a new bucket; `None` chooses from the cores.
    pub bucket_pgs: Option<u16>,
    /// Connections held, over all cores.
    pub connections_max: u32,
    /// Region of signatures.
    pub region: String,
    /// Whether new buckets have no access control lists and block public access.
    pub buckets_closed: bool,
    /// Whether owners are named.
    pub owner_display_name: bool,
    /// Whether keys of SSE-C are taken over plain HTTP. Nothing reads it before there is SSE-C.
    pub ssec_over_http: bool,
    /// Length of a day of lifecycle rules, seconds. Nothing reads it before they are run.
    pub lifecycle_day_s: u32,
    /// Base domains of virtual-host style requests.
    pub domains: Vec<String>,
    /// Base domains of websites; none is also in `domains`.
    pub website_domains: Vec<String>,
    /// Root credentials, when given; else the data directory's.
    pub root_access_key: Option<String>,
    /// The secret of `root_access_key`.
    pub root_secret_key: Option<Secret>,
    /// Accounts beside root, from the file.
    pub identities: Vec<IdentityConfig>,
    /// Every byte is read back within this time, seconds.
    pub scrub_period_s: u64,
    /// Between two light passes, seconds.
    pub scrub_light_period_s: u64,
    /// Of the time of a drive, percent.
    pub scrub_share: u32,
    /// One in so many writes is read back; 0 none.
    pub scrub_readback: u64,
    /// Least severity that is logged.
    pub log_level: LogLevel,
}

/// A value that never reaches a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests;
