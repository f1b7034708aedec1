//! The connections of all GitProviders. A connection is the home of its installation tokens, its rate limit and its kept
//! responses, so it lives as long as the spec and the Secrets that it was made from.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::fake::FakeForge;
use super::{Forge, ForgeError, ForgeSecrets, HttpOptions, Moves, TokenStore, TokenWriter, connect};
use crate::api::GitProviderSpec;

/// What a connection was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// The GitProvider's UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The versions of its Secrets.
    pub secrets: String,
}

/// The connections by the UID of their GitProvider. Clones share them.
#[derive(Clone, Default)]
pub struct Forges {
    options: HttpOptions,
    connections: Arc<Mutex<HashMap<String, Connection>>>,
    /// The repositories that were moved, by the UID of the GitProvider. They outlive the connections too.
    moves: Arc<Mutex<HashMap<String, Moves>>>,
    /// The writers of OAuth tokens, by namespace and name of the Secret. They outlive the connections.
    writers: Arc<Mutex<HashMap<(String, String), TokenWriter>>>,
    /// What every GitProvider connects to, for tests.
    fake: Option<FakeForge>,
}

type Connection = (ConnectionKey, Arc<dyn Forge>);

impl Forges {
    /// No connections yet.
    pub fn new(options: HttpOptions) -> Self {
        Self {
            options,
            connections: Arc::default(),
            moves: Arc::default(),
            writers: Arc::default(),
            fake: None,
        }
    }

    /// Connections that all lead to a forge in memory, for tests.
    pub fn with_fake(fake: FakeForge) -> Self {
        Self {
            fake: Some(fake),
            ..Self::default()
        }
    }

    /// The only writer of the OAuth tokens in a Secret; `store` makes the first one.
    pub fn writer(
        &self,
        namespace: &str,
        secret: &str,
        store: impl FnOnce() -> Arc<dyn TokenStore>,
    ) -> TokenWriter {
        let key = (namespace.to_owned(), secret.to_owned());
        let mut writers = self.writers.lock();
        writers
            .entry(key)
            .or_insert_with(|| TokenWriter::new(store()))
            .clone()
    }

    /// The connection of a GitProvider: the one that was made from the same spec and Secrets, or a new one.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub fn get(
        &self,
        key: &ConnectionKey,
        spec: &GitProviderSpec,
        secrets: &ForgeSecrets,
    ) -> Result<Arc<dyn Forge>, ForgeError> {
        if let Some(fake) = &self.fake {
            return Ok(Arc::new(fake.clone()));
        }
        let mut connections = self.connections.lock();
        if let Some((of, forge)) = connections.get(&key.uid)
            && of == key
        {
            return Ok(Arc::clone(forge));
        }
        let forge = connect(spec, secrets, &self.options)?;
        connections.insert(key.uid.clone(), (key.clone(), Arc::clone(&forge)));
        Ok(forge)
    }

    /// The repositories of a GitProvider that were renamed or moved.
    pub fn moves(&self, uid: &str) -> Moves {
        self.moves.lock().entry(uid.to_owned()).or_default().clone()
    }

    /// The last connection of a GitProvider, whatever its spec and its Secrets are now.
    pub fn last(&self, uid: &str) -> Option<Arc<dyn Forge>> {
        if let Some(fake) = &self.fake {
            return Some(Arc::new(fake.clone()));
        }
        let connections = self.connections.lock();
        connections.get(uid).map(|(_, forge)| Arc::clone(forge))
    }

    /// Drops the connection of a GitProvider that was deleted.
    pub fn forget(&self, uid: &str) {
        self.connections.lock().remove(uid);
        self.moves.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    #[test]
    fn connection_is_kept_until_the_spec_or_a_secret_changes() {
        let forges = Forges::default();
        let spec: GitProviderSpec = serde_json::from_value(serde_json::json!({
            "gitea": {"url": "https://git.example.com", "tokenSecretRef": {"name": "gitea"}}}))
        .unwrap();
        let get = |generation, secrets: &str| {
            let key = ConnectionKey {
                uid: "1".to_owned(),
                generation,
                secrets: secrets.to_owned(),
            };
            let content = ForgeSecrets {
                credential: Some(Secret::from("token")),
                ca: None,
                tokens: None,
            };
            forges.get(&key, &spec, &content).unwrap()
        };
        let first = get(1, "7");
        assert!(Arc::ptr_eq(&first, &get(1, "7")));
        let second = get(1, "8");
        assert!(!Arc::ptr_eq(&first, &second), "another version of the Secret");
        assert!(!Arc::ptr_eq(&second, &get(2, "8")), "another generation");
        let third = get(2, "8");
        assert!(forges.last("1").is_some_and(|last| Arc::ptr_eq(&last, &third)));
        forges.forget("1");
        assert!(forges.last("1").is_none());
        assert!(!Arc::ptr_eq(&third, &get(2, "8")), "it was forgotten");
    }
}
