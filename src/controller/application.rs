//! One pass over one Application: resolve, validate, observe, plan, execute, report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action as Requeue;

use crate::api::{
    Application, FINALIZER, REQUESTED_AT, Reason, Release, ReleasePhase, ReleaseStatus, ReleaseType, Retry,
};
use crate::error::{Class, Problem};
use crate::model::AppId;
use crate::plan::application_status::{Facts, status};
use crate::plan::backoff::pause;
use crate::plan::desired::{Desired, PinnedSource, Values, validate};
use crate::plan::fingerprint::changed;
use crate::plan::state::{JobOutput, JobState, JobView, ReleaseView, World, active, target};
use crate::plan::{
    Plan, application_status, has_arrived, is_to_make, plan, redaction_policy, release_status,
    rest_of_deadline,
};
use crate::runtime::{Progress, Running};

use super::dereference::Reader;
use super::execute::Pass;
use super::resolve::Resolution;
use super::{Ctx, Error, finalizer, observe};

/// How long a pass waits before it looks again where nothing else would wake it.
const SLOW_CHECK: Duration = Duration::from_mins(10);

/// One pass.
///
/// # Errors
/// The API server does not answer: tried again soon.
pub async fn reconcile(seen: Arc<Application>, ctx: Arc<Ctx>) -> Result<Requeue, Error> {
    let id = AppId::new(seen.namespace().unwrap_or_default(), seen.name_any());
    ctx.metrics.pass("Application");
    tracing::debug!(app = %id, "pass");
    let Some(app) = observe::application(&ctx.client, &id).await? else {
        return Ok(Requeue::await_change());
    };
    let deleted = app.metadata.deletion_timestamp.is_some();
    if deleted && !app.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(Requeue::await_change());
    }
    let suspended = app.spec.suspend && !deleted;
    if !deleted && !suspended {
        finalizer::set(&ctx.client, &app, true).await?;
    }
    let now = Timestamp::now();
    let (objects, mut views): (Vec<Release>, Vec<ReleaseView>) =
        observe::releases(&ctx.client, &id).await?.into_iter().unzip();
    let reader = Reader::new(ctx.client.clone(), &id.namespace);
    let gathered = if suspended {
        as_it_was(&ctx, &id, &app, &views, &reader).await
    } else {
        gather(&ctx, &id, &app, &views, &reader).await
    };
    let wanted = gathered.wanted.as_ref().ok().and_then(Option::as_ref);
    let redaction = redaction_policy(gathered.values.as_ref(), wanted, &views);
    let running = ctx
        .runtime
        .observe(&id, &redaction)
        .await
        .map_err(|error| Problem::of(&error));
    for view in &mut views {
        release_status::outage(&mut view.status, running.as_ref().err(), now);
        if !app.spec.suspend && !view.has_ended() {
            release_status::with_application(&mut view.status, now);
        }
    }
    let lost = lost(&ctx, &app, &views, running.as_ref().ok()).await;
    let world = World {
        app: &app,
        wanted: gathered.wanted.clone(),
        target: gathered.target.clone(),
        releases: views,
        job: ctx.jobs.view(&id),
        image: gathered.image.clone(),
        access: gathered.access(),
        running,
        retry_at: retry_at(&app),
        lost,
        requested: request(&app).is_some() && !gathered.resolution.pending,
    };
    let steps = plan(&world, now);
    let announced = announce(&ctx, &app, &world, &steps, now).await?;
    let mut pass = Pass {
        ctx: &ctx,
        id: &id,
        app: &announced,
        releases: &world.releases,
        statuses: statuses(&world, now),
        origin: gathered.resolution.origin.clone(),
        values: gathered.values.clone(),
        handled: gathered
            .wanted
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .map(Desired::identity),
        reader: &reader,
        redaction: &redaction,
        problem: None,
        progress: None,
        again: false,
        gone: false,
    };
    for action in &steps.actions {
        pass.act(action, now).await;
    }
    if pass.gone && deleted {
        return Ok(Requeue::await_change());
    }
    for view in world.releases.iter().filter(|view| !view.has_ended()) {
        if let Some(status) = pass.statuses.get_mut(&view.name) {
            status.title = view.title(status);
        }
    }
    let retry = retry(&app, &world, &gathered, now);
    let next = [
        retry.as_ref().and_then(|retry| rest_of_pause(retry, now)),
        steps.check_in,
        gathered.resolution.check_in,
        next_check(&pass, &world, now),
    ]
    .into_iter()
    .flatten()
    .min();
    report(&pass, &gathered, &objects, &world, retry, now).await?;
    Ok(Requeue::requeue(
        next.unwrap_or(SLOW_CHECK)
            .clamp(Duration::from_millis(1), SLOW_CHECK),
    ))
}

