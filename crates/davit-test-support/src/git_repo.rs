//! A small Git work tree that a test fills, commits and pushes, untouched by the user's own Git configuration.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// `git` with nothing of the user's or the machine's configuration, and never a prompt.
pub fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_SSL_CAINFO",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
    ] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Jane Doe")
        .env("GIT_AUTHOR_EMAIL", "jane@example.com")
        .env("GIT_COMMITTER_NAME", "Jane Doe")
        .env("GIT_COMMITTER_EMAIL", "jane@example.com")
        .args(["-c", "protocol.file.allow=always"])
        .arg("-C")
        .arg(dir);
    command
}

/// A work tree on branch `main` with no commit yet.
pub struct GitRepo {
    dir: TempDir,
}

impl GitRepo {
    /// An empty one.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        super::run(git(dir.path()).args(["init", "--quiet", "--initial-branch", "main"]));
        Self { dir }
    }

    /// Its address on this machine, for a Davit that may use local sources.
    pub fn url(&self) -> String {
        format!("file://{}", self.dir.path().display())
    }

    /// One with a first commit of these `(path, content)`.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let repo = Self::new();
        repo.commit("first", files);
        repo
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `git ARGS` in it and returns what that prints.
    pub fn git<const N: usize>(&self, args: [&str; N]) -> String {
        super::run(git(self.path()).args(args))
    }

    /// Writes `(path, content)` without a commit; paths get their directories.
    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let file = self.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
    }

    /// Writes `files`, commits all that has changed (an empty commit if nothing has) and returns the commit's id.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        self.write(files);
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// The id of the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(["rev-parse", "HEAD"])
    }

    /// Makes everything in the bare repository `target` as it is here: branches and tags, removed ones included.
    pub fn mirror_to(&self, target: &Path) {
        super::run(git(self.path()).args(["push", "--quiet", "--mirror"]).arg(target));
    }
}

impl Default for GitRepo {
    fn default() -> Self {
        Self::new()
    }
}
