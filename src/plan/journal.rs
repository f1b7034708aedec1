//! What a Release's status becomes by each thing that happens to it. Pure; an ended Release never changes again.

use jiff::Timestamp;

use crate::api::{
    BuilderUsed, Cause, CauseKind, ConditionType, Failure, QueuePlace, Reason, ReleasePhase, ReleaseStatus,
    ResolvedSource, Step, condition,
};
use crate::error::{Class, Problem, cut};
use crate::runtime::Progress;

use super::desired::{Desired, PinnedSource};
use super::fingerprint::{VALUES, changed, why};
use super::observed::{JobFailure, JobOutput, JobState, ReleaseView};
use super::{End, Occasion, Unwanted};

/// The source as it stands in status.
pub fn resolved(source: &PinnedSource) -> ResolvedSource {
    ResolvedSource {
        kind: source.kind.to_owned(),
        revision: source.revision.clone(),
        short_revision: source.short_revision(),
        message: None,
        author: None,
        observed_generation: None,
    }
}

/// Pins a Release: what it is made of, and what is different from the one before.
pub fn begin(
    status: &mut ReleaseStatus,
    desired: &Desired,
    handled: Option<String>,
    before: Option<&ReleaseView>,
    occasion: Occasion,
    now: Timestamp,
) {
    let old = before.map(|release| &release.status.inputs);
    let old_revision = before
        .and_then(|release| release.status.source.as_ref())
        .map(|source| source.revision.as_str());
    let revision = &desired.source.revision;
    status.why = why(old, &desired.inputs, old_revision, revision, &desired.origins);
    status.why.truncate(20);
    if status.why.is_empty() {
        status.why.extend(occasion.why().map(str::to_owned));
    }
    let kind = occasion.cause().unwrap_or_else(|| match status.why.as_slice() {
        [only] if only.starts_with("revision ") => CauseKind::Poll,
        _ if before.is_some_and(|before| only_values(before, desired)) => CauseKind::Secret,
        _ => CauseKind::Spec,
    });
    status.cause = Some(Cause { kind, actor: None });
    status.source = Some(resolved(&desired.source));
    status.inputs.clone_from(&desired.inputs);
    if let Some(values) = values_mark(status, before, desired) {
        status.inputs.insert(VALUES.to_owned(), values);
    }
    status.image_tag.clone_from(&desired.tag);
    status.config = Some(crate::api::Later(desired.config.clone()));
    status.handled = handled;
    status.started_at = Some(now.to_string());
    enter(status, ReleasePhase::Pending, now);
}

/// Fills in what another Release has found out about the same revision, since an image that is there is not fetched for.
pub fn recall(status: &mut ReleaseStatus, releases: &[ReleaseView]) {
    let Some(source) = &mut status.source else { return };
    let mut known = releases
        .iter()
        .rev()
        .filter_map(|release| release.status.source.as_ref());
    if let Some(known) = known.find(|known| known.revision == source.revision && known.message.is_some()) {
        source.message.clone_from(&known.message);
        source.author.clone_from(&known.author);
    }
}

/// What marks the containers of a Release beside its inputs: the first Release with these values of Secrets and ConfigMaps.
///
/// A container that had to be made again in the meantime has the values of its time. With the old values back, the
/// digests are those of before, and such a container would count as one that has them.
fn values_mark(status: &ReleaseStatus, before: Option<&ReleaseView>, desired: &Desired) -> Option<String> {
    let before = before?;
    let others = changed(&before.status.inputs, &desired.inputs).any(|field| is_value(field, desired));
    if others {
        status.number.map(|number| number.to_string())
    } else {
        before.status.inputs.get(VALUES).cloned()
    }
}

/// Whether a field's value comes from what the spec refers to.
fn is_value(field: &str, desired: &Desired) -> bool {
    desired.origins.contains_key(field)
        // A key that is gone from an object that is taken whole has no value any more to come from anywhere.
        || field.starts_with("run.env.") && !desired.inputs.contains_key(field)
}

/// True where the spec is the same and something that it refers to is not.
fn only_values(before: &ReleaseView, desired: &Desired) -> bool {
    let config = before.status.config.as_ref().map(|config| &config.0);
    config == Some(&desired.config)
        && changed(&before.status.inputs, &desired.inputs).all(|field| is_value(field, desired))
}

