//! What the forge answered about pull requests.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{CommitId, ForgeAccount, PullRequest, PushedHead};

/// What the forge has to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// The full hash of the head of a pull request, and its time.
    Head(u64),
    /// Whether a pull request is open.
    IsOpen(u64),
    /// Whether an account may write to the repository.
    MayWrite(ForgeAccount),
    /// The accounts that approved a commit of a pull request.
    Approvals(u64, CommitId),
}

/// The answers of the forge, or its problems.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The head of each pull request as it was seen last. A commit does not tell when it was pushed, because it may have been made
    /// long before, or claim to be of the future.
    pub seen: BTreeMap<u64, SeenHead>,
    /// By the number of the pull request and what the forge gave as its head.
    pub heads: BTreeMap<(u64, String), Result<PushedHead, String>>,
    /// By the number of the pull request.
    pub open: BTreeMap<u64, Result<bool, String>>,
    /// By account.
    pub writers: BTreeMap<ForgeAccount, Result<bool, String>>,
    /// By the number of the pull request and its commit.
    pub approvals: BTreeMap<(u64, CommitId), Result<Vec<ForgeAccount>, String>>,
}

/// What the forge gave as a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenHead {
    head: String,
    /// When it was seen first.
    at: Timestamp,
    /// Whether there was another head before.
    is_change: bool,
}

/// An answer of the forge.
pub(super) enum Answer<T> {
    Known(T),
    /// The forge has to be asked.
    Asked,
    /// The forge cannot answer now.
    Failed(String),
}

/// Whether the code of a pull request may run.
pub(super) enum Trust {
    Yes,
    No,
    Ask(Vec<Question>),
    Failed(String),
}

fn answer<T: Clone>(found: Option<&Result<T, String>>) -> Answer<T> {
    match found {
        Some(Ok(answer)) => Answer::Known(answer.clone()),
        Some(Err(problem)) => Answer::Failed(problem.clone()),
        None => Answer::Asked,
    }
}

impl Facts {
    /// Returns the answers that never change: what a hash stands for, and when that was pushed.
    #[must_use]
    pub fn lasting(self) -> Self {
        let heads = self.heads.into_iter().filter(|(_, head)| head.is_ok());
        Self {
            seen: self.seen,
            heads: heads.collect(),
            ..Self::default()
        }
    }

    /// Returns what the forge did answer.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.heads.retain(|_, answer| answer.is_ok());
        self.open.retain(|_, answer| answer.is_ok());
        self.writers.retain(|_, answer| answer.is_ok());
        self.approvals.retain(|_, answer| answer.is_ok());
        self
    }

    /// Notes the heads of all open pull requests. `built` is what the preview of each is built from.
    pub fn see(&mut self, pull_requests: &[PullRequest], built: &BTreeMap<u64, CommitId>, now: Timestamp) {
        let is_open = |number: u64| pull_requests.iter().any(|open| open.number == number);
        self.seen.retain(|number, _| is_open(*number));
        for open in pull_requests {
            let is_change = match (self.seen.get(&open.number), built.get(&open.number)) {
                (Some(seen), _) if seen.head == open.head => continue,
                (Some(_), _) => true,
                // Davit was not running when it changed.
                (None, Some(built)) => !built.as_str().starts_with(&open.head),
                (None, None) => false,
            };
            let seen = SeenHead {
                head: open.head.clone(),
                at: now,
                is_change,
            };
            self.seen.insert(open.number, seen);
        }
    }

    /// When the head of a pull request was pushed, if its commit was made at `made`.
    pub(super) fn pushed_at(&self, pull_request: &PullRequest, made: Timestamp) -> Timestamp {
        match self.seen.get(&pull_request.number) {
            Some(seen) if seen.head == pull_request.head && seen.is_change => seen.at,
            Some(seen) => made.min(seen.at),
            None => made,
        }
    }

    pub(super) fn head(&self, pull_request: &PullRequest) -> Answer<PushedHead> {
        answer(self.heads.get(&(pull_request.number, pull_request.head.clone())))
    }

    pub(super) fn is_open(&self, number: u64) -> Answer<bool> {
        answer(self.open.get(&number))
    }

    /// The code of a branch in the repository itself was pushed with write access. Other code is trusted if it is from a
    /// repository of its author and the author may write, or if an account that may write approved exactly this commit.
    pub(super) fn trust(&self, pull_request: &PullRequest, commit: &CommitId) -> Trust {
        if !pull_request.is_fork {
            return Trust::Yes;
        }
        match answer(self.writers.get(&pull_request.author)) {
            _ if !pull_request.is_from_author => {}
            Answer::Known(true) => return Trust::Yes,
            Answer::Known(false) => {}
            Answer::Asked => return Trust::Ask(vec![Question::MayWrite(pull_request.author.clone())]),
            Answer::Failed(problem) => return Trust::Failed(problem),
        }
        let key = (pull_request.number, commit.clone());
        let accounts = match answer(self.approvals.get(&key)) {
            Answer::Known(accounts) => accounts,
            Answer::Asked => return Trust::Ask(vec![Question::Approvals(key.0, key.1)]),
            Answer::Failed(problem) => return Trust::Failed(problem),
        };
        let mut questions = Vec::new();
        for account in accounts
            .into_iter()
            .filter(|account| *account != pull_request.author)
        {
            match answer(self.writers.get(&account)) {
                Answer::Known(true) => return Trust::Yes,
                Answer::Known(false) => {}
                Answer::Asked => questions.push(Question::MayWrite(account)),
                Answer::Failed(problem) => return Trust::Failed(problem),
            }
        }
        if questions.is_empty() {
            Trust::No
        } else {
            Trust::Ask(questions)
        }
    }
}
