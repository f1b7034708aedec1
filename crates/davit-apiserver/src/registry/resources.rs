//! The resources that are there without a CRD.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Names, Registry, Resource, Version, builtin::Builtin};
use crate::{
    flow_schemas::suggested::{GROUP as FLOWS, LEVELS, SCHEMAS},
    store::GroupResource,
    table::builtin_columns,
};

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
    Row { builtin: Builtin::FlowSchema, group: FLOWS, plural: SCHEMAS, singular: "flowschema", kind: "FlowSchema", short: &[], categories: &[], namespaced: false, status: true, selectable: &[] },
    Row { builtin: Builtin::PriorityLevel, group: FLOWS, plural: LEVELS, singular: "prioritylevelconfiguration", kind: "PriorityLevelConfiguration", short: &[], categories: &[], namespaced: false, status: true, selectable: &[] },
    Row { builtin: Builtin::SelfAccessReview, group: AUTHORIZATION, plural: "selfsubjectaccessreviews", singular: "selfsubjectaccessreview", kind: "SelfSubjectAccessReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::SelfRulesReview, group: AUTHORIZATION, plural: "selfsubjectrulesreviews", singular: "selfsubjectrulesreview", kind: "SelfSubjectRulesReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::AccessReview, group: AUTHORIZATION, plural: "subjectaccessreviews", singular: "subjectaccessreview", kind: "SubjectAccessReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::LocalAccessReview, group: AUTHORIZATION, plural: "localsubjectaccessreviews", singular: "localsubjectaccessreview", kind: "LocalSubjectAccessReview", short: &[], categories: &[], namespaced: true, status: false, selectable: &[] },
    Row { builtin: Builtin::TokenReview, group: AUTHENTICATION, plural: "tokenreviews", singular: "tokenreview", kind: "TokenReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
    Row { builtin: Builtin::SelfReview, group: AUTHENTICATION, plural: "selfsubjectreviews", singular: "selfsubjectreview", kind: "SelfSubjectReview", short: &[], categories: &[], namespaced: false, status: false, selectable: &[] },
];

pub fn resources() -> Vec<Arc<Resource>> {
    ROWS.iter().map(|row| Arc::new(resource(row))).collect()
}

/// The built-in resources of a registry.
pub fn resources_of(registry: &Registry) -> Vec<Arc<Resource>> {
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
            defined: None,
            converts: false,
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
