//! Looks a source up: what its ref or tag names now, and which commit the trigger chooses.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::{Reason, RequireChecks, Source};
use crate::controller::tools::Tools;
use crate::error::{Class, Problem};
use crate::image;
use crate::model::{CommitId, RefSpec, Revision};
use crate::plan::checks::{Passing, decide};
use crate::plan::desired::PinnedSource;
use crate::plan::source_kind::pinned;
use crate::plan::trigger;
use crate::plan::watch_paths::WatchPaths;
use crate::source::Changes;

use super::credentials::Origin;
use super::remote::Remote;

/// What the choice of a commit depends on, beside the repository.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `spec.trigger.watchPaths`.
    pub watch_paths: Vec<String>,
    /// The commit that a delivery announces.
    pub pushed: Option<CommitId>,
    /// Whether a branch is followed, whose commits may ask for no deployment. A tag is a deployment that was asked for.
    pub follows_branch: bool,
    /// Whether that commit continues the one that was chosen last, as the delivery says.
    pub continues: bool,
    /// The source as it was chosen last.
    pub last: Option<PinnedSource>,
    /// `spec.trigger.requireChecks`.
    pub require_checks: Option<RequireChecks>,
    /// The checks that were seen to have passed.
    pub passing: Arc<Mutex<Option<Passing>>>,
}

impl Rules {
    /// The commit that a Release may be created for before the repository has confirmed it: nothing but the delivery is needed to
    /// choose it.
    pub fn announced(&self) -> Option<&CommitId> {
        let needs_more = !self.watch_paths.is_empty() || self.require_checks.is_some();
        self.pushed
            .as_ref()
            .filter(|_| self.continues && self.follows_branch && !needs_more)
    }
}

/// Looks a source up.
///
/// # Errors
/// The server cannot be asked, or does not have what the source names.
pub async fn look_up(
    tools: Tools,
    source: Source,
    origin: Origin,
    rules: Rules,
) -> Result<PinnedSource, Problem> {
    let no_source = || Problem::new(Class::Terminal, Reason::NoSource, "spec.source is empty");
    match origin {
        Origin::Git { remote, spec } => {
            let resolved = remote.resolve(&tools.git, &spec).await?;
            let last = rules.last.as_ref().and_then(trigger::commit);
            let repository = Repository {
                tools: &tools,
                remote: &remote,
                spec: &spec,
            };
            let commit = repository
                .before_tip(rules.pushed.as_ref(), last, resolved.commit)
                .await?;
            let found = Revision::Commit(commit.clone());
            if let Some(last) = last
                && let Some(skipped) = repository.left_out(&rules, last, &commit).await?
            {
                let last = pinned(&source, Revision::Commit(last.clone())).ok_or_else(no_source)?;
                return Ok(PinnedSource {
                    unwatched: Some(found),
                    skipped,
                    ..last
                });
            }
            if let Some(required) = rules.require_checks.as_ref().filter(|_| last != Some(&commit)) {
                repository
                    .await_checks(&commit, required, &rules.passing, last.is_some())
                    .await?;
            }
            let found = pinned(&source, found).ok_or_else(no_source)?;
            Ok(PinnedSource {
                tag: resolved.tag,
                ..found
            })
        }
        Origin::Upload { digest, .. } => pinned(&source, Revision::Archive(digest)).ok_or_else(no_source),
        Origin::Image { image, login } => {
            let resolved = match (&tools.registries, &tools.docker) {
                (Some(options), _) => image::resolve_at_registry(&image, login.as_ref(), options).await,
                (None, Some(engine)) => image::resolve_image(engine, &image, login.as_ref()).await,
                (None, None) => {
                    return Err(Problem::new(
                        Class::Terminal,
                        Reason::NotSupported,
                        "there is no engine here to resolve images with",
                    ));
                }
            };
            let reference = resolved.map_err(|error| Problem::of(&error))?.reference;
            let found = Revision::image(&reference).ok_or_else(|| {
                let message =
                    format!("the engine names the image {reference:?}, which is neither a digest nor an ID");
                Problem::new(Class::Terminal, Reason::Internal, message)
            })?;
            pinned(&source, found).ok_or_else(no_source)
        }
    }
}

