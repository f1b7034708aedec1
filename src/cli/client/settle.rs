//! Waits until an Application is as it should be, and shows the steps of its Releases meanwhile.

use std::cell::Cell;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt as _};

use super::connect::{Access, Cluster};
use super::follow::{Deadline, Stand, follow};
use super::release_wait::{quoted_log, wait_for_release};
use crate::api::{
    Application, ApplicationStatus, ConditionType, GitProvider, Phase, PreviewState, REQUESTED_AT,
    RESTARTED_AT, Reason, ReleasePhase, condition,
};
use crate::cli::failure::{Code, Failure};

/// The time between two looks at an Application whose Release has ended.
const NOTICE_PAUSE: Duration = Duration::from_millis(250);

/// How often such an Application is looked at.
const NOTICE_TRIES: u32 = 20;

/// What the status of an Application must answer.
pub struct Asked<'a> {
    application: &'a Application,
    /// Whether a restart that failed is the one that was asked for. It is not if the status is from before the change.
    is_answer: Cell<bool>,
}

impl<'a> Asked<'a> {
    /// The Application as it was found.
    pub fn seen(application: &'a Application) -> Self {
        let is_answer = Cell::new(true);
        Self {
            application,
            is_answer,
        }
    }

    /// The Application as the user has just changed it.
    pub fn changed(application: &'a Application) -> Self {
        let status = application.status.clone().unwrap_or_default();
        let is_answer = Cell::new(!restart_failed(&status));
        Self {
            application,
            is_answer,
        }
    }

    /// Whether the status answers what was asked.
    fn is_answered(&self, status: &ApplicationStatus) -> bool {
        let spec = &self.application.spec;
        if observed(status) < self.application.metadata.generation.unwrap_or_default() {
            return false;
        }
        // Without containers, and while it is suspended, nothing is restarted.
        if spec.stopped || spec.suspend || spec.source.is_none() {
            return true;
        }
        let answers = |key: &str, answer: Option<&String>| {
            let asked = self.application.annotations().get(key);
            asked.is_none_or(|asked| answer == Some(asked))
        };
        if restart_failed(status) {
            return self.is_answer.get();
        }
        self.is_answer.set(true);
        answers(RESTARTED_AT, status.restarted_at.as_ref())
            && answers(REQUESTED_AT[0], status.last_handled_reconcile_at.as_ref())
    }

    /// Judges an Application. A Release that is under way, other than `followed`, is to be followed.
    fn judge(&self, application: &Application, followed: Option<&str>) -> Stand {
        let status = application.status.clone().unwrap_or_default();
        if !self.is_answered(&status) {
            return Stand::Waits(how(&status));
        }
        let follows =
            !self.application.spec.stopped && latest(&status).is_some_and(|it| Some(it) != followed);
        if status.phase == Phase::Running && !follows {
            return Stand::Waits(how(&status));
        }
        Stand::Good
    }
}

/// Waits until an Application is as it should be: done, or idle without containers.
///
/// # Errors
/// It is not healthy, or the newest Release failed or was cancelled, or the time is over.
pub async fn settled(
    cluster: &Cluster,
    asked: &Asked<'_>,
    deadline: &Deadline,
) -> Result<Application, Failure> {
    let name = asked.application.name_any();
    // With all namespaces it is not that of the command.
    let cluster = &cluster.in_namespace(&asked.application.namespace().unwrap_or_default());
    let mut followed: Option<String> = None;
    let mut cancelled = None;
    loop {
        let judge = |application: &Application| asked.judge(application, followed.as_deref());
        let seen = follow(cluster, cluster.applications(), &name, deadline, judge).await?;
        let status = seen.status.clone().unwrap_or_default();
        // The status may be from before a Release that is under way, which the controller has not noticed yet.
        if status.phase != Phase::Running
            && let Some(release) = unnoticed(cluster, &seen, followed.as_deref()).await?
        {
            cancelled = followed_release(cluster, &release, deadline).await?;
            notices(cluster, &name, &release).await;
            followed = Some(release);
            continue;
        }
        match status.phase {
            Phase::Done | Phase::Idle => return Ok(seen),
            // What runs stays as it is, and that was asked for.
            Phase::Error if asked.application.spec.suspend => return Ok(seen),
            Phase::Error => match cancelled {
                Some(cancelled) => return Err(cancelled),
                None => return Err(failed(cluster, &name, &status).await),
            },
            Phase::Running => {
                let Some(release) = latest(&status).map(str::to_owned) else {
                    continue;
                };
                let found = cluster.releases().get_opt(&release).await;
                let found = found.map_err(|error| cluster.refused(&error, Access::View))?;
                let ended = found.is_none_or(|found| found.status.is_some_and(|it| it.phase.has_ended()));
                if !ended {
                    cancelled = followed_release(cluster, &release, deadline).await?;
                }
                followed = Some(release);
            }
        }
    }
}

