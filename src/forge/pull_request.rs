//! What every forge can do about pull and merge requests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;

use super::error::ForgeError;
use super::repository::RepositoryPath;
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// The label that approves where reviews do not name their commit, if previews ask for no label.
pub const APPROVAL_LABEL: &str = "davit-approved";

/// The labels that approve.
pub(super) fn approving(labels: &[String]) -> Vec<&str> {
    match labels {
        [] => vec![APPROVAL_LABEL],
        labels => labels.iter().map(String::as_str).collect(),
    }
}

/// The users whose newest decision is an approval of `commit`. A decision is about a commit, and `None` if it is not one that
/// approves; the oldest comes first.
pub(super) fn approvers<'d>(
    decisions: impl Iterator<Item = (ForgeAccount, Option<&'d str>)>,
    commit: &CommitId,
) -> Vec<ForgeAccount> {
    let newest: BTreeMap<ForgeAccount, Option<&str>> = decisions.collect();
    let approving = newest
        .into_iter()
        .filter(|(_, approved)| *approved == Some(commit.as_str()));
    approving.map(|(account, _)| account).collect()
}

/// The state of a pull request, in the words of its forge.
#[derive(Deserialize)]
pub(super) struct State {
    pub(super) state: String,
}

/// A comment of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Its ID at the forge.
    pub id: String,
    /// Its text.
    pub body: String,
}

/// The pull and merge requests of a forge.
#[async_trait]
pub trait PullRequests: Send + Sync {
    /// All open pull requests of a repository.
    async fn open_pull_requests(&self, repository: &RepositoryPath) -> Result<Vec<PullRequest>, ForgeError>;

    /// Reports whether a pull request is open. One that does not exist is not.
    async fn is_open(&self, repository: &RepositoryPath, number: u64) -> Result<bool, ForgeError>;

    /// The commit at the head, with its full hash.
    async fn head(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
    ) -> Result<PushedHead, ForgeError>;

    /// Reports whether an account may write to a repository. False if the forge does not tell.
    async fn may_write(
        &self,
        repository: &RepositoryPath,
        account: &ForgeAccount,
    ) -> Result<bool, ForgeError>;

    /// The accounts that approve exactly this commit now, whether they may write or not. Where labels approve, it is one of
    /// `labels`, or [`APPROVAL_LABEL`].
    async fn approvals(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
        commit: &CommitId,
        labels: &[String],
    ) -> Result<Vec<ForgeAccount>, ForgeError>;

    /// Tells users how a commit is approved here, as the end of a sentence.
    fn approval(&self, _labels: &[String]) -> String {
        "approve the pull request in a review".to_owned()
    }

    /// Reports whether the base repository has the commits of all pull requests. Otherwise they are fetched from the
    /// repository of the head.
    fn base_has_heads(&self) -> bool {
        true
    }

    /// The comments of a pull request, oldest first.
    async fn comments(&self, repository: &RepositoryPath, number: u64) -> Result<Vec<Comment>, ForgeError>;

    /// One comment; `None` if it was deleted.
    async fn comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<Option<Comment>, ForgeError>;

    /// Writes a new comment, and returns its ID.
    async fn create_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        body: &str,
    ) -> Result<String, ForgeError>;

    /// Changes a comment.
    async fn update_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
        body: &str,
    ) -> Result<(), ForgeError>;

    /// Removes a comment. One that does not exist is removed.
    async fn delete_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<(), ForgeError>;
}

/// Makes a pull request have exactly one comment of Davit, and returns its ID. `known` is the ID of the comment that Davit wrote
/// last; one that was deleted is written anew. `is_own` recognises a comment of Davit by its text: what a person wrote around a
/// quotation of one is not touched.
///
/// # Errors
/// Those of the calls.
pub async fn ensure_comment(
    forge: &dyn PullRequests,
    repository: &RepositoryPath,
    number: u64,
    known: Option<&str>,
    body: &str,
    is_own: impl Fn(&str) -> bool + Send + Sync,
) -> Result<String, ForgeError> {
    if let Some(id) = known
        && let Some(found) = forge.comment(repository, number, id).await?
    {
        if !is_same(&found.body, body) {
            forge.update_comment(repository, number, id, body).await?;
        }
        return Ok(id.to_owned());
    }
    let all = forge.comments(repository, number).await?;
    let mut ours = all.into_iter().filter(|comment| is_own(&comment.body));
    let Some(first) = ours.next() else {
        return forge.create_comment(repository, number, body).await;
    };
    if !is_same(&first.body, body) {
        match forge.update_comment(repository, number, &first.id, body).await {
            Ok(()) => {}
            // The comment of another account that copied the whole one.
            Err(ForgeError::Forbidden { .. } | ForgeError::NotFound { .. }) => {
                return forge.create_comment(repository, number, body).await;
            }
            Err(error) => return Err(error),
        }
    }
    for extra in ours {
        match forge.delete_comment(repository, number, &extra.id).await {
            Ok(()) | Err(ForgeError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(first.id)
}

/// Forges change line ends and the white space around a text.
fn is_same(found: &str, wanted: &str) -> bool {
    found.replace("\r\n", "\n").trim() == wanted.trim()
}
