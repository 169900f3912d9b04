//! The control thread: buckets in LMDB, snapshots to the cores, the admin port, signals.
//!
//! Invariant: a change of buckets is durable before any core sees it, and answered only when every core
//! has seen it, so that a client's next request finds it on whichever core it lands. Runs on its own
//! thread with tokio; talks to data cores through bounded queues.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::{Duration, Instant},
};

use stria_base::BucketId;
use stria_meta::{Bucket, Command, MetaError, MetaStore, MetaStoreError, Snapshot};
use stria_runtime::Inbox;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::CoreReport;

/// Requests of data cores that may wait for the control thread.
pub const CONTROL_QUEUE: usize = 1024;

/// What a data core may ask of the control thread.
pub enum ControlRequest {
    /// Makes a bucket.
    CreateBucket {
        /// Its validated name.
        name: String,
        /// Access key of the account.
        owner: String,
        /// LocationConstraint.
        region: String,
        /// PGs it spreads over.
        pgs: u16,
        /// Milliseconds since 1970.
        now_ms: u64,
        /// Told when every core knows it.
        reply: oneshot::Sender<Result<Arc<Bucket>, ControlError>>,
    },
    /// Removes a bucket every core has sealed and found empty.
    DeleteBucket {
        /// Its name.
        name: String,
        /// Its incarnation.
        id: BucketId,
        /// Told when every core knows it.
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
}

/// Why a control request failed.
#[derive(Debug)]
pub enum ControlError {
    /// The state machine refused it.
    Refused(MetaError),
    /// LMDB failed; nothing changed.
    Store(MetaStoreError),
    /// The control thread is ending or its queue is full.
    Unavailable,
}

/// A data core's way to the control thread.
pub type ControlSender = mpsc::Sender<ControlRequest>;

/// What the control thread tells a data core.
pub enum CoreMessage {
    /// Buckets changed.
    Snapshot(Arc<Snapshot>, oneshot::Sender<()>),
    /// Copy your counters.
    Report(oneshot::Sender<CoreReport>),
    /// Finish what is in flight, make it durable, end.
    Stop,
}

/// The cores as the control thread reaches them.
#[derive(Clone)]
pub struct Cores(pub Vec<Inbox<CoreMessage>>);

impl Cores {
    /// Publishes a snapshot and waits until every core has it.
    pub async fn publish(&self, snapshot: &Arc<Snapshot>) {
        let mut taken = Vec::new();
        for inbox in &self.0 {
            let (sender, receiver) = oneshot::channel();
            inbox.send_blocking(CoreMessage::Snapshot(snapshot.clone(), sender));
            taken.push(receiver);
        }
        for receiver in taken {
            // A core that ended takes no more requests, so nothing can be answered from its old snapshot.
            let _ = receiver.await;
        }
    }

    /// Every core's counters; a core that ended has none.
    pub async fn reports(&self) -> Vec<CoreReport> {
        let mut reports = Vec::new();
        for inbox in &self.0 {
            let (sender, receiver) = oneshot::channel();
            if inbox.try_send(CoreMessage::Report(sender)).is_ok()
                && let Ok(report) = receiver.await
            {
                reports.push(report);
            }
        }
        reports
    }

    /// Tells every core to end.
    pub fn stop(&self) {
        for inbox in &self.0 {
            inbox.send_blocking(CoreMessage::Stop);
        }
    }
}

/// Everything the control thread needs.
pub struct Control {
    /// The state.
    pub meta: MetaStore,
    /// The cores.
    pub cores: Cores,
    /// Requests of the cores.
    pub requests: mpsc::Receiver<ControlRequest>,
    /// The admin port, bound.
    pub admin: StdListener,
    /// What `/health` and `/metrics` say beside the cores' counters.
    pub about: crate::admin::About,
}

impl Control {
    /// Serves until a signal asks the process to end; then tells the cores. Calls `ready` once signals are heeded:
    /// who reads that the server is up may stop it at once.
    ///
    /// # Errors
    /// When tokio cannot start or the admin port cannot be served.
    pub fn run(self, ready: impl FnOnce()) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve(ready))
    }

    async fn serve(mut self, ready: impl FnOnce()) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        self.admin.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.admin)?;
        tokio::spawn(crate::admin::serve(listener, self.cores.clone(), self.about));
        ready();
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => answer(&mut self.meta, &self.cores, request).await,
                    // Every core has ended.
                    None => return Ok(()),
                },
                _ = terminate.recv() => self.cores.stop(),
                _ = interrupt.recv() => self.cores.stop(),
            }
        }
    }
}

async fn answer(meta: &mut MetaStore, cores: &Cores, request: ControlRequest) {
    match request {
        ControlRequest::CreateBucket { name, owner, region, pgs, now_ms, reply } => {
            let command = Command::CreateBucket { name: name.clone(), owner, region, pgs, now_ms };
            let result = apply(meta, cores, &command).await;
            let _ = reply.send(result.map(|snapshot| snapshot.buckets[&name].clone()));
        }
        ControlRequest::DeleteBucket { name, id, reply } => {
            let result = apply(meta, cores, &Command::DeleteBucket { name, id }).await;
            let _ = reply.send(result.map(drop));
        }
    }
}

async fn apply(
    meta: &mut MetaStore,
    cores: &Cores,
    command: &Command,
) -> Result<Arc<Snapshot>, ControlError> {
    // Blocks this thread for a sync of LMDB's file; no data core waits for anything but its own request.
    let snapshot = match meta.apply(command) {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(refusal)) => return Err(ControlError::Refused(refusal)),
        Err(error) => {
            tracing::error!("{error}");
            return Err(ControlError::Store(error));
        }
    };
    cores.publish(&snapshot).await;
    Ok(snapshot)
}

/// How long a port may stay taken: the kernel takes a killed process's ring down after it has reported
/// the process dead, and until then the ring holds the listeners.
const BIND_WAIT: Duration = Duration::from_secs(3);
const BIND_RETRY: Duration = Duration::from_millis(10);

/// Binds a port, with the remedy in the message. Blocks while the port is taken, but not for long.
///
/// # Errors
/// One line for the operator.
pub fn bind(option: &'static str, address: SocketAddr) -> Result<StdListener, crate::serve::ServeError> {
    let give_up = Instant::now() + BIND_WAIT;
    loop {
        match StdListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(BIND_RETRY);
            }
            Err(error) => return Err(crate::serve::ServeError::Bind { option, address, error }),
        }
    }
}
