//! Authorization by RBAC.

use serde_json::{Value, json};

use super::identity::{Identity, account_user};
use crate::{
    json_pointer::text,
    state::Server,
    store::{GroupResource, ObjectKey},
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attributes {
    /// Something about a resource.
    Resource {
        verb: String,
        group: String,
        resource: String,
        /// Subresource; empty for none.
        subresource: String,
        /// Namespace; empty for all, or for none.
        namespace: String,
        /// Name; empty for all.
        name: String,
    },
    Path {
        /// HTTP method in lower case.
        verb: String,
        path: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Which binding allows it.
    pub reason: String,
}

/// What a subject may do, for SelfSubjectRulesReview.
#[derive(Debug, Default)]
pub struct Rules {
    /// `resourceRules`
    pub resources: Vec<Value>,
    /// `nonResourceRules`
    pub paths: Vec<Value>,
}

/// Paths that every authenticated caller may read: discovery, as upstream's `system:discovery` has it.
const DISCOVERY: &[&str] = &[
    "/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz",
];

/// Paths that every service account may read, as upstream's `system:service-account-issuer-discovery` has it.
const ISSUER_DISCOVERY: &[&str] = &[
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
];
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

const RBAC: &str = "rbac.authorization.k8s.io";

/// Whether `subject` may do that.
pub fn decide(server: &Server, subject: &Identity, attributes: &Attributes) -> Decision {
    let allow = |reason: String| Decision {
        allowed: true,
        reason,
    };
    if subject.is_master() {
        return allow(String::new());
    }
    if let Some(role) = implied(subject, attributes) {
        return allow(format!(
            "RBAC: allowed by ClusterRoleBinding \"{role}\" of ClusterRole \"{role}\" to Group \
             \"system:authenticated\""
        ));
    }
    let namespace = match attributes {
        Attributes::Resource { namespace, .. } => namespace.as_str(),
        Attributes::Path { .. } => "",
    };
    let mut reason = None;
    bound_rules(server, subject, namespace, &mut |binding, role, rules| {
        if reason.is_none() && rules.iter().any(|rule| rule_allows(rule, attributes)) {
            reason = Some(format!(
                "RBAC: allowed by {} of {role} to {}",
                binding.name, binding.subject
            ));
        }
    });
    match reason {
        Some(reason) => allow(reason),
        None => Decision {
            allowed: false,
            reason: String::new(),
        },
    }
}

/// The role among those of users that permits this with the least rights besides; otherwise the first by name that was not
/// made for the system.
pub fn granting_role(server: &Server, attributes: &Attributes) -> Option<String> {
    const USERS: [&str; 3] = ["view", "edit", "admin"];
    let roles = server
        .store
        .view()
        .list(&GroupResource::new(RBAC, "clusterroles"), None)
        .objects;
    let permits = |name: &str| {
        let role = roles.iter().find(|role| role.key.name.as_ref() == name);
        let rules = role.and_then(|role| role.value().remove("rules"));
        let rules = rules
            .as_ref()
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        rules.iter().any(|rule| rule_allows(rule, attributes))
    };
    let others = roles.iter().map(|role| role.key.name.as_ref());
    let others = others.filter(|name| !name.starts_with("system:") && *name != "cluster-admin");
    let found = USERS.into_iter().chain(others).find(|name| permits(name));
    found.map(str::to_owned)
}

/// What every authenticated caller may do: read discovery, and ask about itself; the role that allows it.
fn implied(subject: &Identity, attributes: &Attributes) -> Option<&'static str> {
    if !subject.groups.iter().any(|group| group == "system:authenticated") {
        return None;
    }
    match attributes {
        Attributes::Path { verb, path } => {
            let beneath = |known: &&str| {
                path.strip_prefix(*known)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let of_issuer = subject.groups.iter().any(|group| group == SERVICE_ACCOUNTS);
            match verb.as_str() {
                "get" if DISCOVERY.iter().any(beneath) => Some("system:discovery"),
                "get" if of_issuer && ISSUER_DISCOVERY.contains(&path.as_str()) => {
                    Some("system:service-account-issuer-discovery")
                }
                _ => None,
            }
        }
        Attributes::Resource {
            verb,
            group,
            resource,
            ..
        } => {
            let own = verb == "create"
                && matches!(
                    (group.as_str(), resource.as_str()),
                    (
                        "authorization.k8s.io",
                        "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
                    ) | ("authentication.k8s.io", "selfsubjectreviews")
                );
            own.then_some("system:basic-user")
        }
    }
}

/// Everything that `subject` may do in `namespace`.
pub fn rules(server: &Server, subject: &Identity, namespace: &str) -> Rules {
    let mut found = Rules {
        resources: vec![
            json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
            json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}),
        ],
        paths: vec![
            json!({"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz",
            "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]}),
        ],
    };
    if subject.groups.iter().any(|group| group == SERVICE_ACCOUNTS) {
        let issuer = json!({"verbs": ["get"], "nonResourceURLs": ISSUER_DISCOVERY});
        found.paths.insert(0, issuer);
    }
    // A master needs no role, but has one: `cluster-admin` is bound to its group.
    bound_rules(server, subject, namespace, &mut |_, _, rules| {
        for rule in rules {
            if rule.get("nonResourceURLs").is_some() {
                found.paths.push(rule.clone());
            } else {
                found.resources.push(rule.clone());
            }
        }
    });
    found
}

/// Gives `each` the binding, the role and its rules for every binding that names `subject`.
fn bound_rules(
    server: &Server,
    subject: &Identity,
    namespace: &str,
    each: &mut dyn FnMut(Binding, String, &[Value]),
) {
    let view = server.store.view();
    let mut bindings = view
        .list(&GroupResource::new(RBAC, "clusterrolebindings"), None)
        .objects;
    if !namespace.is_empty() {
        bindings.extend(
            view.list(&GroupResource::new(RBAC, "rolebindings"), Some(namespace))
                .objects,
        );
    }
    for object in bindings {
        let binding = server.roles.get(&object);
        let subjects = binding.get("subjects").and_then(Value::as_array);
        let names = |candidate: &Value| names_subject(candidate, subject, &object.key.namespace);
        let Some(named) = subjects.and_then(|subjects| subjects.iter().find(|one| names(one))) else {
            continue;
        };
        let (kind, name) = (text(&binding, "/roleRef/kind"), text(&binding, "/roleRef/name"));
        let (collection, key) = if kind == "ClusterRole" {
            (GroupResource::new(RBAC, "clusterroles"), ObjectKey::new("", name))
        } else {
            (
                GroupResource::new(RBAC, "roles"),
                ObjectKey::new(&object.key.namespace, name),
            )
        };
        let Some(role) = view.get(&collection, &key) else {
            continue;
        };
        let role = server.roles.get(&role);
        let rules = role.get("rules").and_then(Value::as_array);
        let rules = rules.map_or(&[][..], Vec::as_slice);
        let name_of_binding = if object.key.namespace.is_empty() {
            format!("ClusterRoleBinding \"{}\"", object.key.name)
        } else {
            format!("RoleBinding \"{}/{}\"", object.key.name, object.key.namespace)
        };
        each(
            Binding {
                name: name_of_binding,
                subject: subject_text(named, &object.key.namespace),
            },
            format!("{kind} \"{name}\""),
            rules,
        );
    }
}

/// A binding that names the subject, in the words of a decision's reason.
struct Binding {
    name: String,
    subject: String,
}

fn subject_text(subject: &Value, namespace: &str) -> String {
    let text = |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    match (kind, text("namespace")) {
        ("ServiceAccount", "") => format!("{kind} \"{name}/{namespace}\""),
        ("ServiceAccount", given) => format!("{kind} \"{name}/{given}\""),
        _ => format!("{kind} \"{name}\""),
    }
}

fn names_subject(candidate: &Value, subject: &Identity, namespace: &str) -> bool {
    let text = |key: &str| candidate.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    match text("kind") {
        "User" => subject.user == name,
        "Group" => subject.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let given = text("namespace");
            let namespace = if given.is_empty() { namespace } else { given };
            subject.user == account_user(namespace, name)
        }
        _ => false,
    }
}

fn rule_allows(rule: &Value, attributes: &Attributes) -> bool {
    let has = |key: &str, wanted: &dyn Fn(&str) -> bool| {
        rule.get(key)
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().filter_map(Value::as_str).any(wanted))
    };
    match attributes {
        Attributes::Resource {
            verb,
            group,
            resource,
            subresource,
            name,
            ..
        } => {
            let whole = if subresource.is_empty() {
                resource.clone()
            } else {
                format!("{resource}/{subresource}")
            };
            let any = format!("*/{subresource}");
            let names = rule
                .get("resourceNames")
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty)
                || has("resourceNames", &|given| given == name);
            has("verbs", &|given| given == "*" || given == verb)
                && has("apiGroups", &|given| given == "*" || given == group)
                && has("resources", &|given| {
                    given == "*" || given == whole || (!subresource.is_empty() && given == any)
                })
                && names
        }
        Attributes::Path { verb, path } => {
            has("verbs", &|given| given == "*" || given == verb)
                && has("nonResourceURLs", &|given| {
                    given == "*"
                        || given == path
                        || given
                            .strip_suffix('*')
                            .is_some_and(|prefix| path.starts_with(prefix))
                })
        }
    }
}
