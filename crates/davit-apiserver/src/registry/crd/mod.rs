//! CustomResourceDefinitions: their own rules, their status, and the resources that they define.

mod fields;
mod outline;
mod status;
mod validation;

pub use fields::{established, names};
pub use outline::outline;
pub use status::{Terminating, set_status, set_terminating, waits_for_names};

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::fields::{condition, storage_version, storage_version_name, versions};
use super::{Claim, Names, Resource, Scale, StoredSchema, Version, builtin::Builtin, priority};
use crate::{
    field::FieldError,
    json_pointer::{text, texts},
    schema::Schema,
    store::{GroupResource, Object},
    table::Column,
};

/// The finalizer that holds a CRD until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills what upstream fills: singular, list kind, conversion, the names of a version's columns.
pub fn default(crd: &mut Value) {
    let kind = text(crd, "/spec/names/kind").to_owned();
    if let Some(names) = crd.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        if names
            .get("singular")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            names.insert("singular".into(), kind.to_lowercase().into());
        }
        if names
            .get("listKind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
            && !kind.is_empty()
        {
            names.insert("listKind".into(), format!("{kind}List").into());
        }
    }
    let storage = storage_version_name(crd);
    if let (Some(storage), Some(status)) = (storage, crd.get_mut("status").and_then(Value::as_object_mut)) {
        let stored = status.get("storedVersions").and_then(Value::as_array);
        if stored.is_none_or(Vec::is_empty) {
            status.insert("storedVersions".into(), json!([storage]));
        }
    }
    if let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion")
            .or_insert_with(|| json!({"strategy": "None"}));
    }
}

/// What says that a CRD of a group of Kubernetes' own was reviewed there.
const APPROVED: &str = "api-approved.kubernetes.io";

/// Marks the request for a definition that the program brings along, and whose schemas its tests have checked.
#[derive(Debug, Clone, Copy)]
pub struct Known;

/// How a definition is written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The state before. A schema that stands there was looked at then and is not again: types and costs of its rules
    /// are the dearest of all checks.
    pub old: Option<&'a Value>,
    /// Through the subresource `status`: which versions are stored is not looked at then.
    pub status: bool,
    /// With [`Known`] schemas.
    pub known: bool,
}

/// What is wrong with the definition.
pub fn validate(crd: &Value, written: Written<'_>) -> Vec<FieldError> {
    let new = written.old.is_none();
    let mut errors = Vec::new();
    let (group, plural) = (text(crd, "/spec/group"), text(crd, "/spec/names/plural"));
    let name = text(crd, "/metadata/name");
    if new && name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &name.into(), detail));
    }
    for (field, pointer) in [
        ("spec.group", "/spec/group"),
        ("spec.names.plural", "/spec/names/plural"),
        ("spec.names.singular", "/spec/names/singular"),
        ("spec.names.kind", "/spec/names/kind"),
        ("spec.names.listKind", "/spec/names/listKind"),
    ] {
        if text(crd, pointer).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    validation::group(group, &mut errors);
    let protected = ["k8s.io", "kubernetes.io"];
    let protected = protected.iter().any(|domain| {
        group
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let approval = crd
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(APPROVED)?.as_str());
    if new && protected && approval.unwrap_or_default().is_empty() {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVED}\", see \
             https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.push(FieldError::required(
            &format!("metadata.annotations[{APPROVED}]"),
            &detail,
        ));
    }
    let scope = text(crd, "/spec/scope");
    if !matches!(scope, "Namespaced" | "Cluster") {
        errors.push(if scope.is_empty() {
            FieldError::required("spec.scope", "")
        } else {
            FieldError::not_supported("spec.scope", &scope.into(), ["Cluster", "Namespaced"])
        });
    }
    if let Some(names) = crd.pointer("/spec/names") {
        validation::names(names, &mut errors);
    }
    validate_versions(crd, written, &mut errors);
    if !written.status {
        validation::stored(crd, &mut errors);
    }
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    validation::parts(versions.map_or(&[][..], Vec::as_slice), &mut errors);
    let strategy = text(crd, "/spec/conversion/strategy");
    if strategy != "None" {
        errors.push(FieldError::not_supported(
            "spec.conversion.strategy",
            &strategy.into(),
            ["None"],
        ));
    }
    let preserves = |crd: &Value| crd.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true));
    if preserves(crd) && !written.old.is_some_and(preserves) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            why,
        ));
    }
    errors
}

