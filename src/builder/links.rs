//! Symbolic links that lead out of the checkout. A program on Davit's machine that reads the source would follow them to files
//! of the machine, and the log, the plan or the image would show those.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::error::BuildError;

/// Refuses a source in which a program could follow a link out of the checkout at `root`. `path` is the directory of the source
/// beneath it. No link is followed to decide: the handle of the checkout resolves each one, and does not leave the checkout.
///
/// # Errors
/// A link leads out, whether or not its target exists; or the source cannot be read.
pub fn check(root: &Path, path: &str) -> Result<(), BuildError> {
    let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(BuildError::Io)?;
    let start = Path::new(".").join(path.trim_start_matches('/'));
    let start = dir.canonicalize(start).map_err(BuildError::Io)?;
    // Each directory is read once, whatever number of links leads to it.
    let mut seen = HashSet::from([start.clone()]);
    let mut unread = vec![start];
    while let Some(next) = unread.pop() {
        for entry in dir.read_dir(&next).map_err(BuildError::Io)? {
            let entry = entry.map_err(BuildError::Io)?;
            let kind = entry.file_type().map_err(BuildError::Io)?;
            let path = if next.as_os_str() == "." {
                PathBuf::from(entry.file_name())
            } else {
                next.join(entry.file_name())
            };
            let directory = if kind.is_dir() {
                Some(path)
            } else if kind.is_symlink() {
                directory_of(&dir, &path)?
            } else {
                None
            };
            unread.extend(directory.filter(|directory| seen.insert(directory.clone())));
        }
    }
    Ok(())
}

/// Whether a path that a variable of the build names, relative to the source at `path`, leads out of the checkout at `root`.
///
/// # Errors
/// The checkout cannot be read.
pub fn leads_out(root: &Path, path: &str, named: &Path) -> Result<bool, BuildError> {
    let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(BuildError::Io)?;
    let source = Path::new(".").join(path.trim_start_matches('/'));
    let found = dir.metadata(source.join(named));
    Ok(found.is_err_and(|error| is_escape(&error)))
}

/// cap-std's own error has no number; the kernel's EACCES has one.
fn is_escape(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// The directory that a link leads to, if it leads to one: it may lie outside of the source's own directory.
fn directory_of(dir: &Dir, link: &Path) -> Result<Option<PathBuf>, BuildError> {
    match dir.metadata(link) {
        Ok(target) if target.is_dir() => dir.canonicalize(link).map(Some).map_err(BuildError::Io),
        Ok(_) => Ok(None),
        Err(error) if is_escape(&error) => Err(BuildError::LinkEscapes(link.to_string_lossy().into_owned())),
        // It leads nowhere, and no program can read it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
            ) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(BuildError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What is found if the source `apps/web` has this link at `apps/web/link`.
    fn found(target: &str, path: &str) -> Result<(), String> {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("checkout");
        std::fs::create_dir_all(root.join("apps/web/src")).unwrap();
        std::fs::create_dir_all(root.join("shared")).unwrap();
        std::fs::create_dir_all(root.join("bad")).unwrap();
        std::fs::write(root.join("README"), "x").unwrap();
        symlink("../README", root.join("shared/readme")).unwrap();
        symlink(outside.path(), root.join("bad/out")).unwrap();
        symlink("bad", root.join("chain")).unwrap();
        symlink(
            target.replace("OUTSIDE", &outside.path().to_string_lossy()),
            root.join("apps/web/src/link"),
        )
        .unwrap();
        check(&root, path).map_err(|error| match error {
            BuildError::LinkEscapes(link) => link,
            other => format!("not a link: {other}"),
        })
    }

    #[test]
    fn path_of_a_variable_stays_in_the_checkout() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("checkout");
        std::fs::create_dir_all(root.join("apps/web")).unwrap();
        std::fs::write(root.join("railpack.json"), "{}").unwrap();
        std::fs::write(top.path().join("secret"), "x").unwrap();
        symlink("../../../secret", root.join("apps/web/link")).unwrap();
        for (named, expected) in [
            ("railpack.json", false),
            ("../../railpack.json", false),
            ("nothing/x", false),
            ("../../../secret", true),
            ("../../../nothing", true),
            ("link", true),
            ("/etc/hostname", true),
        ] {
            let found = leads_out(&root, "/apps/web", Path::new(named)).unwrap();
            assert_eq!(found, expected, "{named}");
        }
    }

    #[test]
    fn link_that_leads_out_of_the_checkout_is_refused() {
        let own = Err("apps/web/src/link".to_owned());
        for (target, expected) in [
            ("../../../README", Ok(())),
            ("..", Ok(())),
            ("../../../shared", Ok(())),
            ("nothing", Ok(())),
            ("link", Ok(())),
            ("../../../README/x", Ok(())),
            ("/etc/hostname", own.clone()),
            ("/etc", own.clone()),
            ("/no/such/file", own.clone()),
            ("OUTSIDE/secret", own.clone()),
            ("../../../../checkout/README", own.clone()),
            ("../../../../../nothing", own.clone()),
            ("../../../chain/out/secret", own),
            // A directory outside of the source's own, with a link that leads out.
            ("../../../bad", Err("bad/out".to_owned())),
            ("../../../chain", Err("bad/out".to_owned())),
        ] {
            assert_eq!(found(target, "/apps/web"), expected, "{target}");
        }
        assert_eq!(found("nothing", "/"), Err("bad/out".to_owned()));
        assert_eq!(found("nothing", "shared"), Ok(()));
    }
}
