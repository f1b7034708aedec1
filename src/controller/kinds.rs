//! Kinds of source: what each is called, what it is when pinned, what one can ask of it, and whether it moves. Pure.

use std::time::Duration;

use crate::api::{ApplicationSpec, Reason, ReleaseSpec, Source, TriggerOn};
use crate::error::{Class, Problem};
use crate::model::CommitId;
use crate::plan::backoff;
use crate::plan::desired::PinnedSource;
use crate::redact::SafeUrl;

/// How often a branch or tag is looked at by default.
const POLL_INTERVAL: Duration = Duration::from_mins(5);

/// The kind of a source, as the user writes it.
pub fn kind(source: &Source) -> Option<&'static str> {
    if source.git.is_some() {
        Some("git")
    } else if let Some(found) = source.forge() {
        Some(found.kind)
    } else if source.docker.is_some() {
        Some("docker")
    } else {
        None
    }
}

/// A source pinned to a revision.
pub fn pinned(source: &Source, revision: String) -> Option<PinnedSource> {
    let kind = kind(source)?;
    let (locator, path, submodules) = if let Some(git) = &source.git {
        let shown = SafeUrl::parse(&git.url).map_or_else(|_| git.url.clone(), |url| url.to_string());
        (shown, git.path.clone(), git.submodules)
    } else if let Some(found) = source.forge() {
        (found.repository, found.path.to_owned(), found.submodules)
    } else {
        (source.docker.as_ref()?.image.clone(), "/".to_owned(), false)
    };
    Some(PinnedSource {
        kind,
        locator,
        revision,
        path,
        submodules,
    })
}

/// Whether a Release that somebody asks for fits the source.
///
/// # Errors
/// A field that cannot mean anything for this kind of source.
pub fn fits(source: Option<&Source>, asked: &ReleaseSpec) -> Result<(), Problem> {
    let Some(source) = source else { return Ok(()) };
    let revision = asked.revision.as_deref();
    let message = if source.docker.is_none() {
        let no_commit = revision.filter(|revision| CommitId::parse(revision).is_none());
        no_commit.map(|revision| {
            format!("spec.revision is {revision:?}, and the Application's source is a Git repository: create a Release with a full commit hash")
        })
    } else if let Some(revision) = revision.filter(|revision| !revision.starts_with("sha256:")) {
        Some(format!(
            "spec.revision is {revision:?}, and the Application's source is an image: create a Release with a digest, sha256:…"
        ))
    } else {
        asked.clean_cache.then(|| {
            "spec.cleanCache does nothing where the Application's source is an image and nothing is built: create a Release without it".to_owned()
        })
    };
    message.map_or(Ok(()), |message| {
        Err(Problem::new(Class::Terminal, Reason::InvalidSpec, message))
    })
}

/// When a source is looked at again; nothing where it never moves or is not to be followed.
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

/// True where the source names a commit or digest itself.
fn is_fixed(spec: &ApplicationSpec) -> bool {
    let Some(source) = &spec.source else { return true };
    let reference = source.git.as_ref().and_then(|git| git.git_ref.as_ref());
    let reference = reference.or_else(|| source.forge().and_then(|found| found.git_ref));
    reference.is_some_and(|reference| reference.commit.is_some())
        || source
            .docker
            .as_ref()
            .is_some_and(|image| image.image.contains("@sha256:"))
}
