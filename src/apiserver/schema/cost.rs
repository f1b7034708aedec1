//! A bound on what a rule may cost, found before it runs: upstream ends a rule that costs too much, and a rule here
//! must not be able to hold up the server either.
//!
//! The bound walks the expression as the interpreter would, but takes every branch and counts each loop as the
//! longest list that it could run over, found in the object itself.

use std::collections::HashMap;

use kube::core::cel::cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, operators},
};
use serde_json::Value;

/// As many steps as upstream allows one call of a rule.
pub(super) const PER_CALL: u64 = 1_000_000;

/// The values that a place of the expression could have; none where they do not come from the object.
type Candidates<'a> = Option<Vec<&'a Value>>;

/// The steps that the expression takes at most. Names that are not in `variables` are of unknown size.
pub(super) fn bound<'a>(expression: &IdedExpr, variables: &[(&str, &'a Value)]) -> u64 {
    let mut scope: HashMap<String, Candidates<'a>> = HashMap::new();
    let mut size = 1;
    for (name, value) in variables {
        size = size.max(weight(value));
        scope.insert((*name).to_owned(), Some(vec![*value]));
    }
    Walk { longest: size }.visit(expression, &mut scope).0
}

/// How much is in a value: the most that a list made from it could hold.
fn weight(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.iter().map(weight).sum::<u64>() + 1,
        Value::Object(map) => map.values().map(weight).sum::<u64>() + 1,
        Value::String(text) => text.len() as u64 / 10 + 1,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

struct Walk {
    /// What a list is taken for of which nothing else is known.
    longest: u64,
}

impl Walk {
    fn visit<'a>(
        &self,
        expression: &IdedExpr,
        scope: &mut HashMap<String, Candidates<'a>>,
    ) -> (u64, Candidates<'a>) {
        match &expression.expr {
            Expr::Ident(name) => (1, scope.get(name).cloned().flatten()),
            Expr::Literal(_) | Expr::Unspecified => (1, None),
            Expr::Select(select) => {
                let (cost, operand) = self.visit(&select.operand, scope);
                let found = operand.map(|values| {
                    values
                        .into_iter()
                        .filter_map(|value| field(value, &select.field))
                        .collect()
                });
                (cost.saturating_add(1), found)
            }
            Expr::Call(call) => {
                let mut cost = 1_u64;
                let mut first = None;
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                for (at, part) in parts.enumerate() {
                    let (more, values) = self.visit(part, scope);
                    cost = cost.saturating_add(more);
                    if at == 0 {
                        first = values;
                    }
                }
                let indexed = matches!(call.func_name.as_str(), operators::INDEX | operators::OPT_INDEX);
                (
                    cost,
                    first
                        .filter(|_| indexed)
                        .map(|values| values.into_iter().flat_map(children).collect()),
                )
            }
            Expr::List(list) => (self.all(list.elements.iter(), scope), None),
            Expr::Map(map) => (
                self.entries(map.entries.iter().map(|entry| &entry.expr), scope),
                None,
            ),
            Expr::Struct(map) => (
                self.entries(map.entries.iter().map(|entry| &entry.expr), scope),
                None,
            ),
            Expr::Comprehension(loop_) => {
                let (range_cost, range) = self.visit(&loop_.iter_range, scope);
                let length = match &range {
                    Some(values) => values
                        .iter()
                        .map(|value| children(value).len() as u64)
                        .max()
                        .unwrap_or(0),
                    None => self.longest,
                };
                let items: Candidates<'a> = range.map(|values| {
                    values
                        .into_iter()
                        .filter(|value| value.is_array())
                        .flat_map(children)
                        .collect()
                });
                let hidden = [
                    (
                        loop_.iter_var.clone(),
                        scope.insert(loop_.iter_var.clone(), items),
                    ),
                    (loop_.accu_var.clone(), scope.insert(loop_.accu_var.clone(), None)),
                ];
                let body = self.all([&loop_.loop_cond, &loop_.loop_step].into_iter(), scope);
                let result = self.visit(&loop_.result, scope).0;
                let start = self.visit(&loop_.accu_init, scope).0;
                for (name, before) in hidden {
                    match before {
                        Some(before) => scope.insert(name, before),
                        None => scope.remove(&name),
                    };
                }
                let cost = range_cost.saturating_add(start).saturating_add(result);
                (cost.saturating_add(length.saturating_mul(body)), None)
            }
        }
    }

    fn all<'a, 'e>(
        &self,
        parts: impl Iterator<Item = &'e IdedExpr>,
        scope: &mut HashMap<String, Candidates<'a>>,
    ) -> u64 {
        parts.fold(1, |cost, part| cost.saturating_add(self.visit(part, scope).0))
    }

    fn entries<'a, 'e>(
        &self,
        entries: impl Iterator<Item = &'e EntryExpr>,
        scope: &mut HashMap<String, Candidates<'a>>,
    ) -> u64 {
        entries.fold(1, |cost, entry| {
            cost.saturating_add(match entry {
                EntryExpr::StructField(field) => self.visit(&field.value, scope).0,
                EntryExpr::MapEntry(entry) => self.all([&entry.key, &entry.value].into_iter(), scope),
            })
        })
    }
}

/// The field by the name that rules see it under.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(name).or_else(|| {
        name.contains("__")
            .then(|| {
                map.iter()
                    .find(|(real, _)| super::cel_value::escape(real).as_deref() == Some(name))
            })?
            .map(|(_, value)| value)
    })
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cel::parse;
    use super::*;
    use serde_json::json;

    #[test]
    fn loops_count_what_they_could_run_over() {
        let list: Vec<Value> = (0..100)
            .map(|at| json!({"name": at, "tags": ["a", "b"]}))
            .collect();
        let this = json!({"list": list, "x-y": [1, 2, 3], "text": "x"});
        let rows = [
            ("self.text == 'x'", 1, 10),
            ("self.list.all(x, x.name > 0)", 100, 2_000),
            (
                "self.list.all(x, self.list.exists(y, y.name == x.name))",
                10_000,
                200_000,
            ),
            ("self.list.all(x, x.tags.all(t, t != 'z'))", 200, 10_000),
            ("self.x__dash__y.all(v, v > 0)", 3, 60),
            ("self.list.map(x, x.name).all(n, n >= 0)", 200, 20_000),
        ];
        for (source, low, high) in rows {
            let cost = bound(&parse(source).unwrap(), &[("self", &this)]);
            assert!((low..=high).contains(&cost), "{source}: {cost}");
        }
    }
}
