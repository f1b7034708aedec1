//! A bound on what a rule may cost, found before it runs: upstream ends a rule that costs too much, and a rule here
//! must not be able to hold up the server either.
//!
//! The bound walks the expression as the interpreter would, but takes every branch, and counts each loop as the
//! longest list that it could run over, found in the object itself. What functions make is as large as it could be.

use std::{collections::HashMap, rc::Rc};

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};
use serde_json::Value;

use crate::cel::{comprehensions, conversions, macros};

/// As many steps as upstream allows one call of a rule.
pub(crate) const PER_CALL: u64 = 1_000_000;
/// All calls for one object together. Upstream allows 10,000,000, but counts what was run; this is a bound.
pub(crate) const PER_OBJECT: u64 = 40_000_000;
/// How many parts of a value the interpreter copies in the time of one step. It copies what it selects, gives to a
/// function, or names.
const COPIED: u64 = 4;
/// How many places of the object are looked at one by one. Of more, the largest stands for all.
const LOOKED_AT: usize = 4096;

/// The steps that the expression takes at most. Names that are not in `variables` are of small values.
pub(crate) fn bound(expression: &IdedExpr, variables: &[(&str, &Value)]) -> u64 {
    let mut walk = Walk {
        weights: HashMap::new(),
        scope: Vec::new(),
    };
    for (name, value) in variables {
        let shape = walk.of(vec![*value]);
        walk.scope.push(((*name).to_owned(), shape));
    }
    walk.visit(expression).0
}

/// What is known of a value before it is made.
#[derive(Clone, Debug, Default)]
struct Shape<'a> {
    /// The places of the object that it could be; none where it does not come from there.
    places: Option<Rc<Vec<&'a Value>>>,
    /// How many items, entries or bytes it has at most.
    length: u64,
    /// How many parts: every ten bytes of a text are one.
    weight: u64,
    /// What each of its items is at most, where more is known than that it is smaller.
    item: Option<Rc<Shape<'a>>>,
}

impl Shape<'_> {
    const SMALL: Self = Self {
        places: None,
        length: 64,
        weight: 1,
        item: None,
    };

    fn text(bytes: u64) -> Self {
        Self {
            length: bytes,
            weight: bytes / 10 + 1,
            ..Self::default()
        }
    }

    fn list(length: u64, item: Self) -> Self {
        Self {
            places: None,
            length,
            weight: length.saturating_mul(item.weight).saturating_add(1),
            item: Some(Rc::new(item)),
        }
    }

    /// What is one or the other.
    fn or(self, other: Self) -> Self {
        let item = match (self.item, other.item) {
            (Some(a), Some(b)) => Some(Rc::new((*a).clone().or((*b).clone()))),
            _ => None,
        };
        Self {
            places: None,
            length: self.length.max(other.length),
            weight: self.weight.max(other.weight),
            item,
        }
    }

    /// What is made of both and not larger than they are together.
    fn and(&self, other: &Self) -> Self {
        let item = match (&self.item, &other.item) {
            (Some(a), Some(b)) => Some(Rc::new((**a).clone().or((**b).clone()))),
            _ => None,
        };
        Self {
            places: None,
            length: self.length.saturating_add(other.length),
            weight: self.weight.saturating_add(other.weight),
            item,
        }
    }

    fn copied(&self) -> u64 {
        self.weight / COPIED
    }
}

struct Walk<'a> {
    /// The weights of places that were looked at.
    weights: HashMap<usize, u64>,
    scope: Vec<(String, Shape<'a>)>,
}

impl<'a> Walk<'a> {
    /// How much is in a value: the most that a list made from it could hold.
    fn weight(&mut self, value: &'a Value) -> u64 {
        let own = match value {
            Value::String(text) => return text.len() as u64 / 10 + 1,
            Value::Null | Value::Bool(_) | Value::Number(_) => return 1,
            Value::Array(_) | Value::Object(_) => std::ptr::from_ref(value) as usize,
        };
        if let Some(known) = self.weights.get(&own) {
            return *known;
        }
        let weight = match value {
            Value::Array(list) => list.iter().map(|item| self.weight(item)).sum::<u64>() + 1,
            Value::Object(map) => map.values().map(|item| self.weight(item)).sum::<u64>() + 1,
            _ => 1,
        };
        self.weights.insert(own, weight);
        weight
    }

