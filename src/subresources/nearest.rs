//! The closest match of a name that does not exist.

/// How alike two names have to be, from 0 to 1.
const ALIKE: f64 = 0.75;

/// How many names a message lists.
const MOST: usize = 5;

/// Returns the name that was probably meant.
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| {
        let begins = name.starts_with(given) || given.starts_with(name);
        strsim::jaro_winkler(given, name).max(if begins { ALIKE } else { 0.0 })
    };
    let scored = known.iter().map(|name| (likeness(name), *name));
    let (likeness, name) = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness >= ALIKE).then_some(name)
}

/// Returns what to do about a wrong name: the closest match, or the first of those that exist after `choose`.
pub fn advice(given: &str, known: &[&str], choose: &str) -> String {
    if let Some(name) = nearest(given, known) {
        return format!("did you mean {name:?}?");
    }
    let more = if known.len() > MOST { ", …" } else { "" };
    let first: Vec<&str> = known.iter().take(MOST).copied().collect();
    if first.is_empty() {
        return "there is none".to_owned();
    }
    format!("{choose} {}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_name_leads_to_the_closest_one() {
        let known = ["shop", "blog", "shop-admin"];
        for (given, expected) in [
            ("shpo", Some("shop")),
            ("shopp", Some("shop")),
            ("blgo", Some("blog")),
            ("shop-admn", Some("shop-admin")),
            ("invoices", None),
        ] {
            assert_eq!(nearest(given, &known), expected, "{given}");
        }
        assert_eq!(
            advice("shpo", &known, "set it to one of"),
            "did you mean \"shop\"?"
        );
        assert_eq!(
            advice("x", &known, "set it to one of"),
            "set it to one of shop, blog, shop-admin"
        );
        assert_eq!(advice("x", &[], "set it to one of"), "there is none");
    }
}
