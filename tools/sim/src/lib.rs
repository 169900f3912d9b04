//! The deterministic simulator: the code that runs, on a fake clock, fake disks and a seeded scheduler.
//!
//! Invariant: one seed is one trace. `world` is the machine, the rest is what is done on it and checked.
//! Deliberately absent: product code; nothing in the product knows that it is simulated.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool: it drives the product, no data core runs it"
)]

pub mod clients;
pub mod crash;
pub mod engine_clients;
pub mod engine_run;
pub mod engine_versions;
pub mod faults;
pub mod model;
pub mod node;
pub mod oplog;
pub mod plan;
mod rot;
mod scrub;
pub mod seeds;
pub mod store_run;
pub mod value;
pub mod world;

#[cfg(test)]
mod regressions;
#[cfg(test)]
mod tests;
