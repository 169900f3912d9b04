//! `cargo xtask clients`: real S3 clients against a real server, each with its own program in `tools/clients`.
//!
//! Invariant: a client counts as passed only when its program ran to its end and said what it checked; one
//! that cannot be had is "not available", never passed. The server and its data are thrown away afterwards.

use std::{
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::run::{command, output, succeeds, top};

const REGION: &str = "us-east-1";
/// The server zero-fills its volumes at the first start.
const START_SECONDS_MAX: u64 = 120;
const STOP_SECONDS_MAX: u64 = 40;

/// How a client's program is started.
enum Program {
    /// A Python file and its argument, with the venv's interpreter.
    Python(&'static str, Option<&'static str>),
    /// A shell file; it needs this program, in the venv or on the path.
    Shell(&'static str, &'static str),
    /// A Rust program in `tools/clients-rust`.
    Cargo(&'static str),
    /// A Go program in `tools/clients/go`.
    Go(&'static str),
    /// The program in `tools/clients/js`.
    Node,
}

const CLIENTS: &[(&str, Program)] = &[
    ("boto3", Program::Python("boto.py", None)),
    ("boto3-when-required", Program::Python("boto.py", Some("when_required"))),
    ("minio-py", Program::Python("minio_py.py", None)),
    ("aws-cli", Program::Shell("aws_cli.sh", "aws")),
    ("s3cmd", Program::Shell("s3cmd.sh", "s3cmd")),
    ("rclone", Program::Shell("rclone.sh", "rclone")),
    ("object_store", Program::Cargo("clients-rust")),
    ("aws-sdk-rust", Program::Cargo("aws-sdk")),
    ("aws-sdk-go", Program::Go("aws")),
    ("minio-go", Program::Go("minio")),
    ("aws-sdk-js", Program::Node),
];

/// How one client fared.
enum Verdict {
    Passed,
    Failed,
    NotAvailable(&'static str),
}

struct Row {
    name: &'static str,
    version: String,
    what: String,
    seconds: u64,
    verdict: Verdict,
}

struct Options {
    only: Vec<String>,
    binary: Option<PathBuf>,
    quick: bool,
}

/// Runs all clients, or those named.
pub fn run(arguments: &[String]) -> ExitCode {
    match parse(arguments).and_then(|options| run_clients(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("clients: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { only: Vec::new(), binary: None, quick: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--binary" => options.binary = Some(arguments.next().ok_or("--binary needs a path")?.into()),
            "--quick" => options.quick = true,
            name if CLIENTS.iter().any(|(known, _)| *known == name) => options.only.push(name.to_owned()),
            other => {
                let known: Vec<&str> = CLIENTS.iter().map(|(name, _)| *name).collect();
                return Err(format!("no client '{other}'; known: {}", known.join(", ")));
            }
        }
    }
    Ok(options)
}

fn run_clients(options: &Options) -> Result<bool, String> {
    let folder = target().join("clients");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let venv = venv(&folder);
    let binary = match &options.binary {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?,
        None => build()?,
    };
    let server = Server::start(&binary, &folder)?;
    let mut rows = Vec::new();
    for (name, program) in CLIENTS {
        if options.only.is_empty() || options.only.iter().any(|only| only == name) {
            println!("== {name}");
            rows.push(run_one(name, program, &server, venv.as_deref(), options.quick));
        }
    }
    let stopped = server.stop();
    table(&rows);
    if let Err(message) = &stopped {
        println!("the server: {message}");
    }
    Ok(stopped.is_ok() && rows.iter().all(|row| !matches!(row.verdict, Verdict::Failed)))
}

fn run_one(name: &'static str, program: &Program, server: &Server, venv: Option<&Path>, quick: bool) -> Row {
    let started = Instant::now();
    let mut row =
        Row { name, version: "-".into(), what: String::new(), seconds: 0, verdict: Verdict::Failed };
    let mut program = match start_of(program, venv) {
        Ok(program) => program,
        Err(why) => {
            row.verdict = Verdict::NotAvailable(why);
            return row;
        }
    };
    let scratch = server.folder.join("scratch");
    let _ = std::fs::create_dir_all(&scratch);
    server.environment(&mut program);
    program.env("STRIA_CLIENTS_DIR", &scratch).env("STRIA_CLIENTS_QUICK", if quick { "1" } else { "0" });
    let bin = venv.map_or_else(|| PathBuf::from("/usr/bin"), |venv| venv.join("bin"));
    program.env("STRIA_CLIENTS_BIN", bin).stdout(Stdio::piped());
    let (passed, printed) = match program.spawn() {
        Ok(mut child) => {
            let mut printed = String::new();
            let read = child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut printed));
            let ended = child.wait().is_ok_and(|status| status.success());
            (ended && matches!(read, Some(Ok(_))), printed)
        }
        Err(error) => (false, format!("cannot start: {error}")),
    };
    row.seconds = started.elapsed().as_secs();
    let result = printed.lines().find_map(|line| line.strip_prefix("RESULT ")?.split_once('|'));
    match result {
        Some((version, what)) if passed => {
            (row.version, row.what, row.verdict) = (version.into(), what.into(), Verdict::Passed);
        }
        // Without its last line a program ended early, whatever its status says.
        _ => {
            print!("{printed}");
            row.what = "see above".into();
        }
    }
    row
}

/// The command of a client, or why there is none.
fn start_of(program: &Program, venv: Option<&Path>) -> Result<Command, &'static str> {
    let scripts = top().join("tools/clients");
    match program {
        Program::Python(file, argument) => {
            let venv = venv.ok_or("no Python environment")?;
            let mut command = Command::new(venv.join("bin/python"));
            command.arg(scripts.join(file)).args(*argument);
            Ok(command)
        }
        Program::Shell(file, needed) => {
            let in_venv = venv.is_some_and(|venv| venv.join("bin").join(needed).exists());
            // The scripts of clients from the venv look nowhere else.
            if !in_venv && (*needed != "rclone" || !rclone()) {
                return Err("not installed");
            }
            let mut command = Command::new("sh");
            command.arg(scripts.join(file));
            Ok(command)
        }
        Program::Cargo(binary) => {
            let manifest = top().join("tools/clients-rust/Cargo.toml");
            let target = target().join("clients/rust");
            let mut build =
                command("cargo", &["build", "--quiet", "--locked", "--bin", binary, "--manifest-path"]);
            build.arg(&manifest).arg("--target-dir").arg(&target);
            if !succeeds(&mut build) {
                return Err("could not be built");
            }
            Ok(Command::new(target.join("debug").join(binary)))
        }
        Program::Go(name) => go(name),
        Program::Node => node(),
    }
}

/// Builds a Go client; its modules are pinned by go.mod and go.sum and kept below `target`.
fn go(name: &str) -> Result<Command, &'static str> {
    if output(&mut command("go", &["version"])).is_none() {
        return Err("no Go");
    }
    let (kept, binary) = (target().join("clients/go"), target().join("clients/go/bin").join(name));
    let mut build = Command::new("go");
    build.current_dir(top().join("tools/clients/go")).args(["build", "-mod=readonly", "-modcacherw", "-o"]);
    build.arg(&binary).arg(format!("./{name}"));
    build.env("GOMODCACHE", kept.join("modules")).env("GOCACHE", kept.join("cache"));
    if !succeeds(&mut build) {
        return Err("could not be built");
    }
    Ok(Command::new(binary))
}

/// The JavaScript client, with its packages, pinned by package-lock.json, below `target`.
fn node() -> Result<Command, &'static str> {
    if output(&mut command("npm", &["--version"])).is_none() {
        return Err("no Node.js");
    }
    let (source, kept) = (top().join("tools/clients/js"), target().join("clients/js"));
    let lock = std::fs::read(source.join("package-lock.json")).map_err(|_| "no package-lock.json")?;
    let mark = kept.join("installed");
    if !std::fs::read(&mark).is_ok_and(|installed| installed == lock) {
        let copied = std::fs::create_dir_all(&kept)
            .and_then(|()| std::fs::copy(source.join("package.json"), kept.join("package.json")))
            .and_then(|_| std::fs::write(kept.join("package-lock.json"), &lock));
        let mut install = Command::new("npm");
        install.current_dir(&kept).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
        if copied.is_err() || !succeeds(&mut install) || std::fs::write(&mark, lock).is_err() {
            return Err("could not be installed");
        }
    }
    let mut program = Command::new("node");
    program.arg(source.join("client.mjs")).env("STRIA_CLIENTS_MODULES", &kept);
    Ok(program)
}

