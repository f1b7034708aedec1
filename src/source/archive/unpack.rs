//! Takes the entries of an archive one by one, checks them, and writes them if a directory is given.

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, File, OpenOptions, OpenOptionsExt as _};
use ring::digest::{Context, SHA256};

use super::budget::Budget;
use super::content::{Content, Entry, Summary, refused};
use super::error::ArchiveError;
use super::path::clean;

/// How much is copied at once.
const CHUNK: usize = 64 * 1024;

/// What is left out: the state of Git anywhere, and what macOS adds to archives.
const GIT: &str = ".git";
const MAC_OS: &str = "__MACOSX";

/// Takes entries.
pub(super) struct Unpacker<'b> {
    content: Content,
    budget: &'b Budget,
    into: Option<Dir>,
    buffer: Vec<u8>,
}

impl<'b> Unpacker<'b> {
    pub fn new(budget: &'b Budget, into: Option<Dir>) -> Self {
        Self {
            content: Content::new(budget.limits().entries),
            budget,
            into,
            buffer: vec![0; CHUNK],
        }
    }

    pub fn finish(self) -> Result<Summary, ArchiveError> {
        let summary = self.content.finish()?;
        if summary.files == 0 {
            return Err(ArchiveError::Format {
                what: "an archive without files",
            });
        }
        Ok(summary)
    }

    /// The path of an entry; `None` if it is left out.
    pub fn path(&self, raw: &[u8]) -> Result<Option<String>, ArchiveError> {
        // An archive of empty entries costs no bytes.
        self.budget.spend(0)?;
        let path = clean(raw).map_err(|why| refused(&String::from_utf8_lossy(raw), why))?;
        let mut parts = path.split('/');
        let is_left_out = path.split('/').next() == Some(MAC_OS) || parts.any(|part| part == GIT);
        Ok((!is_left_out).then_some(path))
    }

    pub fn directory(&mut self, path: &str) -> Result<(), ArchiveError> {
        for added in self.content.add_directory(path)? {
            if let Some(dir) = &self.into {
                let mut builder = DirBuilder::new();
                builder.mode(0o755);
                dir.create_dir_with(&added, &builder)
                    .map_err(ArchiveError::written)?;
            }
        }
        Ok(())
    }

    /// A file. `size` is what the archive says of it.
    pub fn file(
        &mut self,
        path: &str,
        executable: bool,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), ArchiveError> {
        self.place(path)?;
        let mut output = self.create(path, executable)?;
        let mut digest = Context::new(&SHA256);
        let mut bytes = 0;
        loop {
            let length = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::damaged(error)),
            };
            let part = self.buffer.get(..length).unwrap_or_default();
            digest.update(part);
            bytes += length as u64;
            if let Some(file) = &mut output {
                file.write_all(part).map_err(ArchiveError::written)?;
            }
        }
        if bytes != size {
            return Err(ArchiveError::Damaged {
                why: format!("the entry {path:?} has {bytes} bytes of {size}"),
            });
        }
        let mut sum = [0; 32];
        sum.copy_from_slice(digest.finish().as_ref());
        let entry = Entry::File {
            executable,
            digest: sum,
            bytes,
        };
        self.content.insert(path, entry)
    }

    pub fn link(&mut self, path: &str, target: &[u8]) -> Result<(), ArchiveError> {
        self.place(path)?;
        let target = std::str::from_utf8(target)
            .ok()
            .filter(|text| !text.contains('\0'));
        let target = target.ok_or_else(|| refused(path, "is a link whose target is not UTF-8"))?;
        if target.len() > 4095 {
            return Err(refused(path, "is a link to a path of more than 4095 bytes"));
        }
        if target.starts_with('/') {
            return Err(refused(path, "is a link to an absolute path"));
        }
        if let Some(dir) = &self.into {
            dir.symlink(target, path).map_err(ArchiveError::written)?;
        }
        let target = target.to_owned();
        self.content.insert(path, Entry::Link { target })
    }

    /// A further name of a file that came before.
    pub fn hard_link(&mut self, path: &str, target: &[u8]) -> Result<(), ArchiveError> {
        let why = "is a hard link to what is no file before it";
        let earlier = clean(target).map_err(|_| refused(path, "is a hard link that leaves the directory"))?;
        let entry = match self.content.get(&earlier) {
            Some(entry @ Entry::File { bytes, .. }) => {
                // It counts, because a build context has the file twice.
                self.budget.spend(*bytes)?;
                entry.clone()
            }
            _ => return Err(refused(path, why)),
        };
        self.place(path)?;
        if let Some(dir) = &self.into {
            dir.hard_link(&earlier, dir, path)
                .map_err(ArchiveError::written)?;
        }
        self.content.insert(path, entry)
    }

    fn place(&mut self, path: &str) -> Result<(), ArchiveError> {
        self.content.is_free(path)?;
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.directory(parent)
    }

    fn create(&self, path: &str, executable: bool) -> Result<Option<File>, ArchiveError> {
        let Some(dir) = &self.into else { return Ok(None) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        options.mode(if executable { 0o755 } else { 0o644 });
        let file = dir.open_with(path, &options);
        file.map(Some).map_err(ArchiveError::written)
    }
}
