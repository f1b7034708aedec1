//! What a call costs beside its arguments, and how large what it gives is.

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use super::sizes::{Range, Sizes};
use crate::cel::{functions::Overload, types::Type};

/// The price of looking at one character.
const CHARACTER: f64 = 0.1;
/// The price of one character of a regular expression.
const PATTERN: f64 = 0.25;

/// A list that a call makes costs as much as one that is written.
const LIST: u64 = 10;

/// The cost of the call itself, in one form of the function, and the size of its result where that is known.
#[expect(clippy::too_many_lines, reason = "a table: a function a row")]
pub(crate) fn price(
    sizes: &impl Sizes,
    call: &CallExpr,
    target: Option<&IdedExpr>,
    overload: &Overload,
) -> (Range, Option<Range>) {
    let one = (Range::of(1), None);
    let own = |expression: &IdedExpr| sizes.size(expression);
    let read = |text: &IdedExpr| own(text).at(CHARACTER);
    let name = call.func_name.as_str();
    match (name, target, call.args.as_slice()) {
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(list), _) => {
            let item = match sizes.typed(list) {
                Some(Type::List(item)) => &**item,
                Some(Type::Map(key, _)) => &**key,
                _ => return (read(list), None),
            };
            let mut each = Range::of(1);
            if matches!(item, Type::Plain("string" | "bytes")) {
                each = each.plus(sizes.item_size(list).at(CHARACTER));
            }
            (own(list).times(each), None)
        }
        ("url", None, [text]) | ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
            (read(text), Some(own(text)))
        }
        ("ip", Some(_), _) if overload.first() == "net.CIDR" => one,
        ("isCanonical", None, [text]) => (own(text).at(2.0 * CHARACTER), None),
        (
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
            None,
            [text, ..],
        )
        | ("format", Some(text), _)
        | ("startsWith" | "endsWith", Some(_), [text]) => (read(text), None),
        ("containsIP", Some(_), [other]) => {
            let mut cost = ADDRESS.plus(ADDRESS).at(CHARACTER);
            if overload.last() == "string" {
                cost = cost.plus(read(other));
            }
            (cost, None)
        }
        ("containsCIDR", Some(_), [other]) => {
            let mut cost = ADDRESS.plus(ADDRESS).at(CHARACTER);
            cost = cost.plus(ADDRESS.at(CHARACTER)).plus(Range::of(1));
            if overload.last() == "string" {
                cost = cost.plus(read(other));
            }
            (cost, None)
        }
        ("validate", Some(_), [text]) => (read(text).at(128.0 * PATTERN), None),
        ("replace", Some(text), [what, with, ..]) => {
            let size = own(text);
            (
                size.at(2.0 * CHARACTER),
                Some(replaced(size, own(what), own(with))),
            )
        }
        ("split", Some(text), arguments) => {
            let size = own(text);
            let max = arguments
                .get(1)
                .and_then(literal)
                .map_or(size.max, i64::cast_unsigned);
            (size.at(2.0 * CHARACTER), Some(Range { min: 0, max }))
        }
        ("join", Some(list), arguments) => {
            let count = own(list);
            let mut size = count.times(sizes.item_size(list));
            if let Some(between) = arguments.first() {
                let gaps = Range {
                    min: count.min.saturating_sub(1),
                    max: count.max.saturating_sub(1),
                };
                size = size.plus(own(between).times(gaps));
            }
            (size.at(CHARACTER), Some(size))
        }
        ("find" | "findAll", Some(text), [pattern, ..]) => {
            let size = own(text);
            let cost = size
                .plus(Range::of(1))
                .at(CHARACTER)
                .times(own(pattern).at(PATTERN));
            let found = Range {
                min: 0,
                max: size.max,
            };
            (cost, Some(found))
        }
        ("matches", Some(text), [pattern]) => {
            let text = own(text).plus(Range::of(1)).at(CHARACTER);
            (text.times(own(pattern).at(PATTERN)), None)
        }
        ("sort", Some(list), []) => made(sorting(overload.first()), own(list).times(own(list))),
        ("@sortByAssociatedKeys", Some(_), [keys]) => {
            made(sorting(overload.last()), own(keys).times(own(keys)))
        }
        ("distinct", Some(list), []) => made(2.0, own(list).times(own(list))),
        ("reverse", Some(list), []) => made(1.0, own(list)),
        #[expect(clippy::cast_precision_loss, reason = "as upstream computes it")]
        ("flatten", Some(list), depth) => {
            let depth = depth.first().map_or(1, |depth| whole(depth, u64::MAX));
            made(depth as f64, own(list))
        }
        ("slice", Some(list), [start, end]) => {
            let (start, end) = (whole(start, 0), whole(end, own(list).max));
            // As upstream has it: a slice that ends before it begins is of the largest size there is.
            made(1.0, Range::of(end.wrapping_sub(start)))
        }
        ("range", None, [count]) => made(1.0, Range::of(whole(count, u64::MAX))),
        ("contains" | "intersects" | "equivalent", None, [a, b]) => {
            // Every item of the one with every item of the other; equal sets are looked at from both sides.
            let factor = if name == "equivalent" { 2.0 } else { 1.0 };
            (own(a).times(own(b)).at(factor).plus(Range::of(1)), None)
        }
        ("contains", Some(text), [part]) => (read(text).times(read(part)), None),
        ("quote", None, [text]) => {
            let size = own(text);
            let quoted = Range {
                min: size.min.saturating_add(2),
                max: size.max.saturating_mul(2).saturating_add(2),
            };
            (size.at(CHARACTER), Some(quoted))
        }
        ("bytes", None, [from]) if overload.first() == "string" => {
            let size = own(from);
            let max = size.max.saturating_mul(4);
            (size.at(CHARACTER), Some(Range { min: size.min, max }))
        }
        ("string", None, [from]) if overload.first() == "bytes" => {
            let size = own(from);
            let min = size.min / 4;
            (size.at(CHARACTER), Some(Range { min, max: size.max }))
        }
        (operators::IN, None, [_, list]) if overload.last() == "list<A>" => (own(list), None),
        (operators::ADD, None, [a, b]) => match overload.first() {
            "string" | "bytes" => {
                let size = own(a).plus(own(b));
                (size.at(CHARACTER), Some(size))
            }
            first if first.starts_with("list") => (Range::of(1), Some(own(a).plus(own(b)))),
            _ => one,
        },
        (operators::EQUALS, None, [a, b]) => match (sizes.typed(a), sizes.typed(b)) {
            (Some(Type::Plain(a)), Some(Type::Plain(b))) if a == b && a.contains('.') => match *a {
                "kubernetes.NamedFormat" => (Range { min: 1, max: 64 }.at(CHARACTER), None),
                // The size of the right one stands for both.
                "kubernetes.URL" => {
                    let max = call
                        .args
                        .get(1)
                        .and_then(|url| sizes.known(url))
                        .map_or(1, |size| size.max);
                    (Range { min: 1, max }.at(CHARACTER), None)
                }
                _ => one,
            },
            _ => (compared(own(a), own(b)), None),
        },
        (operators::NOT_EQUALS, None, [a, b]) => (compared(own(a), own(b)), None),
        (
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
            None,
            [a, b],
        ) if matches!(overload.first(), "string" | "bytes") => (compared(own(a), own(b)), None),
        _ => one,
    }
}

