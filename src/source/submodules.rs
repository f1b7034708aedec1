//! Submodules: each is a repository of its own, by the same rules, at the commit that its parent pins.

use std::collections::BTreeMap;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::git_fetch::Job;
use super::{CheckoutRequest, Git, GitRemote, SourceError, remote};
use crate::job_log::JobLog;
use crate::model::{CommitId, RefSpec};

/// The most submodules of one checkout, nested ones included.
const MOST: usize = 100;
/// The deepest that submodules may be nested.
const DEEPEST: usize = 8;

/// How many submodules one checkout may still have, so that a repository which contains itself ends.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    depth: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: MOST,
            depth: DEEPEST,
        }
    }
}

/// A submodule as the parent's commit describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    path: String,
    url: String,
    commit: CommitId,
}

fn invalid(path: impl Into<String>, why: impl Into<String>) -> SourceError {
    SourceError::SubmoduleInvalid {
        path: path.into(),
        why: why.into(),
    }
}

/// The submodules of a commit that was laid out in `dest`.
pub(super) async fn list(job: &Job<'_>, dest: &Path) -> Result<Vec<Module>, SourceError> {
    match std::fs::symlink_metadata(dest.join(".gitmodules")) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err(invalid(".gitmodules", "it is not a plain file")),
        Err(_) => return Ok(Vec::new()),
    }
    let commit = job.request.commit;
    let program = job
        .local()
        .args(["config", "--list", "--null"])
        .arg(format!("--blob={commit}:.gitmodules"));
    let entries = program
        .run(job.cancel)
        .await
        .map_err(SourceError::Program)
        .and_then(|output| {
            if output.ok() && !output.stdout_cut {
                Ok(output.out())
            } else {
                Err(invalid(".gitmodules", "git cannot read it"))
            }
        })?;
    let described = described(&entries)?;
    if described.is_empty() {
        return Ok(Vec::new());
    }
    let program = job
        .local()
        .args([
            "ls-tree",
            "-z",
            "--full-tree",
            "--end-of-options",
            commit.as_str(),
        ])
        .args(described.keys());
    let tree = job.run("list the submodules of", program).await?.out();
    Ok(pinned(&tree, described))
}

/// Path and URL of each entry of `.gitmodules`, from `git config --list --null`.
fn described(entries: &str) -> Result<BTreeMap<String, String>, SourceError> {
    #[derive(Default)]
    struct Entry<'e> {
        path: Option<&'e str>,
        url: Option<&'e str>,
        unwanted: bool,
    }
    let mut by_name: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
    for entry in entries.split_terminator('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let Some((name, variable)) = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let entry = by_name.entry(name).or_default();
        match variable {
            "path" => entry.path = Some(value),
            "url" => entry.url = Some(value),
            "update" => entry.unwanted = value == "none",
            _ => {}
        }
    }
    if by_name.len() > MOST {
        return Err(invalid(".gitmodules", format!("it describes more than {MOST}")));
    }
    let mut found = BTreeMap::new();
    for (name, entry) in by_name {
        let Some(path) = entry.path else { continue };
        if entry.unwanted {
            continue;
        }
        if !is_inside(path) {
            return Err(invalid(name, "its path leads out of the repository"));
        }
        let url = entry
            .url
            .filter(|url| !url.is_empty())
            .ok_or_else(|| invalid(path, "it has no url"))?;
        found.insert(path.to_owned(), url.to_owned());
    }
    Ok(found)
}

/// Those that the commit really has, from `git ls-tree -z`: an entry that no commit pins is only a leftover.
fn pinned(tree: &str, mut described: BTreeMap<String, String>) -> Vec<Module> {
    tree.split_terminator('\0')
        .filter_map(|line| {
            let (object, path) = line.split_once('\t')?;
            let commit = CommitId::parse(object.strip_prefix("160000 commit ")?)?;
            let (path, url) = described.remove_entry(path)?;
            Some(Module { path, url, commit })
        })
        .collect()
}

fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\n'])
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git"))
}

/// The directory that git has made for a submodule, if it is where it should be: no part of the way to it is a link.
fn place(dest: &Path, path: &str) -> Result<std::path::PathBuf, SourceError> {
    let place = dest.join(path);
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| SourceError::io("find the place of a submodule", error))
    };
    if real(&place)? == real(dest)?.join(path) {
        Ok(place)
    } else {
        Err(invalid(path, "its path leads through a symbolic link"))
    }
}

/// Removes everything beneath `dest`.
pub(super) fn empty(dest: &Path) -> Result<(), SourceError> {
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

impl Git {
    pub(super) async fn lay_out_submodules(
        &self,
        parent: &GitRemote,
        modules: &[Module],
        dest: &Path,
        budget: &mut Budget,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<(), SourceError> {
        if modules.is_empty() {
            return Ok(());
        }
        budget.depth = budget.depth.checked_sub(1).ok_or_else(|| {
            invalid(
                ".gitmodules",
                format!("submodules are nested deeper than {DEEPEST}"),
            )
        })?;
        for module in modules {
            budget.left = budget
                .left
                .checked_sub(1)
                .ok_or_else(|| invalid(&module.path, format!("there are more than {MOST} submodules")))?;
            let path = &module.path;
            let remote = remote::submodule(parent, &module.url).map_err(|why| invalid(path, why))?;
            let place = place(dest, path)?;
            log.write(&format!("Submodule {path}: {} at {}", remote.url, module.commit));
            let request = CheckoutRequest {
                remote: &remote,
                commit: &module.commit,
                spec: &RefSpec::Commit(module.commit.clone()),
                submodules: true,
            };
            // Boxed, because a submodule may have submodules.
            Box::pin(self.lay_out(request, &place, budget, log, cancel))
                .await
                .map_err(|source| SourceError::Submodule {
                    path: path.clone(),
                    source: Box::new(remote::without_credential(parent, &remote, source)),
                })?;
        }
        budget.depth += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitmodules_is_read_with_care() {
        let entries = "submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a.git\0submodule.old.path\nold\0\
                       submodule.old.url\nhttps://h/x\0submodule.skip.path\nskip\0submodule.skip.update\nnone\0core.x\n1\0";
        let found = described(entries).unwrap();
        let expected = BTreeMap::from([
            ("lib/a".to_owned(), "../a.git".to_owned()),
            ("old".to_owned(), "https://h/x".to_owned()),
        ]);
        assert_eq!(found, expected);
        let hash = "a".repeat(40);
        let tree = format!("160000 commit {hash}\tlib/a\0100644 blob {hash}\told\0");
        let modules = pinned(&tree, found);
        assert_eq!(
            modules,
            [Module {
                path: "lib/a".to_owned(),
                url: "../a.git".to_owned(),
                commit: CommitId::parse(&hash).unwrap()
            }]
        );
        for path in ["../x", "/x", "a/../b", "a//b", ".git/x", "a/.GIT", "", "a\\b"] {
            let entries = format!("submodule.x.path\n{path}\0submodule.x.url\nhttps://h/x\0");
            assert!(described(&entries).is_err(), "{path}");
        }
        assert!(described("submodule.x.path\nx\0").is_err(), "no url");
    }
}
