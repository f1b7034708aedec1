//! Checks of commits, and the status that Davit reports. Commit statuses and check runs are two lists.

use serde::Deserialize;
use serde_json::json;

use super::{GitHub, Identity};
use crate::forge::api::{Authorization, Reply};
use crate::forge::call::{Call, at};
use crate::forge::pagination::{Cursor, PAGE_SIZE};
use crate::forge::{ForgeError, RepositoryPath};
use crate::model::{Check, CheckState, CommitId, CommitState, CommitStatus};

/// The most pages of a list that are read. GitHub itself looks through 1,000 check suites.
const MOST_PAGES: usize = 20;

impl GitHub {
    /// The newest status of each context, and the newest run of each check.
    pub(super) async fn read_checks(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
    ) -> Result<Vec<Check>, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let auth = match &self.identity {
            Identity::Token { auth, .. } => auth.clone(),
            Identity::App(app) => app.checks_token(&self.api, repository).await?,
        };
        let list = |list: &[&str], scope| {
            let path = ["repos", owner, name].into_iter().chain(list.iter().copied());
            Call::get("read the checks", path)
                .scope(scope)
                .what(format!("the commit {commit} of {repository}"))
        };
        let statuses = list(&["commits", commit.as_str(), "status"], "Commit statuses: read");
        let mut checks = self.list_checks(&statuses, &auth).await?;
        let runs =
            list(&["commits", commit.as_str(), "check-runs"], "Checks: read").query("filter", "latest");
        match self.list_checks(&runs, &auth).await {
            Ok(runs) => checks.extend(runs),
            // A fine-grained token can never read check runs, but the workflows that most of them are from.
            Err(ForgeError::Scope { .. } | ForgeError::Forbidden { .. })
                if matches!(self.identity, Identity::Token { .. }) =>
            {
                let runs = list(&["actions", "runs"], "Actions: read").query("head_sha", commit.as_str());
                checks.extend(self.list_checks(&runs, &auth).await?);
            }
            Err(error) => return Err(error),
        }
        Ok(checks)
    }

    async fn list_checks(&self, call: &Call, auth: &Authorization) -> Result<Vec<Check>, ForgeError> {
        let mut checks = Vec::new();
        for page in 1..=MOST_PAGES {
            let page = page.to_string();
            let call = at(call, &Cursor::first(&[("per_page", PAGE_SIZE), ("page", &page)]));
            let reply: Reply<Listing> = self.api.send(&call, Some(auth)).await?;
            let Listing {
                total_count,
                statuses,
                check_runs,
                workflow_runs,
            } = reply.body;
            let before = checks.len();
            checks.extend(statuses.into_iter().map(Status::check));
            checks.extend(check_runs.into_iter().chain(workflow_runs).map(Run::check));
            if checks.len() == before || checks.len() >= total_count {
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
        let auth = match &self.identity {
            Identity::Token { auth, .. } => auth.clone(),
            Identity::App(app) => app.status_token(&self.api, repository).await?,
        };
        let state = match status.state {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failure",
        };
        let mut body = json!({
            "context": status.context,
            "state": state,
            "description": status.description,
        });
        if let Some(url) = &status.url {
            body["target_url"] = json!(url);
        }
        let call = Call::post(
            "report the status of a commit",
            ["repos", owner, name, "statuses", commit.as_str()],
        )
        .scope("Commit statuses: write")
        .what(format!(
            "the commit {commit} of {repository}, or the right to write its statuses"
        ))
        .json(body);
        self.api.raw(&call, Some(&auth)).await.map(drop)
    }
}

/// A page of any of the lists.
#[derive(Deserialize)]
struct Listing {
    total_count: usize,
    #[serde(default)]
    statuses: Vec<Status>,
    #[serde(default)]
    check_runs: Vec<Run>,
    #[serde(default)]
    workflow_runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Status {
    context: String,
    state: String,
}

impl Status {
    fn check(self) -> Check {
        Check {
            name: self.context,
            state: match self.state.as_str() {
                "success" => CheckState::Passed,
                "pending" => CheckState::Pending,
                _ => CheckState::Failed,
            },
        }
    }
}

#[derive(Deserialize)]
struct Run {
    name: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
}

impl Run {
    fn check(self) -> Check {
        let state = match (self.status.as_deref(), self.conclusion.as_deref()) {
            (Some("completed"), Some("success" | "neutral" | "skipped")) => CheckState::Passed,
            (Some("completed"), _) => CheckState::Failed,
            _ => CheckState::Pending,
        };
        Check {
            name: self.name.unwrap_or_else(|| "check".to_owned()),
            state,
        }
    }
}
