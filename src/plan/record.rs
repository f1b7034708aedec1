//! What the actions of a plan came to: the pure half of executing them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{Application, CauseKind, LABEL_PREVIEW_OF, Reason, ReleaseStatus, ReleaseType};
use crate::error::{Class, Problem};
use crate::runtime::{Progress, Running};

use super::action::{Action, CreateReason, ReleaseOutcome};
use super::desired::Desired;
use super::hook::{self, HookEnd};
use super::input::PlanInput;
use super::release_status::Earlier;
use super::state::{JobState, ReleaseView, active, last_handled};
use super::step::Step;
use super::{release_status, restart, rollback, trigger};

/// The result of an action.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few exist at a time, and for a moment")]
pub enum ActionResult {
    /// The action was carried out.
    Done,
    /// A Release was created with this name and status.
    Created {
        /// The name.
        name: String,
        /// The status that was written, boxed because it is large.
        status: Box<ReleaseStatus>,
    },
    /// A Release was created before, and its creation was not observed yet.
    Exists,
    /// The job after it was started or handed over; `None` if there is no such job.
    Job(Option<JobState>),
    /// The containers after a step of the rollout.
    Progress {
        /// The progress.
        progress: Progress,
        /// The wanted number of replicas.
        replicas: u32,
    },
    /// The containers were left as they are.
    Skipped,
    /// The hook of a Release runs, or ended so.
    Hook(Option<HookEnd>),
    /// The Release ended.
    Ended {
        /// The last output of its containers, if they are the cause.
        output: String,
    },
    /// The engine refused the containers; another try would fail as well.
    Refused {
        /// The cause.
        problem: Problem,
        /// The last output of the containers.
        output: String,
    },
    /// All that the Application had is removed, or nothing of it is left to remove.
    Removed(bool),
    /// Images or logs could not be removed, so the Application stays.
    NotRemoved(Problem),
    /// The action failed.
    Failed(Problem),
}

/// The state after the actions of a plan.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The status of each Release, by name.
    pub statuses: BTreeMap<String, ReleaseStatus>,
    /// The first problem of an action.
    pub problem: Option<Problem>,
    /// The progress of the containers, if they were deployed.
    pub progress: Option<Progress>,
    /// Whether to reconcile again at once, because a decision depends on what was just recorded.
    pub requeue_now: bool,
    /// Whether everything was removed.
    pub removed: bool,
}

impl Records {
    /// Returns the statuses before the actions, brought up to date with the job and the containers.
    pub fn new(input: &PlanInput<'_>, now: Timestamp) -> Self {
        let mut all = Self::default();
        for release in &input.releases {
            let mut status = release.status.clone();
            if !release.has_ended() {
                status.observed_generation = release.generation;
            }
            all.statuses.insert(release.name.clone(), status);
        }
        if let Some((release, job)) = input.job_and_release() {
            all.change(&release.name, |status| match &job.state {
                _ if status.phase.has_ended() => {}
                JobState::Ended(Err(failure)) if failure.is_transient() => {
                    release_status::retrying(status, failure, now);
                }
                state => release_status::job(status, state, now),
            });
        }
        if input.app.spec.suspend {
            let works =
                |release: &ReleaseView| input.job_of(release).is_some_and(|job| !job.state.has_ended());
            for release in &input.releases {
                if !works(release) && !release.spec.cancel {
                    all.change(&release.name, |status| release_status::suspended(status, now));
                }
            }
        }
        if let (Some(active), Ok(running)) = (active(&input.releases), &input.running) {
            let stopped = input.app.spec.stopped && !input.app.spec.suspend;
            all.change(&active.name, |status| {
                release_status::ended(status, running, stopped);
            });
        }
        all
    }

    fn change(&mut self, release: &str, change: impl FnOnce(&mut ReleaseStatus)) {
        if let Some(status) = self.statuses.get_mut(release) {
            change(status);
        }
    }

    /// Completes the statuses after the actions: titles, and what the containers of an open Release are waiting for.
    pub fn finish(&mut self, input: &PlanInput<'_>, running: &Result<Running, Problem>) {
        for release in input.releases.iter().filter(|release| !release.has_ended()) {
            self.change(&release.name, |status| status.title = release.title(status));
        }
        if let Ok(running) = running {
            for status in self.statuses.values_mut() {
                release_status::observe_progress(status, running);
            }
        }
    }

    /// Returns the Releases in order.
    pub fn in_order(&self) -> Vec<(String, ReleaseStatus)> {
        let mut releases: Vec<(String, ReleaseStatus)> = self
            .statuses
            .iter()
            .map(|(name, status)| (name.clone(), status.clone()))
            .collect();
        releases.sort_by(|a, b| {
            let key = |release: &(String, ReleaseStatus)| release.1.number.unwrap_or(i64::MAX);
            key(a).cmp(&key(b)).then_with(|| a.0.cmp(&b.0))
        });
        releases
    }
}

