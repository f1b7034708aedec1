//! Rules in CEL, looked at when their CRD is written: do they make sense, and what may they cost.
//!
//! Nothing of this is kept: a rule that has passed runs without types.

#[cfg(test)]
mod tests;

use std::rc::Rc;

use serde_json::{Map, Value};

use super::{checker, cost::estimate::estimate, expression};
use crate::cel::types::{Declared, Type};
use crate::field::{FieldError, child, go_json, index, key};

/// The most that one rule may cost, and all rules of a schema together: upstream's limits.
const PER_RULE: u64 = 10_000_000;
const PER_SCHEMA: u64 = 100_000_000;
/// How many of the dearest rules are named where all together cost too much, and from what cost on.
const NAMED: usize = 4;
const NAMED_FROM: u64 = PER_SCHEMA / 100;
/// The stack that looking at one rule may take.
const STACK: usize = 16 << 20;

/// What holds at a place and below it.
#[derive(Clone)]
struct Scope {
    /// The list below which an old item cannot be told.
    uncorrelated: Option<String>,
    /// How many such places an object can have; none if the schema does not say.
    places: Option<u64>,
    /// Whether it is a resource, with a type and a name.
    resource: bool,
}

/// What was found so far.
struct Found<'a> {
    /// What else is wrong with the schema: where anything is, rules are not looked at.
    schema: &'a [FieldError],
    errors: Vec<FieldError>,
    total: u64,
    dearest: Vec<(String, u64)>,
}

