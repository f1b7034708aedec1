//! The priority levels and flow schemas that every cluster has, with upstream's values.

use serde_json::{Value, json};

/// The API group of both kinds.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// The resource of flow schemas.
pub const SCHEMAS: &str = "flowschemas";
/// The resource of priority levels.
pub const LEVELS: &str = "prioritylevelconfigurations";

/// The level whose requests never wait, and the schema of administrators.
pub const EXEMPT: &str = "exempt";
/// The level, and the schema, of requests that no other schema matches.
pub const CATCH_ALL: &str = "catch-all";

/// Whether the spec of the object is fixed: these are there even if their objects are not.
pub fn is_mandatory(name: &str) -> bool {
    matches!(name, EXEMPT | CATCH_ALL)
}

/// Name, shares, percentage that may be lent, and the queues (their number, how many a flow uses, their length).
type LevelRow = (&'static str, u32, u32, Option<(u32, u32, u32)>);

const LEVEL_ROWS: &[LevelRow] = &[
    (CATCH_ALL, 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// Name and spec of each priority level.
pub fn levels() -> Vec<(&'static str, Value)> {
    let limited = |&(name, shares, lendable, queues): &LevelRow| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => {
                let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": length});
                json!({"type": "Queue", "queuing": queuing})
            }
        };
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        (name, json!({"type": "Limited", "limited": limited}))
    };
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let mut levels = vec![(EXEMPT, exempt)];
    levels.extend(LEVEL_ROWS.iter().map(limited));
    levels
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn accounts(namespace: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": namespace}})
}

/// A spec with one rule: its subjects may have any request.
fn any(precedence: u32, level: &str, by: Option<&str>, subjects: &[Value]) -> Value {
    let rule = json!({"subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    spec(precedence, level, by, &rule)
}

fn spec(precedence: u32, level: &str, by: Option<&str>, rule: &Value) -> Value {
    let mut spec = json!({"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": level}, "rules": [rule]});
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    spec
}

/// Name and spec of each flow schema.
pub fn schemas() -> Vec<(&'static str, Value)> {
    const BY_USER: Option<&str> = Some("ByUser");
    const BY_NAMESPACE: Option<&str> = Some("ByNamespace");
    const MANAGER: &str = "system:kube-controller-manager";
    const SCHEDULER: &str = "system:kube-scheduler";
    let everybody = [group("system:unauthenticated"), group("system:authenticated")];
    let probes = json!({"subjects": everybody,
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]});
    let leases = |verbs: &[&str]| json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]});
    let nodes = json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true,
        "namespaces": ["*"]});
    let election = json!({"subjects": [user(MANAGER), user(SCHEDULER), accounts("kube-system")],
        "resourceRules": [leases(&["get", "create", "update"])]});
    let node_high = json!({"subjects": [group("system:nodes")], "resourceRules": [nodes, leases(&["*"])]});
    vec![
        (EXEMPT, any(1, EXEMPT, None, &[group("system:masters")])),
        ("probes", spec(2, EXEMPT, None, &probes)),
        (
            "system-leader-election",
            spec(100, "leader-election", BY_USER, &election),
        ),
        ("system-node-high", spec(400, "node-high", BY_USER, &node_high)),
        (
            "system-nodes",
            any(500, "system", BY_USER, &[group("system:nodes")]),
        ),
        (
            "kube-controller-manager",
            any(800, "workload-high", BY_NAMESPACE, &[user(MANAGER)]),
        ),
        (
            "kube-scheduler",
            any(800, "workload-high", BY_NAMESPACE, &[user(SCHEDULER)]),
        ),
        (
            "kube-system-service-accounts",
            any(900, "workload-high", BY_NAMESPACE, &[accounts("kube-system")]),
        ),
        (
            "service-accounts",
            any(9000, "workload-low", BY_USER, &[group("system:serviceaccounts")]),
        ),
        ("global-default", any(9900, "global-default", BY_USER, &everybody)),
        (CATCH_ALL, any(10000, CATCH_ALL, BY_USER, &everybody)),
    ]
}
