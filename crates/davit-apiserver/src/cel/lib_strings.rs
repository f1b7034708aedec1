//! Functions on texts as upstream has them, where the libraries answer otherwise or can be made to fail.

use std::sync::{Arc, LazyLock};

use kube_cel::cel::{
    Context, ExecutionError, FunctionContext, IdedExpr, ResolveResult, Value as Cel,
    extractors::{Arguments, This},
    objects::OptionalValue,
};

use super::{
    conversions::LIBRARY,
    expression::{parse, refused},
    lib_format,
};

/// The most digits that a number is written with.
const PRECISION: usize = 1000;

pub(crate) fn register(context: &mut Context<'_>) {
    type Function = Box<dyn Fn(&mut FunctionContext<'_, '_>) -> ResolveResult + Send + Sync>;
    let format: Function = Box::new(|call| format(call));
    context.add_function::<Function, _>("format", format);
    context.add_function("charAt", char_at);
    context.add_function("format.named", format_named);
    context.add_function("indexOf", index_of);
    context.add_function("lastIndexOf", last_index_of);
    context.add_function("replace", replace);
    context.add_function("split", split);
    context.add_function("substring", substring);
}

fn out_of_range(function: &str, at: i64) -> ExecutionError {
    refused(function, format!("index out of range: {at}"))
}

fn text(text: impl Into<String>) -> Cel {
    Cel::String(Arc::new(text.into()))
}

/// The place of a number of characters, also that behind the last one.
fn place(function: &str, of: &str, count: i64) -> Result<usize, ExecutionError> {
    let places = of.char_indices().map(|(place, _)| place).chain([of.len()]);
    let count = usize::try_from(count).map_err(|_| out_of_range(function, count))?;
    places
        .clone()
        .nth(count)
        .ok_or_else(|| refused(function, format!("index out of range: {count}")))
}

fn char_at(This(whole): This<Arc<String>>, at: i64) -> ResolveResult {
    let rest = whole.get(place("charAt", &whole, at)?..).unwrap_or_default();
    Ok(text(rest.chars().next().map(String::from).unwrap_or_default()))
}

