//! Namespaces: what each has from the start, and how one is emptied before it goes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    cluster_roles, flow_schemas,
    system_delete::delete_all,
    system_writes::{amend, ensure, resource},
};
use crate::{
    fieldmanager::track::{APISERVER, CONTROLLERS, owned},
    object_meta::{self, Fields},
    registry::{Resource, builtin::Builtin, builtin_strategy},
    state::{Mutation, Server},
    status::ApiResult,
    store::{GroupResource, Notice, Object, ObjectKey},
};

/// The namespaces of every cluster.
const INITIAL: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];
/// The ConfigMap with the authority's certificate.
const ROOT_CA: &str = "kube-root-ca.crt";

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Makes the namespaces that every cluster has, with what each namespace has.
pub async fn bootstrap(server: &Server) -> ApiResult<()> {
    let namespaces = resource(server, "namespaces")?;
    for name in INITIAL {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": [object_meta::NAMESPACE_FINALIZER]}, "status": {"phase": "Active"}});
        ensure(server, &namespaces, fields(namespace), APISERVER).await?;
        furnish(server, name).await?;
    }
    bootstrap_cluster(server).await
}

/// Makes the Service that tools ask for, and the role `cluster-admin`.
async fn bootstrap_cluster(server: &Server) -> ApiResult<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]},
        "status": {"loadBalancer": {}}});
    ensure(
        server,
        &*resource(server, "services")?,
        fields(service),
        APISERVER,
    )
    .await?;
    let registry = server.registry();
    let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "cluster-admin", "labels": labels,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "cluster-admin", "labels": labels,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:masters"}]});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        if let Some(resource) = registry.get("rbac.authorization.k8s.io", plural) {
            ensure(server, resource, fields(object), APISERVER).await?;
        }
    }
    cluster_roles::bootstrap(server).await?;
    flow_schemas::bootstrap(server).await
}

/// The service account and the certificate that every namespace has.
async fn furnish(server: &Server, namespace: &str) -> ApiResult<()> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace}});
    ensure(
        server,
        &*resource(server, "serviceaccounts")?,
        fields(account),
        CONTROLLERS,
    )
    .await?;
    let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
        such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
        Kubernetes clusters.";
    let certificate = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": ROOT_CA, "namespace": namespace,
            "annotations": {"kubernetes.io/description": description}},
        "data": {"ca.crt": server.ca_pem}});
    ensure(
        server,
        &*resource(server, "configmaps")?,
        fields(certificate),
        CONTROLLERS,
    )
    .await
}

/// Gives the ConfigMap with the certificate back what it is there for.
async fn restore_certificate(server: &Server, object: &Object) -> ApiResult<()> {
    let maps = resource(server, "configmaps")?;
    amend(server, &maps, &object.key, (CONTROLLERS, ""), |map| {
        map.insert("data".into(), json!({"ca.crt": server.ca_pem}));
    })
    .await
}

/// What a write means for namespaces.
pub async fn follow(server: &Server, notice: &Notice) -> ApiResult<()> {
    let object = &notice.object;
    let is_namespace = notice.collection.group.is_empty() && &*notice.collection.resource == "namespaces";
    if is_namespace && !notice.removed {
        // The garbage collector empties it after a grace period.
        if object.deleting {
            return Ok(());
        }
        return furnish(server, &object.key.name).await;
    }
    if !notice.removed && *object.key.name == *ROOT_CA && &*notice.collection.resource == "configmaps" {
        return restore_certificate(server, object).await;
    }
    if notice.removed && !object.key.namespace.is_empty() {
        let key = ObjectKey::new("", &object.key.namespace);
        let Some(namespace) = server
            .store
            .view()
            .get(&GroupResource::new("", "namespaces"), &key)
        else {
            return Ok(());
        };
        if namespace.deleting {
            return finish(server, &namespace).await;
        }
        if matches!(&*object.key.name, "default" | ROOT_CA) {
            return furnish(server, &object.key.namespace).await;
        }
    }
    Ok(())
}

/// The collections that have objects in a namespace, with the resource of each.
fn contents(server: &Server, namespace: &str) -> Vec<(Arc<Resource>, Vec<Arc<Object>>)> {
    let registry = server.registry();
    let namespaced = registry
        .iter()
        .filter(|resource| resource.namespaced && resource.builtin != Builtin::EventsEvent);
    namespaced
        .map(|resource| {
            let objects = server
                .store
                .view()
                .list(&resource.collection, Some(namespace))
                .objects;
            (resource.clone(), objects)
        })
        .filter(|(_, objects)| !objects.is_empty())
        .collect()
}

