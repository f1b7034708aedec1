//! When a job that was started for one Release continues for another.

use crate::api::ReleaseType;

use super::input::PlanInput;
use super::job_spec::JobSpec;
use super::state::{JobView, ReleaseView};

/// Returns the current Release and its job if the running job of another Release makes exactly the image that it needs.
pub fn reusable_job<'i>(
    input: &'i PlanInput<'_>,
    job: &JobView,
    current: &'i ReleaseView,
) -> Option<(&'i ReleaseView, JobSpec)> {
    let mut others = input.releases.iter();
    let begun_for = others.find(|release| release.uid == job.owner.release)?;
    let builds_again = current.spec.kind != ReleaseType::Deploy || current.spec.clean_cache;
    let needs_image = current.status.image.is_none() && matches!(input.image, Ok(None));
    let continues = !job.state.has_ended() && !job.stopping && !begun_for.spec.cancel && !current.spec.cancel;
    if !continues || job.owner.application != input.uid() || !needs_image || builds_again {
        return None;
    }
    let (desired, values) = (input.target.known()?, input.inputs.values.as_ref().ok()?);
    let wanted = JobSpec::new(input.uid(), current, desired, values).ok()?;
    (wanted.owner.job_key == job.owner.job_key).then_some((current, wanted))
}
