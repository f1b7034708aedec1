//! Which commit of a repository a source names, and which directory of it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which commit: a branch, a tag or a commit; the repository's default branch where none is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.branch), has(self.tag), has(self.commit)].filter(x, x).size() <= 1")
    .message("at most one of branch, tag, commit may be set").reason(Reason::FieldValueInvalid))]
pub struct GitRef {
    /// The tip of this branch, looked at again every `trigger.pollInterval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\s~^:?*\[\\]+$"))]
    pub branch: Option<String>,
    /// The commit that this tag names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\s~^:?*\[\\]+$"))]
    pub tag: Option<String>,
    /// This commit, by its full hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^([0-9a-f]{40}|[0-9a-f]{64})$"))]
    pub commit: Option<String>,
}

pub(super) fn root() -> String {
    "/".to_owned()
}

pub(super) fn is_root(path: &str) -> bool {
    path == "/"
}
