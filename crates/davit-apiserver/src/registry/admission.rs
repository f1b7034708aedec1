//! From a body to an object that may be stored: what a type does not know goes, defaults come, rules are checked.

use serde_json::{Value, json};

use super::{
    Registry, Resource, Version,
    builtin::{Builtin, lost_fields},
    builtin_strategy, crd, events,
};
use crate::{
    field::FieldError,
    http::{duplicate_fields::DuplicateFields, request::FieldValidation},
    object_meta::{self, Fields},
    status::{ApiError, ApiResult},
};

/// What the rules need to know of a request.
pub struct Scope<'a> {
    pub resource: &'a Resource,
    /// The version in the path.
    pub version: &'a Version,
    pub registry: &'a Registry,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: &'a str,
    /// How unknown fields are treated.
    pub field_validation: FieldValidation,
    /// Whether it is an apply, which has refused undeclared fields already and drops those that are not preserved
    /// without a word, as upstream does.
    pub applied: bool,
    /// Whether the body is a definition that was checked before.
    pub known: bool,
    /// What the body gives more than once.
    pub duplicates: &'a DuplicateFields,
}

impl Scope<'_> {
    fn kind_error(&self, why: &str) -> ApiError {
        let (kind, version) = (&self.resource.names.kind, &self.version.name);
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    }

    /// What is wrong with the metadata, with its place as upstream names it: the metadata of a custom resource is read
    /// by itself.
    fn at_place(&self, why: &str) -> String {
        const WHOLE: &str = "Go value of type v1.ObjectMeta";
        if self.resource.builtin == Builtin::Custom {
            return why.replacen(".metadata.", ".", 1);
        }
        let field = format!(
            "Go struct field {}.metadata of type v1.ObjectMeta",
            self.resource.names.kind
        );
        why.replacen(WHOLE, &field, 1)
    }

    /// 422 with these errors, if there are any.
    pub fn refuse(&self, name: &str, errors: &[FieldError]) -> ApiResult<()> {
        if errors.is_empty() {
            return Ok(());
        }
        // An Event is of the core group, whichever way it comes.
        let group = match self.resource.builtin {
            Builtin::EventsEvent => "",
            _ => self.resource.group.as_str(),
        };
        Err(ApiError::invalid(group, &self.resource.names.kind, name, errors))
    }

    /// Checks kind and apiVersion, takes out what is unknown, fills defaults. The result is in the stored form.
    pub fn normalise(&self, object: &mut Fields, warnings: &mut Vec<String>) -> ApiResult<()> {
        self.check_type(object)?;
        let mut unknown = object_meta::normalise(object)
            .map_err(|error| self.kind_error(&self.at_place(&error.message)))?;
        match self.resource.builtin {
            Builtin::Custom => self.normalise_custom(object, &mut unknown)?,
            builtin => {
                let before = Value::Object(std::mem::take(object));
                let after = builtin
                    .retype(before.clone())
                    .map_err(|why| self.kind_error(&why))?;
                unknown.extend(lost_fields(&before, &after));
                if let Value::Object(after) = after {
                    *object = after;
                }
                if builtin == Builtin::EventsEvent {
                    events::to_core(object);
                }
                builtin_strategy::default(builtin, object);
            }
        }
        object.insert("apiVersion".into(), self.resource.storage_api_version().into());
        if self.resource.builtin != Builtin::Custom {
            unknown.sort();
        }
        unknown.dedup();
        if self.applied {
            unknown.clear();
        }
        match self.field_validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => {
                warnings.extend_from_slice(self.duplicates.warnings());
                warnings.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
            }
            FieldValidation::Strict => {
                let mut faults = self.duplicates.faults();
                faults.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
                if !faults.is_empty() {
                    return Err(self.kind_error(&format!("strict decoding error: {}", faults.join(", "))));
                }
            }
        }
        Ok(())
    }

    fn normalise_custom(&self, object: &mut Fields, unknown: &mut Vec<String>) -> ApiResult<()> {
        let Some(schema) = self.version.schema() else {
            return Ok(());
        };
        let mut value = Value::Object(std::mem::take(object));
        whole_numbers(&mut value);
        unknown.extend(schema.prune(&mut value));
        unknown.extend(schema.coerce(&mut value).map_err(|why| self.kind_error(&why))?);
        schema.default(&mut value);
        if let Value::Object(value) = value {
            *object = value;
        }
        Ok(())
    }

    fn check_type(&self, object: &mut Fields) -> ApiResult<()> {
        let expected = self.resource.api_version(&self.version.name);
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let api_version = object
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if self.resource.builtin == Builtin::Custom && kind.is_empty() {
            let text = Value::Object(object.clone()).to_string();
            let known = &self.resource.names.kind;
            let begin: String = text.chars().take(30).collect();
            let more = if begin.len() < text.len() { " ..." } else { "" };
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {known}): Object 'Kind' is missing in '{text}' \
                 ({begin}{more})"
            )));
        }
        // A built-in kind needs to be named by the path alone.
        let is_named = self.resource.builtin == Builtin::Custom || !api_version.is_empty();
        if is_named && api_version != expected {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )));
        }
        if !kind.is_empty() && kind != self.resource.names.kind {
            let known = &self.resource.names.kind;
            if self.resource.builtin == Builtin::Custom {
                let error = FieldError::invalid("kind", &kind.into(), &format!("must be {known}"));
                let name = object_meta::text(object, "name");
                return Err(ApiError::invalid(&self.resource.group, kind, name, &[error]));
            }
            return Err(ApiError::bad_request(format!(
                "{kind} in version \"{}\" cannot be handled as a {known}: no kind \"{kind}\" is registered here",
                self.version.name
            )));
        }
        object.insert("kind".into(), self.resource.names.kind.clone().into());
        object.insert("apiVersion".into(), expected.into());
        Ok(())
    }

    /// Fills what the server decides about a new object, and checks it.
    pub fn prepare_create(&self, object: &mut Fields) -> ApiResult<()> {
        let now = object_meta::now();
        for key in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "resourceVersion",
        ] {
            object_meta::remove(object, key);
        }
        object_meta::set(object, "uid", uuid::Uuid::new_v4().to_string());
        object_meta::set(object, "creationTimestamp", now.as_str());
        if matches!(self.resource.builtin, Builtin::Custom | Builtin::Crd) {
            object_meta::set(object, "generation", 1);
        }
        match self.resource.builtin {
            Builtin::Custom if self.version.status => {
                object.remove("status");
                self.default_again(object)?;
            }
            Builtin::Crd => {
                object.remove("status");
                let mut value = Value::Object(std::mem::take(object));
                crd::set_status(&mut value, self.registry, &now);
                if let Value::Object(value) = value {
                    *object = value;
                }
            }
            builtin => builtin_strategy::prepare_create(builtin, object),
        }
        let mut errors = object_meta::validate(object_meta::of(object), self.resource.builtin);
        errors.extend(self.validate(object, None));
        self.refuse(object_meta::text(object, "name"), &errors)
    }

    /// Defaults that live in the status come back after it was taken out.
    fn default_again(&self, object: &mut Fields) -> ApiResult<()> {
        self.normalise_custom(object, &mut Vec::new())
    }

    fn validate(&self, object: &mut Fields, old: Option<&Value>) -> Vec<FieldError> {
        if !matches!(self.resource.builtin, Builtin::Custom | Builtin::Crd) {
            return builtin_strategy::validate(self.resource.builtin, object, old.map(object_meta::fields));
        }
        let value = Value::Object(std::mem::take(object));
        let mut errors;
        if self.resource.builtin == Builtin::Crd {
            let written = crd::Written {
                old,
                status: self.subresource == "status",
                known: self.known,
            };
            errors = crd::validate(&value, written);
            if let Some(old) = old {
                errors.extend(crd::validate_update(&value, old));
            }
        } else {
            errors = self
                .version
                .schema()
                .map(|schema| schema.validate(&value, old))
                .unwrap_or_default();
            self.check_scale(&value, &mut errors);
        }
        if let Value::Object(value) = value {
            *object = value;
        }
        errors
    }

    /// The paths that the scale subresource reads must hold counts.
    fn check_scale(&self, value: &Value, errors: &mut Vec<FieldError>) {
        let Some(scale) = &self.version.scale else { return };
        for path in [&scale.spec, &scale.status] {
            let Some(found) = value.pointer(&path.replace('.', "/")) else {
                continue;
            };
            // Upstream asks for an integer and says of what Go type the other thing is.
            if let Value::String(text) = found {
                let why = format!("{path} accessor error: {text} is of the type string, expected int64");
                errors.push(FieldError::invalid(path, &json!(0), &why));
            }
            let most = i64::from(i32::MAX);
            let why = match found.as_i64() {
                Some(count) if count < 0 => "should be a non-negative integer".to_owned(),
                Some(count) if count > most => format!("should be less than or equal to {most}"),
                _ => continue,
            };
            errors.push(FieldError::invalid(path, found, &why));
        }
    }

    /// Puts a new state of an object together with the old one: what this request may not change stays.
    ///
    /// `new` has been normalised; it is complete afterwards, but for its resourceVersion.
    pub fn prepare_update(&self, new: &mut Fields, present: &Value) -> ApiResult<()> {
        let old = object_meta::fields(present);
        let name = object_meta::text(old, "name").to_owned();
        match (self.subresource, self.resource.builtin) {
            ("status", Builtin::Custom) => {
                let (status, managed) = (new.remove("status"), object_meta::remove(new, "managedFields"));
                *new = old
                    .iter()
                    .filter(|(key, _)| *key != "status")
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if let Some(status) = status {
                    new.insert("status".into(), status);
                }
                if let Some(managed) = managed {
                    object_meta::set(new, "managedFields", managed);
                }
            }
            ("status", Builtin::FlowSchema | Builtin::PriorityLevel) => {
                let managed = object_meta::remove(new, "managedFields");
                replace(new, old, "spec");
                replace(new, old, "metadata");
                match managed {
                    Some(managed) => object_meta::set(new, "managedFields", managed),
                    None => drop(object_meta::remove(new, "managedFields")),
                }
            }
            ("status", _) => replace(new, old, "spec"),
            ("", Builtin::Custom) if self.version.status => replace(new, old, "status"),
            ("", Builtin::Namespace | Builtin::Service | Builtin::FlowSchema | Builtin::PriorityLevel)
            | ("finalize", _) => replace(new, old, "status"),
            ("", Builtin::Crd) => {
                replace(new, old, "status");
                let mut value = Value::Object(std::mem::take(new));
                crd::set_status(&mut value, self.registry, &object_meta::now());
                if let Value::Object(value) = value {
                    *new = value;
                }
            }
            _ => {}
        }
        builtin_strategy::prepare_update(self.resource.builtin, self.subresource, new, old);
        self.generation(new, old);
        let mut metadata = match new.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Fields::new(),
        };
        let mut errors = object_meta::validate_update(&mut metadata, object_meta::of(old));
        errors.extend(object_meta::validate(&metadata, self.resource.builtin));
        new.insert("metadata".into(), metadata.into());
        errors.extend(self.validate(new, Some(present)));
        self.refuse(&name, &errors)
    }

    /// The generation counts changes of what the user asks for: everything but metadata and, where it is a
    /// subresource, status.
    fn generation(&self, new: &mut Fields, old: &Fields) {
        let Some(before) = old
            .get("metadata")
            .and_then(|metadata| metadata.get("generation")?.as_i64())
        else {
            object_meta::remove(new, "generation");
            return;
        };
        let changed = match self.resource.builtin {
            Builtin::Custom => {
                let keys: std::collections::BTreeSet<&String> = new.keys().chain(old.keys()).collect();
                keys.into_iter()
                    .filter(|key| !matches!(key.as_str(), "metadata" | "apiVersion" | "kind"))
                    .filter(|key| !(self.version.status && *key == "status"))
                    .any(|key| new.get(key) != old.get(key))
            }
            _ => new.get("spec") != old.get("spec"),
        };
        object_meta::set(new, "generation", before + i64::from(changed));
    }
}

/// Numbers as upstream keeps them: `1.0` is written `1`, and what is too large for 64 bits is a float.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_i64().is_none() => {
            let float = number.as_f64().unwrap_or_default();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "only whole numbers of 53 bits are cast"
            )]
            let plain = if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
                Some((float as i64).into())
            } else {
                serde_json::Number::from_f64(float).map(Value::Number)
            };
            if let Some(plain) = plain {
                *value = plain;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replace(new: &mut Fields, old: &Fields, key: &str) {
    match old.get(key) {
        Some(value) => {
            new.insert(key.into(), value.clone());
        }
        None => {
            new.remove(key);
        }
    }
}

/// Marks an object as being deleted, as upstream does: times, and one more generation.
pub fn mark_deleting(object: &mut Fields, grace: i64) {
    if object_meta::text(object, "deletionTimestamp").is_empty() {
        let generation = object
            .get("metadata")
            .and_then(|metadata| metadata.get("generation")?.as_i64());
        if let Some(generation) = generation {
            object_meta::set(object, "generation", generation + 1);
        }
        object_meta::set(object, "deletionTimestamp", object_meta::now());
    }
    object_meta::set(object, "deletionGracePeriodSeconds", json!(grace));
}
