//! Pull requests. A Gitea keeps the commits of all of them in the base repository.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Gitea;
use crate::forge::api::{Reply, SignIn as _};
use crate::forge::call::Call;
use crate::forge::github_json::{Commit, Permission, User};
use crate::forge::pagination::{Collected, Cursor, PAGE_SIZE};
use crate::forge::pull_request::{Comment, PullRequests, State, approvers};
use crate::forge::{Forge as _, ForgeError, RepositoryPath};
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// The most pages of the history of one pull request that are read.
const MOST_PAGES: u32 = 20;

#[async_trait]
impl PullRequests for Gitea {
    async fn open_pull_requests(&self, repository: &RepositoryPath) -> Result<Vec<PullRequest>, ForgeError> {
        let call = self
            .pull_call(Method::GET, "list the pull requests", repository, &["pulls"])?
            .query("state", "open");
        let all: Vec<Pull> = self
            .list(&call, self.most_pages)
            .await?
            .complete()
            .ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().filter_map(Pull::read).collect())
    }

    async fn is_open(&self, repository: &RepositoryPath, number: u64) -> Result<bool, ForgeError> {
        let number = number.to_string();
        let call = self.pull_call(
            Method::GET,
            "read the pull request",
            repository,
            &["pulls", &number],
        )?;
        let found: Option<State> = self.api.find(&call, &self.auth().await?).await?;
        Ok(found.is_some_and(|found| found.state == "open"))
    }

    async fn head(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
    ) -> Result<PushedHead, ForgeError> {
        let doing = "read the commit of the pull request";
        let path = ["git", "commits", pull_request.head.as_str()];
        let call = self.pull_call(Method::GET, doing, repository, &path)?;
        let found: Reply<Commit> = self.api.send(&call, Some(&self.auth().await?)).await?;
        let head = found.body.head_of(pull_request);
        head.ok_or_else(|| self.api.other(doing, "its hash cannot be read"))
    }

    async fn may_write(
        &self,
        repository: &RepositoryPath,
        account: &ForgeAccount,
    ) -> Result<bool, ForgeError> {
        let doing = "read the permission of an account";
        let path = ["collaborators", account.id.as_str(), "permission"];
        let call = self.pull_call(Method::GET, doing, repository, &path)?;
        match self
            .api
            .send::<Permission>(&call, Some(&self.auth().await?))
            .await
        {
            Ok(found) => Ok(matches!(
                found.body.permission.as_str(),
                "write" | "admin" | "owner"
            )),
            // Only an administrator of the repository may read it.
            Err(ForgeError::NotFound { .. } | ForgeError::Forbidden { .. } | ForgeError::Scope { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Approving reviews, which name their commit. A label does not: Gitea records a push in the history only some time after the
    /// head has changed, so a label may seem to come after a push that it came before.
    async fn approvals(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
        commit: &CommitId,
        _: &[String],
    ) -> Result<Vec<ForgeAccount>, ForgeError> {
        let number = pull_request.number.to_string();
        let path = ["pulls", number.as_str(), "reviews"];
        let call = self.pull_call(Method::GET, "list the reviews", repository, &path)?;
        let reviews: Vec<Review> = self.list(&call, MOST_PAGES).await?.so_far();
        let decisions = reviews.iter().filter_map(|review| {
            let approved = match review.state.as_str() {
                "APPROVED" if !review.dismissed => Some(review.commit_id.as_str()),
                "APPROVED" | "REQUEST_CHANGES" => None,
                // A comment decides nothing.
                _ => return None,
            };
            Some((review.user.as_ref()?.account(), approved))
        });
        Ok(approvers(decisions, commit))
    }

    async fn comments(&self, repository: &RepositoryPath, number: u64) -> Result<Vec<Comment>, ForgeError> {
        let number = number.to_string();
        let path = ["issues", number.as_str(), "comments"];
        let call = self.pull_call(Method::GET, "list the comments", repository, &path)?;
        // A credential that only reads comments is of no use to Davit.
        let call = call.scope("write:issue");
        // Gitea gives all of them at once.
        let all: Reply<Option<Vec<RawComment>>> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(all
            .body
            .unwrap_or_default()
            .into_iter()
            .map(RawComment::read)
            .collect())
    }

    async fn comment(
        &self,
        repository: &RepositoryPath,
        _: u64,
        id: &str,
    ) -> Result<Option<Comment>, ForgeError> {
        let path = ["issues", "comments", id];
        let call = self.pull_call(Method::GET, "read the comment", repository, &path)?;
        let call = call.scope("write:issue");
        // A comment that was deleted is an empty answer in some versions.
        let reply = match self.api.raw(&call, Some(&self.auth().await?)).await {
            Ok(reply) => reply,
            Err(ForgeError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found: Option<RawComment> = serde_json::from_slice(&reply.body).ok();
        Ok(found.map(RawComment::read))
    }

    async fn create_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        body: &str,
    ) -> Result<String, ForgeError> {
        let number = number.to_string();
        let path = ["issues", number.as_str(), "comments"];
        let call = self.pull_call(Method::POST, "write a comment", repository, &path)?;
        let call = call.scope("write:issue").json(json!({"body": body}));
        let made: Reply<RawComment> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(made.body.id.to_string())
    }

    async fn update_comment(
        &self,
        repository: &RepositoryPath,
        _: u64,
        id: &str,
        body: &str,
    ) -> Result<(), ForgeError> {
        let path = ["issues", "comments", id];
        let call = self.pull_call(Method::PATCH, "change the comment", repository, &path)?;
        let call = call.scope("write:issue").json(json!({"body": body}));
        self.api.raw(&call, Some(&self.auth().await?)).await.map(drop)
    }

    async fn delete_comment(&self, repository: &RepositoryPath, _: u64, id: &str) -> Result<(), ForgeError> {
        let path = ["issues", "comments", id];
        let call = self.pull_call(Method::DELETE, "remove the comment", repository, &path)?;
        self.api
            .gone(&call.scope("write:issue"), &self.auth().await?)
            .await
    }
}

impl Gitea {
    fn pull_call(
        &self,
        method: Method,
        doing: &'static str,
        repository: &RepositoryPath,
        rest: &[&str],
    ) -> Result<Call, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let path = ["api", "v1", "repos", owner, name]
            .into_iter()
            .chain(rest.iter().copied());
        let what = format!("{} of the repository {repository}", rest.join("/"));
        Ok(Call::new(method, doing, path)
            .scope("read:repository and read:issue")
            .what(what))
    }

    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        most_pages: u32,
    ) -> Result<Collected<T>, ForgeError> {
        let first = Cursor::first(&[("limit", PAGE_SIZE)]);
        self.api.pages(call, &first, most_pages, self).await
    }
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    user: Option<User>,
    #[serde(default)]
    labels: Option<Vec<Label>>,
    #[serde(default)]
    draft: bool,
    head: End,
    base: End,
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct End {
    #[serde(default, rename = "ref")]
    reference: String,
    #[serde(default)]
    sha: String,
    #[serde(default)]
    repo_id: i64,
    repo: Option<FullName>,
}

#[derive(Deserialize)]
struct FullName {
    full_name: String,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

impl Pull {
    fn read(self) -> Option<PullRequest> {
        // A push to `refs/for/…` needs no write access and makes a pull request within the base repository.
        let is_from_branch = !self.head.reference.starts_with("refs/");
        let author = self.user?.account();
        let owner = self
            .head
            .repo
            .as_ref()
            .and_then(|repo| repo.full_name.split('/').next());
        let is_same = self.head.repo.is_some() && self.head.repo_id == self.base.repo_id;
        // Only its author can push to `refs/for/…` of a pull request.
        let is_from_author = owner == Some(author.id.as_str()) || is_same && !is_from_branch;
        Some(PullRequest {
            number: self.number,
            head: self.head.sha,
            branch: self.head.reference,
            repository: self.head.repo.map(|repo| repo.full_name),
            is_fork: !is_same || !is_from_branch,
            is_from_author,
            author,
            is_draft: self.draft,
            labels: self
                .labels
                .into_iter()
                .flatten()
                .map(|label| label.name)
                .collect(),
            created_at: self.created_at?,
        })
    }
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    state: String,
    #[serde(default)]
    dismissed: bool,
    #[serde(default)]
    commit_id: String,
    user: Option<User>,
}

#[derive(Deserialize)]
struct RawComment {
    id: i64,
    #[serde(default)]
    body: String,
}

impl RawComment {
    fn read(self) -> Comment {
        Comment {
            id: self.id.to_string(),
            body: self.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_needs_no_write_access_counts_as_a_fork() {
        let pull = |reference: &str, head: i64, repo: serde_json::Value| {
            let body = json!({"number": 7, "user": {"login": "jane"}, "created_at": "2026-11-01T00:00:00Z",
                "head": {"ref": reference, "sha": "a1", "repo_id": head, "repo": repo},
                "base": {"ref": "main", "repo_id": 1, "repo": {"full_name": "acme/shop"}}});
            serde_json::from_value::<Pull>(body)
                .unwrap()
                .read()
                .unwrap()
                .is_fork
        };
        let base = json!({"full_name": "acme/shop"});
        assert!(!pull("feature/a", 1, base.clone()));
        assert!(pull("feature/a", 2, json!({"full_name": "eve/shop"})));
        assert!(
            pull("feature/a", -1, serde_json::Value::Null),
            "the fork was deleted"
        );
        assert!(pull("refs/pull/7/head", 1, base), "a push to refs/for/main");
    }
}
