//! Cluster-wide state of the control plane: today the buckets, later users, policies and the PG map.
//!
//! `state` is a pure state machine: a command and the state give a new state or a refusal, with no I/O,
//! so that a Raft log can feed it later. `store` keeps it in LMDB. The data cores only ever see
//! immutable [`Snapshot`]s stamped with an epoch.
//!
//! Invariant: a command is durable in LMDB before its snapshot is published. Runs on the control thread;
//! snapshots are read by every core. Deliberately absent: object rows, anything a request waits for
//! other than the creation and deletion of buckets.

pub mod state;
pub mod store;

pub use state::{Bucket, CLOSED_CONFIGS, Command, MetaError, Snapshot};
pub use store::{MetaStore, MetaStoreError};
