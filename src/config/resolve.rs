//! From file, environment and flags to one [`Config`]: file < environment < flags.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{
    Config, FlushMethod, IdentityConfig, IoBackend, LogLevel, Secret, Sync, identity,
    table::{Kind, OPTIONS, OptionRow, env_name},
    values::{parse_duration, parse_size, print_duration, print_size},
};

/// Why the options make no configuration. Each prints as one line with the remedy.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is no TOML.
    Syntax {
        /// Which.
        path: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
    /// The file has a key that is no option.
    Unknown {
        /// The key.
        key: String,
        /// The option it resembles most.
        nearest: &'static str,
    },
    /// A value is not of its kind or out of bounds.
    Value {
        /// The option.
        option: &'static str,
        /// Where the value came from.
        source: String,
        /// The value; empty for secrets.
        value: String,
        /// What is wanted.
        wanted: String,
    },
    /// An identity of the file is incomplete or shares a key with another.
    Identity {
        /// The file.
        path: PathBuf,
        /// Which table.
        which: String,
        /// What is wrong, and what to give.
        why: String,
    },
    /// Only one of the two root keys is given.
    HalfCredentials,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "cannot read the configuration {}: {error}", path.display()),
            Self::Syntax { path, error } => write!(f, "{} is not valid TOML: {}", path.display(), error.message()),
            Self::Unknown { key, nearest } => {
                write!(f, "unknown option '{key}' in the configuration file; did you mean '{nearest}'?")
            }
            Self::Value { option, source, value, wanted } => {
                write!(f, "{option} = '{value}' (from {source}) is not valid: {wanted}")
            }
            Self::Identity { path, which, why } => write!(f, "{}: {which}: {why}", path.display()),
            Self::HalfCredentials => {
                f.write_str("root-access-key and root-secret-key go together: give both, or neither to use the data directory's")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A raw value and where it came from.
#[derive(Clone)]
struct Raw {
    values: Vec<String>,
    source: String,
}

type Values = BTreeMap<&'static str, Raw>;

/// A clap command with one argument per option, plus `--config`.
#[must_use]
pub fn flags_command(command: Command) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file of the options below [env: STRIA_CONFIG]");
    OPTIONS.iter().fold(command.arg(config), |command, option| {
        let many = matches!(option.kind, Kind::Paths | Kind::Texts);
        let action = if many { ArgAction::Append } else { ArgAction::Set };
        command.arg(
            Arg::new(option.name)
                .long(option.name)
                .value_name(option.value)
                .action(action)
                .help(help_line(option)),
        )
    })
}

fn help_line(option: &OptionRow) -> String {
    let default = match option.default {
        "" => String::new(),
        text => format!(" [default: {text}]"),
    };
    let words = match option.kind {
        Kind::Choice(words) => format!(" [{}]", words.join("|")),
        _ => String::new(),
    };
    format!("{}{words}{default} [env: {}]", option.help, env_name(option))
}

/// The configuration from flags, environment and file.
///
/// # Errors
/// The first value that is wrong, with where it came from.
pub fn resolve(flags: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let file = flags.get_one::<String>("config").cloned().or_else(|| env("STRIA_CONFIG"));
    let (mut values, identities) = match file {
        Some(path) => from_file(PathBuf::from(path))?,
        None => (Values::new(), Vec::new()),
    };
    for option in OPTIONS {
        let name = env_name(option);
        if let Some(text) = env(&name) {
            values.insert(option.name, Raw { values: split(option, &text), source: name });
        }
        if let Some(given) = flags.get_many::<String>(option.name) {
            let raw = Raw { values: given.cloned().collect(), source: format!("--{}", option.name) };
            values.insert(option.name, raw);
        }
    }
    Ok(Config { identities, ..build(&values)? })
}

fn split(option: &OptionRow, text: &str) -> Vec<String> {
    match option.kind {
        Kind::Paths | Kind::Texts => text.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        _ => vec![text.to_owned()],
    }
}

fn from_file(path: PathBuf) -> Result<(Values, Vec<IdentityConfig>), ConfigError> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Err(ConfigError::File { path, error }),
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(ConfigError::Syntax { path, error: Box::new(error) }),
    };
    let (mut values, mut identities) = (Values::new(), Vec::new());
    for (key, value) in flattened(table) {
        if key == "identity" {
            identities = identity::parse(&path, value)?;
            continue;
        }
        let name = option_name(&key);
        let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
            let nearest = nearest(&name);
            return Err(ConfigError::Unknown { key, nearest });
        };
        let texts = match value {
            toml::Value::Array(items) => items.iter().map(plain).collect(),
            other => vec![plain(&other)],
        };
        values.insert(option.name, Raw { values: texts, source: path.display().to_string() });
    }
    Ok((values, identities))
}

