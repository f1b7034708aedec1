//! Patches of all four sorts, made of the object that they are for, and several managers who apply to it.

use std::time::Instant;

use davit_apiserver::internals::{
    Schema,
    fieldmanager::{self, Target},
    patch::{json_patch, merge_patch, strategic_merge_patch},
};
use serde_json::{Map, Value, json};

use super::{SLOW, source::Source};

/// The fields of the objects here: what is a list with keys, a set, or one value, in some kind.
const FIELDS: [&str; 20] = [
    "containers",
    "ports",
    "env",
    "volumes",
    "tolerations",
    "finalizers",
    "ownerReferences",
    "labels",
    "data",
    "rules",
    "subjects",
    "keyed",
    "set",
    "atomic",
    "map",
    "whole",
    "secrets",
    "imagePullSecrets",
    "annotations",
    "template",
];

fn item(source: &mut Source<'_>, depth: usize) -> Value {
    if source.rarely(6) {
        return source.value(1);
    }
    let mut item = object(source, depth);
    for key in ["name", "containerPort", "key", "uid", "port", "protocol"] {
        if source.rarely(2) {
            item[key] = source.pick(&["a", "b", "c", "TCP"]).into();
        }
    }
    item
}

fn object(source: &mut Source<'_>, depth: usize) -> Value {
    let mut map = Map::new();
    for _ in 0..source.below(4) {
        let name = source.pick(&FIELDS);
        let below = match source.below(if depth == 0 { 2 } else { 5 }) {
            0 | 1 => source.scalar(),
            2 => object(source, depth - 1),
            3 => ["a", "b", "c"][..source.below(4)]
                .iter()
                .map(|item| json!(item))
                .collect(),
            _ => (0..source.below(4)).map(|_| item(source, depth - 1)).collect(),
        };
        map.insert(name.to_owned(), below);
    }
    Value::Object(map)
}

fn whole(source: &mut Source<'_>, kind: &str, api_version: &str) -> Value {
    let mut whole = object(source, 1);
    whole["apiVersion"] = api_version.into();
    whole["kind"] = kind.into();
    whole["metadata"] = json!({"name": "x", "namespace": "y"});
    if source.rarely(2) {
        whole["metadata"]["labels"] = json!({"a": source.word(), "b": null});
        whole["metadata"]["finalizers"] = json!(["f/a", source.word()]);
        whole["metadata"]["ownerReferences"] = json!([item(source, 0)]);
    }
    whole["spec"] = object(source, 3);
    whole["spec"]["template"] = json!({"spec": object(source, 2)});
    whole
}

/// The places of a value, as JSON pointers.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (name, below) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                pointers(below, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(list) => {
            for (index, below) in list.iter().enumerate() {
                pointers(below, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

fn operations(source: &mut Source<'_>, target: &Value) -> Value {
    let mut places = Vec::new();
    pointers(target, "", &mut places);
    let place = |source: &mut Source<'_>| {
        let place = places[source.below(places.len())].clone();
        match source.below(6) {
            0 => format!("{place}/-"),
            1 => format!("{place}/{}", source.word()),
            2 => format!("{place}/0"),
            _ => place,
        }
    };
    let mut all = Vec::new();
    while all.len() < 40 && !source.is_done() {
        let op = source.pick(&["add", "copy", "move", "replace", "remove", "test", "other"]);
        let mut operation = json!({"op": op, "path": place(source)});
        if matches!(op, "copy" | "move") || source.rarely(9) {
            operation["from"] = place(source).into();
        }
        if matches!(op, "add" | "replace" | "test") || source.rarely(9) {
            operation["value"] = source.value(2);
        }
        all.push(operation);
    }
    all.into()
}

/// A patch of a part of the object, with directives.
fn directed(source: &mut Source<'_>, depth: usize) -> Value {
    let mut patch = object(source, depth);
    if source.rarely(3) {
        patch["$patch"] = source.pick(&["replace", "delete", "merge", "other"]).into();
    }
    let field = source.pick(&FIELDS);
    if source.rarely(3) {
        patch[format!("$setElementOrder/{field}")] = json!([{"name": "a"}, "b", source.scalar()]);
    }
    if source.rarely(3) {
        patch[format!("$deleteFromPrimitiveList/{field}")] = json!(["a", source.scalar()]);
    }
    if source.rarely(3) {
        patch["$retainKeys"] = json!([field, source.scalar()]);
    }
    if source.rarely(2) {
        patch[field] = json!([{"$patch": source.pick(&["delete", "replace"]), "name": "a"}, item(source, 0)]);
    }
    patch
}

fn without_nulls_in_lists(value: &mut Value, in_list: bool) {
    match value {
        Value::Array(list) => list
            .iter_mut()
            .for_each(|item| without_nulls_in_lists(item, true)),
        Value::Object(map) => {
            map.retain(|_, value| !(in_list && value.is_null()));
            map.values_mut()
                .for_each(|value| without_nulls_in_lists(value, in_list));
        }
        _ => {}
    }
}

fn thing() -> Schema {
    let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"],
        "items": {"type": "object", "required": ["name"], "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "name": {"type": "string"}, "port": {"type": "string", "default": "TCP"},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}}});
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "keyed": keyed, "containers": keyed,
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "atomic": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}}}});
    Schema::trusted(&json!({"type": "object", "properties": {"spec": spec}}))
}

