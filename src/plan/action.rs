//! Actions: one call of a trait or of the API server each.

use std::time::Duration;

use crate::api::CauseKind;
use crate::error::Problem;

use super::desired::Desired;
use super::job_spec::JobSpec;
use super::state::JobOutput;
use super::step::Step;

/// One call of a trait or of the API server.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few exist at a time, and for a moment")]
pub enum Action {
    /// Gives a number to a Release that a user created.
    Number {
        /// The Release.
        release: String,
        /// Its number.
        number: i64,
    },
    /// Makes the Application the owner of a Release, so that both are deleted together.
    Adopt {
        /// The Release.
        release: String,
    },
    /// Creates a Release for what the Application wants now.
    Create {
        /// The number of the Release.
        number: i64,
        /// The state that the Release brings about, boxed because it is large.
        desired: Box<Desired>,
        /// The revision that the Release asks for, if that is not the current one.
        revision: Option<String>,
        /// Why the Release is created.
        reason: CreateReason,
    },
    /// Records what a Release is pinned to and why it exists.
    Begin {
        /// The Release.
        release: String,
        /// The state that the Release brings about.
        desired: Box<Desired>,
    },
    /// Starts the job that builds or pulls the image of a Release.
    StartJob {
        /// The Release.
        release: String,
        /// The work of the job, boxed because it is large.
        job: Box<JobSpec>,
    },
    /// Records why the work for a Release cannot begin yet.
    Wait {
        /// The Release.
        release: String,
        /// What must change first.
        problem: Problem,
    },
    /// Cancels the job. Its end is observed by a later reconcile.
    CancelJob,
    /// Lets the running job continue for this Release instead of the one that it was started for.
    HandOver {
        /// The Release.
        release: String,
        /// The job, as this Release would start it.
        job: Box<JobSpec>,
    },
    /// Removes an ended job from the queue.
    ForgetJob,
    /// Records the image of a Release.
    RecordImage {
        /// The Release.
        release: String,
        /// The image.
        output: JobOutput,
        /// Whether the image existed already.
        reused: bool,
    },
    /// Runs the hook of a Release, or observes it.
    RunHook {
        /// The Release.
        release: String,
        /// Whether its time is over.
        overdue: bool,
    },
    /// Brings the containers closer to those of a Release.
    Deploy {
        /// The Release; `None` stops all containers.
        release: Option<String>,
        /// A failed Release whose containers are left as they are, for inspection.
        preserve: Option<String>,
    },
    /// Marks the containers of the serving Release, so that new ones take their place.
    Restart {
        /// The Release.
        release: String,
    },
    /// Records the end of a Release.
    End {
        /// The Release.
        release: String,
        /// How the Release ended.
        outcome: ReleaseOutcome,
    },
    /// Deletes an ended Release with its log and, unless another Release needs it, its image.
    Prune {
        /// The Release.
        release: String,
        /// The image tag to remove.
        image_tag: Option<String>,
    },
    /// Removes containers and network and, optionally, volumes.
    RemoveContainers {
        /// Whether to remove volumes.
        volumes: bool,
    },
    /// Releases the finalizer and leaves everything running without an owner.
    Orphan,
    /// Removes images, logs and caches, then releases the finalizer.
    Forget,
}

/// How a Release ends without success.
#[derive(Clone, Debug, PartialEq)]
pub enum ReleaseOutcome {
    /// The user cancelled it.
    Cancelled,
    /// A newer Release replaced it.
    Superseded,
    /// Nothing is to run any more. The same state is released again once something is to run.
    NotNeeded(CancelReason),
    /// A step failed.
    Failed {
        /// The step.
        step: Step,
        /// The cause.
        problem: Problem,
        /// The last lines of the log.
        log_tail: String,
    },
}

/// Why what a Release is for is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// `spec.stopped` became true.
    Stopped,
    /// `spec.source` was removed.
    NoSource,
    /// The Application was deleted.
    Deleted,
    /// The branch does not lead to the commit that a delivery announced.
    NotOnBranch,
}

/// The next actions, and the time of the next reconcile if no event triggers one earlier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The actions, in order.
    pub actions: Vec<Action>,
    /// The longest time until the next reconcile.
    pub check_in: Option<Duration>,
}

impl Plan {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn requeue_in(&mut self, time: Duration) {
        self.check_in = Some(self.check_in.map_or(time, |already| already.min(time)));
    }
}

/// Why Davit or a user creates a Release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateReason {
    /// The desired state changed.
    #[default]
    Change,
    /// A user created the Release.
    Created,
    /// A user created a Release of type Rollback.
    RolledBack,
    /// A user requested a reconcile after the desired state had failed or was cancelled.
    Requested,
    /// The running containers belong to no recorded Release.
    Unrecorded,
    /// The image that is to run is no longer in the engine.
    ImageLost,
}

impl CreateReason {
    /// Returns the cause that is recorded, or `None` if the differences to the previous Release decide it.
    pub fn cause(self) -> Option<CauseKind> {
        match self {
            Self::Change => None,
            Self::Created | Self::Requested => Some(CauseKind::Manual),
            Self::RolledBack => Some(CauseKind::Rollback),
            Self::Unrecorded | Self::ImageLost => Some(CauseKind::Drift),
        }
    }

    /// Returns the text of `status.why` for a Release without differences to the previous one.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Change => None,
            Self::Created => Some("requested by a user"),
            Self::RolledBack => Some("requested by a user: what runs already"),
            Self::Requested => Some("asked for by the annotation davit.dev/requestedAt"),
            Self::Unrecorded => Some("what runs is of no recorded release"),
            Self::ImageLost => Some("the image was not in the engine any more"),
        }
    }
}
