//! `metadata`: its rules on create and on update.

pub mod decode;

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    field::FieldError,
    registry::builtin::Builtin,
    status::{ApiError, ApiResult},
};

/// The finalizer of an owner whose dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner whose dependents stay.
pub const ORPHAN: &str = "orphan";
/// The finalizer of a namespace that goes when the namespace has been emptied.
pub const NAMESPACE_FINALIZER: &str = "kubernetes";

/// What has no fields.
static NONE: LazyLock<Fields> = LazyLock::new(Fields::new);

/// The fields of an object; none of what is not one.
pub fn fields(object: &Value) -> &Fields {
    object.as_object().unwrap_or(&NONE)
}

/// An object as a map: what handlers work on.
pub type Fields = Map<String, Value>;

#[allow(
    clippy::unwrap_used,
    reason = "the patterns are literals, and the tests use every one"
)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE_FMT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

static SUBDOMAIN: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{SUBDOMAIN_FMT}$")));
static LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{LABEL_FMT}$")));
static LABEL_1035: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{LABEL_1035_FMT}$")));
static QUALIFIED: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{QUALIFIED_FMT}$")));
static LABEL_VALUE: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{VALUE_FMT}$")));

/// How many bytes all annotations of an object may have together.
const ANNOTATION_BYTES: usize = 256 << 10;

fn dns_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push("must be no more than 253 characters".to_owned());
    }
    if !SUBDOMAIN.is_match(name) {
        wrong.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{SUBDOMAIN_FMT}')"
        ));
    }
    wrong
}

fn dns_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if name.contains('.') {
        wrong.push("must not contain dots".to_owned());
    } else if !LABEL.is_match(name) {
        wrong.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '{LABEL_FMT}')"
        ));
    }
    wrong
}

/// What is wrong with a name that must begin with a letter and be a label.
pub fn dns_1035_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !LABEL_1035.is_match(name) {
        wrong.push(format!(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '{LABEL_1035_FMT}')"
        ));
    }
    wrong
}

fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%']
        .iter()
        .filter(|c| name.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

/// What is wrong with a text as the value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !LABEL_VALUE.is_match(text) {
        wrong.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
             regex used for validation is '{VALUE_FMT}')"
        ));
    }
    wrong
}

/// What is wrong with a text as a qualified name; `called` is what it is called where it has two slashes.
fn qualified_name(name: &str, called: &str) -> Vec<String> {
    let (prefix, local) = match name.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a {called} must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                 validation is '{QUALIFIED_FMT}') with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
        Some((prefix, local)) => (Some(prefix), local),
        None => (None, name),
    };
    let mut wrong = Vec::new();
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            wrong.push("prefix part must be non-empty".to_owned());
        } else {
            wrong.extend(
                dns_subdomain(prefix)
                    .into_iter()
                    .map(|text| format!("prefix part {text}")),
            );
        }
    }
    if local.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if local.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    if !QUALIFIED.is_match(local) {
        wrong.push(format!(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '{QUALIFIED_FMT}')"
        ));
    }
    wrong
}

fn name_rules(builtin: Builtin) -> fn(&str) -> Vec<String> {
    match builtin {
        Builtin::Namespace => dns_label,
        Builtin::Service => dns_1035_label,
        Builtin::Role | Builtin::RoleBinding | Builtin::ClusterRole | Builtin::ClusterRoleBinding => {
            path_segment
        }
        _ => dns_subdomain,
    }
}

/// What is wrong with the metadata of any object.
pub fn validate(metadata: &Fields, builtin: Builtin) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(metadata, name_rules(builtin), &mut errors);
    if builtin != Builtin::Custom {
        for (index, finalizer) in finalizers(metadata).into_iter().enumerate() {
            errors.extend(plain_finalizer("metadata.finalizers", index, &finalizer));
        }
    }
    errors
}

/// Whether a finalizer is one of Kubernetes' own or has a path, by which others are told apart.
fn is_somebodys(finalizer: &str) -> bool {
    matches!(finalizer, NAMESPACE_FINALIZER | ORPHAN | FOREGROUND) || finalizer.contains('/')
}

/// What is wrong with a finalizer of a built-in kind that has no domain.
pub fn plain_finalizer(field: &str, index: usize, finalizer: &str) -> Option<FieldError> {
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    (!is_somebodys(finalizer))
        .then(|| FieldError::invalid(&format!("{field}[{index}]"), &finalizer.into(), why))
}

