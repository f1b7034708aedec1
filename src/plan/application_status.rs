//! What an Application's status is: a pure function of what was observed. `Ready` is summarised here and nowhere else,
//! and `phase` follows from the conditions alone.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{
    Application, ApplicationStatus, ConditionType, Phase, Reason, ReleasePhase, ReleaseStatus,
    ReleaseSummary, ResolvedSource, Retry, condition,
};
use crate::error::{Class, Problem};
use crate::runtime::Running;

use super::action::{Action, Plan};
use super::conditions::{ConditionValue, built, ended_for_good, healthy, last_word, phase_reason, urls};
use super::containers::{count, hash_of, is_fully_rolled_out};
use super::create_release::{newest_significant, release_name};
use super::desired::PinnedSource;
use super::input::PlanInput;
use super::record::Records;
use super::state::request;
use super::{release_status, retry};

/// What the status is made from.
#[derive(Clone, Debug)]
struct StatusInput<'a> {
    app: &'a Application,
    /// The source as it was resolved, or the reason why it could not be; `None` without a source.
    source: Option<&'a Result<PinnedSource, Problem>>,
    /// Why the desired state is unknown or an action failed, other than because of the source.
    problem: Option<&'a Problem>,
    /// All Releases after the actions, in order.
    releases: &'a [(String, ReleaseStatus)],
    running: &'a Result<Running, Problem>,
    retry: Option<Retry>,
    /// Whether the desired state is the one of the newest Release.
    desired_is_current: bool,
    /// The Release that needs containers and whose image is no longer in the engine.
    missing_image: Option<&'a str>,
    /// The requested reconcile that was answered.
    answered_request: Option<String>,
}

/// Returns the status after the actions; `running` is observed again if containers were deployed.
pub fn status(
    input: &PlanInput<'_>,
    records: &Records,
    running: &Result<Running, Problem>,
    now: Timestamp,
) -> ApplicationStatus {
    let releases = records.in_order();
    let input = StatusInput {
        app: input.app,
        source: input.inputs.source.as_ref(),
        problem: records.problem.as_ref().or_else(|| input.problem()),
        releases: &releases,
        running,
        retry: retry::retry(input, now),
        desired_is_current: input.desired_is_current,
        missing_image: input.missing_image.as_deref(),
        answered_request: request(input.app).filter(|_| !input.inputs.pending && !input.app.spec.suspend),
    };
    written(&input, now)
}

/// Returns the status. Times of conditions that did not change are kept.
fn written(input: &StatusInput<'_>, now: Timestamp) -> ApplicationStatus {
    let generation = input.app.metadata.generation.unwrap_or(1);
    let old = input.app.status.clone().unwrap_or_default();
    let mut new = ApplicationStatus {
        conditions: old.conditions.clone(),
        ..ApplicationStatus::default()
    };
    let active = input
        .releases
        .iter()
        .rev()
        .find(|(_, release)| release.phase == ReleasePhase::Succeeded);
    let begun = newest_significant(input.releases, |(_, release)| release);
    let open = input
        .releases
        .iter()
        .rev()
        .find(|(_, release)| !release.phase.has_ended());

    new.source = resolved(input, &old);
    new.release = summary(input, &old, active);
    new.retry.clone_from(&input.retry);
    new.last_handled_reconcile_at = input
        .answered_request
        .clone()
        .or_else(|| old.last_handled_reconcile_at.clone());

    // What serves: from the moment that the new ones have the name, they do.
    let arrived = open.filter(|(_, release)| {
        let running = input.running.as_ref();
        running.is_ok_and(|running| is_fully_rolled_out(release, running))
    });
    let serving = arrived.or(active).map(|(_, release)| release);
    let mut verdicts = Summary::of(input, serving, open, begun);
    if let Ok(running) = input.running {
        // While nothing serves yet, what is under way.
        let hash = serving.or(open.map(|(_, release)| release)).and_then(hash_of);
        let of = |hash: &String| count(running, hash);
        (new.replicas, new.ready_replicas) = hash.as_ref().map_or((0, 0), of);
        let serves = hash.filter(|_| verdicts.healthy.0 == Some(true));
        new.urls = serves.map_or_else(Vec::new, |hash| urls(running, &hash));
    } else {
        (new.replicas, new.ready_replicas) = (old.replicas, 0);
    }
    let suspended = input.app.spec.suspend && input.app.metadata.deletion_timestamp.is_none();
    if suspended {
        new.source.clone_from(&old.source);
        verdicts.suspend(input, begun, open);
    }
    write(&mut new.conditions, &verdicts, suspended, generation, now);
    new.phase = phase(&new.conditions);
    // The newest generation that reached ready or stalled, so that kstatus waits until then; the -1 of an object that
    // was never looked at stays until then too.
    let settled = verdicts.stalled || verdicts.ready.0 == Some(true) || verdicts.idle || suspended;
    new.observed_generation = if settled {
        generation
    } else {
        old.observed_generation_or_unseen()
    };
    new
}

