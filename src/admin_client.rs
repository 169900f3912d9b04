//! The admin port as our own commands ask it: `stria scrub` and `stria info` beside a running server.
//!
//! Invariant: one request, one connection, ten seconds at most. Runs on the main thread of a command; may block.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::admin::ADMIN_HEADER;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum AdminError {
    /// Nobody answers there.
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// It is no answer of ours, or an error.
    Refused {
        /// Where.
        address: SocketAddr,
        /// The status; 0 when it is no HTTP.
        status: u16,
    },
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, error } => write!(
                f,
                "no server answers on {address}: {error}; start one, or name its admin port with --admin-listen"
            ),
            Self::Refused { address, status } => {
                write!(f, "{address} answered {status}; is it the admin port of a stria of this release?")
            }
        }
    }
}

impl std::error::Error for AdminError {}

/// The body of the answer to a request, when it is a success.
///
/// # Errors
/// When nobody answers, or with an error.
pub fn ask(address: SocketAddr, method: &str, path: &str) -> Result<String, AdminError> {
    let answer =
        exchange(address, method, path).map_err(|error| AdminError::Unreachable { address, error })?;
    let status = answer.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
    match answer.split_once("\r\n\r\n") {
        // Unhealthy is an answer too.
        Some((_, body)) if (200..300).contains(&status) || status == 503 => Ok(body.to_owned()),
        _ => Err(AdminError::Refused { address, status }),
    }
}

fn exchange(address: SocketAddr, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{ADMIN_HEADER}: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