/// How the job of a Release stands.
pub fn job(status: &mut ReleaseStatus, job: &JobState, now: Timestamp) {
    match job {
        JobState::Queued { position } => {
            enter(status, ReleasePhase::Pending, now);
            status.queue = Some(QueuePlace {
                position: i32::try_from(*position).unwrap_or(i32::MAX),
            });
            let message = format!("waits for a place among the builds at once; its place is {position}");
            summarise(status, Reason::Queued, &message, now);
        }
        JobState::Fetching { since } => {
            status.queue = None;
            enter(status, ReleasePhase::Fetching, *since);
        }
        JobState::Building { since } => {
            status.queue = None;
            enter(status, ReleasePhase::Building, *since);
        }
        JobState::Ended(Ok(output)) => commit(status, output.message.as_ref(), output.author.as_ref()),
        JobState::Ended(Err(failure)) => failed_of(status, failure),
    }
}

/// What was fetched, and that it came to building, is told also where nothing came of it.
fn failed_of(status: &mut ReleaseStatus, failure: &JobFailure) {
    if let Some(at) = failure.built_at
        && step_began(status, "Building") != Some(at)
    {
        enter(status, ReleasePhase::Building, at);
    }
    if let Some((message, author)) = &failure.commit {
        commit(status, Some(message), Some(author));
    }
}

fn commit(status: &mut ReleaseStatus, message: Option<&String>, author: Option<&String>) {
    if let Some(source) = &mut status.source {
        source.message = message.cloned().or_else(|| source.message.take());
        source.author = author.cloned().or_else(|| source.author.take());
    }
}

/// The work failed for a passing reason and is tried again.
pub fn retrying(status: &mut ReleaseStatus, failure: &JobFailure, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    status.queue = None;
    failed_of(status, failure);
    finish_step(status, failure.problem.reason, now);
    status.failure = Some(Failure {
        step: failure.step.to_owned(),
        reason: failure.problem.reason.to_string(),
        message: failure.problem.message.clone(),
        log_tail: Some(cut(&failure.log_tail, 2048)).filter(|tail| !tail.is_empty()),
    });
    status.phase = ReleasePhase::Pending;
    summarise(
        status,
        Reason::ProgressingWithRetry,
        &failure.problem.message,
        now,
    );
}

/// It waits until what could not be done is tried again.
pub fn waits(status: &ReleaseStatus) -> bool {
    condition::find(&status.conditions, ConditionType::Succeeded)
        .is_some_and(|last| last.reason == Reason::ProgressingWithRetry.as_str())
}

/// The image of a Release is there.
pub fn image(status: &mut ReleaseStatus, output: &JobOutput, reused: bool, now: Timestamp) {
    if let Some(at) = output.fetched_at
        && step_began(status, "Fetching").is_none()
    {
        enter(status, ReleasePhase::Fetching, at);
    }
    if let Some(at) = output.built_at {
        enter(status, ReleasePhase::Building, at);
    }
    status.queue = None;
    finish_step(
        status,
        if reused {
            Reason::ImageReused
        } else {
            Reason::Built
        },
        now,
    );
    status.image = Some(output.image.clone());
    if output.builder.is_none() {
        status.image_tag.clone_from(&output.tag);
    }
    status.failure = None;
    if let Some(builder) = &output.builder {
        status.builder = Some(BuilderUsed {
            kind: builder.clone(),
            reused,
        });
    }
    commit(status, output.message.as_ref(), output.author.as_ref());
}