/// The status to write before a Release for another revision is created or begun, if that is what `plan` does.
///
/// After a crash the source in the status is used until the next poll. It must therefore never be older than the revision
/// of any Release: otherwise a restart would release the older revision again.
pub fn announce(
    app: &Application,
    wanted: Option<&PinnedSource>,
    plan: &Plan,
    now: Timestamp,
) -> Option<ApplicationStatus> {
    let wanted = wanted?;
    let name = plan.actions.iter().find_map(|action| match action {
        Action::Create { number, .. } => Some(release_name(app, *number)),
        Action::Begin { release, .. } => Some(release.clone()),
        _ => None,
    })?;
    let mut status = app.status.clone()?;
    let generation = app.metadata.generation;
    let known = status.source.as_ref()?;
    // The source of an older generation is not used after a restart, and so cannot be wrong.
    if known.revision == wanted.revision.to_string() || known.observed_generation != generation {
        return None;
    }
    status.source = Some(ResolvedSource {
        observed_generation: generation,
        ..release_status::resolved(wanted)
    });
    let message = format!("release {name} is under way");
    let all = &mut status.conditions;
    let generation = generation.unwrap_or(1);
    for (kind, (is_true, reason, message)) in [
        (
            ConditionType::Ready,
            (Some(false), Reason::Progressing, message.clone()),
        ),
        (
            ConditionType::Reconciling,
            (Some(true), Reason::Progressing, message.clone()),
        ),
        (
            ConditionType::Deployed,
            (Some(false), Reason::Pending, message.clone()),
        ),
        (ConditionType::SourceReady, source_is_ready(wanted)),
    ] {
        condition::set(all, kind, is_true, reason, &message, generation, now);
    }
    condition::remove(all, ConditionType::Stalled);
    all.sort_by_key(|condition| order(&condition.type_));
    status.phase = phase(all);
    Some(status)
}

fn source_is_ready(source: &PinnedSource) -> ConditionValue {
    let what = if source.is_image() { "digest" } else { "commit" };
    let message = format!("{what} {} of {}", source.short_revision(), source.locator);
    (Some(true), Reason::Resolved, message)
}

/// The source as it was resolved, with what a Release has found out about it; as it was where it cannot be looked up. Of
/// which spec it is tells whether it still counts while it cannot be looked up, also after a restart.
fn resolved(input: &StatusInput<'_>, old: &ApplicationStatus) -> Option<ResolvedSource> {
    let generation = input.app.metadata.generation;
    let Ok(source) = input.source? else {
        let observed_generation = generation.filter(|_| input.desired_is_current);
        return old.source.clone().map(|source| ResolvedSource {
            observed_generation,
            ..source
        });
    };
    let mut resolved = ResolvedSource {
        observed_generation: generation,
        ..release_status::resolved(source)
    };
    let mut known = input
        .releases
        .iter()
        .rev()
        .filter_map(|(_, release)| release.source.as_ref());
    if let Some(known) = known.find(|known| known.revision == resolved.revision && known.message.is_some()) {
        resolved.message.clone_from(&known.message);
        resolved.author.clone_from(&known.author);
    }
    Some(resolved)
}

/// The Releases in short; their number is never forgotten.
fn summary(
    input: &StatusInput<'_>,
    old: &ApplicationStatus,
    active: Option<&(String, ReleaseStatus)>,
) -> Option<ReleaseSummary> {
    let Some((latest, _)) = input.releases.last() else {
        return old.release.as_ref().map(|release| ReleaseSummary {
            count: release.count,
            ..ReleaseSummary::default()
        });
    };
    let numbers = input.releases.iter().filter_map(|(_, release)| release.number);
    let counted = old.release.as_ref().map_or(0, |release| release.count);
    let source = active.and_then(|(_, release)| release.source.as_ref());
    Some(ReleaseSummary {
        active: active.map(|(name, _)| name.clone()),
        short_revision: source.map(|source| source.short_revision.clone()),
        latest: Some(latest.clone()),
        image: active.and_then(|(_, release)| release.image.clone()),
        count: counted.max(numbers.max().unwrap_or(0)),
    })
}

