//! XML of S3: a bounded reader for request bodies and a writer for responses.
//!
//! Invariant: reading allocates no more than the text of one element plus a stack of at most
//! `XML_DEPTH_MAX` names, whatever the input; a DTD or an entity of its own is refused, never expanded.
//! What is written is free of raw control characters. Any core. Owner: `net/s3`.

mod reader;
mod writer;

pub use reader::{Path, Visitor, XmlError, read};
pub use writer::{S3_NAMESPACE, Writer};
