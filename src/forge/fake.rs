//! A forge in memory, for tests of what uses a forge. It has repositories with branches, hooks, checks and pull requests, and
//! fails as a test wants.

mod pulls;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use url::Url;

use super::client::{Account, Forge, Hook, WantedHook};
use super::error::ForgeError;
use super::pagination::{Cursor, Page};
use super::pull_request::PullRequests;
use super::repository::{Repository, RepositoryPath};
use crate::model::{Check, CheckState, CommitId, CommitState, CommitStatus, Expiring, GitCredential};
use crate::redact::{SafeUrl, Secret};

pub use self::pulls::FakePull;

/// The entries of a page.
const PAGE: usize = 100;
/// The most pages of a list.
const MOST_PAGES: u32 = 1000;

/// A hook, with what no forge shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeHook {
    /// What the forge shows.
    pub shown: Hook,
    /// What deliveries are signed with.
    pub secret: Secret,
}

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct FakeRepository {
    /// Whether only accounts with access see it.
    pub private: bool,
    /// Its branches, the default branch first.
    pub branches: Vec<String>,
    /// Where Git clones it from, if not from the forge's own address; every commit is known then.
    pub clone_url: Option<SafeUrl>,
    /// Its hooks.
    pub hooks: Vec<FakeHook>,
    /// Its commits with their checks.
    pub checks: HashMap<CommitId, Vec<Check>>,
    /// The statuses that were reported, in order.
    pub reported: Vec<(CommitId, CommitStatus)>,
    /// Whether the account may report none.
    pub refuses_statuses: bool,
    /// The commit whose status it never answers to.
    pub deaf_to_status_of: Option<CommitId>,
    /// Its pull requests.
    pub pulls: Vec<FakePull>,
}

