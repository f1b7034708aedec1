//! Merge requests. GitLab keeps the commits of all of them in the target project.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::GitLab;
use crate::forge::api::{Reply, SignIn as _};
use crate::forge::call::Call;
use crate::forge::pagination::{Collected, Cursor, PAGE_SIZE};
use crate::forge::pull_request::{Comment, PullRequests, State, approving};
use crate::forge::{Forge as _, ForgeError, RepositoryPath};
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// The most pages of notes and events that are read.
const MOST_PAGES: u32 = 20;
/// The access level of the role Developer, the lowest that may push.
const DEVELOPER: i64 = 30;

#[async_trait]
impl PullRequests for GitLab {
    async fn open_pull_requests(&self, repository: &RepositoryPath) -> Result<Vec<PullRequest>, ForgeError> {
        let call =
            merge_call(Method::GET, "list the merge requests", repository, &[]).query("state", "opened");
        let all: Collected<Merge> = self.pages(&call, self.most_pages).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().filter_map(Merge::read).collect())
    }

    async fn is_open(&self, repository: &RepositoryPath, number: u64) -> Result<bool, ForgeError> {
        let call = merge_call(
            Method::GET,
            "read the merge request",
            repository,
            &[&number.to_string()],
        );
        let found: Option<State> = self.api.find(&call, &self.auth().await?).await?;
        Ok(found.is_some_and(|found| matches!(found.state.as_str(), "opened" | "locked")))
    }

    /// Every push makes a version of the merge request.
    async fn head(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
    ) -> Result<PushedHead, ForgeError> {
        let doing = "read the versions of the merge request";
        let newest = self.newest_version(repository, pull_request.number).await?;
        let at = newest
            .filter(|version| version.head_commit_sha == pull_request.head)
            .and_then(|version| version.created_at);
        let commit = CommitId::parse(&pull_request.head);
        Ok(PushedHead {
            commit: commit.ok_or_else(|| self.api.other(doing, "the commit cannot be read"))?,
            at: at.unwrap_or(pull_request.created_at),
        })
    }

    async fn may_write(
        &self,
        repository: &RepositoryPath,
        account: &ForgeAccount,
    ) -> Result<bool, ForgeError> {
        let project = repository.to_string();
        let path = [
            "projects",
            project.as_str(),
            "members",
            "all",
            account.id.as_str(),
        ];
        let call = Call::get("read the role of an account", path).scope("read_api");
        let found: Option<Member> = self.api.find(&call, &self.auth().await?).await?;
        Ok(found.is_some_and(|found| {
            let is_active = found.state.is_none_or(|state| state == "active");
            is_active && found.access_level >= DEVELOPER
        }))
    }

    /// Labels that were added after the newest push, and are still there. Approvals do not name their commit.
    async fn approvals(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
        commit: &CommitId,
        labels: &[String],
    ) -> Result<Vec<ForgeAccount>, ForgeError> {
        let newest = self.newest_version(repository, pull_request.number).await?;
        let newest = newest.filter(|version| version.head_commit_sha == commit.as_str());
        let Some(pushed) = newest.and_then(|version| version.created_at) else {
            return Ok(Vec::new());
        };
        let number = pull_request.number.to_string();
        let path = [number.as_str(), "resource_label_events"];
        let call = merge_call(Method::GET, "list the labels that were added", repository, &path);
        let events: Collected<LabelEvent> = self.pages(&call, MOST_PAGES).await?;
        let there: Vec<&str> = approving(labels)
            .into_iter()
            .filter(|label| pull_request.labels.iter().any(|has| has == label))
            .collect();
        Ok(approved(events.so_far(), &there, pushed))
    }

    fn approval(&self, labels: &[String]) -> String {
        format!("add the label {} after the push", approving(labels).join(" or "))
    }

    async fn comments(&self, repository: &RepositoryPath, number: u64) -> Result<Vec<Comment>, ForgeError> {
        let number = number.to_string();
        let path = [number.as_str(), "notes"];
        let call = merge_call(Method::GET, "list the comments", repository, &path);
        let call = call.query("sort", "asc").query("order_by", "created_at");
        let all: Collected<Note> = self.pages(&call, MOST_PAGES).await?;
        let all = all.so_far().into_iter().filter(|note| !note.system);
        Ok(all.map(Note::read).collect())
    }

    async fn comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<Option<Comment>, ForgeError> {
        let call = note_call(Method::GET, "read the comment", repository, number, Some(id));
        let found: Option<Note> = self.api.find(&call, &self.auth().await?).await?;
        Ok(found.map(Note::read))
    }

    async fn create_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        body: &str,
    ) -> Result<String, ForgeError> {
        let call =
            note_call(Method::POST, "write a comment", repository, number, None).json(json!({"body": body}));
        let made: Reply<Note> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(made.body.id.to_string())
    }

    async fn update_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
        body: &str,
    ) -> Result<(), ForgeError> {
        let call = note_call(Method::PUT, "change the comment", repository, number, Some(id));
        let call = call.json(json!({"body": body}));
        self.api.raw(&call, Some(&self.auth().await?)).await.map(drop)
    }

    async fn delete_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<(), ForgeError> {
        let call = note_call(Method::DELETE, "remove the comment", repository, number, Some(id));
        self.api.gone(&call, &self.auth().await?).await
    }
}

