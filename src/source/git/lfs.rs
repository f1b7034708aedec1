//! Git LFS: replaces pointer files by the content that they stand for.
//!
//! Objects are kept beside the cached repository, so the same credential guards both and the cache's bound counts both.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::error::SourceError;
use super::job::Job;
use super::lfs_client::{Endpoint, Lfs, authorization, is_secure};
use super::lfs_pointer::{LARGEST, Pointer, START};
use crate::model::GitCredential;
use crate::redact::Secret;

/// The most that the list of a repository's LFS files may take, in bytes.
const LONGEST_LIST: usize = 64 << 20;

/// A file that is a pointer.
struct PointerFile {
    path: PathBuf,
    pointer: Pointer,
}

/// The answer of `git-lfs-authenticate`.
#[derive(Deserialize)]
struct Authenticated {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

impl Job<'_> {
    /// Replaces every pointer file in `dest` by its content.
    pub(super) async fn fetch_lfs(&self, dest: &Path, index: &Path) -> Result<(), SourceError> {
        let files = self.pointers(dest, index).await?;
        let Some(first) = files.first() else { return Ok(()) };
        let store = self.entry.path().join("lfs");
        let io = |error| SourceError::io("store Git LFS objects", error);
        std::fs::create_dir_all(&store).map_err(io)?;
        let is_stored = |pointer: &Pointer| {
            std::fs::metadata(store.join(&pointer.oid)).is_ok_and(|meta| meta.len() == pointer.size)
        };
        let missing: BTreeMap<Pointer, String> = files
            .iter()
            .filter(|file| !is_stored(&file.pointer))
            .map(|file| (file.pointer.clone(), file.path.display().to_string()))
            .collect();
        let bytes: u64 = missing.keys().map(|pointer| pointer.size).sum();
        self.log.write(&format!(
            "{} of the files are in Git LFS ({}, …); downloading {} objects of {bytes} bytes",
            files.len(),
            first.path.display(),
            missing.len(),
        ));
        if !missing.is_empty() {
            let options = self.runner.options();
            let download = async {
                let endpoint = self.lfs_endpoint().await?;
                let lfs = Lfs::new(self.request.remote, endpoint, options)?;
                lfs.download(&missing, &store).await
            };
            tokio::select! {
                () = self.cancel.cancelled() => return Err(SourceError::Cancelled),
                done = tokio::time::timeout(options.fetch_timeout, download) => {
                    done.unwrap_or_else(|_| Err(SourceError::Unreachable {
                        field: self.request.remote.fields.url,
                        url: self.request.remote.url.clone(),
                        said: format!("Git LFS took longer than {:?}", options.fetch_timeout),
                    }))?;
                }
            }
        }
        let (dest, half) = (dest.to_owned(), self.runner.options().max_cache_bytes / 2);
        let written = tokio::task::spawn_blocking(move || {
            for file in &files {
                replace(&dest.join(&file.path), &store.join(&file.pointer.oid))?;
            }
            let used = files.iter().map(|file| file.pointer.oid.as_str()).collect();
            shrink(&store, &used, half)
        });
        written
            .await
            .map_err(|error| io(std::io::Error::other(error)))?
            .map_err(|error| SourceError::io("write the content of Git LFS files", error))
    }

    async fn pointers(&self, dest: &Path, index: &Path) -> Result<Vec<PointerFile>, SourceError> {
        let mut tree = std::ffi::OsString::from("--work-tree=");
        tree.push(dest);
        let program = self
            .local()
            .arg(tree)
            .args(["ls-files", "-z", "--", ":(top,attr:filter=lfs)"])
            .env("GIT_INDEX_FILE", index)
            .dir(dest)
            .kept(LONGEST_LIST);
        let output = self.run("look for Git LFS in", program).await?;
        if output.stdout_cut {
            return Err(self.lfs_failed("there are more files than can be listed"));
        }
        let mut files = Vec::new();
        for path in output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
        {
            let path = PathBuf::from(OsStr::from_bytes(path));
            let Some(text) = pointer_text(&dest.join(&path)) else {
                continue;
            };
            let pointer = Pointer::parse(&text)
                .ok_or_else(|| self.lfs_failed(&format!("{} is not a valid pointer", path.display())))?;
            files.push(PointerFile { path, pointer });
        }
        Ok(files)
    }

    fn lfs_failed(&self, why: &str) -> SourceError {
        SourceError::Lfs {
            url: self.request.remote.url.clone(),
            why: why.to_owned(),
        }
    }

