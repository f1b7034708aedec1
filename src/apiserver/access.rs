//! Authorization by roles: the one place that decides who may do what.

use serde_json::{Value, json};

use super::{
    identity::Identity,
    server::Server,
    store::{GroupResource, ObjectKey},
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attributes {
    /// Something about a resource.
    Resource {
        /// Verb.
        verb: String,
        /// API group.
        group: String,
        /// Plural name.
        resource: String,
        /// Subresource; empty for none.
        subresource: String,
        /// Namespace; empty for all, or for none.
        namespace: String,
        /// Name; empty for all.
        name: String,
    },
    /// Something else.
    Path {
        /// HTTP method in lower case.
        verb: String,
        /// Path.
        path: String,
    },
}

/// The answer.
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
    if implied(subject, attributes) {
        return allow("RBAC: allowed by ClusterRoleBinding \"system:discovery\"".into());
    }
    let namespace = match attributes {
        Attributes::Resource { namespace, .. } => namespace.as_str(),
        Attributes::Path { .. } => "",
    };
    let mut reason = None;
    bound_rules(server, subject, namespace, &mut |binding, role, rules| {
        if reason.is_none() && rules.iter().any(|rule| rule_allows(rule, attributes)) {
            reason = Some(format!(
                "RBAC: allowed by {binding} of {role} to {}",
                subject.user
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

/// What every authenticated caller may do: read discovery, and ask about itself.
fn implied(subject: &Identity, attributes: &Attributes) -> bool {
    if !subject.groups.iter().any(|group| group == "system:authenticated") {
        return false;
    }
    match attributes {
        Attributes::Path { verb, path } => {
            verb == "get"
                && DISCOVERY.iter().any(|known| {
                    path.strip_prefix(known)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
        }
        Attributes::Resource {
            verb,
            group,
            resource,
            ..
        } => {
            verb == "create"
                && matches!(
                    (group.as_str(), resource.as_str()),
                    (
                        "authorization.k8s.io",
                        "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
                    ) | ("authentication.k8s.io", "selfsubjectreviews")
                )
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
        ],
    };
    if subject.is_master() {
        found
            .resources
            .insert(0, json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        found
            .paths
            .insert(0, json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
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
    each: &mut dyn FnMut(String, String, &[Value]),
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
        let binding = Value::Object(object.value());
        let subjects = binding.get("subjects").and_then(Value::as_array);
        let names = |candidate: &Value| names_subject(candidate, subject, &object.key.namespace);
        if !subjects.is_some_and(|subjects| subjects.iter().any(names)) {
            continue;
        }
        let text = |pointer: &str| {
            binding
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, name) = (text("/roleRef/kind"), text("/roleRef/name"));
        let (collection, key) = if kind == "ClusterRole" {
            (
                GroupResource::new(RBAC, "clusterroles"),
                ObjectKey::new("", &name),
            )
        } else {
            (
                GroupResource::new(RBAC, "roles"),
                ObjectKey::new(&object.key.namespace, &name),
            )
        };
        let Some(role) = view.get(&collection, &key) else {
            continue;
        };
        let rules = role.value().remove("rules");
        let rules = rules
            .as_ref()
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let binding_kind = if object.key.namespace.is_empty() {
            "ClusterRoleBinding"
        } else {
            "RoleBinding"
        };
        each(
            format!("{binding_kind} \"{}\"", object.key.name),
            format!("{kind} \"{name}\""),
            rules,
        );
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
            subject.user == format!("system:serviceaccount:{namespace}:{name}")
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
