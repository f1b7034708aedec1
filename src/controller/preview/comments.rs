//! Comments on pull requests, and the status of commits whose preview waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt as _;

use crate::api::{Application, PreviewState, PreviewStatus};
use crate::controller::context::Context;
use crate::controller::resolve::remote::ForgeRemote;
use crate::error::{Class, Problem};
use crate::forge::{ForgeError, PullRequests, ensure_comment};
use crate::model::{AppId, CommitId, CommitState, CommitStatus};
use crate::plan::checks::OWN;
use crate::plan::preview::{comment, name};

/// How many comments one pass writes: forges limit them.
const WRITES: usize = 12;
/// How many comments one pass looks at, to write those that a person deleted anew.
const LOOKS: usize = 10;
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
}

impl Comments<'_> {
    /// Makes the comments report these states, and drops the states whose last report was made. Returns true if more is to be
    /// written than one pass may.
    pub async fn write(
        &self,
        states: &mut BTreeMap<u64, PreviewStatus>,
        is_fresh: bool,
        looked_at: &mut usize,
    ) -> Result<bool, Problem> {
        let old = self.app.status.iter().flat_map(|status| &status.previews);
        let old: BTreeMap<i64, &PreviewStatus> = old.map(|preview| (preview.number, preview)).collect();
        for preview in states.values_mut() {
            if let Some(old) = old.get(&preview.number) {
                preview.comment.clone_from(&old.comment);
                preview.reported.clone_from(&old.reported);
            }
        }
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
        let uid = self.app.uid().unwrap_or_default();
        let key = &self.ctx.install.key;
        let (mut writes, mut is_more, mut first) = (0, false, Ok(()));
        let total = states.len().max(1);
        let looks = |place: usize| is_fresh && (place + total - *looked_at % total) % total < LOOKS;
        let mut gone = Vec::new();
        for (place, (number, preview)) in states.iter_mut().enumerate() {
            if preview.state == PreviewState::Removed && preview.comment.is_none() {
                gone.push(*number);
                continue;
            }
            let marker = comment::marker(key, self.id, &uid, preview.number);
            let text = comment::text(self.id, preview, &marker);
            let mark = comment::mark(key, &text);
            let is_new = preview.reported.as_ref() != Some(&mark);
            if !is_new && !looks(place) {
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
                let ends = matches!(
                    error,
                    ForgeError::RateLimited { .. } | ForgeError::Unreachable { .. }
                );
                if preview.state == PreviewState::Removed && problem.class == Class::Terminal {
                    gone.push(*number);
                }
                first = first.and(Err(problem));
                if ends {
                    break;
                }
            } else if preview.state == PreviewState::Removed {
                gone.push(*number);
            }
        }
        if is_fresh {
            *looked_at = looked_at.wrapping_add(LOOKS);
        }
        states.retain(|number, _| !gone.contains(number));
        first.map(|()| is_more)
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
        if is_new && preview.state == PreviewState::Waiting {
            self.status_of_waiting(remote, number, preview).await?;
        }
        let known = preview.comment.as_deref();
        let written = ensure_comment(forge, &remote.repository(), number, known, marker, text).await?;
        preview.comment = Some(written);
        preview.reported = Some(mark.to_owned());
        Ok(())
    }

    /// Reports the status of a commit whose preview waits. That of a preview is reported by its own reconcile, under the same
    /// name.
    async fn status_of_waiting(
        &self,
        remote: &ForgeRemote,
        number: u64,
        preview: &PreviewStatus,
    ) -> Result<(), ForgeError> {
        let Some(commit) = preview.revision.as_deref().and_then(CommitId::parse) else {
            return Ok(());
        };
        let child = AppId::new(self.id.namespace.clone(), name(&self.id.name, number));
        let status = CommitStatus {
            context: format!("{OWN}{child}"),
            state: CommitState::Pending,
            description: crate::error::cut(
                preview.message.as_deref().unwrap_or("The preview waits"),
                LONGEST,
            ),
            url: None,
        };
        match remote
            .forge
            .report_status(&remote.repository(), &commit, &status)
            .await
        {
            Err(error) if Problem::of(&error).class == Class::Terminal => {
                tracing::debug!(app = %self.id, %error, "the status of a waiting commit was not reported");
                Ok(())
            }
            result => result,
        }
    }
}
