//! `spec.source` of an Application: where what should run comes from.

use garde::Validate;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forge_source::{BitbucketRepository, GitLabProject, OwnedRepository};
use super::git_ref::{GitRef, is_root, root};
use super::validation::file_path;
use super::values::{LocalRef, is_false};
use super::webhook::TriggerWebhook;

/// Where the Application comes from: exactly one, or none to run nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.github), has(self.gitlab), has(self.bitbucket), has(self.gitea), has(self.git), has(self.docker), has(self.drop)].filter(x, x).size() <= 1")
        .message("at most one of github, gitlab, bitbucket, gitea, git, docker, drop may be set").reason(Reason::FieldValueInvalid)
)]
#[garde(allow_unvalidated)]
pub struct Source {
    /// A repository of a GitHub that a GitProvider connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub github: Option<OwnedRepository>,
    /// A project of a GitLab that a GitProvider connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub gitlab: Option<GitLabProject>,
    /// A repository of a Bitbucket workspace that a GitProvider connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub bitbucket: Option<BitbucketRepository>,
    /// A Git repository by its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub git: Option<GitSource>,
    /// A repository of a Gitea or Forgejo that a GitProvider connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub gitea: Option<OwnedRepository>,
    /// An image that is run as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerSource>,
    /// An uploaded directory or archive: `davit drop` uploads it and sets this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub drop: Option<DropSource>,
}

/// The kind of a source, with its settings. A match on it is exhaustive, so that a new kind compiles only where every
/// place handles it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SourceKind<'a> {
    /// `spec.source.github`.
    GitHub(&'a OwnedRepository),
    /// `spec.source.gitlab`.
    GitLab(&'a GitLabProject),
    /// `spec.source.bitbucket`.
    Bitbucket(&'a BitbucketRepository),
    /// `spec.source.gitea`.
    Gitea(&'a OwnedRepository),
    /// `spec.source.git`.
    Git(&'a GitSource),
    /// `spec.source.docker`.
    Docker(&'a DockerSource),
    /// `spec.source.drop`.
    Drop(&'a DropSource),
}

impl SourceKind<'_> {
    /// Returns the name of the field that the user writes, which `status.source.type` repeats.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub(_) => "github",
            Self::GitLab(_) => "gitlab",
            Self::Bitbucket(_) => "bitbucket",
            Self::Gitea(_) => "gitea",
            Self::Git(_) => "git",
            Self::Docker(_) => "docker",
            Self::Drop(_) => "drop",
        }
    }
}

impl Source {
    /// Returns the kind of the source, or `None` if no kind is set.
    pub fn kind(&self) -> Option<SourceKind<'_>> {
        // Without `..`, so that a new field does not compile until it has a kind. The CRD's rules refuse more than one kind.
        let Self {
            github,
            gitlab,
            bitbucket,
            gitea,
            git,
            docker,
            drop,
        } = self;
        let github = github.as_ref().map(SourceKind::GitHub);
        github
            .or_else(|| gitlab.as_ref().map(SourceKind::GitLab))
            .or_else(|| bitbucket.as_ref().map(SourceKind::Bitbucket))
            .or_else(|| gitea.as_ref().map(SourceKind::Gitea))
            .or_else(|| git.as_ref().map(SourceKind::Git))
            .or_else(|| docker.as_ref().map(SourceKind::Docker))
            .or_else(|| drop.as_ref().map(SourceKind::Drop))
    }
}

/// A Git repository by its URL, over https or ssh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.url.matches('^((https?|ssh|file)://[^ ]+|[A-Za-z0-9._-]+@[^ /:@]+:[^ ]+)$')")
        .message("url must be https://host/path, ssh://user@host/path or user@host:path").reason(Reason::FieldValueInvalid).field_path(".url"),
    validation = Rule::new("!self.url.matches('^[a-z+]+://[^/@]*:[^/@]*@')")
        .message("url must not contain a password: put it into a Secret and name that in secretRef").reason(Reason::FieldValueInvalid),
    validation = Rule::new("!has(self.insecureIgnoreHostKey) || !self.insecureIgnoreHostKey || self.url.startsWith('ssh://') || !self.url.contains('://')")
        .message("insecureIgnoreHostKey has no effect unless url is ssh:// or user@host:path: remove it; to trust your own CA, put ca.crt into the Secret of secretRef").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.secretRef) || !self.url.startsWith('file://')")
        .message("secretRef has no effect if url begins with file://: remove it").reason(Reason::FieldValueForbidden).field_path(".secretRef"),
    validation = Rule::new("!self.url.startsWith('http://') || self.url.matches('^http://(localhost|127[.][0-9.]+|\\\\[::1\\\\])(:[0-9]+)?/')")
        .message("url must begin with https:// or ssh://: http:// is for this machine only, because the network could read and change the source").reason(Reason::FieldValueInvalid).field_path(".url")
)]
#[garde(allow_unvalidated)]
pub struct GitSource {
    /// `https://host/path`, `ssh://user@host/path` or `user@host:path`. With davit's flag `--allow-local-sources` also
    /// `http://localhost/path` and `file:///path`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Which commit; the default branch where it is left out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<GitRef>,
    /// The directory of the repository that is built. Default: its root.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    #[schemars(length(max = 1024))]
    #[garde(custom(file_path))]
    pub path: String,
    /// Fetch submodules too, by the same rules. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
    /// The Secret with `username` and `password`, `bearerToken`, or `ssh-privatekey` (or `identity`) and
    /// `known_hosts`; `ca.crt` for a CA of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// Accept any ssh host key: every machine between Davit and the server can then replace the source. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure_ignore_host_key: bool,
}

