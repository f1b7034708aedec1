//! JSON of GitHub's API that Gitea's API has in common with it.

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// An account.
#[derive(Deserialize)]
pub(super) struct User {
    login: String,
}

impl User {
    /// The account, by its name: permissions are asked for by name.
    pub(super) fn account(&self) -> ForgeAccount {
        ForgeAccount {
            id: self.login.clone(),
            name: self.login.clone(),
        }
    }
}

/// A commit, and when it was made.
#[derive(Deserialize)]
pub(super) struct Commit {
    sha: String,
    commit: Option<CommitDetails>,
}

#[derive(Deserialize)]
struct CommitDetails {
    committer: Option<CommitUser>,
}

#[derive(Deserialize)]
struct CommitUser {
    date: Option<Timestamp>,
}

impl Commit {
    /// The commit as the head of a pull request, which no push precedes; `None` if the hash cannot be read.
    pub(super) fn head_of(self, pull_request: &PullRequest) -> Option<PushedHead> {
        let committed = self.commit.and_then(|commit| commit.committer?.date);
        Some(PushedHead {
            commit: CommitId::parse(&self.sha)?,
            at: committed
                .unwrap_or(pull_request.created_at)
                .max(pull_request.created_at),
        })
    }
}

/// What an account may do in a repository.
#[derive(Deserialize)]
pub(super) struct Permission {
    pub(super) permission: String,
}
