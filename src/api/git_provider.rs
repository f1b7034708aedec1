//! The kind `GitProvider`: a connection to a forge.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::application::unseen;
use super::forge_spec::{BitbucketSpec, ForgeKind, GitHubSpec, GitLabSpec, GiteaSpec};
use super::values::{Duration, is_false};
use super::webhook::ProviderWebhook;

/// A connection to a forge: exactly one, and never another kind later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "davit.dev",
    version = "v1alpha1",
    kind = "GitProvider",
    plural = "gitproviders",
    shortname = "gitprov",
    category = "davit",
    namespaced,
    status = "GitProviderStatus",
    derive = "PartialEq",
    doc = "A connection to a forge whose repositories Applications may use.",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.account"),
    printcolumn(name = "Repositories", type_ = "integer", json_path = ".status.repositories"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.gitea), has(self.github), has(self.gitlab), has(self.bitbucket)].filter(x, x).size() == 1")
        .message("exactly one of github, gitlab, bitbucket and gitea must be set").reason(Reason::FieldValueInvalid),
    validation = Rule::new("has(self.gitea) == has(oldSelf.gitea) && has(self.github) == has(oldSelf.github) && has(self.gitlab) == has(oldSelf.gitlab) && has(self.bitbucket) == has(oldSelf.bitbucket)")
        .message("the kind of forge cannot be changed: create another GitProvider").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.interval) || duration(self.interval) >= duration('10s')")
        .message("interval must be at least 10s: raise it").reason(Reason::FieldValueInvalid).field_path(".interval")
)]
pub struct GitProviderSpec {
    /// GitHub or GitHub Enterprise Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github: Option<GitHubSpec>,
    /// GitLab.com or a self-managed GitLab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitlab: Option<GitLabSpec>,
    /// Bitbucket Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitbucket: Option<BitbucketSpec>,
    /// A Gitea or Forgejo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitea: Option<GiteaSpec>,
    /// Let the forge report pushes at once. Without it branches and tags are polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<ProviderWebhook>,
    /// The namespaces that may use the connection. They cannot read its credential.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// How often the connection is checked; at least 10s. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Check nothing, and let no Application resolve anything new through it. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
}

impl GitProviderSpec {
    /// The forge that the spec names; `None` if it names none, which admission refuses.
    pub fn kind(&self) -> Option<ForgeKind<'_>> {
        let Self {
            github,
            gitlab,
            bitbucket,
            gitea,
            webhook: _,
            allowed_namespaces: _,
            interval: _,
            suspend: _,
        } = self;
        let github = github.as_ref().map(ForgeKind::GitHub);
        let gitlab = || gitlab.as_ref().map(ForgeKind::GitLab);
        let bitbucket = || bitbucket.as_ref().map(ForgeKind::Bitbucket);
        let gitea = || gitea.as_ref().map(ForgeKind::Gitea);
        github.or_else(gitlab).or_else(bitbucket).or_else(gitea)
    }
}

/// Which namespaces' Applications may use a GitProvider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.from) && self.from == 'Selector') == has(self.selector)")
    .message("selector must be set with from: Selector, and only then: set both, or remove selector").reason(Reason::FieldValueInvalid))]
pub struct AllowedNamespaces {
    /// Same (default), All, or Selector.
    #[serde(default)]
    pub from: AllowedFrom,
    /// The labels a namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

impl AllowedNamespaces {
    /// Reports whether a namespace may use a GitProvider of the namespace `own`. `is_selected` reports whether the selector
    /// matches its labels, and is called only if that decides.
    pub fn allow(&self, own: &str, namespace: &str, is_selected: impl FnOnce() -> bool) -> bool {
        own == namespace
            || match self.from {
                AllowedFrom::Same => false,
                AllowedFrom::All => true,
                AllowedFrom::Selector => is_selected(),
            }
    }

    /// Reports whether the selector matches labels. Without a selector none match.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.as_ref().is_some_and(|selector| {
            let mut wanted = selector.match_labels.iter();
            wanted.all(|(key, value)| labels.get(key) == Some(value))
        })
    }
}

/// The namespaces that may use a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllowedFrom {
    /// Only the GitProvider's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Namespaces with matching labels.
    Selector,
}

/// Labels that an object must have, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Label and value.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// What was observed of a GitProvider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitProviderStatus {
    /// The newest generation that reached ready or stalled; -1 where none has been looked at.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// The kind of forge.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whose credential it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How many repositories the credential reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<i64>,
    /// When the credential expires, if the forge reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_expire_at: Option<String>,
    /// How many Applications use it.
    #[serde(default)]
    pub used_by: i64,
    /// The URL for the webhook at the forge, if `spec.webhook` is set and this Davit has a public URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// The hooks that Davit registered at the forge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["repository".into()]))]
    pub hooks: Vec<RegisteredHook>,
    /// Ready, Reconciling, Stalled, Authenticated, WebhookReady, RateLimited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Failures in a row of what is being retried; gone when it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<super::application::Retry>,
    /// The value of the annotation `davit.dev/requestedAt` (or Flux's) that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A hook that Davit registered at the forge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredHook {
    /// The repository, as the sources name it.
    pub repository: String,
    /// The hook's ID at the forge.
    pub id: String,
    /// A keyed digest of the secret that the hook was registered with.
    pub secret: String,
}
