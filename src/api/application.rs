//! The kind `Application`: what should run, and what was observed of it.

use garde::Validate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::image::Image;
use super::preview::{PreviewStatus, Previews};
use super::route::Route;
use super::run::{
    EnvFrom, EnvVar, HealthCheck, Hooks, Port, Resources, RestartPolicy, Rollout, VolumeMount,
    distinct_mount_paths, distinct_port_names,
};
use super::source::{Source, Trigger};
use super::validation::{InvalidField, field_path};
use super::values::{Duration, is_false};

/// What should run: source, build, environment and runtime shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema, Validate)]
#[kube(
    group = "davit.dev", version = "v1alpha1", kind = "Application", plural = "applications", shortname = "dapp",
    category = "davit", namespaced, status = "ApplicationStatus", derive = "PartialEq",
    doc = "What should run: source, build, environment and runtime shape. Davit builds and runs it and says in status what it observed.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source.type"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.release.shortRevision"),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release.active"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.urls[0]"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.release.image", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    validation = Rule::new("self.metadata.name.size() <= 52").message("name must have at most 52 characters, because the names of Releases are longer: shorten it"),
    validation = Rule::new("!has(self.spec) || !has(self.spec.previews) || self.metadata.name.size() <= 40").message("name must have at most 40 characters with spec.previews, because the names of previews are longer: shorten it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')").message("name must be a DNS label, because other containers reach the Application by it: use lower-case letters, digits and -, and begin with a letter"),
)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
#[x_kube(
    validation = Rule::new("!has(self.ports) || !self.ports.exists(p, has(p.hostPort)) || !has(self.replicas) || self.replicas <= 1")
        .message("replicas must be at most 1 with a hostPort, because only one container can listen on it: set replicas to 1, or remove hostPort").reason(Reason::FieldValueInvalid).field_path(".replicas"),
    validation = Rule::new("!has(self.build) || !has(self.source) || !has(self.source.docker)")
        .message("build has no effect with source.docker: remove build, or use source.git").reason(Reason::FieldValueForbidden).field_path(".build"),
    validation = Rule::new("!has(self.trigger) || !has(self.trigger.webhook) || !has(self.source) || has(self.source.git) || has(self.source.docker)")
        .message("trigger.webhook is for the sources git and docker: set webhook of the GitProvider instead").reason(Reason::FieldValueForbidden).field_path(".trigger.webhook"),
    validation = Rule::new("!has(self.stopGracePeriod) || duration(self.stopGracePeriod) <= duration('24h')")
        .message("stopGracePeriod must be at most 24h, because it can delay the next release: shorten it").reason(Reason::FieldValueInvalid).field_path(".stopGracePeriod"),
    validation = Rule::new("!has(self.trigger) || !has(self.source) || !has(self.source.docker) || !(has(self.trigger.on) && self.trigger.on == 'Tag' || has(self.trigger.tagPattern) || has(self.trigger.watchPaths))")
        .message("trigger.on: Tag, trigger.tagPattern and trigger.watchPaths do nothing with source.docker, which has no commits: leave them out; an image's tag is followed with trigger.on: Push").reason(Reason::FieldValueForbidden).field_path(".trigger"),
    validation = Rule::new("!has(self.trigger) || !has(self.trigger.on) || self.trigger.on != 'Tag' || !has(self.source) || !(has(self.source.git) && has(self.source.git.ref) || has(self.source.github) && has(self.source.github.ref) || has(self.source.gitlab) && has(self.source.gitlab.ref) || has(self.source.bitbucket) && has(self.source.bitbucket.ref) || has(self.source.gitea) && has(self.source.gitea.ref))")
        .message("ref of the source does nothing with trigger.on: Tag, which follows the tags that match trigger.tagPattern: leave ref out").reason(Reason::FieldValueForbidden).field_path(".trigger"),
    validation = Rule::new("!has(self.trigger) || !has(self.trigger.requireChecks) || !has(self.source) || !(has(self.source.git) || has(self.source.docker))")
        .message("trigger.requireChecks needs a forge that has checks: use a source of a GitProvider (github, gitlab, bitbucket or gitea), or leave requireChecks out").reason(Reason::FieldValueForbidden).field_path(".trigger.requireChecks"),
    validation = Rule::new("!has(self.trigger) || !has(self.source) || !has(self.source.drop)")
        .message("trigger does nothing with source.drop, which changes only by another upload: leave trigger out").reason(Reason::FieldValueForbidden).field_path(".trigger"),
    validation = Rule::new("!has(self.previews) || has(self.source) && (has(self.source.github) || has(self.source.gitlab) || has(self.source.bitbucket) || has(self.source.gitea))")
        .message("previews needs a forge that has pull requests: use a source of a GitProvider (github, gitlab, bitbucket or gitea), or leave previews out").reason(Reason::FieldValueForbidden).field_path(".previews"),
    validation = Rule::new("!has(self.previews) || !has(self.previews.image) || !has(self.image) || self.previews.image.repository != self.image.repository")
        .message("previews.image.repository must not be that of image, because the images of a preview are removed with it: name another repository").reason(Reason::FieldValueInvalid).field_path(".previews.image"),
    validation = Rule::new("!has(self.previews) || !has(self.previews.labels) || self.previews.labels.size() == 0 || !has(self.source) || !has(self.source.bitbucket)")
        .message("previews.labels does nothing with source.bitbucket, whose pull requests have no labels: leave it out").reason(Reason::FieldValueForbidden).field_path(".previews.labels"),
    validation = Rule::new("!has(self.image) || !has(self.source) || !has(self.source.docker)")
        .message("image does nothing with source.docker, whose image stays where it is: leave image out, or use source.git").reason(Reason::FieldValueForbidden).field_path(".image")
)]
pub struct ApplicationSpec {
    /// Where it comes from; nothing runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub source: Option<Source>,
    /// When a new commit or digest is deployed by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// How the source becomes an image; detected where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub build: Option<Build>,
    /// Where built images are pushed to; without it they stay in the engine, or go to `--registry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Environment of the containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Environment from whole Secrets and ConfigMaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env_from: Vec<EnvFrom>,
    /// How many containers. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Replaces the image's entrypoint; no shell. `$(NAME)` stands for a variable of `env` or `envFrom`, `$$` for one `$`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub command: Vec<String>,
    /// Replaces the image's command. `$(NAME)` stands for a variable of `env` or `envFrom`, `$$` for one `$`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
    /// Ports of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["containerPort".into(), "protocol".into()]))]
    #[garde(custom(distinct_port_names), dive)]
    pub ports: Vec<Port>,
    /// What a container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub resources: Option<Resources>,
    /// How it is known that a replica works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive(&self.ports))]
    pub health_check: Option<HealthCheck>,
    /// What happens when a container ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Time between SIGTERM and SIGKILL, in whole seconds: a part of one counts as one. At most 24h. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<Duration>,
    /// Directories that do not come from the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[garde(custom(distinct_mount_paths), dive)]
    pub volumes: Vec<VolumeMount>,
    /// Commands that run at certain moments of a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Public addresses, which need `--traefik` or `--traefik-config`. A change is no new release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[garde(dive(&self.ports))]
    pub routes: Vec<Route>,
    /// How a release takes the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// A running copy for every open pull or merge request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub previews: Option<Previews>,
    /// What a new release does while another is under way. Default Supersede.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// How many ended Releases are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Stop the workload and keep everything else. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// Reconcile nothing; what runs goes on. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
    /// What becomes of containers, images and volumes when the Application is deleted. Default Delete, which keeps
    /// named volumes; `Orphan` keeps everything; `DeleteWithVolumes` removes named volumes too.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What a new release does while another is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// The older one is ended as Superseded.
    #[default]
    Supersede,
    /// The newer one waits.
    Queue,
    /// The newer one fails at once.
    Forbid,
}

