//! A Stria of the suite's own, when no endpoint is given.
//!
//! Invariant: neither its process nor its directory outlives the run. Any thread, one owner.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::target::Target;

/// The operator may use every bucket: no case is asked in his name.
const OPERATOR: (&str, &str) = ("conformance-operator", "conformance-operator-secret");
const ACCESS_KEY: &str = "conformance-first";
const SECRET: &str = "conformance-first-secret";
const ALT: (&str, &str) = ("conformance-alt", "conformance-alt-secret");
const ALT_EMAIL: &str = "second@s3.test";
const DOMAIN: &str = "s3.test";
const START_S_MAX: u64 = 30;

/// A running server.
pub struct Server {
    child: Child,
    data: PathBuf,
    /// How to reach it.
    pub target: Target,
}

fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| error.to_string())
}

impl Server {
    /// On free ports and a new directory.
    ///
    /// # Errors
    /// Why it does not serve.
    pub fn start(binary: &Path) -> Result<Self, String> {
        let data = std::env::temp_dir().join(format!("stria-conformance-{}", std::process::id()));
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let file = data.join("stria.toml");
        let (alt, alt_secret) = ALT;
        let text = format!(
            "[[identity]]\nname = \"first\"\naccess_key = \"{ACCESS_KEY}\"\nsecret_key = \"{SECRET}\"\naccount = \"111122223333\"\n\n[[identity]]\nname = \"second\"\naccess_key = \"{alt}\"\nsecret_key = \"{alt_secret}\"\naccount = \"222233334444\"\nemail = \"{ALT_EMAIL}\"\n"
        );
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let (port, admin) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&file).arg("--data").arg(data.join("store"));
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]);
        command.args(["--cores", "2", "--pin", "false", "--memory", "512M", "--domain", DOMAIN]);
        command.env("STRIA_ROOT_ACCESS_KEY", OPERATOR.0).env("STRIA_ROOT_SECRET_KEY", OPERATOR.1);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("{}: {error}", binary.display()))?;
        let target = Target {
            address: format!("127.0.0.1:{port}"),
            access_key: ACCESS_KEY.into(),
            secret: SECRET.into(),
            region: "us-east-1".into(),
            alt: Some((alt.into(), alt_secret.into())),
            alt_email: Some(ALT_EMAIL.into()),
            domain: Some(DOMAIN.into()),
        };
        let mut server = Self { child, data, target };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(START_S_MAX);
        while TcpStream::connect(&self.target.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the server ended at its start: {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("not ready within {START_S_MAX} s"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
