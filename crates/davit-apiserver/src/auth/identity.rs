//! Authenticated users.

use std::collections::BTreeMap;

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// An authenticated caller. A request that carries none of these as an extension is anonymous.
///
/// In process, the embedding program attaches one; over TLS it comes from the client certificate or the bearer
/// token of the request. Nothing that a client sends becomes an `Identity` by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Unique id of the user; empty where the authenticator knows none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Whatever else the authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a service account is called as a user.
pub fn account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups of every service account, and of those of one namespace.
pub fn account_groups(namespace: &str) -> [String; 2] {
    [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

impl Identity {
    /// A caller in `groups`; `system:authenticated` is added.
    pub fn new(user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == "system:authenticated") {
            groups.push("system:authenticated".into());
        }
        Self {
            user: user.into(),
            uid: String::new(),
            groups,
            extra: BTreeMap::new(),
        }
    }

    /// A caller that may do everything: for a controller in the same process.
    pub fn trusted(user: &str) -> Self {
        Self::new(user, &[MASTERS])
    }

    /// Whether this caller may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}
