//! The ClusterRoles `admin`, `edit` and `view`, and aggregation of ClusterRoles.
//!
//! The rules are upstream's for the kinds that this server has. Roles of custom resources join them by the labels
//! `rbac.authorization.k8s.io/aggregate-to-ROLE`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::system_writes::{amend, ensure};
use crate::{
    fieldmanager::track::APISERVER,
    object_meta::Fields,
    registry::Resource,
    state::Server,
    status::ApiResult,
    store::{Notice, Object},
};

const GROUP: &str = "rbac.authorization.k8s.io";
/// The field manager of aggregated rules.
const CONTROLLER: &str = "clusterrole-aggregation-controller";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

fn resource(server: &Server) -> Option<Arc<Resource>> {
    server.registry().get(GROUP, "clusterroles").cloned()
}

/// Creates the roles unless they exist.
pub async fn bootstrap(server: &Server) -> ApiResult<()> {
    let Some(resource) = resource(server) else {
        return Ok(());
    };
    let all = [WRITE.as_slice(), READ.as_slice()].concat();
    let rule = |verbs: &[&str], groups: &[&str], resources: &[&str]| json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
    let view = json!([
        rule(
            &READ,
            &[""],
            &["configmaps", "serviceaccounts", "services", "services/status"]
        ),
        rule(&READ, &[""], &["namespaces", "namespaces/status"]),
        rule(&READ, &["", "events.k8s.io"], &["events"]),
    ]);
    let edit = json!([
        rule(&READ, &[""], &["secrets"]),
        rule(&["impersonate"], &[""], &["serviceaccounts"]),
        rule(
            &WRITE,
            &[""],
            &["configmaps", "secrets", "serviceaccounts", "services"]
        ),
        rule(&["create"], &[""], &["serviceaccounts/token"]),
        rule(&WRITE, &["", "events.k8s.io"], &["events"]),
        rule(&all, &["coordination.k8s.io"], &["leases"]),
    ]);
    let admin = json!([
        rule(
            &["create"],
            &["authorization.k8s.io"],
            &["localsubjectaccessreviews"]
        ),
        rule(&all, &[GROUP], &["rolebindings", "roles"]),
    ]);
    // These two are for other programs: an extension API server, and one that reads metrics.
    let delegator = json!([
        rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
        rule(&["create"], &["authorization.k8s.io"], &["subjectaccessreviews"]),
    ]);
    let monitoring = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics",
        "/metrics/slis", "/readyz", "/readyz/*"]}]);
    let label = |role: &str| format!("{GROUP}/aggregate-to-{role}");
    let role = |name: &str, target: Option<&str>, rest: Value| {
        let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}}});
        if let Some(target) = target {
            role["metadata"]["labels"][label(target)] = "true".into();
        }
        if let (Value::Object(role), Value::Object(rest)) = (&mut role, rest) {
            role.extend(rest);
        }
        role
    };
    let aggregates = |target: &str| json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label(target): "true"}}]}, "rules": []});
    for role in [
        role("admin", None, aggregates("admin")),
        role("edit", Some("admin"), aggregates("edit")),
        role("view", Some("edit"), aggregates("view")),
        role(
            "system:aggregate-to-admin",
            Some("admin"),
            json!({"rules": admin}),
        ),
        role("system:aggregate-to-edit", Some("edit"), json!({"rules": edit})),
        role("system:aggregate-to-view", Some("view"), json!({"rules": view})),
        role("system:auth-delegator", None, json!({"rules": delegator})),
        role("system:monitoring", None, json!({"rules": monitoring})),
    ] {
        if let Value::Object(role) = role {
            ensure(server, &resource, role, APISERVER).await?;
        }
    }
    Ok(())
}

/// Fills the rules of aggregated roles after a write of any ClusterRole.
pub async fn follow(server: &Server, notice: &Notice) -> ApiResult<()> {
    if *notice.collection.group != *GROUP || *notice.collection.resource != *"clusterroles" {
        return Ok(());
    }
    let Some(resource) = resource(server) else {
        return Ok(());
    };
    let roles = server.store.view().list(&resource.collection, None).objects;
    let roles: Vec<(Arc<Object>, Fields)> = roles
        .into_iter()
        .map(|role| {
            let value = role.value();
            (role, value)
        })
        .collect();
    for (role, value) in &roles {
        let selectors = value
            .get("aggregationRule")
            .and_then(|rule| rule.get("clusterRoleSelectors")?.as_array());
        let Some(selectors) = selectors else { continue };
        let mut rules: Vec<Value> = Vec::new();
        for (other, other_value) in &roles {
            let chosen = selectors.iter().any(|selector| selects(selector, other_value));
            if other.key == role.key || !chosen {
                continue;
            }
            let own = other_value.get("rules").and_then(Value::as_array);
            for rule in own.into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
        let rules = Value::from(rules);
        let present = value.get("rules").filter(|rules| !rules.is_null());
        if *present.unwrap_or(&json!([])) != rules {
            amend(server, &resource, &role.key, (CONTROLLER, ""), |role| {
                role.insert("rules".into(), rules.clone());
            })
            .await?;
        }
    }
    Ok(())
}

/// Whether a label selector matches an object.
fn selects(selector: &Value, object: &Fields) -> bool {
    let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
    let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
    let exact = selector.get("matchLabels").and_then(Value::as_object);
    let exact = exact.into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let expressions = expressions.into_iter().flatten();
    exact.into_iter().all(|(key, value)| label(key) == value.as_str())
        && expressions.into_iter().all(|expression| {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let own = label(text("key"));
            let listed = expression.get("values").and_then(Value::as_array);
            let listed = own.is_some_and(|own| listed.into_iter().flatten().any(|value| value == own));
            match text("operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => own.is_some(),
                "DoesNotExist" => own.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_upstream_reads_them() {
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        let object = object.as_object().unwrap();
        let expression = |operator: &str, key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, matches) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "b"}}), true),
            (json!({"matchLabels": {"a": "c"}}), false),
            (expression("In", "a", &["b", "c"]), true),
            (expression("In", "x", &["b"]), false),
            (expression("NotIn", "a", &["b"]), false),
            (expression("NotIn", "x", &["b"]), true),
            (expression("Exists", "a", &[]), true),
            (expression("DoesNotExist", "a", &[]), false),
        ] {
            assert_eq!(selects(&selector, object), matches, "{selector}");
        }
    }
}
