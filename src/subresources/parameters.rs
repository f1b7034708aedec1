//! The parameters of a query.

use std::fmt::Display;
use std::str::FromStr;

use super::failure::Failure;

/// The parameters of a query. Unknown ones are passed over, as an API server does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a raw query.
    pub fn parse(raw: &str) -> Self {
        Self(url::form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    /// A parameter; `None` if it is absent or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of a parameter that is repeated, also empty ones.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that is on or off, as Kubernetes reads it: present without a value is on.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        let found = self.0.iter().find(|(key, _)| key == name);
        match found.map(|(_, value)| value.as_str()) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => {
                let message = format!("the parameter {name} is {other:?}: write true or false");
                Err(Failure::bad_request(message))
            }
        }
    }

    /// A parameter that is a number or another value with a form, which `expected` names.
    pub fn value<T: FromStr>(&self, name: &str, expected: impl Display) -> Result<Option<T>, Failure> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Failure::bad_request(format!("the parameter {name} is {text:?}: write {expected}"))
                })
            })
            .transpose()
    }
}
