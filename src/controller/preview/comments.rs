//! Comments on pull requests, and the status of commits that no preview is built from.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::Instant;

use crate::api::{Application, PreviewState, PreviewStatus};
use crate::controller::context::Context;
use crate::controller::resolve::remote::ForgeRemote;
use crate::error::{Class, Problem};
use crate::forge::{ForgeError, PullRequests, RepositoryPath, ensure_comment};
use crate::model::{AppId, CommitStatus};
use crate::plan::checks::OWN;
use crate::plan::preview::{CommitReport, comment, name};

use super::hindrance::Held;
use super::state::Refused;

/// How many comments one pass writes: forges limit them.
const WRITES: usize = 12;
/// How many comments one pass looks at, to write those that a person deleted anew.
const LOOKS: usize = 10;
/// How long a pull request whose comment the forge refused is left out: its conversation may be locked.
const REFUSED_FOR: Duration = Duration::from_mins(1);
/// The most characters of a status that every forge accepts.
const LONGEST: usize = 140;

/// Writes the comments of one Application.
pub(super) struct Comments<'a> {
    pub ctx: &'a Arc<Context>,
    pub id: &'a AppId,
    pub app: &'a Application,
    pub remote: Option<&'a ForgeRemote>,
    /// Without a repository: whether the forge cannot be used only for now.
    pub comes_back: bool,
    /// The status of commits that no preview is built from.
    pub commits: &'a BTreeMap<u64, CommitReport>,
    /// No comment is written now.
    pub held: Option<&'a Held>,
}

