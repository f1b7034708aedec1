//! What a decision about previews is made from, and what it comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::facts::{Facts, Question};
use crate::api::{Application, ApplicationSpec, PreviewStatus};
use crate::model::{AppId, CommitId, CommitState, PullRequest};

/// What a decision is made from.
pub struct PreviewInput<'a> {
    /// The Application's namespace and name.
    pub id: &'a AppId,
    /// The Application.
    pub app: &'a Application,
    /// Its open pull requests.
    pub pull_requests: &'a [PullRequest],
    /// Its previews, and other Applications with the name of one.
    pub children: &'a [Application],
    /// How many more previews the namespace may have than those of this Application.
    pub room: usize,
    /// How many previews a namespace may have.
    pub most: usize,
    /// Whether the base repository has the commits of all pull requests.
    pub base_has_heads: bool,
    /// How code without write access is approved at the forge, as the end of a sentence.
    pub approval: &'a str,
    /// What the forge answered.
    pub facts: &'a Facts,
    /// The time.
    pub now: Timestamp,
}

/// A preview that has to be created, or made what it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The number of the pull request.
    pub number: u64,
    /// The name of its Application.
    pub name: String,
    /// The spec of its Application.
    pub spec: ApplicationSpec,
    /// The annotations of its Application.
    pub annotations: BTreeMap<String, String>,
    /// The version of the existing one.
    pub resource_version: Option<String>,
}

/// A preview that has to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The name of its Application.
    pub name: String,
    /// Its UID, so that another Application of the same name stays.
    pub uid: String,
    /// Why, as the end of a sentence.
    pub why: String,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreviewPlan {
    /// What the forge has to be asked first. Until it is, the previews concerned stay as they are.
    pub questions: Vec<Question>,
    /// Previews to create.
    pub create: Vec<Wanted>,
    /// Previews to change.
    pub update: Vec<Wanted>,
    /// Previews to remove.
    pub remove: Vec<Removal>,
    /// How each preview is, by the number of its pull request.
    pub states: BTreeMap<u64, PreviewStatus>,
    /// The status of commits that no preview is built from, by the number of the pull request.
    pub commits: BTreeMap<u64, CommitReport>,
    /// When the next preview expires.
    pub expires_in: Option<Duration>,
}

/// The status of a commit that no preview is built from. That of a preview's commit is reported by the preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitReport {
    /// The commit.
    pub commit: CommitId,
    /// Its state.
    pub state: CommitState,
    /// Why, as a sentence.
    pub description: String,
}