/// What a custom resource is warned of: finalizers that are new and might be anybody's.
pub fn finalizer_warnings(new: &Fields, old: Option<&Fields>) -> Vec<String> {
    let before = old.map(|old| finalizers(of(old))).unwrap_or_default();
    let mut added = finalizers(of(new));
    added.retain(|name| !before.contains(name));
    added.sort();
    added.dedup();
    added
        .into_iter()
        .filter(|name| !is_somebodys(name))
        .map(|name| {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            format!(
                "metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name{path} to avoid accidental \
                 conflicts with other finalizer writers"
            )
        })
        .collect()
}

/// What is wrong with the metadata of a resource inside of another, which need not have a name.
pub fn validate_embedded(metadata: &Fields) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut metadata = metadata.clone();
    metadata.entry("name").or_insert_with(|| "fakename".into());
    check(&metadata, path_segment, &mut errors);
    let owners = metadata.get("managedFields").and_then(Value::as_array);
    for (at, owner) in owners.into_iter().flatten().enumerate() {
        let operation = owner.get("operation").and_then(Value::as_str).unwrap_or_default();
        if !matches!(operation, "Apply" | "Update") {
            let field = format!("metadata.managedFields[{at}].operation");
            let why = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid(&field, &operation.into(), why));
        }
    }
    let namespace = metadata.get("namespace").and_then(Value::as_str);
    for why in namespace.into_iter().flat_map(dns_label) {
        let value = namespace.unwrap_or_default().into();
        errors.push(FieldError::invalid("metadata.namespace", &value, &why));
    }
    errors
}

fn check(metadata: &Fields, rules: fn(&str) -> Vec<String>, errors: &mut Vec<FieldError>) {
    let string = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let generate = string("generateName");
    if !generate.is_empty() {
        // The random end makes a trailing dash or dot a good one.
        for why in rules(&format!("{}a", generate.trim_end_matches('-'))) {
            errors.push(FieldError::invalid(
                "metadata.generateName",
                &generate.into(),
                &why,
            ));
        }
    }
    let name = string("name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        for why in rules(name) {
            errors.push(FieldError::invalid("metadata.name", &name.into(), &why));
        }
    }
    for (key, value) in metadata
        .get("labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for why in qualified_name(key, "valid label key") {
            errors.push(FieldError::invalid("metadata.labels", &key.as_str().into(), &why));
        }
        let text = value.as_str().unwrap_or_default();
        for why in label_value(text) {
            errors.push(FieldError::invalid("metadata.labels", value, &why));
        }
    }
    let mut bytes = 0;
    for (key, value) in metadata
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for why in qualified_name(&key.to_lowercase(), "qualified name") {
            errors.push(FieldError::invalid(
                "metadata.annotations",
                &key.as_str().into(),
                &why,
            ));
        }
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATION_BYTES {
        errors.push(FieldError::too_long(
            "metadata.annotations",
            ANNOTATION_BYTES as u64,
        ));
    }
    owner_references(metadata, errors);
    let all = finalizers(metadata);
    if [ORPHAN, FOREGROUND]
        .iter()
        .all(|policy| all.iter().any(|name| name == policy))
    {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            &all.clone().into(),
            why,
        ));
    }
    for finalizer in all {
        for why in qualified_name(&finalizer, "qualified name") {
            let value = finalizer.as_str().into();
            errors.push(FieldError::invalid("metadata.finalizers", &value, &why));
        }
    }
}

fn owner_references(metadata: &Fields, errors: &mut Vec<FieldError>) {
    let owners = metadata.get("ownerReferences").and_then(Value::as_array);
    let mut controller: Option<String> = None;
    for owner in owners.into_iter().flatten() {
        let string = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        for (key, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if string(key).is_empty() {
                let field = format!("metadata.ownerReferences.{key}");
                errors.push(FieldError::invalid(&field, &"".into(), why));
            }
        }
        if (string("apiVersion"), string("kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid("metadata.ownerReferences", owner, why));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let named = format!("{}/{}", string("kind"), string("name"));
            if let Some(first) = controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {named}"
                );
                let all = metadata.get("ownerReferences").cloned().unwrap_or_default();
                errors.push(FieldError::invalid("metadata.ownerReferences", &all, &why));
            }
            controller = Some(named);
        }
    }
}

