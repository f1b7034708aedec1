//! The macros that the parser does not know: loops with two variables, and `sortBy`.
//!
//! What cannot be one, because of its arguments, stays the call that it is: the check of the rule says what is wrong.

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, Expr, ListExpr, LiteralValue, MapExpr, operators},
};

use super::parts::{Next, RESULT, UNUSED};

/// The name of what `sortBy` sorts.
pub(crate) const SORTED: &str = "@__sortBy_input__";
/// Sorts a list by a list of keys.
pub(crate) const SORT_BY_KEYS: &str = "@sortByAssociatedKeys";
/// Puts an entry, or all entries of a map, into a map that does not have them.
pub(crate) const INSERT: &str = "cel.@mapInsert";

/// What is wrong with the call of a macro: the number of the argument that it is wrong with, if it is of one, and why.
pub(crate) type Misused = (Option<usize>, String);

/// Whether a name is taken by what loops come to.
pub(crate) fn is_taken(name: &str) -> bool {
    name == RESULT || name == "__result__"
}

/// What is wrong with a call that would be a macro's if its arguments were others.
pub(crate) fn misused(call: &CallExpr) -> Option<Misused> {
    let target = call.target.as_deref()?;
    match (call.func_name.as_str(), call.args.as_slice()) {
        (name, [first, second, ..]) if loops_over_two(name, call.args.len()) => {
            let name_of = |at: usize, argument: &IdedExpr| match &argument.expr {
                Expr::Ident(name) => Ok(name.clone()),
                _ => Err((Some(at), "argument must be a simple name".to_owned())),
            };
            let (first, second) = match (name_of(0, first), name_of(1, second)) {
                (Ok(first), Ok(second)) => (first, second),
                (Err(wrong), _) | (_, Err(wrong)) => return Some(wrong),
            };
            if first == second {
                return Some((Some(1), format!("duplicate variable name: {first}")));
            }
            let taken = [&first, &second].iter().position(|name| is_taken(name))?;
            Some((
                Some(taken),
                "iteration variable overwrites accumulator variable".to_owned(),
            ))
        }
        ("sortBy", [variable, _]) => match (&target.expr, &variable.expr) {
            (Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified, _) => {
                let what = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
                Some((None, what.to_owned()))
            }
            (_, Expr::Ident(name)) if is_taken(name) => Some((
                Some(0),
                "iteration variable overwrites accumulator variable".to_owned(),
            )),
            (_, Expr::Ident(_)) => None,
            _ => Some((Some(0), "argument is not an identifier".to_owned())),
        },
        ("optMap" | "optFlatMap", [variable, _]) if !matches!(variable.expr, Expr::Ident(_)) => {
            let what = format!("{}() variable name must be a simple identifier", call.func_name);
            Some((Some(0), what))
        }
        _ => None,
    }
}

fn loops_over_two(name: &str, arguments: usize) -> bool {
    match name {
        "all" | "exists" | "existsOne" | operators::EXISTS_ONE => arguments == 3,
        "transformList" | "transformMap" | "transformMapEntry" => arguments == 3 || arguments == 4,
        _ => false,
    }
}

/// What the call of a macro stands for; none if it is no macro's.
pub(crate) fn expanded(call: &CallExpr, next: &mut Next) -> Option<Expr> {
    if misused(call).is_some() {
        return None;
    }
    let target = call.target.as_deref()?;
    match (call.func_name.as_str(), call.args.as_slice()) {
        (name, [first, second, rest @ ..]) if loops_over_two(name, call.args.len()) => {
            two_variables(name, target, [first, second], rest, next)
        }
        ("sortBy", [variable, key]) => sort_by(target, variable, key, next),
        _ => None,
    }
}

