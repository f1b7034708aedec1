//! The pure half of the embedded API server against the real one: the same schemas, objects, patches and applies,
//! and the same answers, word for word.

use std::time::Duration;

use davit_apiserver::internals::{
    Schema,
    fieldmanager::{self, ApplyError, Target},
    patch,
    table::{self, Column, IncludeObject},
};
use serde_json::{Value, json};

use davit_test_support::http::{Reply, request};
use davit_test_support::kube_apiserver::KubeApiserver;
use davit_test_support::wait_for;

const THINGS: &str = "/apis/pure.example.com/v1/namespaces/default/things";

fn ask(server: &KubeApiserver, method: &str, path: &str, kind: &str, body: Option<&Value>) -> Reply {
    let ca = server.kubeconfig.with_file_name("certs").join("apiserver.crt");
    let asked = request(method, &format!("{}{path}", server.url))
        .ca(&ca)
        .header("Authorization: Bearer admin-token-6f0d");
    match body {
        Some(body) => asked.body(kind, &body.to_string()).send(),
        None => asked.send(),
    }
}

fn define(server: &KubeApiserver, schema: &Value, columns: &Value) -> Reply {
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.pure.example.com"},
        "spec": {"group": "pure.example.com", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": columns, "schema": {"openAPIV3Schema": schema}}]}});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    ask(server, "POST", path, "application/json", Some(&crd))
}

fn established(server: &KubeApiserver) {
    wait_for("the CRD is served", Duration::from_secs(30), || {
        (ask(server, "GET", THINGS, "", None).status == 200).then_some(())
    });
}

fn thing(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "pure.example.com/v1", "kind": "Thing", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// The causes of an answer, as `FIELD: REASON: MESSAGE`, sorted.
fn causes(reply: &Reply) -> Vec<String> {
    let text = |cause: &Value, name: &str| cause[name].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = reply.json()["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cause| {
            format!(
                "{}: {}: {}",
                text(cause, "field"),
                text(cause, "reason"),
                text(cause, "message")
            )
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

fn ours(schema: &Schema, new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut new = new.clone();
    schema.prune(&mut new);
    schema.default(&mut new);
    let errors = schema.validate(&new, old);
    let mut all: Vec<String> = errors
        .iter()
        .map(|error| format!("{}: {}: {}", error.field, error.reason.as_str(), error.message))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Schema of one field, then values for it; a pair is an update from the first to the second.
fn rows() -> Vec<(Value, Vec<Value>)> {
    let rule = |rules: Value, mut schema: Value| {
        schema["x-kubernetes-validations"] = rules;
        schema
    };
    let object = || {
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 20},
            "list": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 9}},
            "map": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}},
            "when": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
            "my_field": {"type": "string", "maxLength": 9}, "x-y": {"type": "integer"}, "namespace": {"type": "string", "maxLength": 9}}})
    };
    vec![
        (
            json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "multipleOf": 2}),
            vec![
                json!(2),
                json!(4.0),
                json!(0),
                json!(11),
                json!("x"),
                json!(true),
                json!(1.5),
                json!(3_000_000_000_i64),
                json!([1]),
                json!({"a": 1}),
            ],
        ),
        (
            json!({"type": "integer", "exclusiveMinimum": true, "minimum": 1, "exclusiveMaximum": true, "maximum": 9}),
            vec![json!(1), json!(9), json!(5)],
        ),
        (
            json!({"type": "number", "minimum": 0.5, "multipleOf": 0.25}),
            vec![json!(0.3), json!(2.75), json!("1"), json!(1e21)],
        ),
        (
            json!({"type": "boolean"}),
            vec![json!(true), json!("true"), json!(1)],
        ),
        (
            json!({"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-zä]+$"}),
            vec![
                json!("ab"),
                json!("a"),
                json!("abcde"),
                json!("ääää"),
                json!("AB"),
                json!(5),
                json!(""),
            ],
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            vec![json!("a"), json!("c"), json!(1)],
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            vec![json!(1), json!(3), json!("1")],
        ),
        (
            json!({"type": "string", "nullable": true, "enum": ["a"]}),
            vec![json!("a"), Value::Null],
        ),
        (
            json!({"type": "string", "nullable": true}),
            vec![Value::Null, json!("x"), json!(1)],
        ),
        (json!({"type": "string"}), vec![Value::Null]),
        (
            json!({"type": "object", "required": ["a"], "minProperties": 2, "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}),
            vec![
                json!({}),
                json!({"a": "x"}),
                json!({"a": 1, "b": "y"}),
                json!([]),
                json!("x"),
            ],
        ),
        (
            json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string", "maxLength": 1}}),
            vec![
                json!({"a": "x"}),
                json!({"a": "xx"}),
                json!({"a": "x", "b": "y"}),
                json!({"a/b.c": 1}),
            ],
        ),
        (
            json!({"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}}),
            vec![json!([]), json!([1, 2, 3]), json!(["x"]), json!(1)],
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            vec![json!(1), json!("1"), json!(true), json!({})],
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"}),
            vec![json!(1), json!("50%"), json!("x"), json!(true)],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            vec![
                json!("2024-05-06T07:08:09Z"),
                json!("2024-05-06T07:08:09.123+02:00"),
                json!("2024-05-06"),
                json!("x"),
                json!(""),
            ],
        ),
        (
            json!({"type": "string", "format": "date"}),
            vec![json!("2024-02-29"), json!("2023-02-29")],
        ),
        (
            json!({"type": "string", "format": "duration"}),
            vec![
                json!("1h30m"),
                json!("2 days"),
                json!("x"),
                json!("-1.5s"),
                json!("1"),
                json!("5 parsec"),
            ],
        ),
        (
            json!({"type": "string", "format": "byte"}),
            vec![json!("aGk="), json!("a"), json!("")],
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            vec![json!("1.2.3.4"), json!("::1"), json!("1.2.3")],
        ),
        (
            json!({"type": "string", "format": "ipv6"}),
            vec![json!("::1"), json!("1.2.3.4")],
        ),
        (
            json!({"type": "string", "format": "cidr"}),
            vec![json!("10.0.0.0/8"), json!("10.0.0.0/33"), json!("::/0")],
        ),
        (
            json!({"type": "string", "format": "uri"}),
            vec![json!("https://a/b"), json!("/x"), json!("x"), json!("")],
        ),
        (
            json!({"type": "string", "format": "email"}),
            vec![json!("a@b.c"), json!("a")],
        ),
        (
            json!({"type": "string", "format": "hostname"}),
            vec![json!("a.example"), json!("-a"), json!("a_b")],
        ),
        (
            json!({"type": "string", "format": "uuid"}),
            vec![json!("f47ac10b-58cc-4372-a567-0e02b2c3d479"), json!("x")],
        ),
        (
            json!({"type": "string", "format": "mac"}),
            vec![json!("01:02:03:04:05:ab"), json!("01:02")],
        ),
        (
            json!({"type": "string", "format": "nonsense"}),
            vec![json!("x"), json!(1)],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "integer"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "anyOf": [{"properties": {"c": {"minimum": 5}}}, {"properties": {"c": {"maximum": 1}}}],
                "not": {"required": ["a", "c"]}}),
            vec![
                json!({"a": ""}),
                json!({}),
                json!({"a": "", "b": ""}),
                json!({"b": "", "c": 3}),
                json!({"a": "", "c": 9}),
            ],
        ),
        (
            json!({"type": "string", "allOf": [{"pattern": "^a"}, {"maxLength": 3}]}),
            vec![json!("abc"), json!("b"), json!("bbbb"), json!("aaaa")],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            vec![json!(["a", "b"]), json!(["a", "b", "a", "a"])],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"],
                "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "p": {"type": "string", "default": "TCP"}, "v": {"type": "integer", "maximum": 3}}}}),
            vec![
                json!([{"n": "a"}, {"n": "a", "p": "UDP"}]),
                json!([{"n": "a"}, {"n": "a", "p": "TCP"}]),
                json!([{"p": "x"}]),
                json!(["x"]),
                json!([[{"n": "a", "v": 3}], [{"n": "b"}, {"n": "a", "v": 9}]]),
            ],
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            vec![
                json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "y": 1}),
                json!({}),
                json!({"apiVersion": "", "kind": "X"}),
            ],
        ),
        (
            rule(
                json!([{"rule": "self.a > 1"}, {"rule": "self.b != 'x'", "message": "not x"}]),
                object(),
            ),
            vec![
                json!({"a": 2, "b": "y"}),
                json!({"a": 1, "b": "x"}),
                json!({}),
                json!({"a": "x"}),
            ],
        ),
        (
            rule(
                json!([{"rule": "!has(self.a) || self.a > 1", "reason": "FieldValueForbidden", "fieldPath": ".a", "message": "m"}]),
                object(),
            ),
            vec![json!({}), json!({"a": 1})],
        ),
        (
            rule(
                json!([{"rule": "has(self.a)", "reason": "FieldValueRequired", "fieldPath": ".a"}]),
                object(),
            ),
            vec![json!({})],
        ),
        (
            rule(
                json!([{"rule": "self.a != 1", "reason": "FieldValueDuplicate"}]),
                object(),
            ),
            vec![json!({"a": 1})],
        ),
        (
            rule(
                json!([{"rule": "self.a > 1", "messageExpression": "self.a > 0 ? 'positive' : 'negative'"}]),
                object(),
            ),
            vec![json!({"a": 1})],
        ),
        (
            rule(
                json!([{"rule": "self.?a.orValue(3) > 2"}, {"rule": "self.list.all(x, x.startsWith('a'))"}]),
                object(),
            ),
            vec![json!({"list": ["ab"]}), json!({"a": 1, "list": ["b"]})],
        ),
        (
            rule(
                json!([{"rule": "self.when < timestamp('2025-01-01T00:00:00Z') && self.wait <= duration('1h')"}]),
                object(),
            ),
            vec![
                json!({"when": "2024-01-01T00:00:00Z", "wait": "30m"}),
                json!({"when": "2026-01-01T00:00:00Z", "wait": "30m"}),
                json!({"when": "2024-01-01T00:00:00Z", "wait": "2h"}),
            ],
        ),
        (
            rule(
                json!([{"rule": "self.my_field == 'x' && self.x__dash__y == 1 && self.__namespace__ == 'n'"}]),
                object(),
            ),
            vec![
                json!({"my_field": "x", "x-y": 1, "namespace": "n"}),
                json!({"my_field": "x", "x-y": 2, "namespace": "n"}),
            ],
        ),
        (
            rule(
                json!([{"rule": "self.map.all(k, self.map[k] > 0)"}, {"rule": "!('bad' in self.map)"}]),
                object(),
            ),
            vec![json!({"map": {"k": 1}}), json!({"map": {"bad": 0}})],
        ),
        (
            rule(json!([{"rule": "self.a / 0 == 1"}]), object()),
            vec![json!({"a": 1})],
        ),
        (
            rule(json!([{"rule": "self.list[3] == 'x'"}]), object()),
            vec![json!({"list": ["a"]})],
        ),
        (
            rule(
                json!([{"rule": "isURL(self.b) || self.b.matches('^[a-z]+$')"}, {"rule": "quantity('1Gi').isGreaterThan(quantity('1Mi'))"}]),
                object(),
            ),
            vec![json!({"b": "abc"}), json!({"b": "A"}), json!({"b": "http://x"})],
        ),
        (
            rule(
                json!([{"rule": "self == oldSelf", "message": "immutable"}]),
                json!({"type": "string", "maxLength": 9}),
            ),
            vec![json!("x"), json!(["x", "x"]), json!(["x", "y"])],
        ),
        (
            rule(
                json!([{"rule": "!oldSelf.hasValue() || oldSelf.value() < self", "message": "grows", "optionalOldSelf": true}]),
                json!({"type": "integer"}),
            ),
            vec![json!(1), json!([1, 2]), json!([2, 1])],
        ),
        (
            json!({"type": "string", "enum": ["x"], "default": "x"}),
            vec![json!("x"), json!("y")],
        ),
    ]
}

