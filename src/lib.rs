//! Stria: an S3-compatible object store.

pub mod real_env;
