//! `spec.image` of an Application: the registry that keeps the images that Davit builds.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::values::LocalRef;

/// The repository that a built image is pushed to, and that containers get it from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The repository with its registry, without tag and digest: `registry.example.com/acme/shop`. Davit chooses the tags.
    #[schemars(
        length(min = 1, max = 300),
        regex(pattern = r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$")
    )]
    pub repository: String,
    /// The Secret of type `kubernetes.io/dockerconfigjson` with credentials that may push and pull. The key `ca.crt`, if it
    /// exists, is trusted when Davit deletes images there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_secret_ref: Option<LocalRef>,
}