/// Whether rclone is there, or could be installed from Debian's archive.
fn rclone() -> bool {
    let is_there = || output(&mut command("rclone", &["version"])).is_some();
    is_there()
        || (output(&mut command("id", &["-u"])).is_some_and(|id| id.trim() == "0")
            && succeeds(command("apt-get", &["install", "-y", "-q", "rclone"]).stdout(Stdio::null()))
            && is_there())
}

/// The Python environment with the pinned clients, made when it is not there or the pins changed.
fn venv(folder: &Path) -> Option<PathBuf> {
    let (venv, pins) = (folder.join("venv"), top().join("tools/clients/requirements.txt"));
    let (wanted, mark) = (std::fs::read(&pins).ok()?, venv.join("installed"));
    if std::fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Some(venv);
    }
    println!("== Python environment in {}", venv.display());
    let made = succeeds(command("python3", &["-m", "venv", "--clear"]).arg(&venv))
        && succeeds(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&pins));
    if !made {
        return None;
    }
    std::fs::write(&mark, wanted).ok()?;
    Some(venv)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

fn build() -> Result<PathBuf, String> {
    if !succeeds(&mut command("cargo", &["build", "--quiet", "--package", "stria", "--bin", "stria"])) {
        return Err("the server does not build".into());
    }
    Ok(target().join("debug/stria"))
}

/// A server with an empty store, its own ports and credentials.
struct Server {
    child: Child,
    folder: PathBuf,
    endpoint: String,
    secret: String,
}

impl Server {
    fn start(binary: &Path, folder: &Path) -> Result<Self, String> {
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

    fn environment(&self, program: &mut Command) {
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
    fn stop(mut self) -> Result<(), String> {
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

fn table(rows: &[Row]) {
    println!("\n| client | version | result | s | what ran |\n|---|---|---|---|---|");
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed => "FAILED".to_owned(),
            Verdict::NotAvailable(why) => format!("not available: {why}"),
        };
        println!("| {} | {} | {verdict} | {} | {} |", row.name, row.version, row.seconds, row.what);
    }
}
