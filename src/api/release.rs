//! The kind `Release`: one deployment of one Application, and the way to ask for one.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::application::{ResolvedSource, unseen};
use super::values::is_false;

/// One deployment of one Application. Only `cancel` may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "davit.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "rel",
    category = "davit",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "One deployment of one Application: the journal entry, and the way to ask for one.",
    selectable = ".spec.application",
    printcolumn(name = "App", type_ = "string", json_path = ".spec.application"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.source.shortRevision"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Succeeded")].reason"#
    ),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Title", type_ = "string", json_path = ".status.title", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Succeeded")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.application == oldSelf.application && self.type == oldSelf.type && has(self.title) == has(oldSelf.title) && (!has(self.title) || self.title == oldSelf.title) && has(self.description) == has(oldSelf.description) && (!has(self.description) || self.description == oldSelf.description) && has(self.revision) == has(oldSelf.revision) && (!has(self.revision) || self.revision == oldSelf.revision) && has(self.rollbackTo) == has(oldSelf.rollbackTo) && (!has(self.rollbackTo) || self.rollbackTo == oldSelf.rollbackTo) && (has(self.cleanCache) && self.cleanCache) == (has(oldSelf.cleanCache) && oldSelf.cleanCache)")
        .message("only cancel can be changed in the spec of a Release: create another Release").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)")
        .message("cancel cannot be set back to false: create another Release").reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.type != 'Rollback' || has(self.rollbackTo)")
        .message("rollbackTo is required with type Rollback: set it to the name of a Release that succeeded").reason(Reason::FieldValueRequired).field_path(".rollbackTo"),
    validation = Rule::new("self.type == 'Rollback' || !has(self.rollbackTo)")
        .message("rollbackTo has an effect only with type Rollback: set type to Rollback, or leave rollbackTo out").reason(Reason::FieldValueForbidden).field_path(".rollbackTo"),
    validation = Rule::new("self.type != 'Rollback' || !has(self.revision)")
        .message("revision has no effect with type Rollback, which runs the image of rollbackTo: leave it out").reason(Reason::FieldValueForbidden).field_path(".revision"),
    validation = Rule::new("self.type != 'Rollback' || !has(self.cleanCache) || !self.cleanCache")
        .message("cleanCache has no effect with type Rollback, which builds nothing: leave it out").reason(Reason::FieldValueForbidden).field_path(".cleanCache")
)]
pub struct ReleaseSpec {
    /// The Application, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub application: String,
    /// Deploy (default), Redeploy (the same commit again) or Rollback.
    #[serde(default, rename = "type")]
    pub kind: ReleaseType,
    /// A title. Default: Manual deployment, Rebuild deployment, or the commit's first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub title: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// Deploy this commit or digest in place of what the ref names now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 128),
        regex(pattern = r"^([0-9a-f]{40}|(sha256:)?[0-9a-f]{64})$")
    )]
    pub revision: Option<String>,
    /// With type Rollback: the Release whose image and configuration run again, without a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub rollback_to: Option<String>,
    /// Build without the cache. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub clean_cache: bool,
    /// End it. The one field that may change; it cannot be taken back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel: bool,
}

impl ReleaseSpec {
    /// A deployment of what the Application wants now.
    pub fn deploy(application: &str) -> Self {
        Self {
            application: application.to_owned(),
            kind: ReleaseType::Deploy,
            title: None,
            description: None,
            revision: None,
            rollback_to: None,
            clean_cache: false,
            cancel: false,
        }
    }
}

/// What kind of deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseType {
    /// What the spec says now.
    #[default]
    Deploy,
    /// The same commit again, built again.
    Redeploy,
    /// An earlier Release again.
    Rollback,
}

