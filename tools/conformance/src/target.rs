//! The endpoint under test: where it is and who asks.
//!
//! Invariant: nothing here changes during a run. Any thread.

use crate::{date, sign::Signer};

/// Where requests go and in whose name.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`
    pub address: String,
    pub access_key: String,
    pub secret: String,
    pub region: String,
    /// Access key and secret of a second account.
    pub alt: Option<(String, String)>,
    /// E-mail address of the second account.
    pub alt_email: Option<String>,
    /// Base domain of virtual-host style.
    pub domain: Option<String>,
}

impl Target {
    /// Signs for the first account, now.
    pub fn signer(&self) -> Signer {
        Signer {
            access_key: self.access_key.clone(),
            secret: self.secret.clone(),
            region: self.region.clone(),
            service: "s3".into(),
            unix_s: date::now(),
        }
    }

    /// Whether it offers what a case needs.
    pub fn offers(&self, need: &str) -> bool {
        match need {
            "alt" => self.alt.is_some(),
            "alt-email" => self.alt_email.is_some(),
            "domain" => self.domain.is_some(),
            _ => false,
        }
    }
}
