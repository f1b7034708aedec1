//! The values that a spec refers to, from ConfigMaps and Secrets.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Problem;
use crate::image::RegistryLogins;
use crate::redact::Secret;

use super::env_expansion::{Expanded, expand};
use super::value_origin::{Origins, ValueOrigin};

/// The values that a spec refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The environment, in order, each name once.
    pub env: Vec<(String, Secret)>,
    /// The files of a volume, by the volume's name.
    pub files: BTreeMap<String, BTreeMap<String, Secret>>,
    /// Build arguments.
    pub args: BTreeMap<String, Secret>,
    /// Build secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// Credentials for base images.
    pub registries: RegistryLogins,
    /// Those of the values that no log may show.
    pub confidential: Vec<Secret>,
    /// The Secrets and ConfigMaps that a value comes from, by the field of [`Inputs`] that it decides.
    pub origins: Origins,
    /// Keys of `envFrom` that are not names of variables, as `"KEY" of Secret NAME`.
    pub skipped: Vec<String>,
}

impl Values {
    /// Records the object that the value of a field comes from, if any.
    pub fn record_origin(&mut self, field: String, origin: Option<ValueOrigin>) {
        if let Some(origin) = origin {
            self.origins.insert(field, BTreeSet::from([origin]));
        }
    }
}

/// Expands references to variables in `command` or `args`.
pub fn texts(given: &[String], field: &str, values: &Values) -> Result<Vec<Expanded>, Problem> {
    let value_of = |name: &str| {
        let known = values.env.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value)
    };
    given.iter().map(|text| expand(text, field, value_of)).collect()
}

/// Returns the expanded texts only, as a program gets them.
pub fn arguments(given: &[String], field: &str, values: &Values) -> Result<Vec<Secret>, Problem> {
    let texts = texts(given, field, values)?;
    Ok(texts.into_iter().map(|text| text.text).collect())
}
