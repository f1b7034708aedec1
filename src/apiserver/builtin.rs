//! The resources that are there without a CRD, and what is particular about each.

use std::sync::Arc;

use k8s_openapi::api::{
    authentication::v1::{SelfSubjectReview, TokenReview},
    authorization::v1::{
        LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    },
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace, Secret, Service, ServiceAccount},
    events::v1::Event as EventsEvent,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    registry::{Names, Resource, Version},
    store::GroupResource,
    table::builtin_columns,
};

/// Which rules hold for a resource beyond those of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// Defined by a CRD.
    Custom,
    /// core/v1 Namespace.
    Namespace,
    /// core/v1 Secret.
    Secret,
    /// core/v1 ConfigMap.
    ConfigMap,
    /// core/v1 Event.
    Event,
    /// events.k8s.io/v1 Event: the same objects under other names.
    EventsEvent,
    /// core/v1 ServiceAccount.
    ServiceAccount,
    /// core/v1 Service.
    Service,
    /// coordination.k8s.io/v1 Lease.
    Lease,
    /// apiextensions.k8s.io/v1 CustomResourceDefinition.
    Crd,
    /// rbac.authorization.k8s.io/v1 Role.
    Role,
    /// rbac.authorization.k8s.io/v1 RoleBinding.
    RoleBinding,
    /// rbac.authorization.k8s.io/v1 ClusterRole.
    ClusterRole,
    /// rbac.authorization.k8s.io/v1 ClusterRoleBinding.
    ClusterRoleBinding,
    /// authorization.k8s.io/v1 SelfSubjectAccessReview.
    SelfAccessReview,
    /// authorization.k8s.io/v1 SelfSubjectRulesReview.
    SelfRulesReview,
    /// authorization.k8s.io/v1 SubjectAccessReview.
    AccessReview,
    /// authorization.k8s.io/v1 LocalSubjectAccessReview.
    LocalAccessReview,
    /// authentication.k8s.io/v1 TokenReview.
    TokenReview,
    /// authentication.k8s.io/v1 SelfSubjectReview.
    SelfReview,
}

impl Builtin {
    /// Whether it is only ever created, never stored.
    pub fn is_review(self) -> bool {
        matches!(
            self,
            Self::SelfAccessReview
                | Self::SelfRulesReview
                | Self::AccessReview
                | Self::LocalAccessReview
                | Self::TokenReview
                | Self::SelfReview
        )
    }

    /// Whether a body without a resourceVersion may replace whatever is there.
    pub fn unconditional_update(self) -> bool {
        !matches!(self, Self::Custom | Self::Crd | Self::Lease)
    }

    /// Whether an update of what is not there creates it.
    pub fn create_on_update(self) -> bool {
        matches!(
            self,
            Self::Event
                | Self::EventsEvent
                | Self::Lease
                | Self::Role
                | Self::RoleBinding
                | Self::ClusterRole
                | Self::ClusterRoleBinding
                | Self::Service
        )
    }

    /// Reads the body as the type and writes it again: what the type does not know is gone.
    ///
    /// The error says what does not fit.
    pub fn retype(self, value: Value) -> Result<Value, String> {
        match self {
            Self::Custom => Ok(value),
            Self::Namespace => through::<Namespace>(value),
            Self::Secret => through::<Secret>(value),
            Self::ConfigMap => through::<ConfigMap>(value),
            Self::Event => through::<Event>(value),
            Self::EventsEvent => through::<EventsEvent>(value),
            Self::ServiceAccount => through::<ServiceAccount>(value),
            Self::Service => through::<Service>(value),
            Self::Lease => through::<Lease>(value),
            Self::Crd => through::<CustomResourceDefinition>(value).map(whole_numbers),
            Self::Role => through::<Role>(value),
            Self::RoleBinding => through::<RoleBinding>(value),
            Self::ClusterRole => through::<ClusterRole>(value),
            Self::ClusterRoleBinding => through::<ClusterRoleBinding>(value),
            Self::SelfAccessReview => through::<SelfSubjectAccessReview>(value),
            Self::SelfRulesReview => through::<SelfSubjectRulesReview>(value),
            Self::AccessReview => through::<SubjectAccessReview>(value),
            Self::LocalAccessReview => through::<LocalSubjectAccessReview>(value),
            Self::TokenReview => through::<TokenReview>(value),
            Self::SelfReview => through::<SelfSubjectReview>(value),
        }
    }
}

fn through<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(value).map_err(|error| {
        let text = error.to_string();
        match text.rsplit_once("offset ") {
            Some((_, at)) => format!("illegal base64 data at input byte {}", at.trim_end_matches('.')),
            None => text,
        }
    })?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// A schema's `minimum: 0` comes back from its type as `0.0`.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "only whole numbers of moderate size are cast"
            )]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                (float as i64).into()
            }
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(whole_numbers).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, whole_numbers(value)))
            .collect(),
        other => other,
    }
}

struct Row {
    builtin: Builtin,
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    status: bool,
    selectable: &'static [&'static str],
}

