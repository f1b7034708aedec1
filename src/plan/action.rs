//! What can be done: one call of a trait or of the API server each.

use std::time::Duration;

use crate::api::CauseKind;
use crate::error::Problem;

use super::desired::Desired;
use super::state::JobOutput;

/// One thing to do: one call of a trait or of the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Give a Release that somebody made its number.
    Number {
        /// Which.
        release: String,
        /// Its number.
        number: i64,
    },
    /// Give a Release that has no owner the Application, so that it goes with it.
    Adopt {
        /// Which.
        release: String,
    },
    /// Make a Release for what is wanted now.
    Create {
        /// Its number.
        number: i64,
        /// What is wanted, boxed because it is large.
        desired: Box<Desired>,
        /// The commit or image that it asks for, where that is not the one that is wanted now.
        revision: Option<String>,
        /// What makes it.
        occasion: Occasion,
    },
    /// Record what a Release is pinned to, and why there is one.
    Begin {
        /// Which.
        release: String,
        /// What it is pinned to.
        desired: Box<Desired>,
    },
    /// Fetch and build, or pull, for a Release.
    StartJob {
        /// Which.
        release: String,
        /// What it is pinned to.
        desired: Box<Desired>,
    },
    /// Record why the work for a Release cannot begin yet.
    Wait {
        /// The Release.
        release: String,
        /// What must change first.
        problem: Problem,
    },
    /// Stop the job; its end is observed later.
    CancelJob,
    /// Let the job go on for this Release, which needs what it makes, in place of the one that it was begun for.
    HandOver {
        /// Which.
        release: String,
        /// What it is pinned to.
        desired: Box<Desired>,
    },
    /// Forget a job that has ended.
    ForgetJob,
    /// Record the image of a Release.
    RecordImage {
        /// Which.
        release: String,
        /// The image.
        output: JobOutput,
        /// It was there already.
        reused: bool,
    },
    /// Take the containers towards this Release; nothing: towards none at all.
    Deploy {
        /// Which.
        release: Option<String>,
        /// The Release whose containers nothing is done to meanwhile: it failed, and they are to be looked at.
        beside: Option<String>,
    },
    /// A Release has ended.
    End {
        /// Which.
        release: String,
        /// How.
        end: End,
    },
    /// Remove an ended Release from the history, with its log and, if no other needs it, its image.
    Prune {
        /// Which.
        release: String,
        /// The image tag to remove.
        image_tag: Option<String>,
    },
    /// Remove containers, network and, if asked, volumes.
    RemoveContainers {
        /// Volumes too.
        volumes: bool,
    },
    /// Let everything of the Application run on without an owner.
    Orphan,
    /// Remove images, logs and caches, then let the object go.
    Forget,
}

/// How a Release ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Because it was asked to.
    Cancelled,
    /// Because a newer one came.
    Superseded,
    /// Because nothing is to run any more: what it was for is released again when something is.
    Unwanted(Unwanted),
    /// Because it failed in a step.
    Failed {
        /// The step.
        step: &'static str,
        /// What went wrong.
        problem: Problem,
        /// The last lines of the log.
        log_tail: String,
    },
}

/// Why nothing is to run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// `spec.stopped` became true.
    Stopped,
    /// `spec.source` was removed.
    NoSource,
    /// The Application was deleted.
    Deleted,
}

/// What to do now, and when to look again if nothing happens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Look again at the latest after this time.
    pub check_in: Option<Duration>,
}

impl Plan {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn look_again_in(&mut self, time: Duration) {
        self.check_in = Some(self.check_in.map_or(time, |already| already.min(time)));
    }
}

/// What makes a Release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occasion {
    /// What is wanted is another thing than before.
    #[default]
    Change,
    /// Somebody created it.
    Created,
    /// Somebody asked for a look now, and what is wanted had failed or was cancelled.
    Requested,
    /// What runs is of no Release that is recorded.
    Unrecorded,
    /// The image of what is to run is not in the engine any more.
    ImageLost,
}

impl Occasion {
    /// What brought the Release about, where that is not what is different in it.
    pub fn cause(self) -> Option<CauseKind> {
        match self {
            Self::Change => None,
            Self::Created | Self::Requested => Some(CauseKind::Manual),
            Self::Unrecorded | Self::ImageLost => Some(CauseKind::Drift),
        }
    }

    /// Why there is a Release although nothing in it is different.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Change => None,
            Self::Created => Some("asked for by hand"),
            Self::Requested => Some("asked for by the annotation davit.dev/requestedAt"),
            Self::Unrecorded => Some("what runs is of no recorded release"),
            Self::ImageLost => Some("the image was not in the engine any more"),
        }
    }
}
