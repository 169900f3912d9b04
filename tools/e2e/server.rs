//! The server under test: a process with its own ports, data directory and credentials.
//!
//! Invariant: no process and no directory outlives the test run, whatever ends it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread::sleep,
    time::{Duration, Instant},
};

pub const ACCESS_KEY: &str = "e2e-root";
pub const SECRET_KEY: &str = "e2e-secret-of-the-test-server";
/// Base domain of virtual-host style.
pub const DOMAIN: &str = "s3.test";
/// Base domain of websites.
pub const WEBSITE_DOMAIN: &str = "web.s3.test";
const PORTS_FIRST: u16 = 12_000;
const PORTS_COUNT: u32 = 20_000;
const START_SECONDS_MAX: u64 = 120;
const STOP_SECONDS_MAX: u64 = 40;

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub s3: u16,
    pub admin: u16,
}

impl Ports {
    /// Two nobody listens on now, below the ports that the kernel gives to outgoing connections: one of
    /// those could take a port before the server does.
    pub fn free() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(97);
        let free = || {
            let tried = (0..PORTS_COUNT).find_map(|_| {
                let step = NEXT.fetch_add(1, Relaxed);
                let port = PORTS_FIRST + (start.wrapping_add(step) % PORTS_COUNT) as u16;
                TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
            });
            tried.expect("a free port")
        };
        Self { s3: free(), admin: free() }
    }
}

/// `stria serve` on these ports and this directory.
pub fn command(ports: Ports, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stria"));
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", &format!("127.0.0.1:{}", ports.s3)]);
    command.args(["--admin-listen", &format!("127.0.0.1:{}", ports.admin)]);
    command.args(["--cores", "2", "--pin", "false", "--memory", "256M", "--domain", DOMAIN]);
    command.args(["--website-domain", WEBSITE_DOMAIN]);
    if let Ok(backend) = std::env::var("STRIA_TEST_IO_BACKEND") {
        command.args(["--io-backend", &backend]);
    }
    command.env("STRIA_ROOT_ACCESS_KEY", ACCESS_KEY).env("STRIA_ROOT_SECRET_KEY", SECRET_KEY);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits until both ports answer. The admin port does when signals are heeded, so a test may stop it at once.
fn wait_ready(ports: Ports, mut ended: impl FnMut() -> Option<String>) {
    let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
    while TcpStream::connect(("127.0.0.1", ports.s3)).is_err() || !is_healthy(ports.admin) {
        if let Some(why) = ended() {
            panic!("the server ended at its start: {why}");
        }
        assert!(Instant::now() < deadline, "the server was not ready within {START_SECONDS_MAX} s");
        sleep(Duration::from_millis(20));
    }
}

fn is_healthy(admin: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(START_SECONDS_MAX)));
    let asked = stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    asked.is_ok() && stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
}

/// The port of the server all tests share that do not stop it.
///
/// A shell holds it: when this process ends, however it ends, the shell's input ends, and it removes both.
pub fn shared() -> u16 {
    static SHARED: OnceLock<(u16, Child)> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let ports = Ports::free();
            let data = tempfile::tempdir().expect("a directory").keep();
            let server = command(ports, &data);
            let mut shell = Command::new("sh");
            shell.args(["-c", r#"data=$1; shift; "$@" & cat; kill -9 $!; wait; rm -rf "$data""#, "sh"]);
            shell.arg(&data).arg(server.get_program()).args(server.get_args());
            for (name, value) in server.get_envs() {
                shell.env(name, value.expect("set, not removed"));
            }
            let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh");
            wait_ready(ports, || None);
            (ports.s3, shell)
        })
        .0
}

/// A server of one test, killed when dropped.
pub struct Server {
    pub ports: Ports,
    data: PathBuf,
    child: Child,
}

impl Server {
    /// On a directory that may hold a store already.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// With more flags.
    pub fn start_with(data: &Path, flags: &[&str]) -> Self {
        Self::start_so(Ports::free(), data, flags)
    }

    /// On these ports.
    pub fn start_on(ports: Ports, data: &Path) -> Self {
        Self::start_so(ports, data, &[])
    }

    fn start_so(ports: Ports, data: &Path, flags: &[&str]) -> Self {
        let child = command(ports, data).args(flags).stderr(Stdio::null()).spawn().expect("the server");
        let mut server = Self { ports, data: data.to_owned(), child };
        let child = &mut server.child;
        wait_ready(ports, || child.try_wait().expect("a child").map(|status| status.to_string()));
        server
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Stops it as an operator does.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert!(self.wait().success(), "an orderly stop");
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("the server did not end within {STOP_SECONDS_MAX} s");
        }
        sleep(Duration::from_millis(10));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a server that must refuse to start: what it wrote to stderr.
pub fn refused(command: &mut Command) -> String {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the server");
    let status = wait(&mut child);
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

/// What a server says that refuses to start with these flags.
pub fn refused_with(data: &Path, flags: &[String]) -> String {
    refused(command(Ports::free(), data).args(flags))
}
