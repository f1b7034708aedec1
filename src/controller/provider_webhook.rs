//! What a GitProvider does about its webhook, and what its status reports about it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt};

use crate::api::{
    AllowedFrom, ConditionType, GitProvider, GitProviderStatus, Reason, RegisteredHook, Retry, condition,
};
use crate::error::{Class, Problem};
use crate::forge::{Forge, WantedHook};
use crate::plan::backoff;

use super::context::Context;
use super::dereference::Reader;
use super::problem::Error;
use super::provider_use::{Followed, followed};

/// How often the removal of hooks is tried before a deleted GitProvider is released without it.
const ATTEMPTS: i32 = 8;

/// A connection to the forge.
pub struct Connected {
    /// The forge.
    pub forge: Arc<dyn Forge>,
    /// The versions of the spec and the Secrets that it was made from.
    pub version: String,
}

/// What the status reports about the webhook.
pub struct Verdict {
    url: Option<String>,
    hooks: Vec<RegisteredHook>,
    /// `None` if there is no webhook.
    condition: Option<(bool, Reason, String)>,
    /// Whether trying again soon may help.
    pub is_transient: bool,
}

impl Verdict {
    /// Writes it to a status.
    pub fn write(&self, status: &mut GitProviderStatus, generation: i64, now: Timestamp) {
        status.webhook_url.clone_from(&self.url);
        status.hooks.clone_from(&self.hooks);
        let (all, kind) = (&mut status.conditions, ConditionType::WebhookReady);
        match &self.condition {
            Some((is_ready, reason, message)) => {
                condition::set(all, kind, Some(*is_ready), *reason, message, generation, now);
            }
            None => condition::remove(all, kind),
        }
    }
}

/// Registers, repairs and removes hooks. Without a connection nothing changes at the forge.
///
/// # Errors
/// The API server cannot be reached.
pub async fn reconcile(
    ctx: &Context,
    provider: &GitProvider,
    connected: Option<&Connected>,
    reader: &Reader,
    interval: Duration,
    status: &GitProviderStatus,
) -> Result<Verdict, Error> {
    let webhook = provider.spec.webhook.as_ref();
    let namespace = provider.namespace().unwrap_or_default();
    let url = webhook.and_then(|_| {
        ctx.install
            .webhooks
            .of_provider(&namespace, &provider.name_any())
            .ok()
    });
    let mut verdict = Verdict {
        url,
        hooks: status.hooks.clone(),
        condition: None,
        is_transient: false,
    };
    let wanted = match wanted(ctx, provider, reader).await {
        Ok(wanted) => wanted,
        Err(problem) => {
            verdict.is_transient = problem.class != Class::Terminal;
            verdict.condition = Some((false, problem.reason, problem.message));
            return Ok(verdict);
        }
    };
    let manages = webhook.is_some_and(|webhook| webhook.manage);
    if let Some(connected) = connected
        && (manages || !verdict.hooks.is_empty())
    {
        let repositories = match &wanted {
            Some(_) => in_use(ctx, provider).await?,
            None => BTreeMap::new(),
        };
        let asked = status.last_handled_reconcile_at.as_deref().unwrap_or_default();
        let version = format!("{} {asked}", connected.version);
        let wanted = wanted.as_ref().map(|wanted| (wanted, &repositories));
        let forge = connected.forge.as_ref();
        let outcome = ctx
            .hooks
            .apply(&ctx.install.key, provider, forge, wanted, &version, interval)
            .await;
        verdict.is_transient = outcome.is_transient();
        verdict.condition = outcome
            .problem()
            .map(|(reason, message)| (false, reason, message));
        verdict.hooks = outcome.hooks;
    } else if manages {
        // The hooks are as they were; Ready reports why the forge cannot be used.
        let kind = ConditionType::WebhookReady.to_string();
        let old = status.conditions.iter().find(|condition| condition.type_ == kind);
        verdict.condition = old.and_then(|old| {
            let reason = old.reason.parse().ok()?;
            Some((old.status == "True", reason, old.message.clone()))
        });
        return Ok(verdict);
    }
    if webhook.is_some() && verdict.condition.is_none() {
        verdict.condition = Some(well(manages, verdict.hooks.len()));
    }
    Ok(verdict)
}

/// The hook that a GitProvider wants in each repository; `None` if it manages none.
///
/// # Errors
/// No delivery arrives here, or the secret cannot be used.
async fn wanted(
    ctx: &Context,
    provider: &GitProvider,
    reader: &Reader,
) -> Result<Option<WantedHook>, Problem> {
    let Some(webhook) = &provider.spec.webhook else {
        return Ok(None);
    };
    let namespace = provider.namespace().unwrap_or_default();
    let url = ctx
        .install
        .webhooks
        .of_provider(&namespace, &provider.name_any())?;
    let secret = reader
        .webhook_secret(&webhook.secret_ref, "spec.webhook.secretRef")
        .await?;
    Ok(webhook.manage.then_some(WantedHook {
        url,
        secret,
        pull_requests: false,
    }))
}

