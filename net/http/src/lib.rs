//! HTTP/1.1 as a server of this kind needs it: request heads, chunked bodies, response heads.
//!
//! Invariant: two readers of one byte stream can never disagree about where a message ends. Whatever
//! RFC 9112 leaves to taste is refused here, and the connection closes after any error of framing.
//! Runs on every data core; state belongs to one connection. Owner: the wire group (`net/`).
//! Deliberately absent: sockets, clocks, async, S3. Bytes go in, values come out.

pub mod chunked;
pub mod date;
pub mod error;
pub mod head;
pub mod percent;
pub mod query;
pub mod response;

pub use error::HeadError;
pub use head::{BodyFraming, Head, Method, Version};
pub use query::Query;
