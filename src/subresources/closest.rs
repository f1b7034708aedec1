//! The name that a user probably meant. Pure.

use strsim::levenshtein;

/// The most similar of `names`, if it is similar enough to be a spelling of `wanted`.
pub fn closest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = (wanted.chars().count() / 3).clamp(1, 3);
    let distances = names.into_iter().map(|name| (levenshtein(wanted, name), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= most).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_name_is_a_misspelling_of_the_wanted_one() {
        let names = ["acme", "acme-internal", "shop", "a"];
        for (wanted, found) in [
            ("acmee", Some("acme")),
            ("acm", Some("acme")),
            ("caem", None),
            ("shpo", None),
            ("shopp", Some("shop")),
            ("acme-intrenal", Some("acme-internal")),
            ("acme", Some("acme")),
            ("database", None),
            ("", Some("a")),
        ] {
            assert_eq!(closest(wanted, names), found, "{wanted}");
        }
        assert_eq!(closest("x", []), None);
    }

    #[test]
    fn distance_counts_edits_of_characters() {
        for (one, other, expected) in [
            ("kitten", "sitting", 3),
            ("ä", "a", 1),
            ("", "ab", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(levenshtein(one, other), expected, "{one} {other}");
        }
    }
}
