//! Calls to the owner core of a PG: a plain function call when that is this core, else a message each way.
//!
//! Invariant: every call gets its own answer: a number names it, and a number is reused only after its answer
//! came. Owned by one core.

use std::{cell::RefCell, rc::Rc};

use stria_base::{CoreId, PgId};
use stria_engine::{Call, Engine, Operation, Reply, calls};
use stria_env::{
    Env,
    sync::{Sender, oneshot},
};
use stria_runtime::MeshPort;

use crate::real_env::RealEnv;

/// What travels between cores.
#[derive(Debug)]
pub enum Message {
    /// A call and its number.
    Call(u32, Box<Call>),
    /// The answer to the call of that number.
    Reply(u32, Box<Reply>),
}

struct Inner {
    env: RealEnv,
    me: CoreId,
    cores: u16,
    engine: Engine<RealEnv>,
    port: MeshPort<Message>,
    waiting: RefCell<Waiting>,
}

#[derive(Default)]
struct Waiting {
    slots: Vec<Option<Sender<Reply>>>,
    free: Vec<u32>,
}

/// This core's way to all engines of the node. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Rc<Inner>);

/// A pin that is given back when dropped.
pub struct PinGuard {
    peers: Peers,
    owner: CoreId,
    pin: calls::Pin,
}

impl Peers {
    /// With this core's engine and its port; starts serving calls of other cores.
    #[must_use]
    pub fn start(env: RealEnv, cores: u16, engine: Engine<RealEnv>, port: MeshPort<Message>) -> Self {
        let me = env.core();
        port.bind(env.runtime());
        let peers =
            Self(Rc::new(Inner { env: env.clone(), me, cores, engine, port, waiting: RefCell::default() }));
        env.spawn(peers.clone().serve());
        peers
    }

    /// This core's engine.
    #[must_use]
    pub fn engine(&self) -> &Engine<RealEnv> {
        &self.0.engine
    }

    /// Data cores of the node.
    pub fn cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        (0..self.0.cores).map(CoreId)
    }

    /// The core that owns `pg`.
    #[must_use]
    pub fn owner(&self, pg: PgId) -> CoreId {
        pg.owner(self.0.cores)
    }

    /// Runs a call on the owner core of `pg`.
    pub async fn call<O: Operation>(&self, pg: PgId, operation: O) -> O::Output {
        self.call_core(self.owner(pg), operation).await
    }

    /// Runs a call on a core.
    pub async fn call_core<O: Operation>(&self, core: CoreId, operation: O) -> O::Output {
        if core == self.0.me {
            return operation.run(&self.0.engine).await;
        }
        let (sender, receiver) = oneshot();
        let number = self.0.waiting.borrow_mut().put(sender);
        self.0.port.send_wait(core, Message::Call(number, Box::new(operation.into()))).await;
        let reply = receiver.await.expect("the slot lives until its answer came");
        O::output(reply)
    }

    /// Guards a pin taken on the owner core of `pg`.
    #[must_use]
    pub fn guard(&self, pg: PgId, pin: calls::Pin) -> PinGuard {
        PinGuard { peers: self.clone(), owner: self.owner(pg), pin }
    }

    async fn serve(self) {
        loop {
            let (from, message) = self.0.port.recv().await;
            match message {
                Message::Call(number, call) => {
                    let peers = self.clone();
                    self.0.env.spawn(async move {
                        let reply = call.run(&peers.0.engine).await;
                        peers.0.port.send_wait(from, Message::Reply(number, Box::new(reply))).await;
                    });
                }
                Message::Reply(number, reply) => self.0.waiting.borrow_mut().take(number).send(*reply),
            }
        }
    }
}

impl Waiting {
    fn put(&mut self, sender: Sender<Reply>) -> u32 {
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = Some(sender);
            return number;
        }
        self.slots.push(Some(sender));
        u32::try_from(self.slots.len() - 1).expect("calls in flight are bounded by the connections")
    }

    fn take(&mut self, number: u32) -> Sender<Reply> {
        let sender = self.slots[number as usize].take().expect("one answer per call");
        self.free.push(number);
        sender
    }
}

impl Drop for PinGuard {
    fn drop(&mut self) {
        let (peers, owner, pin) = (self.peers.clone(), self.owner, self.pin);
        self.peers.0.env.spawn(async move { peers.call_core(owner, calls::Unpin { pin }).await });
    }
}
