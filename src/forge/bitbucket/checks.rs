//! Checks of commits, and the status that Davit reports: both are build statuses here, also those of Pipelines.

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Bitbucket;
use crate::forge::call::Call;
use crate::forge::http::beneath;
use crate::forge::pagination::{Collected, PAGE_SIZE};
use crate::forge::{ForgeError, RepositoryPath};
use crate::model::{Check, CheckState, CommitId, CommitState, CommitStatus};

/// The most pages that are read.
const MOST_PAGES: u32 = 20;
/// The most characters of a key.
const LONGEST_KEY: usize = 40;

impl Bitbucket {
    /// Every build status, by its name: the key of Davit's own may be a digest.
    pub(super) async fn read_checks(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
    ) -> Result<Vec<Check>, ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let path = [
            "repositories",
            workspace,
            name,
            "commit",
            commit.as_str(),
            "statuses",
        ];
        let call = Call::get("read the checks", path)
            .scope("repository")
            .what(format!("the commit {commit} of {repository}"));
        let all: Collected<Status> = self.pages(&call, PAGE_SIZE, MOST_PAGES).await?;
        Ok(all.so_far().into_iter().map(Status::check).collect())
    }

    pub(super) async fn report(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let state = match status.state {
            CommitState::Pending => "INPROGRESS",
            CommitState::Success => "SUCCESSFUL",
            CommitState::Failure => "FAILED",
        };
        // Bitbucket takes no status without an address.
        let page = beneath(&self.web, &[workspace, name, "commits", commit.as_str()]);
        let url = status.url.clone().unwrap_or_else(|| page.to_string());
        let path = [
            "repositories",
            workspace,
            name,
            "commit",
            commit.as_str(),
            "statuses",
            "build",
        ];
        let call = Call::post("report the status of a commit", path)
            .scope("repository")
            .what(format!(
                "the commit {commit} of {repository}, or the right to write to it"
            ))
            .json(json!({
                "type": "build",
                "key": key(&status.context),
                "name": status.context,
                "state": state,
                "description": status.description,
                "url": url,
            }));
        let auth = self.auth().await?;
        self.api.raw(&call, Some(&auth)).await.map(drop)
    }
}

/// The context, or where that is too long its beginning and a digest.
fn key(context: &str) -> String {
    if context.len() <= LONGEST_KEY {
        return context.to_owned();
    }
    let digest = Sha256::digest(context.as_bytes());
    let digest = crate::model::hex(digest.get(..6).unwrap_or_default());
    let mut end = LONGEST_KEY - digest.len() - 1;
    while !context.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{digest}", context.get(..end).unwrap_or_default())
}

#[derive(Deserialize)]
struct Status {
    key: String,
    name: Option<String>,
    state: String,
}

impl Status {
    fn check(self) -> Check {
        Check {
            state: match self.state.as_str() {
                "SUCCESSFUL" => CheckState::Passed,
                "INPROGRESS" => CheckState::Pending,
                _ => CheckState::Failed,
            },
            name: self.name.filter(|name| !name.is_empty()).unwrap_or(self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_short_and_differs_for_each_application() {
        assert_eq!(key("davit/production/shop"), "davit/production/shop");
        let long = |name: &str| key(&format!("davit/a-very-long-namespace-of-a-team/{name}"));
        assert_eq!(long("shop-frontend").len(), LONGEST_KEY);
        assert_ne!(long("shop-frontend"), long("shop-backend"));
    }
}