impl ApplicationStatus {
    fn observed_generation_or_unseen(&self) -> i64 {
        if self.observed_generation == 0 {
            -1
        } else {
            self.observed_generation
        }
    }
}

struct Summary {
    source: Option<ConditionValue>,
    built: Option<ConditionValue>,
    deployed: ConditionValue,
    healthy: ConditionValue,
    ready: ConditionValue,
    reconciling: Option<(Reason, String)>,
    /// Why the serving Release needs the user.
    for_good: Option<String>,
    stalled: bool,
    idle: bool,
}

impl Summary {
    fn of(
        input: &StatusInput<'_>,
        serving: Option<&ReleaseStatus>,
        open: Option<&(String, ReleaseStatus)>,
        newest: Option<&(String, ReleaseStatus)>,
    ) -> Self {
        let source = match input.source {
            Some(Ok(source)) => Some(source_is_ready(source)),
            Some(Err(problem)) => Some((Some(false), problem.reason, problem.message.clone())),
            None => None,
        };
        let built = newest.and_then(|(name, release)| built(name, release, input.missing_image));
        let for_good = input
            .running
            .as_ref()
            .ok()
            .zip(serving)
            .and_then(|(running, serving)| ended_for_good(running, serving));
        // Of the newest one Davit makes it again by itself.
        let newest_name = newest.map(|(name, _)| name);
        let missing = input
            .missing_image
            .filter(|missing| open.is_none() && newest_name.map(String::as_str) != Some(missing));
        let healthy = healthy(input.app, input.running, serving, missing);
        let failed = newest
            .filter(|(_, release)| release.phase.has_ended() && release.phase != ReleasePhase::Succeeded);
        let deployed = match (newest, open) {
            _ if input.app.spec.stopped => (
                Some(false),
                Reason::Stopped,
                "nothing is to run: spec.stopped is true".to_owned(),
            ),
            (None, _) => (Some(false), Reason::Pending, "no release yet".to_owned()),
            (Some((name, release)), _) if release.phase == ReleasePhase::Succeeded => (
                Some(true),
                Reason::Deployed,
                format!("release {name} is what runs"),
            ),
            (Some(_), Some((name, release))) => (
                Some(false),
                phase_reason(release.phase),
                format!("release {name} is under way"),
            ),
            (Some((name, release)), None) => {
                let (reason, message) = last_word(release);
                (Some(false), reason, format!("release {name}: {message}"))
            }
        };
        let mut all = Self {
            source,
            built,
            deployed,
            healthy,
            ready: (Some(false), Reason::Progressing, String::new()),
            reconciling: None,
            for_good,
            stalled: false,
            idle: false,
        };
        all.summarise(input, failed, open);
        all
    }

