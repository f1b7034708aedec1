//! Whose an image is: several Davits may share an engine, even some that were given the same name.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::labels::{INSTALLATION, INSTANCE};
use crate::model::hex;

/// What the names of all images that any Davit made or pulled begin with.
pub const ANY_DAVIT: &str = "davit.local/";
/// What stands before the installation's digits in a tag; no digest in hexadecimal digits has it.
const BY: &str = "-by";
/// How many of those digits there are.
const DIGITS: usize = 8;

/// What the names of this Davit's images begin with.
pub fn prefix(instance: &str) -> String {
    format!("{ANY_DAVIT}{instance}")
}

/// What the names of a namespace's images begin with. `prefix` is that of a Davit, see [`prefix`].
pub fn names_of(prefix: &str, namespace: &str) -> String {
    format!("{prefix}/{namespace}/")
}

/// True for an image that only a Davit can have made, and not for the namespace whose names begin with `own`: an engine checks no
/// rights, so an Application could run and build on every image whose name its user knows.
pub fn is_of_others(own: &str, image: &str) -> bool {
    let image = image.to_ascii_lowercase();
    image.starts_with(ANY_DAVIT) && !image.starts_with(own)
}

/// The end of the tags of images that this installation pulled. An existing image cannot get a label, so its tag records the
/// owner. Empty without an installation.
pub fn mark(installation: &str) -> String {
    if installation.is_empty() {
        return String::new();
    }
    let digits = hex(&Sha256::digest(installation));
    format!("{BY}{}", digits.get(..DIGITS).unwrap_or_default())
}

/// One Davit among those that share an engine.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its name.
    pub instance: &'a str,
    /// Distinguishes instances of the same name; may be empty.
    pub installation: &'a str,
}

impl Owner<'_> {
    /// True where the labels say that this Davit built it. What says no installation is older than that label.
    pub fn built(&self, labels: &HashMap<String, String>) -> bool {
        labels
            .get(INSTANCE)
            .is_some_and(|instance| instance == self.instance)
            && !self.another_built(labels)
    }

    /// True where `tag` is this Davit's to remove from an image with these labels: one that it gave, or any on what it
    /// built that is not of the form of another Davit's. One without a mark is of what was built, or older than marks.
    pub fn owns(&self, tag: &str, labels: &HashMap<String, String>) -> bool {
        if !tag.starts_with(ANY_DAVIT) {
            return self.built(labels);
        }
        let (_, version) = tag.rsplit_once(':').unwrap_or_default();
        let marked_by = version.rfind(BY).and_then(|at| version.get(at..));
        tag.starts_with(&format!("{}/", prefix(self.instance)))
            && match marked_by {
                Some(by) => self.installation.is_empty() || by == mark(self.installation),
                None => !self.another_built(labels),
            }
    }

    /// True where another installation of this name built it.
    fn another_built(&self, labels: &HashMap<String, String>) -> bool {
        let same_name = labels
            .get(INSTANCE)
            .is_some_and(|instance| instance == self.instance);
        let another = labels.get(INSTALLATION).is_some_and(|by| by != self.installation);
        same_name && another && !self.installation.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_of_another_namespace_is_recognised_by_its_name() {
        let own = names_of(&prefix("i"), "team");
        for (image, expected) in [
            ("davit.local/i/team/web:1", false),
            ("davit.local/i/other/web:1", true),
            ("Davit.local/i/other/web@sha256:12", true),
            ("davit.local/i/team-b/web:1", true),
            ("davit.local/j/team/web:1", true),
            ("davit.local/web", true),
            ("davit.local.example/web", false),
            ("registry.example/davit.local/i/other/web", false),
            ("nginx", false),
        ] {
            assert_eq!(is_of_others(&own, image), expected, "{image}");
        }
    }

    #[test]
    fn a_tag_says_whose_it_is_and_the_labels_where_it_does_not() {
        let ours = Owner {
            instance: "i",
            installation: "one",
        };
        let (mine, theirs) = (mark("one"), mark("two"));
        assert_ne!(mine, theirs);
        let pulled: &[(&str, &str)] = &[];
        let built: &[(&str, &str)] = &[(INSTANCE, "i"), (INSTALLATION, "one")];
        let older: &[(&str, &str)] = &[(INSTANCE, "i")];
        let namesake: &[(&str, &str)] = &[(INSTANCE, "i"), (INSTALLATION, "two")];
        let stranger: &[(&str, &str)] = &[(INSTANCE, "j"), (INSTALLATION, "two")];
        for (tag, labels, expected) in [
            (format!("davit.local/i/ns/web:1-2{mine}"), pulled, true),
            (format!("davit.local/i/ns/web:1-2{theirs}"), pulled, false),
            (format!("davit.local/j/ns/web:1-2{mine}"), pulled, false),
            // Built by another installation, pulled by this one.
            (format!("davit.local/i/ns/web:1-2{mine}"), namesake, true),
            (format!("davit.local/i/ns/web:1-2{theirs}"), built, false),
            // Without a mark: older, or built.
            ("davit.local/i/ns/web:1-2".to_owned(), pulled, true),
            ("davit.local/i/ns/web:1-2".to_owned(), older, true),
            ("davit.local/i/ns/web:1-2".to_owned(), built, true),
            ("davit.local/i/ns/web:1-2".to_owned(), namesake, false),
            ("davit.local/i/ns/web:1-2".to_owned(), stranger, true),
            ("davit.local/i/ns/stand-by1:1-2".to_owned(), pulled, true),
            ("davit.local/ii/ns/web:1-2".to_owned(), pulled, false),
            ("sha256:12".to_owned(), built, true),
            ("sha256:12".to_owned(), older, true),
            ("sha256:12".to_owned(), namesake, false),
            ("sha256:12".to_owned(), stranger, false),
            ("mine:1".to_owned(), pulled, false),
        ] {
            let labels = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(ours.owns(&tag, &labels), expected, "{tag} {labels:?}");
        }
        let only = Owner {
            instance: "i",
            installation: "",
        };
        assert_eq!(mark(only.installation), "");
        assert!(only.owns(&format!("davit.local/i/ns/web:1-2{theirs}"), &HashMap::new()));
    }
}
