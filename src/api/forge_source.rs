//! `spec.source.github`, `gitlab`, `bitbucket` and `gitea` of an Application: repositories that are reached through a
//! GitProvider.

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::git_ref::{GitRef, is_root, root};
use super::validation::file_path;
use super::values::is_false;

/// A repository of a user or an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct OwnedRepository {
    /// The GitProvider.
    pub provider: ProviderRef,
    /// The user or organization that owns the repository.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    )]
    pub owner: String,
    /// The repository's name.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[.]{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    )]
    pub repository: String,
    /// Which commit; the default branch where it is left out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<GitRef>,
    /// The directory of the repository that is built. Default: its root.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    #[schemars(length(max = 1024))]
    #[garde(custom(file_path))]
    pub path: String,
    /// Fetch submodules too; those of the same connection with the same credential. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
}

/// A GitLab project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct GitLabProject {
    /// The GitProvider.
    pub provider: ProviderRef,
    /// The project's path with all its groups, such as `acme/web/shop`, or its numeric ID in quotes.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^([0-9]+|[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+)$")
    )]
    pub project: String,
    /// Which commit; the default branch where it is left out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<GitRef>,
    /// The directory of the repository that is built. Default: its root.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    #[schemars(length(max = 1024))]
    #[garde(custom(file_path))]
    pub path: String,
    /// Fetch submodules too; those of the same connection with the same credential. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
}

/// A Bitbucket Cloud repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct BitbucketRepository {
    /// The GitProvider.
    pub provider: ProviderRef,
    /// The workspace, by its ID in the address.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub workspace: String,
    /// The repository, by its name in the address.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[.]{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    )]
    pub repository: String,
    /// Which commit; the default branch where it is left out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<GitRef>,
    /// The directory of the repository that is built. Default: its root.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    #[schemars(length(max = 1024))]
    #[garde(custom(file_path))]
    pub path: String,
    /// Fetch submodules too; those of the same connection with the same credential. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
}

/// A GitProvider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ProviderRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; the Application's where it is left out. Another one must allow it in `allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}
