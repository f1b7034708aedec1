//! How the preview of a pull request is, as the status of its Application lists it.

use crate::api::{Application, ConditionType, Phase, PreviewState, PreviewStatus, condition};
use crate::model::PullRequest;

fn empty(number: u64, state: PreviewState) -> PreviewStatus {
    PreviewStatus {
        number: i64::try_from(number).unwrap_or(i64::MAX),
        state,
        application: None,
        revision: None,
        url: None,
        message: None,
        comment: None,
        repository: None,
        reported: None,
    }
}

/// It runs, or will.
pub(super) fn of(number: u64, commit: &str, child: Option<&Application>) -> PreviewStatus {
    let mut preview = empty(number, PreviewState::Building);
    preview.revision = Some(commit.to_owned()).filter(|commit| !commit.is_empty());
    let Some(child) = child.filter(|child| child.metadata.deletion_timestamp.is_none()) else {
        return preview;
    };
    let status = child.status.clone().unwrap_or_default();
    let is_current = Some(status.observed_generation) == child.metadata.generation;
    preview.state = match status.phase {
        Phase::Done if is_current => PreviewState::Ready,
        Phase::Error if is_current => PreviewState::Failed,
        Phase::Idle | Phase::Running | Phase::Done | Phase::Error => PreviewState::Building,
    };
    preview.url = status.urls.first().cloned();
    if preview.state == PreviewState::Ready && preview.url.is_none() {
        let routes = condition::find(&status.conditions, ConditionType::RoutesReady);
        let routes = routes.filter(|routes| routes.status == "False");
        preview.message =
            routes.map(|routes| format!("it has no address: {}: {}", routes.reason, routes.message));
    }
    if preview.state == PreviewState::Failed {
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        preview.message = ready.map(|ready| format!("{}: {}", ready.reason, ready.message));
    }
    preview
}

/// It is made anew: what was observed of it is of what it was before.
pub(super) fn begin(preview: &mut PreviewStatus) {
    preview.state = PreviewState::Building;
    preview.message = None;
}

/// It does not run yet.
pub(super) fn waiting(pull_request: &PullRequest, message: String) -> PreviewStatus {
    PreviewStatus {
        revision: Some(pull_request.head.clone()),
        message: Some(message),
        ..empty(pull_request.number, PreviewState::Waiting)
    }
}

/// It cannot be made.
pub(super) fn failed(pull_request: &PullRequest, message: String) -> PreviewStatus {
    PreviewStatus {
        state: PreviewState::Failed,
        ..waiting(pull_request, message)
    }
}

/// It was removed.
pub(super) fn removed(old: &PreviewStatus, why: &str) -> PreviewStatus {
    PreviewStatus {
        state: PreviewState::Removed,
        application: None,
        url: None,
        message: Some(why.to_owned()),
        ..old.clone()
    }
}