/// What is wanted, as far as it can be found out.
struct Gathered {
    resolution: Resolution,
    values: Option<Values>,
    wanted: Result<Option<Desired>, Problem>,
    target: Option<Result<Desired, Problem>>,
    image: Result<Option<JobOutput>, Problem>,
    /// What is wanted is known: it is what the newest Release is for, or that is being made.
    known: bool,
}

impl Gathered {
    /// Why a job could not get at the source, if so.
    fn access(&self) -> Result<(), Problem> {
        match (&self.resolution.origin, &self.resolution.source) {
            (Some(_), _) => Ok(()),
            (None, Some(Err(problem))) => Err(problem.clone()),
            (None, _) => Err(no_source()),
        }
    }
}

/// Writes the revision of a Release to the Application before the Release gets it, and returns the Application as it is
/// then.
async fn announce(
    ctx: &Ctx,
    app: &Application,
    world: &World<'_>,
    steps: &Plan,
    now: Timestamp,
) -> Result<Application, Error> {
    let mut announced = app.clone();
    let wanted = world.wanted.as_ref().ok().and_then(Option::as_ref);
    if let Some(status) = application_status::announce(app, wanted.map(|wanted| &wanted.source), steps, now) {
        ctx.report.tell(app, None, app.status.as_ref(), &status).await?;
        announced.status = Some(status);
    }
    Ok(announced)
}

async fn gather(
    ctx: &Ctx,
    id: &AppId,
    app: &Application,
    views: &[ReleaseView],
    reader: &Reader,
) -> Gathered {
    let current = target(views, app.spec.concurrency_policy);
    // Somebody asks for a deployment of what the ref names now, or for a look now.
    let by_hand = current.filter(|release| {
        !release.has_begun() && release.spec.revision.is_none() && release.spec.kind == ReleaseType::Deploy
    });
    let asked = by_hand
        .map(|release| release.name.clone())
        .or_else(|| request(app));
    let resolution = ctx.resolver.resolve(id, app, reader, asked).await;
    let values = reader.values(&app.spec).await;
    let decide = |source: PinnedSource| decide(ctx, id, app, source, &values);
    let wanted = match &resolution.source {
        None => Ok(None),
        Some(Ok(source)) => decide(source.clone()).map(Some),
        // An outage of the source's server holds up nothing that needs no server.
        Some(Err(problem)) => match &resolution.last {
            Some(source) => decide(source.clone()).map(Some),
            None => Err(problem.clone()),
        },
    };
    let target = current.map(|release| {
        let source = app.spec.source.as_ref();
        if !release.has_begun() {
            super::kinds::fits(source, &release.spec)?;
        }
        let pinned = source.zip(pin(release, views, app));
        match pinned.and_then(|(source, revision)| super::kinds::pinned(source, revision)) {
            Some(source) => decide(source),
            None => wanted.clone().and_then(|wanted| wanted.ok_or_else(no_source)),
        }
    });
    let image = match (&target, current) {
        (Some(Ok(desired)), Some(release)) if release.status.image.is_none() => {
            observe::image(ctx, desired).await
        }
        _ => Ok(None),
    };
    Gathered {
        resolution,
        values: values.ok(),
        known: wanted.is_ok(),
        wanted,
        target,
        image,
    }
}

