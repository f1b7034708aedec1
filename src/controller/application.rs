//! Reconciles one Application and its Releases: observe, dereference, decide, plan, execute, report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;
use kube::{Resource as _, ResourceExt as _};

use crate::api::{Application, ApplicationStatus, Reason, Release, ReleaseStatus};
use crate::error::{Class, Problem};
use crate::model::AppId;
use crate::plan::application_status::{self, status};
use crate::plan::commit_status;
use crate::plan::endpoint;
use crate::plan::routes::{self, ProxyView};
use crate::plan::state::ReleaseView;
use crate::plan::{Decision, Inputs, Plan, PlanInput, Records, pin, plan, requeue, rollback};
use crate::runtime::Running;

use super::context::Context;
use super::dereference::Reader;
use super::execute::{Executor, about_release};
use super::problem::Error;
use super::provider_use::used_by;
use super::resolve::Resolution;
use super::resolve::credentials::Origin;
use super::uploads;
use super::{finalizer, observe, preview};

/// When a deleted Application is looked at again whose previews are being removed.
const PREVIEWS_END: Duration = Duration::from_secs(5);

/// Reconciles one Application and its Releases.
///
/// # Errors
/// The API server cannot be reached. The reconcile is tried again soon.
pub async fn reconcile(seen: Arc<Application>, ctx: Arc<Context>) -> Result<Requeue, Error> {
    let id = AppId::new(seen.namespace().unwrap_or_default(), seen.name_any());
    let _pass = ctx.metrics.pass("Application");
    tracing::debug!(app = %id, "reconcile");
    let found = observe::application(&ctx.client, &id).await?; // client
    let Some(app) = found.filter(|app| !finalizer::is_released(app)) else {
        if let Some(routes) = &ctx.routes {
            routes.remove(&id);
        }
        ctx.previews.forget(&id);
        return Ok(Requeue::await_change());
    };
    finalizer::ensure(&ctx.client, &app).await?; // client
    if preview::holds_deletion(&ctx, &app) {
        return Ok(Requeue::requeue(PREVIEWS_END)); // in the background
    }
    let now = Timestamp::now();
    let reader = Reader::new(ctx.client.clone(), &id.namespace);
    let (objects, releases) = observe::releases(&ctx.client, &id).await?; // client
    let (inputs, origin) = dereference(&ctx, &id, &app, &releases, &reader).await; // client: source, credentials, values
    let decision = decide(&ctx, &id, &app, &releases, &inputs); // pure
    let observed = observe::state(&ctx, &id, &app, &releases, &inputs, &decision).await; // runtime
    let input = PlanInput::new(&app, releases, inputs, decision, observed, now); // pure
    let plan = plan(&input, now); // pure
    let app = announce(&ctx, &input, &plan, now).await?; // client
    let forge = origin.as_ref().and_then(Origin::forge).cloned();
    let executor = Executor::new(&ctx, &id, &input, origin, &reader, now);
    let records = executor.run(&plan).await; // client, runtime
    if records.removed && app.metadata.deletion_timestamp.is_some() {
        ctx.previews.preview_seen(&app, None);
        ctx.previews.forget(&id);
        uploads::collect(&ctx, &id.namespace).await; // client
        return Ok(Requeue::await_change());
    }
    let (mut records, running) = observe::after(&ctx, &id, &input, records).await; // runtime
    suspect(&ctx, &input, &records);
    commit_status_ended(&ctx, &id, &input, &mut records).await; // client
    let mut new = status(&input, &records, &running, now); // pure
    let proxy = routes(&ctx, &id, &app, &records, &running, &reader).await; // client
    routes::report(&app, &proxy, &running, &mut new, now); // pure
    let secret = webhook_secret(&app, &reader).await; // client
    endpoint::report(&app, &ctx.install.webhooks, secret, &mut new, now); // pure
    ctx.previews.record(&id, &mut new); // pure
    report(&ctx, &app, &objects, &records, &new).await?; // client
    ctx.previews.preview_seen(&app, Some(&new));
    if let Some(forge) = forge {
        let soon = routes::is_loading(&proxy);
        let due = commit_status::due(&id, &input, &records, &new.urls, soon, now); // pure
        ctx.commit_statuses.begin(&id, &forge, due); // in the background
    }
    let next = requeue(&input, &plan, &records, new.retry.as_ref(), now); // pure
    let app = Application {
        status: Some(new),
        ..app
    };
    let listing = preview::step(&ctx, &app); // in the background
    Ok(Requeue::requeue(
        listing.map_or(next, |listing| next.min(listing)),
    ))
}

/// Resolves the source and reads the values that the spec refers to. The source of a suspended Application is not resolved.
async fn dereference(
    ctx: &Context,
    id: &AppId,
    app: &Application,
    releases: &[ReleaseView],
    reader: &Reader,
) -> (Inputs, Option<Origin>) {
    let resolution = if is_suspended(app) {
        Resolution::default()
    } else {
        let fresh = pin::fresh_source(app, releases);
        ctx.resolver.resolve(id, app, reader, fresh).await
    };
    let (mut inputs, origin) = resolution.into_inputs(reader.values(&app.spec).await);
    if let Some(config) = rollback::current_config(app, releases) {
        inputs.rollback = Some(reader.values(&config).await);
    }
    (inputs, origin)
}

