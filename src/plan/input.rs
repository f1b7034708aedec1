//! Everything that a plan is made from.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Application;
use crate::error::Problem;
use crate::model::Revision;
use crate::runtime::Running;

use super::desired::{Desired, PinnedSource};
use super::release_status;
use super::state::{JobFailure, JobOutput, JobState, JobView, ReleaseView, request, retry_at};
use super::values::Values;

/// A state that the spec asks for, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum DesiredState {
    /// Nothing is to run.
    None,
    /// The state cannot be determined.
    Unknown(Problem),
    /// The state, boxed because it is large.
    Known(Box<Desired>),
}

impl DesiredState {
    /// Returns the state if it is known.
    pub fn known(&self) -> Option<&Desired> {
        match self {
            Self::Known(desired) => Some(desired),
            Self::None | Self::Unknown(_) => None,
        }
    }

    /// Returns why the state is unknown, if it is.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Unknown(problem) => Some(problem),
            Self::None | Self::Known(_) => None,
        }
    }
}

/// A commit that a delivery announces. A Release may be created for it at once; its work begins when the repository has
/// confirmed that the branch leads to the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The repository is being asked.
    Unconfirmed(Revision),
    /// The branch does not lead to it, or no longer.
    Refuted(Revision),
}

/// The source of an Application and the values that its spec refers to, as they were read.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The source as it was resolved, or the reason why it could not be; `None` without a source.
    pub source: Option<Result<PinnedSource, Problem>>,
    /// The last known revision of the same source, used while the source cannot be resolved.
    pub last: Option<PinnedSource>,
    /// Whether a job can reach the source: a Secret or GitProvider may be missing or not ready.
    pub access: Result<(), Problem>,
    /// Whether the source is still being resolved.
    pub pending: bool,
    /// What is known of the commit that a delivery announces, unless the repository has confirmed it.
    pub announced: Option<Announced>,
    /// How many times in a row resolving failed.
    pub attempts: u32,
    /// When the source is resolved again.
    pub check_in: Option<Duration>,
    /// The values that the spec refers to.
    pub values: Result<Values, Problem>,
    /// The values that the configuration of the current Release refers to, if that is a Rollback.
    pub rollback: Option<Result<Values, Problem>>,
}

/// The states that the spec and the current Release ask for.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the Application wants now.
    pub desired: DesiredState,
    /// What the current Release brings about, pinned as it is; `None` if no Release is open.
    pub target: DesiredState,
    /// Whether `desired` is what the newest Release is for, or a Release for it is being created.
    pub desired_is_current: bool,
}

/// The state of job, builder and runtime.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The job of the Application.
    pub job: Option<JobView>,
    /// The image that the tag of the target names, if it exists; a problem if the engine cannot be asked.
    pub image: Result<Option<JobOutput>, Problem>,
    /// The containers; a problem if the engine cannot be asked.
    pub running: Result<Running, Problem>,
    /// The Release that needs containers and whose image is no longer in the engine.
    pub missing_image: Option<String>,
}

/// Everything that a plan is made from.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The Application.
    pub app: &'a Application,
    /// Its Releases, in order.
    pub releases: Vec<ReleaseView>,
    /// Its source and values.
    pub inputs: Inputs,
    /// What the Application wants now.
    pub desired: DesiredState,
    /// What the current Release brings about, pinned as it is; `None` if no Release is open.
    pub target: DesiredState,
    /// Whether `desired` is what the newest Release is for, or a Release for it is being created.
    pub desired_is_current: bool,
    /// Its job.
    pub job: Option<JobView>,
    /// The image that the tag of the target names, if it exists; a problem if the engine cannot be asked.
    pub image: Result<Option<JobOutput>, Problem>,
    /// Its containers; a problem if the engine cannot be asked.
    pub running: Result<Running, Problem>,
    /// The Release that needs containers and whose image is no longer in the engine.
    pub missing_image: Option<String>,
    /// When work that failed for a transient reason is tried again.
    pub retry_at: Option<Timestamp>,
    /// Whether a user requested a reconcile that this reconcile answers.
    pub requested: bool,
}

impl<'a> PlanInput<'a> {
    /// Combines what was read, and brings the Releases up to date with an outage of the engine.
    pub fn new(
        app: &'a Application,
        mut releases: Vec<ReleaseView>,
        mut inputs: Inputs,
        decision: Decision,
        observed: Observed,
        now: Timestamp,
    ) -> Self {
        // The newest commit is deployed although it changes no watched file, because something else is wanted anew.
        if let (Some(Ok(source)), Some(desired)) = (&mut inputs.source, decision.desired.known())
            && source.unwatched.as_ref() == Some(&desired.source.revision)
        {
            source.clone_from(&desired.source);
        }
        for release in &mut releases {
            release_status::outage(&mut release.status, observed.running.as_ref().err(), now);
            if !app.spec.suspend && !release.has_ended() {
                release_status::with_application(&mut release.status, now);
            }
        }
        Self {
            app,
            releases,
            desired: decision.desired,
            target: decision.target,
            desired_is_current: decision.desired_is_current,
            job: observed.job,
            image: observed.image,
            running: observed.running,
            missing_image: observed.missing_image,
            retry_at: retry_at(app),
            requested: request(app).is_some() && !inputs.pending,
            inputs,
        }
    }

    /// Returns the UID of the Application.
    pub fn uid(&self) -> &str {
        self.app.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Reports whether a Release is for a commit of a delivery that the repository has not confirmed yet.
    pub fn is_unconfirmed(&self, release: &ReleaseView) -> bool {
        let Some(Announced::Unconfirmed(revision)) = &self.inputs.announced else {
            return false;
        };
        !release.manual && (release.status.source.is_none() || is_for(release, revision))
    }

    /// Returns the open Release for a commit of a delivery that the branch does not lead to.
    pub fn refuted(&self) -> Option<&ReleaseView> {
        let Some(Announced::Refuted(revision)) = &self.inputs.announced else {
            return None;
        };
        let mut open = self.releases.iter().filter(|release| !release.has_ended());
        open.find(|release| !release.manual && is_for(release, revision) && self.job_of(release).is_none())
    }

    /// Returns the job if it works for this Release. The UIDs decide, because a Release that was deleted and created
    /// again under the same name is another one.
    pub fn job_of(&self, release: &ReleaseView) -> Option<&JobView> {
        self.job
            .as_ref()
            .filter(|job| job.owner.application == self.uid() && job.owner.release == release.uid)
    }

    /// Returns the Release that the job works for.
    pub fn job_and_release(&self) -> Option<(&ReleaseView, &JobView)> {
        let mut releases = self.releases.iter();
        releases.find_map(|release| Some((release, self.job_of(release)?)))
    }

    /// Returns the transient failure that ended the job, if one did.
    pub fn transient_failure(&self) -> Option<&JobFailure> {
        match &self.job_and_release()?.1.state {
            JobState::Ended(Err(failure)) => Some(failure).filter(|failure| failure.is_transient()),
            _ => None,
        }
    }

    /// Returns why the desired state is unknown, unless the source is the reason.
    pub fn problem(&self) -> Option<&Problem> {
        let problem = self.desired.problem()?;
        match &self.inputs.source {
            Some(Ok(_)) => Some(problem),
            None if self.app.spec.suspend => Some(problem),
            _ => None,
        }
    }
}

/// Reports whether a Release is pinned to this revision.
fn is_for(release: &ReleaseView, revision: &Revision) -> bool {
    let source = release.status.source.as_ref();
    source.is_some_and(|source| source.revision == revision.to_string())
}
