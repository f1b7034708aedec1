//! Whether the rules of one place of a schema may stand there, and can be read.

use serde_json::{Map, Value};

use super::{Scope, list, string};
use crate::apiserver::field::{FieldError, child, index};
use crate::apiserver::schema::{cel, rule_path};

/// Checks `x-kubernetes-validations` of `schema`, which stands at `path`.
pub(super) fn rules(schema: &Map<String, Value>, path: &str, scope: Scope<'_>, errors: &mut Vec<FieldError>) {
    const REASONS: [&str; 4] = [
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    for (at, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let at = index(&child(path, "x-kubernetes-validations"), at);
        let Some(rule) = rule.as_object() else { continue };
        let text = string(rule, "rule").trim();
        let message = string(rule, "message");
        let place = |name: &str| child(&at, name);
        if text.is_empty() {
            errors.push(FieldError::required(&place("rule"), "rule is not specified"));
            continue;
        }
        if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(
                &place("message"),
                &Value::from(message),
                "must be non-empty if specified",
            ));
        } else if message.trim().contains(['\n', '\r']) {
            errors.push(FieldError::invalid(
                &place("message"),
                &Value::from(message),
                "must not contain line breaks",
            ));
        } else if text.contains(['\n', '\r']) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(&place("message"), detail));
        }
        if let Some(reason) = rule
            .get("reason")
            .filter(|reason| !REASONS.contains(&reason.as_str().unwrap_or_default()))
        {
            errors.push(FieldError::not_supported(&place("reason"), reason, REASONS));
        }
        let field_path = string(rule, "fieldPath");
        if !field_path.is_empty() && rule_path::normalize(field_path, schema).is_none() {
            errors.push(FieldError::invalid(
                &place("fieldPath"),
                &Value::from(field_path),
                "must be a valid path",
            ));
        }
        let whole = Value::Object(rule.clone());
        match cel::parse(text) {
            Err(reason) => {
                let detail = format!("compilation failed: {reason}");
                errors.push(FieldError::invalid(&place("rule"), &whole, &detail));
            }
            Ok(program) => transition(&program, rule, &at, scope, errors),
        }
        let message_expression = string(rule, "messageExpression");
        if !message_expression.is_empty()
            && let Err(reason) = cel::parse(message_expression)
        {
            let detail = format!("messageExpression compilation failed: {reason}");
            errors.push(FieldError::invalid(&place("messageExpression"), &whole, &detail));
        }
    }
}

fn transition(
    program: &kube::core::cel::cel::IdedExpr,
    rule: &Map<String, Value>,
    path: &str,
    scope: Scope<'_>,
    errors: &mut Vec<FieldError>,
) {
    let uses_old_self = program.references().has_variable("oldSelf");
    if let (true, Some(list)) = (uses_old_self, scope.uncorrelated) {
        let detail =
            format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        errors.push(FieldError::invalid(
            &child(path, "rule"),
            &Value::from(string(rule, "rule")),
            &detail,
        ));
    }
    if let (false, Some(optional)) = (uses_old_self, rule.get("optionalOldSelf")) {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(
            &child(path, "optionalOldSelf"),
            optional,
            detail,
        ));
    }
}
