//! The name that a user probably meant. Pure.

/// The most similar of `names`, if it is similar enough to be a spelling of `wanted`.
pub fn closest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = (wanted.chars().count() / 3).clamp(1, 3);
    let distances = names.into_iter().map(|name| (distance(wanted, name, most), name));
    let best = distances.min_by_key(|(distance, _)| *distance)?;
    if best.0 <= most {
        return Some(best.1);
    }
    None
}

/// The number of characters to insert, remove or replace between two names, or more than `most`.
fn distance(one: &str, other: &str, most: usize) -> usize {
    let other: Vec<char> = other.chars().collect();
    if one.chars().count().abs_diff(other.len()) > most {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, char) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, wanted) in row.iter().skip(1).zip(&other) {
            let replaced = diagonal + usize::from(char != *wanted);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
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
            assert_eq!(distance(one, other, 9), expected, "{one} {other}");
        }
    }
}
