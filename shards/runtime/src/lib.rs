//! One core: a pinned thread with its executor, its ring (or epoll), its buffers and its queues to the
//! other cores.
//!
//! Invariant: memory an operation uses belongs to the operation slab until the kernel's last completion
//! for it; dropping a future cancels or detaches, it never frees. Every type here lives on the core that
//! made it unless its documentation says `Send`.
//!
//! Deliberately absent: HTTP, storage layout, retries, policy. This crate moves bytes and wakes tasks.
//! It is an island of `unsafe`: each block states why it is sound.

mod config;
mod core;
mod descriptors;
mod epoll;
mod executor;
mod file;
mod inbox;
mod lifecycle;
mod mapping;
mod mesh;
mod net;
mod ops;
mod parking;
mod pool;
mod probe;
mod random;
mod recv_buf;
mod returns;
mod slab;
mod spsc;
mod stats;
mod sync;
mod sys;
mod timer;
mod uring;
mod wake;

pub use config::{ActiveBackend, Backend, CoreConfig, RecvBufferConfig, SlabConfig};
pub use core::{Core, Elapsed, Sleep};
pub use descriptors::raise_descriptor_limit;
pub use file::{File, OpenOptions};
pub use inbox::{Inbox, InboxFull, InboxReceiver, Outbox, OutboxReceiver, inbox, outbox};
pub use lifecycle::run;
pub use mesh::{MeshPort, mesh};
pub use net::{TcpListener, TcpStream};
pub use probe::{UringFeatures, UringMissing, probe};
pub use recv_buf::RecvBuf;
pub use slab::{CLASS_BYTES, SlabBuf};
pub use stats::CoreStats;

#[cfg(test)]
mod tests;