type Failure = Arc<dyn Fn(&'static str) -> Option<ForgeError> + Send + Sync>;

struct State {
    base: Url,
    repositories: Vec<(RepositoryPath, FakeRepository)>,
    /// The former paths of repositories, and the present ones.
    renamed: Vec<(RepositoryPath, RepositoryPath)>,
    failure: Option<Failure>,
    changes: usize,
    last_id: u64,
}

/// The forge in memory. A clone is the same forge.
#[derive(Clone)]
pub struct FakeForge(Arc<Mutex<State>>);

impl FakeForge {
    /// The account behind every credential.
    pub const ACCOUNT: &'static str = "jane";

    /// A forge without repositories at this address; `None` if that is no URL.
    pub fn at(base: &str) -> Option<Self> {
        Some(Self(Arc::new(Mutex::new(State {
            base: Url::parse(base).ok()?,
            repositories: Vec::new(),
            renamed: Vec::new(),
            failure: None,
            changes: 0,
            last_id: 0,
        }))))
    }

    /// Adds a repository.
    pub fn add(&self, path: &RepositoryPath, repository: FakeRepository) {
        self.0.lock().repositories.push((path.clone(), repository));
    }

    /// Changes a repository, as a user of the forge does.
    pub fn change<T>(
        &self,
        path: &RepositoryPath,
        change: impl FnOnce(&mut FakeRepository) -> T,
    ) -> Option<T> {
        let mut state = self.0.lock();
        state.repository(path).map(change)
    }

    /// Renames a repository: requests that read it are redirected from its former path, others are not.
    pub fn rename(&self, former: &RepositoryPath, present: &RepositoryPath) {
        let mut state = self.0.lock();
        for (path, _) in &mut state.repositories {
            if path == former {
                path.clone_from(present);
            }
        }
        state.renamed.push((former.clone(), present.clone()));
    }

    /// From now on each request fails for which `failure`, given what the request is for, has an error.
    pub fn fail(&self, failure: impl Fn(&'static str) -> Option<ForgeError> + Send + Sync + 'static) {
        self.0.lock().failure = Some(Arc::new(failure));
    }

    /// From now on no request fails.
    pub fn recover(&self) {
        self.0.lock().failure = None;
    }

    /// The address, for errors.
    pub fn shown(&self) -> Option<SafeUrl> {
        SafeUrl::parse(self.0.lock().base.as_str()).ok()
    }

    /// How many requests have changed a hook.
    pub fn changes(&self) -> usize {
        self.0.lock().changes
    }

    fn new_id(&self) -> String {
        self.0.lock().new_id()
    }

    /// Fails if the test wants that.
    fn request(&self, doing: &'static str) -> Result<(), ForgeError> {
        // Not called with the lock, because it may use this forge.
        let failure = self.0.lock().failure.clone();
        failure.and_then(|failure| failure(doing)).map_or(Ok(()), Err)
    }

    fn with<T>(
        &self,
        doing: &'static str,
        path: &RepositoryPath,
        act: impl FnOnce(&mut State, usize) -> Result<T, ForgeError>,
    ) -> Result<T, ForgeError> {
        self.request(doing)?;
        let mut state = self.0.lock();
        let present = state.present(path).clone();
        if present != *path && !doing.starts_with("read") && !doing.starts_with("list") {
            return Err(ForgeError::Other {
                doing,
                url: super::http::safe(&state.base)?,
                message: "it redirects a request that changes something".to_owned(),
            });
        }
        let found = state.repositories.iter().position(|(known, _)| *known == present);
        match found {
            Some(index) => act(&mut state, index),
            None => Err(state.not_found(format!("the repository {path}"))?),
        }
    }
}

impl State {
    /// The path that a repository has now.
    fn present<'p>(&'p self, path: &'p RepositoryPath) -> &'p RepositoryPath {
        let mut renamed = self.renamed.iter();
        let found = renamed.find(|(former, _)| former == path);
        found.map_or(path, |(_, present)| present)
    }

    fn new_id(&mut self) -> String {
        self.last_id += 1;
        self.last_id.to_string()
    }

    fn repository(&mut self, path: &RepositoryPath) -> Option<&mut FakeRepository> {
        let mut all = self.repositories.iter_mut();
        all.find_map(|(known, repository)| (known == path).then_some(repository))
    }

    fn not_found(&self, what: String) -> Result<ForgeError, ForgeError> {
        let url = super::http::safe(&self.base)?;
        Ok(ForgeError::NotFound { what, url })
    }
}

/// The page of a list at a cursor.
fn page<T: Clone>(all: &[T], cursor: Option<&Cursor>) -> Page<T> {
    let seen = cursor.map_or(0, |cursor| usize::try_from(cursor.seen).unwrap_or(usize::MAX));
    let items: Vec<T> = all.iter().skip(seen).take(PAGE).cloned().collect();
    let end = seen + items.len();
    Page {
        next: (end < all.len()).then(|| Cursor {
            seen: end as u64,
            ..Cursor::first(&[])
        }),
        total: Some(all.len() as u64),
        items,
    }
}

#[async_trait]
impl Forge for FakeForge {
    async fn check(&self) -> Result<Account, ForgeError> {
        self.request("read the account")?;
        Ok(Account {
            name: Self::ACCOUNT.to_owned(),
            repositories: self.0.lock().repositories.len() as u64,
            more: false,
            expires_at: None,
        })
    }

    async fn repositories(&self, cursor: Option<&Cursor>) -> Result<Page<Repository>, ForgeError> {
        self.request("list the repositories")?;
        let state = self.0.lock();
        let found = page(&state.repositories, cursor);
        found.try_map(|(path, repository)| {
            let clone_url = repository
                .clone_url
                .map_or_else(|| path.clone_url(&state.base), Ok);
            Some(clone_url.map(|clone_url| Repository {
                path,
                default_branch: repository.branches.first().cloned(),
                clone_url,
                private: repository.private,
                archived: false,
            }))
        })
    }

    async fn branches(
        &self,
        repository: &RepositoryPath,
        cursor: Option<&Cursor>,
    ) -> Result<Page<String>, ForgeError> {
        self.with("list the branches", repository, |state, index| {
            Ok(page(&state.repositories[index].1.branches, cursor))
        })
    }

    async fn clone_url(&self, repository: &RepositoryPath) -> Result<SafeUrl, ForgeError> {
        let mut state = self.0.lock();
        let own = state
            .repository(repository)
            .and_then(|found| found.clone_url.clone());
        own.map_or_else(|| repository.clone_url(&state.base), Ok)
    }

    async fn present_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError> {
        let present = self.0.lock().present(repository).clone();
        self.with("read the repository", &present, |_, _| Ok(present.clone()))
    }

    fn repository_at(&self, url: &SafeUrl) -> Option<RepositoryPath> {
        let state = self.0.lock();
        let own = state
            .repositories
            .iter()
            .find(|(_, repository)| repository.clone_url.as_ref() == Some(url));
        own.map_or_else(
            || RepositoryPath::at(&state.base, url),
            |(path, _)| Some(path.clone()),
        )
    }

    async fn clone_credential(&self, _: &RepositoryPath) -> Result<Expiring<GitCredential>, ForgeError> {
        self.request("request a credential for Git")?;
        Ok(Expiring::never(GitCredential::Basic {
            username: "x".to_owned(),
            password: Secret::from("fake-token-4d0f"),
        }))
    }

    async fn checks(&self, repository: &RepositoryPath, commit: &CommitId) -> Result<Vec<Check>, ForgeError> {
        self.with("read the checks", repository, |state, index| {
            let found = &state.repositories[index].1;
            match found.checks.get(commit) {
                Some(checks) => Ok(checks.clone()),
                None if found.clone_url.is_some() => Ok(Vec::new()),
                None => Err(state.not_found(format!("the commit {commit}"))?),
            }
        })
    }

    async fn report_status(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ForgeError> {
        self.with("report a status", repository, |state, index| {
            if state.repositories[index].1.refuses_statuses {
                return Err(ForgeError::Forbidden {
                    doing: "report a status",
                    url: super::http::safe(&state.base)?,
                    message: format!("{} may only read {repository}", Self::ACCOUNT),
                });
            }
            if state.repositories[index].1.deaf_to_status_of.as_ref() == Some(commit) {
                return Err(ForgeError::Timeout {
                    doing: "report a status",
                    url: super::http::safe(&state.base)?,
                    seconds: 1,
                });
            }
            let found = &mut state.repositories[index].1;
            found.reported.push((commit.clone(), status.clone()));
            let checks = found.checks.entry(commit.clone()).or_default();
            checks.retain(|check| check.name != status.context);
            checks.push(Check {
                name: status.context.clone(),
                state: match status.state {
                    CommitState::Pending => CheckState::Pending,
                    CommitState::Success => CheckState::Passed,
                    CommitState::Failure => CheckState::Failed,
                },
            });
            Ok(())
        })
    }

    fn pull_requests(&self) -> Option<&dyn PullRequests> {
        Some(self)
    }

    async fn hooks(&self, repository: &RepositoryPath) -> Result<Vec<Hook>, ForgeError> {
        self.with("list the webhooks", repository, |state, index| {
            let hooks = &state.repositories[index].1.hooks;
            Ok(hooks.iter().map(|hook| hook.shown.clone()).collect())
        })
    }

    async fn create_hook(
        &self,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        self.with("create a webhook", repository, |state, index| {
            state.changes += 1;
            let id = state.new_id();
            state.repositories[index].1.hooks.push(FakeHook {
                shown: Hook {
                    id: id.clone(),
                    url: wanted.url.clone(),
                    is_intact: true,
                    pull_requests: wanted.pull_requests,
                },
                secret: wanted.secret.clone(),
            });
            Ok(id)
        })
    }

    async fn update_hook(
        &self,
        repository: &RepositoryPath,
        id: &str,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        self.with("update the webhook", repository, |state, index| {
            let mut hooks = state.repositories[index].1.hooks.iter_mut();
            let Some(hook) = hooks.find(|hook| hook.shown.id == id) else {
                return Err(state.not_found(format!("the webhook {id}"))?);
            };
            hook.shown.url.clone_from(&wanted.url);
            hook.shown.is_intact = true;
            hook.shown.pull_requests = wanted.pull_requests;
            hook.secret = wanted.secret.clone();
            state.changes += 1;
            Ok(id.to_owned())
        })
    }

    async fn delete_hook(&self, repository: &RepositoryPath, id: &str) -> Result<(), ForgeError> {
        self.with("remove the webhook", repository, |state, index| {
            state.changes += 1;
            state.repositories[index]
                .1
                .hooks
                .retain(|hook| hook.shown.id != id);
            Ok(())
        })
    }

    fn most_pages(&self) -> u32 {
        MOST_PAGES
    }

    fn too_long(&self, doing: &'static str) -> ForgeError {
        let message = format!("cannot {doing}: the list has more than {MOST_PAGES} pages");
        ForgeError::Spec { message }
    }
}
