//! What every forge can do about pull and merge requests.

use async_trait::async_trait;
use serde::Deserialize;

use super::error::ForgeError;
use super::repository::RepositoryPath;
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

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

    /// The accounts that approved exactly this commit, whether they may write or not.
    async fn approvals(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
        commit: &CommitId,
    ) -> Result<Vec<ForgeAccount>, ForgeError>;

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

/// Makes a pull request have exactly one comment with this marker, and returns its ID. `known` is the ID of the comment as
/// it was written last; a comment that was deleted is written anew.
///
/// # Errors
/// Those of the calls.
pub async fn ensure_comment(
    forge: &dyn PullRequests,
    repository: &RepositoryPath,
    number: u64,
    known: Option<&str>,
    marker: &str,
    body: &str,
) -> Result<String, ForgeError> {
    if let Some(id) = known
        && let Some(found) = forge.comment(repository, number, id).await?
        && found.body.contains(marker)
    {
        if !is_same(&found.body, body) {
            forge.update_comment(repository, number, id, body).await?;
        }
        return Ok(id.to_owned());
    }
    let all = forge.comments(repository, number).await?;
    let mut ours = all.into_iter().filter(|comment| comment.body.contains(marker));
    let Some(first) = ours.next() else {
        return forge.create_comment(repository, number, body).await;
    };
    if !is_same(&first.body, body) {
        match forge.update_comment(repository, number, &first.id, body).await {
            Ok(()) => {}
            // The comment of another account that copied the marker.
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
