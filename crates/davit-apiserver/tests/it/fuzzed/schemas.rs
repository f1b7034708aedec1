//! Schemas of every shape, and objects that nearly fit them: checked, pruned, defaulted and validated.

use std::time::Instant;

use davit_apiserver::internals::Schema;
use serde_json::{Map, Value, json};

use super::{SLOW, source::Source};

const FORMATS: [&str; 24] = [
    "byte",
    "date",
    "date-time",
    "datetime",
    "duration",
    "int32",
    "int64",
    "float",
    "double",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uri",
    "uuid",
    "email",
    "hostname",
    "bsonobjectid",
    "isbn",
    "creditcard",
    "ssn",
    "hexcolor",
    "password",
    "nonsense",
];
const NAMES: [&str; 12] = [
    "a",
    "b",
    "name",
    "kind",
    "apiVersion",
    "metadata",
    "spec",
    "x-y",
    "a__b",
    "namespace",
    "é",
    "",
];
const RULES: [&str; 8] = [
    "self == oldSelf",
    "true",
    "has(self.a)",
    "self.all(x, x == x)",
    "size(self) > 1",
    "self.a == 'x'",
    "self.none",
    "1 +",
];

fn bounds(source: &mut Source<'_>, schema: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if source.rarely(3) {
            schema.insert((*name).to_owned(), json!(source.integer()));
        }
    }
}

/// A schema; `structural` is whether it must have a type.
fn schema(source: &mut Source<'_>, depth: usize, structural: bool) -> Value {
    let mut made = Map::new();
    let deep = depth > 0 && !source.is_done();
    let kind = match source.below(if deep { 7 } else { 4 }) {
        0 => "string",
        1 => "integer",
        2 => "number",
        3 => "boolean",
        4 => "array",
        _ => "object",
    };
    if structural && !source.rarely(12) {
        made.insert("type".into(), kind.into());
    }
    match kind {
        "string" => {
            bounds(source, &mut made, &["minLength", "maxLength"]);
            if source.rarely(3) {
                made.insert("format".into(), source.pick(&FORMATS).into());
            }
            if source.rarely(4) {
                made.insert(
                    "pattern".into(),
                    source
                        .pick(&["^a+$", "[a-z]{1,1000}", "(", "(a*)*b", "\\p{L}", "x{99999}"])
                        .into(),
                );
            }
        }
        "integer" | "number" => {
            bounds(source, &mut made, &["minimum", "maximum", "multipleOf"]);
            if source.rarely(4) {
                made.insert("exclusiveMinimum".into(), json!(true));
                made.insert("format".into(), source.pick(&FORMATS).into());
            }
        }
        "array" => {
            bounds(source, &mut made, &["minItems", "maxItems"]);
            made.insert("items".into(), schema(source, depth - 1, structural));
            if source.rarely(2) {
                made.insert(
                    "x-kubernetes-list-type".into(),
                    source.pick(&["set", "map", "atomic", "none"]).into(),
                );
                if source.rarely(2) {
                    made.insert(
                        "x-kubernetes-list-map-keys".into(),
                        json!([source.pick(&NAMES), source.pick(&NAMES)]),
                    );
                }
            }
            if source.rarely(6) {
                made.insert("uniqueItems".into(), json!(source.rarely(2)));
            }
        }
        "object" => {
            bounds(source, &mut made, &["minProperties", "maxProperties"]);
            if source.rarely(3) {
                let more = if source.rarely(4) {
                    json!(source.rarely(2))
                } else {
                    schema(source, depth - 1, structural)
                };
                made.insert("additionalProperties".into(), more);
            } else {
                let mut properties = Map::new();
                for _ in 0..=source.below(4) {
                    properties.insert(
                        source.pick(&NAMES).to_owned(),
                        schema(source, depth - 1, structural),
                    );
                }
                if source.rarely(3) {
                    made.insert(
                        "required".into(),
                        json!([source.pick(&NAMES), source.pick(&NAMES)]),
                    );
                }
                made.insert("properties".into(), properties.into());
            }
            for flag in [
                "x-kubernetes-preserve-unknown-fields",
                "x-kubernetes-embedded-resource",
            ] {
                if source.rarely(6) {
                    made.insert(flag.into(), json!(true));
                }
            }
        }
        _ => {}
    }
    if source.rarely(5) {
        let default = if source.rarely(2) {
            source.value(2)
        } else {
            value(source, &Value::Object(made.clone()), 3)
        };
        made.insert("default".into(), default);
    }
    if source.rarely(8) {
        made.insert("enum".into(), json!([source.scalar(), source.scalar(), "a"]));
    }
    if source.rarely(6) {
        made.insert("nullable".into(), json!(true));
    }
    if source.rarely(9) {
        made.insert("x-kubernetes-int-or-string".into(), json!(true));
        made.remove("type");
    }
    if deep && source.rarely(6) {
        let junctor = source.pick(&["allOf", "anyOf", "oneOf", "not"]);
        let below = schema(source, depth - 1, false);
        made.insert(
            junctor.into(),
            if junctor == "not" { below } else { json!([below]) },
        );
    }
    if source.rarely(5) {
        made.insert(
            "x-kubernetes-validations".into(),
            json!([{"rule": source.pick(&RULES), "fieldPath": source.pick(&[".a", "", ".b[0]", "['a']"])}]),
        );
    }
    if source.rarely(20) {
        made.insert(source.word(), source.value(2));
    }
    Value::Object(made)
}

