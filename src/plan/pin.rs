//! The revision that a Release is pinned to, and the states that follow from it.

use crate::api::{Application, Reason, ReleasePhase, ReleaseType, Source, SourceKind};
use crate::error::{Class, Problem};
use crate::model::{AppId, Digest};

use super::desired::{Desired, Install, PinnedSource, validate};
use super::fingerprint::changed;
use super::input::{Decision, DesiredState, Inputs};
use super::state::{ReleaseView, last_handled, request, target};
use super::values::Values;
use super::{rollback, source_kind};

/// Decides what the spec and the current Release ask for.
pub fn decide(
    id: &AppId,
    app: &Application,
    releases: &[ReleaseView],
    inputs: &Inputs,
    install: &Install,
) -> Decision {
    let validated = |source: PinnedSource| validated(id, app, source, &inputs.values, install);
    let desired = match (&inputs.source, &inputs.last) {
        (None, _) => DesiredState::None,
        (Some(Ok(source)), _) => wanted(source, releases, validated),
        // An outage of the source's server does not stop what needs no server.
        (Some(Err(_)), Some(last)) => validated(last.clone()),
        (Some(Err(problem)), None) => DesiredState::Unknown(problem.clone()),
    };
    let target = target(releases, app.spec.concurrency_policy).map(|release| {
        if release.spec.kind == ReleaseType::Rollback {
            let values = inputs.rollback.as_ref().unwrap_or(&inputs.values);
            let desired = rollback::desired(id, release, releases, values, install);
            return desired.map_or_else(DesiredState::Unknown, |desired| {
                DesiredState::Known(Box::new(desired))
            });
        }
        let source = app.spec.source.as_ref();
        if !release.has_begun()
            && let Err(problem) = source_kind::fits(source, &release.spec)
        {
            return DesiredState::Unknown(problem);
        }
        match source.map(|source| pinned(source, release, releases)) {
            Some(Ok(Some(pinned))) => validated(pinned),
            Some(Err(problem)) => DesiredState::Unknown(problem),
            Some(Ok(None)) | None => match &desired {
                DesiredState::None => DesiredState::Unknown(no_source()),
                other => other.clone(),
            },
        }
    });
    Decision {
        desired_is_current: desired.problem().is_none(),
        desired,
        target: target.unwrap_or(DesiredState::None),
    }
}

/// Returns the state that a resolved source asks for. A newer commit without watched changes is deployed only with another
/// change.
fn wanted(
    source: &PinnedSource,
    releases: &[ReleaseView],
    validated: impl Fn(PinnedSource) -> DesiredState,
) -> DesiredState {
    let desired = validated(source.clone());
    let (Some(newest), Some(known)) = (&source.unwatched, desired.known()) else {
        return desired;
    };
    let handled = last_handled(releases).and_then(ReleaseView::handled);
    if handled == Some(known.fingerprint().as_str()) {
        return desired;
    }
    validated(PinnedSource {
        revision: newest.clone(),
        unwatched: None,
        skipped: false,
        ..source.clone()
    })
}

/// Decides what a suspended Application asks for, without its source: whether the spec is still the one that the newest
/// Release was created for.
pub fn decide_suspended(
    id: &AppId,
    app: &Application,
    releases: &[ReleaseView],
    inputs: &Inputs,
    install: &Install,
) -> Decision {
    let newest = releases.iter().rev().find(|release| release.has_begun());
    let source = app.spec.source.as_ref().zip(newest);
    let source = source.and_then(|(source, newest)| recorded(source, newest));
    let desired = source.map_or(DesiredState::None, |source| {
        validated(id, app, source, &inputs.values, install)
    });
    let is_for_desired = |release: &ReleaseView| {
        let desired = desired.known();
        desired.is_some_and(|desired| changed(&release.status.inputs, &desired.inputs).next().is_none())
    };
    Decision {
        desired_is_current: newest.map_or(app.spec.source.is_none(), is_for_desired) && !app.spec.stopped,
        desired,
        target: DesiredState::None,
    }
}

fn validated(
    id: &AppId,
    app: &Application,
    source: PinnedSource,
    values: &Result<Values, Problem>,
    install: &Install,
) -> DesiredState {
    let desired: Result<Desired, Problem> = match values {
        Ok(values) => validate(id, &app.spec, source, values, install),
        Err(problem) => Err(problem.clone()),
    };
    match desired {
        Ok(desired) => DesiredState::Known(Box::new(desired)),
        Err(problem) => DesiredState::Unknown(problem),
    }
}

/// Returns the problem of an Application without a source.
pub fn no_source() -> Problem {
    Problem::new(
        Class::Terminal,
        Reason::NoSource,
        "the Application has no source: set spec.source",
    )
}

/// Returns the source pinned as a Release is: by its record, by its spec, or as a Redeploy by the newest Release.
///
/// # Errors
/// The Release is pinned to a revision of another kind of source.
fn pinned(
    source: &Source,
    release: &ReleaseView,
    releases: &[ReleaseView],
) -> Result<Option<PinnedSource>, Problem> {
    let recorded_text = release.status.source.as_ref().map(|source| &source.revision);
    let asked = release
        .spec
        .revision
        .as_ref()
        .map(|asked| image_with_digest(asked, source));
    if let Some(text) = recorded_text.or(asked.as_ref()) {
        let revision = source_kind::revision(source, text);
        let pinned = revision.and_then(|revision| source_kind::pinned(source, revision));
        return pinned.map(Some).ok_or_else(|| {
            Problem::invalid(format!(
                "the release is of revision {text}, which is not one of spec.source: create another Release"
            ))
        });
    }
    if release.spec.kind != ReleaseType::Redeploy {
        return Ok(None);
    }
    // A Release that was cancelled or superseded neither ran nor failed to run.
    let ended = |view: &&ReleaseView| {
        let phase = view.status.phase;
        view.has_begun() && matches!(phase, ReleasePhase::Succeeded | ReleasePhase::Failed)
    };
    let newest = releases.iter().rev().find(ended);
    Ok(newest.and_then(|newest| recorded(source, newest)))
}

/// Returns the source pinned to the recorded revision of a Release, if that fits the kind of the source.
fn recorded(source: &Source, release: &ReleaseView) -> Option<PinnedSource> {
    let recorded = release.status.source.as_ref()?;
    let revision = source_kind::revision(source, &recorded.revision)?;
    source_kind::pinned(source, revision)
}

/// Returns the revision of `spec.revision`: a digest is completed by the name of the image.
fn image_with_digest(revision: &str, source: &Source) -> String {
    match source.kind() {
        // An image that is named by its ID has no repository to complete a digest with: it is another ID.
        Some(SourceKind::Docker(image))
            if revision.starts_with("sha256:") && Digest::parse(&image.image).is_none() =>
        {
            let name = image.image.split('@').next().unwrap_or_default();
            let slash = name.rfind('/').map_or(0, |at| at + 1);
            let end = name
                .get(slash..)
                .and_then(|last| last.find(':'))
                .map_or(name.len(), |at| slash + at);
            format!("{}@{revision}", name.get(..end).unwrap_or(name))
        }
        _ => revision.to_owned(),
    }
}

/// Returns the request for a source that is resolved anew: by a Release that a user created, or by the annotation.
pub fn fresh_source(app: &Application, releases: &[ReleaseView]) -> Option<String> {
    let current = target(releases, app.spec.concurrency_policy).filter(|release| {
        !release.has_begun() && release.spec.revision.is_none() && release.spec.kind == ReleaseType::Deploy
    });
    current
        .map(|release| release.name.clone())
        .or_else(|| request(app))
}
