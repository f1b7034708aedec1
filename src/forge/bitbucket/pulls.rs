//! Pull requests. Bitbucket has no ref of them in the base repository, gives the beginning of hashes only, and has no labels.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Bitbucket;
use crate::forge::api::Reply;
use crate::forge::call::Call;
use crate::forge::pagination::{Collected, Cursor};
use crate::forge::pull_request::{Comment, PullRequests, State};
use crate::forge::{Forge as _, ForgeError, RepositoryPath};
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// The most entries of a page: lists of pull requests take no more.
const PAGE: &str = "50";
/// The most pages of comments and activities that are read.
const MOST_PAGES: u32 = 20;

#[async_trait]
impl PullRequests for Bitbucket {
    async fn open_pull_requests(&self, repository: &RepositoryPath) -> Result<Vec<PullRequest>, ForgeError> {
        let call = self
            .pull_call(Method::GET, "list the pull requests", repository, &[])?
            .query("state", "OPEN");
        let all: Collected<Pull> = self.pages(&call, PAGE, self.most_pages).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().filter_map(Pull::read).collect())
    }

    async fn is_open(&self, repository: &RepositoryPath, number: u64) -> Result<bool, ForgeError> {
        let call = self.pull_call(
            Method::GET,
            "read the pull request",
            repository,
            &[&number.to_string()],
        )?;
        let found: Option<State> = self.api.find(&call, &self.auth().await?).await?;
        Ok(found.is_some_and(|found| matches!(found.state.as_str(), "OPEN" | "QUEUED")))
    }

    async fn head(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
    ) -> Result<PushedHead, ForgeError> {
        let doing = "read the commit of the pull request";
        let number = pull_request.number.to_string();
        let path = [number.as_str(), "commits"];
        let call = self.pull_call(Method::GET, doing, repository, &path)?;
        let page = self
            .page::<Commit>(&call.query("pagelen", "1"), &Cursor::first(&[]))
            .await?;
        // The beginning of a hash may be that of another commit too, so the full one is asked for here.
        let found = page.items.into_iter().next();
        let found = found.filter(|commit| commit.hash.starts_with(&pull_request.head));
        let found = found.ok_or_else(|| self.api.other(doing, "its head is another one now"))?;
        let commit = CommitId::parse(&found.hash);
        let made = found.date.unwrap_or(pull_request.created_at);
        Ok(PushedHead {
            commit: commit.ok_or_else(|| self.api.other(doing, "its hash cannot be read"))?,
            at: made.max(pull_request.created_at),
        })
    }

    async fn may_write(
        &self,
        repository: &RepositoryPath,
        account: &ForgeAccount,
    ) -> Result<bool, ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let path = ["workspaces", workspace, "permissions", "repositories", name];
        let call = Call::get("read the permission of an account", path)
            .query(
                "q",
                &format!("user.uuid=\"{}\"", account.id.replace(['"', '\\'], "")),
            )
            .scope("repository:admin");
        match self.page::<Permission>(&call, &Cursor::first(&[])).await {
            Ok(found) => Ok(found.items.iter().any(Permission::writes)),
            // Access tokens cannot read permissions at all.
            Err(
                ForgeError::NotFound { .. }
                | ForgeError::Forbidden { .. }
                | ForgeError::Scope { .. }
                | ForgeError::Auth { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Approvals, of which the history shows at which commit they were given.
    async fn approvals(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
        commit: &CommitId,
        _: &[String],
    ) -> Result<Vec<ForgeAccount>, ForgeError> {
        let number = pull_request.number.to_string();
        let path = [number.as_str(), "activity"];
        let call = self.pull_call(
            Method::GET,
            "read the history of the pull request",
            repository,
            &path,
        )?;
        let history: Collected<Activity> = self.pages(&call, PAGE, MOST_PAGES).await?;
        let given = approved(history.so_far(), commit);
        if given.is_empty() {
            return Ok(given);
        }
        // The history does not show that an approval was taken back.
        let doing = "read the pull request";
        let call = self.pull_call(Method::GET, doing, repository, &[&number])?;
        let found: Option<Participants> = self.api.find(&call, &self.auth().await?).await?;
        let still: Vec<ForgeAccount> = found.map(Participants::approving).unwrap_or_default();
        Ok(given
            .into_iter()
            .filter(|account| still.iter().any(|one| one.id == account.id))
            .collect())
    }

    fn approval(&self, _: &[String]) -> String {
        "approve the pull request".to_owned()
    }

    fn base_has_heads(&self) -> bool {
        false
    }

    async fn comments(&self, repository: &RepositoryPath, number: u64) -> Result<Vec<Comment>, ForgeError> {
        let number = number.to_string();
        let path = [number.as_str(), "comments"];
        let call = self.pull_call(Method::GET, "list the comments", repository, &path)?;
        let all: Collected<RawComment> = self.pages(&call, PAGE, MOST_PAGES).await?;
        Ok(all.so_far().into_iter().filter_map(RawComment::read).collect())
    }

    async fn comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<Option<Comment>, ForgeError> {
        let number = number.to_string();
        let path = [number.as_str(), "comments", id];
        let call = self.pull_call(Method::GET, "read the comment", repository, &path)?;
        let found: Option<RawComment> = self.api.find(&call, &self.auth().await?).await?;
        Ok(found.and_then(RawComment::read))
    }

    async fn create_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        body: &str,
    ) -> Result<String, ForgeError> {
        let number = number.to_string();
        let path = [number.as_str(), "comments"];
        let call = self.pull_call(Method::POST, "write a comment", repository, &path)?;
        let call = call.scope("pullrequest:write").json(content(body));
        let made: Reply<RawComment> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(made.body.id.to_string())
    }

    async fn update_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
        body: &str,
    ) -> Result<(), ForgeError> {
        let number = number.to_string();
        let path = [number.as_str(), "comments", id];
        let call = self.pull_call(Method::PUT, "change the comment", repository, &path)?;
        let call = call.scope("pullrequest:write").json(content(body));
        self.api.raw(&call, Some(&self.auth().await?)).await.map(drop)
    }

    async fn delete_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<(), ForgeError> {
        let number = number.to_string();
        let path = [number.as_str(), "comments", id];
        let call = self.pull_call(Method::DELETE, "remove the comment", repository, &path)?;
        self.api
            .gone(&call.scope("pullrequest:write"), &self.auth().await?)
            .await
    }
}

