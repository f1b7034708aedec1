//! What BuildKit itself refuses to read, however a Dockerfile or its frontend names it. A BuildKit before 0.11 (Docker Engine 24) ignores
//! this. Pure.

use bollard::moby::buildkit::v1::sourcepolicy::{MatchType, Policy, PolicyAction, Rule, Selector};

use crate::builder::image_ownership::ANY_DAVIT;

/// How BuildKit says that its policy refused a source.
const REFUSED: &str = "by policy";

/// Refuses the images that Davits made, but for those with names that begin with `own`. The last rule that fits decides.
pub fn policy(own: &str) -> Policy {
    let rule = |action: PolicyAction, names: &str| Rule {
        action: action.into(),
        selector: Some(Selector {
            identifier: format!("docker-image://{names}*"),
            match_type: MatchType::Wildcard.into(),
            constraints: Vec::new(),
        }),
        updates: None,
    };
    Policy {
        version: 1,
        rules: vec![
            rule(PolicyAction::Deny, ANY_DAVIT),
            rule(PolicyAction::Allow, own),
        ],
    }
}

/// Whether BuildKit refused an image by this policy.
pub fn refused(said: &str) -> bool {
    said.contains(REFUSED) && said.contains(ANY_DAVIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_namespace_are_the_exception() {
        let rules = policy("davit.local/i/ns/").rules;
        let shown: Vec<_> = rules
            .iter()
            .map(|rule| (rule.action(), rule.selector.as_ref().unwrap().identifier.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (PolicyAction::Deny, "docker-image://davit.local/*"),
                (PolicyAction::Allow, "docker-image://davit.local/i/ns/*"),
            ]
        );
    }

    #[test]
    fn refusal_is_recognised() {
        let said =
            "source \"docker-image://davit.local/i/other/web:1\" denied by policy: source denied by policy";
        assert!(refused(said));
        assert!(!refused("docker.io/library/web:1: denied"));
    }
}
