//! `spec.trigger`: which commit is deployed by itself, and what brought a Release about.

use crate::api::{Application, ApplicationSpec, Cause, CauseKind, DELIVERY, Delivery, TriggerOn};
use crate::model::{CommitId, RefSpec, Revision};

use super::desired::{Desired, PinnedSource};

/// What `tagPattern` is if it is left out: every tag.
const ANY_TAG: &str = "**";

/// Returns the ref that is followed: the one of the source, or the highest tag.
pub fn followed(spec: &ApplicationSpec, of_source: RefSpec) -> RefSpec {
    let trigger = spec.trigger.as_ref();
    match trigger.and_then(|trigger| trigger.on) {
        Some(TriggerOn::Tag) => {
            let pattern = trigger.and_then(|trigger| trigger.tag_pattern.as_deref());
            RefSpec::HighestTag(pattern.unwrap_or(ANY_TAG).to_owned())
        }
        Some(TriggerOn::Push | TriggerOn::Manual) | None => of_source,
    }
}

/// Returns the part of the spec that the choice of a commit depends on, as text.
pub fn rules(spec: &ApplicationSpec) -> String {
    let trigger = spec.trigger.clone().unwrap_or_default();
    let rules = (
        trigger.on,
        trigger.tag_pattern,
        trigger.watch_paths,
        trigger.require_checks,
    );
    serde_json::to_string(&rules).unwrap_or_default()
}

/// Returns the newest delivery.
pub fn delivery(app: &Application) -> Option<Delivery> {
    let annotations = app.metadata.annotations.as_ref()?;
    annotations.get(DELIVERY).and_then(|text| Delivery::parse(text))
}

/// Returns the commit that was pushed to the followed branch, as a delivery announces it.
pub fn pushed(delivery: &Delivery, followed: &RefSpec) -> Option<CommitId> {
    let reference = delivery.reference.as_deref();
    let concerns = match followed {
        RefSpec::Default => reference.is_none_or(|name| name.starts_with("refs/heads/")),
        RefSpec::Branch(branch) => {
            reference.is_none_or(|name| name.strip_prefix("refs/heads/") == Some(branch))
        }
        RefSpec::Tag(_) | RefSpec::HighestTag(_) | RefSpec::Commit(_) => false,
    };
    delivery
        .revision
        .as_deref()
        .and_then(CommitId::parse)
        .filter(|_| concerns)
}

/// Returns the pushed commit if it may be deployed although the branch is already further: the history of the branch has
/// to lead from the commit that was deployed last to it, which the Git cache decides. Otherwise the tip of the branch is
/// deployed, so a delivery that comes late, twice or in another order never leads back to an older commit.
pub fn before_tip<'c>(
    pushed: Option<&'c CommitId>,
    last: Option<&'c CommitId>,
    tip: &CommitId,
) -> Option<[&'c CommitId; 2]> {
    let (pushed, last) = (pushed?, last?);
    (pushed != tip && pushed != last && last != tip).then_some([last, pushed])
}

/// Reports whether a delivery continues the commit that was chosen last: the branch was moved from it to another one. Such
/// a commit needs no look at the repository to be chosen, but one before it is used: the branch may have been moved since,
/// and back again.
pub fn continues(delivery: &Delivery, last: &PinnedSource) -> bool {
    let last = commit(last).filter(|_| last.unwatched.is_none());
    last.is_some_and(|last| {
        delivery.before.as_deref() == Some(last.as_str())
            && delivery.revision.as_deref() != Some(last.as_str())
    })
}

/// Returns the commit of a source.
pub fn commit(source: &PinnedSource) -> Option<&CommitId> {
    match &source.revision {
        Revision::Commit(commit) => Some(commit),
        Revision::Image(_) | Revision::Archive(_) => None,
    }
}

/// Returns what brought about a Release that differs from the one before in its revision only. `requested` is true if this
/// reconcile answers a request.
pub fn cause(app: &Application, desired: &Desired, requested: bool) -> Cause {
    let revision = desired.source.revision.to_string();
    let tag = desired.source.tag.as_ref();
    let announces = |delivery: &Delivery| {
        let of_tag = || {
            let name = delivery.reference.as_deref()?.strip_prefix("refs/tags/")?;
            Some(tag.map(String::as_str) == Some(name))
        };
        match &delivery.revision {
            Some(announced) if revision.ends_with(announced.as_str()) => true,
            // That of an annotated tag is the tag's own.
            Some(_) => of_tag().unwrap_or(false),
            None => requested,
        }
    };
    let delivery = delivery(app).filter(announces);
    let kind = match (tag, &delivery) {
        (Some(_), _) => CauseKind::Tag,
        (None, Some(_)) => CauseKind::Push,
        (None, None) => CauseKind::Poll,
    };
    let delivery = delivery.unwrap_or_default();
    Cause {
        kind,
        actor: delivery.actor,
        delivery: delivery.delivery,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: char) -> CommitId {
        CommitId::parse(&digit.to_string().repeat(40)).unwrap()
    }

    #[test]
    fn delivery_names_a_commit_of_the_followed_branch_only() {
        let branch = |name: &str| RefSpec::Branch(name.to_owned());
        for (reference, followed, counts) in [
            (Some("refs/heads/main"), branch("main"), true),
            (Some("refs/heads/feature/main"), branch("main"), false),
            (Some("refs/heads/dev"), branch("main"), false),
            (Some("refs/tags/main"), branch("main"), false),
            (None, branch("main"), true),
            (Some("refs/heads/main"), RefSpec::Default, true),
            (Some("refs/tags/v1"), RefSpec::Default, false),
            (
                Some("refs/heads/main"),
                RefSpec::HighestTag("v*".to_owned()),
                false,
            ),
            (Some("refs/tags/v1"), RefSpec::Tag("v1".to_owned()), false),
        ] {
            let delivery = Delivery {
                reference: reference.map(str::to_owned),
                revision: Some("a".repeat(40)),
                ..Delivery::default()
            };
            let found = pushed(&delivery, &followed);
            assert_eq!(found, counts.then(|| commit('a')), "{reference:?} {followed:?}");
        }
        let short = Delivery {
            revision: Some("abc".to_owned()),
            ..Delivery::default()
        };
        assert_eq!(pushed(&short, &RefSpec::Default), None);
    }

    #[test]
    fn history_is_asked_only_if_the_tip_is_not_the_answer() {
        let (last, pushed, tip) = (commit('1'), commit('2'), commit('3'));
        assert_eq!(
            before_tip(Some(&pushed), Some(&last), &tip),
            Some([&last, &pushed])
        );
        assert_eq!(before_tip(Some(&tip), Some(&last), &tip), None, "it is the tip");
        assert_eq!(before_tip(Some(&last), Some(&last), &tip), None, "it is deployed");
        assert_eq!(
            before_tip(Some(&pushed), Some(&tip), &tip),
            None,
            "the tip is deployed"
        );
        assert_eq!(before_tip(Some(&pushed), None, &tip), None, "nothing is deployed");
        assert_eq!(before_tip(None, Some(&last), &tip), None, "nothing was announced");
    }
}
