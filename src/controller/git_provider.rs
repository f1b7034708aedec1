//! Reconciles one GitProvider: signs in, counts repositories, and keeps it while Applications use it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt as _};

use crate::api::{
    Application, ConditionType, GitProvider, GitProviderStatus, REQUESTED_AT, Reason, Retry, condition,
};
use crate::error::{Class, Problem, cut, one_line};
use crate::forge::{self, Account, ForgeError};
use crate::plan::backoff;

use super::context::Context;
use super::dereference::Reader;
use super::problem::Error;
use super::provider_use::used_by;
use super::provider_webhook::{self, Connected};
use super::resolve::credentials::connection;
use super::{finalizer, hooks};

/// The longest time for one check of a connection.
const CHECK_TIME: Duration = Duration::from_mins(2);
/// The longest name of an account that a status has, in bytes. An App may be installed on many.
const LONGEST_ACCOUNT: usize = 500;
/// How often a connection is checked by default.
const INTERVAL: Duration = Duration::from_mins(10);

/// How long before it expires a credential is reported.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);

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

/// Writes when a connection is tried again, and returns how long that is: after a backoff, and not before the end of a rate
/// limit.
fn retry_pause(status: &mut GitProviderStatus, until: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(retry) = &mut status.retry else {
        return Duration::ZERO;
    };
    let attempts = u32::try_from(retry.attempts).unwrap_or(1);
    let backoff = backoff::pause(attempts, now.as_millisecond().unsigned_abs());
    let limit = until.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    let pause = backoff.max(limit.unwrap_or_default());
    if let Ok(at) = now.checked_add(pause) {
        retry.not_before = at.to_string();
    }
    pause
}

/// Returns the status of a suspended GitProvider: the last observation stays, and Ready is Suspended.
fn suspended(provider: &GitProvider, now: Timestamp) -> GitProviderStatus {
    let generation = provider.metadata.generation.unwrap_or(1);
    let mut new = provider.status.clone().unwrap_or_default();
    new.observed_generation = generation;
    new.retry = None;
    let message = "spec.suspend is true: the connection is not checked, and no Application looks anything new up through it";
    let all = &mut new.conditions;
    let (ready, why) = (ConditionType::Ready, Reason::Suspended);
    condition::set(all, ready, None, why, message, generation, now);
    condition::remove(all, ConditionType::Reconciling);
    condition::remove(all, ConditionType::Stalled);
    new
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

/// Returns the status after a check.
fn status_after_check(
    provider: &GitProvider,
    old: &GitProviderStatus,
    checked: &Result<Account, Problem>,
    now: Timestamp,
) -> GitProviderStatus {
    let generation = provider.metadata.generation.unwrap_or(1);
    let mut new = GitProviderStatus {
        conditions: old.conditions.clone(),
        hooks: old.hooks.clone(),
        webhook_url: old.webhook_url.clone(),
        ..GitProviderStatus::default()
    };
    new.observed_generation = generation;
    if let Some((kind, url)) = forge::describe(&provider.spec) {
        new.kind = Some(kind.to_owned());
        new.url =
            Some(crate::redact::SafeUrl::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string()));
    }
    let asked = REQUESTED_AT
        .iter()
        .filter_map(|key| provider.annotations().get(*key))
        .max()
        .cloned();
    new.last_handled_reconcile_at = asked.or_else(|| old.last_handled_reconcile_at.clone());
    match checked {
        Ok(account) => {
            new.account = Some(shown(account));
            new.repositories = Some(i64::try_from(account.repositories).unwrap_or(i64::MAX));
            new.credentials_expire_at = account.expires_at.map(|at| at.to_string());
            well(&mut new.conditions, account, generation, now);
        }
        Err(problem) => {
            new.account.clone_from(&old.account);
            new.repositories = old.repositories;
            new.credentials_expire_at.clone_from(&old.credentials_expire_at);
            if problem.class != Class::Terminal {
                let attempts = old.retry.as_ref().map_or(0, |retry| retry.attempts) + 1;
                new.retry = Some(Retry {
                    attempts,
                    not_before: now.to_string(),
                });
            }
            badly(&mut new.conditions, problem, generation, now);
        }
    }
    new
}

/// The name of an account as the forge reports it, on one line and not too long.
fn shown(account: &Account) -> String {
    cut(&one_line(&account.name), LONGEST_ACCOUNT)
}

fn well(all: &mut Vec<Condition>, account: &Account, generation: i64, now: Timestamp) {
    let plural = if account.repositories == 1 {
        "repository"
    } else {
        "repositories"
    };
    let more = if account.more { "more than " } else { "" };
    let mut found = format!(
        "Found {more}{} {plural} as {}",
        account.repositories,
        shown(account)
    );
    let mut reason = Reason::RepositoriesFound;
    // Ready goes over to this reason once, and with it an event is sent.
    if let Some(at) = account
        .expires_at
        .filter(|at| at.duration_since(now) < EXPIRY_NOTICE)
    {
        reason = Reason::CredentialExpiresSoon;
        found = format!("{found}; the credential expires at {at}: put a new one into the Secret before");
    }
    let signed_in = format!("signed in as {}", shown(account));
    for (kind, reason, message) in [
        (ConditionType::Ready, reason, &found),
        (ConditionType::Authenticated, Reason::Ready, &signed_in),
    ] {
        condition::set(all, kind, Some(true), reason, message, generation, now);
    }
    condition::remove(all, ConditionType::RateLimited);
    condition::remove(all, ConditionType::Reconciling);
    condition::remove(all, ConditionType::Stalled);
}