fn substring(This(whole): This<Arc<String>>, Arguments(bounds): Arguments) -> ResolveResult {
    let (start, end) = match bounds.as_slice() {
        [Cel::Int(start)] => (*start, None),
        [Cel::Int(start), Cel::Int(end)] => (*start, Some(*end)),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    if let Some(end) = end.filter(|end| start > *end) {
        let why = format!("invalid substring range. start: {start}, end: {end}");
        return Err(refused("substring", why));
    }
    let from = place("substring", &whole, start)?;
    let to = end.map_or(Ok(whole.len()), |end| place("substring", &whole, end))?;
    Ok(text(whole.get(from..to).unwrap_or_default()))
}

fn index_of(This(whole): This<Cel>, Arguments(arguments): Arguments) -> ResolveResult {
    match (&whole, arguments.as_slice()) {
        (Cel::List(list), [item]) => Ok(position(list.iter().position(|one| one == item))),
        (Cel::String(whole), [Cel::String(part)]) => index_from(whole, part, 0),
        (Cel::String(whole), [Cel::String(part), Cel::Int(from)]) => index_from(whole, part, *from),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn position(found: Option<usize>) -> Cel {
    Cel::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn index_from(whole: &str, part: &str, from: i64) -> ResolveResult {
    if part.is_empty() {
        return Ok(Cel::Int(from));
    }
    let skipped = usize::try_from(from).map_err(|_| out_of_range("indexOf", from))?;
    let found = whole.char_indices().nth(skipped).and_then(|(begin, _)| {
        let rest = whole.get(begin..)?;
        let before = rest.get(..rest.find(part)?)?;
        Some(skipped + before.chars().count())
    });
    Ok(position(found))
}

fn last_index_of(This(whole): This<Cel>, Arguments(arguments): Arguments) -> ResolveResult {
    match (&whole, arguments.as_slice()) {
        (Cel::List(list), [item]) => Ok(position(list.iter().rposition(|one| one == item))),
        (Cel::String(whole), [Cel::String(part)]) => {
            let found = whole.rfind(&**part).and_then(|at| whole.get(..at));
            Ok(position(found.map(|before| before.chars().count())))
        }
        (Cel::String(_), [Cel::String(part), Cel::Int(last)]) if part.is_empty() => Ok(Cel::Int(*last)),
        (Cel::String(whole), [Cel::String(part), Cel::Int(last)]) => {
            let count = usize::try_from(*last).map_err(|_| out_of_range("lastIndexOf", *last))?;
            // The part begins there at the latest; it may end behind it.
            let found = whole.char_indices().nth(count).and_then(|(begin, _)| {
                let end = begin.saturating_add(part.len()).min(whole.len());
                let end = (end..=whole.len()).find(|end| whole.is_char_boundary(*end))?;
                let mut before = whole.get(..end)?.rmatch_indices(&**part).map(|(at, _)| at);
                let at = before.find(|at| *at <= begin)?;
                Some(whole.get(..at)?.chars().count())
            });
            Ok(position(found))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so the interpreter calls it")]
fn split(
    This(whole): This<Arc<String>>,
    between: Arc<String>,
    Arguments(arguments): Arguments,
) -> ResolveResult {
    let most = match arguments.as_slice() {
        [_] => usize::MAX,
        // None is any number.
        [_, Cel::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let parts: Vec<Cel> = if most == 0 {
        Vec::new()
    } else if between.is_empty() {
        let mut begins = whole.char_indices().map(|(begin, _)| begin);
        let begins: Vec<usize> = begins.by_ref().take(most).collect();
        let ends = begins.iter().skip(1).copied().chain([whole.len()]);
        let parts = begins.iter().zip(ends);
        parts
            .map(|(begin, end)| text(whole.get(*begin..end).unwrap_or_default()))
            .collect()
    } else {
        whole.splitn(most, &**between).map(text).collect()
    };
    Ok(Cel::List(Arc::new(parts)))
}

#[expect(clippy::needless_pass_by_value, reason = "so the interpreter calls it")]
fn replace(
    This(whole): This<Arc<String>>,
    what: Arc<String>,
    with: Arc<String>,
    Arguments(arguments): Arguments,
) -> ResolveResult {
    let replaced = match arguments.as_slice() {
        [_, _] => whole.replace(&**what, &with),
        // None is any number.
        [_, _, Cel::Int(most)] => {
            let most = usize::try_from(*most).unwrap_or(usize::MAX);
            whole.replacen(&**what, &with, most)
        }
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(text(replaced))
}

/// A format by its name, if there is one.
fn format_named(name: Arc<String>) -> ResolveResult {
    static CALL: LazyLock<Option<IdedExpr>> = LazyLock::new(|| parse("format.named(name)").ok());
    let call = CALL.as_ref().ok_or(ExecutionError::NoSuchOverload)?;
    let mut scope = LIBRARY.new_inner_scope();
    scope.add_variable_from_value("name", Cel::String(name));
    let found = match Cel::resolve(call, &scope)? {
        Cel::Null => OptionalValue::none(),
        format => OptionalValue::of(format),
    };
    Ok(Cel::Opaque(Arc::new(found)))
}

/// The library's own, for the numbers of digits that it can write.
fn format(call: &FunctionContext<'_, '_>) -> ResolveResult {
    static CALL: LazyLock<Option<IdedExpr>> = LazyLock::new(|| parse("text.format(arguments)").ok());
    let (Some(Cel::String(text)), [arguments]) = (&call.this, call.args) else {
        return Err(ExecutionError::NoSuchOverload);
    };
    for clause in text.split("%.").skip(1) {
        let digits = clause.find(|c: char| !c.is_ascii_digit()).unwrap_or(clause.len());
        let precision = clause.get(..digits).unwrap_or_default();
        if !precision.is_empty() && !precision.parse::<usize>().is_ok_and(|digits| digits <= PRECISION) {
            let why = format!("error while parsing precision: {precision} is more than {PRECISION}");
            return Err(refused("format", why));
        }
    }
    let arguments = Cel::resolve(arguments, call.ptx)?;
    let mut scope = LIBRARY.new_inner_scope();
    scope.add_variable_from_value("text", Cel::String(text.clone()));
    scope.add_variable_from_value("arguments", lib_format::arguments(text, arguments));
    match &*CALL {
        Some(format) => Cel::resolve(format, &scope),
        None => Err(ExecutionError::NoSuchOverload),
    }
}

#[cfg(test)]
mod tests {
    use crate::cel::evaluation::tests::say;

    #[test]
    fn texts() {
        let rows = [
            ("'héllo'.charAt(1) == 'é' && 'a'.charAt(1) == ''", "true"),
            ("'a'.charAt(2)", "index out of range: 2"),
            ("'a'.charAt(-1)", "index out of range: -1"),
            (
                "'héllo'.substring(1) == 'éllo' && 'héllo'.substring(1, 2) == 'é' && 'a'.substring(1) == ''",
                "true",
            ),
            (
                "'abc'.substring(2, 1)",
                "invalid substring range. start: 2, end: 1",
            ),
            ("'abc'.substring(1, 4)", "index out of range: 4"),
            ("'abc'.substring(4)", "index out of range: 4"),
            (
                "'héllo'.indexOf('l') == 2 && 'héllo'.indexOf('l', 3) == 3 && 'héllo'.indexOf('l', 9) == -1",
                "true",
            ),
            (
                "'a'.indexOf('', 7) == 7 && ['a', 'b'].indexOf('b') == 1 && [1].indexOf(2) == -1",
                "true",
            ),
            ("'a'.indexOf('a', -1)", "index out of range: -1"),
            (
                "'héllo'.lastIndexOf('l') == 3 && 'héllo'.lastIndexOf('l', 2) == 2 && 'a'.lastIndexOf('') == 1",
                "true",
            ),
            (
                "'abab'.lastIndexOf('ab', 2) == 2 && 'abab'.lastIndexOf('ab', 1) == 0 && 'aé'.lastIndexOf('é', 9) == -1",
                "true",
            ),
            (
                "'éé'.lastIndexOf('a', 1) == -1 && 'aaa'.lastIndexOf('aa', 1) == 1 && [1, 1].lastIndexOf(1) == 1",
                "true",
            ),
            ("'a'.lastIndexOf('a', -1)", "index out of range: -1"),
            (
                "'héllo'.split('', 2) == ['h', 'éllo'] && 'a,b'.split(',') == ['a', 'b']",
                "true",
            ),
            (
                "'a,b'.split(',', 0) == [] && 'a,b'.split(',', -1).size() == 2 && ''.split('') == []",
                "true",
            ),
            (
                "'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 0) == 'aaa' && 'aaa'.replace('a', 'b', -1) == 'bbb'",
                "true",
            ),
            (
                "format.named('uuid').hasValue() && !format.named('none').hasValue()",
                "true",
            ),
            (
                "'%s %% %.1f %s %s'.format([timestamp(1), 0.5, int, b'a']) == '1970-01-01T00:00:01Z % 0.5 int a'",
                "true",
            ),
            (
                "'%s'.format([[duration('1s'), 'a\\n', 1.5, 2u, null, int]]) == '[duration(\"1s\"), \"a\\\\n\", 1.500000, 2, null, int]'",
                "true",
            ),
            (
                "'%s'.format([{'b': [true], 'a': b'x', 'c': {1: 2}}]) == '{\"a\":b\"x\", \"b\":[true], \"c\":{1:2}}'",
                "true",
            ),
            ("'%x %x'.format([b'abc', 'a']) == '616263 61'", "true"),
            ("'%.2f %s'.format([1.5, 'a']) == '1.50 a'", "true"),
            ("'%.99999f'.format([1.5])", "is more than 1000"),
            ("'%%.99999f%.'.format([1.5])", "format"),
        ];
        say(&rows);
    }
}
