//! One data core's life: open the store with the other cores, serve connections, end in order.
//!
//! Invariant: the port is served only when every core is open; at the end no connection is cut that has
//! a request in flight, and the log is sealed after the last of them. Runs on its own pinned thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering, mpsc},
};

use stria_base::{BucketId, CoreId};
use stria_engine::{Engine, EngineConfig, events::CountingSink};
use stria_env::{
    Env,
    sync::{Either, Notify, race},
};
use stria_http::date::DateCache;
use stria_md5lanes::Md5Lanes;
use stria_meta::Snapshot;
use stria_runtime::{
    Backend, Core, CoreConfig, InboxReceiver, MeshPort, RecvBufferConfig, SlabConfig, TcpListener, TcpStream,
};
use stria_sigv4::KeyCache;
use stria_store::{FlushMethod, ReplayReport};

use crate::{
    config::{Config, IoBackend},
    control::{ControlSender, CoreMessage},
    maintenance,
    metrics::Counters,
    open::{Meeting, OpenError, VolumePath, open},
    peers::{Message, Peers},
    real_env::RealEnv,
    scrub::{self, Wishes},
    state::{ConnectionCount, CoreState, Shared},
};

/// How long requests in flight may take to end after a signal.
const STOP_NS_MAX: u64 = 30_000_000_000;

/// What a core starts with.
pub struct Start {
    /// Which core.
    pub core: CoreId,
    /// CPU to pin to.
    pub pin_cpu: Option<usize>,
    /// The options.
    pub config: Arc<Config>,
    /// What all cores know alike.
    pub shared: Arc<Shared>,
    /// Identity of the store and its PG count.
    pub identity: (u128, u16),
    /// All volumes.
    pub volumes: Vec<VolumePath>,
    /// Whether one may be missing.
    pub may_miss: bool,
    /// Where cores hand over rows and space at start.
    pub meeting: Meeting,
    /// Message ring ends.
    pub port: MeshPort<Message>,
    /// Messages of the control thread.
    pub inbox: InboxReceiver<CoreMessage>,
    /// Way to the control thread.
    pub control: ControlSender,
    /// Buckets as they are.
    pub snapshot: Arc<Snapshot>,
    /// Told how the start went.
    pub ready: mpsc::Sender<(CoreId, Result<Ready, OpenError>)>,
}

/// A core is open and listening.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What replay did.
    pub report: ReplayReport,
    /// Whether I/O goes through io_uring.
    pub uring: bool,
    /// How the log reaches stable media.
    pub flush_method: FlushMethod,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether every core's rows are on its own volume and nowhere else.
    pub is_settled: bool,
    /// What is missing of its volumes.
    pub missing: Option<String>,
}

/// How the memory budget is divided on one core, bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryShares {
    /// I/O buffers.
    pub slab: usize,
    /// Receive buffers of idle connections.
    pub receive: RecvBufferConfig,
    /// Cached bodies.
    pub cache: usize,
    /// Rows.
    pub index: usize,
}

impl MemoryShares {
    /// Rows beyond this are left to their runs: an eighth below the point where writes are refused.
    fn index_budget(&self) -> u64 {
        (self.index - self.index / 8) as u64
    }

    /// Of a budget for the whole process. An eighth is kept for code, stacks, connection state and the control
    /// thread; the rest is for rows (half, or `index_bytes`), I/O buffers (a quarter) and cached bodies (an eighth).
    #[must_use]
    pub fn of(memory_bytes: u64, index_bytes: u64, cores: u16) -> Self {
        let per_core = memory_bytes / u64::from(cores.max(1));
        let (eighth, buffer_bytes) = ((per_core / 8) as usize, 16 << 10);
        let count = (eighth / 8 / buffer_bytes).clamp(16, 1024);
        Self {
            slab: (2 * eighth).min(1 << 30),
            receive: RecvBufferConfig { count: count.next_power_of_two() as u16, bytes: buffer_bytes as u32 },
            cache: eighth,
            index: (index_bytes / u64::from(cores.max(1))) as usize,
        }
    }
}

/// Runs one core on this thread until the process ends.
///
/// # Errors
/// When the reactor cannot start; errors of the store go through `ready`.
pub fn run(start: Start) -> std::io::Result<()> {
    let shares = MemoryShares::of(start.config.memory_bytes, start.config.index_bytes, start.config.cores);
    let config = CoreConfig {
        pin_cpu: start.pin_cpu,
        backend: match start.config.io_backend {
            IoBackend::Auto => Backend::Auto,
            IoBackend::Uring => Backend::Uring,
            IoBackend::Epoll => Backend::Epoll,
        },
        slab: SlabConfig { budget_bytes: shares.slab, ..CoreConfig::new(start.core).slab },
        recv_buffers: shares.receive,
        spin_us: start.config.spin_us,
        ..CoreConfig::new(start.core)
    };
    stria_runtime::run(config, |core| live(core, start, shares))
}

