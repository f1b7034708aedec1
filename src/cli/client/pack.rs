//! Packs a directory as a tar whose bytes depend only on its content.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use ignore::WalkBuilder;
use ring::digest::{Context, SHA256};
use tar::{Builder, EntryType, Header};

use crate::builder::Patterns;
use crate::cli::failure::Failure;
use crate::model::hex;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// An archive that is ready to be sent.
#[derive(Debug)]
pub struct Archive {
    /// The file, deleted when it is dropped if it is a temporary one.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: String,
    /// What was packed, for the user.
    pub summary: String,
    /// Whether the user gave an archive, whose only directory is the source.
    pub is_given: bool,
}

/// What is packed.
#[derive(Clone, Debug)]
pub struct Packing<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// Whether files that `.gitignore` names are left out.
    pub honours_gitignore: bool,
    /// The Dockerfile of the Application, which is never left out.
    pub dockerfile: &'a str,
    /// Whether the network is worth the time to compress.
    pub compress: bool,
}

/// Packs a directory.
///
/// # Errors
/// A file cannot be read, `.dockerignore` has an invalid pattern, or the disk is full.
pub fn pack(packing: &Packing<'_>) -> Result<Archive, Failure> {
    let files = files(packing)?;
    if files.is_empty() {
        return Err(Failure::new(format!(
            "{} has no files to upload: .dockerignore and .gitignore leave out all of them, or it is empty",
            packing.directory.display()
        )));
    }
    let spool = Summed::new(spool()?);
    let (spool, bytes) = if packing.compress {
        let (encoder, bytes) = write(packing, &files, GzEncoder::new(spool, Compression::fast()))?;
        (encoder.finish().map_err(|error| unwritten(&error))?, bytes)
    } else {
        write(packing, &files, spool)?
    };
    let count = files.iter().filter(|file| !file.is_directory).count();
    let word = if count == 1 { "file" } else { "files" };
    spool.end(format!("{count} {word}, {}", amount(bytes)), false)
}

/// Takes an archive as it is.
///
/// # Errors
/// It cannot be read, or is empty.
pub fn given(path: &Path) -> Result<Archive, Failure> {
    let unread = |error: &io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(|error| unread(&error))?;
    let size = file.metadata().map_err(|error| unread(&error))?.len();
    not_empty(size, &path.display().to_string())?;
    let mut digest = Context::new(&SHA256);
    copy(&mut file, &mut |part| {
        digest.update(part);
        Ok(())
    })
    .map_err(|error| unread(&error))?;
    Ok(Archive {
        digest: format!("sha256:{}", hex(digest.finish().as_ref())),
        summary: amount(size),
        is_given: true,
        file,
        size,
    })
}

/// Takes an archive from standard input.
///
/// # Errors
/// It cannot be read, or the disk is full.
pub fn from_input() -> Result<Archive, Failure> {
    let mut spool = Summed::new(spool()?);
    copy(&mut io::stdin().lock(), &mut |part| spool.write_all(part))
        .map_err(|error| Failure::new(format!("cannot read the archive from standard input: {error}")))?;
    let summary = amount(spool.size);
    let size = spool.size;
    not_empty(size, "standard input")?;
    spool.end(summary, true)
}

/// Refuses an archive without a byte: the command that should have written it has failed.
fn not_empty(size: u64, name: &str) -> Result<(), Failure> {
    if size > 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{name} is empty: an archive is needed, such as that of git archive HEAD"
    )))
}

