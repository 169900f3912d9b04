//! The option table. Adding a row here adds the flag, the environment variable, the file key, its line
//! of `--help` and of docs/config.md.

/// A real day.
pub const DAY_SECONDS: u32 = 86_400;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A path.
    Path,
    /// Several paths: the flag repeats, the environment separates by commas, the file has a list.
    Paths,
    /// `host:port`.
    Address,
    /// A whole number within bounds.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Bytes: a number with an optional unit K, M, G or T (binary).
    Size {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A time: a number with a unit s, m, h or d.
    Duration {
        /// Shortest, seconds.
        min_s: u64,
        /// Longest, seconds.
        max_s: u64,
    },
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// Several texts, as `Paths`.
    Texts,
    /// Text that is never printed or logged.
    Secret,
}

/// How far a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Fixed when the store is made.
    Store,
    /// Of this node; read at start.
    Node,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// Flag name; the file key is the same, the environment name is `STRIA_` and it in upper case with `_`.
    pub name: &'static str,
    /// Placeholder in `--help`.
    pub value: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// Its default, as one would write it; empty when absence means something of its own.
    pub default: &'static str,
    /// How far a change reaches.
    pub scope: Scope,
    /// One sentence.
    pub help: &'static str,
}

const fn row(
    name: &'static str,
    value: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> OptionRow {
    OptionRow { name, value, kind, default, scope: Scope::Node, help }
}

const MIB: u64 = stria_base::MIB;
const DAY_S: u64 = 86_400;

/// Every option, in the order of `--help`.
pub const OPTIONS: &[OptionRow] = &[
    row("data", "DIR", Kind::Path, "stria-data", "Data directory; made when it does not exist"),
    OptionRow {
        scope: Scope::Store,
        ..row(
            "device",
            "PATH",
            Kind::Paths,
            "",
            "Raw block device to keep objects on instead of files in the data directory; repeat for several",
        )
    },
    row("listen", "ADDR", Kind::Address, "127.0.0.1:9000", "Where S3 is served"),
    row("admin-listen", "ADDR", Kind::Address, "127.0.0.1:8080", "Where /health and /metrics are served"),
    row(
        "cores",
        "N",
        Kind::Count { min: 0, max: 1024 },
        "0",
        "Data cores, one pinned thread each; 0 means every CPU this process may use",
    ),
    row("pin", "BOOL", Kind::Bool, "true", "Pin each core's thread to a CPU"),
    row(
        "memory",
        "SIZE",
        Kind::Size { min: 256 * MIB, max: 1 << 50 },
        "",
        "Memory budget of the process; default a quarter of RAM, at least 256M",
    ),
    row(
        "index-memory",
        "SIZE",
        Kind::Size { min: MIB, max: 1 << 50 },
        "",
        "Memory for the index, at most and by default half of memory; rows beyond it are read from disk",
    ),
    row(
        "sync",
        "WHEN",
        Kind::Choice(&["always", "threshold", "periodic", "none"]),
        "",
        "When an acknowledged write is on stable media: before the answer (always, the default), after sync-bytes, after sync-ms, or when the device likes",
    ),
    row(
        "preset",
        "NAME",
        Kind::Choice(&["durable", "balanced", "performance"]),
        "durable",
        "Sets sync when it is not given: durable = always, balanced = periodic, performance = none",
    ),
    row(
        "sync-bytes",
        "SIZE",
        Kind::Size { min: 4096, max: 1 << 40 },
        "8M",
        "With sync=threshold: log bytes per core that may be unflushed",
    ),
    row(
        "sync-ms",
        "MS",
        Kind::Count { min: 1, max: 60_000 },
        "100",
        "With sync=periodic: milliseconds a write may be unflushed",
    ),
    row(
        "io-backend",
        "NAME",
        Kind::Choice(&["auto", "uring", "epoll"]),
        "auto",
        "io_uring, or epoll with pread/pwrite threads; auto falls back to epoll and says why",
    ),
    row(
        "flush-method",
        "NAME",
        Kind::Choice(&["auto", "fdatasync", "dsync"]),
        "auto",
        "How a log frame reaches stable media; auto measures both at start",
    ),
    row(
        "spin-us",
        "US",
        Kind::Count { min: 0, max: 1_000 },
        "20",
        "Microseconds a core looks for work before it sleeps",
    ),
    row(
        "connections-max",
        "N",
        Kind::Count { min: 16, max: 1_000_000 },
        "20000",
        "Connections held at once; further ones are closed at accept",
    ),
    row(
        "scrub-period",
        "TIME",
        Kind::Duration { min_s: 1, max_s: 365 * DAY_S },
        "14d",
        "Every stored byte is read back and verified within this time",
    ),
    row(
        "scrub-light-period",
        "TIME",
        Kind::Duration { min_s: 1, max_s: 365 * DAY_S },
        "1d",
        "How often copies of superblock, map and manifest, the index on disk, and space against rows are verified",
    ),
    row(
        "scrub-share",
        "PERCENT",
        Kind::Count { min: 1, max: 100 },
        "10",
        "Of the time of a drive, what scrubbing takes at most",
    ),
    row(
        "scrub-readback",
        "N",
        Kind::Count { min: 0, max: 1_000_000_000 },
        "1000",
        "One in N acknowledged writes is read back from the drive soon after; 0 reads none back",
    ),
    row("region", "NAME", Kind::Text, "us-east-1", "Region clients sign for and GetBucketLocation answers"),
    row(
        "bucket-defaults",
        "NAME",
        Kind::Choice(&["current", "classic"]),
        "current",
        "What a new bucket is: current = no access control lists, public access blocked, as S3 makes them since April 2023; classic = objects belong to their writers, nothing is blocked, for software from before",
    ),
    row(
        "owner-display-name",
        "BOOL",
        Kind::Bool,
        "true",
        "Name owners beside their ids; S3 itself stopped doing so in November 2025, older clients ask for it",
    ),
    row(
        "ssec-over-http",
        "BOOL",
        Kind::Bool,
        "false",
        "Take keys of SSE-C over plain HTTP, as software in closed networks wants it; S3 refuses them. Without effect until there is SSE-C: its headers answer 501",
    ),
    row(
        "lifecycle-day-seconds",
        "N",
        Kind::Count { min: 1, max: DAY_SECONDS as u64 },
        "86400",
        "Length of a day of lifecycle rules, for trials; headers keep real days. Without effect until lifecycle rules are run",
    ),
    row(
        "domain",
        "NAME",
        Kind::Texts,
        "",
        "Base domain of virtual-host style requests (bucket.NAME); repeat for several",
    ),
    row(
        "website-domain",
        "NAME",
        Kind::Texts,
        "",
        "Base domain of websites: bucket.NAME is the site of the bucket's website configuration; repeat for several",
    ),
    OptionRow {
        scope: Scope::Store,
        ..row(
            "pg-count",
            "N",
            Kind::Count { min: 8, max: 4096 },
            "256",
            "Placement groups of a new store, a power of two; fixed afterwards",
        )
    },
    row(
        "bucket-pgs",
        "N",
        Kind::Count { min: 0, max: 64 },
        "0",
        "Placement groups a new bucket spreads over, a power of two; 0 chooses from the cores",
    ),
    row("root-access-key", "KEY", Kind::Text, "", "Root access key; default the one in the data directory"),
    row(
        "root-secret-key",
        "SECRET",
        Kind::Secret,
        "",
        "Root secret key; prefer the environment, flags show in the process list",
    ),
    row(
        "log-level",
        "LEVEL",
        Kind::Choice(&["error", "warn", "info", "debug"]),
        "info",
        "Least severity that is logged",
    ),
];

/// The environment name of an option.
#[must_use]
pub fn env_name(option: &OptionRow) -> String {
    format!("STRIA_{}", option.name.to_uppercase().replace('-', "_"))
}