/// What a spec wants with this source and these values.
fn decide(
    ctx: &Ctx,
    id: &AppId,
    app: &Application,
    source: PinnedSource,
    values: &Result<Values, Problem>,
) -> Result<Desired, Problem> {
    let values = values.as_ref().map_err(Clone::clone)?;
    validate(id, &app.spec, source, values, &ctx.install)
}

/// What is known of a suspended Application without a look at its source: whether its spec is still what the newest
/// Release was made for.
async fn as_it_was(
    ctx: &Ctx,
    id: &AppId,
    app: &Application,
    views: &[ReleaseView],
    reader: &Reader,
) -> Gathered {
    let values = reader.values(&app.spec).await;
    let newest = views.iter().rev().find(|view| view.has_begun());
    let revision = newest
        .and_then(|view| view.status.source.as_ref())
        .map(|source| source.revision.clone());
    let source = app.spec.source.as_ref().zip(revision);
    let source = source.and_then(|(source, revision)| super::kinds::pinned(source, revision));
    let wanted = source
        .map(|source| decide(ctx, id, app, source, &values))
        .transpose();
    let same = |view: &ReleaseView| {
        let wanted = wanted.as_ref().ok().and_then(Option::as_ref);
        wanted.is_some_and(|wanted| changed(&view.status.inputs, &wanted.inputs).next().is_none())
    };
    Gathered {
        resolution: Resolution::default(),
        values: values.ok(),
        known: newest.map_or(app.spec.source.is_none(), same) && !app.spec.stopped,
        wanted,
        target: None,
        image: Ok(None),
    }
}

/// The Release of which containers are to be made, where its image is not in the engine any more.
async fn lost(
    ctx: &Ctx,
    app: &Application,
    views: &[ReleaseView],
    running: Option<&Running>,
) -> Option<String> {
    let unwanted = app.spec.stopped || app.spec.suspend || app.metadata.deletion_timestamp.is_some();
    let release = is_to_make(views, app.spec.concurrency_policy, running.filter(|_| !unwanted)?)?;
    let image = release.status.image.as_ref()?;
    let gone = matches!(ctx.runtime.has_image(image).await, Ok(false));
    gone.then(|| release.name.clone())
}

fn no_source() -> Problem {
    Problem::new(
        Class::Terminal,
        Reason::NoSource,
        "the Application has no source: set spec.source",
    )
}

/// The revision that a Release is pinned to: its own record, what it asks for, or for a Redeploy the newest one.
fn pin(release: &ReleaseView, views: &[ReleaseView], app: &Application) -> Option<String> {
    let own = release
        .status
        .source
        .as_ref()
        .map(|source| source.revision.clone());
    own.or_else(|| release.spec.revision.as_ref().map(|asked| asked_for(asked, app)))
        .or_else(|| {
            // One that was cancelled or superseded never ran, nor did it fail to.
            let ended = |view: &&ReleaseView| {
                let phase = view.status.phase;
                view.has_begun() && matches!(phase, ReleasePhase::Succeeded | ReleasePhase::Failed)
            };
            let before = views.iter().rev().find(ended);
            let source = before
                .and_then(|view| view.status.source.as_ref())
                .map(|source| source.revision.clone());
            source.filter(|_| release.spec.kind == ReleaseType::Redeploy)
        })
}

/// A digest is one of the image that the source names.
fn asked_for(revision: &str, app: &Application) -> String {
    let image = app.spec.source.as_ref().and_then(|source| source.docker.as_ref());
    match image {
        Some(source) if revision.starts_with("sha256:") => {
            let name = source.image.split('@').next().unwrap_or_default();
            let slash = name.rfind('/').map_or(0, |at| at + 1);
            let end = name
                .get(slash..)
                .and_then(|last| last.find(':'))
                .map_or(name.len(), |at| slash + at);
            format!("{}@{revision}", name.get(..end).unwrap_or(name))
        }
        _ => revision.to_owned(),
    }
}

