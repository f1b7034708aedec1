//! Expressions in CEL, read in the dialect that Kubernetes uses.

use kube_cel::cel::{
    ExecutionError, IdedExpr,
    common::ast::{EntryExpr, Expr, IdedEntryExpr},
    parser::Parser,
};

use super::{literals, optionals, positions::shown};

/// The longest expression that is parsed, in bytes, and how deep it may be. Every step of the parser and of the
/// interpreter into an expression takes room on the stack.
const LONGEST: usize = 16 << 10;
const DEEPEST: usize = 250;
/// The stack that parsing takes at the worst.
pub(crate) const PARSING: usize = 64 << 20;

/// Parses an expression of the dialect that Kubernetes uses, with optional fields and indices.
pub(crate) fn parse(source: &str) -> Result<IdedExpr, String> {
    if source.len() > LONGEST {
        return Err(format!("expression code point size exceeds limit: {LONGEST}"));
    }
    // What is too deep goes within as well: to drop it takes as much.
    stacker::maybe_grow(PARSING / 2, PARSING, || {
        let expression = parse_here(source)?;
        if depth(&expression) > DEEPEST {
            return Err(format!("expression recursion limit exceeded: {DEEPEST}"));
        }
        Ok(expression)
    })
}

/// How many expressions stand within each other.
pub(crate) fn depth(expression: &IdedExpr) -> usize {
    let deepest = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(depth).max().unwrap_or(0);
    let entries = |entries: &[IdedEntryExpr]| {
        let of = |entry: &IdedEntryExpr| match &entry.expr {
            EntryExpr::StructField(field) => depth(&field.value),
            EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
        };
        entries.iter().map(of).max().unwrap_or(0)
    };
    1 + match &expression.expr {
        Expr::Call(call) => deepest(&mut call.target.as_deref().into_iter().chain(&call.args)),
        Expr::Comprehension(whole) => deepest(
            &mut [
                &whole.iter_range,
                &whole.accu_init,
                &whole.loop_cond,
                &whole.loop_step,
                &whole.result,
            ]
            .into_iter(),
        ),
        Expr::List(list) => deepest(&mut list.elements.iter()),
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(fields) => entries(&fields.entries),
        Expr::Select(select) => depth(&select.operand),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
    }
}

fn parse_here(source: &str) -> Result<IdedExpr, String> {
    let read = |source: &str| Parser::new().enable_optional_syntax(true).parse(source);
    let mut expression = read(&literals::plain(source)).map_err(|errors| {
        // Places are those of what people wrote.
        let mut errors = read(source).err().unwrap_or(errors).errors;
        errors.sort_by_key(|error| error.pos);
        let texts: Vec<String> = errors
            .iter()
            .map(|error| shown(source, offset(source, error.pos), &error.msg))
            .collect();
        texts.join("\n")
    })?;
    optionals::rewrite(&mut expression);
    Ok(expression)
}

/// The place in the text of a line and a column, both counted from one.
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or_default();
    let column = usize::try_from(column - 1).unwrap_or_default();
    let before: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = source.get(before..).unwrap_or_default();
    let within = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    before + within
}

/// Why a function of ours has no result.
pub(crate) fn refused(function: &str, why: impl ToString) -> ExecutionError {
    ExecutionError::function_error(function, why)
}
