//! One commit on its way from a server, through the cache, into a directory.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::cache::Entry;
use super::command::{Conversation, Runner, in_repository};
use super::error::SourceError;
use super::gitmodules::Module;
use super::options::CheckoutRequest;
use super::url::describe;
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
        empty(dest)?;
        self.try_lay_out(dest).await
    }

    /// True where the commit is in the cache.
    pub(super) fn has(&self) -> bool {
        self.entry.exists() && self.entry.has(self.request.commit)
    }

    /// Fetches the commit if it is not in the cache.
    pub(super) async fn have(&self) -> Result<(), SourceError> {
        self.entry.sweep();
        if self.entry.is_worn() {
            self.discard()?;
        }
        if !self.has() {
            self.fetch().await?;
        }
        self.entry.touch();
        Ok(())
    }

    fn discard(&self) -> Result<(), SourceError> {
        let removed = self.entry.discard();
        removed.map_err(|error| SourceError::io("remove a repository from the cache", error))
    }

    async fn try_lay_out(&self, dest: &Path) -> Result<(Head, Vec<Module>), SourceError> {
        let CheckoutRequest { remote, commit, .. } = self.request;
        if self.has() {
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
        let ((), head) = tokio::try_join!(self.fetch_lfs(dest, &index), self.head())?;
        self.report_filters(dest);
        let modules = if self.request.submodules {
            self.submodules(dest).await?
        } else {
            self.report_submodules(dest).await;
            Vec::new()
        };
        Ok((head, modules))
    }

    /// Logs the submodules that are left out, whose directories stay empty.
    async fn report_submodules(&self, dest: &Path) {
        let fields = self.request.remote.fields;
        let field = fields.path.strip_suffix("path").unwrap_or("spec.source.");
        match self.submodules(dest).await {
            Ok(modules) => {
                if let Some(first) = modules.first() {
                    self.log.write(&format!(
                        "{} submodules are not fetched ({}, …), their directories are empty: set {field}submodules to true to fetch them",
                        modules.len(),
                        first.path
                    ));
                }
            }
            Err(error) => self.log.write(&format!("Submodules are not fetched: {error}")),
        }
    }

    /// Logs the filters of `.gitattributes` that are not run, such as git-crypt: their files are as they are stored.
    fn report_filters(&self, dest: &Path) {
        let path = dest.join(".gitattributes");
        if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            return;
        }
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let filters: std::collections::BTreeSet<_> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.strip_prefix("filter="))
            .filter(|filter| *filter != "lfs")
            .map(shown)
            .collect();
        for filter in filters {
            self.log.write(&format!(
                "The filter {filter} of .gitattributes is not run: its files are as the repository stores them"
            ));
        }
    }

    pub(super) fn local(&self) -> Program {
        in_repository(self.runner.local(), self.entry.path())
    }

    pub(super) async fn run(&self, doing: &str, program: Program) -> Result<Output, SourceError> {
        self.runner
            .run_local(doing, self.request.remote, program, self.cancel)
            .await
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
}

/// A line of a commit for the status, shortened and without control characters: any user with permission to push chooses
/// its content.
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

/// Removes everything beneath `dest`.
fn empty(dest: &Path) -> Result<(), SourceError> {
    let all = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(dest)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    all().map_err(|error| SourceError::io("empty the directory of the source", error))
}
