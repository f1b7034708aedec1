//! The columns of the built-in kinds, as the printers of the real API server lay them out.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age::age};

/// The columns of a Scale, which every resource with that subresource answers with.
pub fn scale_columns() -> Vec<Column> {
    let count = |name, cell| Column::computed(name, "integer", 0, cell);
    vec![
        Column::name(),
        count("Desired", |scale, _| scale["spec"]["replicas"].clone()),
        count("Available", |scale, _| scale["status"]["replicas"].clone()),
        aged(),
    ]
}

fn text(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, "string", 0, cell)
}

fn wide(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, "string", 1, cell)
}

fn aged() -> Column {
    text("Age", |object, now| {
        since(&object["metadata"]["creationTimestamp"], now)
    })
}

/// The columns of a built-in resource; one that has no layout of its own shows name and creation time.
pub fn builtin_columns(group: &str, kind: &str) -> Vec<Column> {
    match (group, kind) {
        ("", "Namespace") => vec![
            Column::name(),
            text("Status", |o, _| string(&o["status"]["phase"])),
            aged(),
        ],
        ("", "Secret") => vec![
            Column::name(),
            text("Type", |o, _| string(&o["type"])),
            text("Data", |o, _| Value::from(entries(&o["data"]))),
            aged(),
        ],
        ("", "ConfigMap") => vec![
            Column::name(),
            text("Data", |o, _| {
                Value::from(entries(&o["data"]) + entries(&o["binaryData"]))
            }),
            aged(),
        ],
        ("", "ServiceAccount") => vec![Column::name(), aged()],
        ("", "Service") => vec![
            Column::name(),
            text("Type", |o, _| string(&o["spec"]["type"])),
            text("Cluster-IP", |o, _| or_none(string(&o["spec"]["clusterIP"]))),
            text("External-IP", |o, _| {
                or_none(Value::from(joined(&o["spec"]["externalIPs"], ",")))
            }),
            text("Port(s)", |o, _| or_none(Value::from(ports(&o["spec"]["ports"])))),
            aged(),
            wide("Selector", |o, _| {
                or_none(Value::from(selector(&o["spec"]["selector"])))
            }),
        ],
        ("" | "events.k8s.io", "Event") => vec![
            text("Last Seen", last_seen),
            text("Type", |o, _| string(&o["type"])),
            text("Reason", |o, _| string(&o["reason"])),
            text("Object", |o, _| regarded(o)),
            wide("Subobject", |o, _| {
                string(&either(o, "involvedObject", "regarding")["fieldPath"])
            }),
            wide("Source", |o, _| event_source(o)),
            text("Message", |o, _| {
                Value::from(either(o, "message", "note").as_str().unwrap_or_default().trim())
            }),
            wide("First Seen", first_seen),
            wide("Count", |o, _| count(o)),
            wide("Name", |o, _| o["metadata"]["name"].clone()),
        ],
        ("coordination.k8s.io", "Lease") => {
            vec![
                Column::name(),
                text("Holder", |o, _| string(&o["spec"]["holderIdentity"])),
                aged(),
            ]
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => vec![
            Column::name(),
            text("Role", |o, _| {
                Value::from(format!(
                    "{}/{}",
                    plain(&o["roleRef"]["kind"]),
                    plain(&o["roleRef"]["name"])
                ))
            }),
            aged(),
            wide("Users", |o, _| subjects(o, "User")),
            wide("Groups", |o, _| subjects(o, "Group")),
            wide("ServiceAccounts", |o, _| subjects(o, "ServiceAccount")),
        ],
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => schema_columns(),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => level_columns(),
        _ => vec![
            Column::name(),
            Column::computed("Created At", "date", 0, |o, _| {
                string(&o["metadata"]["creationTimestamp"])
            }),
        ],
    }
}

fn schema_columns() -> Vec<Column> {
    vec![
        Column::name(),
        text("PriorityLevel", |o, _| {
            string(&o["spec"]["priorityLevelConfiguration"]["name"])
        }),
        text("MatchingPrecedence", |o, _| {
            o["spec"]["matchingPrecedence"].clone()
        }),
        text("DistinguisherMethod", |o, _| {
            or_none(string(&o["spec"]["distinguisherMethod"]["type"]))
        }),
        aged(),
        text("MissingPL", |o, _| dangling(o)),
    ]
}

fn level_columns() -> Vec<Column> {
    vec![
        Column::name(),
        text("Type", |o, _| string(&o["spec"]["type"])),
        text("NominalConcurrencyShares", |o, _| {
            given(&o["spec"]["limited"]["nominalConcurrencyShares"])
        }),
        text("Queues", |o, _| given(&queuing(o)["queues"])),
        text("HandSize", |o, _| given(&queuing(o)["handSize"])),
        text("QueueLengthLimit", |o, _| given(&queuing(o)["queueLengthLimit"])),
        aged(),
    ]
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn string(value: &Value) -> Value {
    Value::from(plain(value))
}

fn or_none(value: Value) -> Value {
    if value == "" { Value::from("<none>") } else { value }
}

fn given(value: &Value) -> Value {
    if value.is_null() {
        Value::from("<none>")
    } else {
        value.clone()
    }
}

fn queuing(level: &Value) -> &Value {
    &level["spec"]["limited"]["limitResponse"]["queuing"]
}

/// Whether a flow schema names a priority level that does not exist.
fn dangling(schema: &Value) -> Value {
    let conditions = schema["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Dangling");
    found.map_or(Value::from("?"), |condition| string(&condition["status"]))
}

fn since(time: &Value, now: Timestamp) -> Value {
    Value::from(age(Some(time), now))
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn joined(list: &Value, separator: &str) -> String {
    let items: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    items.join(separator)
}

fn ports(list: &Value) -> String {
    let one = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_i64().filter(|node| *node > 0) {
            Some(node) => format!("{}:{node}/{protocol}", port["port"]),
            None => format!("{}/{protocol}", port["port"]),
        }
    };
    let all: Vec<String> = list.as_array().into_iter().flatten().map(one).collect();
    all.join(",")
}

fn selector(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    pairs.join(",")
}

/// A field by the name of core/v1 events, or by that of events.k8s.io/v1.
fn either<'a>(event: &'a Value, core: &str, newer: &str) -> &'a Value {
    event
        .get(core)
        .filter(|value| !value.is_null())
        .unwrap_or(&event[newer])
}