/// Returns the status of a Release that Davit creates. A Release of another revision begins with a later reconcile.
pub fn created(
    input: &PlanInput<'_>,
    name: &str,
    number: i64,
    desired: &Desired,
    revision: Option<&str>,
    reason: CreateReason,
    now: Timestamp,
) -> ReleaseStatus {
    let mut status = ReleaseStatus {
        observed_generation: 1,
        number: Some(number),
        ..ReleaseStatus::default()
    };
    if revision.is_none() {
        begin(&mut status, input, name, desired, reason, now);
    }
    status
}

/// Reports whether an Application is the preview of a pull request.
fn is_preview(app: &Application) -> bool {
    let labels = app.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(LABEL_PREVIEW_OF))
}

fn begin(
    status: &mut ReleaseStatus,
    input: &PlanInput<'_>,
    name: &str,
    desired: &Desired,
    reason: CreateReason,
    now: Timestamp,
) {
    let mut others = input.releases.iter().rev();
    let before = others.find(|release| release.name != name && release.has_begun());
    let ran = active(&input.releases).filter(|release| release.name != name);
    let is_rollback = reason == CreateReason::RolledBack;
    // A rollback does not need the source, whose present state may be unknown: it handles what was handled before.
    let last = last_handled(&input.releases).filter(|_| is_rollback);
    let handled = match (input.desired.known(), last.and_then(ReleaseView::handled)) {
        (None, Some(last)) => last.to_owned(),
        (wanted, _) => wanted.unwrap_or(desired).fingerprint(),
    };
    release_status::begin(
        status,
        desired,
        Some(handled),
        Earlier { before, ran },
        reason,
        now,
    );
    if let Some(cause) = &mut status.cause {
        match cause.kind {
            CauseKind::Poll => *cause = trigger::cause(input.app, desired, input.requested),
            // Davit writes the spec of a preview.
            CauseKind::Spec if is_preview(input.app) => cause.kind = CauseKind::Preview,
            _ => {}
        }
    }
    restart::mark(status, input.app);
    if is_rollback {
        let origin = rollback::current(input.app, &input.releases).and_then(Result::ok);
        rollback::begin(status, origin, input.app);
    }
    release_status::recall(status, &input.releases);
}

/// The reason of the Release that begins.
fn why_created(input: &PlanInput<'_>, release: &str) -> CreateReason {
    match input.releases.iter().find(|view| view.name == release) {
        Some(view) if view.spec.kind == ReleaseType::Rollback => CreateReason::RolledBack,
        Some(view) if view.manual => CreateReason::Created,
        // Davit asks for a revision only to build a lost image again.
        Some(view) if view.spec.revision.is_some() => CreateReason::ImageLost,
        _ => CreateReason::Change,
    }
}

/// Records the end of a hook, which fails the Release unless its code is 0.
fn hook_ended(records: &mut Records, release: &str, end: HookEnd, now: Timestamp) {
    let wanted = records.statuses.get(release).and_then(hook::pending);
    let problem = match end.code {
        Some(0) => None,
        Some(code) => Some(hook::failed(code)),
        None => Some(hook::too_late(&wanted.unwrap_or_default())),
    };
    let code = end.code.map(|code| i32::try_from(code).unwrap_or(i32::MAX));
    records.change(release, |status| release_status::hook_ended(status, code, now));
    if let Some(problem) = problem {
        fail(records, release, Step::PreDeploy, problem, end.output, now);
    }
    records.requeue_now = true;
}

fn ended(records: &mut Records, input: &PlanInput<'_>, name: &str, outcome: &ReleaseOutcome, now: Timestamp) {
    let mut releases = input.releases.iter();
    let is_rollback = releases
        .any(|view| view.name == name && view.spec.kind == ReleaseType::Rollback && !view.has_begun());
    records.change(name, |status| {
        release_status::end(status, outcome, now);
        // One that was refused never began, and says all the same what brought it about.
        if is_rollback && status.cause.is_none() {
            status.cause = CreateReason::RolledBack.cause().map(release_status::cause);
        }
    });
    records.requeue_now = true;
}

