//! What the parser leaves of Kubernetes' optional values to its caller: `a.?b`, `optMap` and `optFlatMap`.

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, operators},
};

use super::{
    macros,
    parts::{Next, UNUSED},
};

/// Puts an expression in the words that the interpreter knows.
pub(crate) fn rewrite(expression: &mut IdedExpr) {
    let mut next = Next {
        id: highest(expression),
        room: ROOM,
    };
    visit(expression, &mut next);
}

/// How many parts the rewriting may add: each `optMap` says what it stands on twice.
const ROOM: usize = 10_000;

fn size(expression: &IdedExpr) -> usize {
    let mut all = 1;
    parts(expression, &mut |part| all += size(part));
    all
}

/// The highest number of a part.
fn highest(expression: &IdedExpr) -> u64 {
    let mut most = expression.id;
    parts(expression, &mut |part| most = most.max(highest(part)));
    most
}

fn parts(expression: &IdedExpr, each: &mut dyn FnMut(&IdedExpr)) {
    match &expression.expr {
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .for_each(each),
        Expr::Comprehension(whole) => [
            &whole.iter_range,
            &whole.accu_init,
            &whole.loop_cond,
            &whole.loop_step,
            &whole.result,
        ]
        .into_iter()
        .for_each(each),
        Expr::List(list) => list.elements.iter().for_each(each),
        Expr::Map(map) => map
            .entries
            .iter()
            .for_each(|entry| entry_parts(&entry.expr, each)),
        Expr::Struct(made) => made
            .entries
            .iter()
            .for_each(|entry| entry_parts(&entry.expr, each)),
        Expr::Select(select) => each(&select.operand),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn entry_parts(entry: &EntryExpr, each: &mut dyn FnMut(&IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => each(&field.value),
        EntryExpr::MapEntry(entry) => {
            each(&entry.key);
            each(&entry.value);
        }
    }
}

fn visit(expression: &mut IdedExpr, next: &mut Next) {
    match &mut expression.expr {
        Expr::Call(call) => {
            // The interpreter fails on a missing key only in the former.
            if call.func_name == operators::OPT_SELECT {
                operators::OPT_INDEX.clone_into(&mut call.func_name);
            }
            if let Some(target) = &mut call.target {
                visit(target, next);
            }
            call.args.iter_mut().for_each(|part| visit(part, next));
            if let Some(made) = mapped(call, next).or_else(|| macros::expanded(call, next)) {
                expression.expr = made;
            }
        }
        Expr::Comprehension(whole) => {
            let whole = &mut **whole;
            for part in [
                &mut whole.iter_range,
                &mut whole.accu_init,
                &mut whole.loop_cond,
                &mut whole.loop_step,
                &mut whole.result,
            ] {
                visit(part, next);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(|part| visit(part, next)),
        Expr::Map(map) => map
            .entries
            .iter_mut()
            .for_each(|entry| visit_entry(&mut entry.expr, next)),
        Expr::Struct(made) => made
            .entries
            .iter_mut()
            .for_each(|entry| visit_entry(&mut entry.expr, next)),
        Expr::Select(select) => visit(&mut select.operand, next),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn visit_entry(entry: &mut EntryExpr, next: &mut Next) {
    match entry {
        EntryExpr::StructField(field) => visit(&mut field.value, next),
        EntryExpr::MapEntry(entry) => {
            visit(&mut entry.key, next);
            visit(&mut entry.value, next);
        }
    }
}

/// `a.optMap(x, e)` as `a.hasValue() ? optional.of(e with x as a.value()) : optional.none()`; `optFlatMap` without the
/// `optional.of`.
fn mapped(call: &CallExpr, next: &mut Next) -> Option<Expr> {
    let flat = match call.func_name.as_str() {
        "optMap" => false,
        "optFlatMap" => true,
        _ => return None,
    };
    let target = call.target.as_deref()?;
    let [variable, body] = call.args.as_slice() else {
        return None;
    };
    let Expr::Ident(name) = &variable.expr else {
        return None;
    };
    // A call that is not expanded is an unknown function when it runs.
    next.room = next.room.checked_sub(2 * size(target) + size(body))?;
    let mut made = |expr: Expr| next.made(expr);
    let function = |name: &str, target: Option<IdedExpr>, args: Vec<IdedExpr>| {
        Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: target.map(Box::new),
            args,
        })
    };
    let optional = Expr::Ident("optional".to_owned());
    let whole = ComprehensionExpr {
        iter_range: made(Expr::List(ListExpr::new(Vec::new()))),
        iter_var: UNUSED.to_owned(),
        iter_var2: None,
        accu_var: name.clone(),
        accu_init: made(function("value", Some(target.clone()), Vec::new())),
        loop_cond: made(Expr::Literal(LiteralValue::Boolean(false.into()))),
        loop_step: made(Expr::Ident(name.clone())),
        result: body.clone(),
    };
    let mut bound = made(Expr::Comprehension(Box::new(whole)));
    if !flat {
        let target = made(optional.clone());
        bound = made(function("of", Some(target), vec![bound]));
    }
    let none = made(optional);
    let parts = vec![
        made(function("hasValue", Some(target.clone()), Vec::new())),
        bound,
        made(function("none", Some(none), Vec::new())),
    ];
    Some(function(operators::CONDITIONAL, None, parts))
}