fn copy(from: &mut impl Read, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file or directory that is packed.
#[derive(Debug)]
struct Found {
    /// Its path below the directory, with slashes.
    path: String,
    from: PathBuf,
    is_directory: bool,
}

/// Lists what is packed, in the order of the names.
fn files(packing: &Packing<'_>) -> Result<Vec<Found>, Failure> {
    let root = packing.directory;
    let excluded = dockerignore(root)?;
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false)
        .ignore(false)
        .git_ignore(packing.honours_gitignore)
        .git_exclude(packing.honours_gitignore)
        .git_global(packing.honours_gitignore)
        .parents(packing.honours_gitignore)
        .require_git(false)
        .follow_links(false)
        .sort_by_file_path(Path::cmp)
        .filter_entry(|entry| entry.file_name() != ".git");
    let mut found: Vec<Found> = Vec::new();
    let mut above: Vec<(String, crate::builder::PatternMatch)> = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| Failure::new(format!("cannot read the directory: {error}")))?;
        let Ok(below) = entry.path().strip_prefix(root) else {
            continue;
        };
        let Some(path) = below.to_str() else {
            return Err(Failure::new(format!(
                "the name of {} is not UTF-8: rename it, or list it in .dockerignore",
                entry.path().display()
            )));
        };
        if path.is_empty() {
            continue;
        }
        while above
            .last()
            .is_some_and(|(directory, _)| !path.starts_with(&format!("{directory}/")))
        {
            above.pop();
        }
        let matched = excluded.matches(path, above.last().map(|(_, matched)| matched));
        let kind = entry.file_type();
        let is_directory = kind.is_some_and(|kind| kind.is_dir());
        let is_needed = path == ".dockerignore" || path == packing.dockerfile;
        let is_excluded = matched.meant && !is_needed;
        if is_directory {
            above.push((path.to_owned(), matched));
        }
        if is_excluded {
            continue;
        }
        let is_packed = kind.is_some_and(|kind| kind.is_file() || kind.is_dir() || kind.is_symlink());
        if !is_packed {
            return Err(Failure::new(format!(
                "{path} is neither a file, a directory nor a link: remove it, or list it in .dockerignore"
            )));
        }
        found.push(Found {
            path: path.to_owned(),
            from: entry.path().to_owned(),
            is_directory,
        });
    }
    let found_files = found.iter().any(|file| !file.is_directory);
    Ok(if found_files { found } else { Vec::new() })
}