    /// What is one of these places.
    fn of(&mut self, places: Vec<&'a Value>) -> Shape<'a> {
        let mut shape = Shape::default();
        for place in &places {
            let length = match place {
                Value::Array(list) => list.len(),
                Value::Object(map) => map.len(),
                Value::String(text) => text.len(),
                Value::Null | Value::Bool(_) | Value::Number(_) => 1,
            };
            shape.length = shape.length.max(length as u64);
            shape.weight = shape.weight.max(self.weight(place));
        }
        if places.len() <= LOOKED_AT {
            shape.places = Some(Rc::new(places));
        }
        shape
    }

    /// What is one of the items.
    fn item(&mut self, list: &Shape<'a>) -> Shape<'a> {
        if let Some(item) = &list.item {
            return (**item).clone();
        }
        match &list.places {
            Some(places) => {
                let items = places.iter().flat_map(|place| children(place)).collect();
                self.of(items)
            }
            None => part(list),
        }
    }

    fn field(&mut self, from: &Shape<'a>, name: &str) -> Shape<'a> {
        match &from.places {
            Some(places) => {
                let found = places.iter().filter_map(|place| field(place, name)).collect();
                self.of(found)
            }
            None => self.item(from),
        }
    }

    fn visit(&mut self, expression: &IdedExpr) -> (u64, Shape<'a>) {
        match &expression.expr {
            Expr::Ident(name) => {
                let known = self.scope.iter().rev().find(|(known, _)| known == name);
                (1, known.map_or(Shape::SMALL, |(_, shape)| shape.clone()))
            }
            Expr::Literal(LiteralValue::String(text)) => (1, Shape::text(text.inner().len() as u64)),
            Expr::Literal(LiteralValue::Bytes(bytes)) => (1, Shape::text(bytes.inner().len() as u64)),
            Expr::Literal(_) | Expr::Unspecified => (1, Shape::SMALL),
            Expr::Select(select) => {
                let (cost, operand) = self.visit(&select.operand);
                if select.test {
                    return (cost.saturating_add(1), Shape::SMALL);
                }
                let found = self.field(&operand, &select.field);
                (cost.saturating_add(1 + found.copied()), found)
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut cost = 10_u64;
                let mut all: Option<Shape<'a>> = None;
                for item in &list.elements {
                    let (more, shape) = self.visit(item);
                    cost = cost.saturating_add(more).saturating_add(shape.copied());
                    all = Some(match all {
                        Some(all) => all.or(shape),
                        None => shape,
                    });
                }
                let length = list.elements.len() as u64;
                (cost, Shape::list(length, all.unwrap_or_default()))
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(made) => self.entries(made.entries.iter().map(|entry| &entry.expr)),
            // Loops have become calls: this only gives something a name.
            Expr::Comprehension(whole) => {
                let (cost, bound) = self.visit(&whole.accu_init);
                let cost = cost.saturating_add(bound.copied());
                self.scope.push((whole.accu_var.clone(), bound));
                let (more, result) = self.visit(&whole.result);
                self.scope.pop();
                (cost.saturating_add(more), result)
            }
        }
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> (u64, Shape<'a>) {
        let (mut cost, mut count) = (30_u64, 0);
        let mut all = Shape::default();
        for entry in entries {
            let parts = match entry {
                EntryExpr::StructField(field) => vec![&field.value],
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
            };
            for part in parts {
                let (more, shape) = self.visit(part);
                cost = cost.saturating_add(more).saturating_add(shape.copied());
                all = all.or(shape);
            }
            count += 1;
        }
        // An item of a map is a key or a value.
        (cost, Shape::list(count, all))
    }

    fn call(&mut self, call: &CallExpr) -> (u64, Shape<'a>) {
        let name = call.func_name.as_str();
        if matches!(
            name,
            comprehensions::ALL
                | comprehensions::EXISTS
                | comprehensions::ONE
                | comprehensions::LIST
                | comprehensions::MAP
                | comprehensions::ENTRIES
        ) {
            return self.looped(call);
        }
        let mut cost = 1_u64;
        let mut parts = Vec::new();
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            let (more, shape) = self.visit(part);
            cost = cost.saturating_add(more);
            parts.push(shape);
        }
        if !matches!(
            name,
            operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::CONDITIONAL
                | operators::INDEX
                | operators::OPT_INDEX
                | operators::EQUALS
                | operators::NOT_EQUALS
        ) {
            cost = parts
                .iter()
                .fold(cost, |cost, part| cost.saturating_add(part.copied()));
        }
        let (own, result) = self.result(name, call, &parts);
        (cost.saturating_add(own), result)
    }

    /// What the function itself costs, and what it gives.
    fn result(&mut self, name: &str, call: &CallExpr, parts: &[Shape<'a>]) -> (u64, Shape<'a>) {
        let product = |a: &Shape<'a>, b: &Shape<'a>| a.length.saturating_mul(b.length);
        let all = || parts.iter().fold(Shape::SMALL, |all, part| all.and(part));
        match (name, parts) {
            (operators::CONDITIONAL, [_, a, b]) => (0, a.clone().or(b.clone())),
            (operators::INDEX | operators::OPT_INDEX, [from, _]) => {
                let found = match call.args.get(1).map(|key| &key.expr) {
                    Some(Expr::Literal(LiteralValue::String(name))) => self.field(from, name.inner()),
                    _ => self.item(from),
                };
                (found.copied(), found)
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => (a.weight.min(b.weight), Shape::SMALL),
            (conversions::SUM, [a, b]) => (0, a.and(b)),
            ("@same", [a, b, _]) => (product(a, b) / COPIED, Shape::SMALL),
            ("@joined", [a, b, _]) => (product(a, b) / COPIED, a.and(b)),
            ("sort" | "distinct", [list]) | (macros::SORT_BY_KEYS, [list, _]) => {
                (product(list, list).saturating_mul(2), list.clone())
            }
            ("reverse" | "value" | "dyn", [list])
            | ("of" | "ofNonZeroValue", [_, list])
            | ("slice", [list, ..]) => (0, list.clone()),
            ("orValue" | "or", [a, b]) => (0, a.clone().or(b.clone())),
            ("first" | "last", [list]) => (0, self.item(list)),
            ("flatten", [list, ..]) => (
                list.weight,
                Shape {
                    length: list.weight,
                    weight: list.weight,
                    ..Shape::default()
                },
            ),
            ("range", [_, count]) => {
                let count = match call.args.first().map(|count| &count.expr) {
                    Some(Expr::Literal(LiteralValue::Int(count))) => {
                        u64::try_from(*count.inner()).unwrap_or(0)
                    }
                    _ => count.length.max(PER_CALL),
                };
                // With the copy that its use makes, a step an item.
                (count - count / COPIED, Shape::list(count, Shape::SMALL))
            }
            ("replace", [text, _, with, ..]) => {
                let longest = product(text, with)
                    .saturating_add(text.length)
                    .saturating_add(with.length);
                (longest / 10, Shape::text(longest))
            }
            ("split" | "findAll", [text, ..]) => (
                text.weight,
                Shape::list(text.length.saturating_add(1), Shape::SMALL),
            ),
            ("join", [list]) => (0, Shape::text(list.weight.saturating_mul(10))),
            ("join", [list, between]) => {
                let longest = product(list, between).saturating_add(list.weight.saturating_mul(10));
                (longest / 10, Shape::text(longest))
            }
            ("contains" | "intersects" | "equivalent", [_, a, b]) => (product(a, b), Shape::SMALL),
            ("quote", [_, text]) => (0, Shape::text(text.length.saturating_mul(2))),
            ("string" | "bytes" | "format", _) => (0, Shape::text(all().weight.saturating_mul(10))),
            _ => (0, all()),
        }
    }

    fn looped(&mut self, call: &CallExpr) -> (u64, Shape<'a>) {
        let Some((range, rest)) = call.args.split_first() else {
            return (1, Shape::SMALL);
        };
        let (cost, range) = self.visit(range);
        let item = self.item(&range);
        let depth = self.scope.len();
        for name in [rest.first(), rest.get(1)] {
            if let Some(name) = comprehensions::name(name) {
                self.scope.push((name.to_owned(), item.clone()));
            }
        }
        let mut each = 1 + item.copied();
        let mut last = Shape::SMALL;
        for part in rest.get(2..).unwrap_or_default() {
            let (more, shape) = self.visit(part);
            each = each.saturating_add(more);
            last = shape;
        }
        self.scope.truncate(depth);
        let cost = cost.saturating_add(range.copied());
        let cost = cost.saturating_add(range.length.saturating_mul(each));
        let made = match call.func_name.as_str() {
            comprehensions::LIST => Shape::list(range.length, last),
            comprehensions::MAP => Shape::list(range.length, last.or(item)),
            comprehensions::ENTRIES => {
                let entry = self.item(&last);
                Shape::list(range.length.saturating_mul(last.length), entry)
            }
            _ => Shape::SMALL,
        };
        (cost.saturating_add(made.copied()), made)
    }
}

/// Something within a value of which no more is known.
fn part<'a>(of: &Shape<'a>) -> Shape<'a> {
    Shape {
        length: of.weight,
        weight: of.weight,
        ..Shape::default()
    }
}

/// The field by the name that rules see it under.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(name).or_else(|| {
        name.contains("__")
            .then(|| {
                map.iter()
                    .find(|(real, _)| crate::cel::value::escape(real).as_deref() == Some(name))
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
    use super::*;
    use crate::cel::expression::parse;
    use serde_json::json;

    fn bound_of(source: &str, this: &Value) -> u64 {
        let mut expression = parse(source).unwrap();
        comprehensions::rewrite(&mut expression);
        bound(&expression, &[("self", this)])
    }

    #[test]
    fn what_grows_is_counted() {
        let list: Vec<Value> = (0..5000).map(|at| json!({"name": at, "list": [1, 2]})).collect();
        let this = json!({"list": list, "text": "x".repeat(100_000), "small": (0..1000).collect::<Vec<_>>()});
        let rows = [
            // As upstream has it, or less: these run.
            ("self.list.map(x, x.name).all(n, n >= 0)", true),
            (
                "self.list.filter(x, x.name > 3).map(x, x.list).all(l, l.all(y, y > 0))",
                true,
            ),
            ("self.list.all(i, x, x.list.exists(y, y == i))", true),
            ("self.list.transformMap(i, x, x.name).size() > 0", true),
            (
                "self.small.all(x, self.small.exists(y, y == x)) || self.text != ''",
                false,
            ),
            ("self.text.split('').all(c, c != 'y')", true),
            ("lists.range(100000).all(x, x >= 0)", true),
            ("self.list.?missing.orValue([]).all(x, x > 0)", true),
            // These do not: they take too long, or too much memory.
            ("self.small.all(x, self.list.size() > x)", false),
            ("lists.range(999999999).size() > 0", false),
            (
                "lists.range(1000).all(x, lists.range(1000).all(y, x != y))",
                false,
            ),
            ("self.text.replace('x', self.text) != ''", false),
            ("self.small.map(x, self.text).join('') != ''", false),
            ("self.small.map(x, self.list).flatten().size() > 0", false),
            ("self.list.sort().size() > 0", false),
            ("self.list.sortBy(x, x.name).size() > 0", false),
        ];
        for (source, runs) in rows {
            let cost = bound_of(source, &this);
            assert_eq!(cost <= PER_CALL, runs, "{source}: {cost}");
        }
    }

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
            let cost = bound_of(source, &this);
            assert!((low..=high).contains(&cost), "{source}: {cost}");
        }
    }
}
