//! Who may sign, and to whom things belong.
//!
//! Invariant: fixed at start; every access key stands for one identity. Read by all data cores.

use std::collections::BTreeMap;

use stria_meta::Bucket;
use stria_s3::{config::acl::Directory, response::Owner};
use stria_sigv4::{Secret, SecretSource};

use crate::{
    config::{IdentityConfig, canonical_id_of},
    datadir::Credentials,
};

/// One identity.
#[derive(Debug)]
pub struct Identity {
    /// As configured.
    pub config: IdentityConfig,
    /// Whether it may use everybody's buckets: the operator's own credentials.
    pub is_operator: bool,
}

/// All identities: the operator first, then those of the configuration file.
#[derive(Debug)]
pub struct Identities {
    all: Vec<Identity>,
    by_access_key: BTreeMap<String, usize>,
    /// Of several with one id, the first.
    by_canonical_id: BTreeMap<String, usize>,
}

impl Identities {
    /// The operator's credentials and what the file has. A table with the operator's access key describes the
    /// operator. Answers name owners beside their ids when `show_names`.
    #[must_use]
    pub fn new(root: &Credentials, tables: &[IdentityConfig], show_names: bool) -> Self {
        let described = tables.iter().find(|table| table.access_key == root.access_key);
        let operator = described.cloned().unwrap_or_else(|| IdentityConfig {
            name: "root".into(),
            access_key: root.access_key.clone(),
            secret_key: root.secret_key.clone(),
            canonical_id: canonical_id_of(&root.access_key),
            display_name: "root".into(),
            email: None,
            account: None,
            tenant: None,
            root: true,
        });
        let operator = IdentityConfig { secret_key: root.secret_key.clone(), ..operator };
        let others = tables.iter().filter(|table| table.access_key != root.access_key).cloned();
        let unnamed = |config: IdentityConfig| {
            if show_names { config } else { IdentityConfig { display_name: String::new(), ..config } }
        };
        let operator = unnamed(operator);
        let mut all = vec![Identity { config: operator, is_operator: true }];
        all.extend(others.map(|config| Identity { config: unnamed(config), is_operator: false }));
        let by_access_key =
            all.iter().enumerate().map(|(i, identity)| (identity.config.access_key.clone(), i)).collect();
        let mut by_canonical_id = BTreeMap::new();
        for (i, identity) in all.iter().enumerate() {
            by_canonical_id.entry(identity.config.canonical_id.clone()).or_insert(i);
        }
        Self { all, by_access_key, by_canonical_id }
    }

    /// By access key.
    #[must_use]
    pub fn by_access_key(&self, access_key: &str) -> Option<&Identity> {
        self.by_access_key.get(access_key).map(|i| &self.all[*i])
    }

    /// The identity a bucket belongs to; `None` when it is configured no more.
    #[must_use]
    pub fn owner_of(&self, bucket: &Bucket) -> Option<&Identity> {
        self.owner_named(&bucket.owner)
    }

    /// The identity the owner of a bucket is kept as.
    #[must_use]
    pub fn owner_named(&self, owner: &str) -> Option<&Identity> {
        // Buckets of the first stores name the access key of who made them.
        self.by_canonical_id(owner).or_else(|| self.by_access_key(owner))
    }

    /// Whether an identity, or one of its account, has this canonical id.
    #[must_use]
    pub fn has_canonical_id(&self, identity: &Identity, id: &str) -> bool {
        identity.config.canonical_id == id
            || self.by_canonical_id(id).is_some_and(|known| known.shares_account(identity))
    }

    fn by_canonical_id(&self, id: &str) -> Option<&Identity> {
        self.by_canonical_id.get(id).map(|i| &self.all[*i])
    }

    /// An account as answers show it; one that is configured no more, or nobody, by its id.
    #[must_use]
    pub fn shown<'a>(&'a self, id: &'a str) -> Owner<'a> {
        self.by_canonical_id(id).map_or(Owner { id, display_name: "" }, Identity::shown)
    }

    /// The owner of a bucket as answers show him.
    #[must_use]
    pub fn shown_owner<'a>(&'a self, bucket: &'a Bucket) -> Owner<'a> {
        match self.owner_of(bucket) {
            Some(identity) => identity.shown(),
            None => Owner { id: &bucket.owner, display_name: "" },
        }
    }
}

impl Identity {
    /// As answers show it.
    #[must_use]
    pub fn shown(&self) -> Owner<'_> {
        Owner { id: &self.config.canonical_id, display_name: &self.config.display_name }
    }

    /// Whether both are of one account, or one and the same.
    #[must_use]
    pub fn shares_account(&self, other: &Self) -> bool {
        self.config.canonical_id == other.config.canonical_id
            || (self.config.account.is_some() && self.config.account == other.config.account)
    }
}

impl Directory for Identities {
    fn has_id(&self, id: &str) -> bool {
        self.by_canonical_id(id).is_some()
    }

    fn id_of_email(&self, email: &str) -> Option<String> {
        let found = self.all.iter().find(|identity| {
            identity.config.email.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(email))
        });
        found.map(|identity| identity.config.canonical_id.clone())
    }
}

impl SecretSource for Identities {
    fn secret(&self, access_key: &str) -> Option<Secret<'_>> {
        let identity = self.by_access_key(access_key)?;
        Some(Secret { key: identity.config.secret_key.0.as_bytes(), session_token: None })
    }
}
