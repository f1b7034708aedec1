//! Waits until an Application is as it should be, and shows the steps of its Releases meanwhile.

use std::cell::Cell;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::connect::{Access, Cluster};
use super::follow::{Deadline, Stand, follow};
use super::release_wait::{quoted_log, wait_for_release};
use crate::api::{
    Application, ApplicationStatus, ConditionType, Phase, REQUESTED_AT, RESTARTED_AT, Reason, Release,
    ReleasePhase, condition,
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
    /// Whether the user has just changed it.
    is_changed: bool,
    /// The newest Release, if it had ended without success before the change, which is about the containers alone.
    earlier: Option<String>,
}

impl<'a> Asked<'a> {
    /// The Application as it was found.
    pub fn seen(application: &'a Application) -> Self {
        let is_answer = Cell::new(true);
        Self {
            application,
            is_answer,
            is_changed: false,
            earlier: None,
        }
    }

    /// The Application as the user has just changed it.
    pub fn changed(application: &'a Application) -> Self {
        let status = application.status.clone().unwrap_or_default();
        let is_answer = Cell::new(!restart_failed(&status));
        Self {
            application,
            is_answer,
            is_changed: true,
            earlier: None,
        }
    }

    /// The same, where the end of this Release was before the change and says nothing about it.
    pub fn apart_from(mut self, earlier: Option<String>) -> Self {
        self.earlier = earlier;
        self
    }

    /// Reports whether what is wrong with the Application is only a Release that ended before the change.
    pub fn is_as_before(&self, status: &ApplicationStatus) -> bool {
        let is_latest = self.earlier.is_some() && latest(status) == self.earlier.as_deref();
        status.phase == Phase::Error && is_latest && active(status).is_some() && !restart_failed(status)
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
        if self.is_changed && application.spec.suspend && !self.application.spec.suspend {
            return Stand::Bad(suspended(&self.application.name_any()));
        }
        if !self.is_answered(&status) {
            return Stand::Waits(how(&status));
        }
        if is_starting(&status, self.is_as_before(&status)) {
            return Stand::Waits(healthy_message(&status));
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
            cancelled = followed_release(cluster, &name, &release, deadline).await?;
            followed = Some(release);
            continue;
        }
        match status.phase {
            Phase::Done | Phase::Idle => return Ok(seen),
            // What runs stays as it is, and that was asked for.
            Phase::Error if asked.application.spec.suspend => return Ok(seen),
            Phase::Error if asked.is_as_before(&status) => {
                if condition::is_true(&status.conditions, ConditionType::Healthy) {
                    return Ok(seen);
                }
                let why = healthy_message(&status);
                return Err(Failure::new(format!("application {name}: {why}")));
            }
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
                    cancelled = followed_release(cluster, &name, &release, deadline).await?;
                }
                followed = Some(release);
            }
        }
    }
}

/// Waits for the end of a Release, and until the status of the Application has it, so that a screen that follows is of one time.
///
/// # Errors
/// The Release did not succeed, or the time is over.
pub async fn noticed_end(
    cluster: &Cluster,
    application: &str,
    release: &str,
    deadline: &Deadline,
) -> Result<Release, Failure> {
    let ended = wait_for_release(cluster, release, deadline).await;
    let goes_on = |failure: &Failure| matches!(failure.code, Code::TimedOut | Code::Interrupted);
    if !ended.as_ref().is_err_and(goes_on) {
        notices(cluster, application, release).await;
    }
    ended
}

