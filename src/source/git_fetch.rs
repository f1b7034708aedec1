//! One commit on its way from a server, through the cache, into a directory.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::error_classification::{has_no_such_object, refused_by_hash};
use super::git::not_there;
use super::git_cache::Entry;
use super::git_command::{Conversation, Runner, in_repository};
use super::remote::{describe, full_name};
use super::submodules::{self, Module};
use super::{CheckoutRequest, SourceError};
use crate::error::cut;
use crate::job_log::JobLog;
use crate::model::RefSpec;
use crate::process::{Output, Program};

/// The longest line of a commit that is repeated, in bytes.
const LONGEST_LINE: usize = 200;

/// What a commit says of itself.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) message: String,
    pub(super) author: String,
}

/// One commit on its way from a server to a directory.
pub(super) struct Job<'a> {
    pub(super) runner: &'a Runner,
    pub(super) request: CheckoutRequest<'a>,
    pub(super) conversation: Conversation<'a>,
    pub(super) entry: Entry,
    pub(super) log: &'a JobLog,
    pub(super) cancel: &'a CancellationToken,
}

impl Job<'_> {
    /// What is in the cache may be broken, by a crash or by a disk: then it is thrown away and everything done once
    /// more.
    pub(super) async fn lay_out(&self, dest: &Path) -> Result<(Head, Vec<Module>), SourceError> {
        // One that was killed could not clean up.
        self.entry.sweep();
        if self.entry.is_worn() {
            self.discard()?;
        }
        let first_time = !self.entry.exists();
        let error = match self.try_lay_out(dest).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        self.entry.sweep();
        if matches!(error, SourceError::DiskFull { .. }) {
            self.discard()?;
        }
        if first_time || !error.may_be_the_cache() {
            return Err(error);
        }
        self.log.write(&format!(
            "The cached repository is of no use ({error}); fetching it anew"
        ));
        self.discard()?;
        submodules::empty(dest)?;
        self.try_lay_out(dest).await
    }

    fn discard(&self) -> Result<(), SourceError> {
        let removed = self.entry.discard();
        removed.map_err(|error| SourceError::io("remove a repository from the cache", error))
    }

    async fn try_lay_out(&self, dest: &Path) -> Result<(Head, Vec<Module>), SourceError> {
        let CheckoutRequest { remote, commit, .. } = self.request;
        if self.entry.exists() && self.entry.has(commit) {
            self.log
                .write(&format!("Commit {commit} of {} is in the cache", remote.url));
        } else {
            let begin = Instant::now();
            self.log.write(&format!("Fetching {commit} of {}", remote.url));
            self.fetch().await?;
            let took = begin.elapsed().as_secs_f32();
            self.log.write(&format!("Fetched in {took:.1} s"));
        }
        self.entry.touch();
        let index = self.runner.private_dir()?;
        let index = index.path().join("index");
        let mut tree = OsString::from("--work-tree=");
        tree.push(dest);
        let program = self
            .local()
            .arg(tree)
            .args(["read-tree", "--reset", "-u", "--end-of-options", commit.as_str()])
            .env("GIT_INDEX_FILE", &index);
        if let Err(error) = self.run("lay out", program).await {
            return Err(why_not_written(dest).unwrap_or(error));
        }
        let ((), head) = tokio::try_join!(self.tell_of_lfs(dest, &index), self.head())?;
        let modules = if self.request.submodules {
            submodules::list(self, dest).await?
        } else {
            Vec::new()
        };
        Ok((head, modules))
    }

    pub(super) fn local(&self) -> Program {
        in_repository(self.runner.local(), self.entry.path())
    }

    pub(super) async fn run(&self, doing: &str, program: Program) -> Result<Output, SourceError> {
        self.runner
            .run_local(doing, self.request.remote, program, self.cancel)
            .await
    }

    async fn init(&self) -> Result<(), SourceError> {
        let format = if self.request.commit.as_str().len() == 64 {
            "sha256"
        } else {
            "sha1"
        };
        let program = self
            .runner
            .local()
            .args(["init", "--quiet", "--bare", "--template="])
            .arg(format!("--object-format={format}"))
            .arg("--end-of-options")
            .arg(self.entry.path());
        self.run("make a cache for", program).await.map(drop)
    }

    /// Fetches the commit alone, with no history; where the server does not give a commit by its hash, as much of the
    /// ref as it takes to find it.
    async fn fetch(&self) -> Result<(), SourceError> {
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

    async fn head(&self) -> Result<Head, SourceError> {
        let program = self
            .local()
            .args([
                "log",
                "-1",
                "--no-show-signature",
                "--no-mailmap",
                "--encoding=UTF-8",
            ])
            .args(["--format=%H%n%an <%ae>%n%B", "--end-of-options"])
            .arg(self.request.commit.as_str());
        let output = self.run("read the commit of", program).await?.out();
        let mut lines = output.lines();
        let commit = lines.next().unwrap_or_default();
        if commit != self.request.commit.as_str() {
            return Err(self.is_a_tag(commit));
        }
        let author = shown(lines.next().unwrap_or_default());
        let message = lines.map(shown).find(|line| !line.is_empty());
        Ok(Head {
            message: message.unwrap_or_default(),
            author,
        })
    }

    /// Git takes the id of a tag for what it names. A Release is pinned to a commit, and its image bears that.
    fn is_a_tag(&self, names: &str) -> SourceError {
        let CheckoutRequest {
            remote, commit, spec, ..
        } = self.request;
        let field = match spec {
            RefSpec::Commit(asked) if asked == commit => describe(remote, spec).0,
            _ => "spec.revision of the Release".to_owned(),
        };
        SourceError::IsATag {
            field,
            id: commit.to_string(),
            commit: names.to_owned(),
        }
    }

    /// Says which files are only pointers into Git LFS, so that a build that finds them short is understood.
    async fn tell_of_lfs(&self, dest: &Path, index: &Path) -> Result<(), SourceError> {
        let mut tree = OsString::from("--work-tree=");
        tree.push(dest);
        let program = self
            .local()
            .arg(tree)
            .args(["ls-files", "-z", "--", ":(top,attr:filter=lfs)"])
            .env("GIT_INDEX_FILE", index)
            .dir(dest);
        let output = self.run("look for Git LFS in", program).await?.out();
        let pointers: Vec<_> = output
            .split_terminator('\0')
            .filter(|path| is_pointer(&dest.join(path)))
            .collect();
        if let Some(first) = pointers.first() {
            self.log.write(&format!(
                "{} of the files are Git LFS pointers ({first}, …); Davit does not fetch Git LFS, so they stay pointers",
                pointers.len()
            ));
        }
        Ok(())
    }
}

/// A line of a commit as a status may hold it: whoever may push writes what he likes there, of any length and with what
/// a terminal takes for commands.
fn shown(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(LONGEST_LINE + 1)
        .collect();
    cut(line.trim(), LONGEST_LINE)
}

/// git says of a file that it could not write it, but not why: a full disk is seen by trying.
fn why_not_written(dest: &Path) -> Option<SourceError> {
    use std::io::Write as _;
    let probe = || {
        let mut file = tempfile::NamedTempFile::new_in(dest)?;
        file.write_all(&vec![0; 256 * 1024])?;
        file.flush()
    };
    match probe().map_err(|error| SourceError::io("lay out the source", error)) {
        Err(full @ SourceError::DiskFull { .. }) => Some(full),
        Err(_) | Ok(()) => None,
    }
}

/// The depth that means everything.
const ALL: &str = "2147483647";

fn is_pointer(path: &Path) -> bool {
    use std::io::Read as _;
    let plain = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    let mut start = Vec::new();
    plain
        && std::fs::File::open(path).is_ok_and(|file| file.take(64).read_to_end(&mut start).is_ok())
        && start.starts_with(b"version https://git-lfs.github.com/spec/")
}
