//! `cargo xtask clients`: real S3 clients against a real server, each with its own program in `tools/clients`.
//!
//! Invariant: a client counts as passed only when its program ran to its end and said what it checked; one
//! that cannot be had is "not available", never passed. The server and its data are thrown away afterwards.
//! Runs in a process of its own; the developer or CI that started it owns the run.

mod page;
mod programs;
mod server;

use std::{
    io::Read,
    path::PathBuf,
    process::{ExitCode, Stdio},
    time::Instant,
};

use self::{
    programs::{Environment, Places, Program, Source},
    server::Server,
};
use crate::run::{command, succeeds, top};

/// One row of docs/clients.md.
struct Client {
    name: &'static str,
    program: Program,
    source: Source,
    /// Left out of CI's run: long to build or to run.
    long: bool,
}

impl Client {
    const fn own(name: &'static str, program: Program) -> Self {
        Self { name, program, source: Source::Program, long: false }
    }

    const fn python(name: &'static str, file: &'static str) -> Self {
        Self::own(name, Program::Python(Environment::Base, file, None))
    }

    const fn data(name: &'static str, file: &'static str) -> Self {
        Self::own(name, Program::Python(Environment::Data, file, None))
    }

    const fn shell(name: &'static str, file: &'static str) -> Self {
        Self::own(name, Program::Shell(file))
    }

    /// The client comes from there, not with its program.
    const fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    const fn long(mut self) -> Self {
        self.long = true;
        self
    }
}

const CLIENTS: &[Client] = &[
    Client::python("boto3", "boto.py"),
    Client::own("boto3-when-required", Program::Python(Environment::Base, "boto.py", Some("when_required"))),
    Client::python("lock-race", "lock_race.py"),
    Client::python("minio-py", "minio_py.py"),
    Client::shell("aws-cli", "aws_cli.sh"),
    Client::shell("s3cmd", "s3cmd.sh"),
    Client::own("s3fs-fsspec", Program::Python(Environment::S3fs, "fsspec_s3fs.py", None)).long(),
    Client::python("smart_open", "smart_open_py.py"),
    Client::data("pyarrow", "pyarrow_py.py").long(),
    Client::data("polars", "polars_py.py").long(),
    Client::data("duckdb-httpfs", "duckdb_py.py").long(),
    Client::data("opendal", "opendal_py.py").long(),
    Client::own("object_store", Program::Cargo("clients-rust")),
    Client::shell("rclone", "rclone.sh").from(Source::Debian("rclone", "rclone")),
    Client::own("aws-sdk-rust", Program::Cargo("aws-sdk")),
    Client::own("aws-sdk-go", Program::Go("aws")),
    Client::own("minio-go", Program::Go("minio")),
    Client::own("aws-sdk-js", Program::Node),
    Client::shell("s5cmd", "s5cmd.sh").from(Source::GoTool("s5cmd")).long(),
    Client::shell("restic", "restic.sh").from(Source::GoTool("restic")).long(),
    Client::shell("mc", "mc.sh").from(Source::GoTool("mc")).long(),
    Client::python("registry", "registry.py").from(Source::GoTool("registry")).long(),
    Client::shell("s3fs-fuse", "s3fs_fuse.sh").from(Source::Debian("s3fs", "s3fs")).long(),
    Client::shell("aws-cli-v2", "aws_cli.sh").from(Source::Debian("awscli", "aws")).long(),
    Client::own("warp", Program::None("the Go module proxy refuses the module")).long(),
];

/// How one client fared.
enum Verdict {
    Passed,
    Failed,
    NotAvailable(&'static str),
}

struct Row {
    client: &'static Client,
    version: String,
    what: String,
    seconds: u64,
    verdict: Verdict,
}

impl Row {
    fn result(&self) -> String {
        match self.verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed => "FAILED".to_owned(),
            Verdict::NotAvailable(why) => format!("not available: {why}"),
        }
    }
}

#[derive(Default)]
struct Options {
    only: Vec<String>,
    binary: Option<PathBuf>,
    quick: bool,
    write: bool,
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
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--binary" => options.binary = Some(arguments.next().ok_or("--binary needs a path")?.into()),
            "--quick" => options.quick = true,
            "--write" => options.write = true,
            name if CLIENTS.iter().any(|client| client.name == name) => options.only.push(name.to_owned()),
            other => {
                let known: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
                return Err(format!("no client '{other}'; known: {}", known.join(", ")));
            }
        }
    }
    if options.quick && options.write {
        return Err("the page shows whole runs: --write goes without --quick".into());
    }
    Ok(options)
}

fn is_wanted(client: &Client, options: &Options) -> bool {
    match options.only.is_empty() {
        true => !(options.quick && client.long),
        false => options.only.iter().any(|only| only == client.name),
    }
}

fn run_clients(options: &Options) -> Result<bool, String> {
    let folder = target().join("clients");
    let folder = std::fs::create_dir_all(&folder).and_then(|()| folder.canonicalize());
    let folder = folder.map_err(|error| format!("{}: {error}", target().display()))?;
    let places = Places { folder: folder.clone() };
    let binary = match &options.binary {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?,
        None => build()?,
    };
    let server = Server::start(&binary, &folder)?;
    let mut rows = Vec::new();
    for client in CLIENTS.iter().filter(|client| is_wanted(client, options)) {
        println!("== {}", client.name);
        rows.push(run_one(client, &places, &server, options.quick));
    }
    let stopped = server.stop();
    table(&rows);
    if let Err(message) = &stopped {
        println!("the server: {message}");
    }
    let passed = stopped.is_ok() && rows.iter().all(|row| !matches!(row.verdict, Verdict::Failed));
    if options.write {
        // A failure is written too: the page says what happened.
        return page::write(&rows).map(|()| passed);
    }
    let stale = page::stale(&rows)?;
    stale.iter().for_each(|line| println!("{line}"));
    Ok(passed && stale.is_empty())
}

fn run_one(client: &'static Client, places: &Places, server: &Server, quick: bool) -> Row {
    let mut row = Row { client, version: "-".into(), what: "-".into(), seconds: 0, verdict: Verdict::Failed };
    let mut program = match places.start_of(&client.program, &client.source) {
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
    program.env("STRIA_CLIENTS_NAME", client.name).stdout(Stdio::piped());
    // Building is not the client's time.
    let started = Instant::now();
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
            row.what = "see the output of the run".into();
        }
    }
    row
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

fn table(rows: &[Row]) {
    println!("\n| client | version | result | s | what ran |\n|---|---|---|---|---|");
    for row in rows {
        let (name, result) = (row.client.name, row.result());
        println!("| {name} | {} | {result} | {} | {} |", row.version, row.seconds, row.what);
    }
}
