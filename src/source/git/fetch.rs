//! Brings one commit into the cache.

use super::cache::Entry;
use super::command::{Runner, in_repository};
use super::error::SourceError;
use super::errors::{has_no_such_object, refused_by_hash};
use super::job::Job;
use super::options::CheckoutRequest;
use super::url::{full_name, not_there};
use crate::model::{CommitId, RefSpec};
use crate::process::Program;

/// The depth that means everything.
const ALL: &str = "2147483647";

/// The command that makes an empty repository for commits of this kind of hash.
pub(super) fn init(runner: &Runner, entry: &Entry, commit: &CommitId) -> Program {
    let format = if commit.as_str().len() == 64 {
        "sha256"
    } else {
        "sha1"
    };
    runner
        .local()
        .args(["init", "--quiet", "--bare", "--template="])
        .arg(format!("--object-format={format}"))
        .arg("--end-of-options")
        .arg(entry.path())
}

impl Job<'_> {
    async fn init(&self) -> Result<(), SourceError> {
        let program = init(self.runner, &self.entry, self.request.commit);
        self.run("make a cache for", program).await.map(drop)
    }

    /// Fetches the commit by its hash alone. Returns false if the server does not give it.
    pub(super) async fn fetch_by_hash(&self) -> Result<bool, SourceError> {
        let commit = self.request.commit;
        let by_hash = format!("+{commit}:{}", Entry::ref_of(commit));
        let output = self
            .conversation
            .try_run(self.fetching("1", &[&by_hash]), self.cancel)
            .await?;
        if !output.ok() && !refused_by_hash(&output.err()) {
            return Err(self.conversation.failure("fetch", &output));
        }
        Ok(output.ok())
    }

    /// Fetches the commit alone, with no history; where the server does not give a commit by its hash, as much of the
    /// ref as it takes to find it.
    pub(super) async fn fetch(&self) -> Result<(), SourceError> {
        if !self.entry.exists() {
            self.init().await?;
        }
        let CheckoutRequest {
            remote, commit, spec, ..
        } = self.request;
        let by_hash = format!("+{commit}:{}", Entry::ref_of(commit));
        let output = self
            .conversation
            .try_run(self.fetching("1", &[&by_hash]), self.cancel)
            .await?;
        if output.ok() {
            return Ok(());
        }
        if !refused_by_hash(&output.err()) {
            return Err(self.conversation.failure("fetch", &output));
        }
        let refs = match full_name(remote, spec)? {
            Some(name) => vec![format!("+{name}:refs/davit-tip")],
            None if has_no_such_object(&output.err()) => return Err(not_there(remote, spec, None)),
            None => vec![
                "+refs/heads/*:refs/davit-all/heads/*".to_owned(),
                "+refs/tags/*:refs/davit-all/tags/*".to_owned(),
            ],
        };
        let refs: Vec<_> = refs.iter().map(String::as_str).collect();
        self.log
            .write("The server gives no commit by its hash; looking for it in the history");
        // A branch that has moved on meanwhile has it a few commits back.
        let depths: &[&str] = if refs.len() == 1 {
            &["1", "50", ALL]
        } else {
            &[ALL]
        };
        for depth in depths {
            let program = self.fetching(depth, &refs);
            let output = self.conversation.try_run(program, self.cancel).await?;
            if !output.ok() {
                return Err(match self.conversation.failure("fetch", &output) {
                    SourceError::RefNotFound { .. } => not_there(remote, spec, None),
                    other => other,
                });
            }
            let keep = self
                .local()
                .args(["update-ref", "--end-of-options"])
                .args([&Entry::ref_of(commit), commit.as_str()]);
            if keep.run(self.cancel).await.is_ok_and(|output| output.ok()) {
                return Ok(());
            }
        }
        Err(not_there(remote, &RefSpec::Commit(commit.clone()), None))
    }

    fn fetching(&self, depth: &str, refs: &[&str]) -> Program {
        in_repository(self.conversation.git(), self.entry.path())
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"])
            .args(["--no-auto-maintenance", "--no-recurse-submodules"])
            .arg(format!("--depth={depth}"))
            .args(["--end-of-options", self.conversation.url()])
            .args(refs.iter().copied())
            .timeout(self.runner.options().fetch_timeout)
    }
}