fn well(manages: bool, hooks: usize) -> (bool, Reason, String) {
    if !manages {
        let message = "deliveries are received: add a webhook for pushes with the URL in status.webhookUrl and the \
                       secret at the forge";
        return (true, Reason::WebhookReady, message.to_owned());
    }
    let message = match hooks {
        0 => "no Application follows a repository of this GitProvider yet".to_owned(),
        1 => "registered the webhook of 1 repository".to_owned(),
        number => format!("registered the webhooks of {number} repositories"),
    };
    (true, Reason::HooksRegistered, message)
}

/// The namespaces that the selector of a GitProvider selects, if it has one.
///
/// # Errors
/// The API server cannot be reached.
pub async fn selected(ctx: &Context, provider: &GitProvider) -> Result<HashSet<String>, kube::Error> {
    let allowed = &provider.spec.allowed_namespaces;
    let (AllowedFrom::Selector, Some(selector)) = (allowed.from, &allowed.selector) else {
        return Ok(HashSet::new());
    };
    let labels = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let labels = labels.collect::<Vec<_>>().join(",");
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let found = api.list_metadata(&ListParams::default().labels(&labels)).await?;
    Ok(found.items.iter().map(ResourceExt::name_any).collect())
}

/// The repositories whose pushes Applications follow.
async fn in_use(ctx: &Context, provider: &GitProvider) -> Result<BTreeMap<String, Followed>, Error> {
    let selected = selected(ctx, provider).await?;
    let known = ctx.applications.state();
    let applications = known.iter().map(AsRef::as_ref);
    let mut all = followed(applications, provider, |namespace| selected.contains(namespace));
    let moves = ctx.forges.moves(&provider.uid().unwrap_or_default());
    for followed in all.values_mut() {
        followed.path = moves.present(&followed.path);
    }
    Ok(all)
}

/// A deleted GitProvider whose hooks are not removed yet.
pub struct Left {
    /// Its status.
    pub status: GitProviderStatus,
    /// When the removal is tried again.
    pub again: Duration,
}

/// Removes all hooks of a deleted GitProvider. What cannot be removed is tried again for some minutes, and then reported by
/// an event, so that a forge that is gone does not block the deletion.
pub async fn remove(
    ctx: &Context,
    provider: &GitProvider,
    connected: Result<Connected, Problem>,
) -> Option<Left> {
    let old = provider.status.clone().unwrap_or_default();
    if old.hooks.is_empty() {
        return None;
    }
    let (hooks, is_transient, message) = match connected {
        Ok(connected) => {
            let forge = connected.forge.as_ref();
            let outcome = ctx
                .hooks
                .apply(
                    &ctx.install.key,
                    provider,
                    forge,
                    None,
                    &connected.version,
                    Duration::ZERO,
                )
                .await;
            let (_, message) = outcome.problem()?;
            (outcome.hooks.clone(), outcome.is_transient(), message)
        }
        Err(problem) => {
            let is_transient = problem.class != Class::Terminal;
            (old.hooks.clone(), is_transient, problem.message)
        }
    };
    let now = Timestamp::now();
    let kind = ConditionType::WebhookReady;
    let reason = Reason::HookNotRemoved;
    let began = condition::find(&old.conditions, kind).is_some_and(|found| found.reason == reason.as_str());
    let attempts = old
        .retry
        .as_ref()
        .filter(|_| began)
        .map_or(0, |retry| retry.attempts)
        + 1;
    if !is_transient || attempts > ATTEMPTS {
        let names: Vec<_> = hooks.iter().map(|hook| hook.repository.as_str()).collect();
        let note = format!(
            "webhooks remain at the forge, in {}: {message}; remove those with the URL {} there",
            names.join(", "),
            old.webhook_url.as_deref().unwrap_or("of this Davit"),
        );
        let name = format!(
            "{}/{}",
            provider.namespace().unwrap_or_default(),
            provider.name_any()
        );
        // A namespace that is being deleted takes no event.
        tracing::warn!(provider = name, "{note}");
        // The event of the condition has another reason: two of one reason would be a series with the first message.
        ctx.report
            .event(&provider.object_ref(&()), None, true, Reason::HooksRemain, &note)
            .await;
        return None;
    }
    let mut status = GitProviderStatus {
        hooks,
        used_by: 0,
        ..old
    };
    status.retry = Some(Retry {
        attempts,
        not_before: now.to_string(),
    });
    let generation = provider.metadata.generation.unwrap_or(1);
    let waits = format!("deleted when its webhooks are removed at the forge: {message}");
    let all = &mut status.conditions;
    condition::set(all, kind, Some(false), reason, &message, generation, now);
    condition::set(
        all,
        ConditionType::Ready,
        Some(false),
        reason,
        &waits,
        generation,
        now,
    );
    condition::set(
        all,
        ConditionType::Reconciling,
        Some(true),
        reason,
        &waits,
        generation,
        now,
    );
    Some(Left {
        status,
        again: backoff::pause(
            u32::try_from(attempts).unwrap_or(1),
            now.as_millisecond().unsigned_abs(),
        ),
    })
}