/// How far the containers of a Release are.
pub fn progress(status: &mut ReleaseStatus, progress: &Progress, replicas: u32, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    match progress {
        Progress::Rolling {
            created, waiting_for, ..
        } => {
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
            if step_began(status, "Deploying").is_none() {
                enter(status, ReleasePhase::Deploying, now);
            }
            enter(status, phase, now);
            let _ = waiting_for; // It changes with every check: told by events, not by a write for each.
        }
        Progress::Complete => {
            if step_began(status, "Deploying").is_none() {
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

/// A step towards its containers could not be taken; it is tried again until the deadline, which counts from the first try.
pub fn hindered(status: &mut ReleaseStatus, problem: &Problem, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if problem.reason == Reason::EngineUnavailable {
        return outage(status, Some(problem), now); // No fault of the Release, so its deadline does not count.
    }
    if step_began(status, "Deploying").is_none() {
        enter(status, ReleasePhase::Deploying, now);
    }
    summarise(status, problem.reason, &problem.message, now);
}

/// What a Release in its rollout is hindered by, if by anything.
pub fn hindrance(status: &ReleaseStatus) -> Option<Problem> {
    let rolling = matches!(status.phase, ReleasePhase::Deploying | ReleasePhase::Verifying);
    let said = condition::find(&status.conditions, ConditionType::Succeeded).filter(|_| rolling)?;
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
    if !matches!(status.phase, ReleasePhase::Deploying | ReleasePhase::Verifying) {
        return;
    }
    match problem {
        Some(problem) => summarise(status, Reason::ProgressingWithRetry, &problem.message, now),
        None if waits(status) => {
            status.phase = ReleasePhase::Pending;
            status.steps.retain(|step| step.name != "Verifying");
            enter(status, ReleasePhase::Deploying, now);
        }
        None => {}
    }
}

/// A Release has ended otherwise than well.
pub fn end(status: &mut ReleaseStatus, end: &End, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    match end {
        End::Cancelled => close(
            status,
            ReleasePhase::Cancelled,
            Reason::Cancelled,
            "it was cancelled; create another Release, or change the spec, to deploy again",
            now,
        ),
        End::Superseded => close(
            status,
            ReleasePhase::Superseded,
            Reason::Superseded,
            "a newer release took its place",
            now,
        ),
        End::Unwanted(why) => {
            // What it was for is not handled: it is released when something is to run again.
            status.handled = None;
            let (reason, message) = match why {
                Unwanted::Stopped => (
                    Reason::Stopped,
                    "spec.stopped of the Application became true before it ended",
                ),
                Unwanted::NoSource => (
                    Reason::NoSource,
                    "spec.source of the Application was removed before it ended",
                ),
                Unwanted::Deleted => (Reason::Deleting, "the Application was deleted before it ended"),
            };
            close(status, ReleasePhase::Cancelled, reason, message, now);
        }
        End::Failed {
            step,
            problem,
            log_tail,
        } => {
            status.failure = Some(Failure {
                step: (*step).to_owned(),
                reason: problem.reason.to_string(),
                message: problem.message.clone(),
                log_tail: Some(cut(log_tail, 2048)).filter(|tail| !tail.is_empty()),
            });
            close(
                status,
                ReleasePhase::Failed,
                problem.reason,
                &problem.message,
                now,
            );
        }
    }
}

/// The Application that it names is not there: it waits for it, as objects of one `kubectl apply` come in any order.
pub fn without_application(status: &mut ReleaseStatus, application: &str, now: Timestamp) {
    let message = format!(
        "spec.application: there is no Application {application} in this namespace; the release begins when there is"
    );
    summarise(status, Reason::ApplicationNotFound, &message, now);
}

/// Its Application is suspended: it begins when that is looked after again.
pub fn suspended(status: &mut ReleaseStatus, now: Timestamp) {
    if status.inputs.is_empty() && !status.phase.has_ended() {
        let message = "spec.suspend of the Application is true; the release begins when it is false";
        summarise(status, Reason::Suspended, message, now);
    }
}

/// Its image was made, and its Application is suspended: the containers are made when that is looked after again.
pub fn held(status: &mut ReleaseStatus, now: Timestamp) {
    enter(status, ReleasePhase::Pending, now);
    let message = "the image is there; spec.suspend of the Application is true, and the release goes on when it is false";
    summarise(status, Reason::Suspended, message, now);
}

/// The Application that it waited for is there, and looked after.
pub fn with_application(status: &mut ReleaseStatus, now: Timestamp) {
    let waited = condition::find(&status.conditions, ConditionType::Ready).is_some_and(|ready| {
        [Reason::ApplicationNotFound, Reason::Suspended]
            .map(Reason::as_str)
            .contains(&ready.reason.as_str())
    });
    if waited {
        summarise(status, Reason::Pending, Reason::Pending.sentence(), now);
    }
}

/// Cancel was asked for, and the work is being stopped.
pub fn cancelling(status: &mut ReleaseStatus, now: Timestamp) {
    if !status.phase.has_ended() {
        summarise(status, Reason::Cancelling, "the work is being stopped", now);
    }
}

fn close(status: &mut ReleaseStatus, phase: ReleasePhase, reason: Reason, message: &str, now: Timestamp) {
    finish_step(status, reason, now);
    status.queue = None;
    status.phase = phase;
    status.finished_at = Some(now.to_string());
    let began = status
        .started_at
        .as_ref()
        .and_then(|text| text.parse::<Timestamp>().ok())
        .unwrap_or(now);
    if status.started_at.is_none() {
        status.started_at = Some(now.to_string());
    }
    status.duration = Some(human(now.as_second() - began.as_second()));
    summarise(status, reason, message, now);
}

/// Enters a phase: the step before ends, a new one begins.
fn enter(status: &mut ReleaseStatus, phase: ReleasePhase, at: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if status.phase != phase || status.conditions.is_empty() {
        let (name, reason) = match phase {
            ReleasePhase::Pending => ("", Reason::Pending),
            ReleasePhase::Fetching => ("Fetching", Reason::Fetching),
            ReleasePhase::Building => ("Building", Reason::Building),
            ReleasePhase::Pushing => ("Pushing", Reason::Progressing),
            ReleasePhase::Deploying => ("Deploying", Reason::Deploying),
            ReleasePhase::Verifying => ("Verifying", Reason::Verifying),
            ReleasePhase::Succeeded
            | ReleasePhase::Failed
            | ReleasePhase::Cancelled
            | ReleasePhase::Superseded => return,
        };
        finish_step(status, Reason::Succeeded, at);
        if !name.is_empty() {
            // A step that is tried again stands once, with the time of its latest try.
            status.steps.retain(|step| step.name != name);
            status.steps.push(Step {
                name: name.to_owned(),
                started_at: at.to_string(),
                finished_at: None,
                reason: None,
                exit_code: None,
            });
        }
        status.phase = phase;
        summarise(status, reason, reason.sentence(), at);
    }
}

fn finish_step(status: &mut ReleaseStatus, reason: Reason, at: Timestamp) {
    if let Some(step) = status.steps.last_mut()
        && step.finished_at.is_none()
    {
        step.finished_at = Some(at.to_string());
        step.reason = Some(reason.to_string());
    }
}

/// When a step began, if it has.
pub fn step_began(status: &ReleaseStatus, name: &str) -> Option<Timestamp> {
    status
        .steps
        .iter()
        .find(|step| step.name == name)
        .and_then(|step| step.started_at.parse().ok())
}

/// The conditions of a Release: Succeeded is Unknown until it has ended, and says the same as Ready.
fn summarise(status: &mut ReleaseStatus, reason: Reason, message: &str, now: Timestamp) {
    let generation = status.observed_generation.max(1);
    let verdict = match status.phase {
        ReleasePhase::Succeeded => Some(true),
        ReleasePhase::Failed | ReleasePhase::Cancelled | ReleasePhase::Superseded => Some(false),
        ReleasePhase::Pending
        | ReleasePhase::Fetching
        | ReleasePhase::Building
        | ReleasePhase::Pushing
        | ReleasePhase::Deploying
        | ReleasePhase::Verifying => None,
    };
    let all = &mut status.conditions;
    condition::set(
        all,
        ConditionType::Succeeded,
        verdict,
        reason,
        message,
        generation,
        now,
    );
    condition::set(
        all,
        ConditionType::Ready,
        Some(verdict == Some(true)),
        reason,
        message,
        generation,
        now,
    );
    match verdict {
        None => condition::set(
            all,
            ConditionType::Reconciling,
            Some(true),
            reason,
            message,
            generation,
            now,
        ),
        Some(_) => condition::remove(all, ConditionType::Reconciling),
    }
    if verdict == Some(false) {
        condition::set(
            all,
            ConditionType::Stalled,
            Some(true),
            reason,
            message,
            generation,
            now,
        );
    } else {
        condition::remove(all, ConditionType::Stalled);
    }
}

/// Seconds as kubectl shows them in a column.
fn human(seconds: i64) -> String {
    match seconds {
        i64::MIN..=119 => format!("{}s", seconds.max(0)),
        120..=7199 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests;
