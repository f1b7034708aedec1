//! The ClusterRoles of users. `manifests/` installs them in a cluster, and an embedded API server has them from its start.

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};

const MANIFEST: &str = include_str!("../../manifests/base/user-roles.yaml");
const MANAGER: &str = "davit";

/// Creates the roles, or brings them to their present rules.
///
/// # Errors
/// The API server refuses one.
pub async fn install(client: &Client) -> anyhow::Result<()> {
    let api: Api<ClusterRole> = Api::all(client.clone());
    for document in MANIFEST.split("\n---\n") {
        let role: ClusterRole = serde_saphyr::from_str(document)?;
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&role.name_any(), &params, &Patch::Apply(&role)).await?;
    }
    Ok(())
}
