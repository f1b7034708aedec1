//! What a release is made of, as keyed digests by field: the one thing that tells whether anything that matters has
//! changed, what (`why`), and which names images and containers bear.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::model::hex;
use crate::redact::Secret;

use super::value_origin::Origins;

/// Digests by field, such as `run.env.PORT`. They are keyed, so that they tell nothing of a short secret.
pub type Inputs = BTreeMap<String, String>;

/// Fields that decide the image.
pub const SOURCE: &str = "source.";
/// Fields that decide the image, other than the source.
pub const BUILD: &str = "build.";
/// The field of the revision.
pub const REVISION: &str = "source.revision";
/// Fields that decide a container.
pub const RUN: &str = "run.";
/// What a Release adds of itself, and no difference by itself: see `release_status::begin`.
pub const VALUES: &str = "run.values-since";
/// What a restart adds, and no difference by itself: see `restart`.
pub const RESTARTED: &str = "run.restarted-at";

/// Collects the digests of fields under one installation's key.
#[derive(Debug)]
pub struct Fingerprint<'k> {
    key: &'k Secret,
    inputs: Inputs,
}

impl<'k> Fingerprint<'k> {
    /// Begins with nothing.
    pub fn new(key: &'k Secret) -> Self {
        Self {
            key,
            inputs: Inputs::new(),
        }
    }

    /// Adds a field's value.
    pub fn add(&mut self, field: impl Into<String>, value: &[u8]) {
        let field = field.into();
        let digest = keyed(self.key, &[field.as_bytes(), value]);
        self.inputs.insert(field, digest);
    }

    /// Adds a field's value as the JSON that it is written as.
    pub fn add_json(&mut self, field: impl Into<String>, value: &impl serde::Serialize) {
        // Everything given here is part of a spec that was read from JSON, so writing it as JSON cannot fail.
        self.add(field, serde_json::to_string(value).unwrap_or_default().as_bytes());
    }

    /// The digests.
    pub fn finish(self) -> Inputs {
        self.inputs
    }
}

/// A keyed digest of parts, each with its length, as 16 hexadecimal digits.
fn keyed(key: &Secret, parts: &[&[u8]]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return String::new();
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    first_digits(&mac.finalize().into_bytes(), 16)
}

/// Returns a digest without a key, as 16 hexadecimal digits.
pub fn plain(text: &str) -> String {
    let mut digest = hex(&Sha256::digest(text.as_bytes()));
    digest.truncate(16);
    digest
}

/// A digest over those inputs whose field begins with one of `prefixes`, and over `extra`, as `digits` hexadecimal
/// digits.
pub fn digest(inputs: &Inputs, prefixes: &[&str], extra: &str, digits: usize) -> String {
    let mut hasher = Sha256::new();
    hasher.update(extra.as_bytes());
    for (field, value) in inputs
        .iter()
        .filter(|(field, _)| prefixes.iter().any(|prefix| field.starts_with(prefix)))
    {
        hasher.update([0]);
        hasher.update(field.as_bytes());
        hasher.update([1]);
        hasher.update(value.as_bytes());
    }
    first_digits(&hasher.finalize(), digits)
}

fn first_digits(bytes: &[u8], digits: usize) -> String {
    let mut text = hex(bytes);
    text.truncate(digits);
    text
}

/// Fields whose digest is another one, or that are there only once; not what Releases add of themselves.
pub fn changed<'a>(old: &'a Inputs, new: &'a Inputs) -> impl Iterator<Item = &'a String> {
    let fields: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    fields
        .into_iter()
        .filter(|field| old.get(*field) != new.get(*field) && ![VALUES, RESTARTED].contains(&field.as_str()))
}

