//! Ownership after sequences of writes, and properties that hold for all of them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::Schema;

fn now() -> Timestamp {
    "2024-05-06T07:08:09Z".parse().unwrap()
}

fn later() -> Timestamp {
    "2024-05-06T08:00:00Z".parse().unwrap()
}

fn schema() -> Schema {
    Schema::compile(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "image": {"type": "string"},
            "atomic": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "required": ["port"], "properties": {
                    "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}))
    .unwrap()
}

fn target(schema: &Schema) -> Target<'_> {
    Target {
        schema: Some(schema),
        kind: "Thing",
        builtin: false,
        api_version: "a.b/v1",
        subresource: "",
        has_status: true,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "rows read better")]
fn thing(spec: Value) -> Value {
    json!({"apiVersion": "a.b/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "n"}, "spec": spec})
}

fn applied(schema: &Schema, live: Option<&Value>, spec: Value, manager: &str) -> Value {
    apply(&target(schema), live, &thing(spec), manager, false, now()).unwrap()
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .map(|entry| entry["fieldsV1"].clone())
        .unwrap_or_default()
}

#[test]
fn an_applier_owns_what_it_applies_and_nothing_else() {
    let schema = schema();
    let spec = json!({"replicas": 1, "atomic": ["a"], "set": ["x"], "ports": [{"port": 80, "name": "http"}],
        "labels": {"l": "1"}, "whole": {"w": "1"}, "free": {"deep": {"f": 1}}});
    let object = applied(&schema, None, spec.clone(), "me");
    assert_eq!(object["spec"], spec);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{"manager": "me", "operation": "Apply", "apiVersion": "a.b/v1", "time": "2024-05-06T07:08:09Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {
                "f:replicas": {}, "f:atomic": {}, "f:whole": {},
                "f:set": {"v:\"x\"": {}},
                "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}},
                "f:labels": {"f:l": {}},
                "f:free": {"f:deep": {".": {}, "f:f": {}}}}}}])
    );
}

#[test]
fn applying_again_changes_nothing_and_leaving_out_removes() {
    let schema = schema();
    let spec = json!({"replicas": 1, "image": "a", "set": ["x", "y"], "ports": [{"port": 80}, {"port": 81}], "labels": {"l": "1", "m": "2"}});
    let first = applied(&schema, None, spec.clone(), "me");
    let again = apply(&target(&schema), Some(&first), &thing(spec), "me", false, later()).unwrap();
    assert_eq!(again, first);
    let less = applied(
        &schema,
        Some(&first),
        json!({"replicas": 1, "set": ["x"], "ports": [{"port": 81}], "labels": {"m": "2"}}),
        "me",
    );
    assert_eq!(
        less["spec"],
        json!({"replicas": 1, "set": ["x"], "ports": [{"port": 81}], "labels": {"m": "2"}})
    );
    let none = applied(&schema, Some(&less), json!({"replicas": 1}), "me");
    assert_eq!(none["spec"], json!({"replicas": 1}));
}

