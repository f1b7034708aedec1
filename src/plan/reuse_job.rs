//! When a job that was begun for one Release goes on for another.

use crate::api::ReleaseType;

use super::desired::Desired;
use super::state::{JobView, ReleaseView, World};

/// The current Release, with what it is pinned to, where the job that was begun for another one makes just what it needs:
/// what is under way already is not begun anew.
pub fn heir<'w>(
    world: &'w World<'_>,
    job: &JobView,
    current: &'w ReleaseView,
) -> Option<(&'w ReleaseView, &'w Desired)> {
    let app = world.app.metadata.uid.as_deref().unwrap_or_default();
    let mut others = world.releases.iter();
    let begun_for = others.find(|release| release.uid == job.owner.release)?;
    let wants_it_anew = current.spec.kind == ReleaseType::Redeploy || current.spec.clean_cache;
    let waits_for_an_image = current.status.image.is_none() && matches!(world.image, Ok(None));
    let desired = world.target.as_ref()?.as_ref().ok()?;
    let goes_on = !job.state.has_ended() && !job.stopping && !begun_for.spec.cancel && !current.spec.cancel;
    (goes_on
        && job.owner.application == app
        && waits_for_an_image
        && !wants_it_anew
        && desired.work() == job.owner.work)
        .then_some((current, desired))
}