    /// The one place where Ready, Reconciling and Stalled are decided; the first that applies.
    fn summarise(
        &mut self,
        input: &StatusInput<'_>,
        failed: Option<&(String, ReleaseStatus)>,
        open: Option<&(String, ReleaseStatus)>,
    ) {
        let spec = &input.app.spec;
        let empty = input
            .running
            .as_ref()
            .is_ok_and(|running| running.replicas.is_empty());
        let source_problem = input.source.and_then(|source| source.as_ref().err());
        let not_ready = |reason: Reason, message: &str| (Some(false), reason, message.to_owned());
        if input.app.metadata.deletion_timestamp.is_some() {
            let held = input.running.as_ref().err().or(input.problem);
            let message = held.map_or("what it made is being removed".to_owned(), |problem| {
                format!("what it made is being removed; {}", problem.message)
            });
            self.progress(Reason::Deleting, &message);
        } else if spec.stopped || input.source.is_none() && input.problem.is_none() {
            let (reason, message) = if spec.stopped {
                (Reason::Stopped, "stopped: spec.stopped is true")
            } else {
                (Reason::NoSource, "no source: set spec.source")
            };
            self.ready = not_ready(reason, message);
            if empty && open.is_none() {
                self.idle = true;
            } else {
                self.progress(reason, "the containers are being stopped");
            }
        } else if let Some((name, release)) = open {
            let retry = release
                .conditions
                .iter()
                .any(|c| c.type_ == "Succeeded" && c.reason == Reason::ProgressingWithRetry.as_str());
            let text = release
                .conditions
                .iter()
                .find(|c| c.type_ == "Succeeded")
                .map_or("", |c| c.message.as_str());
            if let Err(problem) = input.running {
                self.problem(problem);
            } else if retry {
                let reason = release
                    .failure
                    .as_ref()
                    .and_then(|failure| failure.reason.parse().ok());
                self.problem(&Problem::new(
                    Class::Transient,
                    reason.unwrap_or(Reason::ProgressingWithRetry),
                    format!("release {name}: {text}"),
                ));
            } else if let Some(problem) = release_status::hindrance(release) {
                self.problem(&Problem::new(
                    Class::Transient,
                    problem.reason,
                    format!("release {name}: {}", problem.message),
                ));
            } else if let Some(waits_for) = release_status::waits_for(release) {
                // The same problem as it was observed, if it was, has the class that decides the conditions.
                let observed = source_problem.into_iter().chain(input.problem);
                let class = observed
                    .filter(|problem| problem.reason == waits_for.reason)
                    .map(|problem| problem.class)
                    .next();
                self.problem(&Problem::new(
                    class.unwrap_or(waits_for.class),
                    waits_for.reason,
                    format!("release {name}: {}", waits_for.message),
                ));
            } else {
                let message = under_way(name, release);
                self.progress(Reason::Progressing, &message);
            }
        } else if let Some(problem) = input
            .problem
            .or(source_problem.filter(|problem| self.matters(problem, input.desired_is_current)))
        {
            self.problem(problem);
        } else if let Err(problem) = input.running {
            self.problem(problem);
        } else if let Some((name, release)) = failed {
            let (reason, message) = last_word(release);
            let rolled = if self.healthy.0 == Some(true) {
                "; the release before serves"
            } else {
                ""
            };
            self.stall(reason, &format!("release {name}: {message}{rolled}"));
        } else if self.deployed.0 != Some(true) {
            self.progress(Reason::Progressing, "work is under way");
        } else if self.healthy.0 != Some(true) {
            let (_, reason, message) = self.healthy.clone();
            match self.for_good.take() {
                Some(why) => self.stall(Reason::ContainerExited, &why),
                None => self.progress(reason, &message),
            }
        } else {
            self.ready = (Some(true), Reason::Ready, self.deployed.2.clone());
        }
    }

    /// Replaces the conditions while `spec.suspend` is set. Ready is True if the state that was desired last serves, because
    /// the present one is not determined.
    fn suspend(
        &mut self,
        input: &StatusInput<'_>,
        newest: Option<&(String, ReleaseStatus)>,
        open: Option<&(String, ReleaseStatus)>,
    ) {
        (self.reconciling, self.stalled, self.idle) = (None, false, false);
        let waits = open.filter(|(_, release)| {
            let works = [
                ReleasePhase::Fetching,
                ReleasePhase::Building,
                ReleasePhase::Pushing,
            ];
            !works.contains(&release.phase) && release.queue.is_none()
        });
        if let Some((name, _)) = waits {
            let what = if input.app.spec.stopped {
                "ends when spec.suspend is false, since spec.stopped is true"
            } else {
                "goes on when spec.suspend is false"
            };
            let message = format!("release {name} {what}");
            self.deployed = (Some(false), Reason::Pending, message);
        } else if let Some((name, _)) = newest
            && !input.desired_is_current
            && self.deployed.0 == Some(true)
        {
            let what = match input.problem {
                Some(problem) => format!(
                    "whether release {name} is what is wanted now is not known: {}",
                    problem.message
                ),
                None => {
                    format!("release {name} is what runs, and not what is wanted now; spec.suspend is true")
                }
            };
            self.deployed = (Some(false), Reason::Pending, what);
        }
        let message =
            "reconciliation is suspended (spec.suspend is true); the status shows the running containers";
        let ready = self.deployed.0 == Some(true) && self.healthy.0 == Some(true);
        self.ready = (ready.then_some(true), Reason::Suspended, message.to_owned());
    }

    /// Whether a source that cannot be looked up is more than an outage. While one lasts, what was found last is wanted;
    /// of another source nobody knows.
    fn matters(&self, problem: &Problem, known: bool) -> bool {
        problem.class == Class::Terminal || self.deployed.0 != Some(true) || !known
    }

