//! What every forge can do, and what a connection to it is made from.

use async_trait::async_trait;
use jiff::Timestamp;

use super::error::ForgeError;
use super::oauth::TokenWriter;
use super::pagination::{Collected, Cursor, Page};
use super::pull_request::PullRequests;
use super::repository::{Repository, RepositoryPath};
use crate::model::{Check, CommitId, CommitStatus, Expiring, GitCredential};
use crate::redact::{SafeUrl, Secret};

/// The account behind a credential, and what it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login, or the accounts on which an App is installed.
    pub name: String,
    /// How many repositories the credential reaches.
    pub repositories: u64,
    /// True if the forge stopped counting: there are more repositories.
    pub more: bool,
    /// When the credential expires, if the forge reports it.
    pub expires_at: Option<Timestamp>,
}

/// What a hook of Davit's should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedHook {
    /// Where it delivers to.
    pub url: String,
    /// What deliveries are signed with.
    pub secret: Secret,
    /// Whether it reports pull requests too.
    pub pull_requests: bool,
}

/// A hook of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its ID at the forge.
    pub id: String,
    /// Where it delivers to.
    pub url: String,
    /// Whether it is enabled, reports all pushes, and checks certificates. No forge shows its secret.
    pub is_intact: bool,
    /// Whether it reports pull requests too.
    pub pull_requests: bool,
}

/// A forge, connected with one credential.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Signs in, checks the permissions of the credential, and counts the repositories.
    async fn check(&self) -> Result<Account, ForgeError>;

    /// One page of the repositories that the credential reaches.
    async fn repositories(&self, cursor: Option<&Cursor>) -> Result<Page<Repository>, ForgeError>;

    /// One page of the names of a repository's branches.
    async fn branches(
        &self,
        repository: &RepositoryPath,
        cursor: Option<&Cursor>,
    ) -> Result<Page<String>, ForgeError>;

    /// The URL that Git clones a repository from. It is built from the base URL, and only for a numeric ID is the forge
    /// asked.
    async fn clone_url(&self, repository: &RepositoryPath) -> Result<SafeUrl, ForgeError>;

    /// The path that a repository has now. A forge that renamed or moved it redirects to that, which counts only on the same
    /// host.
    async fn present_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError>;

    /// The repository that a clone URL of this forge names; `None` for a URL of another server.
    fn repository_at(&self, url: &SafeUrl) -> Option<RepositoryPath>;

    /// The credential for Git. It may be valid for this repository only.
    async fn clone_credential(
        &self,
        repository: &RepositoryPath,
    ) -> Result<Expiring<GitCredential>, ForgeError>;

    /// Drops the credential that is kept for a repository, because it was refused. Returns false if no credential is kept.
    fn forget_credential(&self, repository: &RepositoryPath) -> bool {
        let _ = repository;
        false
    }

    /// The checks of a commit: the newest of each name, Davit's own included.
    async fn checks(&self, repository: &RepositoryPath, commit: &CommitId) -> Result<Vec<Check>, ForgeError>;

    /// Reports the status of a commit. The same status twice is no error.
    async fn report_status(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ForgeError>;

    /// The pull requests, if the forge has any.
    fn pull_requests(&self) -> Option<&dyn PullRequests> {
        None
    }

    /// All hooks of a repository.
    async fn hooks(&self, repository: &RepositoryPath) -> Result<Vec<Hook>, ForgeError>;

    /// Registers a hook for pushes of branches and tags, and returns its ID.
    async fn create_hook(
        &self,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError>;

    /// Makes a hook what it should be, and returns its ID: some forges can only replace it.
    async fn update_hook(
        &self,
        repository: &RepositoryPath,
        id: &str,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError>;

    /// Removes a hook. One that does not exist is removed.
    async fn delete_hook(&self, repository: &RepositoryPath, id: &str) -> Result<(), ForgeError>;

    /// The most pages of one list that are read.
    fn most_pages(&self) -> u32;

    /// All repositories that the credential reaches.
    async fn all_repositories(&self) -> Result<Vec<Repository>, ForgeError> {
        let mut all = Collected::new(self.most_pages());
        while all.wants_more() {
            all.add(self.repositories(all.cursor()).await?);
        }
        all.complete()
            .ok_or_else(|| self.too_long("list the repositories"))
    }

    /// How many repositories the credential reaches. They are counted page by page, and none is kept.
    async fn count_repositories(&self) -> Result<u64, ForgeError> {
        let (mut count, mut cursor) = (0, None);
        for _ in 0..self.most_pages() {
            let page = self.repositories(cursor.as_ref()).await?;
            count += page.items.len() as u64;
            cursor = page.next;
            if cursor.is_none() {
                return Ok(count);
            }
        }
        Err(self.too_long("list the repositories"))
    }

    /// The names of all branches of a repository.
    async fn all_branches(&self, repository: &RepositoryPath) -> Result<Vec<String>, ForgeError> {
        let mut all = Collected::new(self.most_pages());
        while all.wants_more() {
            all.add(self.branches(repository, all.cursor()).await?);
        }
        all.complete().ok_or_else(|| self.too_long("list the branches"))
    }

    /// The error for a list with more than [`Forge::most_pages`] pages.
    fn too_long(&self, doing: &'static str) -> ForgeError;
}

/// The content of the Secrets that [`secret_refs`] names.
#[derive(Clone, Debug, Default)]
pub struct ForgeSecrets {
    /// The token, the private key, or the secret of an OAuth client.
    pub credential: Option<Secret>,
    /// Certificates in PEM form to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
    /// The tokens of an OAuth application.
    pub tokens: Option<TokenWriter>,
}

/// The credential in the secrets.
pub(super) fn credential(secrets: &ForgeSecrets) -> Result<&Secret, ForgeError> {
    secrets.credential.as_ref().ok_or_else(|| ForgeError::Secret {
        message: "there is no credential".to_owned(),
    })
}
