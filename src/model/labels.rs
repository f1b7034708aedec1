//! The labels of the objects that Davit makes in a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::AppId;

/// The field manager of every object.
pub const MANAGER: &str = "davit";
/// The label of every object, by which watches select.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label with the Application's name; Services select Pods by it.
pub const APPLICATION: &str = "davit.dev/application";
/// The label with the UID of the Application.
pub const UID: &str = "davit.dev/uid";

/// Selects everything that Davit made.
pub fn all() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// A label, or nothing.
pub fn label<'m>(meta: &'m ObjectMeta, key: &str) -> &'m str {
    let labels = meta.labels.as_ref();
    labels
        .and_then(|labels| labels.get(key))
        .map(String::as_str)
        .unwrap_or_default()
}

/// The Application that an object belongs to.
pub fn app_of(meta: &ObjectMeta) -> Option<AppId> {
    let name = label(meta, APPLICATION);
    let namespace = meta.namespace.as_deref()?;
    (!name.is_empty()).then(|| AppId::new(namespace, name))
}

/// Whether Davit made an object for this Application.
pub fn is_ours(meta: &ObjectMeta, app: &AppId) -> bool {
    label(meta, MANAGED_BY) == MANAGER && label(meta, APPLICATION) == app.name
}
