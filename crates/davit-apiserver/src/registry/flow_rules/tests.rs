use serde_json::{Value, json};

use super::{default_level, default_schema, level, schema};
use crate::flow_schemas::suggested;

/// The errors about an object with that spec, a line each.
fn wrong(name: &str, spec: &Value, is_level: bool) -> String {
    let mut object = json!({"metadata": {"name": name}, "spec": spec});
    let object = object.as_object_mut().unwrap();
    let mut errors = Vec::new();
    if is_level {
        default_level(object);
        level(object, &mut errors);
    } else {
        default_schema(object);
        schema(object, &mut errors);
    }
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn suggested_objects_are_valid_and_have_no_other_defaults() {
    for (name, spec) in suggested::levels() {
        assert_eq!(wrong(name, &spec, true), "", "{name}");
        let mut object = json!({"metadata": {"name": name}, "spec": spec});
        default_level(object.as_object_mut().unwrap());
        assert_eq!(object["spec"], spec, "{name}");
    }
    for (name, spec) in suggested::schemas() {
        assert_eq!(wrong(name, &spec, false), "", "{name}");
        let mut object = json!({"metadata": {"name": name}, "spec": spec});
        default_schema(object.as_object_mut().unwrap());
        assert_eq!(object["spec"], spec, "{name}");
    }
}

#[test]
fn levels_have_upstreams_defaults_and_messages() {
    let mut object = json!({"metadata": {"name": "a"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 0}}}}});
    default_level(object.as_object_mut().unwrap());
    let queuing = json!({"queues": 64, "handSize": 8, "queueLengthLimit": 50});
    let limited = json!({"nominalConcurrencyShares": 30, "lendablePercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing}});
    assert_eq!(object["spec"]["limited"], limited);
    let queued = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
    let path = "spec.limited.limitResponse.queuing";
    let rows = [
        (json!({}), "spec.type: Required value\n".to_owned()),
        (
            json!({"type": "Odd"}),
            "spec.type: Unsupported value: \"Odd\": supported values: \"Exempt\", \"Limited\"\n".to_owned(),
        ),
        (
            json!({"type": "Limited"}),
            "spec.limited: Required value: must not be empty when type is Limited\n".to_owned(),
        ),
        (
            json!({"type": "Exempt"}),
            "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'\n".to_owned(),
        ),
        (
            queued(json!({"queues": 4, "handSize": 5})),
            format!("{path}.handSize: Invalid value: 5: should not be greater than queues (4)\n"),
        ),
        (queued(json!({"queues": 1024, "handSize": 6})), String::new()),
        (
            queued(json!({"queues": 1025, "handSize": 6})),
            format!(
                "{path}.handSize: Invalid value: 6: required entropy bits of deckSize 1025 and handSize 6 should \
                 not be greater than 60\n"
            ),
        ),
        (
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": 101,
                "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject"}}}),
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer\n\
             spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive\n\
             spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer\n"
                .to_owned(),
        ),
    ];
    for (spec, messages) in rows {
        assert_eq!(wrong("a", &spec, true), messages, "{spec}");
    }
}

#[test]
fn mandatory_objects_keep_their_specs() {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 5}});
    assert_eq!(wrong("exempt", &exempt, true), "");
    let rejects = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 7, "limitResponse": {"type": "Reject"}}});
    assert!(wrong("catch-all", &rejects, true).ends_with("spec of 'catch-all' must equal the fixed value\n"));
    let (_, mut spec) = suggested::schemas().swap_remove(0);
    spec["matchingPrecedence"] = 5.into();
    assert!(wrong("exempt", &spec, false).ends_with("spec of 'exempt' must equal the fixed value\n"));
}
