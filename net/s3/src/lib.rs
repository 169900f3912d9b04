//! The S3 wire: operations, routing, error codes, typed requests and the XML of responses.
//!
//! Invariant: a request is recognised as exactly one operation or refused; no combination of parameters
//! falls through to a weaker one. Runs on the accepting core, sans I/O. Owner: the wire group (`net/`).
//! Deliberately absent: authentication (`stria-sigv4`), authorisation, storage, clocks.

pub mod bucket_name;
pub mod checksum;
pub mod code;
pub mod conditions;
pub mod config;
pub mod content;
pub mod copy_source;
pub mod error;
pub mod ops;
pub mod post;
pub mod range;
pub mod request;
pub mod response;
pub mod route;
pub mod xml;

pub use code::ErrorCode;
pub use error::S3Error;
pub use ops::{Op, Operation, Scope, State};
pub use route::{Route, RouteConfig, route, website_bucket};