#[test]
fn conflicts_name_who_and_where_and_force_takes_over() {
    let schema = schema();
    let first = applied(&schema, None, json!({"replicas": 1, "image": "a"}), "one");
    let second = thing(json!({"replicas": 2}));
    let error = apply(&target(&schema), Some(&first), &second, "two", false, now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    let ApplyError::Conflicts { conflicts, .. } = error else {
        panic!()
    };
    assert_eq!(
        conflicts,
        [Conflict {
            message: "conflict with \"one\"".into(),
            field: ".spec.replicas".into()
        }]
    );
    let both = thing(json!({"replicas": 2, "image": "b"}));
    let error = apply(&target(&schema), Some(&first), &both, "two", false, now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.image\n- .spec.replicas"
    );
    let forced = apply(&target(&schema), Some(&first), &second, "two", true, now()).unwrap();
    assert_eq!(forced["spec"], json!({"replicas": 2, "image": "a"}));
    assert_eq!(owned(&forced, "one"), json!({"f:spec": {"f:image": {}}}));
    assert_eq!(owned(&forced, "two"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn the_same_value_is_owned_together() {
    let schema = schema();
    let first = applied(&schema, None, json!({"replicas": 1, "image": "a"}), "one");
    let second = applied(&schema, Some(&first), json!({"replicas": 1}), "two");
    assert_eq!(owned(&second, "two"), json!({"f:spec": {"f:replicas": {}}}));
    // One leaves the field: two keeps it.
    let third = applied(&schema, Some(&second), json!({"image": "a"}), "one");
    assert_eq!(third["spec"], json!({"replicas": 1, "image": "a"}));
    let fourth = applied(&schema, Some(&third), json!({}), "two");
    assert_eq!(fourth["spec"], json!({"image": "a"}));
}

#[test]
fn an_update_owns_what_it_changes() {
    let schema = schema();
    let target = target(&schema);
    let created = update(
        &target,
        None,
        thing(json!({"replicas": 1, "labels": {"l": "1"}})),
        "kubectl-create",
        now(),
    );
    assert_eq!(
        owned(&created, "kubectl-create"),
        json!({"f:spec": {".": {}, "f:replicas": {}, "f:labels": {".": {}, "f:l": {}}}})
    );
    let mut edited = created.clone();
    edited["spec"]["replicas"] = 2.into();
    edited["spec"]["image"] = "x".into();
    let edited = update(&target, Some(&created), edited, "kubectl-edit", later());
    assert_eq!(
        owned(&edited, "kubectl-edit"),
        json!({"f:spec": {"f:replicas": {}, "f:image": {}}})
    );
    assert_eq!(
        owned(&edited, "kubectl-create"),
        json!({"f:spec": {".": {}, "f:labels": {".": {}, "f:l": {}}}})
    );
    // An update that changes nothing is no write.
    let same = update(&target, Some(&edited), edited.clone(), "other", later());
    assert_eq!(same, edited);
    let error = apply(
        &target,
        Some(&edited),
        &thing(json!({"replicas": 3})),
        "me",
        false,
        now(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using a.b/v1: .spec.replicas"
    );
}

#[test]
fn status_belongs_to_who_writes_the_subresource() {
    let schema = schema();
    let main = target(&schema);
    let status = Target {
        subresource: "status",
        ..main
    };
    let live = applied(&schema, None, json!({"replicas": 1}), "me");
    let mut config = thing(json!({"replicas": 7}));
    config["status"] = json!({"phase": "done"});
    let done = apply(&status, Some(&live), &config, "controller", false, now());
    // The caller resets spec before; here the conflict shows that only status is this manager's.
    let done = done.unwrap();
    assert_eq!(owned(&done, "controller"), json!({"f:status": {"f:phase": {}}}));
    let entry = done["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["manager"] == "controller")
        .unwrap()
        .clone();
    assert_eq!(entry["subresource"], "status");
    let again = apply(
        &main,
        Some(&done),
        &thing(json!({"replicas": 1})),
        "me",
        false,
        now(),
    )
    .unwrap();
    assert_eq!(again["status"], json!({"phase": "done"}));
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    let schema = schema();
    let rows = [
        (json!({"typo": 1}), ".spec.typo: field not declared in schema"),
        (
            json!({"replicas": "x"}),
            ".spec.replicas: expected numeric (int or float), got string",
        ),
        (
            json!({"ports": [{"name": "x"}]}),
            ".spec.ports: associative list with keys has an element that omits key field \"port\" (and doesn't have default value)",
        ),
        (
            json!({"set": ["a", "a"]}),
            ".spec.set: duplicate entries for key [=\"a\"]",
        ),
        (json!({"ports": {}}), ".spec.ports: expected list, got map"),
    ];
    for (spec, text) in rows {
        let error = apply(&target(&schema), None, &thing(spec), "me", false, now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("failed to create typed patch object (n/t; a.b/v1, Kind=Thing): {text}")
        );
    }
    let mut managed = thing(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    let error = apply(&target(&schema), None, &managed, "me", false, now()).unwrap_err();
    assert_eq!(
        error,
        ApplyError::BadRequest("metadata.managedFields must be nil".into())
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_client_side() {
    let schema = schema();
    let target = target(&schema);
    let mut created = thing(json!({"replicas": 1, "image": "a"}));
    let last = thing(json!({"replicas": 1, "image": "a"})).to_string();
    created["metadata"]["annotations"] = json!({LAST_APPLIED: last});
    let live = update(&target, None, created, "kubectl-client-side-apply", now());
    let config = thing(json!({"replicas": 2, "image": "a"}));
    let taken = apply(&target, Some(&live), &config, "kubectl", false, later()).unwrap();
    assert_eq!(taken["spec"]["replicas"], 2);
    let annotation: Value =
        serde_json::from_str(taken["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap()).unwrap();
    assert_eq!(annotation, config);
    assert!(apply(&target, Some(&live), &config, "flux", false, later()).is_err());
}

#[test]
fn built_in_kinds_merge_by_their_markers() {
    let target = Target {
        schema: None,
        kind: "Service",
        builtin: true,
        api_version: "v1",
        subresource: "",
        has_status: true,
    };
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": {"ports": ports}});
    let first = apply(
        &target,
        None,
        &service(json!([{"port": 80, "name": "http"}])),
        "one",
        false,
        now(),
    )
    .unwrap();
    let second = apply(
        &target,
        Some(&first),
        &service(json!([{"port": 443, "name": "https"}])),
        "two",
        false,
        now(),
    )
    .unwrap();
    assert_eq!(
        second["spec"]["ports"],
        json!([{"port": 80, "name": "http"}, {"port": 443, "name": "https"}])
    );
    let map = Target {
        kind: "ConfigMap",
        ..target
    };
    let config = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data});
    let created = update(&map, None, config(json!({"a": "1"})), "kubectl-create", now());
    assert_eq!(
        owned(&created, "kubectl-create"),
        json!({"f:data": {".": {}, "f:a": {}}})
    );
    let applied = apply(
        &map,
        Some(&created),
        &config(json!({"b": "2"})),
        "me",
        false,
        now(),
    )
    .unwrap();
    assert_eq!(applied["data"], json!({"a": "1", "b": "2"}));
}

#[test]
fn an_untracked_object_is_tracked_from_its_first_apply() {
    let schema = schema();
    let live = thing(json!({"replicas": 1}));
    let updated = update(
        &target(&schema),
        Some(&live),
        thing(json!({"replicas": 2})),
        "me",
        now(),
    );
    assert_eq!(updated["metadata"].get("managedFields"), None);
    let applied = apply(
        &target(&schema),
        Some(&live),
        &thing(json!({"image": "a"})),
        "me",
        false,
        now(),
    )
    .unwrap();
    assert_eq!(
        owned(&applied, "before-first-apply"),
        json!({"f:spec": {".": {}, "f:replicas": {}}})
    );
}

#[test]
fn many_updaters_are_joined() {
    let schema = schema();
    let target = target(&schema);
    let mut live = update(&target, None, thing(json!({"labels": {}})), "m0", now());
    for at in 1..20 {
        let mut next = live.clone();
        next["spec"]["labels"][format!("l{at}")] = "x".into();
        live = update(&target, Some(&live), next, &format!("m{at}"), now());
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert!(entries.len() <= 10, "{}", entries.len());
    assert!(entries.iter().any(|entry| entry["manager"] == "ancient-changes"));
}

#[test]
fn times_alone_are_no_change() {
    let schema = schema();
    let old = applied(&schema, None, json!({"replicas": 1}), "me");
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z".into();
    keep_times(&old, &mut new);
    assert_eq!(new, old);
    new["spec"]["replicas"] = 2.into();
    let kept = new.clone();
    keep_times(&old, &mut new);
    assert_eq!(new, kept);
}

/// A spec of which each half of the fields is for one manager.
fn specs(half: usize) -> impl Strategy<Value = Value> {
    let names = if half == 0 { ["a", "b"] } else { ["c", "d"] };
    let ports = if half == 0 { 0..3_i64 } else { 3..6_i64 };
    (
        prop::collection::btree_map(prop::sample::select(names.to_vec()), "[a-z]{1,2}", 0..3),
        prop::collection::btree_set(prop::sample::select(names.to_vec()), 0..3),
        prop::collection::btree_set(ports, 0..3),
        0_i64..3,
    )
        .prop_map(move |(labels, set, ports, number)| {
            let ports: Vec<Value> = ports.into_iter().map(|port| json!({"port": port})).collect();
            // An empty list of a set or map has no owner, as upstream: such a list comes and goes with its items.
            let mut spec = json!({"labels": labels});
            if !set.is_empty() {
                spec["set"] = json!(set);
            }
            if !ports.is_empty() {
                spec["ports"] = ports.into();
            }
            if half == 0 {
                spec["replicas"] = number.into();
            } else {
                spec["image"] = number.to_string().into();
            }
            spec
        })
}

/// Without order, for lists that are sets and maps.
fn sorted(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    for name in ["set", "ports"] {
        if let Some(list) = spec[name].as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
    }
    spec
}

proptest! {
    #[test]
    fn applying_the_same_again_is_no_write(first in specs(0), second in specs(0), other in specs(1)) {
        let schema = schema();
        let live = applied(&schema, None, first, "one");
        let live = applied(&schema, Some(&live), other, "two");
        let once = applied(&schema, Some(&live), second.clone(), "one");
        let twice = apply(&target(&schema), Some(&once), &thing(second), "one", false, later()).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn managers_with_nothing_in_common_may_come_in_any_order(a in specs(0), b in specs(1)) {
        let schema = schema();
        let ab = applied(&schema, Some(&applied(&schema, None, a.clone(), "one")), b.clone(), "two");
        let ba = applied(&schema, Some(&applied(&schema, None, b, "two")), a, "one");
        prop_assert_eq!(sorted(&ab), sorted(&ba));
        for manager in ["one", "two"] {
            prop_assert_eq!(owned(&ab, manager), owned(&ba, manager));
        }
    }

    #[test]
    fn what_one_adds_and_leaves_out_is_as_if_it_had_never_been(a in specs(0), b in specs(1), c in specs(1)) {
        let schema = schema();
        let with = applied(&schema, Some(&applied(&schema, None, a.clone(), "one")), b, "two");
        let changed = applied(&schema, Some(&with), c.clone(), "two");
        let direct = applied(&schema, Some(&applied(&schema, None, a, "one")), c, "two");
        prop_assert_eq!(sorted(&changed), sorted(&direct));
    }
}