/// Deletes the contents of a namespace that is being deleted, and the namespace if nothing is left.
pub async fn empty(server: &Server, namespace: &Object) -> ApiResult<()> {
    for (resource, objects) in contents(server, &namespace.key.name) {
        let waiting = objects.into_iter().filter(|object| !object.deleting).collect();
        delete_all(server, &resource, waiting).await?;
    }
    finish(server, namespace).await
}

/// Lets a namespace go that is empty; says what is left in one that is not, or what else holds it.
async fn finish(server: &Server, namespace: &Object) -> ApiResult<()> {
    let left = contents(server, &namespace.key.name);
    let namespaces = resource(server, "namespaces")?;
    let now = object_meta::now();
    server
        .mutate(&namespaces, &namespace.key, |object| {
            let own = |before: &Fields, after: &Fields, subresource: &str| {
                let after = after.clone();
                owned(&namespaces, Some(before), after, CONTROLLERS, subresource)
            };
            let before = object.clone();
            let mut finalizers = builtin_strategy::spec_finalizers(object);
            finalizers.retain(|name| name != object_meta::NAMESPACE_FINALIZER);
            let held = !finalizers.is_empty() || !object_meta::finalizers(object_meta::of(object)).is_empty();
            if left.is_empty() && !held {
                object.insert("spec".into(), json!({}));
                return Some(Mutation::Delete);
            }
            if say_what_is_left(object, &left, &now) {
                *object = own(&before, object, "status");
            }
            if left.is_empty() {
                let said = object.clone();
                let spec = match finalizers.as_slice() {
                    [] => json!({}),
                    some => json!({"finalizers": some}),
                };
                object.insert("spec".into(), spec);
                if *object != said {
                    *object = own(&said, object, "finalize");
                }
            }
            (*object != before).then_some(Mutation::Put)
        })
        .await
}

/// Writes the conditions of upstream's namespace controller; true if they differ from what was there.
fn say_what_is_left(object: &mut Fields, left: &[(Arc<Resource>, Vec<Arc<Object>>)], now: &str) -> bool {
    let kinds: Vec<String> = left
        .iter()
        .map(|(resource, objects)| {
            let (plural, group) = (&resource.names.plural, &resource.group);
            format!("{plural}.{group} has {} resource instances", objects.len())
        })
        .collect();
    let mut finalizers: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for finalizer in left
        .iter()
        .flat_map(|(_, objects)| objects)
        .flat_map(|object| &object.finalizers)
    {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let holding: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("False", "ResourcesDiscovered"),
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("False", "ParsedGroupVersions"),
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            ("False", "ContentDeleted"),
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        if kinds.is_empty() {
            (
                "NamespaceContentRemaining",
                ("False", "ContentRemoved"),
                "All content successfully removed".to_owned(),
            )
        } else {
            (
                "NamespaceContentRemaining",
                ("True", "SomeResourcesRemain"),
                format!("Some resources are remaining: {}", kinds.join(", ")),
            )
        },
        if holding.is_empty() {
            (
                "NamespaceFinalizersRemaining",
                ("False", "ContentHasNoFinalizers"),
                "All content-preserving finalizers finished".to_owned(),
            )
        } else {
            (
                "NamespaceFinalizersRemaining",
                ("True", "SomeFinalizersRemain"),
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    holding.join(", ")
                ),
            )
        },
    ];
    let before = object
        .get("status")
        .and_then(|status| status.get("conditions"))
        .cloned()
        .unwrap_or_default();
    let said = |kind: &str, status: &str| {
        before.as_array().into_iter().flatten().find(|condition| {
            condition.get("type").is_some_and(|t| t == kind)
                && condition.get("status").is_some_and(|s| s == status)
        })
    };
    let after: Vec<Value> = conditions
        .into_iter()
        .map(|(kind, (status, reason), message)| {
            let since = said(kind, status).and_then(|old| old.get("lastTransitionTime")).cloned().unwrap_or(now.into());
            json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
        })
        .collect();
    let after = Value::Array(after);
    if after == before {
        return false;
    }
    object.insert(
        "status".into(),
        json!({"phase": "Terminating", "conditions": after}),
    );
    true
}
