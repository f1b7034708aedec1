//! RFC 7386.

use serde_json::Value;

/// Merges `patch` into `target`: a null removes, an object merges, anything else replaces.
///
/// Upstream's library takes nulls also out of the objects of a list that replaces no object; so does this.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        let prune = patch.is_array() && !target.is_object();
        target.clone_from(patch);
        if prune {
            without_nulls(target);
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_patch(target.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_rfcs_own_rows() {
        let rows = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!(["a"]), json!({"a": {"b": null}}), json!({"a": {}})),
            (json!({}), json!(null), json!(null)),
            // Not the RFC's, but upstream's.
            (
                json!({"a": [1]}),
                json!({"a": [null, {"b": null, "c": [{"d": null}]}]}),
                json!({"a": [null, {"c": [{}]}]}),
            ),
        ];
        for (mut target, patch, expected) in rows {
            merge_patch(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }

    fn objects(nulls: bool) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![3 => (0_i64..3).prop_map(Value::from), u32::from(nulls) => Just(Value::Null)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(target in objects(false), patch in objects(true)) {
            let mut once = target;
            merge_patch(&mut once, &patch);
            let mut twice = once.clone();
            merge_patch(&mut twice, &patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn an_object_without_nulls_merged_into_nothing_is_itself(patch in objects(false)) {
            let mut target = json!({});
            merge_patch(&mut target, &patch);
            prop_assert_eq!(target, patch);
        }
    }
}
