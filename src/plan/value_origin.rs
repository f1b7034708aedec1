//! The Secrets and ConfigMaps that values come from.

use std::collections::{BTreeMap, BTreeSet};

/// The Secrets and ConfigMaps that the value of a field comes from, by field.
pub type Origins = BTreeMap<String, BTreeSet<ValueOrigin>>;

/// An object that a value comes from. `Display` is the text in `status.why`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueOrigin {
    /// A ConfigMap.
    ConfigMap(String),
    /// A Secret.
    Secret(String),
}

impl ValueOrigin {
    /// Reports whether the value is confidential.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::ConfigMap(_) => false,
        }
    }
}

impl std::fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
        }
    }
}