/// The request to look now that was not yet acted on.
fn request(app: &Application) -> Option<String> {
    let handled = app
        .status
        .as_ref()
        .and_then(|status| status.last_handled_reconcile_at.clone());
    REQUESTED_AT
        .iter()
        .filter_map(|key| app.annotations().get(*key))
        .max()
        .filter(|asked| Some(*asked) != handled.as_ref())
        .cloned()
}

fn retry_at(app: &Application) -> Option<Timestamp> {
    app.status.as_ref()?.retry.as_ref()?.not_before.parse().ok()
}

fn rest_of_pause(retry: &Retry, now: Timestamp) -> Option<Duration> {
    let next: Timestamp = retry.not_before.parse().ok()?;
    Duration::try_from(next.duration_since(now))
        .ok()
        .filter(|rest| !rest.is_zero())
}

/// The job that is there, with the Release of today that it is for.
fn job_and_release<'w>(world: &'w World<'_>) -> Option<(&'w ReleaseView, &'w JobView)> {
    let mut releases = world.releases.iter();
    releases.find_map(|release| Some((release, world.job_of(release)?)))
}

/// The Releases' statuses as they are before the actions: brought up to where the job stands.
fn statuses(world: &World<'_>, now: Timestamp) -> BTreeMap<String, ReleaseStatus> {
    let mut all: BTreeMap<String, ReleaseStatus> = world
        .releases
        .iter()
        .map(|view| (view.name.clone(), view.status.clone()))
        .collect();
    for view in world.releases.iter().filter(|view| !view.has_ended()) {
        if let Some(status) = all.get_mut(&view.name) {
            status.observed_generation = view.generation;
        }
    }
    if let Some((release, job)) = job_and_release(world)
        && let Some(status) = all.get_mut(&release.name)
        && !status.phase.has_ended()
    {
        match &job.state {
            JobState::Ended(Err(failure)) if failure.is_passing() => {
                release_status::retrying(status, failure, now);
            }
            state => release_status::job(status, state, now),
        }
    }
    if world.app.spec.suspend {
        let works = |view: &ReleaseView| world.job_of(view).is_some_and(|job| !job.state.has_ended());
        let idle = |view: &&ReleaseView| !works(view) && !view.spec.cancel;
        for view in world.releases.iter().filter(idle) {
            if let Some(status) = all.get_mut(&view.name) {
                release_status::suspended(status, now);
            }
        }
    }
    let active = active(&world.releases).and_then(|view| all.get_mut(&view.name));
    if let (Some(status), Ok(running)) = (active, &world.running) {
        release_status::ended(status, running, world.app.spec.stopped && !world.app.spec.suspend);
    }
    all
}

/// When the containers want another look.
fn next_check(pass: &Pass<'_>, world: &World<'_>, now: Timestamp) -> Option<Duration> {
    let again = pass.again.then_some(Duration::ZERO);
    // Of the statuses as they are now: a rollout that this pass began has its deadline too. While the containers cannot be
    // seen the deadline does not count, so its end is nothing to wait for.
    let seen = world.running.as_ref().ok().filter(|_| !world.app.spec.suspend);
    let deadline = pass
        .statuses
        .values()
        // Who serves has no deadline any more, however long the old ones take.
        .filter(|status| seen.is_some_and(|running| !has_arrived(status, running)))
        .filter_map(|status| rest_of_deadline(&pass.app.spec, status, now))
        .min();
    let rolling = match &pass.progress {
        Some(Progress::Rolling { check_in, .. }) => *check_in,
        Some(Progress::Complete) | None => None,
    };
    // Nothing tells that a port of the machine has become free, but what is to run begins as soon as it has.
    let trouble = pass
        .problem
        .as_ref()
        .filter(|problem| problem.class != Class::Terminal || problem.reason == Reason::PortTaken)
        .map(|_| Duration::from_secs(5));
    [again, deadline, rolling, trouble].into_iter().flatten().min()
}

