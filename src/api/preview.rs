//! `spec.previews` of an Application: a running copy for every open pull request, and what was observed of the copies.

use garde::Validate;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::run::{EnvFrom, EnvVar, VolumeMount, distinct_mount_paths};
use super::values::{Duration, LocalRef, is_false};

/// The label of a preview with the name of its Application.
pub const LABEL_PREVIEW_OF: &str = "davit.dev/preview-of";
/// The annotation of a preview with the number of its pull request.
pub const PULL_REQUEST: &str = "davit.dev/pull-request";
/// The annotation of a preview with the time at which its commit was pushed, as far as Davit could observe it.
pub const PUSHED_AT: &str = "davit.dev/pushed-at";
/// The annotation of a preview with the host name that is made from `spec.previews.host`.
pub const PREVIEW_HOST: &str = "davit.dev/preview-host";
/// The annotation of a preview whose code may come from an account without write access: it gets no submodule of another repository
/// with the credential of the GitProvider.
pub const FROM_FORK: &str = "davit.dev/from-fork";
/// The annotation of an Application with the time of the last delivery about a pull request.
pub const PULL_REQUESTS_AT: &str = "davit.dev/pullRequestsAt";

/// A running copy of the Application for every open pull or merge request. What stands here takes the place of the
/// Application's own: its Secrets, ConfigMaps and volumes never reach a preview.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.host) || self.host.matches('(^|[-.])[{][{]number[}][}]([-.]|$)')")
        .message("host must contain {{number}} between dots or hyphens, because every preview needs a host name of its own: write it as {{number}}.{{name}}.preview.example.com").reason(Reason::FieldValueInvalid).field_path(".host"),
    validation = Rule::new("!has(self.host) || self.host.replace('{{number}}', '1').replace('{{name}}', 'n').replace('{{namespace}}', 'n').replace('{{branch}}', 'b').matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+$')")
        .message("host must be a host name in lower case with {{number}}, and perhaps {{name}}, {{namespace}} and {{branch}}, such as {{number}}.{{name}}.preview.example.com").reason(Reason::FieldValueInvalid).field_path(".host"),
    validation = Rule::new("!has(self.ttl) || duration(self.ttl) >= duration('1m')")
        .message("ttl must be at least 1m: leave it out to keep previews until their pull request is closed").reason(Reason::FieldValueInvalid).field_path(".ttl")
)]
#[garde(allow_unvalidated)]
pub struct Previews {
    /// Run previews. False removes all of them. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The host name of each preview: `{{number}}` of the pull request, and if wanted `{{name}}` and `{{namespace}}` of the
    /// Application and `{{branch}}`. A host name takes no longer or other text, so that is shortened and replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// How many run at once: those of the newest pull requests. The others wait. Default 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: i32,
    /// How long after the last push a preview is removed. Default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Only pull requests with one of these labels. Default all. Bitbucket has no labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 255)))]
    pub labels: Vec<String>,
    /// Drafts too. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drafts: bool,
    /// Pull requests from forks too. Code of an author without write access to the repository runs only after a user with it has
    /// approved exactly that commit. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_forks: bool,
    /// Environment of the previews, in place of the Application's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Environment of the previews from whole Secrets and ConfigMaps, in place of the Application's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<EnvFrom>,
    /// Volumes of the previews, in place of the Application's. Each preview has its own, which is removed with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[garde(custom(distinct_mount_paths), dive)]
    pub volumes: Vec<VolumeMount>,
    /// What the builds of previews get in place of the Application's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<PreviewBuild>,
    /// Where images of previews are pushed to. Without it they stay in the engine, or go to `--registry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// What the builds of previews get in place of what `spec.build` has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.secrets) || self.secrets.all(secret, has(secret.valueFrom))")
        .message("each of secrets needs valueFrom: put the value into a Secret, or into args if it is not secret").reason(Reason::FieldValueInvalid).field_path(".secrets")
)]
pub struct PreviewBuild {
    /// Build arguments. Default those of `spec.build` that are written there as a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub args: Option<Vec<EnvVar>>,
    /// Build secrets. The code of every pull request that is built can read them. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secrets: Vec<EnvVar>,
    /// The Secret of type `kubernetes.io/dockerconfigjson` with credentials for base images in private registries. Default
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
}

/// The preview of one pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewStatus {
    /// The number of the pull request.
    pub number: i64,
    /// How it is.
    pub state: PreviewState,
    /// Its Application, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The comment that reports it at the forge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The repository of that comment, as its path at the forge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// A digest of what that comment reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
}

/// How the preview of a pull request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PreviewState {
    /// It does not run yet.
    Waiting,
    /// A Release of it is under way.
    Building,
    /// It runs.
    Ready,
    /// It could not be built or does not run.
    Failed,
    /// It was removed.
    Removed,
}

impl PreviewState {
    /// Returns the state as the status has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Building => "Building",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Removed => "Removed",
        }
    }
}

fn yes() -> bool {
    true
}

fn three() -> i32 {
    3
}
