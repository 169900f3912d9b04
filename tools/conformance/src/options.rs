//! The options of this tool.
//!
//! Invariant: an option that is not understood is refused, never ignored. Any thread.

use std::path::PathBuf;

use crate::target::Target;

/// What a run is given.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `http://host:port` of a server that runs.
    pub endpoint: Option<String>,
    pub access_key: String,
    pub secret: String,
    pub region: Option<String>,
    pub alt_access_key: Option<String>,
    pub alt_secret: Option<String>,
    pub alt_email: Option<String>,
    pub domain: Option<String>,
    /// Areas, or ids, or their beginnings; all when empty.
    pub filters: Vec<String>,
    pub junit: Option<PathBuf>,
    pub json: Option<PathBuf>,
    /// The `stria` program to start when there is no endpoint.
    pub binary: PathBuf,
    /// Names cases instead of running them.
    pub lists: bool,
}

impl Options {
    /// Of the words of the command line.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut options = Self { binary: "stria".into(), ..Self::default() };
        let mut words = words.iter();
        while let Some(name) = words.next() {
            if name == "--list" {
                options.lists = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--endpoint" => options.endpoint = Some(value.clone()),
                "--access-key" => options.access_key = value.clone(),
                "--secret-key" => options.secret = value.clone(),
                "--region" => options.region = Some(value.clone()),
                "--alt-access-key" => options.alt_access_key = Some(value.clone()),
                "--alt-secret-key" => options.alt_secret = Some(value.clone()),
                "--alt-email" => options.alt_email = Some(value.clone()),
                "--domain" => options.domain = Some(value.clone()),
                "--filter" => options.filters.extend(value.split(',').map(str::to_owned)),
                "--junit" => options.junit = Some(value.into()),
                "--json" => options.json = Some(value.into()),
                "--binary" => options.binary = value.into(),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }

    /// The endpoint that was given.
    ///
    /// # Errors
    /// When it is none of plain HTTP, or has no credentials.
    pub fn target(&self) -> Result<Option<Target>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let address = endpoint.strip_prefix("http://").ok_or("--endpoint has to be http://host:port")?;
        let address = address.trim_end_matches('/');
        if self.access_key.is_empty() || self.secret.is_empty() {
            return Err("--endpoint needs --access-key and --secret-key".into());
        }
        Ok(Some(Target {
            address: if address.contains(':') { address.into() } else { format!("{address}:80") },
            access_key: self.access_key.clone(),
            secret: self.secret.clone(),
            region: self.region.clone().unwrap_or_else(|| "us-east-1".into()),
            alt: self.alt_access_key.clone().zip(self.alt_secret.clone()),
            alt_email: self.alt_email.clone(),
            domain: self.domain.clone(),
        }))
    }
}
