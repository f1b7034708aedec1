//! Submodules: each is a repository of its own, by the same rules, at the commit that its parent pins.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::client::Git;
use super::error::SourceError;
use super::gitmodules::{Budget, DEEPEST, MOST, Module, described, invalid, pinned};
use super::job::Job;
use super::options::CheckoutRequest;
use super::remote::GitRemote;
use super::url;
use crate::job_log::JobLog;
use crate::model::{GitCredential, RefSpec};

impl Job<'_> {
    /// The submodules of a commit that was laid out in `dest`.
    pub(super) async fn submodules(&self, dest: &Path) -> Result<Vec<Module>, SourceError> {
        match std::fs::symlink_metadata(dest.join(".gitmodules")) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Err(invalid(".gitmodules", "it is not a plain file")),
            Err(_) => return Ok(Vec::new()),
        }
        let commit = self.request.commit;
        let program = self
            .local()
            .args(["config", "--list", "--null"])
            .arg(format!("--blob={commit}:.gitmodules"));
        let entries = program
            .run(self.cancel)
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
        let program = self
            .local()
            .args([
                "ls-tree",
                "-z",
                "--full-tree",
                "--end-of-options",
                commit.as_str(),
            ])
            .args(described.keys());
        let tree = self.run("list the submodules of", program).await?.out();
        Ok(pinned(&tree, described))
    }
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

/// The credential for a submodule on its parent's connection: one of its own, since the parent's may be valid for the
/// parent only. A submodule that the connection does not reach may be public. `None` if the parent's is fixed.
async fn own_credential(
    module: &GitRemote,
    cancel: &CancellationToken,
) -> Result<Option<GitCredential>, SourceError> {
    let Some(connection) = &module.connection else {
        return Ok(None);
    };
    let credential = tokio::select! {
        credential = connection.0.credential(&module.url) => credential,
        () = cancel.cancelled() => return Err(SourceError::Cancelled),
    };
    match credential {
        Ok(credential) => Ok(Some(credential.unwrap_or(GitCredential::Anonymous))),
        Err(problem) => Err(SourceError::Credential {
            url: module.url.clone(),
            problem,
        }),
    }
}

fn of_module(path: &str, source: SourceError) -> SourceError {
    SourceError::Submodule {
        path: path.to_owned(),
        source: Box::new(source),
    }
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
            let mut remote = url::submodule(parent, &module.url).map_err(|why| invalid(path, why))?;
            let credential = own_credential(&remote, cancel).await;
            if let Some(credential) = credential.map_err(|error| of_module(path, error))? {
                remote.credential = credential;
            }
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
                .map_err(|error| of_module(path, url::without_credential(parent, &remote, error)))?;
        }
        budget.depth += 1;
        Ok(())
    }
}