/// The bytes of an address.
const ADDRESS: Range = Range { min: 4, max: 16 };

/// A list that is made at that price an item.
fn made(price: f64, size: Range) -> (Range, Option<Range>) {
    (size.at(price).plus(Range::of(1 + LIST)), Some(size))
}

/// What it costs to compare two items of such a list.
fn sorting(list: &str) -> f64 {
    match list {
        "list<string>" | "list<bytes>" => 2.0 + CHARACTER,
        _ => 2.0,
    }
}

/// A number that is written in the rule.
fn literal(expression: &IdedExpr) -> Option<i64> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Int(number)) => Some(*number.inner()),
        _ => None,
    }
}

/// A count that is written in the rule, or what stands for it.
fn whole(expression: &IdedExpr, otherwise: u64) -> u64 {
    literal(expression).map_or(otherwise, |number| u64::try_from(number).unwrap_or(0))
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

/// How long a text is in which each `what` has become `with`.
fn replaced(text: Range, what: Range, with: Range) -> Range {
    // Where nothing is replaced, `with` stands before and after every character.
    let (most, kept) = if what.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if with.max <= what.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(what.min), 0)
    };
    let max = most.saturating_mul(with.max).saturating_add(kept);
    let (least, kept) = if what.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if what.max <= with.min {
        (0, text.min)
    } else {
        (text.min.div_ceil(what.max), 0)
    };
    let min = least.saturating_mul(with.min).saturating_add(kept);
    Range { min, max }
}