/// The accounts that added one of these labels last, after the push.
fn approved(mut events: Vec<LabelEvent>, labels: &[&str], pushed: Timestamp) -> Vec<ForgeAccount> {
    events.sort_by_key(|event| event.id);
    let newest = |label: &&str| {
        let of = |event: &&LabelEvent| event.label.as_ref().is_some_and(|found| found.name == *label);
        let event = events.iter().rev().find(of)?;
        let is_added = event.action == "add" && event.created_at.is_some_and(|at| at > pushed);
        event.user.as_ref().filter(|_| is_added).map(User::account)
    };
    labels.iter().filter_map(newest).collect()
}

impl GitLab {
    async fn newest_version(
        &self,
        repository: &RepositoryPath,
        number: u64,
    ) -> Result<Option<Version>, ForgeError> {
        let path = [number.to_string(), "versions".to_owned()];
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let call = merge_call(
            Method::GET,
            "read the versions of the merge request",
            repository,
            &path,
        );
        let all: Reply<Vec<Version>> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(all.body.into_iter().max_by_key(|version| version.id))
    }

    async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        most_pages: u32,
    ) -> Result<Collected<T>, ForgeError> {
        let first = Cursor::first(&[("per_page", PAGE_SIZE)]);
        self.api.pages(call, &first, most_pages, self).await
    }
}

fn merge_call(method: Method, doing: &'static str, repository: &RepositoryPath, rest: &[&str]) -> Call {
    let project = repository.to_string();
    let path = ["projects", project.as_str(), "merge_requests"];
    let what = format!("merge request {} of the project {project}", rest.join("/"));
    let path = path.into_iter().chain(rest.iter().copied());
    Call::new(method, doing, path).scope("read_api").what(what)
}

fn note_call(
    method: Method,
    doing: &'static str,
    repository: &RepositoryPath,
    number: u64,
    id: Option<&str>,
) -> Call {
    let number = number.to_string();
    let path: Vec<&str> = [number.as_str(), "notes"].into_iter().chain(id).collect();
    merge_call(method, doing, repository, &path).scope("api")
}

#[derive(Deserialize)]
struct Merge {
    iid: u64,
    /// Absent while GitLab prepares the merge request.
    sha: Option<String>,
    source_branch: String,
    source_project_id: Option<i64>,
    target_project_id: Option<i64>,
    author: Option<User>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    labels: Vec<String>,
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    username: String,
}

impl User {
    fn account(&self) -> ForgeAccount {
        ForgeAccount {
            id: self.id.to_string(),
            name: self.username.clone(),
        }
    }
}

impl Merge {
    fn read(self) -> Option<PullRequest> {
        Some(PullRequest {
            number: self.iid,
            head: self.sha?,
            branch: self.source_branch,
            is_fork: self.source_project_id.is_none() || self.source_project_id != self.target_project_id,
            repository: self.source_project_id.map(|id| id.to_string()),
            author: self.author?.account(),
            // The list does not name the owner of the source project.
            is_from_author: false,
            is_draft: self.draft,
            labels: self.labels,
            created_at: self.created_at?,
        })
    }
}

#[derive(Deserialize)]
struct Version {
    id: i64,
    #[serde(default)]
    head_commit_sha: String,
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Member {
    access_level: i64,
    state: Option<String>,
}

#[derive(Deserialize)]
struct LabelEvent {
    #[serde(default)]
    id: i64,
    action: String,
    created_at: Option<Timestamp>,
    user: Option<User>,
    /// Absent if the label was deleted.
    label: Option<Label>,
}

#[derive(Deserialize)]
struct Label {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Note {
    id: i64,
    #[serde(default)]
    body: String,
    #[serde(default)]
    system: bool,
}

impl Note {
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
    fn label_approves_if_it_was_added_after_the_push_and_is_still_there() {
        let event = |id: i64, action: &str, label: &str, minute: u32| -> LabelEvent {
            serde_json::from_value(json!({"id": id, "action": action, "label": {"name": label},
                "created_at": format!("2026-11-29T12:{minute:02}:00Z"), "user": {"id": 7, "username": "jane"}}))
            .unwrap()
        };
        let pushed = "2026-11-29T12:10:00Z".parse().unwrap();
        for (events, there, expected) in [
            (vec![event(1, "add", "preview", 11)], vec!["preview"], 1),
            (vec![event(1, "add", "preview", 9)], vec!["preview"], 0),
            (vec![event(1, "add", "do-not-merge", 11)], vec!["preview"], 0),
            (
                vec![event(1, "add", "preview", 11), event(2, "remove", "preview", 12)],
                vec!["preview"],
                0,
            ),
            (
                vec![event(2, "add", "preview", 12), event(1, "remove", "preview", 11)],
                vec!["preview"],
                1,
            ),
            (vec![event(1, "add", "preview", 11)], vec![], 0),
        ] {
            assert_eq!(approved(events, &there, pushed).len(), expected, "{there:?}");
        }
        assert_eq!(approving(&[]), [crate::forge::pull_request::APPROVAL_LABEL]);
    }
}