/// `metadata.finalizers`.
pub fn finalizers(metadata: &Fields) -> Vec<String> {
    let list = metadata.get("finalizers").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// What an update may not change.
pub fn validate_update(new: &mut Fields, old: &Fields) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Upstream passes over what a client says about it.
    if let Some(created) = old.get("creationTimestamp") {
        new.insert("creationTimestamp".into(), created.clone());
    }
    for key in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let empty = new.get(key).is_none_or(|value| value.is_null() || value == "");
        match old.get(key) {
            // Left out means unchanged, so that a client may send only what it knows.
            Some(value) if empty => {
                new.insert(key.into(), value.clone());
            }
            kept => {
                if new.get(key).filter(|value| !value.is_null()) != kept {
                    let value = new.get(key).cloned().unwrap_or_default();
                    errors.push(FieldError::invalid(
                        &format!("metadata.{key}"),
                        &value,
                        "field is immutable",
                    ));
                }
            }
        }
    }
    for key in ["name", "namespace"] {
        if new.get(key) != old.get(key) {
            let value = new.get(key).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(
                &format!("metadata.{key}"),
                &value,
                "field is immutable",
            ));
        }
    }
    if old.contains_key("deletionTimestamp") {
        let before = finalizers(old);
        let added: Vec<String> = finalizers(new)
            .into_iter()
            .filter(|name| !before.contains(name))
            .collect();
        if !added.is_empty() {
            let quoted: Vec<String> = added.iter().map(|name| format!("\"{name}\"")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &why));
        }
    }
    // Upstream looks twice, and its causes say everything twice.
    let again = errors.clone();
    errors.extend(again);
    errors
}

/// The metadata with what its type does not know taken out, and the paths of that.
///
/// A value of a wrong type is a bad request.
pub fn normalise(object: &mut Fields) -> ApiResult<Vec<String>> {
    let given = object.remove("metadata").unwrap_or_else(|| json!({}));
    let given = if given.is_null() { json!({}) } else { given };
    let (mut clean, unknown) = decode::read(&given, "metadata.").map_err(ApiError::bad_request)?;
    clean.remove("selfLink");
    object.insert("metadata".into(), clean.into());
    Ok(unknown
        .into_iter()
        .map(|path| format!("metadata.{path}"))
        .collect())
}

/// The metadata of an object; empty where there is none.
pub fn of(object: &Fields) -> &Fields {
    object.get("metadata").map_or(&*NONE, fields)
}

/// Sets one field of the metadata.
pub fn set(object: &mut Fields, key: &str, value: impl Into<Value>) {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object.insert("metadata".into(), json!({}));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(key.into(), value.into());
    }
}

/// Takes one field of the metadata out.
pub fn remove(object: &mut Fields, key: &str) -> Option<Value> {
    object
        .get_mut("metadata")
        .and_then(Value::as_object_mut)?
        .remove(key)
}

/// Sets the finalizers; none leaves the field out.
pub fn set_finalizers(object: &mut Fields, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        remove(object, "finalizers");
    } else {
        set(object, "finalizers", finalizers);
    }
}

/// A string of the metadata; empty where there is none.
pub fn text<'a>(object: &'a Fields, key: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The present moment as the API writes it, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `base` with five random characters, of an alphabet without vowels, so that no words come out.
pub fn generate_name(base: &str) -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let end = base
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= 58)
        .last()
        .unwrap_or_default();
    let kept = if base.len() > 58 {
        base.get(..end.min(58)).unwrap_or(base)
    } else {
        base
    };
    let mut random = rand::rng();
    let tail: String = (0..5)
        .filter_map(|_| {
            ALPHABET
                .get(random.random_range(0..ALPHABET.len()))
                .copied()
                .map(char::from)
        })
        .collect();
    format!("{kept}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let rows = [
            (Builtin::Secret, "a.b-c", true),
            (Builtin::Secret, "A", false),
            (Builtin::Namespace, "a.b", false),
            (Builtin::Service, "1a", false),
            (Builtin::ClusterRole, "system:node", true),
            (Builtin::ClusterRole, "a/b", false),
        ];
        for (builtin, name, fine) in rows {
            let metadata = json!({"name": name});
            let errors = validate(metadata.as_object().unwrap(), builtin);
            assert_eq!(errors.is_empty(), fine, "{name}: {errors:?}");
        }
    }

    #[test]
    fn labels_and_finalizers() {
        let metadata = json!({"name": "a", "labels": {"a b": "x", "ok": "-"}, "finalizers": ["a/b/c"]});
        let errors = validate(metadata.as_object().unwrap(), Builtin::Custom);
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn generated_names_keep_their_base() {
        assert!(generate_name("shop-").starts_with("shop-"));
        assert_eq!(generate_name("shop-").len(), 10);
        assert_eq!(generate_name(&"a".repeat(80)).len(), 63);
    }
}
