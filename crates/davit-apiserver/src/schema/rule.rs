//! A rule of a schema, as it stands there.

use std::sync::OnceLock;

use kube_cel::cel::IdedExpr;
use serde_json::{Map, Value};

use crate::field::Cause;

/// One rule; its expressions are parsed when it first runs, so that an unused schema costs nothing.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) source: Box<str>,
    pub(crate) message: Box<str>,
    pub(crate) message_source: Box<str>,
    pub(crate) reason: Cause,
    /// The path below the rule's own place that an error names; empty for the place itself.
    pub(crate) field_path: Box<str>,
    pub(crate) optional_old_self: bool,
    pub(crate) parsed: OnceLock<Parsed>,
}

/// The expressions of a rule.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) program: Result<IdedExpr, Box<str>>,
    pub(crate) message: Option<IdedExpr>,
    pub(crate) uses_old_self: bool,
}

impl Rule {
    /// The rules at one place of a schema.
    pub(crate) fn compile_all(schema: &Map<String, Value>) -> Box<[Self]> {
        let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
        rules
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(|rule| Self::compile(rule, schema))
            .collect()
    }

    fn compile(rule: &Map<String, Value>, schema: &Map<String, Value>) -> Self {
        let string = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            source: string("rule").trim().into(),
            message: string("message").trim().into(),
            message_source: string("messageExpression").into(),
            reason: match string("reason") {
                "FieldValueForbidden" => Cause::Forbidden,
                "FieldValueRequired" => Cause::Required,
                "FieldValueDuplicate" => Cause::Duplicate,
                _ => Cause::Invalid,
            },
            field_path: super::rule_path::normalize(string("fieldPath"), schema)
                .unwrap_or_default()
                .into(),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true),
            parsed: OnceLock::new(),
        }
    }

    /// What stands for the rule in a message.
    pub(crate) fn named(&self) -> &str {
        if self.message.is_empty() {
            &self.source
        } else {
            &self.message
        }
    }
}