/// Records what an action came to.
pub fn record(
    records: &mut Records,
    input: &PlanInput<'_>,
    action: &Action,
    result: ActionResult,
    now: Timestamp,
) {
    match (action, result) {
        (Action::Deploy { release, .. }, result) => deployed(records, release.as_deref(), result, now),
        (Action::StartJob { release, .. }, ActionResult::Failed(problem)) => {
            fail(records, release, Step::Fetching, problem, String::new(), now);
        }
        (Action::RunHook { release, .. }, ActionResult::Hook(None)) => {
            records.change(release, |status| release_status::hook_runs(status, now));
        }
        (Action::RunHook { release, .. }, ActionResult::Hook(Some(end))) => {
            hook_ended(records, release, end, now);
        }
        (Action::RunHook { release, .. }, ActionResult::Refused { problem, output }) => {
            fail(records, release, Step::PreDeploy, problem, output, now);
        }
        (_, ActionResult::Failed(problem)) => {
            records.problem.get_or_insert(problem);
        }
        (_, ActionResult::Removed(removed)) => records.removed = removed,
        (_, ActionResult::NotRemoved(problem)) => {
            records.removed = false;
            records.problem.get_or_insert(problem);
        }
        (Action::Number { release, number }, _) => {
            records.change(release, |status| status.number = Some(*number));
        }
        (Action::Create { .. }, result) => {
            if let ActionResult::Created { name, status } = result {
                records.statuses.insert(name, *status);
            }
            records.requeue_now = true;
        }
        (Action::Begin { release, desired }, _) => {
            let reason = why_created(input, release);
            records.change(release, |status| {
                begin(status, input, release, desired, reason, now);
            });
        }
        (Action::StartJob { release, .. } | Action::HandOver { release, .. }, result) => {
            if let ActionResult::Job(Some(state)) = result {
                records.change(release, |status| release_status::job(status, &state, now));
            } else {
                // The job ended meanwhile: the next reconcile decides again.
                records.requeue_now = true;
            }
        }
        (Action::Wait { release, problem }, _) => {
            records.change(release, |status| release_status::waiting(status, problem, now));
        }
        (Action::CancelJob, _) => {
            for release in input.releases.iter().filter(|release| release.spec.cancel) {
                records.change(&release.name, |status| release_status::cancelling(status, now));
            }
        }
        (
            Action::RecordImage {
                release,
                output,
                reused,
            },
            _,
        ) => records.change(release, |status| {
            release_status::image(status, output, *reused, now);
            if input.app.spec.suspend {
                release_status::suspended(status, now);
            }
        }),
        (Action::End { release, outcome }, result) => {
            let outcome = match (outcome, result) {
                (ReleaseOutcome::Failed { step, problem, .. }, ActionResult::Ended { output })
                    if !output.is_empty() =>
                {
                    ReleaseOutcome::Failed {
                        step: *step,
                        problem: problem.clone(),
                        log_tail: output,
                    }
                }
                _ => outcome.clone(),
            };
            ended(records, input, release, &outcome, now);
        }
        (Action::Restart { release }, _) => {
            records.change(release, |status| restart::begin(status, input.app));
        }
        (Action::Prune { release, .. }, _) => {
            records.statuses.remove(release);
        }
        (
            Action::Adopt { .. }
            | Action::RunHook { .. }
            | Action::ForgetJob
            | Action::RemoveContainers { .. }
            | Action::Orphan
            | Action::Forget,
            _,
        ) => {}
    }
}

fn fail(
    records: &mut Records,
    release: &str,
    step: Step,
    problem: Problem,
    log_tail: String,
    now: Timestamp,
) {
    let outcome = ReleaseOutcome::Failed {
        step,
        problem,
        log_tail,
    };
    records.change(release, |status| release_status::end(status, &outcome, now));
    records.requeue_now = true;
}

fn deployed(records: &mut Records, release: Option<&str>, result: ActionResult, now: Timestamp) {
    let open = release.filter(|release| {
        let status = records.statuses.get(*release);
        status.is_some_and(|status| !status.phase.has_ended())
    });
    match (result, open) {
        (ActionResult::Progress { progress, replicas }, open) => {
            if let Some(release) = open {
                records.change(release, |status| {
                    release_status::progress(status, &progress, replicas, now);
                });
                // The end of a Release lets a queued one begin, and the history be pruned.
                let status = records.statuses.get(release);
                records.requeue_now |= status.is_some_and(|status| status.phase.has_ended());
            }
            records.progress = Some(progress);
        }
        (ActionResult::Refused { problem, output }, Some(release)) => {
            fail(records, release, Step::Deploying, problem, output, now);
        }
        (ActionResult::Refused { problem, .. } | ActionResult::Failed(problem), _) => {
            if let Some(release) = release {
                records.change(release, |status| release_status::hindered(status, &problem, now));
            }
            records.problem.get_or_insert(problem);
        }
        _ => {}
    }
}

/// Reports whether an action is tried again by itself. No event reports that a host port is free again.
pub fn retries(problem: &Problem) -> bool {
    problem.class != Class::Terminal || problem.reason == Reason::PortTaken
}
