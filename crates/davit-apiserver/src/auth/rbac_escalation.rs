//! RBAC escalation check: a user can only grant permissions that the user already holds.
//!
//! The rule is upstream's: the rules of a role must be covered by those of the user that writes it, unless the user has
//! the verb `escalate` on roles; the role of a binding must be covered, unless the user has the verb `bind` on it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    identity::Identity,
    rbac::{self, Attributes},
};
use crate::{
    field::quote,
    object_meta::{self, Fields},
    registry::builtin::Builtin,
    state::Server,
    status::{ApiError, ApiResult},
    store::{GroupResource, ObjectKey},
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// A rule that allows one thing, or as many as its writer put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
    verbs: Vec<String>,
}

/// A write of a role or a binding.
pub struct Write<'a> {
    pub server: &'a Server,
    /// The user that writes.
    pub identity: &'a Identity,
    /// The kind of the object.
    pub builtin: Builtin,
    pub collection: GroupResource,
    /// Its namespace; empty for none.
    pub namespace: &'a str,
    pub name: &'a str,
}

impl Write<'_> {
    /// 403 if the object would give rights that its writer has not; other kinds than RBAC's give none.
    pub fn check(&self, new: &Fields, old: Option<&Fields>) -> ApiResult<()> {
        if self.identity.is_master() || old.is_some_and(|old| leaves(old) == leaves(new)) {
            return Ok(());
        }
        match self.builtin {
            Builtin::Role | Builtin::ClusterRole => {
                if self.may("escalate", &self.collection, "") {
                    return Ok(());
                }
                let mut rules = rules_of(new);
                // Aggregation fills the rules later, from any role with the labels.
                if new.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
                    rules.extend(everything());
                }
                self.cover(&rules)
            }
            Builtin::RoleBinding | Builtin::ClusterRoleBinding => {
                let text = |key: &str| {
                    let reference = new.get("roleRef").and_then(|role| role.get(key));
                    reference.and_then(Value::as_str).unwrap_or_default()
                };
                let (resource, namespace) = match text("kind") {
                    "ClusterRole" => ("clusterroles", ""),
                    _ => ("roles", self.namespace),
                };
                let collection = GroupResource::new(RBAC, resource);
                if self.may("bind", &collection, text("name")) {
                    return Ok(());
                }
                let key = ObjectKey::new(namespace, text("name"));
                let role = self.server.store.view().get(&collection, &key);
                // Upstream, too, says of the binding's resource that there is no such thing.
                let role = role.ok_or_else(|| ApiError::not_found(&self.collection, text("name")))?;
                self.cover(&rules_of(&role.value()))
            }
            _ => Ok(()),
        }
    }

    fn may(&self, verb: &str, collection: &GroupResource, name: &str) -> bool {
        let attributes = Attributes::Resource {
            verb: verb.into(),
            group: collection.group.to_string(),
            resource: collection.resource.to_string(),
            subresource: String::new(),
            namespace: self.namespace.into(),
            name: name.into(),
        };
        rbac::decide(self.server, self.identity, &attributes).allowed
    }

    fn cover(&self, wanted: &[Rule]) -> ApiResult<()> {
        let held = rbac::rules(self.server, self.identity, self.namespace);
        let held: Vec<Rule> = held.resources.iter().chain(&held.paths).map(parse).collect();
        let missing: Vec<Rule> = wanted
            .iter()
            .flat_map(Rule::parts)
            .filter(|part| !held.iter().any(|rule| rule.covers(part)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<String> = self.identity.groups.iter().map(|group| quote(group)).collect();
        let why = format!(
            "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&self.identity.user),
            groups.join(" "),
            described(missing).join("\n")
        );
        Err(ApiError::forbidden(&self.collection, self.name, &why))
    }
}

/// The object without what the garbage collector must be able to change: it holds no rights itself.
fn leaves(object: &Fields) -> Fields {
    let mut object = object.clone();
    for key in ["finalizers", "ownerReferences", "managedFields"] {
        object_meta::remove(&mut object, key);
    }
    object
}

fn rules_of(role: &Fields) -> Vec<Rule> {
    let rules = role.get("rules").and_then(Value::as_array);
    rules.into_iter().flatten().map(parse).collect()
}

fn parse(rule: &Value) -> Rule {
    let texts = |key: &str| {
        let list = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    Rule {
        groups: texts("apiGroups"),
        resources: texts("resources"),
        names: texts("resourceNames"),
        paths: texts("nonResourceURLs"),
        verbs: texts("verbs"),
    }
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule {
            groups: all(),
            resources: all(),
            verbs: all(),
            ..Rule::default()
        },
        Rule {
            paths: all(),
            verbs: all(),
            ..Rule::default()
        },
    ]
}

impl Rule {
    /// The same, each thing that it allows by itself.
    fn parts(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let names: Vec<Vec<String>> = if self.names.is_empty() {
            vec![Vec::new()]
        } else {
            self.names.iter().map(|name| vec![name.clone()]).collect()
        };
        for verb in &self.verbs {
            for group in &self.groups {
                for resource in &self.resources {
                    parts.extend(names.iter().map(|names| Self {
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        names: names.clone(),
                        verbs: vec![verb.clone()],
                        ..Self::default()
                    }));
                }
            }
            parts.extend(self.paths.iter().map(|path| Self {
                paths: vec![path.clone()],
                verbs: vec![verb.clone()],
                ..Self::default()
            }));
        }
        parts
    }

    /// Whether this rule allows all of that part.
    fn covers(&self, part: &Self) -> bool {
        let all = |held: &[String], wanted: &[String]| {
            held.iter().any(|one| one == "*") || wanted.iter().all(|one| held.contains(one))
        };
        let resource = |wanted: &String| {
            let subresource = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            self.resources.contains(wanted) || subresource.is_some_and(|any| self.resources.contains(&any))
        };
        let path = |wanted: &String| {
            self.paths.iter().any(|held| {
                held == wanted
                    || held
                        .strip_suffix('*')
                        .is_some_and(|start| wanted.starts_with(start))
            })
        };
        all(&self.verbs, &part.verbs)
            && all(&self.groups, &part.groups)
            && (self.resources.iter().any(|one| one == "*") || part.resources.iter().all(resource))
            && (self.names.is_empty()
                || (!part.names.is_empty() && part.names.iter().all(|name| self.names.contains(name))))
            && part.paths.iter().all(path)
    }

    fn described(&self) -> String {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let parts = parts.iter().filter(|(_, list)| !list.is_empty());
        let parts: Vec<String> = parts
            .map(|(name, list)| {
                let list: Vec<String> = list.iter().map(|one| quote(one)).collect();
                format!("{name}:[{}]", list.join(" "))
            })
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// The parts in words, the verbs for one thing together.
fn described(parts: Vec<Rule>) -> Vec<String> {
    let mut joined: BTreeMap<String, Rule> = BTreeMap::new();
    for mut part in parts {
        // Upstream joins the verbs for resources only.
        if !part.paths.is_empty() {
            joined.insert(part.described(), part);
            continue;
        }
        let verbs = std::mem::take(&mut part.verbs);
        joined.entry(part.described()).or_insert(part).verbs.extend(verbs);
    }
    let mut described: Vec<String> = joined.values().map(Rule::described).collect();
    described.sort();
    described
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing() {
        let held = [
            json!({"apiGroups": [""], "resources": ["configmaps", "*/status"], "verbs": ["get", "list"]}),
            json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]}),
            json!({"apiGroups": ["x"], "resources": ["*"], "verbs": ["*"]}),
            json!({"nonResourceURLs": ["/healthz", "/logs/*"], "verbs": ["get"]}),
        ]
        .map(|rule| parse(&rule));
        let rows = [
            (
                json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}),
                "",
            ),
            (
                json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["b"], "verbs": ["get"]}),
                "",
            ),
            (
                json!({"apiGroups": [""], "resources": ["pods/status"], "verbs": ["get"]}),
                "",
            ),
            (
                json!({"apiGroups": ["x"], "resources": ["any"], "verbs": ["fly"]}),
                "",
            ),
            (json!({"nonResourceURLs": ["/logs/a"], "verbs": ["get"]}), ""),
            (
                json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "watch", "delete"]}),
                r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["watch" "delete"]}"#,
            ),
            (
                json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,
            ),
            (
                json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]}),
                r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#,
            ),
            (
                json!({"nonResourceURLs": ["*"], "verbs": ["get"]}),
                r#"{NonResourceURLs:["*"], Verbs:["get"]}"#,
            ),
        ];
        for (wanted, expected) in rows {
            let missing = parse(&wanted)
                .parts()
                .into_iter()
                .filter(|part| !held.iter().any(|rule| rule.covers(part)))
                .collect();
            assert_eq!(described(missing).join("\n"), expected, "{wanted}");
        }
    }
}
