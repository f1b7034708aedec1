//! Files of a directory and their ages.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long ago a file was written.
pub(super) fn age(path: &Path) -> Option<Duration> {
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    Some(SystemTime::now().duration_since(modified).unwrap_or_default())
}

/// The files of a directory whose names end so, with their ages.
pub(super) fn files(dir: &Path, end: &str) -> Vec<(PathBuf, Duration)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let path = entry.path();
        let name = path.file_name()?.to_str()?.to_owned();
        let age = age(&path)?;
        name.ends_with(end).then_some((path, age))
    });
    files.collect()
}

/// A stored archive or an upload, as it was seen.
#[derive(Debug)]
pub struct Stored {
    /// Where it is.
    pub path: PathBuf,
    /// How long ago it was written.
    pub age: Duration,
}
