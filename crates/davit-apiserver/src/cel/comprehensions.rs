//! The loops of rules, run as upstream runs them.
//!
//! The interpreter's own loops know one variable, copy the list that they make at every step, and end at the first
//! error, where `all` and `exists` go on: one item that decides is enough. So the loops of an expression are put into
//! calls of the functions of this file, which get what they run over and the expressions to run.

use std::{collections::HashMap, sync::Arc};

use kube_cel::cel::{
    Context, ExecutionError, FunctionContext, IdedExpr, ResolveResult, Value as Cel,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
    objects::{Key, Map},
};

use super::{
    conversions::{NEGATIVE, SUM},
    macros::INSERT,
    parts::{RESULT, UNUSED},
};

pub(crate) const ALL: &str = "@all";
pub(crate) const EXISTS: &str = "@exists";
pub(crate) const ONE: &str = "@one";
pub(crate) const LIST: &str = "@list";
pub(crate) const MAP: &str = "@map";
pub(crate) const ENTRIES: &str = "@entries";

/// The arguments before the expressions that run for every item: what the loop runs over, and its variables' names.
const RANGE_AND_NAMES: usize = 3;

/// Adds what the rewritten loops call.
pub(crate) fn register(context: &mut Context<'_>) {
    type Function = Box<dyn Fn(&mut FunctionContext<'_, '_>) -> ResolveResult + Send + Sync>;
    type Looped = fn(&FunctionContext<'_, '_>) -> ResolveResult;
    let functions: [(&str, Looped); 6] = [
        (ALL, |call| decided(call, false)),
        (EXISTS, |call| decided(call, true)),
        (ONE, one),
        (LIST, list),
        (MAP, map),
        (ENTRIES, entries),
    ];
    for (name, function) in functions {
        let function: Function = Box::new(move |call| function(call));
        context.add_function::<Function, _>(name, function);
    }
}

/// Puts the loops of an expression in the words of this file.
pub(crate) fn rewrite(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().for_each(rewrite);
            call.args.iter_mut().for_each(rewrite);
            match call.func_name.as_str() {
                operators::NEGATE => NEGATIVE.clone_into(&mut call.func_name),
                operators::ADD => SUM.clone_into(&mut call.func_name),
                _ => {}
            }
        }
        Expr::Comprehension(whole) => {
            let whole = &mut **whole;
            for part in [
                &mut whole.iter_range,
                &mut whole.accu_init,
                &mut whole.loop_step,
                &mut whole.result,
            ] {
                rewrite(part);
            }
            if let Some(call) = called(whole) {
                expression.expr = Expr::Call(call);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(rewrite),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key);
                    rewrite(&mut entry.value);
                }
            }
        }
        Expr::Select(select) => {
            // The names of these types have dots; elsewhere dots are steps to a field.
            let google = matches!(&select.operand.expr, Expr::Select(before)
                if before.field == "protobuf" && matches!(&before.operand.expr, Expr::Ident(name) if name == "google"));
            if google {
                expression.expr = Expr::Ident(format!("google.protobuf.{}", select.field));
            } else {
                rewrite(&mut select.operand);
            }
        }
        Expr::Struct(_) | Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

/// The call that a loop becomes; none for one that only gives something a name.
fn called(whole: &mut ComprehensionExpr) -> Option<CallExpr> {
    if whole.iter_var == UNUSED {
        return None;
    }
    let Expr::Call(step) = &mut whole.loop_step.expr else {
        return None;
    };
    let (function, body) = if matches!(whole.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
        collecting(step)?
    } else {
        let (function, body) = match step.func_name.as_str() {
            operators::LOGICAL_AND => (ALL, step.args.pop()),
            operators::LOGICAL_OR => (EXISTS, step.args.pop()),
            operators::CONDITIONAL => (ONE, step.args.first_mut().map(std::mem::take)),
            _ => return None,
        };
        (function, vec![body?])
    };
    let name = |name: &str| expression(Expr::Literal(LiteralValue::String(name.into())));
    let mut args = vec![
        std::mem::take(&mut whole.iter_range),
        name(&whole.iter_var),
        name(whole.iter_var2.as_deref().unwrap_or_default()),
    ];
    args.extend(body);
    Some(CallExpr {
        func_name: function.to_owned(),
        target: None,
        args,
    })
}