impl Bitbucket {
    fn pull_call(
        &self,
        method: Method,
        doing: &'static str,
        repository: &RepositoryPath,
        rest: &[&str],
    ) -> Result<Call, ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let path = ["repositories", workspace, name, "pullrequests"];
        let path = path.into_iter().chain(rest.iter().copied());
        let what = format!("pull request {} of the repository {repository}", rest.join("/"));
        Ok(Call::new(method, doing, path).scope("pullrequest").what(what))
    }
}

fn content(body: &str) -> serde_json::Value {
    json!({"type": "pullrequest_comment", "content": {"raw": body}})
}

/// The accounts whose approval was given while the commit was the head, and after which nothing was pushed or edited. An entry shows only
/// the beginning of a hash, which two commits can share: it does not tell an edit from a push.
fn approved(newest_first: Vec<Activity>, commit: &CommitId) -> Vec<ForgeAccount> {
    let mut found = Vec::new();
    for entry in newest_first {
        found.extend(entry.approval.and_then(|approval| Some(approval.user?.account())));
        if let Some(hash) = entry.update.and_then(|update| update.source?.commit?.hash) {
            let is_head = !hash.is_empty() && commit.as_str().starts_with(&hash);
            return if is_head { found } else { Vec::new() };
        }
    }
    Vec::new()
}

#[derive(Deserialize)]
struct Pull {
    id: u64,
    author: Option<User>,
    #[serde(default)]
    draft: bool,
    source: End,
    destination: End,
    created_on: Option<Timestamp>,
}

