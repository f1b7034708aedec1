//! The repository at a forge that a source names, of any kind of forge.

use super::forge_source::{OwnedRepository, ProviderRef};
use super::git_ref::GitRef;
use super::source::{Source, SourceKind};

/// A repository at a forge, of any kind, and the fields that messages name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromForge<'a> {
    /// The kind of forge, as in the spec.
    pub kind: &'static str,
    /// The GitProvider.
    pub provider: &'a ProviderRef,
    /// The repository's path at the forge.
    pub repository: String,
    /// Which commit.
    pub git_ref: Option<&'a GitRef>,
    /// The directory that is built.
    pub path: &'a str,
    /// Fetch submodules too.
    pub submodules: bool,
    /// The field of the repository's name.
    pub repository_field: &'static str,
    /// The field of the ref.
    pub ref_field: &'static str,
    /// The field of the GitProvider.
    pub provider_field: &'static str,
    /// The field of the directory that is built.
    pub path_field: &'static str,
}

/// The names of the fields below `spec.source.KIND`.
macro_rules! fields {
    ($kind:literal, $repository:literal, $source:expr, $path:expr) => {
        FromForge {
            kind: $kind,
            provider: &$source.provider,
            repository: $path,
            git_ref: $source.git_ref.as_ref(),
            path: &$source.path,
            submodules: $source.submodules,
            repository_field: concat!("spec.source.", $kind, ".", $repository),
            ref_field: concat!("spec.source.", $kind, ".ref"),
            provider_field: concat!("spec.source.", $kind, ".provider"),
            path_field: concat!("spec.source.", $kind, ".path"),
        }
    };
}

impl Source {
    /// Returns the repository at a forge, or `None` if the source is of another kind.
    pub fn forge(&self) -> Option<FromForge<'_>> {
        let owned = |source: &OwnedRepository| format!("{}/{}", source.owner, source.repository);
        match self.kind()? {
            SourceKind::GitHub(source) => Some(fields!("github", "repository", source, owned(source))),
            SourceKind::GitLab(source) => Some(fields!("gitlab", "project", source, source.project.clone())),
            SourceKind::Bitbucket(source) => {
                let path = format!("{}/{}", source.workspace, source.repository);
                Some(fields!("bitbucket", "repository", source, path))
            }
            SourceKind::Gitea(source) => Some(fields!("gitea", "repository", source, owned(source))),
            SourceKind::Git(_) | SourceKind::Docker(_) | SourceKind::Drop(_) => None,
        }
    }

    /// Returns the source with this commit in place of its ref, and if one is given with this repository of the same forge.
    #[must_use]
    pub fn at_commit(mut self, commit: &str, repository: Option<&str>) -> Self {
        let pinned = Some(GitRef {
            commit: Some(commit.to_owned()),
            ..GitRef::default()
        });
        let (owner, name) = repository.and_then(|path| path.split_once('/')).unzip();
        for owned in [&mut self.github, &mut self.gitea].into_iter().flatten() {
            owned.git_ref.clone_from(&pinned);
            owned.owner = owner.unwrap_or(&owned.owner).to_owned();
            owned.repository = name.unwrap_or(&owned.repository).to_owned();
        }
        if let Some(project) = &mut self.gitlab {
            project.git_ref.clone_from(&pinned);
            project.project = repository.unwrap_or(&project.project).to_owned();
        }
        if let Some(bitbucket) = &mut self.bitbucket {
            bitbucket.git_ref.clone_from(&pinned);
            bitbucket.workspace = owner.unwrap_or(&bitbucket.workspace).to_owned();
            bitbucket.repository = name.unwrap_or(&bitbucket.repository).to_owned();
        }
        self
    }
}
