//! Whether a request is one of those that the rules of a flow schema name.

use k8s_openapi::api::flowcontrol::v1::{
    NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    pub user: &'a str,
    pub groups: &'a [String],
    /// The verb of a resource, or an HTTP method in lower case.
    pub verb: &'a str,
    pub about: About<'a>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    Resource {
        group: &'a str,
        resource: &'a str,
        /// Empty for the object itself.
        subresource: &'a str,
        /// Empty for all namespaces, or for none.
        namespace: &'a str,
    },
    Path(&'a str),
}

/// Whether one of the rules matches.
pub(super) fn matches(rules: &[PolicyRulesWithSubjects], digest: &Digest<'_>) -> bool {
    rules.iter().any(|rule| {
        rule.subjects.iter().any(|subject| is_subject(subject, digest))
            && match digest.about {
                About::Resource { .. } => {
                    let mut rules = rule.resource_rules.iter().flatten();
                    rules.any(|rule| of_resource(rule, digest))
                }
                About::Path(path) => {
                    let mut rules = rule.non_resource_rules.iter().flatten();
                    rules.any(|rule| of_path(rule, digest.verb, path))
                }
            }
    })
}

fn is_subject(subject: &Subject, digest: &Digest<'_>) -> bool {
    let is = |pattern: &str, name: &str| pattern == "*" || pattern == name;
    match subject.kind.as_str() {
        "User" => subject
            .user
            .as_ref()
            .is_some_and(|user| is(&user.name, digest.user)),
        "Group" => {
            let group = subject.group.as_ref();
            group.is_some_and(|group| group.name == "*" || digest.groups.contains(&group.name))
        }
        "ServiceAccount" => subject.service_account.as_ref().is_some_and(|account| {
            let name = digest.user.strip_prefix("system:serviceaccount:");
            let name = name.and_then(|rest| rest.split_once(':'));
            name.is_some_and(|(namespace, name)| namespace == account.namespace && is(&account.name, name))
        }),
        _ => false,
    }
}

/// Whether the list has the text, or is the wildcard.
fn lists(list: &[String], text: &str) -> bool {
    list.iter().any(|listed| listed == text) || matches!(list, [only] if only == "*")
}

fn of_resource(rule: &ResourcePolicyRule, digest: &Digest<'_>) -> bool {
    let About::Resource {
        group,
        resource,
        subresource,
        namespace,
    } = digest.about
    else {
        return false;
    };
    let is_resource = |listed: &String| match listed.strip_prefix(resource) {
        Some("") => subresource.is_empty(),
        Some(rest) => !subresource.is_empty() && rest.strip_prefix('/') == Some(subresource),
        None => false,
    };
    let resources = rule.resources.as_slice();
    lists(&rule.verbs, digest.verb)
        && (resources.iter().any(is_resource) || matches!(resources, [only] if only == "*"))
        && lists(&rule.api_groups, group)
        && if namespace.is_empty() {
            rule.cluster_scope == Some(true)
        } else {
            lists(rule.namespaces.as_deref().unwrap_or_default(), namespace)
        }
}

fn of_path(rule: &NonResourcePolicyRule, verb: &str, path: &str) -> bool {
    let is_path = |listed: &String| {
        let stem = listed.trim_end_matches('*').trim_end_matches('/');
        listed == "*" || listed == path || path.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/'))
    };
    lists(&rule.verbs, verb) && rule.non_resource_urls.iter().any(is_path)
}
