//! The rules: what they let in, and with which words they refuse.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use davit_apiserver::internals::Schema;
use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use serde_json::{Value, json};

use super::rows::good;
use super::{rows, schema, schemas};

fn object(kind: &str, spec: &Value) -> Value {
    let mut object = good(kind);
    json_patch::merge(&mut object["spec"], spec);
    object
}

/// A kind as both judges need it, compiled once.
struct Judges {
    kube: CompiledSchema,
    api_server: Schema,
}

fn judges(kind: &str) -> &'static Judges {
    static ALL: LazyLock<BTreeMap<String, Judges>> = LazyLock::new(|| {
        let judges = |(kind, schema): &(String, Value)| {
            let judges = Judges {
                kube: compile_schema(schema),
                api_server: Schema::compile(schema).unwrap(),
            };
            (kind.clone(), judges)
        };
        schemas().iter().map(judges).collect()
    });
    &ALL[kind]
}

impl Judges {
    /// The messages of the rules that `object` breaks, after defaults, as kube's own evaluation of CEL finds them.
    fn by_kube(&self, kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
        let filled = |object: &Value| apply_defaults(schema(kind), object);
        let old = old.map(filled);
        match Validator::new().validate_compiled(&self.kube, &filled(object), old.as_ref()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
        }
    }

    /// What the embedded API server would say: unknown fields, then everything that is wrong.
    fn by_api_server(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let filled = |object: &Value| {
            let mut object = object.clone();
            let unknown = self.api_server.prune(&mut object);
            self.api_server.default(&mut object);
            (object, unknown)
        };
        let (object, unknown) = filled(object);
        let old = old.map(|old| filled(old).0);
        let errors = self.api_server.validate(&object, old.as_ref());
        let unknown = unknown.into_iter().map(|path| format!("unknown field {path:?}"));
        unknown
            .chain(
                errors
                    .into_iter()
                    .map(|error| format!("{}: {}", error.field, error.message)),
            )
            .collect()
    }
}

/// Panics unless both judges refuse the object with these words, or take it where there are none.
fn refuse(kind: &str, object: &Value, old: Option<&Value>, words: Option<&str>) {
    let judges = judges(kind);
    expect("kube", &judges.by_kube(kind, object, old), object, words);
    expect(
        "the API server",
        &judges.by_api_server(object, old),
        object,
        words,
    );
}

fn expect(judge: &str, found: &[String], object: &Value, words: Option<&str>) {
    match words {
        None => assert!(
            found.is_empty(),
            "{object} is good, and {judge} refuses it with {found:?}"
        ),
        Some(words) => assert!(
            found.iter().any(|message| message.contains(words)),
            "{judge} should refuse {object} with {words:?}, not {found:?}"
        ),
    }
}

#[test]
fn every_rule_compiles() {
    fn check(path: &str, schema: &CompiledSchema, count: &mut usize) {
        *count += schema.validations.len();
        assert!(!schema.has_errors(), "{path}: {:?}", schema.compilation_errors());
        for (name, property) in &schema.properties {
            check(&format!("{path}.{name}"), property, count);
        }
        for inner in [&schema.items, &schema.additional_properties]
            .into_iter()
            .flatten()
        {
            check(&format!("{path}[]"), inner, count);
        }
    }
    let mut count = 0;
    for (kind, schema) in schemas() {
        check(kind, &compile_schema(schema), &mut count);
    }
    assert!(count >= 30, "only {count} rules were found");
}

#[test]
fn rule_message_names_the_solution() {
    fn check(path: &str, schema: &Value) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert!(
                rule["message"].as_str().is_some_and(|text| text.len() > 20),
                "{path}: {rule}"
            );
        }
        match schema {
            Value::Object(all) => all
                .iter()
                .for_each(|(key, inner)| check(&format!("{path}.{key}"), inner)),
            Value::Array(all) => all.iter().for_each(|inner| check(path, inner)),
            _ => {}
        }
    }
    for (kind, schema) in schemas() {
        check(kind, schema);
    }
}

#[test]
fn rule_accepts_valid_specs_and_rejects_invalid_ones() {
    for (kind, spec, words) in rows::rules() {
        refuse(kind, &object(kind, &spec), None, words);
    }
}