/// What was observed of a Release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The newest generation that was looked at; -1 where none.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// Its number among the Application's Releases, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// Where it stands.
    #[serde(default)]
    pub phase: ReleasePhase,
    /// Succeeded (Unknown until it has ended), Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What brought it about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What it is called: `spec.title`, or else Manual deployment, Rebuild deployment, or the commit's first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is different from the release that ran before, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// The commit or digest that it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ResolvedSource>,
    /// The image, by its digest or the engine's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
    /// What built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<BuilderUsed>,
    /// Its place among the builds that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueuePlace>,
    /// What was done, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
    /// What keeps the containers from being healthy, while the Release waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ReleaseProgress>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Containers that ran to completion and are not restarted by `spec.restartPolicy`, also after they were removed.
    /// Cleared when the Application is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<EndedContainer>,
    /// When work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// How long it took, for the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The status that was reported of its commit, if the source is a repository of a GitProvider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_status: Option<CommitReport>,
    /// Keyed digests of every input, by field: what `why` is computed from. They tell nothing of the values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// In one word what the Application wanted when this Release began, however the Release itself was pinned: as long
    /// as it wants the same, no further Release is made by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
    /// With type Rollback: what it went back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RolledBack>,
    /// The part of the Application's spec that it runs with, by reference where that is by reference: what a rollback
    /// and the repair of its containers use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<super::values::Later>,
}

/// Where a Release stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ReleasePhase {
    /// Waiting to begin.
    #[default]
    Pending,
    /// The source is fetched, or the image pulled.
    Fetching,
    /// The image is built.
    Building,
    /// The image is pushed.
    Pushing,
    /// Containers are started.
    Deploying,
    /// Containers are watched until they are healthy.
    Verifying,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended because it was asked to.
    Cancelled,
    /// Ended because a newer one came.
    Superseded,
}

impl ReleasePhase {
    /// True where nothing changes any more.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Superseded => true,
            Self::Pending
            | Self::Fetching
            | Self::Building
            | Self::Pushing
            | Self::Deploying
            | Self::Verifying => false,
        }
    }
}

/// What brought a Release about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// What kind.
    pub kind: CauseKind,
    /// The user, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The ID of the delivery that announced it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
}

/// The status of a commit at its forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CommitReport {
    /// The Release is under way.
    Pending,
    /// The Release is deployed.
    Success,
    /// The Release failed, was cancelled, or a newer one took its place.
    Failure,
}

/// Kinds of cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CauseKind {
    /// The spec changed.
    Spec,
    /// A push was announced.
    Push,
    /// Another tag is the highest that matches.
    Tag,
    /// Polling found a new commit or digest.
    Poll,
    /// A user created the Release.
    Manual,
    /// A user requested an earlier Release.
    Rollback,
    /// A Secret or ConfigMap changed.
    Secret,
    /// What it runs with was gone: its image, or the record of what runs.
    Drift,
    /// It is of a preview, whose pull request or Application changed.
    Preview,
}

/// What a rollback went back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// The Release whose image and configuration run again.
    pub release: String,
    /// A digest of the Application's spec at that time: automatic deployments are held until it changes.
    pub spec: String,
}

/// What built an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuilderUsed {
    /// The build type, by the name of its field in `spec.build`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of the tool that built it, if the type has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The images of the tool and of the result, by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// Why this type was chosen, if the spec names none, or what the tool found in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<String>,
    /// True where the image was there already and nothing was built.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reused: bool,
}

/// A place in the queue of builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuePlace {
    /// From 1: the next one to begin.
    pub position: i32,
}

/// One step of a Release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Fetching, Building, Deploying or Verifying.
    pub name: String,
    /// When it began.
    pub started_at: String,
    /// When it had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// How it ended, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The exit code of what failed, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// A container that ran to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedContainer {
    /// The engine's id: another container may get its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its exit code.
    pub exit_code: i64,
}

/// What keeps the containers of a Release from being healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseProgress {
    /// The kind of trouble. The message is written once for each kind.
    pub reason: ProgressReason,
    /// The trouble, with the name of the container.
    pub message: String,
}

/// Kinds of trouble of containers that are not healthy yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProgressReason {
    /// The health check of a container fails.
    NotHealthyYet,
    /// A container ended.
    ContainerEnded,
}

/// Why a Release failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// In which step.
    pub step: String,
    /// In one word.
    pub reason: String,
    /// In one line, with the way out.
    pub message: String,
    /// The last lines of its log, at most 2 KiB, secrets masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
}
