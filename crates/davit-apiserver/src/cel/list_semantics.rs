//! Lists that are sets or maps, in rules: they are equal in whatever order, and `+` keeps each item once.
//!
//! The interpreter knows one sort of list. Where the schema says that the left side of `==`, `!=` or `+` holds another,
//! the call is put in other words when the rule is first read: with a description of the place as one more argument.

use std::sync::Arc;

use kube_cel::cel::{
    Context, IdedExpr, ResolveResult, Value as Cel,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
    objects::Key,
};
use serde_json::{Map, Value, json};

use super::value::escape;
use crate::schema::node::{Additional, ListType, Node};

const SAME: &str = "@same";
const JOINED: &str = "@joined";

/// Adds what the rewritten rules call.
pub(crate) fn register(context: &mut Context<'_>) {
    context.add_function(SAME, same);
    context.add_function(JOINED, joined);
}

/// Puts the comparisons and sums of an expression about a value of `node` in the words of this file.
pub(crate) fn rewrite(expression: &mut IdedExpr, node: &Node) {
    if !describe(node).is_null() {
        let mut scope = vec![
            ("self".to_owned(), Some(node)),
            ("oldSelf".to_owned(), Some(node)),
        ];
        walk(expression, &mut scope);
    }
}

/// What is particular about the lists at a place and below it; null if nothing is.
fn describe(node: &Node) -> Value {
    let item = node.items.as_deref().map_or(Value::Null, describe);
    match &node.list_type {
        ListType::Set => return json!({"set": true}),
        ListType::Map(keys) => {
            let keys: Vec<String> = keys.iter().filter_map(|key| escape(key)).collect();
            return json!({"keys": keys, "item": item});
        }
        ListType::Atomic if !item.is_null() => return json!({"item": item}),
        ListType::Atomic => {}
    }
    if let Additional::Schema(values) = &node.additional {
        let values = describe(values);
        return if values.is_null() {
            Value::Null
        } else {
            json!({"values": values})
        };
    }
    let fields: Map<String, Value> = node
        .properties
        .iter()
        .map(|(name, sub)| (escape(name).unwrap_or_default(), describe(sub)))
        .filter(|(_, described)| !described.is_null())
        .collect();
    if fields.is_empty() {
        Value::Null
    } else {
        json!({"fields": fields})
    }
}

type Scope<'n> = Vec<(String, Option<&'n Node>)>;

/// Rewrites, and says which place of the schema the expression's value is of, if that is certain.
fn walk<'n>(expression: &mut IdedExpr, scope: &mut Scope<'n>) -> Option<&'n Node> {
    match &mut expression.expr {
        Expr::Ident(name) => scope.iter().rev().find(|(known, _)| known == name)?.1,
        Expr::Select(select) => {
            let operand = walk(&mut select.operand, scope)?;
            let fields = operand.properties.iter();
            let mut named = fields.filter(|(name, _)| escape(name).as_deref() == Some(&select.field));
            match (named.next(), &operand.additional) {
                (Some((_, sub)), _) => Some(sub),
                (None, Additional::Schema(sub)) => Some(sub),
                (None, _) => None,
            }
        }
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                walk(target, scope);
            }
            let places: Vec<Option<&Node>> = call.args.iter_mut().map(|part| walk(part, scope)).collect();
            let first = places.first().copied().flatten();
            let name = call.func_name.clone();
            match name.as_str() {
                operators::INDEX => {
                    let node = first?;
                    match &node.additional {
                        Additional::Schema(values) => Some(values),
                        _ => node.items.as_deref(),
                    }
                }
                operators::CONDITIONAL => places.get(1).copied().flatten(),
                operators::EQUALS | operators::NOT_EQUALS => {
                    let described = describe(first?);
                    if !described.is_null() {
                        described_call(call, SAME, &described);
                        if name == operators::NOT_EQUALS {
                            negate(expression);
                        }
                    }
                    None
                }
                operators::ADD => {
                    let node = first.filter(|node| node.list_type != ListType::Atomic)?;
                    described_call(call, JOINED, &describe(node));
                    Some(node)
                }
                _ => None,
            }
        }
        Expr::Comprehension(whole) => {
            let whole = &mut **whole;
            let range = walk(&mut whole.iter_range, scope);
            let item = range.and_then(|range| range.items.as_deref());
            walk(&mut whole.accu_init, scope);
            let depth = scope.len();
            scope.push((whole.accu_var.clone(), None));
            match &whole.iter_var2 {
                None => scope.push((whole.iter_var.clone(), item)),
                Some(second) => {
                    scope.push((whole.iter_var.clone(), None));
                    let value = range.and_then(|range| match &range.additional {
                        Additional::Schema(values) => Some(&**values),
                        _ => item,
                    });
                    scope.push((second.clone(), value));
                }
            }
            for part in [&mut whole.loop_cond, &mut whole.loop_step, &mut whole.result] {
                walk(part, scope);
            }
            scope.truncate(depth);
            None
        }
        Expr::List(list) => {
            for element in &mut list.elements {
                walk(element, scope);
            }
            None
        }
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    walk(&mut entry.key, scope);
                    walk(&mut entry.value, scope);
                }
            }
            None
        }
        Expr::Struct(_) | Expr::Unspecified | Expr::Literal(_) => None,
    }
}

