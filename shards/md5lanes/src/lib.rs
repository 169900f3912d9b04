//! MD5 (RFC 1321) of many bodies at once, for entity tags: S3 wants an MD5 of every body, MD5 cannot be
//! split, but the bodies of several connections can share the lanes of one vector register.
//!
//! Invariant: the digest of a stream depends on its bytes alone, never on which other streams were
//! advanced beside it or how it was cut. Runs on the accepting core; nothing here is shared between cores.
//!
//! Absent on purpose: any use of MD5 for security. An entity tag is a name, a checksum protects the data.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod queue;
mod stream;
#[cfg(test)]
mod tests;
mod together;

pub use queue::{Md5Lanes, Update};
pub use stream::Md5;
pub use together::{LANES_MAX, update_together};

/// Bytes MD5 takes at once.
pub(crate) const BLOCK_BYTES: usize = 64;