/// Waits for the end of a Release; returns its failure if it was cancelled or superseded, since a newer one may have taken its
/// place.
async fn followed_release(
    cluster: &Cluster,
    release: &str,
    deadline: &Deadline,
) -> Result<Option<Failure>, Failure> {
    match wait_for_release(cluster, release, deadline).await {
        Err(failure) if failure.code == Code::Cancelled => Ok(Some(failure)),
        other => other.map(|_| None),
    }
}

/// Returns the newest Release if it is under way and the status of the Application does not say so.
async fn unnoticed(
    cluster: &Cluster,
    application: &Application,
    followed: Option<&str>,
) -> Result<Option<String>, Failure> {
    let spec = &application.spec;
    let status = application.status.clone().unwrap_or_default();
    if spec.stopped || spec.suspend || spec.source.is_none() {
        return Ok(None);
    }
    let newest = cluster.releases_of(&application.name_any()).await?.pop();
    let newest = newest.filter(|newest| {
        let status = newest.status.as_ref();
        !status.is_some_and(|status| status.phase.has_ended())
    });
    // A Release that the status names and that waits for its next try is an error of the Application, which the user wants to see.
    let known = latest(&status).filter(|_| status.phase == Phase::Error);
    let newest = newest.map(|newest| newest.name_any());
    Ok(newest.filter(|name| known != Some(name.as_str()) && followed != Some(name.as_str())))
}

/// Waits a moment until the status of an Application has the end of a Release, which the controller writes first: what the user
/// asks for next then says the same.
pub async fn notices(cluster: &Cluster, application: &str, release: &str) {
    for _ in 0..NOTICE_TRIES {
        let Ok(Some(seen)) = cluster.applications().get_opt(application).await else {
            return;
        };
        let status = seen.status.unwrap_or_default();
        if !is_behind(&status, release) {
            return;
        }
        tokio::time::sleep(NOTICE_PAUSE).await;
    }
}

/// Reports whether the status of an Application is from before the end of its newest Release.
fn is_behind(status: &ApplicationStatus, release: &str) -> bool {
    status.phase == Phase::Running && latest(status).is_none_or(|latest| latest == release)
}

/// Explains an Application that is not as it should be, with the last lines of the log of a Release that failed.
async fn failed(cluster: &Cluster, name: &str, status: &ApplicationStatus) -> Failure {
    let mut text = format!("application {name}: {}", how(status));
    if let Some(latest) = latest(status).filter(|_| !restart_failed(status))
        && let Ok(Some(release)) = cluster.releases().get_opt(latest).await
        && let Some(of) = release.status.filter(|of| of.phase == ReleasePhase::Failed)
    {
        let tail = of.failure.and_then(|failure| failure.log_tail);
        text.push_str(&quoted_log(cluster, tail.as_deref()));
    }
    Failure::new(text)
}

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

/// The generation that the condition Ready is about. `status.observedGeneration` follows only at the end of a rollout.
fn observed(status: &ApplicationStatus) -> i64 {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    let seen = ready.and_then(|ready| ready.observed_generation);
    seen.unwrap_or(-1).max(status.observed_generation)
}

/// How an Application stands, in the words of its condition Ready.
fn how(status: &ApplicationStatus) -> String {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    ready.map_or("not observed yet".to_owned(), |ready: &Condition| {
        ready.message.clone()
    })
}

fn latest(status: &ApplicationStatus) -> Option<&str> {
    status.release.as_ref()?.latest.as_deref()
}

fn active(status: &ApplicationStatus) -> Option<&str> {
    status.release.as_ref()?.active.as_deref()
}

fn restart_failed(status: &ApplicationStatus) -> bool {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    ready.is_some_and(|ready| ready.reason == Reason::RestartFailed.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_from_before_the_end_of_the_release_is_behind() {
        for (phase, latest, behind) in [
            ("running", json!({"latest": "shop-2", "count": 2}), true),
            ("running", json!({"count": 0}), true),
            // A newer Release is under way.
            ("running", json!({"latest": "shop-3", "count": 3}), false),
            ("done", json!({"latest": "shop-2", "count": 2}), false),
            ("error", json!({"latest": "shop-2", "count": 2}), false),
        ] {
            let status = json!({"phase": phase, "release": latest});
            let status: ApplicationStatus = serde_json::from_value(status).unwrap();
            assert_eq!(is_behind(&status, "shop-2"), behind, "{phase} {latest}");
        }
    }
}
