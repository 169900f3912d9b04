//! Taking a port, and finding out who has it.
//!
//! Invariant: a port that a living process listens on is reported within a second, with that process; one that only
//! a dead process's ring still holds is waited for. Main thread, start-up only; may block.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use crate::serve::ServeError;

/// How long a port may stay taken by nobody: the kernel takes a killed process's ring down after it has reported
/// the process dead, and until then the ring holds the listeners.
const BIND_WAIT: Duration = Duration::from_secs(3);
/// How long a process that is seen to hold the port may take to be gone: it may be dying.
const HOLDER_WAIT: Duration = Duration::from_millis(300);
const BIND_RETRY: Duration = Duration::from_millis(10);

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name as the kernel knows it.
    pub name: String,
}

/// Binds a port, with the remedy in the message. Blocks while the port is taken, but not for long.
///
/// # Errors
/// One line for the operator.
pub fn bind(option: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let started = Instant::now();
    loop {
        let error = match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        let holder = if taken { holder(address) } else { None };
        let patience = if holder.is_some() { HOLDER_WAIT } else { BIND_WAIT };
        if !taken || started.elapsed() >= patience {
            return Err(ServeError::Bind { option, address, error, holder });
        }
        thread::sleep(BIND_RETRY);
    }
}

/// The living process that listens where `address` would; `None` too when this user may not see it.
fn holder(address: SocketAddr) -> Option<Holder> {
    let mut inodes: Vec<String> = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let lines = fs::read_to_string(table).unwrap_or_default();
        let found = lines.lines().filter_map(|line| listener(line, address));
        inodes.extend(found.map(|inode| format!("socket:[{inode}]")));
    }
    if inodes.is_empty() {
        return None;
    }
    let holds = |pid: u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        descriptors
            .flatten()
            .any(|entry| {
                let names =
                    |link: std::path::PathBuf| inodes.iter().any(|inode| link.as_os_str() == inode.as_str());
                fs::read_link(entry.path()).is_ok_and(names)
            })
            .then_some(())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pid = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| holds(*pid).is_some())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder { pid, name: name.trim().to_owned() })
}

/// The inode of a line of /proc/net/tcp, when it is a listener that is in the way of `address`.
fn listener(line: &str, address: SocketAddr) -> Option<&str> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    let (ip, port) = local.split_once(':')?;
    if state != LISTEN || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let is_same = match (ip.len(), address.ip()) {
        // In the machine's own byte order, that is as little-endian words.
        (8, IpAddr::V4(wanted)) => {
            let bound = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_le_bytes());
            bound == wanted || bound.is_unspecified() || wanted.is_unspecified()
        }
        // A listener of the other family, or of version 6, may or may not be in the way: the kernel said that one is.
        _ => true,
    };
    // The fields up to the inode: queues, timer, retransmits, uid, timeout.
    if is_same { fields.nth(5) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("bound");
        let started = Instant::now();
        let Err(ServeError::Bind { holder: Some(holder), .. }) = bind("listen", address) else {
            panic!("it was bound twice, or nobody seems to hold it")
        };
        assert_eq!(holder.pid, std::process::id());
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "a port that is really taken is reported at once"
        );
        assert_eq!(super::holder(SocketAddr::new(Ipv4Addr::new(127, 1, 1, 1).into(), address.port())), None);
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        assert!(super::holder(everywhere).is_some(), "it is in the way of all addresses");
        drop(taken);
        drop(bind("listen", address).expect("it is free again"));
    }
}