fn regarded(event: &Value) -> Value {
    let object = either(event, "involvedObject", "regarding");
    let kind = plain(&object["kind"]).to_lowercase();
    match plain(&object["name"]) {
        "" => Value::from(kind),
        name => Value::from(format!("{kind}/{name}")),
    }
}

fn event_source(event: &Value) -> Value {
    let source = either(event, "source", "deprecatedSource");
    let first = |a: &'_ Value, b: &'_ Value| {
        if plain(a).is_empty() {
            plain(b).to_owned()
        } else {
            plain(a).to_owned()
        }
    };
    let component = first(
        &source["component"],
        either(event, "reportingComponent", "reportingController"),
    );
    match first(&source["host"], &event["reportingInstance"]).as_str() {
        "" => Value::from(component),
        instance => Value::from(format!("{component}, {instance}")),
    }
}

fn first_seen(event: &Value, now: Timestamp) -> Value {
    let first = either(event, "firstTimestamp", "deprecatedFirstTimestamp");
    since(
        if first.is_null() {
            &event["eventTime"]
        } else {
            first
        },
        now,
    )
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    if event["series"].is_object() {
        return since(&event["series"]["lastObservedTime"], now);
    }
    let last = either(event, "lastTimestamp", "deprecatedLastTimestamp");
    if last.is_null() {
        first_seen(event, now)
    } else {
        since(last, now)
    }
}

