//! Bare repositories kept between fetches, so that a new commit costs only what is new. Bounded: the least recently
//! used go when there is too much. Losing one is never an error, only work.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::remote::GitRemote;
use crate::model::{CommitId, GitCredential, hex};

/// More packs than this make every command slow; the repository is then fetched anew.
const MOST_PACKS: usize = 64;
/// The file whose time of change says when a repository was last used.
const USED: &str = "davit-used";

/// The directory of repositories and their locks. One process owns it.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    largest: u64,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A repository that is locked for one job. It may not exist yet.
pub(super) struct Entry {
    path: PathBuf,
    _lock: OwnedMutexGuard<()>,
}

impl Cache {
    /// Opens the directory, making it if it is not there. `largest` is in bytes.
    pub(super) fn new(dir: PathBuf, largest: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            largest,
            locks: Mutex::default(),
        })
    }

    /// Locks the repository for `remote`, after other jobs have released it.
    pub(super) async fn lock(&self, remote: &GitRemote, commit: &CommitId) -> Entry {
        self.lock_key(key(remote, commit)).await
    }

    /// Locks the repository with the history for `remote`: commits without their files.
    pub(super) async fn lock_history(&self, remote: &GitRemote, commit: &CommitId) -> Entry {
        self.lock_key(format!("{}-history", key(remote, commit))).await
    }

    async fn lock_key(&self, key: String) -> Entry {
        let lock = self.locks.lock().entry(key.clone()).or_default().clone();
        Entry {
            path: self.dir.join(key),
            _lock: lock.lock_owned().await,
        }
    }

    /// Removes the least recently used repositories until what is left fits. Those in use stay.
    pub(super) fn trim(&self) {
        self.shrink_to(self.largest);
    }

    /// Removes every repository that is not in use.
    pub(super) fn clear(&self) {
        self.shrink_to(0);
    }

    fn shrink_to(&self, largest: u64) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        let mut repositories: Vec<_> = entries
            .flatten()
            .map(|entry| {
                let path = entry.path();
                let used = std::fs::metadata(path.join(USED)).and_then(|meta| meta.modified());
                (used.unwrap_or(SystemTime::UNIX_EPOCH), size(&path), path)
            })
            .collect();
        repositories.sort();
        let mut total: u64 = repositories.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in repositories {
            if total <= largest {
                return;
            }
            let Some(key) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let lock = self.locks.lock().entry(key.to_owned()).or_default().clone();
            let Ok(_guard) = lock.try_lock() else {
                continue;
            };
            if std::fs::remove_dir_all(&path).is_ok() {
                total = total.saturating_sub(size);
                tracing::debug!(repository = key, size, "removed from the cache of repositories");
            }
        }
    }
}

impl Entry {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// True where there is a repository.
    pub(super) fn exists(&self) -> bool {
        self.path.join("HEAD").exists()
    }

    /// The ref that says that a commit was fetched whole: git writes it after it has looked that all is there.
    pub(super) fn ref_of(commit: &CommitId) -> String {
        format!("refs/davit/{commit}")
    }

    /// True where the commit was fetched.
    pub(super) fn has(&self, commit: &CommitId) -> bool {
        std::fs::read_to_string(self.path.join(Self::ref_of(commit)))
            .is_ok_and(|text| text.trim() == commit.as_str())
    }

    /// True where a fresh fetch is better than going on with it.
    pub(super) fn is_worn(&self) -> bool {
        std::fs::read_dir(self.path.join("objects/pack")).is_ok_and(|files| files.count() > 2 * MOST_PACKS)
    }