/// Keys with the tables they stand in: `s3.region`.
fn flattened(table: toml::Table) -> impl Iterator<Item = (String, toml::Value)> {
    table.into_iter().flat_map(|(key, value)| match value {
        toml::Value::Table(inner) if key != "identity" => {
            inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)).collect()
        }
        value => vec![(key, value)],
    })
}

/// The option a key of the file means: `_` stands for `-`, and the table `s3` for nothing.
fn option_name(key: &str) -> String {
    key.strip_prefix("s3.").unwrap_or(key).replace(['_', '.'], "-")
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The option whose name shares most letters with `key`, for "did you mean".
fn nearest(key: &str) -> &'static str {
    let shared = |name: &str| {
        let prefix = name.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        let letters = key.bytes().filter(|b| name.as_bytes().contains(b)).count();
        (prefix * 2 + letters, usize::MAX - name.len().abs_diff(key.len()))
    };
    OPTIONS.iter().map(|option| option.name).max_by_key(|name| shared(name)).unwrap_or("data")
}

/// Typed access to the raw values.
struct Reader<'a>(&'a Values);

impl Reader<'_> {
    fn row(name: &'static str) -> &'static OptionRow {
        OPTIONS.iter().find(|option| option.name == name).expect("only names of the table are read")
    }

    fn raw(&self, name: &'static str) -> Option<Raw> {
        let option = Self::row(name);
        self.0.get(name).cloned().or_else(|| {
            (!option.default.is_empty())
                .then(|| Raw { values: vec![option.default.to_owned()], source: "the default".to_owned() })
        })
    }

    fn text(&self, name: &'static str) -> Option<(String, String)> {
        let raw = self.raw(name)?;
        Some((raw.values.last()?.clone(), raw.source))
    }

    fn many(&self, name: &'static str) -> Vec<String> {
        self.raw(name).map(|raw| raw.values).unwrap_or_default()
    }

    fn wrong<T>(
        name: &'static str,
        (value, source): (String, String),
        wanted: String,
    ) -> Result<T, ConfigError> {
        Err(ConfigError::Value { option: name, source, value, wanted })
    }

    fn count(&self, name: &'static str) -> Result<u64, ConfigError> {
        let Kind::Count { min, max } = Self::row(name).kind else { panic!("{name} is no count") };
        let given = self.text(name).expect("counts have defaults");
        match given.0.parse::<u64>() {
            Ok(count) if (min..=max).contains(&count) => Ok(count),
            _ => Self::wrong(name, given, format!("give a whole number from {min} to {max}")),
        }
    }

    fn power_of_two(&self, name: &'static str) -> Result<u16, ConfigError> {
        let count = self.count(name)?;
        if count == 0 || count.is_power_of_two() {
            return Ok(u16::try_from(count).expect("the bounds of PG counts fit 16 bits"));
        }
        let given = self.text(name).expect("counts have defaults");
        Self::wrong(name, given, "give a power of two".to_owned())
    }

    fn size(&self, name: &'static str) -> Result<Option<u64>, ConfigError> {
        let Kind::Size { min, max } = Self::row(name).kind else { panic!("{name} is no size") };
        let Some(given) = self.text(name) else { return Ok(None) };
        match parse_size(&given.0) {
            Some(bytes) if (min..=max).contains(&bytes) => Ok(Some(bytes)),
            Some(_) => Self::wrong(
                name,
                given,
                format!("give a size from {} to {}", print_size(min), print_size(max)),
            ),
            None => Self::wrong(name, given, "give a size such as 512M or 4G".to_owned()),
        }
    }

    /// Seconds.
    fn duration(&self, name: &'static str) -> Result<u64, ConfigError> {
        let Kind::Duration { min_s, max_s } = Self::row(name).kind else { panic!("{name} is no time") };
        let given = self.text(name).expect("times have defaults");
        match parse_duration(&given.0) {
            Some(seconds) if (min_s..=max_s).contains(&seconds) => Ok(seconds),
            _ => Self::wrong(
                name,
                given,
                format!(
                    "give a time from {} to {}, such as 12h",
                    print_duration(min_s),
                    print_duration(max_s)
                ),
            ),
        }
    }

    fn choice(&self, name: &'static str) -> Result<Option<usize>, ConfigError> {
        let Kind::Choice(words) = Self::row(name).kind else { panic!("{name} is no choice") };
        let Some(given) = self.text(name) else { return Ok(None) };
        match words.iter().position(|word| *word == given.0) {
            Some(index) => Ok(Some(index)),
            None => Self::wrong(name, given, format!("give one of {}", words.join(", "))),
        }
    }

    fn address(&self, name: &'static str) -> Result<SocketAddr, ConfigError> {
        let given = self.text(name).expect("addresses have defaults");
        let full = if given.0.starts_with(':') { format!("0.0.0.0{}", given.0) } else { given.0.clone() };
        match full.to_socket_addrs().ok().and_then(|mut found| found.next()) {
            Some(address) => Ok(address),
            None => Self::wrong(name, given, "give host:port, such as 127.0.0.1:9000".to_owned()),
        }
    }

    fn bool(&self, name: &'static str) -> Result<bool, ConfigError> {
        let given = self.text(name).expect("switches have defaults");
        match given.0.as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Self::wrong(name, given, "give true or false".to_owned()),
        }
    }
}

