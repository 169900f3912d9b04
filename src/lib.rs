//! Stria: an S3-compatible object store, one pinned thread per core, every acknowledged object durable.
//!
//! This crate is the one place where wire meets engine: options, data directory, connections, handlers,
//! the control thread. Invariant: below `handlers` no S3 XML and no header exists. Library form, so that
//! end-to-end tests start the server they test in their own process when they want to.

#![expect(
    clippy::disallowed_methods,
    reason = "start-up and the control thread may block, make threads and read files; data cores go through Env"
)]

pub mod admin;
pub mod admin_client;
pub mod cli;
pub mod config;
pub mod conn;
pub mod control;
pub mod core_loop;
pub mod datadir;
pub mod devices;
pub mod error_map;
pub mod fsck;
pub mod handlers;
pub mod identities;
pub mod info;
pub mod inspect;
pub mod maintenance;
pub mod metrics;
pub mod offline;
pub mod open;
pub mod peers;
pub mod ports;
pub mod real_env;
pub mod rebuild;
pub mod scrub;
pub mod serve;
pub mod state;