async fn live(core: Core, start: Start, shares: MemoryShares) {
    let env = RealEnv::new(core.clone());
    let Start {
        config,
        shared,
        identity,
        volumes,
        may_miss,
        meeting,
        port,
        inbox,
        control,
        snapshot,
        ready,
        core: me,
        ..
    } = start;
    let index_bytes_max = shares.index_budget();
    let opened = match open(&env, &config, identity, &volumes, may_miss, meeting, index_bytes_max).await {
        Ok(opened) => opened,
        Err(error) => {
            let _ = ready.send((me, Err(error)));
            return;
        }
    };
    let engine_config = EngineConfig { cache_bytes_max: shares.cache, index_bytes_max: shares.index };
    let events = CountingSink::default();
    let engine = Engine::new(opened.store, opened.volumes, engine_config, Box::new(events.clone()));
    let listener = match sweep_and_listen(&core, &engine, &snapshot, config.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let _ = ready.send((me, Err(error)));
            return;
        }
    };
    let listen = listener.local_addr().unwrap_or(config.listen);
    let peers = Peers::start(env.clone(), config.cores, engine, port);
    let state = Rc::new(CoreState {
        env: env.clone(),
        peers,
        shared,
        control,
        snapshot: RefCell::new(snapshot),
        keys: RefCell::new(KeyCache::new()),
        md5: Md5Lanes::default(),
        date: RefCell::new(DateCache::default()),
        counters: Counters::default(),
        events,
        wishes: Wishes::default(),
        stopping: Cell::new(false),
        stop: Notify::default(),
        connections: Cell::new(0),
    });
    env.spawn(take_messages(state.clone(), inbox));
    start_background(&state, &config);
    let uring = !matches!(core.backend(), stria_runtime::ActiveBackend::Epoll);
    let how = Ready {
        report: opened.report,
        uring,
        flush_method: opened.flush_method,
        listen,
        is_settled: opened.is_settled,
        missing: opened.missing,
    };
    let _ = ready.send((me, Ok(how)));
    drop(ready);
    accept(&state, listener).await;
    end(&state).await;
}

/// Drops what an interrupted deletion left, then takes the port.
async fn sweep_and_listen(
    core: &Core,
    engine: &Engine<RealEnv>,
    snapshot: &Snapshot,
    address: SocketAddr,
) -> Result<TcpListener, OpenError> {
    let known: BTreeSet<BucketId> = snapshot.buckets.values().map(|bucket| bucket.bucket_id()).collect();
    match engine.sweep(|bucket| known.contains(&bucket)).await {
        Ok(()) => core
            .listen(address)
            .map_err(|error| OpenError::Volume { path: format!("port {address}").into(), error }),
        Err(stria_engine::EngineError::Store(error)) => Err(OpenError::Store(error)),
        Err(_) => Err(OpenError::OtherCore),
    }
}

fn start_background(state: &Rc<CoreState>, config: &Config) {
    state.env.spawn(maintenance::run(state.clone()));
    state.env.spawn(maintenance::run_checkpoints(state.clone()));
    scrub::start(state, scrub::of_config(config));
}

async fn take_messages(state: Rc<CoreState>, inbox: InboxReceiver<CoreMessage>) {
    loop {
        match inbox.recv().await {
            CoreMessage::Snapshot(snapshot, taken) => {
                *state.snapshot.borrow_mut() = snapshot;
                let _ = taken.send(());
            }
            CoreMessage::Report(reply, _asked) => {
                let _ = reply.send(state.report());
            }
            CoreMessage::Scrub(pass) => state.wishes.wish(pass),
            CoreMessage::Damage(reply, _asked) => {
                let _ = reply.send(state.peers.engine().store().damage());
            }
            CoreMessage::Stop => state.begin_stop(),
        }
    }
}

/// Accepts until the process is to end.
async fn accept(state: &Rc<CoreState>, listener: TcpListener) {
    loop {
        let stop = state.stop.notified();
        if state.stopping.get() {
            return;
        }
        match race(listener.accept(), stop).await {
            Either::First(Ok(stream)) => admit(state, stream),
            // Out of descriptors: connections that end will free some.
            Either::First(Err(_)) => state.env.sleep(10_000_000).await,
            Either::Second(()) => {}
        }
    }
}

fn admit(state: &Rc<CoreState>, stream: TcpStream) {
    let counters = &state.counters;
    counters.accepted.set(counters.accepted.get() + 1);
    let before = state.shared.connections.fetch_add(1, Ordering::Relaxed);
    state.connections.set(state.connections.get() + 1);
    let count = ConnectionCount(state.clone());
    if before >= state.shared.connections_max {
        counters.refused.set(counters.refused.get() + 1);
        stream.abort();
        return;
    }
    state.env.spawn(async move { crate::conn::serve(count, stream).await });
}

/// Waits for connections to end, then makes everything durable and seals the log.
async fn end(state: &Rc<CoreState>) {
    let deadline = state.env.mono_ns() + STOP_NS_MAX;
    loop {
        let ended = state.stop.notified();
        // Every core must be quiet before one stops answering the others' calls.
        if state.shared.connections.load(Ordering::Relaxed) == 0 || state.env.mono_ns() >= deadline {
            break;
        }
        let _ = race(ended, state.env.sleep(20_000_000)).await;
    }
    if let Err(error) = state.peers.engine().store().shutdown().await {
        tracing::warn!(
            "core {}: the log could not be sealed ({error}); the next start will replay it",
            state.env.core().0
        );
    }
}