fn count(event: &Value) -> Value {
    if event["series"].is_object() {
        return Value::from(event["series"]["count"].as_i64().unwrap_or_default());
    }
    let count = either(event, "count", "deprecatedCount")
        .as_i64()
        .unwrap_or_default();
    Value::from(if count == 0 { 1 } else { count })
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let name = |subject: &Value| match (kind, plain(&subject["namespace"])) {
        ("ServiceAccount", namespace) => format!("{namespace}/{}", plain(&subject["name"])),
        _ => plain(&subject["name"]).to_owned(),
    };
    let all = binding["subjects"].as_array();
    let names: Vec<String> = all
        .into_iter()
        .flatten()
        .filter(|subject| plain(&subject["kind"]) == kind)
        .map(name)
        .collect();
    Value::from(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{IncludeObject, table};
    use serde_json::json;

    #[test]
    fn rows_of_built_in_kinds() {
        let rows = [
            (
                "",
                "Namespace",
                json!({"status": {"phase": "Active"}}),
                json!(["a", "Active", "9s"]),
            ),
            (
                "",
                "Secret",
                json!({"type": "Opaque", "data": {"k": "dg=="}}),
                json!(["a", "Opaque", 1, "9s"]),
            ),
            (
                "",
                "ConfigMap",
                json!({"data": {"k": "v"}, "binaryData": {"b": "eA=="}}),
                json!(["a", 2, "9s"]),
            ),
            ("", "ServiceAccount", json!({}), json!(["a", "9s"])),
            (
                "",
                "Service",
                json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 443, "protocol": "TCP"}]}}),
                json!(["a", "ClusterIP", "10.0.0.1", "<none>", "443/TCP", "9s", "<none>"]),
            ),
            (
                "",
                "Event",
                json!({"type": "Normal", "reason": "R", "message": " m ", "count": 2,
                    "involvedObject": {"kind": "Lamp", "name": "shop"}, "source": {"component": "controller"},
                    "firstTimestamp": "2024-05-06T07:00:09Z", "lastTimestamp": "2024-05-06T07:08:04Z"}),
                json!([
                    "5s",
                    "Normal",
                    "R",
                    "lamp/shop",
                    "",
                    "controller",
                    "m",
                    "8m",
                    2,
                    "a"
                ]),
            ),
            (
                "events.k8s.io",
                "Event",
                json!({"type": "Normal", "reason": "R", "note": "m", "regarding": {"kind": "K", "name": "n"},
                    "reportingController": "controller", "reportingInstance": "i", "eventTime": "2024-05-06T07:08:04.000001Z"}),
                json!(["5s", "Normal", "R", "k/n", "", "controller, i", "m", "5s", 1, "a"]),
            ),
            (
                "coordination.k8s.io",
                "Lease",
                json!({"spec": {"holderIdentity": "me"}}),
                json!(["a", "me", "9s"]),
            ),
            (
                "rbac.authorization.k8s.io",
                "RoleBinding",
                json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
                    {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
                json!(["a", "Role/r", "9s", "u", "", "n/s"]),
            ),
            (
                "rbac.authorization.k8s.io",
                "Role",
                json!({}),
                json!(["a", "2024-05-06T07:08:00Z"]),
            ),
        ];
        check(rows);
    }

    #[test]
    fn rows_of_priority_and_fairness() {
        check([
            (
                "flowcontrol.apiserver.k8s.io",
                "FlowSchema",
                json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 7,
                    "distinguisherMethod": {"type": "ByUser"}}, "status": {"conditions": [{"type": "Dangling", "status": "True"}]}}),
                json!(["a", "p", 7, "ByUser", "9s", "True"]),
            ),
            (
                "flowcontrol.apiserver.k8s.io",
                "FlowSchema",
                json!({"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 7}}),
                json!(["a", "p", 7, "<none>", "9s", "?"]),
            ),
            (
                "flowcontrol.apiserver.k8s.io",
                "PriorityLevelConfiguration",
                json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Queue",
                    "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}}),
                json!(["a", "Limited", 0, 64, 6, 50, "9s"]),
            ),
            (
                "flowcontrol.apiserver.k8s.io",
                "PriorityLevelConfiguration",
                json!({"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}}),
                json!(["a", "Exempt", "<none>", "<none>", "<none>", "<none>", "9s"]),
            ),
        ]);
    }

    fn check<const COUNT: usize>(rows: [(&str, &str, Value, Value); COUNT]) {
        let now: Timestamp = "2024-05-06T07:08:09Z".parse().unwrap();
        for (group, kind, mut object, expected) in rows {
            object["metadata"] = json!({"name": "a", "creationTimestamp": "2024-05-06T07:08:00Z"});
            let columns = builtin_columns(group, kind);
            let table = table(&columns, &[object], now, IncludeObject::None, "v1");
            assert_eq!(table["rows"][0]["cells"], expected, "{kind}");
        }
    }
}
