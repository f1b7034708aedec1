//! The priority levels and flow schemas that hold now.

use std::sync::Arc;

use http::HeaderValue;
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, PolicyRulesWithSubjects, PriorityLevelConfigurationSpec,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    matching::{Digest, matches},
    suggested::{self, CATCH_ALL},
};
use crate::store::Object;

/// A priority level.
#[derive(Debug)]
pub struct Level {
    pub name: Arc<str>,
    /// The uid of its object.
    pub uid: HeaderValue,
    /// Whether its requests take no seat.
    pub exempt: bool,
    /// Its part of all seats, in proportion to the shares of the others.
    pub shares: u64,
    /// The percentage of its seats that other levels may take while it does not need them.
    pub lendable: u64,
    /// The percentage of its seats that it may take of others in addition; any number if `None`.
    pub borrowing: Option<u64>,
    /// Where its requests wait for a seat; `None` if they do not wait.
    pub queue: Option<Queue>,
}

/// Where requests of a level wait.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    /// How many requests of one flow may wait.
    pub length: usize,
    /// How many requests of the level may wait.
    pub total: usize,
}

/// A flow schema.
#[derive(Debug)]
pub struct Schema {
    pub name: Arc<str>,
    /// The uid of its object.
    pub uid: HeaderValue,
    precedence: i32,
    level: usize,
    by: By,
    rules: Vec<PolicyRulesWithSubjects>,
}

/// What tells the flows of a schema apart.
#[derive(Debug, Clone, Copy)]
enum By {
    Nothing,
    User,
    Namespace,
}

impl Schema {
    /// What tells the flow of a request from the others of the schema; `None` if the schema is one flow.
    pub fn distinguisher<'a>(&self, user: &'a str, namespace: &'a str) -> Option<&'a str> {
        match self.by {
            By::Nothing => None,
            By::User => Some(user),
            By::Namespace => Some(namespace),
        }
    }
}

/// All levels and schemas.
#[derive(Debug)]
pub struct Flows {
    pub levels: Vec<Level>,
    /// In the order in which requests are compared with them.
    schemas: Vec<Schema>,
}

/// Name, uid and spec of an object.
type Stored<T> = (String, String, T);

