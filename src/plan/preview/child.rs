//! The Application of a preview: what its Application builds and runs, without what belongs to that alone.

use std::collections::BTreeMap;

use crate::api::{
    Application, ApplicationSpec, DeletionPolicy, EnvVar, History, LABEL_MANAGED_BY, LABEL_PREVIEW_OF,
    MANAGER, PREVIEW_HOST, PULL_REQUEST, PUSHED_AT, Port, PreviewBuild, Previews,
};
use crate::model::{AppId, CommitId, PullRequest};

use super::host::host;

/// Returns the name of the preview of a pull request.
pub fn name(parent: &str, number: u64) -> String {
    format!("{parent}-pr-{number}")
}

/// Returns the labels of a preview.
pub fn labels(parent: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_PREVIEW_OF.to_owned(), parent.to_owned()),
        (LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()),
    ])
}

/// Returns the annotations of a preview.
pub fn annotations(
    parent: &AppId,
    previews: &Previews,
    pull_request: &PullRequest,
    pushed_at: jiff::Timestamp,
) -> BTreeMap<String, String> {
    let host = previews
        .host
        .as_deref()
        .and_then(|template| host(template, parent, pull_request));
    let host = host.map(|host| (PREVIEW_HOST.to_owned(), host));
    [
        (PULL_REQUEST.to_owned(), pull_request.number.to_string()),
        (PUSHED_AT.to_owned(), pushed_at.to_string()),
    ]
    .into_iter()
    .chain(host)
    .collect()
}

/// Returns the spec of a preview. Every field of the Application's spec is named here, so that a new one does not compile
/// until it is decided whether previews get it. `head_repository` is the repository that has the commit, if it is another one.
pub fn spec(
    parent: &Application,
    previews: &Previews,
    commit: &CommitId,
    head_repository: Option<&str>,
) -> ApplicationSpec {
    let ApplicationSpec {
        source,
        trigger: _,
        build,
        image: _,
        env: _,
        env_from: _,
        replicas: _,
        command,
        args,
        ports,
        resources,
        health_check,
        restart_policy,
        stop_grace_period,
        volumes: _,
        hooks,
        routes: _,
        rollout,
        previews: _,
        concurrency_policy,
        history: _,
        stopped: _,
        suspend: _,
        deletion_policy: _,
    } = parent.spec.clone();
    let build = build.map(|build| {
        let own = previews.build.clone().unwrap_or_default();
        let PreviewBuild {
            args,
            secrets,
            pull_secret_ref,
        } = own;
        let written = |args: Vec<EnvVar>| args.into_iter().filter(|arg| arg.value_from.is_none()).collect();
        crate::api::Build {
            args: args.unwrap_or_else(|| written(build.args.clone())),
            secrets,
            pull_secret_ref,
            ..build
        }
    });
    let build = build.or_else(|| {
        let own = previews.build.clone()?;
        Some(crate::api::Build {
            args: own.args.unwrap_or_default(),
            secrets: own.secrets,
            pull_secret_ref: own.pull_secret_ref,
            ..crate::api::Build::default()
        })
    });
    ApplicationSpec {
        source: source.map(|source| source.at_commit(commit.as_str(), head_repository)),
        trigger: None,
        build,
        image: previews.image.clone(),
        env: previews.env.clone(),
        env_from: previews.env_from.clone(),
        replicas: 1,
        command,
        args,
        ports: ports.into_iter().map(unpublished).collect(),
        resources,
        health_check,
        restart_policy,
        stop_grace_period,
        volumes: previews.volumes.clone(),
        hooks,
        routes: routes(),
        rollout,
        previews: None,
        concurrency_policy,
        history: Some(History {
            succeeded: 1,
            failed: 2,
        }),
        stopped: false,
        suspend: false,
        deletion_policy: DeletionPolicy::DeleteWithVolumes,
    }
}

/// Returns the routes of a preview: none, so that no host name of the Application leads to it.
fn routes<T: Default>() -> T {
    T::default()
}

fn unpublished(port: Port) -> Port {
    Port {
        host_port: None,
        host_ip: None,
        ..port
    }
}
