//! `x-kubernetes-validations`: rules in CEL, parsed once with the schema and run on every write.

use std::sync::{Arc, LazyLock};

use kube_cel::{
    KubeCelExt as _,
    cel::{Context, ExecutionError, IdedExpr, Value as Cel, objects::OptionalValue},
};
use serde_json::Value;

use super::{
    comprehensions, conversions,
    cost::runtime,
    expression::{PARSING, depth, parse},
    lib_lists, lib_strings, lib_time, list_semantics, types_lib, value,
};
use crate::field::{Cause, FieldError, child, index, key};
use crate::schema::{
    correlate,
    json_types::Types,
    node::{Additional, Node},
    rule::{Parsed, Rule},
};

/// The standard functions and Kubernetes' libraries, registered once for the process.
pub(crate) fn functions() -> &'static Context<'static> {
    static FUNCTIONS: LazyLock<Context<'static>> = LazyLock::new(|| {
        let mut context = Context::default().with_all();
        conversions::register(&mut context);
        types_lib::register(&mut context);
        comprehensions::register(&mut context);
        list_semantics::register(&mut context);
        lib_lists::register(&mut context);
        lib_strings::register(&mut context);
        lib_time::register(&mut context);
        context
    });
    &FUNCTIONS
}

/// The stack that running takes for each level of an expression.
const LEVEL: usize = 32 << 10;

/// Puts an expression about values of `node` in the words that the interpreter and the functions here know.
fn runnable(expression: &mut IdedExpr, node: &Node) {
    stacker::maybe_grow(PARSING / 2, PARSING, || {
        list_semantics::rewrite(expression, node);
        comprehensions::rewrite(expression);
    });
}

/// Runs an expression where there is stack enough for it: nearly always here.
fn resolve(expression: &IdedExpr, context: &Context<'_>) -> Result<Cel, ExecutionError> {
    let wanted = depth(expression) * LEVEL;
    stacker::maybe_grow(wanted, 2 * wanted, || Cel::resolve(expression, context))
}

impl Rule {
    /// The expressions, about values of `node`.
    fn parsed(&self, node: &Node) -> &Parsed {
        self.parsed.get_or_init(|| {
            let mut program: Result<IdedExpr, Box<str>> = parse(&self.source).map_err(Into::into);
            let uses_old_self = program
                .as_ref()
                .is_ok_and(|program| program.references().has_variable("oldSelf"));
            if let Ok(program) = &mut program {
                runnable(program, node);
            }
            let mut message = Some(&self.message_source)
                .filter(|source| !source.is_empty())
                .and_then(|source| parse(source).ok());
            if let Some(message) = &mut message {
                runnable(message, node);
            }
            Parsed {
                program,
                message,
                uses_old_self,
            }
        })
    }

    fn detail(&self, node: &Node, context: &Context<'_>, known: Known<'_>, report: &mut Report) -> String {
        let computed = self.parsed(node).message.as_ref().and_then(|expression| {
            report.charge(runtime::bound(expression, &known)).ok()?;
            match resolve(expression, context) {
                Ok(Cel::String(text)) => Some(text.trim().to_owned()),
                _ => None,
            }
        });
        // What upstream refuses as a message falls back to the static one.
        match computed.filter(|text| !text.is_empty() && text.len() <= 5 << 10 && !text.contains('\n')) {
            Some(text) => text,
            None if self.message.is_empty() => format!("failed rule: {}", self.source),
            None => self.message.to_string(),
        }
    }
}

/// The values of a rule's variables.
type Known<'a> = [(&'static str, &'a Value); 2];

/// What was found so far, and how much may still be spent on finding more.
struct Report {
    errors: Vec<FieldError>,
    /// `None` after a limit was exceeded: no further rule is run.
    left: Option<u64>,
}

/// Which cost limit was exceeded: that of one rule, or that of the object.
enum OverBudget {
    Call,
    All,
}

impl Report {
    fn charge(&mut self, cost: u64) -> Result<(), OverBudget> {
        if cost > runtime::PER_CALL {
            return Err(OverBudget::Call);
        }
        match self.left.and_then(|left| left.checked_sub(cost)) {
            Some(left) => {
                self.left = Some(left);
                Ok(())
            }
            None => Err(OverBudget::All),
        }
    }
}

