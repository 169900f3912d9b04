//! The bodies of the fuzz targets, as plain functions of bytes.
//!
//! Invariant: a target never only asks "does it crash": each states what must hold of whatever was
//! accepted. A new target is a module, a row of [`TARGETS`], a file of three lines in `fuzz_targets/`
//! and a folder of seeds in `corpus/`. Runs in fuzzers and in tests. Owner: the group of each parser.

mod checkpoint;
mod http;
mod post;
mod s3;
mod sigv4;
mod wal;

pub use checkpoint::checkpoint;
pub use http::{chunked, http_head};
pub use post::{post_form, post_policy};
pub use s3::{route, xml_complete, xml_create_bucket, xml_delete};
pub use sigv4::{aws_chunked, sigv4_canonical};
pub use wal::{WAL_GENERATION, WAL_STORE, segment, wal_frame};

/// A target: its name, which is also its folder of seeds, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("http_head", http_head),
    ("chunked", chunked),
    ("aws_chunked", aws_chunked),
    ("sigv4_canonical", sigv4_canonical),
    ("route", route),
    ("xml_delete", xml_delete),
    ("xml_complete", xml_complete),
    ("xml_create_bucket", xml_create_bucket),
    ("wal_frame", wal_frame),
    ("checkpoint", checkpoint),
    ("post_form", post_form),
    ("post_policy", post_policy),
];
