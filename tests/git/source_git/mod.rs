//! Sources from real Git servers: over https, ssh and file, with submodules, hostile content, a cache that breaks and
//! disks that fill up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs beside davit to see what they do to it"
)]

mod cache;
mod compare;
mod hostile;
mod https;
mod lfs;
mod malformed_responses;
mod ssh;
mod submodules;

use std::path::{Path, PathBuf};

use davit::api::Reason;
use davit::error::{Class, Problem};
use davit::job_log::JobLog;
use davit::model::{CommitId, GitCredential, RefSpec};
use davit::redact::{Masker, SafeUrl};
use davit::source::{Checkout, CheckoutRequest, Fields, Git, GitOptions, GitRemote, SourceError};
use tokio_util::sync::CancellationToken;

/// A git with a cache of its own.
struct Harness {
    dir: tempfile::TempDir,
    git: Git,
    log: JobLog,
    cancel: CancellationToken,
}

impl Harness {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With file URLs, as for development.
    fn development() -> Self {
        Self::with(|options| options.allow_file = true)
    }

    fn with(change: impl FnOnce(&mut GitOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = GitOptions::new(dir.path().join("cache"), env!("CARGO_BIN_EXE_davit"));
        change(&mut options);
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self {
            git: Git::new(options).unwrap(),
            log: JobLog::open(&dir.path().join("log"), Masker::default()).unwrap(),
            cancel: CancellationToken::new(),
            dir,
        }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn repositories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("cache/repositories")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    async fn resolve(&self, remote: &GitRemote, spec: &RefSpec) -> Result<CommitId, SourceError> {
        let resolved = self.git.resolve(remote, spec, &self.cancel).await?;
        assert_eq!(&resolved.spec, spec);
        Ok(resolved.commit)
    }

    async fn checkout(
        &self,
        remote: &GitRemote,
        commit: &CommitId,
        spec: &RefSpec,
    ) -> Result<Checkout, SourceError> {
        let request = CheckoutRequest {
            remote,
            commit,
            spec,
            submodules: false,
        };
        self.git
            .checkout(request, &self.work(), &self.log, &self.cancel)
            .await
    }

    async fn with_submodules(&self, remote: &GitRemote, commit: &CommitId) -> Result<Checkout, SourceError> {
        let request = CheckoutRequest {
            remote,
            commit,
            spec: &RefSpec::Default,
            submodules: true,
        };
        self.git
            .checkout(request, &self.work(), &self.log, &self.cancel)
            .await
    }

    /// Resolves and lays out.
    async fn fetch(&self, remote: &GitRemote, spec: &RefSpec) -> Result<Checkout, SourceError> {
        let commit = self.resolve(remote, spec).await?;
        self.checkout(remote, &commit, spec).await
    }

    /// Asserts that resolving fails with this reason, class and message.
    async fn refuses(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        reason: Reason,
        class: Class,
        words: &[&str],
    ) {
        let error = self.fetch(remote, spec).await.unwrap_err();
        expect(&error, reason, class, words);
        self.is_clean();
    }

    /// Nothing is left of a checkout, a conversation or a fetch that failed.
    fn is_clean(&self) {
        assert_eq!(names(&self.work()), Vec::<String>::new());
        assert_eq!(names(&self.dir.path().join("cache/tmp")), Vec::<String>::new());
        for repository in self.repositories() {
            let left = |dir: &str| names(&repository.join(dir));
            let packs = left("objects/pack");
            assert!(!packs.iter().any(|name| name.starts_with("tmp_")), "{packs:?}");
            assert!(!left("").iter().any(|name| name.contains(".lock")));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

fn expect(error: &SourceError, reason: Reason, class: Class, words: &[&str]) {
    let problem = Problem::of(error);
    assert_eq!((problem.reason, problem.class), (reason, class), "{problem:?}");
    for word in words {
        assert!(problem.message.contains(word), "{word} in {}", problem.message);
    }
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn remote(url: &str) -> GitRemote {
    GitRemote {
        url: SafeUrl::parse(url).unwrap(),
        credential: GitCredential::Anonymous,
        ca: None,
        fields: Fields::GIT,
        connection: None,
    }
}

fn file_remote(path: &Path) -> GitRemote {
    remote(&format!("file://{}", path.display()))
}

fn commit(text: &str) -> CommitId {
    CommitId::parse(text).unwrap()
}

fn branch(name: &str) -> RefSpec {
    RefSpec::Branch(name.to_owned())
}

fn tag(name: &str) -> RefSpec {
    RefSpec::Tag(name.to_owned())
}

fn read(checkout: &Checkout, path: &str) -> String {
    std::fs::read_to_string(checkout.root().join(path)).unwrap()
}