/// The function of a loop that collects, and the filter and what is collected.
fn collecting(step: &mut CallExpr) -> Option<(&'static str, Vec<IdedExpr>)> {
    if step.func_name == operators::CONDITIONAL {
        let [filter, then, _] = step.args.as_mut_slice() else {
            return None;
        };
        let Expr::Call(then) = &mut then.expr else {
            return None;
        };
        let (function, mut body) = collecting(then)?;
        body.splice(..1, [std::mem::take(filter)]);
        return Some((function, body));
    }
    let passes = expression(Expr::Literal(LiteralValue::Boolean(true.into())));
    if !matches!(step.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name == RESULT) {
        return None;
    }
    match (step.func_name.as_str(), step.args.get_mut(1..)?) {
        (SUM, [item]) => {
            let Expr::List(item) = &mut item.expr else {
                return None;
            };
            Some((LIST, vec![passes, item.elements.pop()?]))
        }
        (INSERT, [key, value]) => Some((MAP, vec![passes, std::mem::take(key), std::mem::take(value)])),
        (INSERT, [entries]) => Some((ENTRIES, vec![passes, std::mem::take(entries)])),
        _ => None,
    }
}

fn expression(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

/// The expressions that run for every item.
fn body<'c, const COUNT: usize>(
    call: &FunctionContext<'_, 'c>,
) -> Result<&'c [IdedExpr; COUNT], ExecutionError> {
    let body = call.args.get(RANGE_AND_NAMES..).unwrap_or_default();
    body.try_into()
        .map_err(|_| ExecutionError::invalid_argument_count(COUNT, body.len()))
}

/// The name of a loop's variable; none of a second one that it does not have.
pub(crate) fn name(argument: Option<&IdedExpr>) -> Option<&str> {
    match argument.map(|argument| &argument.expr) {
        Some(Expr::Literal(LiteralValue::String(name))) => Some(name.inner()).filter(|name| !name.is_empty()),
        _ => None,
    }
}

/// Runs something for every item, with the loop's variables in the scope, until it says that it is enough.
fn each(
    call: &FunctionContext<'_, '_>,
    mut run: impl FnMut(&Context<'_>) -> Result<Enough, ExecutionError>,
) -> Result<(), ExecutionError> {
    let (first, second) = (name(call.args.get(1)), name(call.args.get(2)));
    let range = call.args.first().ok_or(ExecutionError::NoSuchOverload)?;
    let mut scope = call.ptx.new_inner_scope();
    let mut with = |one: Cel, two: Cel| {
        if let Some(name) = first {
            scope.add_variable_from_value(name, one);
        }
        if let Some(name) = second {
            scope.add_variable_from_value(name, two);
        }
        run(&scope)
    };
    match Cel::resolve(range, call.ptx)? {
        Cel::List(list) => {
            for (at, item) in (0..).zip(list.iter()) {
                let enough = if second.is_some() {
                    with(Cel::Int(at), item.clone())?
                } else {
                    with(item.clone(), Cel::Null)?
                };
                if enough {
                    break;
                }
            }
            Ok(())
        }
        Cel::Map(map) => {
            for (key, value) in map.map.iter() {
                let value = if second.is_some() {
                    value.clone()
                } else {
                    Cel::Null
                };
                if with(key.into(), value)? {
                    break;
                }
            }
            Ok(())
        }
        other => Err(ExecutionError::function_error(
            call.name,
            format!("unsupported comprehension range type: {}", go_type(&other)),
        )),
    }
}

/// Whether a loop may end.
type Enough = bool;

/// What Go calls the type of a value that no loop runs over.
fn go_type(value: &Cel) -> &'static str {
    match value {
        Cel::Int(_) => "types.Int",
        Cel::UInt(_) => "types.Uint",
        Cel::Float(_) => "types.Double",
        Cel::String(_) => "types.String",
        Cel::Bytes(_) => "types.Bytes",
        Cel::Bool(_) => "types.Bool",
        Cel::Duration(_) => "types.Duration",
        Cel::Timestamp(_) => "types.Timestamp",
        Cel::Null => "types.Null",
        _ => "*types.Optional",
    }
}