#[test]
fn application_name_that_is_no_host_name_is_rejected() {
    for (name, words) in [
        ("shop", None),
        ("a", None),
        ("a-1", None),
        (&*"a".repeat(52), None),
        (&*"a".repeat(53), Some("name must have at most 52 characters")),
        ("1shop", Some("begin with a letter")),
        ("shop.v1", Some("begin with a letter")),
        ("shop-", Some("begin with a letter")),
    ] {
        let mut object = good("Application");
        object["metadata"]["name"] = json!(name);
        refuse("Application", &object, None, words);
    }
}

#[test]
fn immutable_field_cannot_be_changed() {
    const IMMUTABLE: Option<&str> = Some("only cancel can be changed in the spec of a Release");
    let rollback = json!({"type": "Rollback", "rollbackTo": "shop-1"});
    for (kind, old, new, words) in [
        ("Release", json!({}), json!({}), None),
        ("Release", json!({}), json!({"cancel": true}), None),
        (
            "Release",
            json!({"title": "a"}),
            json!({"title": "a", "cancel": true}),
            None,
        ),
        ("Release", json!({"cancel": true}), json!({"cancel": true}), None),
        ("Release", json!({"cancel": false}), json!({}), None),
        (
            "Release",
            json!({"cancel": true}),
            json!({}),
            Some("cancel cannot be set back to false"),
        ),
        (
            "Release",
            json!({"cancel": true}),
            json!({"cancel": false}),
            Some("cancel cannot be set back to false"),
        ),
        ("Release", json!({}), json!({"application": "other"}), IMMUTABLE),
        ("Release", json!({}), json!({"type": "Redeploy"}), IMMUTABLE),
        ("Release", json!({}), json!({"title": "a"}), IMMUTABLE),
        ("Release", json!({"title": "a"}), json!({"title": "b"}), IMMUTABLE),
        ("Release", json!({"title": "a"}), json!({}), IMMUTABLE),
        ("Release", json!({}), json!({"description": "a"}), IMMUTABLE),
        (
            "Release",
            json!({}),
            json!({"revision": "0".repeat(40)}),
            IMMUTABLE,
        ),
        (
            "Release",
            json!({"revision": "0".repeat(40)}),
            json!({"revision": "1".repeat(40)}),
            IMMUTABLE,
        ),
        (
            "Release",
            rollback.clone(),
            json!({"type": "Rollback", "rollbackTo": "shop-2"}),
            IMMUTABLE,
        ),
        ("Release", rollback, json!({}), IMMUTABLE),
        ("Release", json!({}), json!({"cleanCache": true}), IMMUTABLE),
        (
            "Release",
            json!({"cleanCache": true}),
            json!({"cleanCache": false}),
            IMMUTABLE,
        ),
        ("Release", json!({}), json!({"cleanCache": false}), None),
        (
            "GitProvider",
            json!({}),
            json!({"gitea": {"url": "https://other.example.com"}}),
            None,
        ),
        (
            "GitProvider",
            json!({}),
            json!({"gitea": null, "github": {"tokenSecretRef": {"name": "gh"}}}),
            Some("the kind of forge cannot be changed"),
        ),
    ] {
        refuse(kind, &object(kind, &new), Some(&object(kind, &old)), words);
    }
}

#[test]
fn field_accepts_valid_values_and_rejects_invalid_ones() {
    for (kind, spec, words) in rows::fields() {
        let object = object(kind, &spec);
        expect(
            "the API server",
            &judges(kind).by_api_server(&object, None),
            &object,
            words,
        );
    }
}

#[test]
fn explicit_null_counts_as_absent() {
    // A JSON merge patch cannot lay a null on: charts and generators leave them behind in whole objects.
    let mut object = good("Application");
    for (path, key) in [
        ("/spec", "routes"),
        ("/spec", "build"),
        ("/spec/source", "docker"),
        ("/spec/source", "github"),
        ("/spec/source/git", "ref"),
    ] {
        object.pointer_mut(path).unwrap()[key] = Value::Null;
    }
    let found = judges("Application").by_api_server(&object, None);
    expect("the API server", &found, &object, None);
}
