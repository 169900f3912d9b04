//! End-to-end tests: the built binary, raw HTTP/1.1 over TCP, one case per documented rule.
//!
//! Invariant: nothing here links the server; what a test knows of it, it learnt from the wire. The signer and
//! the hashes come from our own crates, which the examples of the AWS documentation hold to the outside.

#![expect(
    clippy::disallowed_methods,
    reason = "a client outside of the server: threads, files and clocks are its own"
)]

mod acls;
mod bad_input;
mod bucket_config;
mod checksums;
mod client;
mod conditionals;
mod copy;
mod edges;
mod errors;
mod formats;
mod fsck;
mod identities;
mod lifecycle;
mod listing;
mod matrix;
mod missing_volume;
mod multipart;
mod objects;
mod paged;
mod post_object;
mod presigned;
mod ranges;
mod repair;
mod scrub;
mod server;
mod sub_resources;
mod versions;
mod website;
mod wire;
