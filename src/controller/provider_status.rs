//! The status of a GitProvider after a check of its connection.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use crate::api::{ConditionType, GitProvider, GitProviderStatus, REQUESTED_AT, Reason, Retry, condition};
use crate::error::{Class, Problem, cut, one_line};
use crate::forge::{self, Account};
use crate::plan::backoff;

/// The longest name of an account that a status has, in bytes. An App may be installed on many.
const LONGEST_ACCOUNT: usize = 500;
/// How long before it expires a credential is reported.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Writes when a connection is tried again, and returns how long that is: after a backoff, and not before the end of a rate
/// limit.
pub fn retry_pause(status: &mut GitProviderStatus, until: Option<Timestamp>, now: Timestamp) -> Duration {
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
pub fn suspended(provider: &GitProvider, now: Timestamp) -> GitProviderStatus {
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

/// Returns the status after a check.
pub fn status_after_check(
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