fn dockerignore(root: &Path) -> Result<Patterns, Failure> {
    match fs::read(root.join(".dockerignore")) {
        Ok(text) => Patterns::parse(&text).map_err(|error| {
            Failure::new(format!(
                ".dockerignore has an invalid pattern: {error}: correct the line, or remove it"
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Patterns::default()),
        Err(error) => Err(Failure::new(format!("cannot read .dockerignore: {error}"))),
    }
}

/// Writes a tar. Returns its output and the number of bytes in files.
fn write<W: Write>(packing: &Packing<'_>, files: &[Found], output: W) -> Result<(W, u64), Failure> {
    let mut builder = Builder::new(BufWriter::with_capacity(CHUNK, output));
    let mut bytes = 0;
    for found in files {
        let unread = |error: io::Error| Failure::new(format!("cannot read {}: {error}", found.path));
        let metadata = fs::symlink_metadata(&found.from).map_err(unread)?;
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let appended = if found.is_directory {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            builder.append_data(&mut header, &found.path, io::empty())
        } else if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            let target = fs::read_link(&found.from).map_err(unread)?;
            builder.append_link(&mut header, &found.path, target)
        } else {
            let file = File::open(&found.from).map_err(unread)?;
            let size = file.metadata().map_err(unread)?.len();
            let executable = metadata.permissions().mode() & 0o100 != 0;
            header.set_mode(if executable { 0o755 } else { 0o644 });
            header.set_size(size);
            bytes += size;
            let mut content = Exact {
                rest: size,
                file: file.take(size),
            };
            let appended = builder.append_data(&mut header, &found.path, &mut content);
            if content.rest > 0 && appended.is_ok() {
                return Err(Failure::new(format!(
                    "{} of {} became shorter while it was packed: run the command again",
                    found.path,
                    packing.directory.display()
                )));
            }
            appended
        };
        appended.map_err(|error| Failure::new(format!("cannot pack {}: {error}", found.path)))?;
    }
    let buffered = builder.into_inner().map_err(|error| unwritten(&error))?;
    let output = buffered.into_inner().map_err(|error| unwritten(error.error()))?;
    Ok((output, bytes))
}

/// A file as long as it was when its header was written.
struct Exact<R> {
    file: R,
    rest: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.rest = self.rest.saturating_sub(length as u64);
        Ok(length)
    }
}

/// A file with the digest of what is written to it.
struct Summed {
    file: File,
    digest: Context,
    size: u64,
}

impl Summed {
    fn new(file: File) -> Self {
        Self {
            file,
            digest: Context::new(&SHA256),
            size: 0,
        }
    }

    fn end(mut self, summary: String, is_given: bool) -> Result<Archive, Failure> {
        self.file
            .flush()
            .and_then(|()| self.file.rewind())
            .map_err(|error| unwritten(&error))?;
        Ok(Archive {
            digest: format!("sha256:{}", hex(self.digest.finish().as_ref())),
            size: self.size,
            file: self.file,
            summary,
            is_given,
        })
    }
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.digest.update(bytes.get(..length).unwrap_or_default());
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A temporary file without a name.
fn spool() -> Result<File, Failure> {
    tempfile::tempfile().map_err(|error| unwritten(&error))
}

fn unwritten(error: &io::Error) -> Failure {
    let place = tempfile::env::temp_dir();
    Failure::new(format!(
        "cannot write the archive to {}: {error}: free space there, or set TMPDIR to another directory",
        place.display()
    ))
}

/// A number of bytes for a person.
pub fn amount(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => {
            let tenths = (bytes >> (shift - 10)) * 10 / 1024;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn packing(dir: &Path) -> Packing<'_> {
        Packing {
            directory: dir,
            honours_gitignore: true,
            dockerfile: "Dockerfile",
            compress: false,
        }
    }

    fn names(packing: &Packing<'_>) -> Vec<String> {
        let found = files(packing)
            .unwrap()
            .into_iter()
            .filter(|file| !file.is_directory);
        found.map(|file| file.path).collect()
    }

    #[test]
    fn ignored_files_stay_behind() {
        let dir = tree(&[
            (".git/config", ""),
            (".gitignore", "*.log\nnode_modules/\n"),
            (".dockerignore", "docs\n!docs/api.md\nDockerfile\n"),
            ("Dockerfile", ""),
            ("app/(group)/page.tsx", ""),
            ("@types/x.d.ts", ""),
            ("debug.log", ""),
            ("node_modules/a/index.js", ""),
            ("docs/guide.md", ""),
            ("docs/api.md", ""),
            (".env", ""),
        ]);
        let mut packing = packing(dir.path());
        let common = [
            ".dockerignore",
            ".env",
            ".gitignore",
            "@types/x.d.ts",
            "Dockerfile",
            "app/(group)/page.tsx",
            "docs/api.md",
        ];
        let mut sorted = names(&packing);
        sorted.sort();
        assert_eq!(sorted, common);
        packing.honours_gitignore = false;
        let all = names(&packing);
        assert!(all.contains(&"debug.log".to_owned()) && all.contains(&"node_modules/a/index.js".to_owned()));
        assert!(
            !all.iter()
                .any(|path| path.starts_with(".git/") || path == "docs/guide.md")
        );
    }

    #[test]
    fn archive_depends_on_the_content_only() {
        let files = [("a", "1"), ("b/c", "2"), ("b/d", "3")];
        let (one, mut other) = (tree(&files), files);
        other.reverse();
        let other = tree(&other);
        let digest = |dir: &Path| pack(&packing(dir)).unwrap().digest;
        assert_eq!(digest(one.path()), digest(other.path()));
        fs::write(other.path().join("a"), "2").unwrap();
        assert_ne!(digest(one.path()), digest(other.path()));
    }

    #[test]
    fn directory_without_files_is_refused() {
        let dir = tree(&[(".gitignore", "*\n"), ("a", "")]);
        let failure = pack(&packing(dir.path())).unwrap_err();
        assert!(
            failure.message().contains("no files to upload"),
            "{}",
            failure.message()
        );
    }

    #[test]
    fn empty_archive_is_refused_before_the_upload() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = given(file.path()).unwrap_err();
        assert!(refused.message().contains("is empty"), "{}", refused.message());
    }

    #[test]
    fn amounts_are_short() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