/// Waits for the end of a Release. Returns the failure of one that was cancelled or superseded, since a newer one may have taken its
/// place.
async fn followed_release(
    cluster: &Cluster,
    application: &str,
    release: &str,
    deadline: &Deadline,
) -> Result<Option<Failure>, Failure> {
    match noticed_end(cluster, application, release, deadline).await {
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
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    let is_cancelled = ready.is_some_and(|ready| ready.reason == Reason::Cancelled.as_str());
    let code = if is_cancelled {
        Code::Cancelled
    } else {
        Code::Failed
    };
    Failure::with_code(code, text)
}

/// Says that nothing happens for a suspended Application, and what ends that.
pub fn suspension(name: &str) -> String {
    format!(
        "application {name} is suspended (spec.suspend is true), so nothing happens yet: davit resume {name} lets it go on"
    )
}

/// The failure of a command that waits for a suspended Application.
pub fn suspended(name: &str) -> Failure {
    Failure::new(suspension(name))
}

/// The generation that the condition Ready is about. `status.observedGeneration` follows only at the end of a rollout.
pub fn observed(status: &ApplicationStatus) -> i64 {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    let seen = ready.and_then(|ready| ready.observed_generation);
    seen.unwrap_or(-1).max(status.observed_generation)
}

/// How an Application stands, in the words of its condition Ready.
pub fn how(status: &ApplicationStatus) -> String {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    ready.map_or("not observed yet".to_owned(), |ready: &Condition| {
        ready.message.clone()
    })
}

/// How the containers are, in the words of the condition Healthy.
fn healthy_message(status: &ApplicationStatus) -> String {
    let healthy = condition::find(&status.conditions, ConditionType::Healthy);
    healthy.map_or_else(|| how(status), |healthy| healthy.message.clone())
}

/// Reports whether the only thing that is missing is the start of containers. An image that is gone does not come by itself.
fn is_starting(status: &ApplicationStatus, is_as_before: bool) -> bool {
    let has = |kind, reason: Reason| {
        let found = condition::find(&status.conditions, kind);
        found.is_some_and(|found| found.status == "False" && found.reason == reason.as_str())
    };
    let missing = Reason::ReplicasMissing;
    if is_as_before {
        return has(ConditionType::Healthy, missing);
    }
    has(ConditionType::Ready, missing)
        && condition::is_true(&status.conditions, ConditionType::Reconciling)
        && !has(ConditionType::Built, Reason::ImageNotFound)
}

/// The newest Release.
pub fn latest(status: &ApplicationStatus) -> Option<&str> {
    status.release.as_ref()?.latest.as_deref()
}

/// The Release that serves.
pub fn active(status: &ApplicationStatus) -> Option<&str> {
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

    fn application(spec: &serde_json::Value, status: &serde_json::Value) -> Application {
        serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "generation": 2}, "spec": spec, "status": status}))
        .unwrap()
    }

    fn false_for(kind: &str, reason: &str) -> serde_json::Value {
        json!({"type": kind, "status": "False", "reason": reason, "message": format!("{reason} it is"),
            "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn true_for(kind: &str, reason: &str) -> serde_json::Value {
        let mut condition = false_for(kind, reason);
        condition["status"] = json!("True");
        condition
    }

    #[test]
    fn containers_that_start_are_waited_for() {
        let starts = json!([
            false_for("Ready", "ReplicasMissing"),
            true_for("Reconciling", "ReplicasMissing")
        ]);
        let lost = json!([
            false_for("Ready", "ReplicasMissing"),
            true_for("Reconciling", "ReplicasMissing"),
            false_for("Built", "ImageNotFound")
        ]);
        let crashes = json!([
            false_for("Ready", "ContainerExited"),
            true_for("Reconciling", "ContainerExited")
        ]);
        let failed = json!([
            false_for("Ready", "BuildFailed"),
            true_for("Stalled", "BuildFailed"),
            false_for("Healthy", "ReplicasMissing")
        ]);
        for (conditions, earlier, waits) in [
            (&starts, None, true),
            (&lost, None, false),
            (&crashes, None, false),
            // Another Release failed before, which is no answer to what was asked now.
            (&failed, Some("shop-3"), true),
            (&failed, Some("shop-2"), false),
            (&failed, None, false),
        ] {
            let status = json!({"phase": "error", "conditions": conditions,
                "release": {"latest": "shop-3", "active": "shop-1", "count": 3}});
            let app = application(&json!({"source": {"docker": {"image": "a"}}}), &status);
            let asked = Asked::changed(&app).apart_from(earlier.map(str::to_owned));
            let waiting = matches!(asked.judge(&app, Some("shop-3")), Stand::Waits(_));
            assert_eq!(waiting, waits, "{conditions} {earlier:?}");
        }
    }

    #[test]
    fn suspension_meanwhile_ends_the_wait_for_a_change() {
        let status = json!({"phase": "idle", "conditions": [false_for("Ready", "Suspended")]});
        let before = application(&json!({"source": {"docker": {"image": "a"}}}), &status);
        let now = application(
            &json!({"suspend": true, "source": {"docker": {"image": "a"}}}),
            &status,
        );
        let Stand::Bad(failure) = Asked::changed(&before).judge(&now, None) else {
            panic!("it waits");
        };
        assert!(
            failure.message().contains("davit resume shop"),
            "{}",
            failure.message()
        );
        assert!(!matches!(Asked::seen(&before).judge(&now, None), Stand::Bad(_)));
    }

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
