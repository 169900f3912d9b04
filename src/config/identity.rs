//! `[[identity]]` tables of the configuration file: further accounts beside root.
//!
//! Invariant: keys are complete and access keys, canonical ids and e-mails belong to one identity each. Read once at
//! start.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

use super::{Secret, resolve::ConfigError};

/// Longest access or secret key, bytes.
const KEY_BYTES_MAX: usize = 128;

/// One identity as the file has it, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// What people call it.
    pub name: String,
    /// Its access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
    /// Canonical user id, as grants and listings show it; made of the account or access key when not given.
    pub canonical_id: String,
    /// Name that listings show.
    pub display_name: String,
    /// E-mail address that grants may name.
    pub email: Option<String>,
    /// Account: identities of one account own what any of them made.
    pub account: Option<String>,
    /// Tenant, for clients that name it.
    pub tenant: Option<String>,
    /// Whether it is the root user of its account.
    pub root: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    access_key: String,
    secret_key: String,
    canonical_id: Option<String>,
    display_name: Option<String>,
    email: Option<String>,
    account: Option<String>,
    tenant: Option<String>,
    #[serde(default)]
    root: bool,
}

/// 64 hex digits that stand for a text.
#[must_use]
pub fn canonical_id_of(text: &str) -> String {
    let word = |n: u64| stria_base::hash::hash64(n, text.as_bytes());
    format!("{:016x}{:016x}{:016x}{:016x}", word(1), word(2), word(3), word(4))
}

/// Reads the tables of a file.
///
/// # Errors
/// `Identity`, naming the table and what is wrong with it.
pub(super) fn parse(path: &Path, value: toml::Value) -> Result<Vec<IdentityConfig>, ConfigError> {
    let wrong = |which: &str, why: String| ConfigError::Identity {
        path: path.to_owned(),
        which: which.to_owned(),
        why,
    };
    let toml::Value::Array(tables) = value else {
        return Err(wrong("identity", "write it as [[identity]], one table each".into()));
    };
    let mut all: Vec<IdentityConfig> = Vec::new();
    let mut taken = BTreeSet::new();
    for (nth, value) in tables.into_iter().enumerate() {
        let table: Table = value.try_into().map_err(|error: toml::de::Error| {
            wrong(&format!("identity {}", nth + 1), error.message().trim().to_owned())
        })?;
        let identity = complete(table).map_err(|(name, why)| wrong(&name, why.to_owned()))?;
        let ids = [
            Some(format!("access_key {}", identity.access_key)),
            Some(format!("canonical_id {}", identity.canonical_id)),
            identity.email.as_ref().map(|email| format!("email {email}")),
        ];
        for id in ids.into_iter().flatten() {
            // The identities of an account share its canonical id.
            let shared = id.starts_with("canonical_id")
                && all.iter().any(|other| {
                    other.canonical_id == identity.canonical_id
                        && other.account.is_some()
                        && other.account == identity.account
                });
            if !taken.insert(id.clone()) && !shared {
                return Err(wrong(&identity.name, format!("{id} belongs to another identity already")));
            }
        }
        all.push(identity);
    }
    Ok(all)
}

fn complete(table: Table) -> Result<IdentityConfig, (String, &'static str)> {
    let Table { name, access_key, secret_key, canonical_id, display_name, email, account, tenant, root } =
        table;
    let is_key = |text: &str| {
        !text.is_empty() && text.len() <= KEY_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if name.is_empty() {
        return Err(("identity".into(), "give it a name"));
    }
    if !is_key(&access_key) || access_key.contains(['/', ',', '=']) {
        return Err((name, "access_key: 1 to 128 printable ASCII characters without / , ="));
    }
    if !is_key(&secret_key) {
        return Err((name, "secret_key: 1 to 128 printable ASCII characters"));
    }
    let canonical_id =
        canonical_id.unwrap_or_else(|| canonical_id_of(account.as_deref().unwrap_or(&access_key)));
    let display_name = display_name.unwrap_or_else(|| name.clone());
    let secret_key = Secret(secret_key);
    Ok(IdentityConfig {
        name,
        access_key,
        secret_key,
        canonical_id,
        display_name,
        email,
        account,
        tenant,
        root,
    })
}