/// How a loop begins, whether it goes on, its step and what comes of it.
struct Parts {
    begin: IdedExpr,
    condition: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

fn two_variables(
    name: &str,
    target: &IdedExpr,
    variables: [&IdedExpr; 2],
    rest: &[IdedExpr],
    next: &mut Next,
) -> Option<Expr> {
    let [Expr::Ident(first), Expr::Ident(second)] = variables.map(|variable| &variable.expr) else {
        return None;
    };
    let (filter, body) = match rest {
        [body] => (None, body.clone()),
        [filter, body] => (Some(filter.clone()), body.clone()),
        _ => return None,
    };
    let Parts {
        begin,
        condition,
        step,
        result,
    } = match name {
        "all" => Parts {
            begin: next.truth(true),
            condition: {
                let result = next.result();
                next.call(operators::NOT_STRICTLY_FALSE, vec![result])
            },
            step: {
                let result = next.result();
                next.call(operators::LOGICAL_AND, vec![result, body])
            },
            result: next.result(),
        },
        "exists" => Parts {
            begin: next.truth(false),
            condition: {
                let result = next.result();
                let not = next.call(operators::LOGICAL_NOT, vec![result]);
                next.call(operators::NOT_STRICTLY_FALSE, vec![not])
            },
            step: {
                let result = next.result();
                next.call(operators::LOGICAL_OR, vec![result, body])
            },
            result: next.result(),
        },
        "transformList" => {
            let (result, item) = (next.result(), next.list(vec![body]));
            let step = next.call(operators::ADD, vec![result, item]);
            let begin = next.list(Vec::new());
            collected(begin, step, filter, next)
        }
        "transformMap" => {
            let (result, key) = (next.result(), next.made(Expr::Ident(first.clone())));
            let step = next.call(INSERT, vec![result, key, body]);
            let begin = next.made(Expr::Map(MapExpr::default()));
            collected(begin, step, filter, next)
        }
        "transformMapEntry" => {
            let result = next.result();
            let step = next.call(INSERT, vec![result, body]);
            let begin = next.made(Expr::Map(MapExpr::default()));
            collected(begin, step, filter, next)
        }
        _ => Parts {
            begin: next.number(0),
            condition: next.truth(true),
            step: {
                let (result, one) = (next.result(), next.number(1));
                let more = next.call(operators::ADD, vec![result, one]);
                let same = next.result();
                next.call(operators::CONDITIONAL, vec![body, more, same])
            },
            result: {
                let (result, one) = (next.result(), next.number(1));
                next.call(operators::EQUALS, vec![result, one])
            },
        },
    };
    Some(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: target.clone(),
        iter_var: first.clone(),
        iter_var2: Some(second.clone()),
        accu_var: RESULT.to_owned(),
        accu_init: begin,
        loop_cond: condition,
        loop_step: step,
        result,
    })))
}

/// The parts of a loop that collects, only what passes the filter if there is one.
fn collected(begin: IdedExpr, step: IdedExpr, filter: Option<IdedExpr>, next: &mut Next) -> Parts {
    let step = match filter {
        Some(filter) => {
            let same = next.result();
            next.call(operators::CONDITIONAL, vec![filter, step, same])
        }
        None => step,
    };
    Parts {
        begin,
        condition: next.truth(true),
        step,
        result: next.result(),
    }
}

/// `a.sortBy(x, e)` as `a.@sortByAssociatedKeys(a.map(x, e))`, with `a` looked at once.
fn sort_by(target: &IdedExpr, variable: &IdedExpr, key: &IdedExpr, next: &mut Next) -> Option<Expr> {
    let Expr::Ident(variable) = &variable.expr else {
        return None;
    };
    let (result, item) = (next.result(), next.list(vec![key.clone()]));
    let keys = ComprehensionExpr {
        iter_range: next.made(Expr::Ident(SORTED.to_owned())),
        iter_var: variable.clone(),
        iter_var2: None,
        accu_var: RESULT.to_owned(),
        accu_init: next.list(Vec::new()),
        loop_cond: next.truth(true),
        loop_step: next.call(operators::ADD, vec![result, item]),
        result: next.result(),
    };
    let keys = next.made(Expr::Comprehension(Box::new(keys)));
    let input = next.made(Expr::Ident(SORTED.to_owned()));
    Some(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: next.list(Vec::new()),
        iter_var: UNUSED.to_owned(),
        iter_var2: None,
        accu_var: SORTED.to_owned(),
        accu_init: target.clone(),
        loop_cond: next.truth(false),
        loop_step: next.made(Expr::Ident(SORTED.to_owned())),
        result: next.made(Expr::Call(CallExpr {
            func_name: SORT_BY_KEYS.to_owned(),
            target: Some(Box::new(input)),
            args: vec![keys],
        })),
    })))
}

/// The parts that macros are made of.
impl Next {
    fn result(&mut self) -> IdedExpr {
        self.made(Expr::Ident(RESULT.to_owned()))
    }

    fn truth(&mut self, truth: bool) -> IdedExpr {
        self.made(Expr::Literal(LiteralValue::Boolean(truth.into())))
    }

    fn number(&mut self, number: i64) -> IdedExpr {
        self.made(Expr::Literal(LiteralValue::Int(number.into())))
    }

    fn list(&mut self, items: Vec<IdedExpr>) -> IdedExpr {
        self.made(Expr::List(ListExpr::new(items)))
    }

    fn call(&mut self, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.made(Expr::Call(CallExpr {
            func_name: function.to_owned(),
            target: None,
            args,
        }))
    }
}