/// Where a value stands relative to the object that it replaces.
#[derive(Clone, Copy)]
struct Origin<'a> {
    /// The old value of this very place.
    old: Option<&'a Value>,
    /// The nearest place, here or above, that has an old value, with both values.
    anchor: Option<(&'a Value, &'a Value)>,
}

impl<'a> Origin<'a> {
    fn below(self, value: &'a Value, old: Option<&'a Value>) -> Self {
        Self {
            old,
            anchor: old.map(|old| (old, value)).or(self.anchor),
        }
    }

    /// An error that was there before this write is not this write's.
    fn unchanged(self) -> bool {
        self.anchor.is_some_and(|(old, new)| old == new)
    }
}

/// Runs every rule of the schema that the value reaches.
pub(crate) fn validate(root: &Node, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut report = Report {
        errors: Vec::new(),
        left: Some(runtime::PER_OBJECT),
    };
    if root.ruled {
        let origin = Origin {
            old,
            anchor: old.map(|old| (old, value)),
        };
        visit(root, root, value, origin, "", true, &mut report);
    }
    report.errors
}

/// `rules` has the rules and `node` the types: they differ inside `allOf`.
fn visit<'a>(
    rules: &Node,
    node: &Node,
    value: &'a Value,
    origin: Origin<'a>,
    path: &str,
    resource: bool,
    report: &mut Report,
) {
    if value.is_null() || !rules.ruled || report.left.is_none() {
        return;
    }
    run(rules, node, value, origin, path, resource, report);
    for branch in rules.checks.iter().flat_map(|checks| &checks.all_of) {
        visit(branch, node, value, origin, path, resource, report);
    }
    match value {
        Value::Object(map) => {
            for (name, field) in map {
                let old = correlate::field(origin.old, name);
                let below = if path.is_empty() && correlate::is_type_meta(name) {
                    Origin { old, anchor: None }
                } else {
                    origin.below(field, old)
                };
                match (rules.property(name), &rules.additional) {
                    (Some(sub), _) => {
                        let shape = node.field(name).unwrap_or(sub);
                        visit(
                            sub,
                            shape,
                            field,
                            below,
                            &child(path, name),
                            shape.embedded,
                            report,
                        );
                    }
                    (None, Additional::Schema(sub)) => {
                        let shape = node.field(name).unwrap_or(sub);
                        visit(sub, shape, field, below, &key(path, name), shape.embedded, report);
                    }
                    (None, Additional::Absent | Additional::Denied | Additional::Any) => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(sub) = rules.items.as_deref().filter(|items| items.ruled) {
                let shape = node.items.as_deref().unwrap_or(sub);
                for (at, item) in list.iter().enumerate() {
                    let below = origin.below(item, correlate::item(node, origin.old, item));
                    visit(sub, shape, item, below, &index(path, at), shape.embedded, report);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn run(
    rules: &Node,
    node: &Node,
    value: &Value,
    origin: Origin<'_>,
    path: &str,
    resource: bool,
    report: &mut Report,
) {
    if rules.rules.is_empty() {
        return;
    }
    let old = origin.old.filter(|old| !old.is_null());
    let old_cel = old
        .filter(|_| rules.rules.iter().any(|rule| rule.parsed(node).uses_old_self))
        .map(|old| value::convert(old, node, resource));
    let mut context = functions().new_inner_scope();
    context.add_variable_from_value("self", value::convert(value, node, resource));
    if let Some(old) = &old_cel {
        context.add_variable_from_value("oldSelf", old.clone());
    }
    let optional = rules.rules.iter().any(|rule| rule.optional_old_self).then(|| {
        let mut optional = context.new_inner_scope();
        let wrapped = old_cel
            .clone()
            .map_or_else(OptionalValue::none, OptionalValue::of);
        optional.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(wrapped)));
        optional
    });
    for rule in &rules.rules {
        // A transition rule needs something to compare with.
        if rule.parsed(node).uses_old_self && old.is_none() && !rule.optional_old_self {
            continue;
        }
        let scope = optional
            .as_ref()
            .filter(|_| rule.optional_old_self)
            .unwrap_or(&context);
        let known = [("self", value), ("oldSelf", old.unwrap_or(&Value::Null))];
        if let Ok(program) = &rule.parsed(node).program
            && let Err(dear) = report.charge(runtime::bound(program, &known))
        {
            let detail = match dear {
                OverBudget::Call => format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.named()
                ),
                OverBudget::All => "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned(),
            };
            let typed = Value::from(node.types.names());
            report.errors.push(FieldError::invalid(path, &typed, &detail));
            report.left = None;
            return;
        }
        if let Some(error) = check(rule, node, value, scope, path, known, report)
            && (rule.parsed(node).uses_old_self || !origin.unchanged())
        {
            report.errors.push(error);
        }
    }
}

fn check(
    rule: &Rule,
    node: &Node,
    value: &Value,
    scope: &Context<'_>,
    path: &str,
    known: Known<'_>,
    report: &mut Report,
) -> Option<FieldError> {
    let typed = Value::from(node.types.names());
    let program = match &rule.parsed(node).program {
        Ok(program) => program,
        Err(reason) => {
            return Some(FieldError::invalid(
                path,
                &typed,
                &format!("rule compile error: {reason}"),
            ));
        }
    };
    match resolve(program, scope) {
        Ok(Cel::Bool(true)) => None,
        Ok(_) => {
            let place = if rule.field_path.is_empty() {
                path.to_owned()
            } else {
                child(path, &rule.field_path)
            };
            let detail = rule.detail(node, scope, known, report);
            let omitted = node.types == Types::OBJECT || node.types == Types::ARRAY;
            Some(match rule.reason {
                Cause::Forbidden => FieldError::forbidden(&place, &detail),
                Cause::Required => FieldError::required(&place, &detail),
                Cause::Duplicate if omitted => FieldError::duplicate_omitted(&place),
                Cause::Duplicate => FieldError::duplicate(&place, value),
                _ if omitted => FieldError::invalid_omitted(&place, &detail),
                _ => FieldError::invalid(&place, value, &detail),
            })
        }
        Err(error) => Some(FieldError::invalid(path, &typed, &failure(&error, rule.named()))),
    }
}

fn failure(error: &ExecutionError, rule: &str) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key} evaluating rule: {rule}"),
        ExecutionError::NoSuchOverload
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedBinaryOperator(..) => no_overload("no such overload", rule),
        ExecutionError::DivisionByZero(_) => format!("division by zero evaluating rule: {rule}"),
        ExecutionError::RemainderByZero(_) => format!("modulus by zero evaluating rule: {rule}"),
        ExecutionError::Overflow(_, Cel::UInt(_), _) => {
            format!("unsigned integer overflow evaluating rule: {rule}")
        }
        ExecutionError::Overflow(_, Cel::Timestamp(_), _) => {
            format!("timestamp overflow evaluating rule: {rule}")
        }
        ExecutionError::Overflow(..) => format!("integer overflow evaluating rule: {rule}"),
        ExecutionError::IndexOutOfBounds(Cel::Int(at)) => {
            format!("index out of bounds: {at} evaluating rule: {rule}")
        }
        ExecutionError::FunctionError { message, .. } if message.starts_with("no such overload") => {
            no_overload(message, rule)
        }
        ExecutionError::FunctionError { message, .. } => format!("{message} evaluating rule: {rule}"),
        other => format!("{other} evaluating rule: {rule}"),
    }
}

fn no_overload(what: &str, rule: &str) -> String {
    format!(
        "'{what}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Cel, functions, parse};

    /// Runs expressions: each gives `true` or `false`, or an error that says what stands beside it.
    pub(crate) fn say(rows: &[(&str, &str)]) {
        for (source, wanted) in rows {
            let found = Cel::resolve(&parse(source).unwrap(), functions());
            let shown = match &found {
                Ok(Cel::Bool(flag)) => flag.to_string(),
                other => format!("{other:?}"),
            };
            assert!(shown.contains(wanted), "{source}: {shown}");
        }
    }
}
