//! The control thread: buckets in LMDB, snapshots to the cores, the admin port, signals.
//!
//! Invariant: a change of buckets is durable before any core sees it, and answered only when every core
//! has seen it, so that a client's next request finds it on whichever core it lands. Runs on its own
//! thread with tokio; talks to data cores through bounded queues.

use std::{
    collections::BTreeMap,
    net::TcpListener as StdListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stria_base::BucketId;
use stria_meta::{Bucket, Command, MetaError, MetaStore, MetaStoreError, Snapshot};
use stria_runtime::{Inbox, InboxFull};
use tokio::sync::{mpsc, oneshot};

use stria_store::Damage;

use crate::{metrics::CoreReport, scrub::Pass};

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
        /// Configurations it begins with.
        configs: BTreeMap<String, String>,
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
    /// Changes one configuration of a bucket.
    SetConfig {
        /// [`Command::SetConfig`].
        command: Command,
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
    Report(oneshot::Sender<CoreReport>, Asked),
    /// Begin a scrub pass.
    Scrub(Pass),
    /// Copy what is known to be damaged.
    Damage(oneshot::Sender<Vec<Damage>>, Asked),
    /// Finish what is in flight, make it durable, end.
    Stop,
}

/// How long a core may take to answer with its counters before it counts as hung.
const REPORT_WAIT: Duration = Duration::from_secs(2);
/// Questions a core may have unanswered: a hung one must not have its inbox filled by whoever looks after it.
const REPORTS_ASKED_MAX: u32 = 8;
/// Pause between two attempts to reach a core whose inbox is full.
const INBOX_RETRY: Duration = Duration::from_millis(1);

/// One question not yet answered, counted for as long as it lives.
pub struct Asked(Arc<AtomicU32>);

impl Asked {
    fn one_more(count: &Arc<AtomicU32>) -> Option<Self> {
        let asked = Self(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < REPORTS_ASKED_MAX).then_some(asked)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One core as the control thread reaches it.
#[derive(Clone)]
struct Reach {
    inbox: Inbox<CoreMessage>,
    asked: Arc<AtomicU32>,
}

impl Reach {
    /// Sends, waiting for room without blocking the control thread.
    async fn send(&self, mut message: CoreMessage) {
        while let Err(InboxFull(back)) = self.inbox.try_send(message) {
            message = back;
            tokio::time::sleep(INBOX_RETRY).await;
        }
    }

    /// Asks something; `None` when too many questions wait already.
    fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>, Asked) -> CoreMessage,
    ) -> Option<oneshot::Receiver<T>> {
        let (sender, receiver) = oneshot::channel();
        let asked = Asked::one_more(&self.asked)?;
        self.inbox.try_send(question(sender, asked)).is_ok().then_some(receiver)
    }
}

/// The cores as the control thread reaches them.
#[derive(Clone)]
pub struct Cores(Vec<Reach>);

impl Cores {
    /// Through their inboxes, in the order of their ids.
    #[must_use]
    pub fn new(inboxes: Vec<Inbox<CoreMessage>>) -> Self {
        Self(inboxes.into_iter().map(|inbox| Reach { inbox, asked: Arc::default() }).collect())
    }

    /// Publishes a snapshot and waits until every core has it.
    pub async fn publish(&self, snapshot: &Arc<Snapshot>) {
        let mut taken = Vec::new();
        for core in &self.0 {
            let (sender, receiver) = oneshot::channel();
            core.send(CoreMessage::Snapshot(snapshot.clone(), sender)).await;
            taken.push(receiver);
        }
        for receiver in taken {
            // A core that ended takes no more requests, so nothing can be answered from its old snapshot.
            let _ = receiver.await;
        }
    }

    /// Every core's counters; a core that ended, or does not answer within two seconds, has none.
    pub async fn reports(&self) -> Vec<CoreReport> {
        self.ask_all(CoreMessage::Report).await
    }

    /// What every core that answers knows to be damaged.
    pub async fn damage(&self) -> Vec<Damage> {
        self.ask_all(CoreMessage::Damage).await.into_iter().flatten().collect()
    }

    async fn ask_all<T>(&self, question: fn(oneshot::Sender<T>, Asked) -> CoreMessage) -> Vec<T> {
        let deadline = tokio::time::Instant::now() + REPORT_WAIT;
        let asked: Vec<_> = self.0.iter().filter_map(|core| core.ask(question)).collect();
        let mut answers = Vec::new();
        for receiver in asked {
            if let Ok(Ok(answer)) = tokio::time::timeout_at(deadline, receiver).await {
                answers.push(answer);
            }
        }
        answers
    }

    /// Tells every core to begin a scrub pass.
    pub async fn scrub(&self, pass: Pass) {
        for core in &self.0 {
            core.send(CoreMessage::Scrub(pass)).await;
        }
    }

    /// Tells every core to end.
    pub async fn stop(&self) {
        for core in &self.0 {
            core.send(CoreMessage::Stop).await;
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
                _ = terminate.recv() => self.cores.stop().await,
                _ = interrupt.recv() => self.cores.stop().await,
            }
        }
    }
}

async fn answer(meta: &mut MetaStore, cores: &Cores, request: ControlRequest) {
    match request {
        ControlRequest::CreateBucket { name, owner, region, pgs, configs, now_ms, reply } => {
            let command = Command::CreateBucket { name: name.clone(), owner, region, pgs, configs, now_ms };
            let result = apply(meta, cores, &command).await;
            let _ = reply.send(result.map(|snapshot| snapshot.buckets[&name].clone()));
        }
        ControlRequest::DeleteBucket { name, id, reply } => {
            let result = apply(meta, cores, &Command::DeleteBucket { name, id }).await;
            let _ = reply.send(result.map(drop));
        }
        ControlRequest::SetConfig { command, reply } => {
            let result = apply(meta, cores, &command).await;
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
