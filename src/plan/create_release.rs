//! When a Release is made, and which number it gets.

use std::time::Duration;

use crate::api::{ConcurrencyPolicy, Reason, ReleasePhase, ReleaseStatus};

use super::action::{Action, Occasion, Plan};
use super::state::{ReleaseView, World, active, last_handled};
use super::{hash_of, lost};

/// How many numbers the Application remembers to have given, also to Releases that are gone.
fn counted(world: &World<'_>) -> i64 {
    let status = world.app.status.as_ref();
    let summary = status.and_then(|status| status.release.as_ref());
    summary.map_or(0, |release| release.count)
}

/// The number after the highest one that was ever given: to one of these Releases, or `counted`.
fn next_number(releases: &[ReleaseView], counted: i64) -> i64 {
    let highest = releases.iter().filter_map(|release| release.status.number).max();
    counted.max(highest.unwrap_or(0)) + 1
}

/// The numbers of those Releases, of all in their order, that have none yet, where `counted` were ever given.
pub fn numbers(releases: &[ReleaseView], counted: i64) -> impl Iterator<Item = (&ReleaseView, i64)> {
    let new = releases.iter().filter(|release| release.status.number.is_none());
    new.zip(next_number(releases, counted)..)
}

pub(super) fn number(world: &World<'_>, plan: &mut Plan) {
    for (release, number) in numbers(&world.releases, counted(world)) {
        if release.has_ended() {
            // Cancelled before it was seen: nothing else wakes the pass that goes on from here.
            plan.look_again_in(Duration::ZERO);
        }
        plan.push(Action::Number {
            release: release.name.clone(),
            number,
        });
    }
    // Those that somebody made, and those that an earlier Application of this name left (`--cascade=orphan`).
    for release in world.releases.iter().filter(|release| !release.owned) {
        plan.push(Action::Adopt {
            release: release.name.clone(),
        });
    }
}

/// Whether the containers that run are of a Release whose record somebody deleted, and of none that failed: to forget how
/// something came to run is no reason to stop it.
fn is_unrecorded(world: &World<'_>) -> bool {
    let Ok(running) = &world.running else { return false };
    let newest_is_good = world
        .releases
        .last()
        .is_none_or(|newest| newest.status.phase == ReleasePhase::Succeeded);
    let known: Vec<String> = world
        .releases
        .iter()
        .filter_map(|release| hash_of(&release.status))
        .collect();
    newest_is_good
        && !running.replicas.is_empty()
        && !running
            .replicas
            .iter()
            .any(|replica| known.contains(&replica.hash))
}

/// What would make a Release now, beside what is wanted being another thing.
pub(super) fn occasion(world: &World<'_>, current: Option<&ReleaseView>) -> Occasion {
    let newest = newest_that_counts(&world.releases, |release| &release.status);
    let runs = active(&world.releases).map(|active| &active.status);
    let failed = last_handled(&world.releases).is_some_and(|newest| {
        let phase = newest.status.phase;
        matches!(phase, ReleasePhase::Failed | ReleasePhase::Cancelled) && !is_moot(&newest.status, runs)
    });
    if current.is_none() && is_unrecorded(world) {
        Occasion::Unrecorded
    } else if lost(world, newest.map(|newest| newest.name.as_str())) {
        // Of the newest only: where a newer one has failed, making it again would fail again.
        Occasion::ImageLost
    } else if world.requested && failed {
        Occasion::Requested
    } else {
        Occasion::Change
    }
}

/// Whether a Release says anything of its Application: one that was refused, or ended because of another or because it was
/// asked to before it began, does not. What was wanted then is still to be released, or runs.
fn counts(release: &ReleaseStatus) -> bool {
    let refused = match release.phase {
        ReleasePhase::Cancelled | ReleasePhase::Superseded => true,
        ReleasePhase::Failed => release
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == Reason::Concurrent.as_str()),
        _ => false,
    };
    !(refused && release.handled.is_none())
}

/// Whether a Release that was called off was for nothing but what runs already: then it leaves nothing to be done.
fn is_moot(release: &ReleaseStatus, runs: Option<&ReleaseStatus>) -> bool {
    let called_off = matches!(release.phase, ReleasePhase::Cancelled | ReleasePhase::Superseded);
    called_off && release.handled.is_some() && runs.is_some_and(|runs| runs.handled == release.handled)
}

/// The newest Release that says how it is with its Application. One that was called off and was for what runs already leaves
/// it to that.
pub(super) fn newest_that_counts<R>(all: &[R], status_of: impl Fn(&R) -> &ReleaseStatus) -> Option<&R> {
    let runs = all
        .iter()
        .rev()
        .find(|release| status_of(release).phase == ReleasePhase::Succeeded);
    let newest = all.iter().rev().find(|release| counts(status_of(release)))?;
    if is_moot(status_of(newest), runs.map(&status_of)) {
        runs
    } else {
        Some(newest)
    }
}

/// Makes a Release where what is wanted is not what the newest one was made for, or there is another occasion.
pub(super) fn create(world: &World<'_>, current: Option<&ReleaseView>, occasion: Occasion, plan: &mut Plan) {
    let Ok(Some(wanted)) = &world.wanted else { return };
    if current.is_some() && world.app.spec.concurrency_policy != ConcurrencyPolicy::Supersede {
        return;
    }
    let newest = world.releases.last();
    if newest
        .is_some_and(|newest| newest.status.number.is_none() || !newest.has_begun() && !newest.has_ended())
    {
        return; // Somebody just asked for one; it begins with what is wanted now.
    }
    let handled = last_handled(&world.releases).and_then(ReleaseView::handled);
    let same = handled == Some(wanted.identity().as_str());
    if same && occasion == Occasion::Change {
        return;
    }
    // What is made again is what was there, and not what the branch has come to meanwhile.
    let mut all = world.releases.iter();
    let lost =
        all.find(|release| same && occasion == Occasion::ImageLost && lost(world, Some(&release.name)));
    let revision = lost
        .and_then(|lost| lost.status.source.as_ref())
        .map(|source| source.revision.clone())
        .filter(|revision| *revision != wanted.source.revision);
    plan.push(Action::Create {
        number: next_number(&world.releases, counted(world)),
        desired: Box::new(wanted.clone()),
        revision,
        occasion: if same { occasion } else { Occasion::Change },
    });
}
