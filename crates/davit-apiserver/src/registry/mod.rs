//! What is served: the built-in resources and those that CRDs define.

pub mod admission;
pub mod builtin;
pub mod builtin_strategy;
pub mod crd;
mod event_rules;
pub mod events;
mod flow_rules;
pub mod go_decode;
mod rbac_rules;
pub mod resources;
mod service_conditions;
pub mod service_rules;
mod stored_schema;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use stored_schema::StoredSchema;

use crate::{
    registry::builtin::Builtin,
    schema::Schema,
    store::{GroupResource, Object},
    table::Column,
};

/// The names of a resource.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Plural, as in the path.
    pub plural: String,
    pub singular: String,
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    pub short: Vec<String>,
    /// Categories such as `all`.
    pub categories: Vec<String>,
}

/// Where the parts of a CRD's scale subresource are.
#[derive(Debug, Clone)]
pub struct Scale {
    /// JSON path of the wanted replicas.
    pub spec: String,
    /// JSON path of the observed replicas.
    pub status: String,
    /// JSON path of the serialised label selector.
    pub selector: Option<String>,
}

/// One version of a resource.
pub struct Version {
    /// Its name, such as `v1`.
    pub name: String,
    /// Whether requests for it are answered.
    pub served: bool,
    /// The warning to give with every answer, if it is deprecated.
    pub deprecation: Option<String>,
    /// The schema in the stored definition; none for built-in kinds, whose types prune, default and validate.
    pub defined: Option<Arc<StoredSchema>>,
    /// Whether the schema is another than the stored version's, so that objects lose fields on their way.
    pub converts: bool,
    /// Columns of tables beside the name.
    pub columns: Vec<Column>,
    /// Whether there is a status subresource.
    pub status: bool,
    pub scale: Option<Scale>,
    /// Field paths that field selectors may use beside name and namespace.
    pub selectable: Vec<String>,
}

impl Version {
    /// What prunes, defaults and validates; none for built-in kinds.
    pub fn schema(&self) -> Option<Arc<Schema>> {
        self.defined.as_ref().map(StoredSchema::compiled)
    }
}

pub struct Resource {
    /// API group; empty for core.
    pub group: String,
    pub names: Names,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// The versions, the preferred one first.
    pub versions: Vec<Arc<Version>>,
    /// The version that is written.
    pub storage_version: String,
    /// Where its objects are stored.
    pub collection: Arc<GroupResource>,
    /// What is particular about it.
    pub builtin: Builtin,
    /// Cancelled when the resource is no longer served: its watches end then.
    pub gone: CancellationToken,
    /// Of a CRD: its uid and generation, by which a change is noticed.
    pub origin: (String, i64),
    /// Of a CRD: the revision of its last write. What is older was written under another schema, perhaps, and gets
    /// its defaults when it is read.
    pub since: u64,
}

impl Resource {
    /// Group and plural name, as messages call it.
    pub fn gr(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.names.plural)
    }

    /// `group/version`, or only the version in the core group.
    pub fn api_version(&self, version: &str) -> String {
        api_version(&self.group, version)
    }

    /// The `apiVersion` under which objects are stored.
    pub fn storage_api_version(&self) -> String {
        api_version(&self.collection.group, &self.storage_version)
    }

    /// A stored object in that version. One that is older than the definition is what today's schema of the version
    /// in which it was written makes of it: pruned, and with its defaults. What `version` does not know is left out.
    pub fn in_version(&self, object: &Object, version: &Version) -> Map<String, Value> {
        let mut fields = object.value();
        if object.revision < self.since {
            // The definition is newer than the object: what is stored is of the version in which it was written.
            let written = fields.get("apiVersion").and_then(Value::as_str);
            let written = written.map(|text| text.rsplit_once('/').map_or(text, |(_, name)| name));
            let mut versions = self.versions.iter();
            let written = versions.find(|known| written == Some(&known.name)).cloned();
            let Some(written) = written.or_else(|| self.stored()) else {
                return fields;
            };
            through(&written, &mut fields, |schema, value| {
                schema.prune(value);
                schema.default(value);
            });
            if written.name != version.name {
                through(version, &mut fields, |schema, value| {
                    schema.prune(value);
                });
            }
        } else if version.converts {
            through(version, &mut fields, |schema, value| {
                schema.prune(value);
            });
        }
        fields
    }

    /// What is stored of an object that was written in that version.
    pub fn to_stored(&self, mut fields: Map<String, Value>, version: &Version) -> Map<String, Value> {
        if version.converts
            && let Some(stored) = self.stored()
        {
            through(&stored, &mut fields, |schema, value| {
                schema.prune(value);
                schema.default(value);
            });
        }
        fields
    }

    /// The version that is stored, served or not.
    fn stored(&self) -> Option<Arc<Version>> {
        let mut versions = self.versions.iter();
        versions
            .find(|version| version.name == self.storage_version)
            .cloned()
    }

    /// The served version of that name.
    pub fn version(&self, name: &str) -> Option<Arc<Version>> {
        self.versions
            .iter()
            .find(|version| version.served && version.name == name)
            .cloned()
    }

    /// The verbs, as discovery lists them.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.builtin.is_review() {
            &["create"]
        } else if self.builtin == Builtin::Namespace {
            &["create", "delete", "get", "list", "patch", "update", "watch"]
        } else if self.builtin == Builtin::Custom {
            &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ]
        } else {
            &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ]
        }
    }
}