    /// The endpoint by git-lfs' own rules: `lfs.url` of `.lfsconfig`, else what the ssh server names, else
    /// `URL.git/info/lfs`.
    async fn lfs_endpoint(&self) -> Result<Endpoint, SourceError> {
        let remote = self.request.remote;
        let own = remote.url.expose();
        let credential = self.http_credential();
        if let Some(text) = self.lfs_config().await? {
            let url = Url::parse(&text).ok();
            let url = url
                .filter(|url| is_secure(url, self.runner.options().allow_file))
                .ok_or_else(|| self.lfs_failed("lfs.url of .lfsconfig is not an https address"))?;
            let headers = if url.origin() == own.origin() {
                credential.unwrap_or_default()
            } else {
                HeaderMap::new()
            };
            return Ok(Endpoint { url, headers });
        }
        match own.scheme() {
            "https" | "http" => {
                let mut url = own.clone();
                let path = url.path().trim_end_matches('/').to_owned();
                let suffix = if path.to_ascii_lowercase().ends_with(".git") {
                    ""
                } else {
                    ".git"
                };
                url.set_path(&format!("{path}{suffix}/info/lfs"));
                Ok(Endpoint {
                    url,
                    headers: credential.unwrap_or_default(),
                })
            }
            "ssh" => self.authenticate().await,
            other => Err(self.lfs_failed(&format!("a repository at a {other} URL has no Git LFS server"))),
        }
    }

    /// `lfs.url` of the commit's `.lfsconfig`.
    async fn lfs_config(&self) -> Result<Option<String>, SourceError> {
        let program = self
            .local()
            .args(["config", "--null"])
            .arg(format!("--blob={}:.lfsconfig", self.request.commit))
            .args(["--get", "lfs.url"]);
        let output = program.run(self.cancel).await.map_err(SourceError::Program)?;
        // Any other exit code: no such file or no such key.
        Ok(output
            .ok()
            .then(|| output.out().trim_end_matches('\0').to_owned()))
    }

    fn http_credential(&self) -> Option<HeaderMap> {
        match &self.request.remote.credential {
            GitCredential::Basic { username, password } => {
                let pair = Secret::pair(username, password);
                let pair = base64::engine::general_purpose::STANDARD.encode(pair.expose());
                authorization(&format!("Basic {pair}"))
            }
            GitCredential::Bearer(token) => authorization(&format!("Bearer {}", token.expose_str()?)),
            GitCredential::Ssh { .. } | GitCredential::Anonymous => None,
        }
    }

    /// Asks the ssh server for an endpoint and a short-lived credential for it.
    async fn authenticate(&self) -> Result<Endpoint, SourceError> {
        let path = self.request.remote.url.expose().path();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~-+".contains(&byte);
        if !path.bytes().all(is_plain) {
            return Err(self.lfs_failed("its path has characters that git-lfs-authenticate cannot be given"));
        }
        let program = self
            .conversation
            .ssh()
            .arg(format!("git-lfs-authenticate {path} download"))
            .timeout(self.runner.options().resolve_timeout);
        let output = self.conversation.try_run(program, self.cancel).await?;
        if !output.ok() {
            let said = crate::error::cut(output.err().trim(), 200);
            return Err(self.lfs_failed(&format!("its ssh server has no git-lfs-authenticate: {said}")));
        }
        let answer: Option<Authenticated> = serde_json::from_slice(&output.stdout).ok();
        let invalid = || self.lfs_failed("the answer of git-lfs-authenticate is invalid");
        let answer = answer.ok_or_else(invalid)?;
        let url = Url::parse(&answer.href).map_err(|_| invalid())?;
        if !is_secure(&url, self.runner.options().allow_file) {
            return Err(self.lfs_failed("the Git LFS server that its ssh server names is not https"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &answer.header {
            let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
                return Err(invalid());
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Endpoint { url, headers })
    }
}

/// The content of a plain file that begins like a pointer and is as short as one.
fn pointer_text(path: &Path) -> Option<Vec<u8>> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(LARGEST)
        .read_to_end(&mut text)
        .ok()?;
    text.starts_with(START).then_some(text)
}

/// Writes the object into the file, which keeps its permissions.
fn replace(file: &Path, object: &Path) -> std::io::Result<()> {
    let permissions = std::fs::metadata(file)?.permissions();
    std::fs::copy(object, file)?;
    std::fs::set_permissions(file, permissions)
}

/// Removes objects that are not in use if all of them take more than `largest` bytes.
fn shrink(store: &Path, used: &BTreeSet<&str>, largest: u64) -> std::io::Result<()> {
    let entries: Vec<_> = std::fs::read_dir(store)?.collect::<Result<_, _>>()?;
    let size = |entry: &std::fs::DirEntry| entry.metadata().map_or(0, |meta| meta.len());
    if entries.iter().map(size).sum::<u64>() > largest {
        for entry in &entries {
            if entry.file_name().to_str().is_none_or(|name| !used.contains(name)) {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}