fn badly(all: &mut Vec<Condition>, problem: &Problem, generation: i64, now: Timestamp) {
    let refused = matches!(
        problem.reason,
        Reason::ForgeAuthFailed | Reason::ForgeScopeMissing
    );
    let (abnormal, calm, why) = if problem.class == Class::Terminal {
        (ConditionType::Stalled, ConditionType::Reconciling, problem.reason)
    } else {
        (
            ConditionType::Reconciling,
            ConditionType::Stalled,
            Reason::ProgressingWithRetry,
        )
    };
    for (kind, status, reason) in [
        (ConditionType::Ready, Some(false), problem.reason),
        (
            ConditionType::Authenticated,
            refused.then_some(false),
            problem.reason,
        ),
        (abnormal, Some(true), why),
    ] {
        condition::set(all, kind, status, reason, &problem.message, generation, now);
    }
    condition::remove(all, calm);
    let (limited, reason) = (ConditionType::RateLimited, Reason::ForgeRateLimited);
    if problem.reason == reason {
        condition::set(
            all,
            limited,
            Some(true),
            reason,
            &problem.message,
            generation,
            now,
        );
    } else {
        condition::remove(all, limited);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limit_is_a_condition_until_it_ends() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let limited = |all: &[Condition]| condition::is_true(all, ConditionType::RateLimited);
        let mut all = Vec::new();
        let problem = |reason| Problem::new(Class::Transient, reason, "until then");
        badly(&mut all, &problem(Reason::ForgeRateLimited), 1, now);
        assert!(limited(&all) && condition::is_true(&all, ConditionType::Reconciling));
        badly(&mut all, &problem(Reason::ForgeUnreachable), 1, now);
        assert!(!limited(&all));
        badly(&mut all, &problem(Reason::ForgeRateLimited), 1, now);
        let account = Account {
            name: "jane".to_owned(),
            repositories: 1,
            more: false,
            expires_at: None,
        };
        well(&mut all, &account, 1, now);
        assert!(!limited(&all));
    }

    #[test]
    fn rate_limit_is_waited_for_and_the_status_has_its_end() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut status = GitProviderStatus {
            retry: Some(Retry {
                attempts: 1,
                not_before: now.to_string(),
            }),
            ..GitProviderStatus::default()
        };
        let until = now + SignedDuration::from_mins(30);
        assert_eq!(
            retry_pause(&mut status, Some(until), now),
            Duration::from_mins(30)
        );
        assert_eq!(status.retry.as_ref().unwrap().not_before, until.to_string());
        let pause = retry_pause(&mut status, None, now);
        assert!(pause < Duration::from_secs(2), "{pause:?}");
        status.retry = None;
        assert_eq!(retry_pause(&mut status, Some(until), now), Duration::ZERO);
    }

    #[test]
    fn name_that_a_forge_gives_an_account_is_short_and_on_one_line() {
        let account = Account {
            name: format!("jane\u{202e}\n\u{1b}[31m{}", "x".repeat(2 << 20)),
            repositories: 1,
            more: false,
            expires_at: None,
        };
        let mut all = Vec::new();
        well(&mut all, &account, 1, Timestamp::UNIX_EPOCH);
        for text in all
            .iter()
            .map(|condition| &condition.message)
            .chain([&shown(&account)])
        {
            assert!(text.len() < 1000 && text.contains("jane"), "{}", text.len());
            assert!(
                !text.contains(char::is_control) && !text.contains('\u{202e}'),
                "{text}"
            );
        }
    }

    #[test]
    fn credential_is_reported_seven_days_before_it_expires() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let ready = |days: Option<i64>| {
            let account = Account {
                name: "jane".to_owned(),
                repositories: 12,
                more: false,
                expires_at: days.map(|days| now + SignedDuration::from_hours(24 * days)),
            };
            let mut all = Vec::new();
            well(&mut all, &account, 1, now);
            let ready = condition::find(&all, ConditionType::Ready).unwrap().clone();
            assert_eq!(ready.status, "True");
            (ready.reason, ready.message)
        };
        let found = "Found 12 repositories as jane";
        for days in [None, Some(8)] {
            assert_eq!(ready(days), ("RepositoriesFound".to_owned(), found.to_owned()));
        }
        let (reason, message) = ready(Some(6));
        assert_eq!(reason, "CredentialExpiresSoon");
        assert!(
            message.starts_with(found) && message.contains("expires at 2023-11-20T22:13:20Z"),
            "{message}"
        );
    }
}