/// What changed from `old` to `new`, a line each, in the user's words; `origins` names the Secret or ConfigMap that a
/// field's value comes from.
pub fn why(
    old: Option<&Inputs>,
    new: &Inputs,
    old_revision: Option<&str>,
    new_revision: &str,
    origins: &Origins,
) -> Vec<String> {
    let Some(old) = old else {
        return vec!["first release".to_owned()];
    };
    let mut lines = Vec::new();
    let revision = |text: &str| {
        let digits = text.rsplit(':').next().unwrap_or_default();
        digits.chars().take(12).collect::<String>()
    };
    if old.get(REVISION) != new.get(REVISION) {
        lines.push(match old_revision {
            Some(was) => format!("revision {} (was {})", revision(new_revision), revision(was)),
            None => format!("revision {}", revision(new_revision)),
        });
    }
    for field in changed(old, new).filter(|field| field.as_str() != REVISION) {
        let what = match (old.get(field), new.get(field)) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let origin = origins.get(field).map_or(String::new(), |origins| {
            let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
            format!(" ({})", origins.join(", "))
        });
        lines.push(format!("{} {what}{origin}", spoken(field)));
    }
    lines
}

/// A field as the user writes it in the spec.
fn spoken(field: &str) -> String {
    let plain = field
        .strip_prefix(RUN)
        .or_else(|| field.strip_prefix("scale."))
        .unwrap_or(field);
    match plain.split_once('.') {
        Some(("env", name)) => format!("env {name}"),
        Some(("volumes", name)) => format!("volume {name}"),
        Some(("build", rest)) => rest.split_once('.').map_or_else(
            || format!("build {rest}"),
            |(list, name)| format!("build {} {name}", list.trim_end_matches('s')),
        ),
        _ => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::value_origin::ValueOrigin;

    fn inputs(fields: &[(&str, &str)]) -> Inputs {
        let key = Secret::from("k");
        let mut all = Fingerprint::new(&key);
        for (field, value) in fields {
            all.add(*field, value.as_bytes());
        }
        all.finish()
    }

    #[test]
    fn why_names_what_changed_in_the_users_words() {
        let old = inputs(&[
            ("source.revision", "a"),
            ("run.env.A", "1"),
            ("run.env.B", "1"),
            ("build.args.X", "1"),
        ]);
        let new = inputs(&[
            ("source.revision", "b"),
            ("run.env.A", "2"),
            ("run.env.C", "1"),
            ("build.args.X", "2"),
            ("scale.replicas", "2"),
        ]);
        assert_eq!(
            why(
                Some(&old),
                &new,
                Some("aaaaaaaaaaaaaaaa"),
                "bbbbbbbbbbbbbbbb",
                &Origins::from([(
                    "run.env.A".to_owned(),
                    [ValueOrigin::Secret("keys".to_owned())].into()
                )])
            ),
            [
                "revision bbbbbbbbbbbb (was aaaaaaaaaaaa)",
                "build arg X changed",
                "env A changed (Secret keys)",
                "env B removed",
                "env C added",
                "replicas added",
            ]
        );
        assert_eq!(why(None, &new, None, "b", &BTreeMap::new()), ["first release"]);
        assert!(why(Some(&new), &new, Some("b"), "b", &BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_digest_depends_on_the_key_the_field_and_the_value() {
        let one = inputs(&[("run.env.A", "1")]);
        assert_ne!(one, inputs(&[("run.env.A", "2")]));
        let other_key = Secret::from("l");
        let mut other = Fingerprint::new(&other_key);
        other.add("run.env.A", b"1");
        assert_ne!(one, other.finish());
    }

    #[test]
    fn only_the_fields_that_are_asked_for_count() {
        let one = inputs(&[("run.env.A", "1"), ("scale.replicas", "1")]);
        let two = inputs(&[("run.env.A", "1"), ("scale.replicas", "2")]);
        assert_eq!(digest(&one, &[RUN], "i", 12), digest(&two, &[RUN], "i", 12));
        assert_ne!(digest(&one, &[RUN], "i", 12), digest(&one, &[RUN], "j", 12));
        assert_eq!(digest(&one, &[RUN], "i", 12).len(), 12);
    }
}