/// The repository of a source.
struct Repository<'a> {
    tools: &'a Tools,
    remote: &'a Remote,
    spec: &'a RefSpec,
}

impl Repository<'_> {
    /// Returns the pushed commit if the history of the branch leads from the last one to it, and otherwise the tip.
    async fn before_tip(
        &self,
        pushed: Option<&CommitId>,
        last: Option<&CommitId>,
        tip: CommitId,
    ) -> Result<CommitId, Problem> {
        let Some([last, pushed]) = trigger::before_tip(pushed, last, &tip) else {
            return Ok(tip);
        };
        let remote = self.remote.open().await?;
        let cancel = CancellationToken::new();
        let between = self.tools.git.is_between(&remote, [last, pushed, &tip], &cancel);
        match between.await.map_err(|error| Problem::of(&error)) {
            Ok(true) => Ok(pushed.clone()),
            Ok(false) => Ok(tip),
            Err(problem) if problem.class == Class::Terminal => {
                // The tip is what polling would find.
                tracing::warn!(%pushed, %tip, problem = problem.message, "the history of the branch cannot be read");
                Ok(tip)
            }
            Err(problem) => Err(problem),
        }
    }

    /// Fails unless the checks of a commit have passed.
    async fn await_checks(
        &self,
        commit: &CommitId,
        required: &RequireChecks,
        passing: &Mutex<Option<Passing>>,
        serves: bool,
    ) -> Result<(), Problem> {
        let Remote::Forge(remote) = self.remote else {
            return Err(Problem::invalid(
                "spec.trigger.requireChecks needs a source of a GitProvider: leave it out, or use one",
            ));
        };
        let checks = remote.forge.checks(&remote.repository(), commit).await;
        let checks = checks.map_err(|error| Problem::of(&error))?;
        let mut passing = passing.lock();
        let (result, now) = decide(commit, &checks, required, passing.as_ref(), Timestamp::now());
        *passing = now;
        result.map_err(|problem| match problem.reason {
            // Nothing else is wanted, so that only the user can help.
            Reason::ChecksFailed if !serves => Problem {
                class: Class::Terminal,
                ..problem
            },
            _ => problem,
        })
    }

    /// Returns `None` if a commit is deployed by itself, and otherwise whether its message is the reason.
    async fn left_out(&self, rules: &Rules, old: &CommitId, new: &CommitId) -> Result<Option<bool>, Problem> {
        if !self.is_watched(&rules.watch_paths, old, new).await? {
            return Ok(Some(false));
        }
        Ok(self.is_skipped(rules, old, new).await.then_some(true))
    }

    /// Reports whether the message of a new commit asks for no deployment. A commit that a delivery announces does not: its
    /// receiver has read the message. A commit that cannot be read is left to the job, which reports why.
    async fn is_skipped(&self, rules: &Rules, old: &CommitId, new: &CommitId) -> bool {
        if !rules.follows_branch || old == new || rules.pushed.as_ref() == Some(new) {
            return false;
        }
        let Ok(remote) = self.remote.open().await else {
            return false;
        };
        let cancel = CancellationToken::new();
        let skipped = self.tools.git.is_skipped(&remote, self.spec, new, &cancel).await;
        skipped.unwrap_or_else(|error| {
            tracing::debug!(commit = %new, %error, "the message of the commit cannot be read yet");
            false
        })
    }

    /// Reports whether a watched file differs between two commits. It counts as one if that cannot be decided.
    async fn is_watched(&self, patterns: &[String], old: &CommitId, new: &CommitId) -> Result<bool, Problem> {
        if patterns.is_empty() || old == new {
            return Ok(true);
        }
        let watch = WatchPaths::new(patterns)?;
        let remote = self.remote.open().await?;
        let cancel = CancellationToken::new();
        let changes = self.tools.git.changes(&remote, self.spec, [old, new], &cancel);
        Ok(match changes.await.map_err(|error| Problem::of(&error))? {
            Changes::Paths(paths) => watch.watches_any(paths.iter()),
            Changes::Unknown => true,
        })
    }
}
