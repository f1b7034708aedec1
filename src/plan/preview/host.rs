//! Host names of previews: those of any branch, and safe as a host name.

use sha2::{Digest as _, Sha256};

use crate::model::{AppId, PullRequest, hex};

/// The most characters of one part of a host name.
const LONGEST_LABEL: usize = 63;
/// The most characters of a host name.
const LONGEST_HOST: usize = 253;
/// How much of a name stays, if the host name would be too long otherwise.
const SHORTEST: usize = 12;
/// The digits of the digest at the end of a name that was changed.
const DIGITS: usize = 6;

/// Returns the host name of a preview, or `None` if the text around the variables leaves no room for them.
pub fn host(template: &str, parent: &AppId, pull_request: &PullRequest) -> Option<String> {
    [LONGEST_LABEL, SHORTEST]
        .into_iter()
        .map(|longest| filled(template, parent, pull_request, longest))
        .find(|host| is_host(host))
}

fn filled(template: &str, parent: &AppId, pull_request: &PullRequest, longest: usize) -> String {
    let labels = template.split('.').map(|label| {
        let fill = |longest: usize| {
            label
                .replace("{{number}}", &pull_request.number.to_string())
                .replace("{{name}}", &safe(&parent.name, longest))
                .replace("{{namespace}}", &safe(&parent.namespace, longest))
                .replace("{{branch}}", &safe(&pull_request.branch, longest))
        };
        let whole = fill(longest);
        // The variables share the room of their label.
        let variables = label.matches("{{").count().max(1);
        let excess = whole.len().saturating_sub(LONGEST_LABEL);
        if excess == 0 {
            return whole;
        }
        let fixed = fill(0).len();
        fill(LONGEST_LABEL.saturating_sub(fixed) / variables)
    });
    labels.collect::<Vec<_>>().join(".")
}

/// Returns a text as a part of a host name. A text that had to be changed ends with its digest, so that two texts never
/// become one.
fn safe(text: &str, longest: usize) -> String {
    let mut name = String::new();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    if name == text && name.len() <= longest {
        return name.to_owned();
    }
    if longest == 0 {
        return String::new();
    }
    let digest = hex(&Sha256::digest(text.as_bytes()));
    let digest = digest.get(..DIGITS.min(longest)).unwrap_or_default();
    let room = longest.saturating_sub(DIGITS + 1).min(name.len());
    let begin = name.get(..room).unwrap_or_default().trim_end_matches('-');
    if begin.is_empty() {
        // No part of a host name begins with a digit only to be safe in every proxy.
        return digest.to_owned();
    }
    format!("{begin}-{digest}")
}

fn is_host(host: &str) -> bool {
    host.len() <= LONGEST_HOST
        && host.split('.').all(|label| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::preview::tests::pull_request;

    fn of(template: &str, branch: &str) -> Option<String> {
        let mut pull_request = pull_request(7);
        pull_request.branch = branch.to_owned();
        host(template, &AppId::new("production", "shop"), &pull_request)
    }

    #[test]
    fn host_name_is_made_from_number_name_and_branch() {
        let template = "{{number}}.{{name}}.preview.example.com";
        assert_eq!(of(template, "a").as_deref(), Some("7.shop.preview.example.com"));
        let template = "{{branch}}-{{number}}.{{namespace}}.example.com";
        assert_eq!(
            of(template, "fix").as_deref(),
            Some("fix-7.production.example.com")
        );
        let slash = of(template, "feature/Ä b").unwrap();
        assert!(
            slash.starts_with("feature-b-") && slash.ends_with("-7.production.example.com"),
            "{slash}"
        );
        assert_ne!(
            of(template, "feature-b"),
            of(template, "feature/b"),
            "two branches have two names"
        );
        assert_ne!(of(template, "feature-b"), of(template, "Feature-b"));
        assert!(of(template, "日本語").is_some_and(|host| host.is_ascii()));
    }

    proptest! {
        #[test]
        fn any_branch_makes_a_host_name(branch in "\\PC{1,255}") {
            for template in ["{{branch}}-{{number}}.example.com", "pr-{{number}}-{{branch}}-{{name}}.a.example.com"] {
                let host = of(template, &branch).expect("there is room");
                prop_assert!(is_host(&host), "{host}");
                prop_assert!(host.contains('7'), "{host}");
            }
        }
    }
}