fn validate_versions(crd: &Value, written: Written<'_>, errors: &mut Vec<FieldError>) {
    let before = written.old.map(versions).unwrap_or_default();
    let versions = versions(crd);
    let (mut names, mut is_unique): (Vec<&str>, bool) = (Vec::new(), true);
    // Where all versions have the same schema, upstream's internal form has one, and its errors name that one.
    let first = versions.first().and_then(|version| version.get("schema"));
    let shared = versions.iter().all(|version| version.get("schema") == first);
    for (index, version) in versions.iter().enumerate() {
        let name = text(version, "/name");
        is_unique &= !names.contains(&name);
        names.push(name);
        let path = format!("spec.versions[{index}]");
        validation::label(&format!("{path}.name"), name, errors);
        validation::deprecation(version, &path, errors);
        let path = if shared {
            "spec.validation.openAPIV3Schema".to_owned()
        } else {
            format!("spec.versions[{index}].schema.openAPIV3Schema")
        };
        match version.pointer("/schema/openAPIV3Schema") {
            None => errors.push(FieldError::required(
                &format!("spec.versions[{index}].schema.openAPIV3Schema"),
                "",
            )),
            Some(schema) if index == 0 || !shared => {
                let seen = written.known
                    || before
                        .iter()
                        .any(|old| old.pointer("/schema/openAPIV3Schema") == Some(schema));
                if !seen && let Err(found) = Schema::compile_at(schema, &path) {
                    errors.extend(found);
                }
            }
            Some(_) => {}
        }
    }
    let storage = versions
        .iter()
        .filter(|version| version.get("storage") == Some(&Value::Bool(true)))
        .count();
    let mut refuse = |why: &str| {
        let shown = validation::internal_versions(versions);
        errors.push(FieldError::invalid_shown("spec.versions", &shown, why));
    };
    if !is_unique {
        refuse("must contain unique version names");
    }
    if storage != 1 {
        refuse("must have exactly one version marked as storage version");
    }
    if let Some(first) = versions.first() {
        validation::label("spec.version", text(first, "/name"), errors);
    }
}

/// The fields that an update may not change.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let established = condition(old, "Established").is_some_and(|status| status == "True");
    let mut fields = vec![("spec.group", "/spec/group")];
    if established {
        fields.push(("spec.scope", "/spec/scope"));
        fields.push(("spec.names.kind", "/spec/names/kind"));
        fields.push(("spec.names.plural", "/spec/names/plural"));
    }
    fields
        .into_iter()
        .filter(|(_, pointer)| new.pointer(pointer) != old.pointer(pointer))
        .map(|(field, pointer)| {
            let value = new.pointer(pointer).cloned().unwrap_or_default();
            FieldError::invalid(field, &value, "field is immutable")
        })
        .collect()
}

/// The names that a CRD has, for others of its group.
pub fn claim(crd: &Value) -> Option<Claim> {
    let (group, plural) = names(crd)?;
    let accepted = |key: &str| text(crd, &format!("/status/acceptedNames/{key}")).to_owned();
    let mut resources = texts(crd, "/status/acceptedNames/shortNames");
    resources.extend([accepted("plural"), accepted("singular")]);
    Some(Claim {
        group: group.to_owned(),
        plural: plural.to_owned(),
        resources,
        kinds: vec![accepted("kind"), accepted("listKind")],
    })
}

