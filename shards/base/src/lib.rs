//! The shared vocabulary: ids, units, limits, checksums, time stamps, error classes.
//!
//! Invariant: everything here is a value. No I/O, no clock, no randomness, no allocation that outlives
//! a call, so any core and any tool may use it. Deliberately absent: anything that knows S3, HTTP, a
//! disk or a socket.

pub mod checksum;
pub mod class;
pub mod hash;
pub mod hlc;
pub mod ids;
pub mod limits;
pub mod map;
pub mod units;

pub use class::ErrorClass;
pub use hlc::{Hlc, HlcClock};
pub use ids::{BucketId, CoreId, DataId, PgId, VolumeId};
pub use map::{FixedMap, FixedSet};
pub use units::{GIB, KIB, MIB};
