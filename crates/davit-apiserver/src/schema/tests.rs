//! Rows of schema, object and the answer of a real API server, and properties over random objects.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Schema;

fn schema(spec: &Value) -> Schema {
    let whole = json!({"type": "object", "properties": {"spec": spec}});
    Schema::compile(&whole).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// A schema that was stored before its rules were looked at, as by an older version.
fn stored(spec: &Value) -> Schema {
    Schema::trusted(&json!({"type": "object", "properties": {"spec": spec}}))
}

fn texts(schema: &Schema, new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut texts: Vec<String> = schema
        .validate(new, old)
        .iter()
        .map(ToString::to_string)
        .collect();
    texts.sort();
    texts
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rows")]
fn values_are_refused_in_upstreams_words() {
    let int = json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 9});
    let rows: Vec<(Value, Value, &[&str])> = vec![
        (int.clone(), json!(3), &[]),
        (int.clone(), json!(3.0), &[]),
        (
            int.clone(),
            json!(0),
            &["spec: Invalid value: 0: spec in body should be greater than or equal to 1"],
        ),
        (
            int.clone(),
            json!(10),
            &["spec: Invalid value: 10: spec in body should be less than or equal to 9"],
        ),
        (
            int.clone(),
            json!("x"),
            &[r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#],
        ),
        (
            int.clone(),
            json!(true),
            &[r#"spec: Invalid value: "": spec in body must be of type int32: """#],
        ),
        (
            int,
            json!(null),
            &[r#"spec: Invalid value: "null": spec in body must be of type integer: "null""#],
        ),
        (json!({"type": "integer", "nullable": true}), json!(null), &[]),
        (
            json!({"type": "integer"}),
            json!(1.5),
            &[
                r#"<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec"#,
                r#"spec: Invalid value: "number": spec in body must be of type integer: "number""#,
            ],
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            &[r#"spec: Unsupported value: "c": supported values: "a", "b""#],
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("äöü"),
            &["spec: Too long: may not be more than 2 bytes"],
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            &[r#"spec: Invalid value: "a": spec in body should be at least 2 chars long"#],
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!("A"),
            &[r#"spec: Invalid value: "A": spec in body should match '^[a-z]+$'"#],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            &[r#"spec: Invalid value: "x": spec in body must be of type date-time: "x""#],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("2024-01-01T00:00:00Z"),
            &[],
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(0.75),
            &["spec: Invalid value: 0.75: spec in body should be a multiple of 0.5"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            &["spec: Too many: 2: must have at most 1 item"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
            &["spec: Invalid value: 0: spec in body should have at least 1 items"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!(["a", 1]),
            &[r#"spec[1]: Invalid value: "integer": spec[1] in body must be of type string: "integer""#],
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({}),
            &["spec.a: Required value"],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1}),
            json!({"a": "x", "b": 1}),
            &[
                "spec: Too many: 2: must have at most 1 item",
                r#"spec.b: Invalid value: "integer": spec.b in body must be of type string: "integer""#,
            ],
        ),
        (json!({"x-kubernetes-int-or-string": true}), json!("50%"), &[]),
        (json!({"x-kubernetes-int-or-string": true}), json!(5), &[]),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            &[r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": "", "b": ""}),
            &[
                r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            &[
                r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.a: Required value",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "anyOf": [{"properties": {"a": {"minimum": 5}}}, {"properties": {"a": {"maximum": 1}}}]}),
            json!({"a": 3}),
            &[
                r#"<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)"#,
                "spec.a: Invalid value: 3: spec.a in body should be greater than or equal to 5",
            ],
        ),
        (
            json!({"type": "string", "not": {"enum": ["root"]}}),
            json!("root"),
            &[r#"<nil>: Invalid value: "": "spec" must not validate the schema (not)"#],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "b", "a", "a"]),
            &[r#"spec[2]: Duplicate value: "a""#],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}}}),
            json!([{"n": "a"}, {"n": "b"}, {"n": "a"}]),
            &[r#"spec[2]: Duplicate value: {"n":"a"}"#],
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": ""}),
            &[
                "spec.apiVersion: Required value",
                r#"spec.kind: Invalid value: "": must not be empty"#,
            ],
        ),
    ];
    for (spec, value, expected) in rows {
        let schema = schema(&spec);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(
            texts(&schema, &json!({"spec": value}), None),
            expected,
            "{spec} {value}"
        );
    }
}

#[test]
fn rules_run_and_report() {
    let rule = |rule: &Value| json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "when": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"}, "my_field": {"type": "string"}}, "x-kubernetes-validations": [rule]});
    let rows: Vec<(Value, Value, &[&str])> = vec![
        (json!({"rule": "self.a > 1"}), json!({"a": 2}), &[]),
        (
            json!({"rule": "self.a > 1"}),
            json!({"a": 1}),
            &["spec: Invalid value: failed rule: self.a > 1"],
        ),
        (
            json!({"rule": "self.a > 1", "message": "more!"}),
            json!({"a": 1}),
            &["spec: Invalid value: more!"],
        ),
        (
            json!({"rule": "self.a > 1", "messageExpression": "'got ' + string(self.a)"}),
            json!({"a": 1}),
            &["spec: Invalid value: got 1"],
        ),
        (
            json!({"rule": "self.a > 1", "reason": "FieldValueForbidden", "fieldPath": ".a", "message": "m"}),
            json!({"a": 1}),
            &["spec.a: Forbidden: m"],
        ),
        (
            json!({"rule": "self.a > 1"}),
            json!({}),
            &[r#"spec: Invalid value: "object": no such key: a evaluating rule: self.a > 1"#],
        ),
        (json!({"rule": "!has(self.a) || self.a > 1"}), json!({}), &[]),
        (json!({"rule": "self.?a.orValue(5) > 1"}), json!({}), &[]),
        (
            json!({"rule": "self.when < timestamp('2025-01-01T00:00:00Z')"}),
            json!({"when": "2024-01-01T00:00:00Z"}),
            &[],
        ),
        (
            json!({"rule": "self.wait <= duration('1h')"}),
            json!({"wait": "2h"}),
            &["spec: Invalid value: failed rule: self.wait <= duration('1h')"],
        ),
        (
            json!({"rule": "self.my_field.startsWith('x')"}),
            json!({"my_field": "xy"}),
            &[],
        ),
        (
            json!({"rule": "self.b.matches('^[a-z]+$')"}),
            json!({"b": "abc"}),
            &[],
        ),
    ];
    for (text, value, expected) in rows {
        let schema = stored(&rule(&text));
        assert_eq!(texts(&schema, &json!({"spec": value}), None), expected, "{text}");
    }
}

#[test]
fn a_rule_that_would_run_for_ever_is_ended() {
    let schema = stored(&json!({"type": "array", "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}]}));
    let list = |length: usize| json!({"spec": vec![1; length]});
    assert_eq!(texts(&schema, &list(10), None), Vec::<String>::new());
    let texts = texts(&schema, &list(2000), None);
    assert!(
        texts
            .iter()
            .all(|text| text.contains("call cost exceeds limit for rule")),
        "{texts:?}"
    );
    assert_eq!(texts.len(), 1);
}

#[test]
fn transition_rules_compare_with_what_was() {
    let immutable = schema(&json!({"type": "object", "properties": {"a": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]}}}));
    let old = json!({"spec": {"a": "x"}});
    let new = json!({"spec": {"a": "y"}});
    assert_eq!(texts(&immutable, &new, None), Vec::<String>::new());
    assert_eq!(texts(&immutable, &old, Some(&old)), Vec::<String>::new());
    assert_eq!(
        texts(&immutable, &new, Some(&old)),
        [r#"spec.a: Invalid value: "y": immutable"#]
    );

    let optional = schema(&json!({"type": "object", "properties": {"a": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "!oldSelf.hasValue() || oldSelf.value() < self", "message": "grows", "optionalOldSelf": true}]}}}));
    assert_eq!(
        texts(&optional, &json!({"spec": {"a": 1}}), None),
        Vec::<String>::new()
    );
    assert_eq!(
        texts(
            &optional,
            &json!({"spec": {"a": 1}}),
            Some(&json!({"spec": {"a": 1}}))
        ),
        ["spec.a: Invalid value: 1: grows"]
    );

    let keyed = schema(
        &json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "shrinks"}]}}}}),
    );
    let old = json!({"spec": [{"n": "a", "v": 1}, {"n": "b", "v": 5}]});
    let new = json!({"spec": [{"n": "b", "v": 4}, {"n": "a", "v": 1}]});
    assert_eq!(
        texts(&keyed, &new, Some(&old)),
        ["spec[0].v: Invalid value: 4: shrinks"]
    );
}

#[test]
fn what_was_wrong_before_does_not_stop_a_change_elsewhere() {
    let both = schema(&json!({"type": "object", "properties": {
        "a": {"type": "string", "enum": ["x"]},
        "b": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]},
        "c": {"type": "string"}}}));
    let old = json!({"spec": {"a": "bad", "b": 1, "c": "1"}});
    let new = json!({"spec": {"a": "bad", "b": 1, "c": "2"}});
    assert_eq!(texts(&both, &new, Some(&old)), Vec::<String>::new());
    let worse = json!({"spec": {"a": "worse", "b": 1, "c": "2"}});
    assert_eq!(texts(&both, &worse, Some(&old)).len(), 2);
}

#[test]
fn unknown_fields_are_removed_and_named() {
    let spec = json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"strict": {"type": "object", "properties": {}}}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}});
    let mut object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "weird": 1}, "extra": 1, "spec": {
        "known": "k", "foo": 1,
        "list": [{"n": "a"}, {"n": "b", "bar": 2}],
        "map": {"k": {"x": "1", "y": 2}},
        "free": {"any": {"thing": 1}, "strict": {"no": 1}},
        "embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "m"}, "other": 1, "spec": {}}}});
    let unknown = schema(&spec).prune(&mut object);
    assert_eq!(
        unknown,
        [
            "extra",
            "spec.embedded.other",
            "spec.foo",
            "spec.free.strict.no",
            "spec.list[1].bar",
            "spec.map.k.y"
        ]
    );
    assert_eq!(
        object,
        json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "weird": 1}, "spec": {
        "known": "k", "list": [{"n": "a"}, {"n": "b"}], "map": {"k": {"x": "1"}},
        "free": {"any": {"thing": 1}, "strict": {}},
        "embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "m"}, "spec": {}}}})
    );
}

