//! How a client's program is had and started: Python environment, Go tools, Debian packages, Cargo, npm.
//!
//! Invariant: every version is pinned in a file of `tools/clients` (requirements.txt, go-tools.txt, go.mod,
//! package-lock.json) or of `tools/clients-rust` (Cargo.lock); only Debian's packages are what the machine's archive
//! has. What is installed is kept below `target/clients`. Runs in the process of `cargo xtask clients`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::run::{command, output, succeeds, top};

/// How a client's program is started.
pub enum Program {
    /// A Python file and its argument, with the interpreter of an environment.
    Python(Environment, &'static str, Option<&'static str>),
    /// A shell file.
    Shell(&'static str),
    /// A Rust program in `tools/clients-rust`.
    Cargo(&'static str),
    /// A Go program in `tools/clients/go`.
    Go(&'static str),
    /// The program in `tools/clients/js`.
    Node,
    /// No registry offers it; why.
    None(&'static str),
}

/// A Python environment: the packages of one requirements file.
#[derive(Clone, Copy)]
pub enum Environment {
    Base,
    Data,
    S3fs,
}

impl Environment {
    /// Its folder and the file with its packages.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Base => ("venv", "requirements.txt"),
            Self::Data => ("venv-data", "requirements-data.txt"),
            Self::S3fs => ("venv-s3fs", "requirements-s3fs.txt"),
        }
    }
}

/// Where the client itself comes from.
pub enum Source {
    /// With its program.
    Program,
    /// A Go tool, named in go-tools.txt.
    GoTool(&'static str),
    /// A package of Debian and the binary in it.
    Debian(&'static str, &'static str),
}

/// Where everything is kept that was installed or built.
pub struct Places {
    pub folder: PathBuf,
}

impl Places {
    /// The command of a client, or why there is none.
    pub fn start_of(&self, program: &Program, source: &Source) -> Result<Command, &'static str> {
        match source {
            Source::Program => {}
            Source::GoTool(name) => self.go_tool(name)?,
            Source::Debian(package, binary) => debian(package, binary)?,
        }
        let scripts = top().join("tools/clients");
        let mut started = match program {
            Program::Python(environment, file, argument) => {
                let mut command = Command::new(self.venv(*environment)?.join("bin/python"));
                command.arg(scripts.join(file)).args(*argument);
                command
            }
            Program::Shell(file) => {
                let mut command = command("sh", &[&scripts.join(file).display().to_string()]);
                command.env("STRIA_CLIENTS_BIN", self.venv(Environment::Base)?.join("bin"));
                command
            }
            Program::Cargo(binary) => self.cargo(binary)?,
            Program::Go(name) => self.go(name)?,
            Program::Node => self.node()?,
            Program::None(why) => return Err(why),
        };
        started.env("STRIA_CLIENTS_TOOLS", self.tools());
        Ok(started)
    }

    /// An environment with its pinned packages, made when it is not there or the pins changed.
    fn venv(&self, environment: Environment) -> Result<PathBuf, &'static str> {
        let (name, file) = environment.names();
        let (venv, pins) = (self.folder.join(name), top().join("tools/clients").join(file));
        // The other files lean on the first for the versions they share.
        let base = pins.with_file_name("requirements.txt");
        let wanted = std::fs::read(&pins).and_then(|pins| Ok([pins, std::fs::read(base)?].concat()));
        let (wanted, mark) = (wanted.map_err(|_| "no list of its packages")?, venv.join("installed"));
        if std::fs::read(&mark).is_ok_and(|installed| installed == wanted) {
            return Ok(venv);
        }
        println!("== Python environment in {}", venv.display());
        let made = succeeds(command("python3", &["-m", "venv", "--clear"]).arg(&venv))
            && succeeds(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&pins));
        if !made || std::fs::write(&mark, wanted).is_err() {
            return Err("no Python environment");
        }
        Ok(venv)
    }