/// The objects whose spec can be read, and what is mandatory and missing.
fn stored<T: DeserializeOwned>(objects: &[Arc<Object>], known: Vec<(&str, Value)>) -> Vec<Stored<T>> {
    let mut all = Vec::new();
    for object in objects {
        let spec = object.value().remove("spec").unwrap_or_default();
        if let Ok(spec) = serde_json::from_value(spec) {
            all.push((object.key.name.to_string(), object.uid.to_string(), spec));
        }
    }
    for (name, spec) in known {
        let missing = suggested::is_mandatory(name) && !all.iter().any(|(present, _, _)| present == name);
        if missing && let Ok(spec) = serde_json::from_value(spec) {
            all.push((name.to_owned(), String::new(), spec));
        }
    }
    all
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn whole(number: Option<i32>, default: u64) -> u64 {
    number.map_or(default, |number| u64::try_from(number).unwrap_or_default())
}

fn count(number: Option<i32>, default: u64) -> usize {
    usize::try_from(whole(number, default)).unwrap_or(usize::MAX)
}

fn level((name, uid, spec): Stored<PriorityLevelConfigurationSpec>) -> Level {
    let (shares, lendable, borrowing, queuing) = if let Some(limited) = spec.limited {
        (
            whole(limited.nominal_concurrency_shares, 30),
            limited.lendable_percent,
            limited.borrowing_limit_percent,
            limited.limit_response.queuing,
        )
    } else {
        let exempt = spec.exempt.unwrap_or_default();
        (
            whole(exempt.nominal_concurrency_shares, 0),
            exempt.lendable_percent,
            None,
            None,
        )
    };
    Level {
        name: name.into(),
        uid: header(&uid),
        exempt: spec.type_ == "Exempt",
        shares,
        lendable: whole(lendable, 0).min(100),
        borrowing: borrowing.map(|percent| whole(Some(percent), 0)),
        queue: queuing.map(|queuing| {
            let length = count(queuing.queue_length_limit, 50);
            Queue {
                length,
                total: length.saturating_mul(count(queuing.queues, 64)),
            }
        }),
    }
}

impl Flows {
    /// Reads the objects. A schema that names a level that does not exist matches nothing.
    pub fn read(levels: &[Arc<Object>], schemas: &[Arc<Object>]) -> Self {
        let levels = stored(levels, suggested::levels()).into_iter().map(level);
        let levels: Vec<Level> = levels.collect();
        let place = |name: &str| levels.iter().position(|level| &*level.name == name);
        let schema = |(name, uid, spec): Stored<FlowSchemaSpec>| {
            let by = spec.distinguisher_method.map(|method| method.type_);
            Some(Schema {
                level: place(&spec.priority_level_configuration.name)?,
                name: name.into(),
                uid: header(&uid),
                precedence: spec.matching_precedence.unwrap_or(1000),
                by: match by.as_deref() {
                    Some("ByUser") => By::User,
                    Some("ByNamespace") => By::Namespace,
                    _ => By::Nothing,
                },
                rules: spec.rules.unwrap_or_default(),
            })
        };
        let schemas = stored(schemas, suggested::schemas()).into_iter();
        let mut schemas: Vec<Schema> = schemas.filter_map(schema).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { levels, schemas }
    }

    /// The schema that matches a request, with its level. What no schema matches is of `catch-all`.
    pub fn classify(&self, digest: &Digest<'_>) -> Option<(&Schema, &Level)> {
        let mut schemas = self.schemas.iter();
        let found = schemas
            .find(|schema| matches(&schema.rules, digest))
            .or_else(|| self.schemas.iter().find(|schema| &*schema.name == CATCH_ALL))?;
        Some((found, self.levels.get(found.level)?))
    }

    /// The shares of all levels together.
    pub fn shares(&self) -> u64 {
        self.levels.iter().map(|level| level.shares).sum()
    }
}

impl Default for Flows {
    /// The mandatory ones alone.
    fn default() -> Self {
        Self::read(&[], &[])
    }
}

#[cfg(test)]
impl Flows {
    /// Levels and schemas with these names and specs.
    pub fn of_specs(levels: Vec<(&str, Value)>, schemas: Vec<(&str, Value)>) -> Self {
        let objects = |specs: Vec<(&str, Value)>| -> Vec<Arc<Object>> {
            let object = |(name, spec): (&str, Value)| {
                let mut value = serde_json::json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": spec});
                Arc::new(Object::render(value.as_object_mut().unwrap(), 1).unwrap())
            };
            specs.into_iter().map(object).collect()
        };
        Self::read(&objects(levels), &objects(schemas))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::matching::About, *};

    /// Schema and level of a request of that user.
    fn classified(
        flows: &Flows,
        user: &str,
        groups: &[&str],
        verb: &str,
        about: About<'_>,
    ) -> (String, String) {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let digest = Digest {
            user,
            groups: &groups,
            verb,
            about,
        };
        let (schema, level) = flows.classify(&digest).unwrap();
        (schema.name.to_string(), level.name.to_string())
    }

    const fn about<'a>(group: &'a str, resource: &'a str, namespace: &'a str) -> About<'a> {
        About::Resource {
            group,
            resource,
            subresource: "",
            namespace,
        }
    }

    #[test]
    fn requests_have_upstreams_levels() {
        let flows = Flows::of_specs(suggested::levels(), suggested::schemas());
        let lease = about("coordination.k8s.io", "leases", "a");
        let map = about("", "configmaps", "a");
        let node = about("", "nodes", "");
        let known = "system:authenticated";
        let kube = "system:serviceaccount:kube-system:x";
        let rows = [
            (
                "admin",
                vec!["system:masters", known],
                "get",
                map,
                "exempt/exempt",
            ),
            (
                "jane",
                vec![known],
                "get",
                About::Path("/healthz"),
                "probes/exempt",
            ),
            (
                "jane",
                vec![known],
                "get",
                About::Path("/livez/ping"),
                "probes/exempt",
            ),
            (
                "jane",
                vec![known],
                "get",
                About::Path("/healthzz"),
                "global-default/global-default",
            ),
            ("jane", vec![known], "list", map, "global-default/global-default"),
            (
                kube,
                vec![known, "system:serviceaccounts"],
                "update",
                lease,
                "system-leader-election/leader-election",
            ),
            (
                kube,
                vec![known],
                "delete",
                lease,
                "kube-system-service-accounts/workload-high",
            ),
            (
                "system:serviceaccount:a:x",
                vec![known, "system:serviceaccounts"],
                "get",
                map,
                "service-accounts/workload-low",
            ),
            (
                "system:node:n",
                vec!["system:nodes", known],
                "get",
                node,
                "system-node-high/node-high",
            ),
            (
                "system:node:n",
                vec!["system:nodes", known],
                "get",
                map,
                "system-nodes/system",
            ),
            (
                "system:kube-scheduler",
                vec![known],
                "get",
                map,
                "kube-scheduler/workload-high",
            ),
            ("nobody", vec![], "get", map, "catch-all/catch-all"),
        ];
        for (user, groups, verb, what, expected) in rows {
            let (schema, level) = classified(&flows, user, &groups, verb, what);
            assert_eq!(format!("{schema}/{level}"), expected, "{user} {verb} {what:?}");
        }
    }

    #[test]
    fn a_schema_with_a_lower_precedence_comes_first_if_its_level_exists() {
        let rules = json!([{"subjects": [{"kind": "User", "user": {"name": "jane"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps/status"],
                "namespaces": ["a"]}]}]);
        let spec = |level: &str| json!({"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": level}, "rules": rules});
        let mut schemas = suggested::schemas();
        schemas.extend([("janes", spec("system")), ("a-dangling", spec("none"))]);
        let flows = Flows::of_specs(suggested::levels(), schemas);
        let about = |subresource, namespace| About::Resource {
            group: "",
            resource: "configmaps",
            subresource,
            namespace,
        };
        let schema = |about| classified(&flows, "jane", &["system:authenticated"], "get", about).0;
        assert_eq!(schema(about("status", "a")), "janes");
        assert_eq!(schema(about("", "a")), "global-default", "another resource");
        assert_eq!(
            schema(about("status", "b")),
            "global-default",
            "another namespace"
        );
        assert_eq!(schema(about("status", "")), "global-default", "the whole cluster");
    }

    #[test]
    fn mandatory_ones_hold_without_their_objects() {
        let flows = Flows::default();
        let master = classified(&flows, "a", &["system:masters"], "get", About::Path("/"));
        assert_eq!(master.0, "exempt");
        assert!(flows.levels.iter().any(|level| level.exempt));
        let other = classified(&flows, "a", &[], "get", About::Path("/"));
        assert_eq!(other, ("catch-all".to_owned(), "catch-all".to_owned()));
    }
}
