//! The Application of a preview: what its Application builds and runs, without what belongs to that alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{
    Application, ApplicationSpec, DeletionPolicy, EnvVar, FROM_FORK, History, LABEL_MANAGED_BY,
    LABEL_PREVIEW_OF, MANAGER, PREVIEW_HOST, PULL_REQUEST, PUSHED_AT, Port, PreviewBuild, Previews, Route,
    RouteTls,
};
use crate::model::{AppId, CommitId, PullRequest};

use super::host::host;

/// Returns the name of the preview of a pull request.
pub fn name(parent: &str, number: u64) -> String {
    format!("{parent}-pr-{number}")
}

/// Returns the number of the pull request whose preview has this name.
pub fn number(parent: &str, name: &str) -> Option<u64> {
    let number = name.strip_prefix(parent)?.strip_prefix("-pr-")?;
    // Only the name that `name` returns.
    number
        .parse()
        .ok()
        .filter(|parsed: &u64| parsed.to_string() == number)
}

/// Returns the labels of a preview.
pub fn labels(parent: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_PREVIEW_OF.to_owned(), parent.to_owned()),
        (LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()),
    ])
}

/// Returns the host name of a preview, if previews have one.
pub fn host_of(parent: &AppId, previews: &Previews, pull_request: &PullRequest) -> Option<String> {
    let template = previews.host.as_deref()?;
    host(template, parent, pull_request)
}

/// Returns the annotations of a preview.
pub fn annotations(
    pull_request: &PullRequest,
    pushed_at: jiff::Timestamp,
    host: Option<&str>,
) -> BTreeMap<String, String> {
    let host = host.map(|host| (PREVIEW_HOST.to_owned(), host.to_owned()));
    let fork = pull_request
        .is_fork
        .then(|| (FROM_FORK.to_owned(), "true".to_owned()));
    [
        (PULL_REQUEST.to_owned(), pull_request.number.to_string()),
        (PUSHED_AT.to_owned(), pushed_at.to_string()),
    ]
    .into_iter()
    .chain(host)
    .chain(fork)
    .collect()
}

/// Returns the spec of a preview. Every field of the Application's spec is named here, so that a new one does not compile
/// until it is decided whether previews get it. `head_repository` is the repository that has the commit, if it is another one.
pub fn spec(
    parent: &Application,
    previews: &Previews,
    commit: &CommitId,
    head_repository: Option<&str>,
    host: Option<&str>,
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
        routes: routes(parent, host),
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

/// Returns the routes of a preview: the paths of the Application's with the preview's own host name. A route that asks for a
/// password is left out, because the Secret with it is the Application's.
fn routes(parent: &Application, host: Option<&str>) -> Vec<Route> {
    let Some(host) = host else { return Vec::new() };
    let mut paths = BTreeSet::new();
    let open = parent
        .spec
        .routes
        .iter()
        .filter(|route| route.basic_auth_secret_ref.is_none())
        .filter(|route| paths.insert(route.path.clone()));
    open.map(|route| Route {
        host: host.to_owned(),
        redirects: Vec::new(),
        tls: route.tls.clone().map(|tls| RouteTls {
            secret_ref: None,
            ..tls
        }),
        ..route.clone()
    })
    .collect()
}

fn unpublished(port: Port) -> Port {
    Port {
        host_port: None,
        host_ip: None,
        ..port
    }
}