fn through(version: &Version, fields: &mut Map<String, Value>, change: impl Fn(&Schema, &mut Value)) {
    if let Some(schema) = version.schema() {
        let mut value = Value::Object(std::mem::take(fields));
        change(&schema, &mut value);
        if let Value::Object(changed) = value {
            *fields = changed;
        }
    }
}

/// `group/version`, or only the version in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Everything that is served at one moment.
#[derive(Default, Clone)]
pub struct Registry {
    resources: BTreeMap<(String, String), Arc<Resource>>,
    claims: Vec<Claim>,
}

/// The names that a CRD has been given in its group, whether it is served or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub group: String,
    /// The plural name that the CRD asks for: in the group it tells CRDs apart.
    pub plural: String,
    /// Plural, singular and short names.
    pub resources: Vec<String>,
    /// Kind and list kind.
    pub kinds: Vec<String>,
}

impl Registry {
    /// The registry of these resources.
    pub fn new(resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let resources = resources
            .into_iter()
            .map(|resource| ((resource.group.clone(), resource.names.plural.clone()), resource))
            .collect();
        Self {
            resources,
            claims: Vec::new(),
        }
    }

    /// The same with the names that CRDs have.
    pub fn with_claims(self, claims: Vec<Claim>) -> Self {
        Self { claims, ..self }
    }

    /// The names that other CRDs of the group have than the one with this plural name.
    pub fn claims<'a>(&'a self, group: &'a str, plural: &'a str) -> impl Iterator<Item = &'a Claim> {
        let claims = self.claims.iter();
        claims.filter(move |claim| claim.group == group && claim.plural != plural)
    }

    /// The resource of that group and plural name.
    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The resource of that group and kind.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources
            .values()
            .find(|resource| resource.group == group && resource.names.kind == kind)
    }

    /// All resources by group and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// Each group with its served versions, the preferred one first; core first, then by name.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in self.resources.values() {
            let versions = groups.entry(resource.group.clone()).or_default();
            for version in resource.versions.iter().filter(|version| version.served) {
                if !versions.contains(&version.name) {
                    versions.push(version.name.clone());
                }
            }
        }
        let mut groups: Vec<_> = groups
            .into_iter()
            .filter(|(_, versions)| !versions.is_empty())
            .collect();
        for (_, versions) in &mut groups {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        }
        groups
    }

    /// Whether the group is served in that version.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.resources
            .values()
            .any(|resource| resource.group == group && resource.version(version).is_some())
    }
}

/// What orders versions: v10 > v2 > v1 > v11beta2 > v10beta3 > v1alpha1 > anything else, as upstream does it.
pub fn priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let other = (0, 0, 0, std::cmp::Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else {
        return other;
    };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (major, rest) = rest.split_at_checked(digits).unwrap_or((rest, ""));
    let Ok(major) = major.parse() else { return other };
    let (stage, minor) = match rest {
        "" => (3, ""),
        rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return other,
        },
    };
    match (stage, minor.parse()) {
        (3, _) => (3, major, 0, std::cmp::Reverse(String::new())),
        (stage, Ok(minor)) => (stage, major, minor, std::cmp::Reverse(String::new())),
        (_, Err(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_upstream_does() {
        let wanted = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "foo1",
            "foo10",
        ];
        let mut versions = wanted;
        versions.sort_unstable();
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, wanted);
    }
}
