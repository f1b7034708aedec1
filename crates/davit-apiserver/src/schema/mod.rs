//! Schemas of custom resources: checked when a CRD is written, applied to every object that is read or written.
//!
//! What an object goes through, in upstream's order: [`Schema::prune`], [`Schema::default`], [`Schema::validate`].
//! The texts are upstream's, because people know them and tools match them.

pub(crate) mod correlate;
mod defaults;
pub(crate) mod duration;
mod embedded;
pub(crate) mod formats;
mod json_fields;
pub(crate) mod json_types;
mod lists;
pub(crate) mod node;
mod outcome;
mod prune;
pub(crate) mod rule;
mod rule_path;
mod scalars;
mod structural;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_derived;
mod validate;

use serde_json::Value;

use crate::cel::evaluation;
use crate::field::{Cause, FieldError};
pub(crate) use node::{Additional, ListType, Node};

/// A compiled structural schema; cheap to keep, without descriptions, its rules parsed.
#[derive(Debug)]
pub struct Schema {
    root: Node,
    /// Whether there can be resources inside of the resource.
    embeds: bool,
}

impl Schema {
    /// Compiles an `openAPIV3Schema`, or says what is wrong with it, with paths from the schema's root.
    pub fn compile(open_api_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        Self::compile_at(open_api_v3_schema, "")
    }

    /// As [`Schema::compile`], with paths that begin with `path`, such as
    /// `spec.versions[0].schema.openAPIV3Schema`.
    pub fn compile_at(open_api_v3_schema: &Value, path: &str) -> Result<Self, Vec<FieldError>> {
        let errors = structural::check(open_api_v3_schema, path);
        if !errors.is_empty() {
            return Err(errors);
        }
        let schema = Self::trusted(open_api_v3_schema);
        let mut errors = Vec::new();
        defaults::check(&schema.root, path, &mut errors);
        if errors.is_empty() {
            Ok(schema)
        } else {
            Err(errors)
        }
    }

    /// Compiles a schema that was checked before, such as one from the store; what is unknown in it is ignored.
    pub fn trusted(open_api_v3_schema: &Value) -> Self {
        let root = open_api_v3_schema
            .as_object()
            .map(Node::compile)
            .unwrap_or_default();
        let embeds = embedded::any(&root);
        Self { root, embeds }
    }

    /// Removes fields that the schema does not know and returns their paths, sorted, as upstream writes them in
    /// `unknown field "spec.foo"`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(object, &self.root)
    }

    /// Reads the metadata of resources inside of the resource as its type has it, and returns the paths of what the
    /// type does not know; the error names a value that does not fit.
    pub fn coerce(&self, object: &mut Value) -> Result<Vec<String>, String> {
        if self.embeds {
            embedded::coerce(&self.root, object)
        } else {
            Ok(Vec::new())
        }
    }

    /// Removes nulls that stand for "not set" and fills in defaults.
    pub fn default(&self, object: &mut Value) {
        defaults::apply(object, &self.root);
    }

    /// Everything that is wrong with `new`; what is unchanged from `old` is not reported again.
    ///
    /// Metadata is not looked at. Rules in CEL run only where the types are right, because they could not be
    /// evaluated otherwise.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate::validate(&self.root, new, old);
        if self.embeds {
            errors.extend(embedded::validate(&self.root, new));
        }
        if old.is_none_or(|old| lists::duplicates(&self.root, old).is_empty()) {
            errors.extend(lists::duplicates(&self.root, new));
        }
        if self.root.ruled {
            if errors.iter().any(|error| blocks_rules(error.reason)) {
                let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
                errors.push(FieldError::invalid("", &Value::Null, detail));
            } else {
                errors.extend(evaluation::validate(&self.root, new, old));
            }
        }
        errors
    }

    /// The schema's tree, for those that need to know which lists and maps are one value.
    pub(crate) const fn root(&self) -> &Node {
        &self.root
    }
}

const fn blocks_rules(reason: Cause) -> bool {
    matches!(
        reason,
        Cause::NotSupported | Cause::Required | Cause::TooLong | Cause::TooMany | Cause::TypeInvalid
    )
}
