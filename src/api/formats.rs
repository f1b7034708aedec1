//! Formats of strings: the CRD checks each with a rule that states the correct form, in place of a pattern, whose message
//! would be a regular expression.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, ValidationRule};

/// A length of time.
pub(super) const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";
/// An amount (the pattern of controller-gen).
pub(super) const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// An amount of storage.
pub(super) const STORAGE: &str = r"^[1-9][0-9]*([KMGTPE]i?)?$";

/// Each pattern of the types with its correct form.
const FORMS: &[(&str, &str)] = &[
    (DURATION, "must be a duration such as 90s, 5m or 1h30m"),
    (
        QUANTITY,
        "must be a quantity: write cpu as 500m, 1 or 1.5, and memory as 128Mi or 1G",
    ),
    (STORAGE, "must be an amount of storage such as 10Gi"),
    (
        r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
        "must be the name of an environment variable: letters, digits, _, - and ., not beginning with a digit",
    ),
    (
        r"^([0-9a-f]{40}|(sha256:)?[0-9a-f]{64})$",
        "must be a full commit hash (40 or 64 lower-case hexadecimal digits) or a digest (sha256: and 64 of them)",
    ),
    (
        r"^([0-9a-f]{40}|[0-9a-f]{64})$",
        "must be a full commit hash: 40 or 64 lower-case hexadecimal digits",
    ),
    (
        r"^sha256:[0-9a-f]{64}$",
        "must be the digest of an upload, as davit drop prints it: sha256: and 64 lower-case hexadecimal digits",
    ),
    (r"^[0-9A-Za-z.+-]+$", "must be a version such as 0.37.0"),
    (
        r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
        "must be a repository with its registry and without a tag, such as registry.example.com/team/shop",
    ),
    (
        r"^https?://[^\s]+$",
        "must be the address of the forge as in a browser, such as https://git.example.com",
    ),
    (
        r"^/[^:\s]+$",
        "must be an absolute path without colon and white space, such as /data",
    ),
    (
        r"^/[^\s]*$",
        "must be an absolute path without white space, such as /healthz",
    ),
    (
        r"^/[^\s$]*$",
        "must be an absolute path without white space and $, such as /usr/share/nginx/html",
    ),
    (
        r"^[A-Za-z0-9]+([._-]+[A-Za-z0-9]+|[:@/][A-Za-z0-9]+)*$",
        "must be an image reference without scheme and variables, such as nginx:1.27 or registry.example.com/team/shop:2",
    ),
    (
        r"^[.]{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        "must be the name of a repository without its owner: letters, digits, -, _ and .",
    ),
    (
        r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        "must be the name of a user or an organization: letters, digits, -, _ and .",
    ),
    (
        r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        "must be the name of a stage: letters, digits, _, . and -, beginning with a letter or digit",
    ),
    (
        r"^[^-\s][^\s]*$",
        "must be an image reference such as nginx:1.27 or registry.example.com/team/shop:2",
    ),
    (
        r"^[^\s~^:?*\[\\]+$",
        "must be the name of a branch or tag, such as main or v1.2.0",
    ),
    (
        r"^([0-9]+|[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+)$",
        "must be the path of a project with its groups, such as acme/web/shop, or its number in quotes",
    ),
    (
        r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$",
        "must be the path of a group, such as acme/web",
    ),
    (
        r"^[A-Za-z0-9_-]+$",
        "must be the ID of a workspace as in its address: letters, digits, _ and -",
    ),
    (
        r"^[^\s:@]+@[^\s:@]+$",
        "must be an e-mail address such as jane@example.com",
    ),
    (
        r"^(\*\.)?[^\x00-,/:-@\[-`{-\x7f]+$",
        "must be a host name without scheme, port and path, such as shop.example.com, or *.example.com",
    ),
    (
        r"^/[A-Za-z0-9._~!$&()*+,;=:@/-]*$",
        "must be a path without % and quotes, such as /shop",
    ),
    (
        r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$",
        "must be the name of a certificate resolver, such as letsencrypt",
    ),
    (
        r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[a-z]+)?$",
        "must be the name of a middleware with its provider, such as compress@file",
    ),
    (
        r"^[ -~]+$",
        "must be a regular expression of printable ASCII characters",
    ),
    (r"^[!-~]+$", "must be a URL of ASCII characters without spaces"),
    (
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        "must be lower-case letters, digits and -, beginning and ending with a letter or digit",
    ),
];

/// Replaces the schema's pattern by a rule with the correct form, and guards the rules of its fields.
pub(super) fn explain(schema: &mut JSONSchemaProps) {
    let form = schema
        .pattern
        .as_deref()
        .and_then(|pattern| FORMS.iter().find(|(known, _)| *known == pattern));
    if let Some((pattern, form)) = form {
        schema.pattern = None;
        let matches = matches("self", pattern);
        let rule = if schema.x_kubernetes_int_or_string == Some(true) {
            format!("type(self) == int || {matches}")
        } else {
            matches
        };
        schema.x_kubernetes_validations.get_or_insert_default().insert(
            0,
            ValidationRule {
                rule,
                message: Some((*form).to_owned()),
                reason: Some("FieldValueInvalid".to_owned()),
                ..ValidationRule::default()
            },
        );
    }
    for rule in schema.x_kubernetes_validations.iter_mut().flatten() {
        if let Some(guard) = guard(&rule.rule) {
            rule.rule = format!("{guard} || ({})", rule.rule);
        }
    }
}

/// Returns the condition under which a rule cannot read the durations that it names: that is reported by their own rule.
fn guard(rule: &str) -> Option<String> {
    let mut fields: Vec<&str> = rule
        .split("duration(self.")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    fields.sort_unstable();
    fields.dedup();
    let unreadable = |field: &&str| {
        let matches = matches(&format!("self.{field}"), DURATION);
        format!("(has(self.{field}) && !{matches})")
    };
    (!fields.is_empty()).then(|| fields.iter().map(unreadable).collect::<Vec<_>>().join(" || "))
}

fn matches(what: &str, pattern: &str) -> String {
    format!(
        "{what}.matches('{}')",
        pattern.replace('\\', r"\\").replace('\'', r"\'")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_used_and_no_pattern_is_left() {
        let crds = serde_json::to_string(&crate::api::crds()).unwrap();
        // The ID of a GitHub App may be a number, which kube's own evaluation of rules does not tell from a string.
        let crds = crds.replace(r#""pattern":"^[A-Za-z0-9._-]+$""#, "");
        assert!(!crds.contains(r#""pattern":"#), "a pattern has no form");
        for (_, form) in FORMS {
            assert!(crds.contains(form), "{form} is not used");
        }
    }
}
