//! Rules that depend on the kind of a source: its pinned form, what a Release may ask of it, and whether it is polled.

use std::time::Duration;

use crate::api::{ApplicationSpec, Reason, ReleaseSpec, Source, SourceKind, TriggerOn};
use crate::error::{Class, Problem};
use crate::image::ImageName;
use crate::model::{CommitId, ImageRef, Revision};
use crate::redact::SafeUrl;

use super::backoff;
use super::desired::PinnedSource;

/// The default of `spec.trigger.pollInterval`.
const POLL_INTERVAL: Duration = Duration::from_mins(5);

/// Returns the name of the kind of a source.
pub fn kind(source: &Source) -> Option<&'static str> {
    source.kind().map(SourceKind::name)
}

/// Returns where a source comes from, as messages show it.
pub fn locator(source: &Source) -> Option<String> {
    Some(match source.kind()? {
        SourceKind::Git(git) => {
            SafeUrl::parse_git(&git.url).map_or_else(|_| git.url.clone(), |url| url.to_string())
        }
        SourceKind::GitHub(_) | SourceKind::GitLab(_) | SourceKind::Bitbucket(_) | SourceKind::Gitea(_) => {
            source.forge()?.repository
        }
        SourceKind::Docker(image) => image.image.clone(),
        // Its revision says all: the same upload is the same source.
        SourceKind::Drop(_) => "upload".to_owned(),
    })
}

/// Reads a revision as the kind of this source has it, or returns `None` if the text is of another kind.
pub fn revision(source: &Source, text: &str) -> Option<Revision> {
    match source.kind()? {
        SourceKind::Git(_)
        | SourceKind::GitHub(_)
        | SourceKind::GitLab(_)
        | SourceKind::Bitbucket(_)
        | SourceKind::Gitea(_) => Revision::commit(text),
        SourceKind::Docker(_) => Revision::image(text),
        SourceKind::Drop(_) => Revision::archive(text),
    }
}

/// Reports whether a Release of type Deploy with the digits of this recorded revision makes the same image again: the source is of
/// the same kind and, for an image, of the same repository.
pub fn makes_again(source: &Source, recorded: &str) -> bool {
    let Some(SourceKind::Docker(image)) = source.kind() else {
        return revision(source, recorded).is_some();
    };
    let Some(Revision::Image(ImageRef::Registry { repository: was, .. })) = Revision::image(recorded) else {
        return false; // The ID of an image that only the engine had.
    };
    let names = (ImageName::parse(&was), ImageName::parse(&image.image));
    matches!(names, (Ok(was), Ok(is)) if was.is_of_repository_of(&is))
}

/// Returns the source pinned to a revision.
pub fn pinned(source: &Source, revision: Revision) -> Option<PinnedSource> {
    let (path, submodules) = match source.kind()? {
        SourceKind::Git(git) => (git.path.as_str(), git.submodules),
        SourceKind::GitHub(_) | SourceKind::GitLab(_) | SourceKind::Bitbucket(_) | SourceKind::Gitea(_) => {
            let forge = source.forge()?;
            (forge.path, forge.submodules)
        }
        SourceKind::Docker(_) => ("/", false),
        SourceKind::Drop(upload) => (upload.path.as_str(), false),
    };
    Some(PinnedSource {
        kind: kind(source)?,
        locator: locator(source)?,
        revision,
        path: path.to_owned(),
        submodules,
        tag: None,
        unwatched: None,
        skipped: false,
    })
}

/// Checks that the fields of a Release fit the kind of the source.
///
/// # Errors
/// A field has no meaning for this kind of source.
pub fn fits(source: Option<&Source>, asked: &ReleaseSpec) -> Result<(), Problem> {
    let Some(kind) = source.and_then(Source::kind) else {
        return Ok(());
    };
    let revision = asked.revision.as_deref();
    let message = match kind {
        SourceKind::Git(_)
        | SourceKind::GitHub(_)
        | SourceKind::GitLab(_)
        | SourceKind::Bitbucket(_)
        | SourceKind::Gitea(_) => revision
            .filter(|revision| CommitId::parse(revision).is_none())
            .map(|revision| {
                format!("spec.revision is {revision:?}, and the Application's source is a Git repository: create a Release with a full commit hash")
            }),
        SourceKind::Drop(_) => revision
            .filter(|revision| Revision::archive(revision).is_none())
            .map(|revision| {
                format!("spec.revision is {revision:?}, and the Application's source is an upload: create a Release with the digest of an earlier upload, sha256:…")
            }),
        SourceKind::Docker(_) => match revision.filter(|revision| !revision.starts_with("sha256:")) {
            Some(revision) => Some(format!(
                "spec.revision is {revision:?}, and the Application's source is an image: create a Release with a digest, sha256:…"
            )),
            None => asked.clean_cache.then(|| {
                "spec.cleanCache has no effect on a source that is an image, because nothing is built: create a Release without it".to_owned()
            }),
        },
    };
    message.map_or(Ok(()), |message| {
        Err(Problem::new(Class::Terminal, Reason::InvalidSpec, message))
    })
}

/// Returns the problem of a job with the solution for a Release that asked for the revision which was not found: the field of the
/// Application that a job names is not the wrong one.
pub fn of_asked_revision(asked: &ReleaseSpec, problem: &Problem) -> Problem {
    let mut problem = problem.clone();
    let is_missing = matches!(problem.reason, Reason::GitRefNotFound | Reason::ImageNotFound);
    let of_spec = [": set spec.source.", ": correct spec.source."];
    let at = of_spec
        .iter()
        .filter_map(|solution| problem.message.rfind(solution))
        .max();
    if let (true, Some(_), Some(at)) = (is_missing, &asked.revision, at) {
        problem.message.truncate(at);
        problem
            .message
            .push_str(": create a Release with spec.revision set to one that exists, or push it");
    }
    problem
}

/// Returns the interval at which a source is resolved again, or `None` if its revision is fixed or polling is off.
pub fn poll_interval(spec: &ApplicationSpec, salt: u64) -> Option<Duration> {
    let trigger = spec.trigger.clone().unwrap_or_default();
    if trigger.on == Some(TriggerOn::Manual) || is_fixed(spec) {
        return None;
    }
    let interval = trigger
        .poll_interval
        .as_ref()
        .map_or(POLL_INTERVAL, crate::api::Duration::get);
    (!interval.is_zero()).then(|| backoff::jitter(interval.max(Duration::from_secs(1)), salt))
}

/// Reports whether the source names a commit or digest.
fn is_fixed(spec: &ApplicationSpec) -> bool {
    let Some((source, kind)) = spec
        .source
        .as_ref()
        .and_then(|source| Some((source, source.kind()?)))
    else {
        return true;
    };
    let reference = match kind {
        SourceKind::Git(git) => git.git_ref.as_ref(),
        SourceKind::GitHub(_) | SourceKind::GitLab(_) | SourceKind::Bitbucket(_) | SourceKind::Gitea(_) => {
            source.forge().and_then(|forge| forge.git_ref)
        }
        SourceKind::Docker(image) => return image.image.contains("@sha256:"),
        SourceKind::Drop(_) => return true,
    };
    reference.is_some_and(|reference| reference.commit.is_some())
}