fn build(values: &Values) -> Result<Config, ConfigError> {
    let read = Reader(values);
    let root_access_key = read.text("root-access-key").map(|(text, _)| text);
    let root_secret_key = read.text("root-secret-key").map(|(text, _)| Secret(text));
    if root_access_key.is_some() != root_secret_key.is_some() {
        return Err(ConfigError::HalfCredentials);
    }
    let cores = match read.count("cores")? {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        n => n,
    };
    let memory_bytes = read.size("memory")?.unwrap_or_else(memory_default);
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];
    Ok(Config {
        data: PathBuf::from(read.text("data").expect("it has a default").0),
        devices: read.many("device").into_iter().map(PathBuf::from).collect(),
        listen: read.address("listen")?,
        admin_listen: read.address("admin-listen")?,
        cores: u16::try_from(cores).unwrap_or(1024).min(1024),
        pin: read.bool("pin")?,
        memory_bytes,
        index_bytes: read.size("index-memory")?.unwrap_or(u64::MAX).min(memory_bytes / 2),
        sync: sync(&read)?,
        io_backend: [IoBackend::Auto, IoBackend::Uring, IoBackend::Epoll]
            [read.choice("io-backend")?.unwrap_or(0)],
        flush_method: [FlushMethod::Auto, FlushMethod::Fdatasync, FlushMethod::Dsync]
            [read.choice("flush-method")?.unwrap_or(0)],
        spin_us: read.count("spin-us")? as u32,
        pg_count: read.power_of_two("pg-count")?,
        bucket_pgs: Some(read.power_of_two("bucket-pgs")?).filter(|pgs| *pgs > 0),
        connections_max: read.count("connections-max")? as u32,
        region: read.text("region").expect("it has a default").0,
        buckets_closed: read.choice("bucket-defaults")? != Some(1),
        owner_display_name: read.bool("owner-display-name")?,
        ssec_over_http: read.bool("ssec-over-http")?,
        lifecycle_day_s: read.count("lifecycle-day-seconds")? as u32,
        domains: read.many("domain"),
        website_domains: website_domains(&read)?,
        root_access_key,
        root_secret_key,
        identities: Vec::new(),
        scrub_period_s: read.duration("scrub-period")?,
        scrub_light_period_s: read.duration("scrub-light-period")?,
        scrub_share: read.count("scrub-share")? as u32,
        scrub_readback: read.count("scrub-readback")?,
        log_level: levels[read.choice("log-level")?.unwrap_or(2)],
    })
}

/// A host cannot be both an endpoint of S3 and a website.
fn website_domains(read: &Reader<'_>) -> Result<Vec<String>, ConfigError> {
    const NAME: &str = "website-domain";
    let domains = read.many(NAME);
    let base = read.many("domain");
    match domains.iter().find(|name| base.iter().any(|other| other.eq_ignore_ascii_case(name))) {
        None => Ok(domains),
        Some(name) => {
            let source = read.raw(NAME).map(|raw| raw.source).unwrap_or_default();
            Reader::wrong(
                NAME,
                (name.clone(), source),
                "give a domain that is not also given as domain".to_owned(),
            )
        }
    }
}

fn sync(read: &Reader<'_>) -> Result<Sync, ConfigError> {
    let preset = read.choice("preset")?.unwrap_or(0);
    // The presets durable, balanced, performance as indices of the words of `sync`.
    let index = read.choice("sync")?.unwrap_or([0, 2, 3][preset]);
    Ok(match index {
        0 => Sync::Always,
        1 => Sync::Threshold { bytes: read.size("sync-bytes")?.expect("it has a default") },
        2 => Sync::Periodic { ms: read.count("sync-ms")? },
        _ => Sync::None,
    })
}

/// A quarter of RAM, at least 256 MiB.
fn memory_default() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0);
    (total_kib * 1024 / 4).max(256 * stria_base::MIB)
}
