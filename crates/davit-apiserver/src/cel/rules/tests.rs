//! Rules on a schema, with what is said of them; the answers of the real server are in tests/it/recorded/rules.json.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::check;

fn schema(rule: &str) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [{"rule": rule}],
        "properties": {
            "int": {"type": "integer"}, "text": {"type": "string", "maxLength": 10}, "long": {"type": "string"},
            "list": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 5}},
            "map": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "integer"}},
            "port": {"x-kubernetes-int-or-string": true}}}}})
}

fn said(rule: &str) -> Vec<String> {
    let schema = schema(rule);
    let errors = check(schema.as_object().unwrap(), "root", &[]);
    errors.into_iter().map(|error| error.message).collect()
}

#[test]
fn rules_that_make_sense() {
    for rule in [
        "self.int == 5 && self.text != 'x'",
        "has(self.list) && self.list.all(x, x.startsWith('a') || x in ['b'])",
        "self.map.all(k, self.map[k] > 1) && self.map.exists(k, k == 'a')",
        "self.list.map(x, x.size()).filter(n, n > 2).sum() < 10",
        "self.port == 80 || self.port == 'http'",
        "self.?text.orValue('none') != 'x' && self.text.matches('^[a-z]+$')",
        "self == oldSelf ? true : self.int > oldSelf.int",
        "[1, 2].exists_one(x, x == self.int) && {'a': 1}.a == self.int",
        "quantity(self.text).add(quantity('1')).isGreaterThan(quantity('2'))",
    ] {
        assert_eq!(said(rule), Vec::<String>::new(), "{rule}");
    }
}

#[test]
fn rules_that_make_none() {
    for (rule, wanted) in [
        (
            "self.none",
            "ERROR: <input>:1:5: undefined field 'none'\n | self.none\n | ....^",
        ),
        (
            "self.int == 'a'",
            "<input>:1:10: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "self.list.all(x, x > 1)",
            "<input>:1:20: found no matching overload for '_>_' applied to '(string, int)'",
        ),
        (
            "self.list.filter(x, x == 'a').map(y, y + 1).size() == 1",
            "<input>:1:40: found no matching overload for '_+_'",
        ),
        (
            "self.list.exists_one(x, y)",
            "<input>:1:25: undeclared reference to 'y' (in container '')",
        ),
        ("self.int", "cel expression must evaluate to a bool"),
        ("(self.int", "Syntax error"),
        (
            "self.long.contains(self.long)",
            "exceeds budget by factor of more than 100x",
        ),
    ] {
        let said = said(rule);
        assert!(
            said.iter().any(|message| message.contains(wanted)),
            "{rule}: {said:?}"
        );
    }
}

#[test]
fn what_is_wrong_elsewhere_comes_first() {
    let schema = schema("self.none");
    let other = [crate::field::FieldError::required(
        "root.properties[spec].type",
        "",
    )];
    assert_eq!(check(schema.as_object().unwrap(), "root", &other), []);
}

proptest! {
    /// Whatever is written: it is looked at, and that ends.
    #[test]
    fn no_rule_is_too_strange(parts in prop::collection::vec(prop::sample::select(vec![
        "self", ".int", ".list", ".map", ".?text", ".all(x, ", ".map(x, ", "x", "(", ")", "[", "]", "{", "}", ":", "?",
        "'a'", "1", "1.5", " + ", " == ", " && ", " in ", "!", "-", ",", "has(", "size(", "oldSelf", "null", "b'x'", ".sum()",
    ]), 0..14)) {
        let _ = said(&parts.concat());
    }
}