fn described_call(call: &mut CallExpr, name: &str, described: &Value) {
    name.clone_into(&mut call.func_name);
    call.args.push(IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::String(described.to_string().into())),
    });
}

fn negate(expression: &mut IdedExpr) {
    let inner = IdedExpr {
        id: 0,
        expr: std::mem::take(&mut expression.expr),
    };
    expression.expr = Expr::Call(CallExpr {
        func_name: operators::LOGICAL_NOT.to_owned(),
        target: None,
        args: vec![inner],
    });
}

#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "so the interpreter calls it"
)]
fn same(a: Cel, b: Cel, described: Arc<String>) -> ResolveResult {
    let described = serde_json::from_str(&described).unwrap_or_default();
    Ok(Cel::Bool(equal(&a, &b, &described)))
}

fn equal(a: &Cel, b: &Cel, described: &Value) -> bool {
    match (a, b) {
        (Cel::List(left), Cel::List(right)) => {
            if left.len() != right.len() {
                return false;
            }
            let item = described.get("item").unwrap_or(&Value::Null);
            if let Some(keys) = described.get("keys") {
                return left.iter().all(|one| {
                    let mut others = right
                        .iter()
                        .filter(|other| identity(one, keys) == identity(other, keys));
                    others.any(|other| equal(one, other, item))
                });
            }
            if described.get("set").is_some() {
                return left.iter().all(|one| right.contains(one));
            }
            left.iter()
                .zip(right.iter())
                .all(|(one, other)| equal(one, other, item))
        }
        (Cel::Map(left), Cel::Map(right)) if !described.is_null() => {
            left.map.len() == right.map.len()
                && left.map.iter().all(|(key, value)| {
                    let field = match key {
                        Key::String(name) => described.get("fields").and_then(|fields| fields.get(&**name)),
                        _ => None,
                    };
                    let below = field.or_else(|| described.get("values")).unwrap_or(&Value::Null);
                    right.map.get(key).is_some_and(|other| equal(value, other, below))
                })
        }
        _ => a == b,
    }
}

/// What tells an item of a list that is a map from the others.
fn identity<'a>(item: &'a Cel, keys: &Value) -> Vec<Option<&'a Cel>> {
    let names = keys.as_array().into_iter().flatten().filter_map(Value::as_str);
    names
        .map(|name| match item {
            Cel::Map(map) => map.map.get(&Key::String(Arc::new(name.to_owned()))),
            _ => None,
        })
        .collect()
}

/// The items of the one list in their places, those of the other over them or behind them.
#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "so the interpreter calls it"
)]
fn joined(a: Arc<Vec<Cel>>, b: Arc<Vec<Cel>>, described: Arc<String>) -> ResolveResult {
    let described: Value = serde_json::from_str(&described).unwrap_or_default();
    let mut all: Vec<Cel> = a.to_vec();
    for item in b.iter() {
        let known = match described.get("keys") {
            Some(keys) => all
                .iter_mut()
                .find(|one| identity(one, keys) == identity(item, keys)),
            None => all.iter_mut().find(|one| *one == item),
        };
        match known {
            Some(place) => *place = item.clone(),
            None => all.push(item.clone()),
        }
    }
    Ok(Cel::List(Arc::new(all)))
}
