//! Paths of the specification, opened beneath one handle of the checkout: neither `..` nor a symbolic link leads out.

use std::io::{self, Read as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::buildkit::Patterns;
use super::error::{BuildError, SOURCE_PATH};
use crate::api::Reason;

/// The most that a Dockerfile may hold, in bytes.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// The checkout.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: String,
}

impl Root {
    /// Opens the checkout at `root`; other paths are relative to `path` beneath it.
    ///
    /// # Errors
    /// The path is not a directory of the checkout.
    pub fn open(root: &Path, path: &str) -> Result<Self, BuildError> {
        let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(BuildError::Io)?;
        let root = Self {
            dir,
            path: path.to_owned(),
        };
        root.directory(SOURCE_PATH, ".", Reason::PathNotFound)?;
        Ok(root)
    }

    /// A directory, relative to the source's path.
    ///
    /// # Errors
    /// It is not there, is no directory or lies outside of the checkout.
    pub fn directory(&self, field: &'static str, path: &str, reason: Reason) -> Result<Dir, BuildError> {
        self.dir
            .open_dir(self.join(path))
            .map_err(|error| refused(error, field, self.shown(field, path), reason))
    }

    /// The text of a file, relative to the source's path.
    ///
    /// # Errors
    /// It is not there, is no file, is larger than a Dockerfile can sensibly be, or lies outside of the checkout.
    pub fn read(&self, field: &'static str, path: &str, reason: Reason) -> Result<Vec<u8>, BuildError> {
        let refused = |error| refused(error, field, self.shown(field, path), reason);
        let file = self.dir.open(self.join(path)).map_err(refused)?;
        let metadata = file.metadata().map_err(BuildError::Io)?;
        if !metadata.is_file() {
            return Err(refused(io::ErrorKind::NotFound.into()));
        }
        if metadata.len() > LARGEST_FILE {
            return Err(BuildError::Failed(format!(
                "{field}: {path} is larger than {LARGEST_FILE} bytes"
            )));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE)
            .read_to_end(&mut bytes)
            .map_err(BuildError::Io)?;
        Ok(bytes)
    }

    /// The content of a file that controls the build, or `None` if it does not exist.
    ///
    /// # Errors
    /// The entry is no file, or a symbolic link that leads nowhere or out of the checkout. Ignoring it would build
    /// something else than the repository describes.
    pub fn control_file(&self, path: &str) -> Result<Option<Vec<u8>>, BuildError> {
        let unusable = |why: &str| BuildError::ControlFile {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        match self.dir.symlink_metadata(self.join(path)) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(_) | Ok(_) => {}
        }
        match self.read("", path, Reason::PathNotFound) {
            Ok(file) => Ok(Some(file)),
            Err(BuildError::PathEscapes { .. }) => {
                Err(unusable("it is a symbolic link that leads out of the repository"))
            }
            Err(BuildError::PathNotFound { .. }) => {
                Err(unusable("it is neither a file nor a symbolic link to one"))
            }
            Err(other) => Err(other),
        }
    }

    /// Whether a file is there that may be read.
    pub fn has_file(&self, path: &str) -> bool {
        self.dir
            .metadata(self.join(path))
            .is_ok_and(|metadata| metadata.is_file())
    }

    /// The files and directories that a path, or a glob in its last part, means.
    pub fn find(&self, pattern: &str) -> Vec<String> {
        let trimmed = pattern.trim_end_matches('/');
        let (parent, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        if !last.contains(['*', '?', '[']) {
            let exists = self.dir.metadata(self.join(pattern)).is_ok();
            return exists.then(|| pattern.to_owned()).into_iter().collect();
        }
        let (Ok(glob), Ok(entries)) = (Patterns::new([last]), self.dir.read_dir(self.join(parent))) else {
            return Vec::new();
        };
        let prefix = if parent.is_empty() {
            String::new()
        } else {
            format!("{parent}/")
        };
        let mut found: Vec<_> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| glob.matches(name, None).meant)
            .map(|name| format!("{prefix}{name}"))
            .collect();
        found.sort_unstable();
        found
    }

    /// Relative to the checkout; what begins with `/` begins at the source's path, as in a URL.
    fn join(&self, path: &str) -> String {
        format!(
            "./{}/{}",
            self.path.trim_start_matches('/'),
            path.trim_start_matches('/')
        )
    }

    fn shown(&self, field: &str, path: &str) -> String {
        if field == SOURCE_PATH {
            self.path.clone()
        } else {
            path.to_owned()
        }
    }
}

fn refused(error: io::Error, field: &'static str, path: String, reason: Reason) -> BuildError {
    match error.kind() {
        // cap-std's own error has no number; the kernel's EACCES has one.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            BuildError::PathEscapes { field, path }
        }
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename => BuildError::PathNotFound { field, path, reason },
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            BuildError::PathNotFound { field, path, reason }
        }
        _ => BuildError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out_of_the_checkout() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("apps/web/conf")).unwrap();
        std::fs::write(root.path().join("Dockerfile"), "FROM scratch").unwrap();
        symlink(outside.path(), root.path().join("apps/web/out")).unwrap();
        symlink("/etc", root.path().join("apps/web/etc")).unwrap();
        symlink("../../Dockerfile", root.path().join("apps/web/in")).unwrap();
        symlink("loop", root.path().join("apps/web/loop")).unwrap();
        let web = Root::open(root.path(), "/apps/web").unwrap();
        let read = |path: &str| web.read("f", path, Reason::DockerfileNotFound);
        assert_eq!(read("in").unwrap(), b"FROM scratch");
        assert_eq!(read("../../Dockerfile").unwrap(), b"FROM scratch");
        for path in ["../../../x", "out/secret", "etc/passwd", "conf/../../../../x"] {
            assert!(
                matches!(read(path), Err(BuildError::PathEscapes { field: "f", .. })),
                "{path}"
            );
        }
        for path in ["nothing", "conf", "loop", "in/x"] {
            let error = read(path).unwrap_err();
            assert!(
                matches!(
                    error,
                    BuildError::PathNotFound {
                        reason: Reason::DockerfileNotFound,
                        ..
                    }
                ),
                "{path}: {error}"
            );
        }
        assert!(web.directory("f", "../..", Reason::PathNotFound).is_ok());
        assert!(web.directory("f", "out", Reason::PathNotFound).is_err());
        for (path, escapes) in [("../x", true), ("apps/web/etc", true), ("apps/nothing", false)] {
            let error = Root::open(root.path(), path).unwrap_err();
            assert_eq!(
                matches!(error, BuildError::PathEscapes { .. }),
                escapes,
                "{error}"
            );
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn the_field_of_the_path_is_that_of_the_kind_of_source() {
        let root = tempfile::tempdir().unwrap();
        for path in ["nothing", "../x"] {
            let error = Root::open(root.path(), path).unwrap_err();
            let told = Problem::of(&error.with_source_path("spec.source.gitea.path")).message;
            assert!(told.contains("set spec.source.gitea.path to"), "{told}");
        }
        let root = Root::open(root.path(), "/").unwrap();
        let error = root.directory("f", "nothing", Reason::PathNotFound).unwrap_err();
        let told = Problem::of(&error.with_source_path("spec.source.gitea.path")).message;
        assert!(told.contains("set f to"), "{told}");
    }
}