/// A value that fits the schema, more often than not.
fn value(source: &mut Source<'_>, schema: &Value, depth: usize) -> Value {
    if depth == 0 || source.rarely(15) {
        return source.value(2);
    }
    match schema["type"].as_str() {
        Some("string") => json!(source.word()),
        Some("integer") => json!(source.integer()),
        Some("number") => json!(source.pick(&[0.5, 1.0, -3.0, 1e300])),
        Some("boolean") => json!(source.rarely(2)),
        Some("array") => (0..source.below(5))
            .map(|_| value(source, &schema["items"], depth - 1))
            .collect(),
        Some("object") => {
            let mut map = Map::new();
            for (name, below) in schema["properties"].as_object().into_iter().flatten() {
                if !source.rarely(3) {
                    map.insert(name.clone(), value(source, below, depth - 1));
                }
            }
            if schema["additionalProperties"].is_object() || source.rarely(4) {
                map.insert(
                    source.word(),
                    value(source, &schema["additionalProperties"], depth - 1),
                );
            }
            Value::Object(map)
        }
        _ => source.scalar(),
    }
}

/// Uses the schema, and the two objects, that these bytes are.
pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let mut root = if source.rarely(10) {
        source.value(6)
    } else {
        schema(&mut source, 5, true)
    };
    if !source.rarely(8) && root.is_object() {
        root["type"] = "object".into();
        root.as_object_mut()
            .unwrap()
            .retain(|name, _| name != "x-kubernetes-int-or-string" && name != "nullable");
    }
    let (new, old) = (value(&mut source, &root, 6), value(&mut source, &root, 6));
    let began = Instant::now();
    let checked = Schema::compile_at(&root, "spec.versions[0].schema.openAPIV3Schema");
    assert!(began.elapsed() < SLOW, "{root} took {:?}", began.elapsed());
    if let Err(errors) = &checked {
        assert!(!errors.is_empty(), "{root}");
    }
    let fine = checked.is_ok();
    // What another version has stored is not checked again.
    let schema = checked.unwrap_or_else(|_| Schema::trusted(&root));
    let began = Instant::now();
    let mut objects = [new, old];
    for object in &mut objects {
        let _ = schema.coerce(object);
        schema.prune(object);
        if fine {
            let pruned = object.clone();
            assert_eq!(schema.prune(object), Vec::<String>::new(), "{root}: pruned twice");
            assert_eq!(*object, pruned, "{root}: pruned twice");
        }
        schema.default(object);
        let once = object.clone();
        schema.default(object);
        if fine {
            assert_eq!(*object, once, "{root}: defaulted twice");
        }
    }
    let [new, old] = &objects;
    if fine {
        schema.validate(new, None);
        schema.validate(new, Some(old));
        schema.validate(old, Some(old));
    }
    assert!(
        began.elapsed() < SLOW,
        "{root} and {new} took {:?}",
        began.elapsed()
    );
}
