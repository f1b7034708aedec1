//! Checks of commits, and the status that Davit reports: both are commit statuses here, also those of Actions.

use serde::Deserialize;
use serde_json::json;

use super::Gitea;
use crate::forge::api::{Reply, SignIn as _};
use crate::forge::call::{Call, at};
use crate::forge::pagination::Cursor;
use crate::forge::{ForgeError, RepositoryPath};
use crate::model::{Check, CheckState, CommitId, CommitState, CommitStatus};

/// Gitea gives at most 50 entries at once unless it is configured otherwise.
const PAGE: usize = 50;
/// The most pages that are read.
const MOST_PAGES: usize = 20;

impl Gitea {
    /// The newest status of each context.
    pub(super) async fn read_checks(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
    ) -> Result<Vec<Check>, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let path = [
            "api",
            "v1",
            "repos",
            owner,
            name,
            "commits",
            commit.as_str(),
            "status",
        ];
        let call = Call::get("read the checks", path)
            .scope("read:repository")
            .what(format!("the commit {commit} of {repository}"));
        let mut checks = Vec::new();
        for page in 1..=MOST_PAGES {
            let (page, limit) = (page.to_string(), PAGE.to_string());
            let call = at(&call, &Cursor::first(&[("page", &page), ("limit", &limit)]));
            let reply: Reply<Combined> = self.api.send(&call, Some(&self.auth().await?)).await?;
            let statuses = reply.body.statuses.unwrap_or_default();
            let length = statuses.len();
            checks.extend(statuses.into_iter().map(|status| Check {
                state: state(&status.status),
                name: status.context,
            }));
            if length < PAGE {
                break;
            }
        }
        Ok(checks)
    }

    pub(super) async fn report(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let state = match status.state {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failure",
        };
        let path = ["api", "v1", "repos", owner, name, "statuses", commit.as_str()];
        let call = Call::post("report the status of a commit", path)
            .scope("write:repository")
            .what(format!(
                "the commit {commit} of {repository}, or the right to write to it"
            ))
            .json(json!({
                "context": status.context,
                "state": state,
                "description": status.description,
                "target_url": status.url.as_deref().unwrap_or_default(),
            }));
        self.api.raw(&call, Some(&self.auth().await?)).await.map(drop)
    }
}

fn state(text: &str) -> CheckState {
    match text {
        "success" | "skipped" => CheckState::Passed,
        "pending" => CheckState::Pending,
        // As Gitea combines them, a warning is no success.
        _ => CheckState::Failed,
    }
}

#[derive(Deserialize)]
struct Combined {
    statuses: Option<Vec<Status>>,
}

#[derive(Deserialize)]
struct Status {
    context: String,
    status: String,
}
