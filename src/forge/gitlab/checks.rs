//! Checks of commits, and the status that Davit reports: jobs of pipelines and statuses of other programs are one list.

use serde::Deserialize;
use serde_json::json;

use super::GitLab;
use crate::forge::api::SignIn as _;
use crate::forge::call::Call;
use crate::forge::pagination::{Collected, Cursor, PAGE_SIZE};
use crate::forge::{ForgeError, RepositoryPath};
use crate::model::{Check, CheckState, CommitId, CommitState, CommitStatus};

/// The most pages that are read.
const MOST_PAGES: u32 = 20;
/// The most characters of an address that GitLab takes.
const LONGEST_URL: usize = 255;

impl GitLab {
    /// The newest of each name.
    pub(super) async fn read_checks(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
    ) -> Result<Vec<Check>, ForgeError> {
        let project = repository.to_string();
        let path = [
            "projects",
            project.as_str(),
            "repository",
            "commits",
            commit.as_str(),
            "statuses",
        ];
        let call = Call::get("read the checks", path)
            .scope("read_api")
            .what(format!("the commit {commit} of {repository}"));
        let first = Cursor::first(&[("per_page", PAGE_SIZE)]);
        let all: Collected<Status> = self.api.pages(&call, &first, MOST_PAGES, self).await?;
        let checks = all.so_far().into_iter().map(|status| Check {
            state: status.state(),
            name: status.name,
        });
        Ok(checks.collect())
    }

    pub(super) async fn report(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ForgeError> {
        let project = repository.to_string();
        let state = match status.state {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failed",
        };
        let mut body = json!({
            "name": status.context,
            "state": state,
            "description": status.description,
        });
        if let Some(url) = status.url.as_ref().filter(|url| url.len() <= LONGEST_URL) {
            body["target_url"] = json!(url);
        }
        let path = ["projects", project.as_str(), "statuses", commit.as_str()];
        let call = Call::post("report the status of a commit", path)
            .scope("api")
            .what(format!(
                "the commit {commit} of {repository}, or the right to write to it"
            ))
            .json(body);
        match self.api.raw(&call, Some(&self.auth().await?)).await {
            // The status is the same already.
            Err(ForgeError::Other { message, .. }) if message.contains("Cannot transition status") => Ok(()),
            result => result.map(drop),
        }
    }
}

#[derive(Deserialize)]
struct Status {
    name: String,
    #[serde(rename = "status")]
    value: String,
    #[serde(default)]
    allow_failure: bool,
}

impl Status {
    fn state(&self) -> CheckState {
        match self.value.as_str() {
            "success" | "skipped" => CheckState::Passed,
            "failed" | "canceled" | "manual" if self.allow_failure => CheckState::Passed,
            "failed" | "canceled" => CheckState::Failed,
            // A job that a user starts, and others that have not ended.
            _ => CheckState::Pending,
        }
    }
}