    fn cargo(&self, binary: &str) -> Result<Command, &'static str> {
        let manifest = top().join("tools/clients-rust/Cargo.toml");
        let target = self.folder.join("rust");
        let mut build =
            command("cargo", &["build", "--quiet", "--locked", "--bin", binary, "--manifest-path"]);
        build.arg(&manifest).arg("--target-dir").arg(&target);
        if !succeeds(&mut build) {
            return Err("could not be built");
        }
        Ok(Command::new(target.join("debug").join(binary)))
    }

    /// Builds a Go client; its modules are pinned by go.mod and go.sum.
    fn go(&self, name: &str) -> Result<Command, &'static str> {
        let binary = self.folder.join("go/bin").join(name);
        let mut build = self.go_command()?;
        build.current_dir(top().join("tools/clients/go")).args(["build", "-mod=readonly", "-modcacherw"]);
        build.arg("-o").arg(&binary).arg(format!("./{name}"));
        if !succeeds(&mut build) {
            return Err("could not be built");
        }
        Ok(Command::new(binary))
    }

    /// Builds a Go tool at its pinned version, unless that one is there.
    fn go_tool(&self, name: &str) -> Result<(), &'static str> {
        let (module, folder) = go_pin(name).ok_or("not in go-tools.txt")?;
        let (binary, mark) = (self.tools().join(name), self.tools().join(format!("{name}.pin")));
        if binary.exists() && std::fs::read_to_string(&mark).is_ok_and(|have| have == module) {
            return Ok(());
        }
        let mut download = self.go_command()?;
        download.current_dir(&self.folder).args(["mod", "download", "-modcacherw", "-json", &module]);
        let source: Option<serde_json::Value> =
            output(&mut download).and_then(|text| serde_json::from_str(&text).ok());
        let source = source
            .as_ref()
            .and_then(|found| found["Dir"].as_str())
            .ok_or("the Go module proxy refuses it")?;
        // In its own module, with the versions its authors chose; `go install` would want the list of all versions as well,
        // which the proxy refuses for some.
        let mut build = self.go_command()?;
        build.current_dir(source).args(["build", "-mod=readonly", "-modcacherw", "-buildvcs=false", "-o"]);
        build.arg(&binary).arg(folder);
        if !succeeds(&mut build) || std::fs::write(mark, module).is_err() {
            return Err("could not be built");
        }
        Ok(())
    }

    fn go_command(&self) -> Result<Command, &'static str> {
        if output(&mut command("go", &["version"])).is_none() {
            return Err("no Go");
        }
        let kept = self.folder.join("go");
        let mut go = Command::new("go");
        go.env("GOMODCACHE", kept.join("modules")).env("GOCACHE", kept.join("cache"));
        Ok(go)
    }

    fn tools(&self) -> PathBuf {
        self.folder.join("go/tools")
    }

    /// The JavaScript client, with its packages, pinned by package-lock.json.
    fn node(&self) -> Result<Command, &'static str> {
        if output(&mut command("npm", &["--version"])).is_none() {
            return Err("no Node.js");
        }
        let (source, kept) = (top().join("tools/clients/js"), self.folder.join("js"));
        let lock = std::fs::read(source.join("package-lock.json")).map_err(|_| "no package-lock.json")?;
        let mark = kept.join("installed");
        if !std::fs::read(&mark).is_ok_and(|installed| installed == lock) {
            let copied = std::fs::create_dir_all(&kept)
                .and_then(|()| std::fs::copy(source.join("package.json"), kept.join("package.json")))
                .and_then(|_| std::fs::write(kept.join("package-lock.json"), &lock));
            let mut install = Command::new("npm");
            install.current_dir(&kept).args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--silent",
            ]);
            if copied.is_err() || !succeeds(&mut install) || std::fs::write(&mark, lock).is_err() {
                return Err("could not be installed");
            }
        }
        let mut program = Command::new("node");
        program.arg(source.join("client.mjs")).env("STRIA_CLIENTS_MODULES", &kept);
        Ok(program)
    }
}

/// `MODULE@VERSION` of a Go tool and the folder of its command: the line of go-tools.txt that starts with its name.
fn go_pin(name: &str) -> Option<(String, String)> {
    let pins = std::fs::read_to_string(top().join("tools/clients/go-tools.txt")).ok()?;
    let mut lines = pins.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find_map(|line| match line[..] {
        [tool, module, folder] if tool == name => Some((module.to_owned(), folder.to_owned())),
        _ => None,
    })
}

/// Whether a package of Debian's archive is there, or could be installed.
fn debian(package: &str, binary: &str) -> Result<(), &'static str> {
    let is_there = || Path::new("/usr/bin").join(binary).exists();
    let is_root = || output(&mut command("id", &["-u"])).is_some_and(|id| id.trim() == "0");
    let mut install = command("apt-get", &["install", "-y", "-q", "--no-install-recommends", package]);
    install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    if is_there() || (is_root() && succeeds(&mut install) && is_there()) {
        return Ok(());
    }
    Err("not installed")
}