impl Comments<'_> {
    /// Makes the comments report these states, and drops the states whose last report was made. Returns true if more is to be
    /// written than one pass may.
    pub async fn write(
        &self,
        states: &mut BTreeMap<u64, PreviewStatus>,
        is_fresh: bool,
        looked_at: &mut usize,
        refused: &mut Refused,
    ) -> Result<bool, Problem> {
        let elsewhere = self.take_over(states);
        let is_deleted = self.app.metadata.deletion_timestamp.is_some();
        let forge = self
            .remote
            .and_then(|remote| Some((remote, remote.forge.pull_requests()?)));
        let Some((remote, forge)) = forge else {
            // Without a forge no comment is written. What one would report stays until it can be.
            states.retain(|_, preview| {
                preview.state != PreviewState::Removed || self.comes_back && preview.comment.is_some()
            });
            return Ok(false);
        };
        refused.retain(|_, (at, _)| at.elapsed() < REFUSED_FOR);
        let uid = self.app.uid().unwrap_or_default();
        let key = &self.ctx.install.key;
        if self.held.is_none() {
            for (number, repository, id) in elsewhere {
                let number_of = i64::try_from(number).unwrap_or(i64::MAX);
                let marker = comment::marker(key, self.id, &uid, number_of);
                self.finish(forge, &repository, number, &id, &marker).await;
            }
        }
        let (mut writes, mut is_more, mut first) = (0, false, Ok(()));
        let total = states.len().max(1);
        let looks = |place: usize| is_fresh && (place + total - *looked_at % total) % total < LOOKS;
        let mut gone = Vec::new();
        let mut order: Vec<&mut PreviewStatus> = states.values_mut().collect();
        order.sort_by_key(|preview| (urgency(preview.state), Reverse(preview.number)));
        for (place, preview) in order.into_iter().enumerate() {
            let number = u64::try_from(preview.number).unwrap_or_default();
            if preview.state == PreviewState::Removed && preview.comment.is_none() {
                gone.push(number);
                continue;
            }
            let marker = comment::marker(key, self.id, &uid, preview.number);
            let text = comment::text(self.id, preview, &marker);
            let mark = comment::mark(key, &text);
            let is_new = preview.reported.as_ref() != Some(&mark);
            if !is_new && !looks(place) {
                continue;
            }
            let why = refused.get(&number).map(|(_, why)| why.as_str());
            if let Some(why) = self.held.and_then(|held| held.why.as_deref()).or(why) {
                not_written(preview, is_new, why);
            }
            if self.held.is_some() || why.is_some() {
                continue;
            }
            if is_new && writes >= WRITES && !is_deleted {
                is_more = true;
                continue;
            }
            writes += usize::from(is_new);
            if let Err(error) = self
                .one(remote, forge, preview, &marker, &text, &mark, is_new)
                .await
            {
                let problem = Problem::of(&error);
                not_written(preview, is_new, &problem.message);
                // The forge refuses the comments of this one, or all of them.
                let ends = matches!(
                    error,
                    ForgeError::RateLimited { .. } | ForgeError::Unreachable { .. } | ForgeError::Auth { .. }
                );
                if problem.class == Class::Terminal && !ends {
                    refused.insert(number, (Instant::now(), problem.message.clone()));
                    if preview.state == PreviewState::Removed {
                        gone.push(number);
                    }
                }
                first = first.and(Err(problem));
                if ends {
                    break;
                }
            } else if preview.state == PreviewState::Removed {
                gone.push(number);
            }
        }
        if is_fresh {
            *looked_at = looked_at.wrapping_add(LOOKS);
        }
        states.retain(|number, _| !gone.contains(number));
        first.map(|()| is_more)
    }

    /// Takes over what was written before. Returns the comments in another repository than the present one, with the number of the
    /// pull request there.
    fn take_over(&self, states: &mut BTreeMap<u64, PreviewStatus>) -> Vec<(u64, RepositoryPath, String)> {
        let present = self.remote.map(|remote| remote.repository().to_string());
        let mut elsewhere = Vec::new();
        for old in self.app.status.iter().flat_map(|status| &status.previews) {
            let Some((number, preview)) = u64::try_from(old.number)
                .ok()
                .and_then(|number| Some((number, states.get_mut(&number)?)))
            else {
                continue;
            };
            let is_elsewhere = present.is_some() && old.repository.is_some() && old.repository != present;
            let path = old.repository.as_deref().and_then(RepositoryPath::parse);
            match (path, &old.comment) {
                (Some(path), Some(id)) if is_elsewhere => elsewhere.push((number, path, id.clone())),
                _ => {
                    preview.comment.clone_from(&old.comment);
                    preview.repository.clone_from(&old.repository);
                    preview.reported.clone_from(&old.reported);
                }
            }
        }
        elsewhere
    }

    /// Makes a comment in a repository that the Application does not use any more tell so. What cannot be reached there stays.
    async fn finish(
        &self,
        forge: &dyn PullRequests,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
        marker: &str,
    ) {
        let text = comment::moved(self.id, marker);
        let done = async {
            let found = forge.comment(repository, number, id).await?;
            if found.is_some_and(|found| comment::is_own(&found.body, marker)) {
                forge.update_comment(repository, number, id, &text).await?;
            }
            Ok::<_, ForgeError>(())
        };
        if let Err(error) = done.await {
            tracing::debug!(app = %self.id, %error, "a comment in the repository of before was not finished");
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one comment")]
    async fn one(
        &self,
        remote: &ForgeRemote,
        forge: &dyn PullRequests,
        preview: &mut PreviewStatus,
        marker: &str,
        text: &str,
        mark: &str,
        is_new: bool,
    ) -> Result<(), ForgeError> {
        let Ok(number) = u64::try_from(preview.number) else {
            return Ok(());
        };
        if let Some(report) = self.commits.get(&number).filter(|_| is_new) {
            // A status that is refused does not keep the comment from telling the truth.
            self.status(remote, number, report).await;
        }
        let known = preview.comment.as_deref();
        let written = ensure_comment(forge, &remote.repository(), number, known, text, |body| {
            comment::is_own(body, marker)
        })
        .await?;
        preview.comment = Some(written);
        preview.repository = Some(remote.repository().to_string());
        preview.reported = Some(mark.to_owned());
        Ok(())
    }

    /// Reports the status of a commit that no preview is built from, under the name that the preview's own reconcile uses.
    async fn status(&self, remote: &ForgeRemote, number: u64, report: &CommitReport) {
        let child = AppId::new(self.id.namespace.clone(), name(&self.id.name, number));
        let status = CommitStatus {
            context: format!("{OWN}{child}"),
            state: report.state,
            description: crate::error::cut(&report.description, LONGEST),
            url: None,
        };
        let repository = remote.repository();
        let reported = remote.forge.report_status(&repository, &report.commit, &status);
        if let Err(error) = reported.await {
            tracing::debug!(app = %self.id, %error, "the status of a commit without a preview was not reported");
        }
    }
}

/// What is reported first: what runs, then what is gone, then what waits.
fn urgency(state: PreviewState) -> u8 {
    match state {
        PreviewState::Building | PreviewState::Ready | PreviewState::Failed => 0,
        PreviewState::Removed => 1,
        PreviewState::Waiting => 2,
    }
}

/// Says in the status of the Application that the pull request does not have the comment that it should have.
fn not_written(preview: &mut PreviewStatus, is_new: bool, why: &str) {
    if is_new && preview.message.is_none() {
        preview.message = Some(format!("the comment could not be written: {why}"));
    }
}
