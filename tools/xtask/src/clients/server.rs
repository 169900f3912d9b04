//! The server the clients are run against.
//!
//! Invariant: it has an empty store, ports and credentials of its own; a run counts only when it ended in time and
//! logged no error. Runs in the process of `cargo xtask clients`; one run owns it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::run::{command, output};

const REGION: &str = "us-east-1";
/// The server zero-fills its volumes at the first start.
const START_SECONDS_MAX: u64 = 120;
const STOP_SECONDS_MAX: u64 = 40;

/// A server with an empty store, its own ports and credentials.
pub struct Server {
    child: Child,
    /// Its data and log, and the clients' scratch files.
    pub folder: PathBuf,
    endpoint: String,
    secret: String,
}

impl Server {
    /// Starts `binary` below `folder` and waits until it listens; an error is a message for the user.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self, String> {
        let folder = folder.join("run");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (listen, admin) = (free_port()?, free_port()?);
        let secret = format!("clients-{:x}-{listen}", std::process::id());
        let log = std::fs::File::create(folder.join("server.log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut start = Command::new(binary);
        start.arg("serve").arg("--data").arg(folder.join("data"));
        start.args([
            "--listen",
            &format!("127.0.0.1:{listen}"),
            "--admin-listen",
            &format!("127.0.0.1:{admin}"),
        ]);
        start.args(["--memory", "1G", "--region", REGION]);
        start.env("STRIA_ROOT_ACCESS_KEY", "clients").env("STRIA_ROOT_SECRET_KEY", &secret);
        let child = start.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut server = Self { child, folder, endpoint: format!("http://127.0.0.1:{listen}"), secret };
        server.wait_ready(listen)?;
        Ok(server)
    }

    fn wait_ready(&mut self, port: u16) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the server ended at its start ({status}):\n{}", self.log()));
            }
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        Err(format!("the server was not ready within {START_SECONDS_MAX} s:\n{}", self.log()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// Sets what a client's program needs to reach the server.
    pub fn environment(&self, program: &mut Command) {
        program
            .env("STRIA_ENDPOINT", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "clients")
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // Some set-ups point every client at a proxy's certificate; plain HTTP needs none.
            .env_remove("AWS_CA_BUNDLE")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
    }

    /// Ends the server as an operator would. It must end in time and have logged no error.
    pub fn stop(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("it ended while clients ran ({status}):\n{}", self.log()));
        }
        let _ = output(&mut command("kill", &["-TERM", &self.child.id().to_string()]));
        let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                _ if Instant::now() >= deadline => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(format!("it did not end within {STOP_SECONDS_MAX} s of SIGTERM"));
                }
                _ => sleep(Duration::from_millis(50)),
            }
        };
        let log = self.log();
        if !status.success() || log.lines().any(|line| line.contains(" ERROR ")) {
            return Err(format!("it ended with {status} and logged:\n{log}"));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
        Ok(())
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

/// A port nobody listens on now.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}
