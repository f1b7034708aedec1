//! Waits until there is something to show: a container, a Release, previews, or a GitProvider that is ready.

use kube::Api;

use super::connect::{Access, Cluster};
use super::follow::{Deadline, Stand, follow};
use super::settle::{active, how, latest, observed};
use crate::api::{Application, ConditionType, GitProvider, Phase, PreviewState, condition};
use crate::cli::failure::Failure;

/// Waits until an Application has containers, which may have ended.
///
/// # Errors
/// The time is over.
pub async fn has_containers(cluster: &Cluster, name: &str, deadline: &Deadline) -> Result<(), Failure> {
    let judge = |application: &Application| {
        let status = application.status.clone().unwrap_or_default();
        let had = status.replicas > 0 || status.phase == Phase::Error || active(&status).is_some();
        if had {
            Stand::Good
        } else {
            Stand::Waits(how(&status))
        }
    };
    let found = follow(cluster, cluster.applications(), name, deadline, judge).await;
    found.map(drop)
}

/// Waits until a container of an Application is healthy.
///
/// # Errors
/// None will be, because the Application failed, or the time is over.
pub async fn runs(cluster: &Cluster, name: &str, deadline: &Deadline) -> Result<(), Failure> {
    let judge = |application: &Application| {
        let status = application.status.clone().unwrap_or_default();
        match status.phase {
            _ if status.ready_replicas > 0 => Stand::Good,
            Phase::Error => Stand::Bad(Failure::new(format!("application {name}: {}", how(&status)))),
            _ => Stand::Waits(how(&status)),
        }
    };
    let found = follow(cluster, cluster.applications(), name, deadline, judge).await;
    found.map(drop)
}

/// Waits until an Application has a Release.
///
/// # Errors
/// The time is over.
pub async fn has_release(cluster: &Cluster, name: &str, deadline: &Deadline) -> Result<Application, Failure> {
    let judge = |application: &Application| {
        let status = application.status.clone().unwrap_or_default();
        if latest(&status).is_some() {
            Stand::Good
        } else {
            Stand::Waits(how(&status))
        }
    };
    follow(cluster, cluster.applications(), name, deadline, judge).await
}

/// Waits until no preview of an Application is under way.
///
/// # Errors
/// The time is over.
pub async fn previews_settled(
    cluster: &Cluster,
    name: &str,
    deadline: &Deadline,
) -> Result<Application, Failure> {
    let judge = |application: &Application| {
        let status = application.status.clone().unwrap_or_default();
        let generation = application.metadata.generation.unwrap_or_default();
        let builds = status
            .previews
            .iter()
            .filter(|one| one.state == PreviewState::Building);
        match builds.count() {
            _ if observed(&status) < generation => Stand::Waits(how(&status)),
            0 => Stand::Good,
            builds => Stand::Waits(format!("{builds} previews are under way")),
        }
    };
    follow(cluster, cluster.applications(), name, deadline, judge).await
}

/// Waits until a GitProvider is ready.
///
/// # Errors
/// It needs the user, or the time is over.
pub async fn provider_ready(cluster: &Cluster, name: &str, deadline: &Deadline) -> Result<(), Failure> {
    let judge = |provider: &GitProvider| {
        let status = provider.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        let how = ready.map_or("not observed yet".to_owned(), |ready| ready.message.clone());
        let is = |kind| condition::is_true(&status.conditions, kind);
        if status.observed_generation < provider.metadata.generation.unwrap_or_default() {
            Stand::Waits("not observed yet".to_owned())
        } else if is(ConditionType::Ready) {
            Stand::Good
        } else if is(ConditionType::Stalled) {
            Stand::Bad(Failure::new(format!("gitprovider {name}: {how}")))
        } else {
            Stand::Waits(how)
        }
    };
    let providers: Api<GitProvider> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = providers.get_opt(name).await;
    if found
        .map_err(|error| cluster.refused(&error, Access::View))?
        .is_none()
    {
        // The request that follows names the closest one.
        return Ok(());
    }
    follow(cluster, providers, name, deadline, judge).await.map(drop)
}
