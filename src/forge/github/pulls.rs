//! Pull requests. GitHub keeps the commits of all of them in the base repository. An App uses a token that may comment on pull
//! requests and can do nothing else.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::purpose::Purpose;
use super::{GitHub, Identity, first_page};
use crate::forge::api::{Authorization, Reply};
use crate::forge::call::Call;
use crate::forge::github_json::{Commit, Permission, User};
use crate::forge::pagination::Collected;
use crate::forge::pull_request::{Comment, PullRequests, State, approvers};
use crate::forge::{Forge as _, ForgeError, RepositoryPath};
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// The most pages of comments and reviews that are read.
const MOST_PAGES: u32 = 20;
/// The scope that messages name.
const SCOPE: &str = "repo (classic) or Pull requests: write";

#[async_trait]
impl PullRequests for GitHub {
    async fn open_pull_requests(&self, repository: &RepositoryPath) -> Result<Vec<PullRequest>, ForgeError> {
        let call = self
            .pull_call(Method::GET, "list the pull requests", repository, &["pulls"])?
            .query("state", "open");
        let all: Collected<Pull> = self.pages(&call, repository, self.most_pages).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
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
        let auth = self.auth_for_pulls(repository).await?;
        let found: Option<State> = self.api.find(&call, &auth).await?;
        Ok(found.is_some_and(|found| found.state == "open"))
    }