/// An image that is run as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DockerSource {
    /// Its reference. A tag is resolved to a digest, and again every `trigger.pollInterval`.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^-\s][^\s]*$"))]
    pub image: String,
    /// The Secret of type `kubernetes.io/dockerconfigjson` (or with `username` and `password`) to pull with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
}

/// An uploaded directory or archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.path) || !self.path.matches('(^|/)[.][.](/|$)')")
        .message("path must be a directory of the upload: write it without ..").reason(Reason::FieldValueInvalid).field_path(".path")
)]
#[garde(allow_unvalidated)]
pub struct DropSource {
    /// The digest of its content, as `davit drop` prints it.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// The directory of the upload that is built. Default: its root.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    #[schemars(length(max = 1024))]
    #[garde(custom(file_path))]
    pub path: String,
}

/// When a new commit or digest is deployed by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tagPattern) || has(self.on) && self.on == 'Tag'")
        .message("tagPattern does nothing unless on is Tag: set on to Tag, or leave tagPattern out").reason(Reason::FieldValueForbidden).field_path(".tagPattern"),
    validation = Rule::new("!has(self.watchPaths) || !has(self.on) || self.on == 'Push'")
        .message("watchPaths does nothing unless on is Push: a tag, or a release that is asked for, is deployed whatever it changes; leave watchPaths out").reason(Reason::FieldValueForbidden).field_path(".watchPaths"),
    validation = Rule::new("!has(self.requireChecks) || !has(self.on) || self.on != 'Manual'")
        .message("requireChecks does nothing with on: Manual, which deploys no commit by itself: leave one of them out").reason(Reason::FieldValueForbidden).field_path(".requireChecks"),
    validation = Rule::new("!has(self.pollInterval) || !has(self.on) || self.on != 'Manual' || duration(self.pollInterval) == duration('0s')")
        .message("pollInterval does nothing with on: Manual, which follows no branch or tag: leave one of them out").reason(Reason::FieldValueForbidden).field_path(".pollInterval"),
    validation = Rule::new("!has(self.webhook) || !has(self.on) || self.on != 'Manual'")
        .message("webhook does nothing with on: Manual, which follows no branch or tag: leave one of them out").reason(Reason::FieldValueForbidden).field_path(".webhook")
)]
pub struct Trigger {
    /// `Push` (default): when the branch or image tag moves. `Tag`: when another tag is the highest that matches
    /// `tagPattern`. `Manual`: only when a Release asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<TriggerOn>,
    /// How often the branch or tag is looked at, at most once a second. Default 5m; 0s never. A source that names a
    /// commit or digest itself never moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<super::values::Duration>,
    /// A URL of the Application's own, in `status.webhookUrl`, for sources without a GitProvider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<TriggerWebhook>,
    /// Which tags are followed with `on: Tag`, such as `v*` or `web/v[0-9]*`; `*` stands for any characters but `/`. The
    /// highest by semantic version is deployed; tags that are none are below those, in the order of their numbers. Default
    /// every tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub tag_pattern: Option<String>,
    /// Deploy a commit only if it changes one of these files since the last one that was deployed. Patterns as in a
    /// .gitignore: `src`, `src/` and `/src/**` mean a directory, a later `!src/docs` excludes. Default every file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 1024)))]
    pub watch_paths: Option<Vec<String>>,
    /// Deploy a commit only when its checks at the forge have passed. For sources of a GitProvider. Default not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_checks: Option<RequireChecks>,
}

/// Which checks of a commit must have passed: statuses, and runs of workflows and pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequireChecks {
    /// The checks by name. Default all that the forge reports, unchanged for 30 seconds: later jobs of a workflow appear only
    /// when earlier ones have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    pub names: Vec<String>,
}

/// What makes a new commit or image deploy by itself: `Push` that the branch or image tag moves, `Tag` that another tag is
/// the highest, `Manual` nothing but a Release that asks for it. Default Push. Write it with quotes, `"on": Manual`: kubectl takes a bare `on` for `true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerOn {
    /// The branch or image tag moved.
    Push,
    /// Another tag is the highest that matches.
    Tag,
    /// Only a Release that asks for it.
    Manual,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_kind_follows_the_field_that_is_set() {
        assert_eq!(Source::default().kind(), None);
        for (text, name) in [
            ("{git: {url: 'https://host/a.git'}}", "git"),
            (
                "{gitea: {provider: {name: gt}, owner: acme, repository: shop}}",
                "gitea",
            ),
            (
                "{github: {provider: {name: gh}, owner: acme, repository: shop}}",
                "github",
            ),
            (
                "{gitlab: {provider: {name: gl}, project: acme/web/shop}}",
                "gitlab",
            ),
            (
                "{bitbucket: {provider: {name: bb}, workspace: acme, repository: shop}}",
                "bitbucket",
            ),
            ("{docker: {image: 'shop:1'}}", "docker"),
        ] {
            let source: Source = serde_yaml::from_str(text).unwrap();
            assert_eq!(source.kind().unwrap().name(), name);
            assert_eq!(
                source.forge().map(|found| found.kind),
                (!matches!(name, "git" | "docker")).then_some(name)
            );
        }
    }
}
