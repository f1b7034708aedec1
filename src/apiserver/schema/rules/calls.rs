//! What a call costs beside its arguments, and how large what it gives is.

use kube::core::cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use super::{
    estimate::{Estimate, Range},
    types::Type,
};

/// The price of looking at one character.
const CHARACTER: f64 = 0.1;
/// The price of one character of a regular expression.
const PATTERN: f64 = 0.25;

/// The cost of the call itself, and the size of its result where that is known.
#[expect(clippy::too_many_lines, reason = "a table: a function a row")]
pub(super) fn price(
    sizes: &Estimate<'_>,
    id: u64,
    call: &CallExpr,
    target: Option<&IdedExpr>,
) -> (Range, Option<Range>) {
    let one = (Range::of(1), None);
    let unknown = |size: Option<Range>| size.unwrap_or(Range::UNKNOWN);
    // Kubernetes' libraries know nothing of numbers' sizes; the language's own functions do.
    let library = |expression: &IdedExpr| unknown(sizes.known(expression));
    let own = |expression: &IdedExpr| sizes.size(expression);
    match (call.func_name.as_str(), target, call.args.as_slice()) {
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(list), _) => {
            let Some(Type::List(item)) = sizes.typed(list) else {
                return (library(list).at(CHARACTER), None);
            };
            let mut each = Range::of(1);
            if matches!(**item, Type::Plain("string" | "bytes")) {
                each = each.plus(sizes.item_size(list).at(CHARACTER));
            }
            (library(list).times(each), None)
        }
        ("url" | "isURL" | "quantity" | "isQuantity" | "semver" | "isSemver", None, [text, ..])
        | ("ip" | "cidr" | "isIP" | "isCIDR" | "isCanonical", _, [text, ..]) => {
            (library(text).at(CHARACTER), None)
        }
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
            let size = library(text);
            (size.at(CHARACTER), Some(size))
        }
        ("replace", Some(text), [what, with, ..]) => {
            let size = library(text);
            (
                size.at(2.0 * CHARACTER),
                Some(replaced(size, library(what), library(with))),
            )
        }
        ("split", Some(text), arguments) => {
            let size = library(text);
            let limit = match arguments.get(1).map(|limit| &limit.expr) {
                Some(Expr::Literal(LiteralValue::Int(limit))) => u64::try_from(*limit.inner()).ok(),
                _ => None,
            };
            let max = limit.map_or(size.max, |limit| limit.min(size.max));
            (size.at(2.0 * CHARACTER), Some(Range { min: 0, max }))
        }
        ("join", Some(list), arguments) => {
            let count = library(list);
            let mut size = count.times(sizes.item_size(list));
            if let Some(between) = arguments.first() {
                let gaps = Range {
                    min: count.min.saturating_sub(1),
                    max: count.max.saturating_sub(1),
                };
                size = size.plus(library(between).times(gaps));
            }
            (size.at(CHARACTER), Some(size))
        }
        ("find" | "findAll", Some(text), [pattern, ..]) => {
            let size = library(text);
            let cost = size
                .plus(Range::of(1))
                .at(CHARACTER)
                .times(library(pattern).at(PATTERN));
            let found = Range {
                min: 0,
                max: size.max,
            };
            (cost, Some(found))
        }
        ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
            let text = own(text).plus(Range::of(1)).at(CHARACTER);
            (text.times(own(pattern).at(PATTERN)), None)
        }
        ("contains" | "intersects" | "equivalent", None, [a, b]) => {
            // Every item of the one with every item of the other; equal sets are looked at from both sides.
            let pairs = library(a).times(library(b));
            let factor = if call.func_name == "equivalent" { 2 } else { 1 };
            (pairs.times(Range::of(factor)), None)
        }
        ("contains", Some(text), [part]) => (own(text).at(CHARACTER).times(own(part).at(CHARACTER)), None),
        ("startsWith" | "endsWith", Some(_), [part]) => (own(part).at(CHARACTER), None),
        ("format", Some(text), _) => (own(text).at(CHARACTER), None),
        ("quote", None, [text]) => {
            let size = own(text);
            let quoted = Range {
                min: size.min.saturating_add(2),
                max: size.max.saturating_mul(2).saturating_add(2),
            };
            (size.at(CHARACTER), Some(quoted))
        }
        ("bytes" | "string", None, [from]) => converted(sizes, call, from),
        (operators::IN, None, [_, list]) if matches!(sizes.typed(list), Some(Type::List(_) | Type::Dyn)) => {
            (own(list), None)
        }
        (operators::ADD, None, [a, b]) => match overload(sizes, id) {
            "string" | "bytes" => {
                let size = own(a).plus(own(b));
                (size.at(CHARACTER), Some(size))
            }
            first if first.starts_with("list") => (Range::of(1), Some(own(a).plus(own(b)))),
            _ => one,
        },
        (operators::EQUALS | operators::NOT_EQUALS, None, [a, b]) => (compared(own(a), own(b)), None),
        (
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
            None,
            [a, b],
        ) => match overload(sizes, id) {
            "string" | "bytes" => (compared(own(a), own(b)), None),
            _ => one,
        },
        _ => one,
    }
}

/// What the function's first form takes first.
fn overload(sizes: &Estimate<'_>, id: u64) -> &'static str {
    let fitting = sizes.checked.overloads.get(&id);
    fitting
        .and_then(|fitting| fitting.first())
        .map(|overload| overload.first())
        .unwrap_or_default()
}

/// Two values are compared as far as the smaller one goes.
fn compared(a: Range, b: Range) -> Range {
    let max = a.max.min(b.max);
    Range {
        min: u64::from(max > 0),
        max,
    }
    .at(CHARACTER)
}

fn converted(sizes: &Estimate<'_>, call: &CallExpr, from: &IdedExpr) -> (Range, Option<Range>) {
    let size = sizes.size(from);
    let to_bytes = call.func_name == "bytes";
    match sizes.typed(from) {
        Some(Type::Plain("string")) if to_bytes => (
            size.at(CHARACTER),
            Some(Range {
                min: size.min,
                max: size.max.saturating_mul(4),
            }),
        ),
        Some(Type::Plain("bytes")) if !to_bytes => (
            size.at(CHARACTER),
            Some(Range {
                min: size.min / 4,
                max: size.max,
            }),
        ),
        _ => (Range::of(1), None),
    }
}

/// How long a text is in which each `what` has become `with`.
fn replaced(text: Range, what: Range, with: Range) -> Range {
    let (count, kept) = if what.min == 0 {
        // Nothing stands before and after every character.
        (text.max.saturating_add(1), text.max)
    } else if with.max <= what.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(what.min), 0)
    };
    Range {
        min: 0,
        max: count.saturating_mul(with.max).saturating_add(kept),
    }
}
