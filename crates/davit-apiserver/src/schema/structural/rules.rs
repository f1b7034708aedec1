//! What a rule says beside its expressions: its message, its reason, the field that it names.

use serde_json::{Map, Value};

use crate::field::{FieldError, child, index};
use crate::schema::{
    json_fields::{list, string},
    rule_path,
};

/// Checks `x-kubernetes-validations` of `schema`, which stands at `path`.
pub(super) fn rules(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
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
        } else if !message.is_empty() && message.trim().is_empty() {
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
        let expression = string(rule, "messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(&place("messageExpression"), detail));
        }
        if let Some(reason) = rule
            .get("reason")
            .filter(|reason| !REASONS.contains(&reason.as_str().unwrap_or_default()))
        {
            errors.push(FieldError::not_supported(&place("reason"), reason, REASONS));
        }
        let field_path = string(rule, "fieldPath");
        let given = Value::from(field_path);
        let mut refuse = |why: &str| errors.push(FieldError::invalid(&place("fieldPath"), &given, why));
        if !field_path.is_empty() && field_path.trim().is_empty() {
            refuse("must be non-empty if specified");
        }
        let broken = field_path.contains(['\n', '\r']);
        if broken {
            refuse("must not contain line breaks");
        }
        if !field_path.is_empty()
            && (broken || rule_path::normalize(field_path, schema).is_none_or(|path| path.is_empty()))
        {
            refuse("must be a valid path");
        }
    }
}
