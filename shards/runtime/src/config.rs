//! What a core is given at start: identity, back end, memory, depth.
//!
//! Invariant: plain values, checked once by `run` before anything is allocated. Read by the thread that
//! becomes the core; owned by the start-up code.

use stria_base::CoreId;

/// Which I/O back end to use (`--io-backend`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Backend {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    /// io_uring or an error that names what is missing.
    Uring,
    /// epoll for sockets and a small pool of pread/pwrite threads for files.
    Epoll,
}

/// What a running core uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActiveBackend {
    /// One ring for sockets, files, wakes.
    Uring {
        /// Completions run only when the core asks for them: the cheapest mode. Kernels before 6.1 lack it.
        defer_taskrun: bool,
        /// Completions do not interrupt the core. Kernels before 5.19 lack it.
        coop_taskrun: bool,
    },
    /// The portable fallback.
    Epoll,
}

/// The I/O memory of one core.
#[derive(Clone, Copy, Debug)]
pub struct SlabConfig {
    /// Upper bound in bytes; rounded down to whole chunks of 4 MiB, at least one. Address space only
    /// until used.
    pub budget_bytes: usize,
    /// How much of it is registered with the ring at start, in bytes, rounded up to chunks: such buffers
    /// save CPU on large transfers, and are pinned and resident from then on. Only at start, because
    /// pinning a chunk takes milliseconds. Ends early at the memlock limit (see
    /// [`crate::CoreStats`]); ignored by epoll.
    pub registered_bytes: usize,
}

/// The buffers that idle connections share for receiving.
#[derive(Clone, Copy, Debug)]
pub struct RecvBufferConfig {
    /// How many: a power of two, `1..=32768`.
    pub count: u16,
    /// Bytes of each: `64..=1 MiB`.
    pub bytes: u32,
}

/// Everything a core is built from.
#[derive(Clone, Copy, Debug)]
pub struct CoreConfig {
    /// Which core this is.
    pub core: CoreId,
    /// Host CPU to pin the thread to; `None` leaves it to the scheduler.
    pub pin_cpu: Option<usize>,
    /// Back end wanted.
    pub backend: Backend,
    /// Submission queue entries, rounded up to a power of two; the completion queue has 8 times as many.
    pub sq_entries: u32,
    /// I/O buffers.
    pub slab: SlabConfig,
    /// Receive buffers.
    pub recv_buffers: RecvBufferConfig,
    /// Longest time in microseconds to look for new work before sleeping. The core adapts below it.
    /// 0 sleeps at once.
    pub spin_us: u32,
    /// Threads for file operations of the epoll back end, `1..=64`. Started at the first file operation.
    pub pool_threads: u16,
}

impl CoreConfig {
    /// The defaults for `core`: automatic back end, not pinned, 64 MiB of buffers.
    #[must_use]
    pub fn new(core: CoreId) -> Self {
        Self {
            core,
            pin_cpu: None,
            backend: Backend::Auto,
            sq_entries: 1024,
            slab: SlabConfig { budget_bytes: 64 << 20, registered_bytes: 8 << 20 },
            recv_buffers: RecvBufferConfig { count: 256, bytes: 16 << 10 },
            spin_us: 20,
            pool_threads: 4,
        }
    }

    /// Whether every field is in its documented range.
    pub(crate) fn is_valid(&self) -> bool {
        let recv = self.recv_buffers;
        (1..=32768).contains(&self.sq_entries)
            && recv.count.is_power_of_two()
            && recv.count <= 32768
            && (64..=1 << 20).contains(&recv.bytes)
            && (1..=64).contains(&self.pool_threads)
            && self.slab.budget_bytes <= 1 << 42
            && self.slab.registered_bytes <= 1 << 42
    }
}
