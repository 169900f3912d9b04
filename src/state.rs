//! What the tasks of one data core share: the way to the engines, the snapshot of the buckets, caches,
//! counters. Owned by that core; nothing in it is shared with another.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::AtomicU32},
};

use stria_engine::events::CountingSink;
use stria_env::{Env, sync::Notify};
use stria_http::date::DateCache;
use stria_md5lanes::Md5Lanes;
use stria_meta::{Bucket, Snapshot};
use stria_runtime::SlabBuf;
use stria_s3::RouteConfig;
use stria_sigv4::KeyCache;

use crate::{
    control::ControlSender, identities::Identities, metrics::Counters, peers::Peers, real_env::RealEnv,
    scrub::Wishes,
};

/// What all cores know alike, fixed at start.
pub struct Shared {
    /// Region of signatures.
    pub region: String,
    /// Base domains of virtual-host style.
    pub route: RouteConfig,
    /// Who may sign.
    pub identities: Identities,
    /// Whether new buckets have no access control lists and block public access.
    pub buckets_closed: bool,
    /// Placement groups of the store.
    pub pg_count: u16,
    /// Placement groups a new bucket spreads over.
    pub bucket_pgs: u16,
    /// Connections of all cores: one counter, touched when a connection comes and goes.
    pub connections: AtomicU32,
    /// Most connections.
    pub connections_max: u32,
    /// The x-amz-id-2 of this process.
    pub host_id: String,
}

/// One data core's state.
pub struct CoreState {
    /// Clock, randomness, tasks.
    pub env: RealEnv,
    /// The engines.
    pub peers: Peers,
    /// What all cores know alike.
    pub shared: Arc<Shared>,
    /// Way to the control thread.
    pub control: ControlSender,
    /// Buckets as of the last snapshot.
    pub snapshot: RefCell<Arc<Snapshot>>,
    /// Derived signing keys.
    pub keys: RefCell<KeyCache>,
    /// Bodies whose MD5 is computed together.
    pub md5: Md5Lanes<SlabBuf>,
    /// The Date header of this second.
    pub date: RefCell<DateCache>,
    /// Counters.
    pub counters: Counters,
    /// Events of this core's engine, counted.
    pub events: CountingSink,
    /// Scrub passes an operator asked for.
    pub wishes: Wishes,
    /// Set when the process is to end.
    pub stopping: Cell<bool>,
    /// Rung when it is set, and when a connection ends while it is.
    pub stop: Notify,
    /// Connections of this core.
    pub connections: Cell<u32>,
}

impl CoreState {
    /// The bucket of a name.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        self.snapshot.borrow().buckets.get(name).cloned()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.env.wall_ms()
    }

    /// Ends the accept loop and lets connections end.
    pub fn begin_stop(&self) {
        self.stopping.set(true);
        self.stop.notify_all();
    }
}

/// A connection counts as long as this lives.
pub struct ConnectionCount(pub Rc<CoreState>);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let state = &self.0;
        state.connections.set(state.connections.get() - 1);
        state.shared.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if state.stopping.get() {
            state.stop.notify_all();
        }
    }
}