    /// Removes it.
    pub(super) fn discard(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Notes that it was used.
    pub(super) fn touch(&self) {
        // Without the note it only goes earlier.
        std::fs::write(self.path.join(USED), "").ok();
    }

    /// Removes the files of a killed git process: partial packs and stale locks.
    pub(super) fn sweep(&self) {
        for dir in ["", "objects/pack", "refs/davit", "lfs"] {
            let Ok(files) = std::fs::read_dir(self.path.join(dir)) else {
                continue;
            };
            for file in files.flatten() {
                let name = file.file_name();
                let name = name.to_string_lossy();
                if name.starts_with("tmp_") || name.ends_with(".lock") {
                    std::fs::remove_file(file.path()).ok();
                }
            }
        }
    }
}

/// A repository's name: its address and the credential, so that content is served from the cache only with the credential
/// with which it was fetched. In place of a credential that a connection replaces every hour stands the connection. The
/// kind of hash goes in too, since one repository cannot hold both.
fn key(remote: &GitRemote, commit: &CommitId) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(remote.url.expose().as_str().as_bytes());
    add(&commit.as_str().len().to_be_bytes());
    match (&remote.credential, &remote.connection) {
        (GitCredential::Anonymous, _) => add(b"anonymous"),
        (_, Some(connection)) => {
            add(b"connection");
            add(connection.0.identity().as_bytes());
        }
        (GitCredential::Basic { username, password }, None) => {
            add(b"basic");
            add(username.as_bytes());
            add(password.expose());
        }
        (GitCredential::Bearer(token), None) => {
            add(b"bearer");
            add(token.expose());
        }
        (
            GitCredential::Ssh {
                key,
                known_hosts,
                ignore_host_key,
            },
            None,
        ) => {
            add(b"ssh");
            add(key.expose());
            add(known_hosts.as_deref().unwrap_or_default().as_bytes());
            add(&[u8::from(*ignore_host_key)]);
        }
    }
    let mut key = hex(&hash.finalize());
    key.truncate(40);
    key
}

/// The bytes beneath a directory; what vanishes meanwhile counts nothing.
fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;
    use crate::redact::{SafeUrl, Secret};
    use crate::source::{Connection, CredentialSource, Fields};

    fn remote(url: &str, token: Option<&str>) -> GitRemote {
        GitRemote {
            url: SafeUrl::parse(url).unwrap(),
            credential: token.map_or(GitCredential::Anonymous, |token| {
                GitCredential::Bearer(Secret::from(token))
            }),
            ca: None,
            fields: Fields::GIT,
            connection: None,
        }
    }

    fn commit() -> CommitId {
        CommitId::parse(&"a".repeat(40)).unwrap()
    }

    #[tokio::test]
    async fn each_credential_has_its_own_repository() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("r"), 1).unwrap();
        let mut paths = Vec::new();
        for (url, token) in [
            ("https://h/a", None),
            ("https://h/b", None),
            ("https://h/a", Some("x")),
            ("https://h/a", Some("y")),
        ] {
            let remote = remote(url, token);
            let path = cache.lock(&remote, &commit()).await.path().to_owned();
            assert_eq!(cache.lock(&remote, &commit()).await.path(), path);
            paths.push(path);
        }
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 4);
    }

    struct Hourly(&'static str);

    #[async_trait::async_trait]
    impl CredentialSource for Hourly {
        fn identity(&self) -> &str {
            self.0
        }

        async fn credential(&self, _: &SafeUrl) -> Result<Option<GitCredential>, Problem> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn credentials_of_one_connection_share_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("r"), 1).unwrap();
        let mut paths = Vec::new();
        for (token, connection) in [
            (Some("x"), "acme"),
            (Some("y"), "acme"),
            (Some("y"), "other"),
            // A submodule that the connection does not reach is fetched without a credential.
            (None, "acme"),
        ] {
            let remote = GitRemote {
                connection: Some(Connection(Arc::new(Hourly(connection)))),
                ..remote("https://h/a", token)
            };
            paths.push(cache.lock(&remote, &commit()).await.path().to_owned());
        }
        assert_eq!(paths[0], paths[1]);
        paths.dedup();
        assert_eq!(paths.len(), 3);
    }

    #[tokio::test]
    async fn the_least_recently_used_go_and_those_in_use_stay() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("r"), 2500).unwrap();
        let mut entries = Vec::new();
        for (age, name) in ["oldest", "old", "new", "newest"].into_iter().enumerate() {
            let entry = cache
                .lock(&remote(&format!("https://h/{name}"), None), &commit())
                .await;
            std::fs::create_dir_all(entry.path().join("objects")).unwrap();
            std::fs::write(entry.path().join("objects/x"), vec![0; 1000]).unwrap();
            entry.touch();
            let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64 + 1);
            let file = std::fs::File::options()
                .write(true)
                .open(entry.path().join(USED))
                .unwrap();
            file.set_modified(used).unwrap();
            entries.push(entry);
        }
        let oldest = entries.remove(0);
        let paths: Vec<_> = entries.into_iter().map(|entry| entry.path.clone()).collect();
        cache.trim();
        assert!(oldest.path().exists(), "it is in use");
        let there: Vec<_> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(there, [false, false, true]);
        cache.clear();
        assert!(oldest.path().exists() && paths.iter().all(|path| !path.exists()));
    }
}
