//! What a ref of a remote repository names now.

use tokio_util::sync::CancellationToken;

use super::client::{Git, better, second_address};
use super::command::Conversation;
use super::error::SourceError;
use super::remote::{GitRemote, ResolvedRef};
use super::tags::Tags;
use super::url::{describe, full_name, not_there};
use crate::model::{CommitId, RefSpec};

impl Git {
    /// Asks the server what the ref names now. A commit is itself; whether it is there shows when it is fetched.
    ///
    /// # Errors
    /// The server cannot be asked, or has no such ref.
    pub async fn resolve(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        cancel: &CancellationToken,
    ) -> Result<ResolvedRef, SourceError> {
        let first = self.resolve_at(remote, spec, cancel).await;
        let Some(other) = second_address(remote, &first) else {
            return first;
        };
        better(first, self.resolve_at(&other, spec, cancel).await)
    }

    async fn resolve_at(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        cancel: &CancellationToken,
    ) -> Result<ResolvedRef, SourceError> {
        let conversation = Conversation::open(&self.runner, remote)?;
        if let RefSpec::HighestTag(pattern) = spec {
            return self.highest_tag(&conversation, remote, pattern, cancel).await;
        }
        let Some(name) = full_name(remote, spec)? else {
            let RefSpec::Commit(commit) = spec else {
                return Err(not_there(remote, spec, None));
            };
            return Ok(ResolvedRef {
                commit: commit.clone(),
                spec: spec.clone(),
                tag: None,
            });
        };
        let peeled = format!("{name}^{{}}");
        let (kind, patterns) = match spec {
            RefSpec::Branch(_) => (Some("--heads"), vec![name.as_str()]),
            RefSpec::Tag(_) => (Some("--tags"), vec![name.as_str(), peeled.as_str()]),
            RefSpec::Default | RefSpec::Commit(_) | RefSpec::HighestTag(_) => (None, vec![name.as_str()]),
        };
        let listed = self.ls_remote(&conversation, kind, &patterns, cancel).await?;
        // An annotated tag is an object of its own; what it names is listed as `^{}` beside it.
        let commit = listed.commit(&peeled).or_else(|| listed.commit(&name));
        if let Some(commit) = commit {
            return Ok(ResolvedRef {
                commit,
                spec: spec.clone(),
                tag: None,
            });
        }
        let default = match spec {
            RefSpec::Default | RefSpec::Commit(_) | RefSpec::HighestTag(_) => None,
            RefSpec::Branch(_) | RefSpec::Tag(_) => {
                let listed = self.ls_remote(&conversation, None, &["HEAD"], cancel).await;
                listed.ok().and_then(|listed| listed.default_branch())
            }
        };
        if default.is_none() {
            let all = self.ls_remote(&conversation, None, &[], cancel).await;
            if all.is_ok_and(|all| all.0.is_empty()) {
                let (field, what) = describe(remote, spec);
                return Err(SourceError::Empty {
                    field,
                    what,
                    url: remote.url.clone(),
                });
            }
        }
        Err(not_there(remote, spec, default))
    }

    /// The commit of the highest tag that matches.
    async fn highest_tag(
        &self,
        conversation: &Conversation<'_>,
        remote: &GitRemote,
        pattern: &str,
        cancel: &CancellationToken,
    ) -> Result<ResolvedRef, SourceError> {
        let no_tag = |tags| SourceError::NoMatchingTag {
            pattern: pattern.to_owned(),
            url: remote.url.clone(),
            tags,
        };
        let matcher = Tags::new(pattern).map_err(|why| SourceError::TagPatternInvalid {
            pattern: pattern.to_owned(),
            why,
        })?;
        let listed = self.ls_remote(conversation, Some("--tags"), &[], cancel).await?;
        let names: Vec<&str> = listed.tags().collect();
        let Some(tag) = matcher.highest(names.iter().copied()) else {
            return Err(no_tag(names.len()));
        };
        let name = format!("refs/tags/{tag}");
        let commit = listed
            .commit(&format!("{name}^{{}}"))
            .or_else(|| listed.commit(&name));
        Ok(ResolvedRef {
            commit: commit.ok_or_else(|| no_tag(names.len()))?,
            spec: RefSpec::HighestTag(pattern.to_owned()),
            tag: Some(tag.to_owned()),
        })
    }

    async fn ls_remote(
        &self,
        conversation: &Conversation<'_>,
        kind: Option<&str>,
        patterns: &[&str],
        cancel: &CancellationToken,
    ) -> Result<Listing, SourceError> {
        let program = conversation
            .git()
            .args(["ls-remote", "--quiet", "--symref"])
            .args(kind)
            .args(["--end-of-options", conversation.url()])
            .args(patterns.iter().copied())
            .timeout(self.runner.options().resolve_timeout);
        let output = conversation.run("list the refs of", program, cancel).await?;
        Ok(Listing(output.out()))
    }
}

/// The lines of `git ls-remote --symref`.
struct Listing(String);

impl Listing {
    /// The object that the ref of exactly this name has. A pattern also fits at the end of longer names.
    fn commit(&self, name: &str) -> Option<CommitId> {
        self.0
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(hash, listed)| *listed == name && !hash.starts_with("ref: "))
            .and_then(|(hash, _)| CommitId::parse(hash))
    }

    /// The names of all tags.
    fn tags(&self) -> impl Iterator<Item = &str> {
        let lines = self.0.lines().filter_map(|line| line.split_once('\t'));
        lines
            .filter_map(|(_, name)| name.strip_prefix("refs/tags/"))
            .filter(|name| !name.ends_with("^{}"))
    }

    fn default_branch(&self) -> Option<String> {
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"))
            .map(str::to_owned)
            .next()
    }
}