    fn progress(&mut self, reason: Reason, message: &str) {
        self.ready = (Some(false), reason, message.to_owned());
        self.reconciling = Some((reason, message.to_owned()));
    }

    fn stall(&mut self, reason: Reason, message: &str) {
        self.ready = (Some(false), reason, message.to_owned());
        self.stalled = true;
    }

    fn problem(&mut self, problem: &Problem) {
        match problem.class {
            Class::Terminal => self.stall(problem.reason, &problem.message),
            Class::Waiting => self.progress(problem.reason, &problem.message),
            Class::Transient => {
                self.ready = (Some(false), problem.reason, problem.message.clone());
                self.reconciling = Some((Reason::ProgressingWithRetry, problem.message.clone()));
            }
        }
    }
}

/// Describes an open Release, and what keeps its containers from being healthy.
fn under_way(name: &str, release: &ReleaseStatus) -> String {
    let trouble = release.progress.as_ref();
    let trouble = trouble.map_or(String::new(), |progress| format!("; {}", progress.message));
    format!("release {name} is under way{trouble}")
}

fn write(all: &mut Vec<Condition>, verdicts: &Summary, suspended: bool, generation: i64, now: Timestamp) {
    let always = |verdict| Some(verdict);
    for (kind, verdict) in [
        (ConditionType::Ready, always(&verdicts.ready)),
        (ConditionType::Deployed, always(&verdicts.deployed)),
        (ConditionType::Healthy, always(&verdicts.healthy)),
        (ConditionType::SourceReady, verdicts.source.as_ref()),
        (ConditionType::Built, verdicts.built.as_ref()),
    ] {
        if suspended && kind == ConditionType::SourceReady {
            continue; // As it was when it was last looked at.
        }
        match verdict {
            Some((status, reason, message)) => {
                condition::set(all, kind, *status, *reason, message, generation, now);
            }
            None => condition::remove(all, kind),
        }
    }
    match &verdicts.reconciling {
        Some((reason, message)) if !verdicts.stalled => {
            condition::set(
                all,
                ConditionType::Reconciling,
                Some(true),
                *reason,
                message,
                generation,
                now,
            );
        }
        _ => condition::remove(all, ConditionType::Reconciling),
    }
    if verdicts.stalled {
        condition::set(
            all,
            ConditionType::Stalled,
            Some(true),
            verdicts.ready.1,
            &verdicts.ready.2,
            generation,
            now,
        );
    } else {
        condition::remove(all, ConditionType::Stalled);
    }
    all.sort_by_key(|condition| order(&condition.type_));
}

fn order(kind: &str) -> usize {
    [
        "Ready",
        "Reconciling",
        "Stalled",
        "SourceReady",
        "Built",
        "Deployed",
        "Healthy",
    ]
    .iter()
    .position(|known| *known == kind)
    .unwrap_or(usize::MAX)
}

/// The phase that conditions mean: a pure function of them, as API.md has it.
pub fn phase(conditions: &[Condition]) -> Phase {
    let reason =
        |kind| condition::find(conditions, kind).and_then(|found| found.reason.parse::<Reason>().ok());
    let is_true = |kind| condition::is_true(conditions, kind);
    if reason(ConditionType::Ready) == Some(Reason::Suspended) {
        return match reason(ConditionType::Deployed) {
            _ if is_true(ConditionType::Ready) => Phase::Done,
            Some(Reason::Progressing) => Phase::Running,
            // Whatever runs: nothing is under way.
            Some(Reason::Pending | Reason::Stopped) | None => Phase::Idle,
            Some(_) => Phase::Error,
        };
    }
    if is_true(ConditionType::Stalled) {
        Phase::Error
    } else if is_true(ConditionType::Ready) {
        Phase::Done
    } else if matches!(
        reason(ConditionType::Ready),
        Some(Reason::Stopped | Reason::NoSource) | None
    ) {
        if is_true(ConditionType::Reconciling) {
            Phase::Running
        } else {
            Phase::Idle
        }
    } else if reason(ConditionType::Reconciling) == Some(Reason::ProgressingWithRetry)
        || is_true(ConditionType::Deployed) && reason(ConditionType::Ready) != Some(Reason::Deleting)
    {
        Phase::Error
    } else {
        Phase::Running
    }
}