const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const EVENTS_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { builtin: Builtin::Namespace, group: "", plural: "namespaces", singular: "namespace", kind: "Namespace", short: &["ns"], categories: &[], namespaced: false, status: true, selectable: &["status.phase", "name"] },
    Row { builtin: Builtin::Secret, group: "", plural: "secrets", singular: "secret", kind: "Secret", short: &[], categories: &[], namespaced: true, status: false, selectable: &["type"] },
    Row { builtin: Builtin::ConfigMap, group: "", plural: "configmaps", singular: "configmap", kind: "ConfigMap", short: &["cm"], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::Event, group: "", plural: "events", singular: "event", kind: "Event", short: &["ev"], categories: &[], namespaced: true, status: false, selectable: EVENT_FIELDS },
    Row { builtin: Builtin::EventsEvent, group: "events.k8s.io", plural: "events", singular: "event", kind: "Event", short: &["ev"], categories: &[], namespaced: true, status: false, selectable: EVENTS_FIELDS },
    Row { builtin: Builtin::ServiceAccount, group: "", plural: "serviceaccounts", singular: "serviceaccount", kind: "ServiceAccount", short: &["sa"], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::Service, group: "", plural: "services", singular: "service", kind: "Service", short: &["svc"], categories: &["all"], namespaced: true, status: true, selectable: &["spec.clusterIP", "spec.type"] },
    Row { builtin: Builtin::Lease, group: "coordination.k8s.io", plural: "leases", singular: "lease", kind: "Lease", short: &[], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::Crd, group: "apiextensions.k8s.io", plural: "customresourcedefinitions", singular: "customresourcedefinition", kind: "CustomResourceDefinition", short: &["crd", "crds"], categories: &["api-extensions"], namespaced: false, status: true, selectable: &[] },
    Row { builtin: Builtin::Role, group: RBAC, plural: "roles", singular: "role", kind: "Role", short: &[], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::RoleBinding, group: RBAC, plural: "rolebindings", singular: "rolebinding", kind: "RoleBinding", short: &[], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::ClusterRole, group: RBAC, plural: "clusterroles", singular: "clusterrole", kind: "ClusterRole", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::ClusterRoleBinding, group: RBAC, plural: "clusterrolebindings", singular: "clusterrolebinding", kind: "ClusterRoleBinding", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::SelfAccessReview, group: AUTHORIZATION, plural: "selfsubjectaccessreviews", singular: "selfsubjectaccessreview", kind: "SelfSubjectAccessReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::SelfRulesReview, group: AUTHORIZATION, plural: "selfsubjectrulesreviews", singular: "selfsubjectrulesreview", kind: "SelfSubjectRulesReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::AccessReview, group: AUTHORIZATION, plural: "subjectaccessreviews", singular: "subjectaccessreview", kind: "SubjectAccessReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::LocalAccessReview, group: AUTHORIZATION, plural: "localsubjectaccessreviews", singular: "localsubjectaccessreview", kind: "LocalSubjectAccessReview", short: &[], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::TokenReview, group: AUTHENTICATION, plural: "tokenreviews", singular: "tokenreview", kind: "TokenReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::SelfReview, group: AUTHENTICATION, plural: "selfsubjectreviews", singular: "selfsubjectreview", kind: "SelfSubjectReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
];

/// The built-in resources.
pub fn resources() -> Vec<Arc<Resource>> {
    ROWS.iter().map(|row| Arc::new(resource(row))).collect()
}

/// The built-in resources of a registry.
pub fn resources_of(registry: &super::registry::Registry) -> Vec<Arc<Resource>> {
    registry
        .iter()
        .filter(|resource| resource.builtin != Builtin::Custom)
        .cloned()
        .collect()
}

fn resource(row: &Row) -> Resource {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let group = if row.builtin == Builtin::EventsEvent {
        ""
    } else {
        row.group
    };
    Resource {
        group: row.group.into(),
        names: Names {
            plural: row.plural.into(),
            singular: row.singular.into(),
            kind: row.kind.into(),
            list_kind: format!("{}List", row.kind),
            short: texts(row.short),
            categories: texts(row.categories),
        },
        namespaced: row.namespaced,
        versions: vec![Arc::new(Version {
            name: "v1".into(),
            served: true,
            deprecation: None,
            schema: None,
            converts: false,
            raw_schema: None,
            columns: builtin_columns(row.group, row.kind),
            status: row.status,
            scale: None,
            selectable: texts(row.selectable),
        })],
        storage_version: "v1".into(),
        collection: Arc::new(GroupResource::new(group, row.plural)),
        builtin: row.builtin,
        gone: CancellationToken::new(),
        origin: (String::new(), 0),
        since: 0,
    }
}

/// The paths of what is in `before` and not in `after`, as `spec.a[0].b`: fields that a type does not know.
pub fn lost_fields(before: &Value, after: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    compare(before, after, "", &mut lost);
    lost
}

fn compare(before: &Value, after: &Value, path: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match after.get(key) {
                    Some(kept) => compare(value, kept, &path, lost),
                    None if value.is_null() => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(before, after, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}
