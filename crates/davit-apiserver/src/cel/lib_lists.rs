//! Functions on lists as upstream has them, where the libraries fail otherwise than upstream does, or do not know them.

use std::{cmp::Ordering, mem::discriminant, sync::Arc};

use kube_cel::cel::{
    Context, ExecutionError, ResolveResult, Value as Cel,
    extractors::{Arguments, This},
    objects::OptionalValue,
};

use super::{conversions, expression::refused, macros::SORT_BY_KEYS};

/// The longest list that `lists.range` makes: no rule may cost as much as one more.
const LONGEST: i64 = super::cost::runtime::PER_CALL.cast_signed();

pub(crate) fn register(context: &mut Context<'_>) {
    context.add_function("sort", sort);
    context.add_function(SORT_BY_KEYS, sort_by_keys);
    context.add_function("flatten", flatten);
    context.add_function("lists.range", range);
    context.add_function("optional.unwrap", unwrap);
    context.add_function("slice", slice);
    context.add_function("sum", sum);
    context.add_function("unwrapOpt", unwrap);
}

fn sort(This(list): This<Cel>) -> ResolveResult {
    match list {
        Cel::List(list) => sorted(&list, &list),
        _ => Err(refused("sort", "no such overload: sort")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so the interpreter calls it")]
fn sort_by_keys(This(list): This<Arc<Vec<Cel>>>, keys: Arc<Vec<Cel>>) -> ResolveResult {
    sorted(&list, &keys)
}

/// The items in the order of their keys; of equal ones, in the order they have.
fn sorted(list: &[Cel], keys: &[Cel]) -> ResolveResult {
    if let Some(first) = keys.first() {
        if !matches!(
            first,
            Cel::Int(_)
                | Cel::UInt(_)
                | Cel::Float(_)
                | Cel::Bool(_)
                | Cel::Duration(_)
                | Cel::Timestamp(_)
                | Cel::String(_)
                | Cel::Bytes(_)
        ) {
            return Err(refused("sort", "list elements must be comparable"));
        }
        if keys.iter().any(|key| discriminant(key) != discriminant(first)) {
            return Err(refused("sort", "list elements must have the same type"));
        }
    }
    let mut pairs: Vec<(&Cel, &Cel)> = keys.iter().zip(list).collect();
    pairs.sort_by(|(a, _), (b, _)| match (a, b) {
        // An order for all of them, also for what is no number.
        (Cel::Float(a), Cel::Float(b)) => a.total_cmp(b),
        (a, b) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    });
    Ok(Cel::List(Arc::new(
        pairs.into_iter().map(|(_, item)| item.clone()).collect(),
    )))
}

fn flatten(This(list): This<Arc<Vec<Cel>>>, Arguments(depth): Arguments) -> ResolveResult {
    let depth = match depth.first() {
        None => 1,
        Some(Cel::Int(depth)) => {
            u64::try_from(*depth).map_err(|_| refused("flatten", "level must be non-negative"))?
        }
        Some(_) => return Err(ExecutionError::NoSuchOverload),
    };
    let mut all = Vec::new();
    flat(&list, depth, &mut all);
    Ok(Cel::List(Arc::new(all)))
}

/// No value is so deep that this is.
fn flat(list: &[Cel], depth: u64, all: &mut Vec<Cel>) {
    for item in list {
        match item {
            Cel::List(inner) if depth > 0 => flat(inner, depth - 1, all),
            other => all.push(other.clone()),
        }
    }
}

fn range(count: i64) -> ResolveResult {
    if count > LONGEST {
        return Err(refused(
            "lists.range",
            "operation cancelled: actual cost limit exceeded",
        ));
    }
    Ok(Cel::List(Arc::new((0..count).map(Cel::Int).collect())))
}

fn slice(This(list): This<Arc<Vec<Cel>>>, start: i64, end: i64) -> ResolveResult {
    let why = if start < 0 || end < 0 {
        "negative indexes not supported".to_owned()
    } else if start > end {
        "start index must be less than or equal to end index".to_owned()
    } else {
        format!("list is length {}", list.len())
    };
    let bounds = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match bounds.and_then(|(start, end)| list.get(start..end)) {
        Some(part) => Ok(Cel::List(Arc::new(part.to_vec()))),
        None => Err(refused("slice", format!("cannot slice({start}, {end}), {why}"))),
    }
}

fn sum(This(list): This<Arc<Vec<Cel>>>) -> ResolveResult {
    let mut items = list.iter().cloned();
    let first = items.next().unwrap_or(Cel::Int(0));
    items.try_fold(first, conversions::sum)
}

fn unwrap(This(list): This<Arc<Vec<Cel>>>) -> ResolveResult {
    let mut all = Vec::new();
    for item in list.iter() {
        let optional = <&OptionalValue>::try_from(item)
            .map_err(|_| refused("optional.unwrap", "no such overload: optional.unwrap(list)"))?;
        all.extend(optional.value().cloned());
    }
    Ok(Cel::List(Arc::new(all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::evaluation::tests::say;

    #[test]
    fn lists() {
        let rows = [
            ("[3, 1, 2].sort() == [1, 2, 3]", "true"),
            ("['b', 'a'].sort() == ['a', 'b']", "true"),
            (
                "[double('NaN'), 1.0, double('NaN'), 0.5].sort()[1] == 1.0",
                "true",
            ),
            ("[dyn(1), dyn('a')].sort()", "same type"),
            ("[[1], [2]].sort()", "comparable"),
            ("[[1, 2], [3]].flatten() == [1, 2, 3]", "true"),
            (
                "[dyn(1), dyn([dyn(2), dyn([3])])].flatten(9) == [1, 2, 3]",
                "true",
            ),
            ("[1].flatten(0) == [1]", "true"),
            ("[1].flatten(-1)", "level must be non-negative"),
            ("lists.range(2) == [0, 1] && lists.range(-1) == []", "true"),
            ("lists.range(9223372036854775807)", "cost limit"),
            ("[1, 2].slice(0, 1) == [1] && [1].slice(1, 1) == []", "true"),
            ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"),
            (
                "[1].slice(-1, 2)",
                "cannot slice(-1, 2), negative indexes not supported",
            ),
            (
                "[1].slice(1, 0)",
                "start index must be less than or equal to end index",
            ),
            ("[1, 9223372036854775807].sum()", "Overflow"),
            (
                "[duration('1h'), duration('1m')].sum() == duration('61m')",
                "true",
            ),
            ("[optional.of(1), optional.none()].unwrapOpt() == [1]", "true"),
            ("optional.unwrap([optional.none()]) == []", "true"),
            ("optional.unwrap([1])", "no such overload: optional.unwrap(list)"),
        ];
        say(&rows);
    }

    #[test]
    fn what_is_equal_stays_in_its_order() {
        let many: Vec<Cel> = (0..100).map(Cel::Int).collect();
        let keys: Vec<Cel> = (0..100).map(|at| Cel::Int(at % 3)).collect();
        let Ok(Cel::List(found)) = sorted(&many, &keys) else {
            panic!("a list");
        };
        assert_eq!(found.first(), Some(&Cel::Int(0)));
        assert_eq!(found.get(1), Some(&Cel::Int(3)));
        assert_eq!(found.last(), Some(&Cel::Int(98)));
    }
}
