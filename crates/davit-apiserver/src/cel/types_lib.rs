//! `dyn`, `type`, `bool`, and the names of types, which the interpreter does not bring along.

use std::sync::Arc;

use kube_cel::cel::{
    Context, ExecutionError, ResolveResult, Value as Cel,
    objects::{Opaque, ValueType},
};

use super::functions::TYPES;

/// A type as a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) String);

impl Opaque for Named {
    fn runtime_type_name(&self) -> &'static str {
        "type"
    }
}

/// Adds the functions, and the names as variables.
pub(crate) fn register(context: &mut Context<'_>) {
    context.add_function("bool", bool_of);
    context.add_function("dyn", dynamic);
    context.add_function("type", type_of);
    let dotted = ["google.protobuf.Duration", "google.protobuf.Timestamp"];
    for name in TYPES.into_iter().chain(dotted) {
        context.add_variable_from_value(name, Cel::Opaque(Arc::new(Named(name.to_owned()))));
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so the interpreter calls it")]
fn bool_of(value: Cel) -> ResolveResult {
    let flag = match &value {
        Cel::Bool(flag) => Some(*flag),
        Cel::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.map(Cel::Bool)
        .ok_or_else(|| ExecutionError::function_error("bool", "type conversion error"))
}

/// A value of which the type is looked at only when the rule runs: the value.
#[expect(clippy::unnecessary_wraps, reason = "so the interpreter calls it")]
fn dynamic(value: Cel) -> ResolveResult {
    Ok(value)
}

#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "so the interpreter calls it"
)]
fn type_of(value: Cel) -> ResolveResult {
    let name = match (value.type_of(), &value) {
        (ValueType::Bool, _) => "bool",
        (ValueType::Bytes, _) => "bytes",
        (ValueType::Float, _) => "double",
        (ValueType::Int, _) => "int",
        (ValueType::List, _) => "list",
        (ValueType::Map, _) => "map",
        (ValueType::Null, _) => "null_type",
        (ValueType::String, _) => "string",
        (ValueType::UInt, _) => "uint",
        (ValueType::Duration, _) => "google.protobuf.Duration",
        (ValueType::Timestamp, _) => "google.protobuf.Timestamp",
        (_, Cel::Opaque(opaque)) => opaque.runtime_type_name(),
        _ => "function",
    };
    Ok(Cel::Opaque(Arc::new(Named(name.to_owned()))))
}