#[test]
fn defaults_fill_what_is_missing_or_null() {
    let spec = json!({"type": "object", "properties": {
        "a": {"type": "integer", "default": 1},
        "b": {"type": "object", "default": {}, "properties": {"c": {"type": "string", "default": "d"}}},
        "n": {"type": "string", "nullable": true, "default": "x"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "plain": {"type": "string"}}});
    let mut object = json!({"spec": {"a": null, "n": null, "plain": null, "list": [{}, {"p": "UDP"}]}});
    schema(&spec).default(&mut object);
    assert_eq!(
        object,
        json!({"spec": {"a": 1, "b": {"c": "d"}, "n": null, "list": [{"p": "TCP"}, {"p": "UDP"}]}})
    );
}

#[test]
fn bad_schemas_are_refused_in_upstreams_words() {
    let rows: Vec<(Value, &[&str])> = vec![
        (
            json!({"properties": {}}),
            &["type: Required value: must not be empty at the root"],
        ),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            &["properties[a].type: Required value: must not be empty for specified object fields"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            &["properties[a].items: Required value: must be specified"],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            &["properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't"],
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]}),
            &[
                "anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
                "properties[a]: Required value: because it is defined in anyOf[0].properties[a]",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "default": 3}}}),
            &[
                "properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self >"}]}}}),
            &["properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self \\u003e\","],
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            &[
                "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}}}),
            &[
                "properties[a].items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys",
            ],
        ),
    ];
    for (schema, expected) in rows {
        let errors = Schema::compile(&schema).map(|_| ()).unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, start) in texts.iter().zip(expected) {
            assert!(text.starts_with(start), "{text}\n{start}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..12).prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn rich() -> Schema {
    schema(&json!({"type": "object", "properties": {
        "a": {"type": "integer", "default": 3, "minimum": 0},
        "b": {"type": "object", "default": {}, "additionalProperties": {"type": "string", "nullable": true}},
        "c": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}, "b": {"type": "integer"}}}},
        "d": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}}}}))
}

proptest! {
    #[test]
    fn pruning_and_defaulting_twice_change_nothing(spec in any_json()) {
        let schema = rich();
        let mut once = json!({"kind": "K", "spec": spec});
        schema.prune(&mut once);
        let mut again = once.clone();
        prop_assert!(schema.prune(&mut again).is_empty());
        prop_assert_eq!(&again, &once);
        schema.default(&mut once);
        let mut again = once.clone();
        schema.default(&mut again);
        prop_assert_eq!(&again, &once);
    }

    #[test]
    fn an_unchanged_object_is_never_refused(spec in any_json()) {
        let schema = rich();
        let object = json!({"spec": spec});
        prop_assert!(schema.validate(&object, Some(&object)).is_empty());
    }
}