    async fn head(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
    ) -> Result<PushedHead, ForgeError> {
        let doing = "read the commit of the pull request";
        let path = ["commits", pull_request.head.as_str()];
        let call = self.pull_call(Method::GET, doing, repository, &path)?;
        let auth = self.auth_for(repository).await?;
        let found: Reply<Commit> = self.api.send(&call, Some(&auth)).await?;
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
        let auth = self.auth_for_pulls(repository).await?;
        match self.api.send::<Permission>(&call, Some(&auth)).await {
            // The role maintain is reported as write here, and triage as read.
            Ok(found) => Ok(matches!(found.body.permission.as_str(), "write" | "admin")),
            Err(ForgeError::NotFound { .. } | ForgeError::Forbidden { .. } | ForgeError::Scope { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Approving reviews, which name their commit. GitHub does not tell at which commit a label was added.
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
        let all: Collected<Review> = self.pages(&call, repository, MOST_PAGES).await?;
        Ok(approved(&all.so_far(), commit))
    }

    async fn comments(&self, repository: &RepositoryPath, number: u64) -> Result<Vec<Comment>, ForgeError> {
        let number = number.to_string();
        let path = ["issues", number.as_str(), "comments"];
        let call = self.pull_call(Method::GET, "list the comments", repository, &path)?;
        let all: Collected<RawComment> = self.pages(&call, repository, MOST_PAGES).await?;
        Ok(all.so_far().into_iter().map(RawComment::read).collect())
    }

    async fn comment(
        &self,
        repository: &RepositoryPath,
        _: u64,
        id: &str,
    ) -> Result<Option<Comment>, ForgeError> {
        let path = ["issues", "comments", id];
        let call = self.pull_call(Method::GET, "read the comment", repository, &path)?;
        let auth = self.auth_for_pulls(repository).await?;
        let found: Option<RawComment> = self.api.find(&call, &auth).await?;
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
        let auth = self.auth_for_pulls(repository).await?;
        let made: Reply<RawComment> = self
            .api
            .send(&call.json(json!({"body": body})), Some(&auth))
            .await?;
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
        let auth = self.auth_for_pulls(repository).await?;
        self.api
            .raw(&call.json(json!({"body": body})), Some(&auth))
            .await
            .map(drop)
    }

    async fn delete_comment(&self, repository: &RepositoryPath, _: u64, id: &str) -> Result<(), ForgeError> {
        let path = ["issues", "comments", id];
        let call = self.pull_call(Method::DELETE, "remove the comment", repository, &path)?;
        self.api
            .gone(&call, &self.auth_for_pulls(repository).await?)
            .await
    }
}

/// GitHub keeps the state of an approval that its giver has replaced with another review.
fn approved(oldest_first: &[Review], commit: &CommitId) -> Vec<ForgeAccount> {
    let decisions = oldest_first.iter().filter_map(|review| {
        let approved = match review.state.as_str() {
            "APPROVED" => Some(review.commit_id.as_deref().unwrap_or_default()),
            "CHANGES_REQUESTED" | "DISMISSED" => None,
            // A comment decides nothing.
            _ => return None,
        };
        Some((review.user.as_ref()?.account(), approved))
    });
    approvers(decisions, commit)
}

impl GitHub {
    async fn auth_for_pulls(&self, repository: &RepositoryPath) -> Result<Authorization, ForgeError> {
        match &self.identity {
            Identity::Token { auth, .. } => Ok(auth.clone()),
            Identity::App(app) => {
                let purpose = Purpose::PullRequests(repository.clone());
                let token = app.purposeful_token(&self.api, repository, purpose).await?;
                Authorization::scheme("Bearer", &token.value)
            }
        }
    }

    fn pull_call(
        &self,
        method: Method,
        doing: &'static str,
        repository: &RepositoryPath,
        rest: &[&str],
    ) -> Result<Call, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let path = ["repos", owner, name].into_iter().chain(rest.iter().copied());
        let what = format!("{} of the repository {repository}", rest.join("/"));
        Ok(Call::new(method, doing, path).scope(SCOPE).what(what))
    }

    async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        repository: &RepositoryPath,
        most_pages: u32,
    ) -> Result<Collected<T>, ForgeError> {
        let first = first_page();
        let auth = self.auth_for_pulls(repository).await?;
        self.api.pages(call, &first, most_pages, &auth).await
    }
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    user: Option<User>,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    draft: bool,
    head: End,
    base: End,
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct End {
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
    repo: Option<Repo>,
}

#[derive(Deserialize)]
struct Repo {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct Label {
    #[serde(default)]
    name: String,
}

impl Pull {
    fn read(self) -> Option<PullRequest> {
        let id = |end: &End| end.repo.as_ref().map(|repo| repo.id);
        let author = self.user?.account();
        let owner = self
            .head
            .repo
            .as_ref()
            .and_then(|repo| repo.full_name.split('/').next());
        Some(PullRequest {
            number: self.number,
            is_from_author: owner == Some(author.id.as_str()),
            is_fork: id(&self.head).is_none() || id(&self.head) != id(&self.base),
            head: self.head.sha,
            branch: self.head.reference,
            repository: self.head.repo.map(|repo| repo.full_name),
            author,
            is_draft: self.draft,
            labels: self.labels.into_iter().map(|label| label.name).collect(),
            created_at: self.created_at?,
        })
    }
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    state: String,
    commit_id: Option<String>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct RawComment {
    id: u64,
    body: Option<String>,
}

impl RawComment {
    fn read(self) -> Comment {
        Comment {
            id: self.id.to_string(),
            body: self.body.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_review_of_each_user_decides() {
        let (head, other) = ("a1".repeat(20), "b2".repeat(20));
        let commit = CommitId::parse(&head).unwrap();
        let names = |reviews: &[(&str, &str, &str)]| {
            let all = reviews.iter().map(|(login, state, at)| {
                let review = json!({"state": state, "commit_id": at, "user": {"login": login}});
                serde_json::from_value(review).unwrap()
            });
            let all: Vec<Review> = all.collect();
            let found = approved(&all, &commit).into_iter();
            found.map(|account| account.name).collect::<Vec<_>>().join(" ")
        };
        for (reviews, expected) in [
            (vec![("jane", "APPROVED", &*head)], "jane"),
            (vec![("jane", "APPROVED", &*other)], ""),
            (
                vec![("jane", "APPROVED", &*head), ("jane", "COMMENTED", &*head)],
                "jane",
            ),
            (
                vec![
                    ("jane", "APPROVED", &*head),
                    ("jane", "CHANGES_REQUESTED", &*head),
                ],
                "",
            ),
            (
                vec![
                    ("jane", "CHANGES_REQUESTED", &*head),
                    ("jane", "APPROVED", &*head),
                ],
                "jane",
            ),
            (
                vec![("jane", "APPROVED", &*head), ("jane", "DISMISSED", &*head)],
                "",
            ),
            (
                vec![("jane", "CHANGES_REQUESTED", &*head), ("bob", "APPROVED", &*head)],
                "bob",
            ),
        ] {
            assert_eq!(names(&reviews), expected, "{reviews:?}");
        }
    }
}
