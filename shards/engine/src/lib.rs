//! Objects, multipart uploads and listings of the PGs one core owns.
//!
//! Invariant: a row is judged, sequenced and published on its owner core only, and nothing is visible
//! before it is durable at the promised level (the store below guarantees the second half).
//! Deliberately absent: HTTP, XML, signatures, sockets, other cores. A call arrives as a plain value
//! (`calls`), from this core or over a message ring; the engine cannot tell which.

pub mod cache;
pub mod calls;
pub mod codec;
pub mod error;
pub mod events;
pub mod keys;
pub mod list;
pub mod multipart;
pub mod object;
pub mod precondition;
mod reads;
mod tags;
pub mod version_list;
mod versions;
mod writes;

mod engine;

pub use calls::{Call, Operation, Reply};
pub use engine::{Engine, EngineConfig};
pub use error::EngineError;
pub use events::{EventSink, StorageEvent};
pub use object::{Etag, ObjectMeta, StoredChecksum};