/// Has the GitProvider checked if a server refuses its credential, to the look-up of the source or to a job that has just failed.
fn suspect(ctx: &Context, input: &PlanInput<'_>, records: &Records) {
    let is_refusal = |reason: Reason| matches!(reason, Reason::GitAuthFailed | Reason::ForgeAuthFailed);
    let of_source = input
        .inputs
        .source
        .as_ref()
        .and_then(|source| source.as_ref().err());
    let has_failed = |status: &ReleaseStatus| {
        let reason = status.failure.as_ref().map(|failure| failure.reason.as_str());
        reason
            .and_then(|reason| reason.parse().ok())
            .is_some_and(is_refusal)
    };
    let before = |name: &str| input.releases.iter().find(|view| view.name == name);
    let of_job = || {
        let mut all = records.statuses.iter();
        all.any(|(name, status)| {
            has_failed(status) && before(name).is_none_or(|view| !has_failed(&view.status))
        })
    };
    if (of_source.is_some_and(|problem| is_refusal(problem.reason)) || of_job())
        && let Some(provider) = used_by(input.app)
    {
        ctx.suspects.report(provider);
    }
}

/// Records the report of a commit's status that has ended, and tells of a failure as an event.
async fn commit_status_ended(ctx: &Context, id: &AppId, input: &PlanInput<'_>, records: &mut Records) {
    let Some(ended) = ctx.commit_statuses.ended(id) else {
        return;
    };
    let Some(problem) = &ended.problem else {
        commit_status::record(records, input, &ended.release, ended.uid.as_deref(), ended.report);
        return;
    };
    let next = if problem.class == Class::Terminal {
        "Nothing more is reported to the repository for an hour, or until the Secret of the GitProvider changes"
    } else {
        "The status of the next one is reported again"
    };
    let message = format!("{}; the release goes on. {next}", problem.message);
    let about = input.app.object_ref(&());
    let release = about_release(&id.namespace, &ended.release);
    let reason = Reason::CommitStatusFailed;
    ctx.report
        .event(&about, Some(&release), true, reason, &message)
        .await;
}

/// Takes the routes and the healthy replicas over into the configuration of the reverse proxy, and returns what is known of
/// the routes there. While something cannot be read, the routes stay as they are.
async fn routes(
    ctx: &Context,
    id: &AppId,
    app: &Application,
    records: &Records,
    running: &Result<Running, Problem>,
    reader: &Reader,
) -> ProxyView {
    let Some(proxy) = &ctx.routes else {
        return ProxyView::Missing;
    };
    if app.spec.routes.is_empty() || app.metadata.deletion_timestamp.is_some() {
        proxy.remove(id);
        return ProxyView::Missing;
    }
    if let Ok(running) = running {
        let values = proxy.values(&app.spec.routes, reader, &ctx.install.key).await;
        let allowed = proxy.allowed_hosts(&ctx.client, &id.namespace).await;
        match values.and_then(|values| Ok((values, allowed?))) {
            Ok((values, allowed)) => {
                proxy.update(routes::app_routes(
                    app,
                    id,
                    &records.statuses,
                    running,
                    values,
                    allowed,
                ));
            }
            Err(problem) => {
                tracing::warn!(app = %id, problem = problem.message, "the routes stay as they are");
            }
        }
    }
    proxy.view(id, app.spec.routes.len())
}

/// Checks the Secret of the Application's own webhook, if it has one.
async fn webhook_secret(app: &Application, reader: &Reader) -> Result<(), Problem> {
    let trigger = app.spec.trigger.as_ref();
    let Some(webhook) = trigger.and_then(|trigger| trigger.webhook.as_ref()) else {
        return Ok(());
    };
    let secret = reader.webhook_secret(&webhook.secret_ref, "spec.trigger.webhook.secretRef");
    secret.await.map(|_| ())
}

fn decide(
    ctx: &Context,
    id: &AppId,
    app: &Application,
    releases: &[ReleaseView],
    inputs: &Inputs,
) -> Decision {
    let decide = if is_suspended(app) {
        pin::decide_suspended
    } else {
        pin::decide
    };
    decide(id, app, releases, inputs, &ctx.install)
}

/// Reports whether the Application is left as it is. A deleted Application is removed although it is suspended.
fn is_suspended(app: &Application) -> bool {
    app.spec.suspend && app.metadata.deletion_timestamp.is_none()
}

/// Writes the revision of a Release to the Application before the Release gets it. Returns the Application as written.
async fn announce(
    ctx: &Context,
    input: &PlanInput<'_>,
    plan: &Plan,
    now: Timestamp,
) -> Result<Application, Error> {
    let mut app = input.app.clone();
    let source = input.desired.known().map(|desired| &desired.source);
    if let Some(status) = application_status::announce(input.app, source, plan, now) {
        let old = input.app.status.as_ref();
        ctx.report.report_status(input.app, None, old, &status).await?;
        app.status = Some(status);
    }
    Ok(app)
}

/// Writes the statuses that changed: Releases first, so that the Application never refers to a state that they do not have.
async fn report(
    ctx: &Context,
    app: &Application,
    objects: &[Release],
    records: &Records,
    new: &ApplicationStatus,
) -> Result<(), Error> {
    for object in objects {
        if let Some(status) = records.statuses.get(&object.name_any()) {
            ctx.report.status(object, object.status.as_ref(), status).await?;
        }
    }
    let namespace = app.namespace().unwrap_or_default();
    let newest = records
        .in_order()
        .pop()
        .map(|(name, _)| about_release(&namespace, &name));
    let report = ctx
        .report
        .report_status(app, newest.as_ref(), app.status.as_ref(), new);
    Ok(report.await?)
}
