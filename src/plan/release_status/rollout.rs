//! The containers of a Release: how far the rollout is, and what keeps it from going on.

use jiff::Timestamp;

use crate::api::{
    ConditionType, EndedContainer, Reason, ReleasePhase, ReleaseProgress, ReleaseStatus, condition,
};
use crate::error::{Class, Problem};
use crate::plan::containers::{has_ended_for_good, hash_of, replicas_of, restart_of};
use crate::plan::describe::unhealthy;
use crate::plan::step::Step;
use crate::runtime::{Progress, ReplicaState, Running};

use super::end::close;
use super::{enter, finish_step, is_rolling, step_began, summarise, waits};

/// How far the containers of a Release are.
pub fn progress(status: &mut ReleaseStatus, progress: &Progress, replicas: u32, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    match progress {
        Progress::Rolling { created, .. } => {
            let phase = if *created >= replicas {
                ReleasePhase::Verifying
            } else {
                ReleasePhase::Deploying
            };
            if hindrance(status).is_some() {
                let reason = if status.phase == ReleasePhase::Verifying {
                    Reason::Verifying
                } else {
                    Reason::Deploying
                };
                summarise(status, reason, reason.sentence(), now);
            }
            if status.phase == ReleasePhase::Verifying && phase == ReleasePhase::Deploying {
                return; // A container that is put right in the middle of it is no step back.
            }
            if step_began(status, Step::Deploying).is_none() {
                enter(status, ReleasePhase::Deploying, now);
            }
            enter(status, phase, now);
        }
        Progress::Complete => {
            if step_began(status, Step::Deploying).is_none() {
                enter(status, ReleasePhase::Deploying, now);
            }
            finish_step(status, Reason::Healthy, now);
            close(
                status,
                ReleasePhase::Succeeded,
                Reason::Succeeded,
                "every replica is healthy",
                now,
            );
        }
    }
}

/// Records what keeps the containers of an open Release from being healthy: once for each kind of trouble, although the
/// answer of a health check may differ each time.
pub fn observe_progress(status: &mut ReleaseStatus, running: &Running) {
    let Some(hash) = hash_of(status).filter(|_| is_rolling(status)) else {
        status.progress = None;
        return;
    };
    let is_starting = running
        .replicas
        .iter()
        .any(|replica| matches!(replica.state, ReplicaState::Created | ReplicaState::Starting));
    match (unhealthy(running, &hash), &status.progress) {
        (Some((reason, _)), Some(known)) if known.reason == reason => {}
        (Some((reason, message)), _) => status.progress = Some(ReleaseProgress { reason, message }),
        // A container that is restarted shows nothing for a moment.
        (None, Some(_)) if is_starting => {}
        (None, _) => status.progress = None,
    }
}

/// A step towards its containers could not be taken; it is tried again until the deadline, which counts from the first try.
pub fn hindered(status: &mut ReleaseStatus, problem: &Problem, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if problem.reason == Reason::EngineUnavailable {
        return outage(status, Some(problem), now); // No fault of the Release, so its deadline does not count.
    }
    if step_began(status, Step::Deploying).is_none() {
        enter(status, ReleasePhase::Deploying, now);
    }
    summarise(status, problem.reason, &problem.message, now);
}

/// What a Release in its rollout is hindered by, if by anything.
pub fn hindrance(status: &ReleaseStatus) -> Option<Problem> {
    let said =
        condition::find(&status.conditions, ConditionType::Succeeded).filter(|_| is_rolling(status))?;
    let reason: Reason = said.reason.parse().ok()?;
    let usual = matches!(
        reason,
        Reason::Deploying
            | Reason::Verifying
            | Reason::Cancelling
            | Reason::ProgressingWithRetry
            | Reason::Suspended
    );
    (!usual).then(|| Problem::new(Class::Terminal, reason, said.message.clone()))
}

/// What runs cannot be seen, or can be seen again, in the middle of a rollout. That is no fault of the Release: its
/// deadline counts anew from when the containers can be worked on again.
pub fn outage(status: &mut ReleaseStatus, problem: Option<&Problem>, now: Timestamp) {
    if !is_rolling(status) {
        return;
    }
    match problem {
        Some(problem) => summarise(status, Reason::ProgressingWithRetry, &problem.message, now),
        None if waits(status) => roll_anew(status, now),
        None => {}
    }
}

/// The Application that it waited for is there, and looked after.
pub fn with_application(status: &mut ReleaseStatus, now: Timestamp) {
    let waited = |reason: Reason| {
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        ready.is_some_and(|ready| ready.reason == reason.as_str())
    };
    if waited(Reason::Suspended) && is_rolling(status) {
        roll_anew(status, now);
    } else if waited(Reason::ApplicationNotFound) || waited(Reason::Suspended) {
        summarise(status, Reason::Pending, Reason::Pending.sentence(), now);
    }
}

/// Its Application is suspended and nothing works for it: it begins, or goes on, when that is looked after again.
pub fn suspended(status: &mut ReleaseStatus, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if !is_rolling(status) {
        status.queue = None;
        enter(status, ReleasePhase::Pending, now);
    }
    let how = if status.inputs.is_empty() {
        "begins"
    } else {
        "continues"
    };
    let message = format!("spec.suspend of the Application is true; the release {how} when it is false");
    summarise(status, Reason::Suspended, &message, now);
}

/// Its containers can be worked on again: its deadline counts anew.
fn roll_anew(status: &mut ReleaseStatus, now: Timestamp) {
    status.phase = ReleasePhase::Pending;
    status.steps.retain(|step| step.name != Step::Verifying.as_str());
    enter(status, ReleasePhase::Deploying, now);
}

/// What of a Release that serves has run to its end is remembered, whatever becomes of its containers; and forgotten where
/// it is stopped, since what is started then runs again.
pub fn ended(status: &mut ReleaseStatus, running: &Running, stopped: bool) {
    if stopped {
        return status.ended.clear();
    }
    let Some(hash) = hash_of(status).filter(|_| status.phase == ReleasePhase::Succeeded) else {
        return;
    };
    let restart = restart_of(status);
    for replica in running
        .of(&hash)
        .filter(|replica| has_ended_for_good(replica, restart))
    {
        if let ReplicaState::Exited { code, .. } = replica.state
            && !status.ended.iter().any(|known| known.id == replica.id)
        {
            status.ended.push(EndedContainer {
                id: replica.id.clone(),
                name: replica.name.clone(),
                exit_code: code,
            });
        }
    }
    // The same containers may have been started manually many times.
    let most = usize::try_from(replicas_of(status)).unwrap_or_default();
    let surplus = status.ended.len().saturating_sub(most);
    status.ended.drain(..surplus);
}