/// What tells one state of a definition from another: its uid with the names that it has, and its generation.
pub fn origin(crd: &Value) -> (String, i64) {
    let generation = crd.pointer("/metadata/generation").and_then(Value::as_i64);
    let accepted = crd.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
    (
        format!("{} {accepted}", text(crd, "/metadata/uid")),
        generation.unwrap_or_default(),
    )
}

/// The resource that an established CRD defines; `crd` is the stored definition, parsed.
pub fn resource(stored: &Arc<Object>, crd: &Value) -> Option<Resource> {
    if !established(crd) {
        return None;
    }
    let group = text(crd, "/spec/group").to_owned();
    let names = Names {
        plural: text(crd, "/status/acceptedNames/plural").into(),
        singular: text(crd, "/status/acceptedNames/singular").into(),
        kind: text(crd, "/status/acceptedNames/kind").into(),
        list_kind: text(crd, "/status/acceptedNames/listKind").into(),
        short: texts(crd, "/status/acceptedNames/shortNames"),
        categories: texts(crd, "/status/acceptedNames/categories"),
    };
    let storage = storage_version(crd)?;
    let mut served: Vec<Arc<Version>> = versions(crd)
        .iter()
        .enumerate()
        .map(|(index, version)| {
            let mut made = self::version(version, &group, &names, better(crd, version));
            let schema = version.pointer("/schema/openAPIV3Schema");
            made.defined = schema.map(|_| StoredSchema::new(stored.clone(), index));
            made.converts = version.get("schema") != storage.get("schema");
            Arc::new(made)
        })
        .collect();
    served.sort_by_key(|version| std::cmp::Reverse(priority(&version.name)));
    Some(Resource {
        collection: Arc::new(GroupResource::new(&group, &names.plural)),
        namespaced: text(crd, "/spec/scope") == "Namespaced",
        storage_version: text(storage, "/name").to_owned(),
        versions: served,
        builtin: Builtin::Custom,
        gone: CancellationToken::new(),
        origin: origin(crd),
        since: text(crd, "/metadata/resourceVersion").parse().unwrap_or_default(),
        group,
        names,
    })
}

/// The version to use instead of a deprecated one: the first that is served, newer and not deprecated itself.
fn better<'a>(crd: &'a Value, than: &Value) -> Option<&'a str> {
    let flag = |version: &Value, key: &str| version.get(key).and_then(Value::as_bool).unwrap_or_default();
    versions(crd)
        .iter()
        .filter(|version| flag(version, "served") && !flag(version, "deprecated"))
        .map(|version| text(version, "/name"))
        .filter(|name| priority(name) > priority(text(than, "/name")))
        .max_by_key(|name| priority(name))
}

fn version(version: &Value, group: &str, names: &Names, better: Option<&str>) -> Version {
    let name = text(version, "/name").to_owned();
    let deprecation = version
        .get("deprecated")
        .and_then(Value::as_bool)
        .unwrap_or_default()
        .then(|| match text(version, "/deprecationWarning") {
            "" => {
                let kind = &names.kind;
                let instead = better.map(|better| format!("; use {group}/{better} {kind}"));
                format!(
                    "{group}/{name} {kind} is deprecated{}",
                    instead.unwrap_or_default()
                )
            }
            message => message.to_owned(),
        });
    let scale = version.pointer("/subresources/scale").map(|scale| Scale {
        spec: text(scale, "/specReplicasPath").into(),
        status: text(scale, "/statusReplicasPath").into(),
        selector: scale
            .get("labelSelectorPath")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned),
    });
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
    let selectable = version.get("selectableFields").and_then(Value::as_array);
    Version {
        served: version.get("served").and_then(Value::as_bool).unwrap_or_default(),
        deprecation,
        converts: false,
        defined: None,
        columns: Column::custom(columns.map_or(&[], Vec::as_slice)),
        status: version.pointer("/subresources/status").is_some(),
        scale,
        selectable: selectable
            .into_iter()
            .flatten()
            .map(|field| text(field, "/jsonPath").trim_start_matches('.').to_owned())
            .collect(),
        name,
    }
}
