//! A server under test: started as a user would, killed as a power cut would.
//!
//! Invariant: no process outlives its `Server`. Any thread, one owner.

use std::{
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::client::{ACCESS_KEY, Client, SECRET_KEY};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The `stria` program.
    pub binary: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Where S3 is served.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// Further flags.
    pub flags: Vec<String>,
    /// CPU to bind the process to.
    pub cpu: Option<usize>,
}

/// A running server.
pub struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// What the banner said.
#[derive(Clone, Debug, Default)]
pub struct Banner {
    /// Log read at start, bytes (rounded as printed).
    pub log_bytes: f64,
    /// Time that took, milliseconds.
    pub replay_ms: f64,
    /// From the start of the process to the last line of the banner.
    pub ready: Duration,
    /// Lines that warn.
    pub warnings: Vec<String>,
}

/// Two ports that were free a moment ago.
///
/// # Errors
/// When the machine has none.
pub fn free_ports() -> io::Result<(SocketAddr, SocketAddr)> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (first, second) = (bind()?, bind()?);
    Ok((first.local_addr()?, second.local_addr()?))
}

impl Setup {
    /// Of a program and a data directory, on free ports.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(binary: &Path, data: &Path) -> io::Result<Self> {
        let (listen, admin) = free_ports()?;
        let (binary, data) = (binary.to_path_buf(), data.to_path_buf());
        Ok(Self { binary, data, listen, admin, flags: Vec::new(), cpu: None })
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, cores: u16, log: &Path) -> io::Result<Server> {
        let mut command = match self.cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(cpu.to_string()).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.arg("serve").arg("--data").arg(&self.data);
        command.args(["--listen", &self.listen.to_string(), "--admin-listen", &self.admin.to_string()]);
        command.args(["--cores", &cores.to_string()]).args(&self.flags);
        command.env("STRIA_ROOT_ACCESS_KEY", ACCESS_KEY).env("STRIA_ROOT_SECRET_KEY", SECRET_KEY);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let lines = BufReader::new(child.stdout.take().expect("piped above"));
        Ok(Server { child, lines })
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When it ends before it serves; its log says why.
    pub fn start(&self, cores: u16, log: &Path) -> io::Result<(Server, Banner)> {
        let started = Instant::now();
        let mut server = self.spawn(cores, log)?;
        let mut banner = Banner::default();
        loop {
            let mut line = String::new();
            if server.lines.read_line(&mut line)? == 0 {
                let status = server.child.wait()?;
                return Err(io::Error::other(format!("the server ended at start: {status}")));
            }
            if let Some(rest) = line.trim().strip_prefix("recovered") {
                (banner.log_bytes, banner.replay_ms) = recovered(rest);
            }
            if line.contains("WARNING") {
                banner.warnings.push(line.trim().to_owned());
            }
            if line.contains("ready after") {
                banner.ready = started.elapsed();
                return Ok((server, banner));
            }
        }
    }
}

/// The page of figures that the admin port shows.
pub struct Metrics(String);

impl Metrics {
    /// As it is now.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub fn read(setup: &Setup) -> io::Result<Self> {
        let page = Client::new(setup.admin).request("GET", "/metrics", b"")?.body;
        Ok(Self(String::from_utf8_lossy(&page).into_owned()))
    }

    /// A figure, summed over the cores.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        self.0.lines().filter(of).filter_map(value).sum()
    }
}

/// `97.5 MiB of log in 12 ms`
fn recovered(text: &str) -> (f64, f64) {
    let words: Vec<&str> = text.split([' ', '(', ')', ',']).filter(|word| !word.is_empty()).collect();
    let number = |i: usize| words.get(i).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    let size = words.iter().position(|word| *word == "of").map_or(0, |i| i.saturating_sub(2));
    let unit = match words.get(size + 1).copied() {
        Some("KiB") => 1024.0,
        Some("MiB") => 1048576.0,
        Some("GiB") => 1073741824.0,
        _ => 1.0,
    };
    let ms = words.iter().position(|word| *word == "in").map_or(0.0, |i| number(i + 1));
    (number(size) * unit, ms)
}

impl Server {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as a power cut would: SIGKILL. Data that the kernel holds survives.
    ///
    /// # Errors
    /// When it had already ended by itself: that is a crash of its own.
    pub fn kill(mut self) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the server had ended by itself: {status}")));
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ends it in order: SIGTERM.
    ///
    /// # Errors
    /// When it does not end with success.
    pub fn stop(mut self) -> io::Result<()> {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the stop failed: {status}"))) }
    }

    /// A line of /proc/PID/status, in KiB: `VmRSS`, `VmHWM`.
    #[must_use]
    pub fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
