//! `spec.trigger.requireChecks`: whether the checks of a commit let it be deployed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Reason, RequireChecks};
use crate::error::{Class, Problem};
use crate::model::{Check, CheckState, CommitId};

/// What the names of Davit's own commit statuses begin with.
pub const OWN: &str = "davit/";
/// How long the checks of a commit must be the same ones, all passed, unless the spec names them: later jobs of a workflow
/// appear only when earlier ones have ended.
const SETTLED: SignedDuration = SignedDuration::from_secs(30);
/// The most checks that a message names.
const NAMED: usize = 5;

/// Checks that have all passed, and since when they were seen so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    commit: CommitId,
    names: BTreeSet<String>,
    since: Timestamp,
}

/// Decides whether the checks let a commit be deployed. The second value is to be given again with the next answer of the
/// forge.
///
/// # Errors
/// Checks are pending or have failed, with their names.
pub fn decide(
    commit: &CommitId,
    checks: &[Check],
    rule: &RequireChecks,
    before: Option<&Passing>,
    now: Timestamp,
) -> (Result<(), Problem>, Option<Passing>) {
    let names: BTreeSet<&str> = rule.names.iter().map(String::as_str).collect();
    let checks: Vec<&Check> = checks
        .iter()
        .filter(|check| {
            !check.name.starts_with(OWN) && (names.is_empty() || names.contains(check.name.as_str()))
        })
        .collect();
    let in_state = |state| {
        let found = checks.iter().filter(move |check| check.state == state);
        found.map(|check| check.name.as_str()).collect::<BTreeSet<_>>()
    };
    let problem = |reason, message: String| {
        let message = format!("commit {} {message}", commit.short());
        (Err(Problem::new(Class::Waiting, reason, message)), None)
    };
    let failed = in_state(CheckState::Failed);
    if !failed.is_empty() {
        let message = format!(
            "is not deployed, because its checks failed: {}; repair them and push, or run them again",
            listed(&failed)
        );
        return problem(Reason::ChecksFailed, message);
    }
    let known: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    let mut pending = in_state(CheckState::Pending);
    pending.extend(names.difference(&known));
    if !pending.is_empty() {
        let message = format!("waits for its checks: {}", listed(&pending));
        return problem(Reason::ChecksPending, message);
    }
    if known.is_empty() {
        let message = "waits for its checks: none was reported yet; leave spec.trigger.requireChecks out if the repository has none";
        return problem(Reason::ChecksPending, message.to_owned());
    }
    if !names.is_empty() {
        return (Ok(()), None);
    }
    let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
    let since = before.filter(|before| before.commit == *commit && before.names == known);
    let since = since.map_or(now, |before| before.since);
    let passing = Passing {
        commit: commit.clone(),
        names: known,
        since,
    };
    if now.duration_since(since) >= SETTLED {
        return (Ok(()), Some(passing));
    }
    let message = format!(
        "waits {} s for further checks after {} passed",
        SETTLED.as_secs(),
        passing.names.len()
    );
    (problem(Reason::ChecksPending, message).0, Some(passing))
}

fn listed(names: &BTreeSet<&str>) -> String {
    let text = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: char) -> CommitId {
        CommitId::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn checks(text: &str) -> Vec<Check> {
        let check = |word: &str| {
            let (name, state) = word.split_once(':').unwrap();
            Check {
                name: name.to_owned(),
                state: match state {
                    "passed" => CheckState::Passed,
                    "pending" => CheckState::Pending,
                    _ => CheckState::Failed,
                },
            }
        };
        text.split_whitespace().map(check).collect()
    }

    fn rule(names: &[&str]) -> RequireChecks {
        RequireChecks {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn checks_decide_as_the_rule_says() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (names, found, reason, words) in [
            (&[][..], "", Some(Reason::ChecksPending), "none was reported yet"),
            (
                &[],
                "build:passed test:pending",
                Some(Reason::ChecksPending),
                "waits for its checks: test",
            ),
            (
                &[],
                "build:failed test:pending",
                Some(Reason::ChecksFailed),
                "failed: build",
            ),
            (
                &[],
                "build:passed",
                Some(Reason::ChecksPending),
                "waits 30 s for further checks after 1",
            ),
            (
                &[],
                "davit/ns/shop:pending",
                Some(Reason::ChecksPending),
                "none was reported yet",
            ),
            (&["build"], "build:passed test:failed", None, ""),
            (&["build"], "build:passed davit/ns/shop:failed", None, ""),
            (
                &["build", "test"],
                "build:passed",
                Some(Reason::ChecksPending),
                "waits for its checks: test",
            ),
            (
                &["build"],
                "build:failed",
                Some(Reason::ChecksFailed),
                "failed: build",
            ),
            // Two programs report the same name.
            (
                &["build"],
                "build:passed build:pending",
                Some(Reason::ChecksPending),
                "build",
            ),
            (
                &[],
                "a:pending b:pending c:pending d:pending e:pending f:pending g:pending",
                Some(Reason::ChecksPending),
                "a, b, c, d, e and 2 more",
            ),
        ] {
            let (result, _) = decide(&commit('a'), &checks(found), &rule(names), None, now);
            let problem = result.err();
            assert_eq!(
                problem.as_ref().map(|problem| problem.reason),
                reason,
                "{names:?} {found}"
            );
            let message = problem.map_or_else(String::new, |problem| problem.message);
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn checks_that_are_not_named_have_to_be_the_same_for_a_while() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let look = |digit, found: &str, before: Option<&Passing>, second| {
            decide(&commit(digit), &checks(found), &rule(&[]), before, at(second))
        };
        let (result, first) = look('a', "build:passed", None, 0);
        assert!(result.is_err());
        let (result, same) = look('a', "build:passed", first.as_ref(), 29);
        assert!(result.is_err());
        assert!(look('a', "build:passed", same.as_ref(), 30).0.is_ok());
        let (result, more) = look('a', "build:passed test:passed", same.as_ref(), 30);
        assert!(result.is_err(), "another check has appeared");
        assert!(look('a', "build:passed test:passed", more.as_ref(), 61).0.is_ok());
        assert!(
            look('b', "build:passed", same.as_ref(), 60).0.is_err(),
            "it is another commit"
        );
        assert_eq!(look('a', "build:pending", same.as_ref(), 60).1, None);
    }
}