/// Several managers write the same object, each in its way.
fn managed(source: &mut Source<'_>) {
    let schema = thing();
    let (kind, api_version, builtin) = source.pick(&[
        ("Thing", "fuzz.example.com/v1", false),
        ("ConfigMap", "v1", true),
        ("ServiceAccount", "v1", true),
        ("Service", "v1", true),
        ("Free", "fuzz.example.com/v1", false),
    ]);
    let target = Target {
        schema: (kind == "Thing").then_some(&schema),
        kind,
        builtin,
        api_version,
        subresource: source.pick(&["", "status"]),
        has_status: true,
    };
    let mut live: Option<Value> = None;
    for step in 0..5 {
        if source.is_done() && step > 1 {
            break;
        }
        let mut wanted = whole(source, kind, api_version);
        let manager = source.pick(&["one", "two", "three", ""]);
        let now = jiff::Timestamp::UNIX_EPOCH;
        if source.rarely(3) {
            if let Some(live) = live.as_ref().filter(|_| !source.rarely(4)) {
                wanted["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
            } else if source.rarely(2) {
                wanted["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply", "apiVersion": api_version,
                    "fieldsType": "FieldsV1", "fieldsV1": source.value(4)}]);
            }
            live = Some(fieldmanager::update(&target, live.as_ref(), wanted, manager, now));
        } else if let Ok(applied) =
            fieldmanager::apply(&target, live.as_ref(), &wanted, manager, source.rarely(2), now)
        {
            // The same again, by the same: nothing changes.
            let again = fieldmanager::apply(&target, Some(&applied), &wanted, manager, false, now);
            if let Ok(mut again) = again {
                fieldmanager::keep_times(&applied, &mut again);
                assert_eq!(again, applied, "{wanted} applied twice by {manager:?}");
            }
            live = Some(applied);
        }
    }
}

/// Patches an object as these bytes say.
pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let sort = source.below(5);
    let began = Instant::now();
    if sort >= 3 {
        managed(&mut source);
    } else {
        let kind = source.pick(&[
            "ConfigMap",
            "Service",
            "ServiceAccount",
            "Secret",
            "Pod",
            "ClusterRole",
            "Lease",
        ]);
        let target = whole(&mut source, kind, "v1");
        let mut patched = target.clone();
        match sort {
            0 => {
                let patch = operations(&mut source, &target);
                if json_patch(&mut patched, &patch).is_err() {
                    assert_eq!(patched, target, "refused and changed: {patch}");
                }
            }
            1 => {
                let mut patch = directed(&mut source, 2);
                patch["spec"] = directed(&mut source, 2);
                merge_patch(&mut patched, &patch);
                let once = patched.clone();
                merge_patch(&mut patched, &patch);
                // Upstream keeps the nulls of a list that replaces an object, and takes them out where it replaces a list.
                let of = |mut value: Value| {
                    without_nulls_in_lists(&mut value, false);
                    value
                };
                assert_eq!(of(patched), of(once), "merged twice: {patch}");
            }
            _ => {
                let mut patch = directed(&mut source, 1);
                patch["metadata"] = directed(&mut source, 1);
                patch["spec"] = directed(&mut source, 2);
                if strategic_merge_patch(kind, &mut patched, &patch).is_err() {
                    assert_eq!(patched, target, "refused and changed: {patch}");
                }
            }
        }
    }
    assert!(began.elapsed() < SLOW, "took {:?}", began.elapsed());
}
