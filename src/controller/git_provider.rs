//! Reconciles one GitProvider: signs in, counts repositories, and keeps it while Applications use it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};

use crate::api::{Application, ConditionType, GitProvider, GitProviderStatus, Reason, condition};
use crate::error::{Class, Problem};
use crate::forge::{self, Account, ForgeError};
use crate::plan::backoff;

use super::context::Context;
use super::dereference::Reader;
use super::problem::Error;
use super::provider_status::{retry_pause, status_after_check, suspended};
use super::provider_use::used_by;
use super::provider_webhook::{self, Connected};
use super::resolve::credentials::connection;
use super::{finalizer, hooks};

/// The longest time for one check of a connection.
const CHECK_TIME: Duration = Duration::from_mins(2);
/// How often a connection is checked by default.
const INTERVAL: Duration = Duration::from_mins(10);

/// The GitProviders that refer to a Secret.
pub fn users_of_secret(
    providers: &Store<GitProvider>,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<GitProvider>> {
    let name = secret.metadata.name.as_deref();
    let refers = |provider: &GitProvider| {
        let refs = forge::secret_refs(&provider.spec);
        let webhook = provider.spec.webhook.as_ref();
        let named = [
            refs.and_then(|refs| refs.credential)
                .map(|reference| reference.name),
            refs.and_then(|refs| refs.tokens).map(|(name, _)| name),
            refs.and_then(|refs| refs.ca)
                .map(|reference| reference.name.as_str()),
            webhook.map(|webhook| webhook.secret_ref.name.as_str()),
        ];
        provider.metadata.namespace == secret.metadata.namespace && name.is_some() && named.contains(&name)
    };
    providers
        .state()
        .iter()
        .filter(|provider| refers(provider))
        .map(|provider| ObjectRef::from_obj(provider.as_ref()))
        .collect()
}

/// The GitProviders whose credential or CA is in a Secret. Tokens that Davit replaces itself are not meant.
pub fn with_credential(
    providers: &Store<GitProvider>,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<GitProvider>> {
    let name = secret.metadata.name.as_deref();
    let refers = |provider: &GitProvider| {
        let refs = forge::secret_refs(&provider.spec);
        let credential = refs
            .and_then(|refs| refs.credential)
            .map(|reference| reference.name);
        let ca = refs
            .and_then(|refs| refs.ca)
            .map(|reference| reference.name.as_str());
        provider.metadata.namespace == secret.metadata.namespace
            && name.is_some()
            && [credential, ca].contains(&name)
    };
    providers
        .state()
        .iter()
        .filter(|provider| refers(provider))
        .map(|provider| ObjectRef::from_obj(provider.as_ref()))
        .collect()
}

/// One pass.
///
/// # Errors
/// The API server does not answer: tried again soon.
pub async fn reconcile(seen: Arc<GitProvider>, ctx: Arc<Context>) -> Result<Action, Error> {
    let _pass = ctx.metrics.pass("GitProvider");
    let namespace = seen.namespace().unwrap_or_default();
    let api: Api<GitProvider> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(provider) = api.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    if provider.metadata.deletion_timestamp.is_some() {
        // Read anew: a cache that has not been filled yet would let it go while it is used.
        let all: Api<Application> = Api::all(ctx.client.clone());
        let list = all.list(&kube::api::ListParams::default()).await?;
        let selected = provider_webhook::selected(&ctx, &provider).await?;
        return delete(&ctx, &provider, &users(list.items.iter(), &provider, &selected)).await;
    }
    let selected = provider_webhook::selected(&ctx, &provider).await?;
    let known = ctx.applications.state();
    let users = users(known.iter().map(AsRef::as_ref), &provider, &selected);
    if provider.spec.suspend {
        write(&ctx, &provider, &suspended(&provider, Timestamp::now())).await?;
        return Ok(Action::await_change());
    }
    finalizer::set(&ctx.client, &provider, true).await?;
    let now = Timestamp::now();
    let old = provider.status.clone().unwrap_or_default();
    let reader = Reader::new(ctx.client.clone(), &namespace);
    let connected = connect(&ctx, &provider, &reader).await;
    let (checked, until) = match &connected {
        Ok(connected) => check(connected).await,
        Err(problem) => (Err(problem.clone()), None),
    };
    let mut new = status_after_check(&provider, &old, &checked, now);
    let pause = retry_pause(&mut new, until, now);
    new.used_by = count(&users);
    let connected = connected.ok().filter(|_| checked.is_ok());
    let verdict = provider_webhook::reconcile(
        &ctx,
        &provider,
        connected.as_ref(),
        &reader,
        interval(&provider),
        &new,
    )
    .await?;
    verdict.write(&mut new, provider.metadata.generation.unwrap_or(1), now);
    write(&ctx, &provider, &new).await?;
    if verdict.is_transient && checked.is_ok() {
        return Ok(Action::requeue(interval(&provider).min(hooks::RETRY)));
    }
    Ok(match (&checked, &new.retry) {
        (Ok(_), _) => Action::requeue(backoff::jitter(
            interval(&provider),
            now.as_millisecond().unsigned_abs(),
        )),
        (Err(problem), _) if problem.class == Class::Terminal => Action::requeue(interval(&provider)),
        (Err(_), Some(_)) => Action::requeue(pause),
        (Err(_), None) => Action::requeue(interval(&provider)),
    })
}

/// Checks a connection, within a time: a forge may answer slowly for ever. With a rate limit also its end.
async fn check(connected: &Connected) -> (Result<Account, Problem>, Option<Timestamp>) {
    let Ok(checked) = tokio::time::timeout(CHECK_TIME, connected.forge.check()).await else {
        let message = format!(
            "the check of the connection took longer than {} s: check the forge and the proxies on the way to it; Davit tries again",
            CHECK_TIME.as_secs()
        );
        return (
            Err(Problem::new(Class::Transient, Reason::ForgeTimeout, message)),
            None,
        );
    };
    let until = match &checked {
        Err(ForgeError::RateLimited { until, .. }) => Some(*until),
        _ => None,
    };
    (checked.map_err(|error| Problem::of(&error)), until)
}

fn interval(provider: &GitProvider) -> Duration {
    let wanted = provider
        .spec
        .interval
        .as_ref()
        .map_or(INTERVAL, crate::api::Duration::get);
    wanted.max(Duration::from_secs(10))
}

async fn connect(ctx: &Context, provider: &GitProvider, reader: &Reader) -> Result<Connected, Problem> {
    let (forge, _, version) = connection(&ctx.forges, provider, reader).await?;
    Ok(Connected { forge, version })
}

/// The Applications that name this GitProvider, in the namespaces that it allows: one that it refuses does not hold it.
fn users<'a>(
    applications: impl Iterator<Item = &'a Application>,
    provider: &GitProvider,
    selected: &HashSet<String>,
) -> Vec<String> {
    let this = ObjectRef::from_obj(provider);
    let own = provider.namespace().unwrap_or_default();
    let rule = &provider.spec.allowed_namespaces;
    let allowed = |namespace: &str| rule.allow(&own, namespace, || selected.contains(namespace));
    let mut all: Vec<String> = applications
        .filter(|app| used_by(app).as_ref() == Some(&this))
        .map(|app| (app.namespace().unwrap_or_default(), app.name_any()))
        .filter(|(namespace, _)| allowed(namespace))
        .map(|(namespace, name)| format!("{namespace}/{name}"))
        .collect();
    all.sort();
    all
}

fn count(users: &[String]) -> i64 {
    i64::try_from(users.len()).unwrap_or(i64::MAX)
}

async fn write(ctx: &Context, provider: &GitProvider, new: &GitProviderStatus) -> Result<(), Error> {
    let old = provider.status.as_ref();
    Ok(ctx.report.report_status(provider, None, old, new).await?)
}

/// Deletes a GitProvider only if no Application uses it; until then the status names the users.
async fn delete(ctx: &Context, provider: &GitProvider, users: &[String]) -> Result<Action, Error> {
    let old = provider.status.clone().unwrap_or_default();
    if users.is_empty() {
        let reader = Reader::new(ctx.client.clone(), &provider.namespace().unwrap_or_default());
        let connected = match connect(ctx, provider, &reader).await {
            // If their namespace is deleted, its Secret goes before it. The connection from before can still be used.
            Err(problem) if problem.class == Class::Terminal => {
                let last = ctx.forges.last(&provider.uid().unwrap_or_default());
                let version = String::new();
                last.map(|forge| Connected { forge, version }).ok_or(problem)
            }
            connected => connected,
        };
        if let Some(left) = provider_webhook::remove(ctx, provider, connected).await {
            write(ctx, provider, &left.status).await?;
            return Ok(Action::requeue(left.again));
        }
        let uid = provider.uid().unwrap_or_default();
        ctx.forges.forget(&uid);
        ctx.hooks.forget(&uid);
        finalizer::set(&ctx.client, provider, false).await?;
        return Ok(Action::await_change());
    }
    let generation = provider.metadata.generation.unwrap_or(1);
    let shown: Vec<&str> = users.iter().take(5).map(String::as_str).collect();
    let more = if users.len() > shown.len() { ", …" } else { "" };
    let message = format!(
        "deleted when nothing uses it any more; used by {}{more}",
        shown.join(", ")
    );
    let mut new = GitProviderStatus {
        used_by: count(users),
        ..old
    };
    let now = Timestamp::now();
    condition::remove(&mut new.conditions, ConditionType::Stalled);
    condition::set(
        &mut new.conditions,
        ConditionType::Ready,
        Some(false),
        Reason::InUse,
        &message,
        generation,
        now,
    );
    condition::set(
        &mut new.conditions,
        ConditionType::Reconciling,
        Some(true),
        Reason::InUse,
        &message,
        generation,
        now,
    );
    write(ctx, provider, &new).await?;
    Ok(Action::await_change())
}
