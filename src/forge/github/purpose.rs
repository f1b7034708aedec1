//! What an installation token is for.

use serde_json::{Value, json};

use crate::forge::RepositoryPath;

/// What an installation token is restricted to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Listing repositories.
    List,
    /// Cloning one repository.
    Clone(RepositoryPath),
    /// Reading the checks of one repository.
    Checks(RepositoryPath),
    /// Reporting the statuses of one repository's commits.
    Statuses(RepositoryPath),
    /// Managing the hooks of one repository.
    Hooks(RepositoryPath),
    /// Reading the pull requests of one repository, and commenting on them.
    PullRequests(RepositoryPath),
}

impl Purpose {
    /// What cannot be done if the installation lacks a permission, and which one.
    pub fn needed(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::List | Self::Clone(_) => return None,
            Self::Checks(_) => (
                "read the checks",
                "Checks: read and Commit statuses: read (an owner must accept new permissions)",
            ),
            Self::Statuses(_) => (
                "report the status of a commit",
                "Commit statuses: write (an owner must accept new permissions)",
            ),
            Self::Hooks(_) => (
                "manage webhooks",
                "Webhooks: write (an owner of each account must accept it), or leave webhook.manage out and set the App's own \
                 webhook to status.webhookUrl",
            ),
            Self::PullRequests(_) => (
                "read pull requests and comment on them",
                "Pull requests: write (an owner must accept new permissions)",
            ),
        })
    }

    /// The repository that the token is restricted to.
    pub fn repository(&self) -> Option<&RepositoryPath> {
        match self {
            Self::List => None,
            Self::Clone(of)
            | Self::Checks(of)
            | Self::Statuses(of)
            | Self::Hooks(of)
            | Self::PullRequests(of) => Some(of),
        }
    }

    /// The body of the request for a token.
    pub fn restriction(&self) -> Value {
        let permissions = match self {
            Self::List => json!({"metadata": "read"}),
            Self::Clone(_) => json!({"contents": "read"}),
            Self::Checks(_) => json!({"checks": "read", "statuses": "read"}),
            Self::Statuses(_) => json!({"statuses": "write"}),
            Self::Hooks(_) => json!({"repository_hooks": "write"}),
            Self::PullRequests(_) => json!({"pull_requests": "write"}),
        };
        // Without the owner, which follows from the installation.
        match self
            .repository()
            .and_then(|repository| repository.segments().last())
        {
            Some(name) => json!({"repositories": [name], "permissions": permissions}),
            None => json!({"permissions": permissions}),
        }
    }
}
