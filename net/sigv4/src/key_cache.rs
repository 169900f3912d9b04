//! Signing keys of recent requests: deriving one takes four HMACs, most requests share a few.
//!
//! Invariant: an entry is stored only after a signature made with it verified, so a stranger cannot push
//! entries out; an entry whose secret has changed is never used. One cache per core. Owner: `net/sigv4`.

use std::collections::BTreeMap;

use stria_base::hash::hash64;
use subtle::ConstantTimeEq;

use crate::auth::Credential;
use crate::crypto::SigningKey;

/// Entries of one core's cache: about 300 bytes each.
const ENTRIES_MAX: usize = 1024;

struct Entry {
    /// Access key and scope, compared in full because the map's key is only their hash.
    credential: Box<str>,
    secret: Box<[u8]>,
    key: SigningKey,
    used_at: u64,
}

/// One core's signing keys, least recently used out first.
#[derive(Default)]
pub struct KeyCache {
    /// Room for canonical requests and strings to sign, kept from one request to the next.
    pub(crate) scratch: [Vec<u8>; 2],
    entries: BTreeMap<u64, Entry>,
    uses: u64,
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyCache({} entries)", self.entries.len())
    }
}

impl KeyCache {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of keys held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&mut self, credential: &Credential<'_>, secret: &[u8]) -> Option<SigningKey> {
        let entry = self.entries.get_mut(&hash64(0, credential.text().as_bytes()))?;
        let same_secret = bool::from(entry.secret.ct_eq(secret));
        if *entry.credential != *credential.text() || !same_secret {
            return None;
        }
        self.uses += 1;
        entry.used_at = self.uses;
        Some(entry.key.clone())
    }

    pub(crate) fn insert(&mut self, credential: &Credential<'_>, secret: &[u8], key: SigningKey) {
        if self.entries.len() >= ENTRIES_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used_at).map(|(&hash, _)| hash);
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        self.uses += 1;
        let entry =
            Entry { credential: credential.text().into(), secret: secret.into(), key, used_at: self.uses };
        self.entries.insert(hash64(0, credential.text().as_bytes()), entry);
        assert!(self.entries.len() <= ENTRIES_MAX, "{} entries", self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(n: usize) -> Credential<'static> {
        let text = format!("AK{n}/20130524/us-east-1/s3/aws4_request");
        Credential::parse(text.into()).expect("well-formed")
    }

    #[test]
    fn bounded_and_bound_to_the_secret() {
        let mut cache = KeyCache::new();
        let key = SigningKey::derive(b"secret", "20130524", "us-east-1", "s3");
        for n in 0..ENTRIES_MAX + 10 {
            cache.insert(&credential(n), b"secret", key.clone());
            // The first stays because it is used.
            assert!(cache.get(&credential(0), b"secret").is_some());
        }
        assert_eq!(cache.len(), ENTRIES_MAX);
        assert!(cache.get(&credential(1), b"secret").is_none());
        assert!(cache.get(&credential(0), b"changed").is_none());
    }
}
