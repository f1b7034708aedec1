//! I/O out: our finalizer on an object, which holds it until what was made for it is gone.

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{Application, FINALIZER};

/// Reports whether the Application is deleted and Davit's finalizer is removed.
pub fn is_released(app: &Application) -> bool {
    app.metadata.deletion_timestamp.is_some() && !app.finalizers().iter().any(|name| name == FINALIZER)
}

/// Adds the finalizer, unless the Application is deleted or suspended.
///
/// # Errors
/// The API server cannot be reached.
pub async fn ensure(client: &Client, app: &Application) -> Result<(), kube::Error> {
    if app.metadata.deletion_timestamp.is_some() || app.spec.suspend {
        return Ok(());
    }
    set(client, app, true).await
}

/// Adds or removes our finalizer, and only ours: refused where the list changed meanwhile. An object that is gone has
/// none.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn set<K>(client: &Client, object: &K, wanted: bool) -> Result<(), kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let mut all = object.finalizers().to_vec();
    if all.iter().any(|name| name == FINALIZER) == wanted {
        return Ok(());
    }
    if wanted {
        all.push(FINALIZER.to_owned());
    } else {
        all.retain(|name| name != FINALIZER);
    }
    let version = object.resource_version();
    let patch = Patch::Merge(json!({"metadata": {"finalizers": all, "resourceVersion": version}}));
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match api
        .patch_metadata(&object.name_any(), &PatchParams::default(), &patch)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
