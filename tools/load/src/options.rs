//! The few options of this tool.
//!
//! Invariant: an option that is not understood is refused, never ignored. Any thread.

use std::path::PathBuf;

/// What a run is given.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `stria` program under test.
    pub binary: PathBuf,
    /// A program to compare it with.
    pub before: Option<PathBuf>,
    /// Objects of an index run.
    pub objects: u64,
    /// Size of an object of a scale run.
    pub object_bytes: u64,
    /// Memory of the server of a scale run.
    pub memory: String,
    /// Memory of its index.
    pub index_memory: Option<String>,
    /// Kills of a crash run.
    pub kills: u64,
    /// How long a churn run goes on.
    pub seconds: u64,
    /// Requests a second of it.
    pub rate: u64,
    /// What chance depends on.
    pub seed: u64,
    /// Folder for stores and ledgers.
    pub data: PathBuf,
}

impl Options {
    /// Of the words after the command.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn parse(words: &[String], seed: u64) -> Result<Self, String> {
        let mut options = Self {
            binary: "stria".into(),
            before: None,
            objects: 1_000_000,
            object_bytes: 1024,
            memory: "8G".to_owned(),
            index_memory: None,
            kills: 20,
            seconds: 1800,
            rate: 100,
            seed,
            data: std::env::temp_dir().join("stria-load"),
        };
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} needs a value", pair[0])) };
            let number = || value.parse().map_err(|_| format!("{name} {value}: a number is needed"));
            match name.as_str() {
                "--binary" => options.binary = value.into(),
                "--before" => options.before = Some(value.into()),
                "--object-bytes" => options.object_bytes = number()?,
                "--memory" => options.memory.clone_from(value),
                "--index-memory" => options.index_memory = Some(value.clone()),
                "--objects" => options.objects = number()?,
                "--data" => options.data = value.into(),
                "--kills" => options.kills = number()?,
                "--seconds" => options.seconds = number()?,
                "--rate" => options.rate = number()?,
                "--seed" => options.seed = number()?,
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(options)
    }
}