fn truth(value: &Cel) -> Result<bool, ExecutionError> {
    match value {
        Cel::Bool(truth) => Ok(*truth),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// Whether some item decides: if none does, the first error counts.
fn decided(call: &FunctionContext<'_, '_>, decision: bool) -> ResolveResult {
    let [body] = body(call)?;
    let mut result = Ok(Cel::Bool(!decision));
    each(call, |scope| {
        let found = Cel::resolve(body, scope).and_then(|value| truth(&value));
        let enough = found.as_ref().is_ok_and(|found| *found == decision);
        if enough {
            result = Ok(Cel::Bool(decision));
        } else if let (Err(error), Ok(_)) = (found, &result) {
            result = Err(error);
        }
        Ok(enough)
    })?;
    result
}

fn one(call: &FunctionContext<'_, '_>) -> ResolveResult {
    let [body] = body(call)?;
    let mut count = 0_u64;
    each(call, |scope| {
        count += u64::from(truth(&Cel::resolve(body, scope)?)?);
        Ok(false)
    })?;
    Ok(Cel::Bool(count == 1))
}

fn list(call: &FunctionContext<'_, '_>) -> ResolveResult {
    let [filter, item] = body(call)?;
    let mut all = Vec::new();
    each(call, |scope| {
        if truth(&Cel::resolve(filter, scope)?)? {
            all.push(Cel::resolve(item, scope)?);
        }
        Ok(false)
    })?;
    Ok(Cel::List(Arc::new(all)))
}

fn map(call: &FunctionContext<'_, '_>) -> ResolveResult {
    let [filter, key, value] = body(call)?;
    let mut all = HashMap::new();
    each(call, |scope| {
        if truth(&Cel::resolve(filter, scope)?)? {
            let key = key_of(Cel::resolve(key, scope)?)?;
            insert(&mut all, call, key, Cel::resolve(value, scope)?)?;
        }
        Ok(false)
    })?;
    Ok(Cel::Map(Map { map: Arc::new(all) }))
}

fn entries(call: &FunctionContext<'_, '_>) -> ResolveResult {
    let [filter, entries] = body(call)?;
    let mut all = HashMap::new();
    each(call, |scope| {
        if truth(&Cel::resolve(filter, scope)?)? {
            let Cel::Map(entries) = Cel::resolve(entries, scope)? else {
                return Err(ExecutionError::NoSuchOverload);
            };
            for (key, value) in entries.map.iter() {
                insert(&mut all, call, key.clone(), value.clone())?;
            }
        }
        Ok(false)
    })?;
    Ok(Cel::Map(Map { map: Arc::new(all) }))
}

fn key_of(value: Cel) -> Result<Key, ExecutionError> {
    value.try_into().map_err(|_| ExecutionError::NoSuchOverload)
}

/// Numbers of the same value are the same key, of whatever type they are.
fn insert(
    all: &mut HashMap<Key, Cel>,
    call: &FunctionContext<'_, '_>,
    key: Key,
    value: Cel,
) -> Result<(), ExecutionError> {
    let twin = match &key {
        Key::Int(number) => u64::try_from(*number).ok().map(Key::Uint),
        Key::Uint(number) => i64::try_from(*number).ok().map(Key::Int),
        Key::Bool(_) | Key::String(_) => None,
    };
    if all.contains_key(&key) || twin.is_some_and(|twin| all.contains_key(&twin)) {
        let shown = match &key {
            Key::String(text) => text.to_string(),
            other => format!("{other}"),
        };
        return Err(ExecutionError::function_error(
            call.name,
            format!("insert failed: key {shown} already exists"),
        ));
    }
    all.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::{evaluation::functions, expression::parse};

    #[test]
    fn loops_give_what_upstream_says() {
        let yes = [
            "[1, 2, 3].all(i, v, v == i + 1)",
            "{'a': 1}.exists(k, v, k == 'a' && v == 1)",
            "[1, 2, 1].existsOne(i, v, v == 2) && ![1, 2, 1].exists_one(i, v, v == 1)",
            "[1, 2].transformList(i, v, [i, v]) == [[0, 1], [1, 2]]",
            "[1, 2].transformList(i, v, i > 0, v) == [2]",
            "['a'].transformMap(i, v, v) == {0: 'a'}",
            "{'a': 1}.transformMapEntry(k, v, v > 0, {v: k}) == {1: 'a'}",
            // One item that decides is enough, whatever the others fail with.
            "[0, 1].exists(x, 1 / x == 1) && ![0, 1].all(x, 1 / x == 7)",
            "[1, 0].exists(i, v, 1 / v == 1)",
            "[1, 2].map(x, [3].map(y, x + y)) == [[4], [5]]",
            "[1, 2, 3].filter(x, x > 1).map(x, x > 2, x * 2) == [6]",
            "[3, 1, 2].sortBy(x, -x) == [3, 2, 1]",
        ];
        for source in yes {
            let mut expression = parse(source).unwrap();
            rewrite(&mut expression);
            assert_eq!(
                Cel::resolve(&expression, functions()),
                Ok(Cel::Bool(true)),
                "{source}"
            );
        }
        let no = [
            ("[0].all(x, 1 / x == 1)", "DivisionByZero"),
            ("[0].exists(i, x, 1 / x == 1)", "DivisionByZero"),
            (
                "['a', 'a'].transformMapEntry(i, v, {v: i})",
                "key a already exists",
            ),
            (
                "dyn(1).all(i, v, true)",
                "unsupported comprehension range type: types.Int",
            ),
            ("[1].all(x, x)", "NoSuchOverload"),
        ];
        for (source, why) in no {
            let mut expression = parse(source).unwrap();
            rewrite(&mut expression);
            let error = Cel::resolve(&expression, functions()).unwrap_err();
            assert!(format!("{error:?}").contains(why), "{source}: {error:?}");
        }
    }
}
