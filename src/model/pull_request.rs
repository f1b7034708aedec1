//! Pull and merge requests, as every forge has them.

use jiff::Timestamp;

use super::CommitId;

/// An account at a forge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForgeAccount {
    /// What the forge identifies it by in requests.
    pub id: String,
    /// Its login, for messages.
    pub name: String,
}

/// An open pull or merge request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// The commit at its head; a forge may give only the beginning of the hash.
    pub head: String,
    /// The branch that it comes from.
    pub branch: String,
    /// The path of the repository that it comes from; `None` if that was deleted.
    pub repository: Option<String>,
    /// Whether its code may come from an account without write access: from a fork, or if the forge does not tell.
    pub is_fork: bool,
    /// Whether its author owns the repository that it comes from. Otherwise its code may come from another account, whose
    /// rights are unknown.
    pub is_from_author: bool,
    /// The account that opened it.
    pub author: ForgeAccount,
    /// Not ready for review.
    pub is_draft: bool,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// When it was opened.
    pub created_at: Timestamp,
}

/// The commit at the head of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedHead {
    /// The full hash.
    pub commit: CommitId,
    /// When it was pushed, or at least made.
    pub at: Timestamp,
}