#[derive(Deserialize)]
struct End {
    branch: Option<Branch>,
    commit: Option<Hash>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Hash {
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    uuid: Option<String>,
    full_name: String,
}

#[derive(Deserialize)]
struct User {
    uuid: Option<String>,
    nickname: Option<String>,
    display_name: Option<String>,
}

impl User {
    fn account(self) -> ForgeAccount {
        ForgeAccount {
            id: self.uuid.unwrap_or_default(),
            name: self.nickname.or(self.display_name).unwrap_or_default(),
        }
    }
}

impl Pull {
    fn read(self) -> Option<PullRequest> {
        let id = |end: &End| {
            end.repository
                .as_ref()
                .and_then(|repository| repository.uuid.clone())
        };
        let is_fork = id(&self.source).is_none() || id(&self.source) != id(&self.destination);
        Some(PullRequest {
            number: self.id,
            head: self.source.commit.and_then(|commit| commit.hash)?,
            branch: self.source.branch.map(|branch| branch.name).unwrap_or_default(),
            repository: self.source.repository.map(|repository| repository.full_name),
            is_fork,
            author: self.author?.account(),
            // A workspace has no owner in the list.
            is_from_author: false,
            is_draft: self.draft,
            labels: Vec::new(),
            created_at: self.created_on?,
        })
    }
}

#[derive(Deserialize)]
struct Commit {
    hash: String,
    date: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Permission {
    #[serde(default)]
    permission: String,
}

impl Permission {
    fn writes(&self) -> bool {
        matches!(self.permission.as_str(), "write" | "admin")
    }
}

#[derive(Deserialize)]
struct Activity {
    approval: Option<Approval>,
    update: Option<Update>,
}

#[derive(Deserialize)]
struct Approval {
    user: Option<User>,
}

#[derive(Deserialize)]
struct Participants {
    #[serde(default)]
    participants: Vec<Participant>,
}

#[derive(Deserialize)]
struct Participant {
    user: Option<User>,
    #[serde(default)]
    approved: bool,
}

impl Participants {
    /// Returns the accounts that approve the pull request now.
    fn approving(self) -> Vec<ForgeAccount> {
        let all = self.participants.into_iter();
        all.filter(|one| one.approved)
            .filter_map(|one| Some(one.user?.account()))
            .collect()
    }
}

#[derive(Deserialize)]
struct Update {
    source: Option<End>,
}

#[derive(Deserialize)]
struct RawComment {
    id: u64,
    content: Option<Content>,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    raw: String,
}

impl RawComment {
    fn read(self) -> Option<Comment> {
        let body = self.content.map(|content| content.raw).unwrap_or_default();
        (!self.deleted).then(|| Comment {
            id: self.id.to_string(),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_counts_for_the_commit_that_was_the_head_and_still_is() {
        let commit = CommitId::parse(&"a1".repeat(20)).unwrap();
        let entry = |value| serde_json::from_value::<Activity>(value).unwrap();
        let update = |hash: &str| entry(json!({"update": {"source": {"commit": {"hash": hash}}}}));
        let approval = |name: &str| entry(json!({"approval": {"user": {"uuid": "{1}", "nickname": name}}}));
        let found = |history: Vec<Activity>| {
            let names = approved(history, &commit).into_iter().map(|account| account.name);
            names.collect::<Vec<_>>().join(" ")
        };
        let (head, other) = (&"a1".repeat(6), &"b2".repeat(6));
        assert_eq!(found(vec![approval("jane"), update(head), update(other)]), "jane");
        assert_eq!(
            found(vec![update(head), approval("jane"), update(other)]),
            "",
            "of the other commit"
        );
        assert_eq!(
            found(vec![update(other), approval("jane"), update(head)]),
            "",
            "it is the head no more"
        );
        let back = vec![
            update(head),
            approval("eve"),
            update(other),
            approval("jane"),
            update(head),
        ];
        assert_eq!(found(back), "", "the head was another one meanwhile");
        assert_eq!(
            found(vec![update(head), approval("jane"), update(head)]),
            "",
            "the title changed, or another commit with the same beginning was pushed"
        );
        assert_eq!(found(vec![approval("jane")]), "");
    }
}