/// Writes what is different, the Releases first, so that the Application never says more than they do.
async fn report(
    pass: &Pass<'_>,
    gathered: &Gathered,
    objects: &[Release],
    world: &World<'_>,
    retry: Option<Retry>,
    now: Timestamp,
) -> Result<(), Error> {
    for object in objects {
        let name = object.name_any();
        if let Some(status) = pass.statuses.get(&name) {
            pass.ctx
                .report
                .status(object, object.status.as_ref(), status)
                .await?;
        }
    }
    let mut releases: Vec<(String, ReleaseStatus)> = pass
        .statuses
        .iter()
        .map(|(name, status)| (name.clone(), status.clone()))
        .collect();
    releases.sort_by(|a, b| {
        let key = |release: &(String, ReleaseStatus)| release.1.number.unwrap_or(i64::MAX);
        key(a).cmp(&key(b)).then_with(|| a.0.cmp(&b.0))
    });
    let problem = pass
        .problem
        .clone()
        .or_else(|| match (&gathered.wanted, &gathered.resolution.source) {
            (Err(problem), Some(Ok(_))) => Some(problem.clone()),
            (Err(problem), None) if pass.app.spec.suspend => Some(problem.clone()),
            _ => None,
        });
    let running = match &pass.progress {
        Some(_) => pass
            .ctx
            .runtime
            .observe(pass.id, pass.redaction)
            .await
            .map_err(|error| Problem::of(&error)),
        None => world.running.clone(),
    };
    let facts = Facts {
        app: pass.app,
        source: gathered.resolution.source.clone(),
        problem,
        releases: &releases,
        running,
        retry,
        known: gathered.known,
        lost: world.lost.clone(),
        handled_request: request(pass.app).filter(|_| !gathered.resolution.pending && !pass.app.spec.suspend),
    };
    let new = status(&facts, now);
    let newest = releases.last().map(|(name, _)| pass.about_release(name));
    let report = &pass.ctx.report;
    Ok(report
        .tell(pass.app, newest.as_ref(), pass.app.status.as_ref(), &new)
        .await?)
}

/// Failures in a row of a job or of resolving, and when the next try is: kept in status so that a restart keeps it.
fn retry(app: &Application, world: &World<'_>, gathered: &Gathered, now: Timestamp) -> Option<Retry> {
    let old = app.status.as_ref().and_then(|status| status.retry.clone());
    let failure = job_and_release(world).and_then(|(_, job)| match &job.state {
        JobState::Ended(Err(failure)) => Some(failure).filter(|failure| failure.is_passing()),
        _ => None,
    });
    if let Some(failure) = failure {
        if retry_at(app).is_some_and(|next| next > failure.at) {
            return old; // It is on record.
        }
        let attempts = old.map_or(0, |retry| retry.attempts) + 1;
        let wait = pause(
            u32::try_from(attempts).unwrap_or(1),
            now.as_millisecond().unsigned_abs(),
        );
        let at = now
            .checked_add(jiff::SignedDuration::try_from(wait).unwrap_or_default())
            .unwrap_or(now);
        return Some(Retry {
            attempts,
            not_before: at.to_string(),
        });
    }
    if gathered.resolution.attempts > 0 {
        let attempts = i32::try_from(gathered.resolution.attempts).unwrap_or(i32::MAX);
        let known = old.filter(|retry| retry.attempts == attempts);
        let wait = gathered.resolution.check_in.unwrap_or_default();
        let at = now
            .checked_add(jiff::SignedDuration::try_from(wait).unwrap_or_default())
            .unwrap_or(now);
        return known.or(Some(Retry {
            attempts,
            not_before: at.to_string(),
        }));
    }
    // While the retried job runs, or waits for that after a restart, the count stays: only an end without failure clears it.
    let runs = world.job.as_ref().is_some_and(|job| !job.state.has_ended());
    let waits = |release: &ReleaseView| !release.has_ended() && release_status::waits(&release.status);
    old.filter(|_| runs || world.releases.iter().any(waits))
}