#[test]
fn values_are_judged_as_the_real_server_judges_them() {
    let server = KubeApiserver::start();
    let rows = rows();
    let mut properties: serde_json::Map<String, Value> = rows
        .iter()
        .enumerate()
        .map(|(at, (schema, _))| (format!("f{at}"), schema.clone()))
        .collect();
    properties.insert("note".into(), json!({"type": "string"}));
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let reply = define(&server, &schema, &json!([]));
    assert_eq!(reply.status, 201, "{}", reply.body);
    established(&server);
    let compiled = Schema::compile(&schema).unwrap();
    let mut wrong = Vec::new();
    for (at, (field_schema, values)) in rows.iter().enumerate() {
        for value in values {
            let name = format!("f{at}");
            // A list of two values for a field that is no list is an update.
            let pair = value.as_array().filter(|pair| {
                pair.len() == 2 && (field_schema["type"] != "array" || pair.iter().all(Value::is_array))
            });
            let (first, second) = match pair.map(Vec::as_slice) {
                Some([first, second]) => (first, Some(second)),
                _ => (value, None),
            };
            let object = thing("a", &json!({(&name): first}));
            let (theirs, mine) = match second {
                None => {
                    let reply = ask(
                        &server,
                        "POST",
                        &format!("{THINGS}?dryRun=All"),
                        "application/json",
                        Some(&object),
                    );
                    (causes(&reply), ours(&compiled, &object, None))
                }
                Some(second) => {
                    let stored = ask(&server, "POST", THINGS, "application/json", Some(&object));
                    if stored.status != 201 {
                        wrong.push(format!("{name} {first}: not stored: {}", stored.body));
                        continue;
                    }
                    let mut next = stored.json();
                    next["spec"] = json!({(&name): second, "note": "changed"});
                    let reply = ask(
                        &server,
                        "PUT",
                        &format!("{THINGS}/a?dryRun=All"),
                        "application/json",
                        Some(&next),
                    );
                    let mut old = object.clone();
                    compiled.default(&mut old);
                    ask(&server, "DELETE", &format!("{THINGS}/a"), "", None);
                    (causes(&reply), ours(&compiled, &next, Some(&old)))
                }
            };
            if theirs != mine {
                wrong.push(format!(
                    "{field_schema}\n  {value}\n  theirs {theirs:#?}\n  ours   {mine:#?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn ssa_schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "image": {"type": "string"},
            "atomic": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "required": ["port"], "properties": {
                    "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "nested": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {"type": "integer"}}}}}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"},
            "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}, "status": {"type": "string"}}}}}}}})
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn spec(&mut self) -> Value {
        let mut spec = json!({});
        let letter = |dice: &mut Self| ["a", "b", "c"][usize::try_from(dice.roll(3)).unwrap()].to_owned();
        for field in [
            "replicas", "image", "atomic", "set", "ports", "labels", "nested", "whole", "port", "free",
        ] {
            if self.roll(3) > 0 {
                continue;
            }
            spec[field] = match field {
                "replicas" => json!(self.roll(2)),
                "image" => json!(letter(self)),
                "port" => {
                    if self.roll(2) == 0 {
                        json!(self.roll(3))
                    } else {
                        json!(letter(self))
                    }
                }
                "atomic" => json!((0..self.roll(3)).map(|_| letter(self)).collect::<Vec<_>>()),
                "set" => {
                    let mut set: Vec<String> = (0..=self.roll(3)).map(|_| letter(self)).collect();
                    set.dedup();
                    set.sort();
                    set.dedup();
                    if self.roll(2) == 0 {
                        set.reverse();
                    }
                    json!(set)
                }
                "ports" => {
                    let mut ports = Vec::new();
                    for number in 80..83 {
                        if self.roll(2) == 0 {
                            let mut port = json!({"port": number});
                            if self.roll(2) == 0 {
                                port["protocol"] =
                                    json!(["TCP", "UDP"][usize::try_from(self.roll(2)).unwrap()]);
                            }
                            if self.roll(2) == 0 {
                                port["name"] = json!(letter(self));
                            }
                            ports.push(port);
                        }
                    }
                    if ports.is_empty() {
                        ports.push(json!({"port": 80}));
                    }
                    json!(ports)
                }
                "nested" => json!({"a": letter(self), "b": {letter(self): {"c": self.roll(2)}}}),
                "free" => json!({letter(self): {letter(self): self.roll(2)}}),
                _ => json!({letter(self): letter(self)}),
            };
        }
        spec
    }
}

/// Spec, status and owners of an object, without times and in one order.
fn essence(object: &Value) -> Value {
    let mut owners = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for owner in &mut owners {
        owner.as_object_mut().unwrap().remove("time");
    }
    owners.sort_by_key(ToString::to_string);
    json!({"spec": object["spec"], "status": object["status"], "owners": owners})
}

#[test]
fn applies_end_as_on_the_real_server() {
    let server = KubeApiserver::start();
    let raw = ssa_schema();
    let reply = define(&server, &raw, &json!([]));
    assert_eq!(reply.status, 201, "{}", reply.body);
    established(&server);
    let schema = Schema::compile(&raw).unwrap();
    let now = "2024-05-06T07:08:09Z".parse().unwrap();
    let main = Target {
        schema: Some(&schema),
        kind: "Thing",
        builtin: false,
        api_version: "pure.example.com/v1",
        subresource: "",
        has_status: true,
    };
    let mut dice = Dice(7);
    let mut wrong = Vec::new();
    for round in 0..8 {
        let name = format!("s{round}");
        let path = format!("{THINGS}/{name}");
        let mut live: Option<Value> = None;
        for _ in 0..25 {
            let manager = ["one", "two", "kubectl"][usize::try_from(dice.roll(3)).unwrap()];
            let force = dice.roll(3) == 0;
            let (what, theirs, mine) = match (dice.roll(6), &live) {
                (0, Some(live)) => {
                    let patch = json!({"spec": dice.spec()});
                    let reply = ask(
                        &server,
                        "PATCH",
                        &format!("{path}?fieldManager={manager}"),
                        "application/merge-patch+json",
                        Some(&patch),
                    );
                    let mut new = live.clone();
                    patch::merge_patch(&mut new, &patch);
                    schema.default(&mut new);
                    (
                        format!("update by {manager}: {patch}"),
                        reply,
                        Ok(fieldmanager::update(&main, Some(live), new, manager, now)),
                    )
                }
                (1, Some(live)) => {
                    let status = Target {
                        subresource: "status",
                        ..main
                    };
                    let mut config = thing(&name, &json!({}));
                    config.as_object_mut().unwrap().remove("spec");
                    config["status"] = json!({"phase": dice.roll(2).to_string(), "conditions": [{"type": dice.roll(2).to_string(), "status": "x"}]});
                    let url = format!("{path}/status?fieldManager={manager}&force={force}");
                    let reply = ask(
                        &server,
                        "PATCH",
                        &url,
                        "application/apply-patch+yaml",
                        Some(&config),
                    );
                    (
                        format!("status by {manager}: {config}"),
                        reply,
                        fieldmanager::apply(&status, Some(live), &config, manager, force, now),
                    )
                }
                _ => {
                    let config = thing(&name, &dice.spec());
                    let url = format!("{path}?fieldManager={manager}&force={force}");
                    let reply = ask(
                        &server,
                        "PATCH",
                        &url,
                        "application/apply-patch+yaml",
                        Some(&config),
                    );
                    let text = format!("apply by {manager} force {force}: {}", config["spec"]);
                    (
                        text,
                        reply,
                        fieldmanager::apply(&main, live.as_ref(), &config, manager, force, now),
                    )
                }
            };
            let before = live.as_ref().map(essence);
            match (theirs.status, mine) {
                (200 | 201, Ok(mut mine)) => {
                    let stored = theirs.json();
                    schema.default(&mut mine);
                    let (theirs, mine) = (essence(&stored), essence(&mine));
                    if theirs != mine {
                        wrong.push(format!(
                            "{what}\n before {before:?}\n theirs {theirs}\n ours   {mine}"
                        ));
                    }
                    live = Some(stored);
                }
                (409, Err(ApplyError::Conflicts { message, conflicts })) => {
                    let answer = theirs.json();
                    let mut ours: Vec<Value> = conflicts
                        .iter()
                        .map(|one| json!({"reason": "FieldManagerConflict", "message": one.message, "field": one.field}))
                        .collect();
                    let mut causes = answer["details"]["causes"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    ours.sort_by_key(ToString::to_string);
                    causes.sort_by_key(ToString::to_string);
                    // The time of an update is part of upstream's text.
                    let timeless = |text: &str| text.split(" at 20").next().unwrap_or_default().to_owned();
                    for cause in causes.iter_mut().chain(&mut ours) {
                        cause["message"] = timeless(cause["message"].as_str().unwrap()).into();
                    }
                    causes.sort_by_key(ToString::to_string);
                    ours.sort_by_key(ToString::to_string);
                    if ours != causes {
                        wrong.push(format!(
                            "{what}\n before {before:?}\n theirs {causes:?}\n ours   {ours:?}"
                        ));
                    }
                    let same_start =
                        answer["message"].as_str().unwrap().split(':').next() == message.split(':').next();
                    assert!(same_start, "{answer} {message}");
                }
                // Upstream leaves a null where all entries of a map went, and then refuses it; ours takes the key away.
                (422, Ok(_)) if theirs.body.contains("must be of type object: \\\"null\\\"") => {}
                (status, mine) => wrong.push(format!(
                    "{what}\n before {before:?}\n theirs {status} {}\n ours   {mine:?}",
                    theirs.body
                )),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences\n{}",
        wrong.len(),
        wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn tables_are_those_of_the_real_server() {
    let server = KubeApiserver::start();
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let columns = json!([
        {"name": "S", "type": "string", "jsonPath": ".spec.s"},
        {"name": "I", "type": "integer", "jsonPath": ".spec.i", "priority": 1, "description": "d"},
        {"name": "F", "type": "number", "jsonPath": ".spec.f"},
        {"name": "B", "type": "boolean", "jsonPath": ".spec.b"},
        {"name": "O", "type": "string", "jsonPath": ".spec.o"},
        {"name": "Last", "type": "string", "jsonPath": ".spec.list[-1:].n"},
        {"name": "Ready", "type": "string", "jsonPath": ".spec.list[?(@.n==\"y\")].v"},
        {"name": "All", "type": "string", "jsonPath": ".spec.list[*].n"},
        {"name": "When", "type": "date", "jsonPath": ".spec.when"},
    ]);
    let reply = define(&server, &schema, &columns);
    assert_eq!(reply.status, 201, "{}", reply.body);
    established(&server);
    let specs = [
        json!({}),
        json!({"s": "x", "i": 3, "f": 1.5, "b": true, "o": {"a": ["<"]}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "when": "2020-01-01T00:00:00Z"}),
        json!({"s": 5, "i": "x", "f": 2, "b": "no", "o": null, "list": [], "when": "x"}),
        json!({"s": 1.5, "i": 2.7, "f": "1", "o": [1, 2], "list": {"n": 1}, "when": null}),
        json!({"s": true, "i": 1e3, "f": 1e300, "o": "plain", "list": "x", "when": ""}),
    ];
    for (at, spec) in specs.iter().enumerate() {
        let reply = ask(
            &server,
            "POST",
            THINGS,
            "application/json",
            Some(&thing(&format!("t{at}"), spec)),
        );
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    let list = ask(&server, "GET", THINGS, "", None).json();
    let ca = server.kubeconfig.with_file_name("certs").join("apiserver.crt");
    let theirs = request("GET", &format!("{}{THINGS}?includeObject=None", server.url))
        .ca(&ca)
        .header("Authorization: Bearer admin-token-6f0d")
        .header("Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
        .send()
        .json();
    let objects = list["items"].as_array().unwrap();
    let ours = table::table(
        &Column::custom(columns.as_array().unwrap()),
        objects,
        jiff::Timestamp::now(),
        IncludeObject::None,
        "v1",
    );
    assert_eq!(ours["rows"], theirs["rows"]);
    let plain = |table: &Value| {
        let mut columns = table["columnDefinitions"].clone();
        columns[0]["description"] = Value::Null;
        columns
    };
    assert_eq!(plain(&ours), plain(&theirs));
}
