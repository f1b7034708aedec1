//! Names, labels and the owner of the objects of an Application. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use crate::model::labels::{APPLICATION, MANAGED_BY, MANAGER, UID, all, app_of, is_ours, label};
use crate::model::{AppId, hex};
use crate::runtime::Identity;

/// The label with the [`Identity::hash`] of Pods and of what they use.
pub const CONFIG: &str = "davit.dev/config";
/// The annotation of Pods with the Release that they were created for.
pub const RELEASE: &str = "davit.dev/release";
/// The container of the Application in its Pods, beside those that admission webhooks may add.
pub const CONTAINER: &str = "app";

/// Selects the objects of an Application.
pub fn of_app(app: &AppId) -> String {
    format!("{MANAGED_BY}={MANAGER},{APPLICATION}={}", app.name)
}

/// Labels of every object of an Application.
pub fn labels(identity: &Identity) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (MANAGED_BY, MANAGER.to_owned()),
        ("app.kubernetes.io/name", identity.app.name.clone()),
        (APPLICATION, identity.app.name.clone()),
        (UID, identity.uid.clone()),
    ])
}

/// Labels of a volume, which the hook of an Application shares with it.
pub fn claim_labels(identity: &Identity) -> BTreeMap<&'static str, String> {
    let mut owner = identity.clone();
    owner.app = identity.app.owner();
    labels(&owner)
}

/// Labels of what belongs to one configuration.
pub fn config_labels(identity: &Identity) -> BTreeMap<&'static str, String> {
    let mut labels = labels(identity);
    labels.insert(CONFIG, identity.hash.clone());
    labels
}

/// The metadata of an object that the garbage collector removes with the Application.
pub fn owned(identity: &Identity, name: &str, labels: &BTreeMap<&'static str, String>) -> Value {
    json!({
        "name": name,
        "namespace": identity.app.namespace,
        "labels": labels,
        "ownerReferences": [{
            "apiVersion": "davit.dev/v1alpha1",
            "kind": "Application",
            "name": identity.app.owner().name,
            "uid": identity.uid,
            "controller": true,
        }],
    })
}

/// The Secret with the environment and files of one configuration.
pub fn config_secret(app: &AppId, hash: &str) -> String {
    let hash = hash.get(..12).unwrap_or(hash);
    format!("{}-{hash}", app.name)
}

/// The Secret with the credential that nodes pull the image with.
pub fn pull_secret(app: &AppId) -> String {
    format!("{}-davit-pull", app.name)
}

/// The PersistentVolumeClaim of a volume. Names of Applications have no dot, so two of them never share one.
pub fn claim(app: &AppId, volume: &str) -> String {
    format!("{}.{volume}", app.owner().name)
}

/// The Job of a Release: another Release of the same configuration runs it again.
pub fn job(identity: &Identity) -> String {
    let digest = Sha256::new()
        .chain_update(identity.app.name.as_bytes())
        .chain_update([0])
        .chain_update(identity.hash.as_bytes())
        .chain_update([0])
        .chain_update(identity.release.as_bytes())
        .finalize();
    let mut digest = hex(&digest);
    digest.truncate(10);
    // The name of a Job is a label of its Pods, which has at most 63 characters.
    format!("{}-{digest}", identity.app.owner().name)
}