/// Everything that is wrong with the rules of a schema at `path`, in which `schema_errors` were found.
pub(crate) fn check(
    schema: &Map<String, Value>,
    path: &str,
    schema_errors: &[FieldError],
) -> Vec<FieldError> {
    let mut found = Found {
        schema: schema_errors,
        errors: Vec::new(),
        total: 0,
        dearest: Vec::new(),
    };
    let scope = Scope {
        uncorrelated: None,
        places: Some(1),
        resource: true,
    };
    walk(schema, path, &scope, &mut found);
    if found.total > PER_SCHEMA {
        for (rule, _) in &found.dearest {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            found.errors.push(FieldError::forbidden(rule, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let why = too_dear(what, found.total, PER_SCHEMA);
        found.errors.push(FieldError::forbidden(path, &why));
    }
    found.errors
}

fn walk(schema: &Map<String, Value>, path: &str, scope: &Scope, found: &mut Found<'_>) {
    let count = |name: &str| schema.get(name).and_then(Value::as_u64);
    let below =
        |sub: &Map<String, Value>| sub.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, sub) in properties.into_iter().flatten() {
        if let Some(sub) = sub.as_object() {
            let scope = Scope {
                resource: below(sub),
                ..scope.clone()
            };
            walk(sub, &key(&child(path, "properties"), name), &scope, found);
        }
    }
    if let Some(Value::Object(sub)) = schema.get("additionalProperties") {
        let scope = Scope {
            resource: below(sub),
            places: scope.places.zip(count("maxProperties")).map(times),
            ..scope.clone()
        };
        walk(sub, &child(path, "additionalProperties"), &scope, found);
    }
    if let Some(Value::Object(sub)) = schema.get("items") {
        let keyed = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("map");
        let uncorrelated = scope
            .uncorrelated
            .clone()
            .or_else(|| (!keyed).then(|| path.to_owned()));
        let scope = Scope {
            resource: below(sub),
            places: scope.places.zip(count("maxItems")).map(times),
            uncorrelated,
        };
        walk(sub, &child(path, "items"), &scope, found);
    }
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    let Some(rules) = rules.filter(|rules| !rules.is_empty()) else {
        return;
    };
    if found.schema.iter().any(|error| error.field.starts_with(path)) {
        return;
    }
    let at = child(path, "x-kubernetes-validations");
    let Some(declared) = Declared::of(schema, "selfType1", scope.resource) else {
        let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable \
                   to convert structural schema to CEL declarations";
        found.errors.push(FieldError::internal(&at, why));
        return;
    };
    for (number, rule) in rules.iter().enumerate() {
        if let Some(rule) = rule.as_object() {
            one(rule, &declared, &index(&at, number), scope, found);
        }
    }
}

const fn times((a, b): (u64, u64)) -> u64 {
    a.saturating_mul(b)
}

/// One rule, at `at`.
fn one(rule: &Map<String, Value>, declared: &Rc<Declared>, at: &str, scope: &Scope, found: &mut Found<'_>) {
    let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
    let optional = rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true);
    let (place, source) = (child(at, "rule"), text("rule").trim());
    let looked = compile(source, declared, optional);
    let price = looked.as_ref().map_or(0, |looked| looked.cost);
    let cost = price.saturating_mul(scope.places.unwrap_or_else(|| declared.cardinality()));
    if cost > PER_RULE {
        let why = too_dear("estimated rule cost", cost, PER_RULE);
        found.errors.push(FieldError::forbidden(&place, &why));
    }
    found.observe(&place, cost);
    let mut uses_old_self = false;
    match looked {
        Err(why) => {
            let why = format!("compilation failed: {why}");
            found
                .errors
                .push(FieldError::invalid_shown(&place, &internal(rule), &why));
        }
        Ok(looked) if !matches!(looked.gives, Type::Plain("bool")) => {
            let why = "cel expression must evaluate to a bool";
            found
                .errors
                .push(FieldError::invalid_shown(&place, &internal(rule), why));
        }
        Ok(looked) => uses_old_self = looked.uses_old_self,
    }
    message(rule, declared, at, found);
    if let (true, Some(list)) = (uses_old_self, &scope.uncorrelated) {
        let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        found
            .errors
            .push(FieldError::invalid(&place, &text("rule").into(), &why));
    }
    if let (false, Some(given)) = (uses_old_self, rule.get("optionalOldSelf")) {
        let why = "may not be set if oldSelf is not used in rule";
        found
            .errors
            .push(FieldError::invalid(&child(at, "optionalOldSelf"), given, why));
    }
}

/// The expression that makes the rule's message.
fn message(rule: &Map<String, Value>, declared: &Rc<Declared>, at: &str, found: &mut Found<'_>) {
    let source = rule.get("messageExpression").and_then(Value::as_str);
    let Some(source) = source.map(str::trim).filter(|source| !source.is_empty()) else {
        return;
    };
    let optional = rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true);
    let place = child(at, "messageExpression");
    let why = match compile(source, declared, optional) {
        Err(why) => format!("messageExpression compilation failed: {why}"),
        Ok(looked) if !matches!(looked.gives, Type::Plain("string")) => {
            "messageExpression must evaluate to a string".to_owned()
        }
        Ok(looked) => {
            if looked.cost > PER_RULE {
                let why = too_dear("estimated messageExpression cost", looked.cost, PER_RULE);
                found.errors.push(FieldError::forbidden(&place, &why));
            }
            found.observe(&place, looked.cost);
            return;
        }
    };
    found
        .errors
        .push(FieldError::invalid_shown(&place, &internal(rule), &why));
}

/// A rule that parses and passes the type check.
struct CompiledRule {
    gives: Type,
    cost: u64,
    uses_old_self: bool,
}

fn compile(source: &str, declared: &Rc<Declared>, optional: bool) -> Result<CompiledRule, String> {
    let expression = expression::parse(source)?;
    stacker::maybe_grow(STACK / 2, STACK, || {
        let variables = checker::variables(declared, optional);
        let checked = checker::check(source, &expression, &variables)?;
        Ok(CompiledRule {
            cost: estimate(&expression, &checked, declared),
            uses_old_self: expression.references().has_variable("oldSelf"),
            gives: checked.gives,
        })
    })
}

impl Found<'_> {
    fn observe(&mut self, rule: &str, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost >= NAMED_FROM {
            self.dearest.push((rule.to_owned(), cost));
            self.dearest.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED);
        }
    }
}

/// By how much something costs too much, in upstream's words.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn too_dear(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, \
         and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as upstream's internal form prints it.
fn internal(rule: &Map<String, Value>) -> String {
    let shown = |name: &str, absent: Value| go_json(rule.get(name).unwrap_or(&absent));
    let empty = || Value::from("");
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        shown("rule", empty()),
        shown("message", empty()),
        shown("messageExpression", empty()),
        shown("reason", Value::Null),
        shown("fieldPath", empty()),
        shown("optionalOldSelf", Value::Null),
    )
}
