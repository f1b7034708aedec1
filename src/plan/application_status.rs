//! The status of an Application: a pure function of what was observed.

mod summary;
mod write;

use jiff::Timestamp;

use crate::api::{
    Application, ApplicationStatus, ConditionType, Reason, ReleasePhase, ReleaseStatus, ReleaseSummary,
    ResolvedSource, condition,
};
use crate::error::Problem;
use crate::runtime::Running;

use super::action::{Action, Plan};
use super::conditions::{ConditionValue, healthy, urls};
use super::containers::{count, hash_of, is_fully_rolled_out};
use super::create_release::release_name;
use super::desired::PinnedSource;
use super::fingerprint::RESTARTED;
use super::hold::hold;
use super::input::PlanInput;
use super::newest::newest_significant;
use super::record::Records;
use super::state::request;
use super::{release_status, restart, retry};
use summary::{StatusInput, Summary, source_is_ready};
pub(super) use write::order;
use write::{phase, write};

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
        last: input.inputs.last.as_ref(),
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
        previews: old.previews.clone(),
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
    // A restart is complete when the new containers are healthy; until then those with the mark from before serve.
    let restart = serving.filter(|_| open.is_none()).and_then(|serving| {
        let is_complete = healthy(input.app, input.running, Some(serving), None).is_true();
        restart::before(input.app, serving)
            .filter(|_| !is_complete)
            .map(|before| (before, serving))
    });
    new.restarted_at = match (&restart, serving) {
        (None, Some(serving)) if open.is_none() => serving.inputs.get(RESTARTED).cloned(),
        _ => old.restarted_at.clone(),
    };
    let serving = restart.as_ref().map(|(before, _)| before).or(serving);
    let mut conditions = Summary::of(input, serving, open, begun);
    if let Some((_, wanted)) = &restart {
        conditions.restart(input, wanted, now);
    }
    if let Ok(running) = input.running {
        // While nothing serves yet, what is under way.
        let hash = serving.or(open.map(|(_, release)| release)).and_then(hash_of);
        let of = |hash: &String| count(running, hash);
        (new.replicas, new.ready_replicas) = hash.as_ref().map_or((0, 0), of);
        new.selector.clone_from(&running.selector);
        let serves = hash.filter(|_| conditions.healthy.is_true());
        new.urls = serves.map_or_else(Vec::new, |hash| urls(running, &hash));
    } else {
        (new.replicas, new.ready_replicas) = (old.replicas, 0);
        new.selector.clone_from(&old.selector);
    }
    let suspended = input.app.spec.suspend && input.app.metadata.deletion_timestamp.is_none();
    if suspended {
        new.source.clone_from(&old.source);
        conditions.suspend(input, begun, open);
    }
    write(&mut new.conditions, &conditions, suspended, generation, now);
    new.phase = phase(&new.conditions);
    // The newest generation that reached ready or stalled, so that kstatus waits until then; the -1 of an object that
    // was never looked at stays until then too.
    let settled = conditions.stalled || conditions.ready.is_true() || conditions.idle || suspended;
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
    for (kind, value) in [
        (
            ConditionType::Ready,
            ConditionValue::no(Reason::Progressing, &message),
        ),
        (
            ConditionType::Reconciling,
            ConditionValue::yes(Reason::Progressing, &message),
        ),
        (
            ConditionType::Deployed,
            ConditionValue::no(Reason::Pending, &message),
        ),
        (ConditionType::SourceReady, source_is_ready(wanted)),
    ] {
        condition::set(
            all,
            kind,
            value.status,
            value.reason,
            &value.message,
            generation,
            now,
        );
    }
    condition::remove(all, ConditionType::Stalled);
    all.sort_by_key(|condition| order(&condition.type_));
    status.phase = phase(all);
    Some(status)
}

/// Returns the resolved source, with the message and author that a Release has read. While it cannot be resolved, the source
/// of the status is kept; its `observedGeneration` decides whether it still counts, also after a restart.
fn resolved(input: &StatusInput<'_>, old: &ApplicationStatus) -> Option<ResolvedSource> {
    let generation = input.app.metadata.generation;
    let Ok(source) = input.source? else {
        let observed_generation = generation.filter(|_| input.desired_is_current);
        // A delivery may have announced a later one than the status has.
        let known = old.source.as_ref().map(|source| &source.revision);
        let later = input
            .last
            .filter(|last| known.is_some_and(|known| *known != last.revision.to_string()));
        let later = later.map(release_status::resolved);
        return later.or_else(|| old.source.clone()).map(|source| ResolvedSource {
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

/// Summarises the Releases. Their count never falls.
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
        held_by: hold(input.app, input.releases, |(name, release)| (name, release)).map(|hold| hold.release),
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
