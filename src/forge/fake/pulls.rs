//! The pull requests of the forge in memory.

use async_trait::async_trait;
use jiff::Timestamp;

use super::FakeForge;
use crate::forge::error::ForgeError;
use crate::forge::pull_request::{Comment, PullRequests};
use crate::forge::repository::RepositoryPath;
use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// A pull request, open or not.
#[derive(Clone, Debug)]
pub struct FakePull {
    /// What a list shows of it.
    pub shown: PullRequest,
    /// Whether it is open.
    pub is_open: bool,
    /// When its head was pushed.
    pub pushed_at: Timestamp,
    /// The commits that accounts approved.
    pub approvals: Vec<(CommitId, ForgeAccount)>,
    /// Its comments, oldest first.
    pub comments: Vec<Comment>,
}

impl FakePull {
    /// An open pull request of a branch of the repository itself.
    pub fn open(number: u64, branch: &str, head: &str) -> Self {
        let account = ForgeAccount {
            id: "1".to_owned(),
            name: FakeForge::ACCOUNT.to_owned(),
        };
        Self {
            shown: PullRequest {
                number,
                head: head.to_owned(),
                branch: branch.to_owned(),
                repository: None,
                is_fork: false,
                is_from_author: true,
                author: account,
                is_draft: false,
                labels: Vec::new(),
                created_at: Timestamp::UNIX_EPOCH,
            },
            is_open: true,
            pushed_at: Timestamp::now(),
            approvals: Vec::new(),
            comments: Vec::new(),
        }
    }
}

impl FakeForge {
    /// Answers a request about one pull request.
    fn pull<T>(
        &self,
        doing: &'static str,
        repository: &RepositoryPath,
        number: u64,
        act: impl FnOnce(&mut FakePull) -> T,
    ) -> Result<T, ForgeError> {
        self.with(doing, repository, |state, index| {
            let mut pulls = state.repositories[index].1.pulls.iter_mut();
            match pulls.find(|pull| pull.shown.number == number) {
                Some(pull) => Ok(act(pull)),
                None => Err(state.not_found(format!("the pull request {number}"))?),
            }
        })
    }
}

#[async_trait]
impl PullRequests for FakeForge {
    async fn open_pull_requests(&self, repository: &RepositoryPath) -> Result<Vec<PullRequest>, ForgeError> {
        self.with("list the pull requests", repository, |state, index| {
            let pulls = state.repositories[index].1.pulls.iter();
            Ok(pulls
                .filter(|pull| pull.is_open)
                .map(|pull| pull.shown.clone())
                .collect())
        })
    }

    async fn is_open(&self, repository: &RepositoryPath, number: u64) -> Result<bool, ForgeError> {
        match self.pull("read the pull request", repository, number, |pull| pull.is_open) {
            Err(ForgeError::NotFound { .. }) => Ok(false),
            result => result,
        }
    }

    async fn head(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
    ) -> Result<PushedHead, ForgeError> {
        let (head, at) = self.pull("read the head", repository, pull_request.number, |pull| {
            (pull.shown.head.clone(), pull.pushed_at)
        })?;
        let commit = CommitId::parse(&head).ok_or_else(|| ForgeError::Spec {
            message: format!("{head:?} is no commit"),
        })?;
        Ok(PushedHead { commit, at })
    }

    async fn may_write(
        &self,
        repository: &RepositoryPath,
        account: &ForgeAccount,
    ) -> Result<bool, ForgeError> {
        self.with("read the permission", repository, |_, _| {
            Ok(account.name == Self::ACCOUNT)
        })
    }

    async fn approvals(
        &self,
        repository: &RepositoryPath,
        pull_request: &PullRequest,
        commit: &CommitId,
        _: &[String],
    ) -> Result<Vec<ForgeAccount>, ForgeError> {
        let all = self.pull("read the approvals", repository, pull_request.number, |pull| {
            pull.approvals.clone()
        })?;
        let of_commit = all.into_iter().filter(|(approved, _)| approved == commit);
        Ok(of_commit.map(|(_, account)| account).collect())
    }

    async fn comments(&self, repository: &RepositoryPath, number: u64) -> Result<Vec<Comment>, ForgeError> {
        self.pull("list the comments", repository, number, |pull| {
            pull.comments.clone()
        })
    }

    async fn comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<Option<Comment>, ForgeError> {
        self.pull("read the comment", repository, number, |pull| {
            let mut comments = pull.comments.iter();
            comments.find(|comment| comment.id == id).cloned()
        })
    }

    async fn create_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        body: &str,
    ) -> Result<String, ForgeError> {
        let id = self.new_id();
        self.pull("write a comment", repository, number, |pull| {
            pull.comments.push(Comment {
                id: id.clone(),
                body: body.to_owned(),
            });
            id
        })
    }

    async fn update_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
        body: &str,
    ) -> Result<(), ForgeError> {
        self.pull("change the comment", repository, number, |pull| {
            let mut comments = pull.comments.iter_mut();
            if let Some(comment) = comments.find(|comment| comment.id == id) {
                body.clone_into(&mut comment.body);
            }
        })
    }

    async fn delete_comment(
        &self,
        repository: &RepositoryPath,
        number: u64,
        id: &str,
    ) -> Result<(), ForgeError> {
        self.pull("remove the comment", repository, number, |pull| {
            pull.comments.retain(|comment| comment.id != id);
        })
    }
}