/// How many ended Releases are kept, with their logs, image tags and caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// Those that succeeded. Default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub succeeded: i32,
    /// Those that failed, were cancelled or superseded. Default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 100))]
    pub failed: i32,
}

impl Default for History {
    fn default() -> Self {
        Self {
            succeeded: 10,
            failed: 10,
        }
    }
}

/// What becomes of what an Application made when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Containers, images, logs and caches go; named volumes stay.
    #[default]
    Delete,
    /// Named volumes go too.
    DeleteWithVolumes,
    /// Everything stays and goes on running.
    Orphan,
}

/// What was observed of an Application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// The newest generation that reached ready or stalled; -1 where none has been looked at.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// idle, running, done or error: a pure function of the conditions.
    #[serde(default)]
    pub phase: Phase,
    /// Ready, Reconciling, Stalled, SourceReady, Built, Deployed, Healthy, RoutesReady, WebhookReady, AutoDeployHeld.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The source as it was resolved last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ResolvedSource>,
    /// Its releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseSummary>,
    /// Containers of the active release; before the first one, of the release in progress.
    #[serde(default)]
    pub replicas: i32,
    /// Those of them that are healthy.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Selects its Pods, as autoscalers need it; only in a Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Where it can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The previews of pull requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["number".into()]))]
    pub previews: Vec<PreviewStatus>,
    /// The URL for a webhook, if `spec.trigger.webhook` is set and this Davit has a public URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// Failures in a row of what is being retried; gone when it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The value of the annotation `davit.dev/restartedAt` whose restart is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
    /// The value of the annotation `davit.dev/requestedAt` (or Flux's) that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// In one word how an Application is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing runs and nothing is under way.
    #[default]
    Idle,
    /// A Release is under way.
    Running,
    /// The newest wanted release is what runs, and every replica is healthy.
    Done,
    /// The newest wanted release failed, or what runs is not healthy.
    Error,
}

/// A source pinned to a commit or digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedSource {
    /// git, gitea or docker.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The full commit hash or image digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// The same, short enough for a column.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub short_revision: String,
    /// The commit's first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The commit's author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The tag that names the commit, with `trigger.on: Tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Of an Application's: the newest commit, if no release was created for it because it changes nothing in
    /// `trigger.watchPaths` or its message has a marker such as `[skip ci]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwatched_revision: Option<String>,
    /// Of an Application's: the newest generation of its spec that has this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The releases of an Application in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSummary {
    /// The release whose image and configuration run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// The commit or digest that it was made of, short enough for a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_revision: Option<String>,
    /// The newest release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    /// The image that runs, by digest or engine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many releases there have been.
    #[serde(default)]
    pub count: i64,
    /// The Release of type Rollback that holds automatic deployments, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

/// Failures in a row, kept in status so that they survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many.
    pub attempts: i32,
    /// Not tried again before this time.
    pub not_before: String,
}

impl ApplicationSpec {
    /// Checks the rules that the schema of the CRD cannot express.
    ///
    /// # Errors
    /// The first field whose value cannot work.
    pub fn check(&self) -> Result<(), InvalidField> {
        let Err(report) = self.validate() else {
            return Ok(());
        };
        let first = report.into_inner().into_iter().next();
        first.map_or(Ok(()), |(path, error)| {
            Err(InvalidField {
                path: field_path(&path.to_string()),
                message: error.message().to_owned(),
            })
        })
    }
}

fn one() -> i32 {
    1
}

fn ten() -> i32 {
    10
}

/// The generation of an object that was never looked at.
pub(super) fn unseen() -> i64 {
    -1
}
