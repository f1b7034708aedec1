//! The output of containers that are removed although a user may still want to read it: those of a Release that failed, and all of an
//! Application that is stopped. Masked, bounded, and kept as long as the Release.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::model::AppId;
use crate::runtime::{LogLine, LogOptions, RedactionPolicy, Replica, Runtime, label};

/// The most that is kept of one container: lines, and bytes.
const LINES: u64 = 2000;
const LARGEST: usize = 256 * 1024;
/// The most containers of an Application that are read at the same time.
const MOST: usize = 8;
/// The longest that a container is followed to its end.
const PATIENCE: Duration = Duration::from_mins(2);
/// What the names of the files end in, and what is between Release and replica in them.
const END: &str = ".output";
const BETWEEN: char = '~';

/// The containers that are being followed, by their IDs.
static FOLLOWED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Output that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The replica as users name it.
    pub label: String,
    path: PathBuf,
}

/// Follows containers to their end, in the background, and keeps the last lines of each in `dir`. A container that is followed
/// already is left out.
pub fn keep<'r>(
    runtime: &Arc<dyn Runtime>,
    app: &AppId,
    dir: &Path,
    replicas: impl Iterator<Item = &'r Replica>,
    redaction: &RedactionPolicy,
) {
    for replica in replicas.take(MOST) {
        if let Err(error) = std::fs::create_dir_all(dir) {
            tracing::warn!(app = %app, %error, dir = %dir.display(), "the output of containers cannot be kept");
            return;
        }
        let id = replica.id.clone();
        if !FOLLOWED.lock().insert(id.clone()) {
            continue;
        }
        let name = format!(
            "{}{BETWEEN}{}{END}",
            replica.release,
            label(&replica.id, &replica.name, &replica.release)
        );
        let (path, runtime, app, redaction) = (
            dir.join(name),
            Arc::clone(runtime),
            app.clone(),
            redaction.clone(),
        );
        tokio::spawn(async move {
            let text = read(runtime.as_ref(), &app, &id, &redaction).await;
            if !text.is_empty()
                && let Err(error) = write(&path, &text).await
                // The directory goes with the Application.
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(app = %app, %error, path = %path.display(), "the output of a container could not be kept");
            }
            FOLLOWED.lock().remove(&id);
        });
    }
}

/// The last lines of a container, each after its time.
async fn read(runtime: &dyn Runtime, app: &AppId, id: &str, redaction: &RedactionPolicy) -> String {
    let options = LogOptions {
        follow: true,
        tail: Some(LINES),
        ..LogOptions::default()
    };
    let end = Instant::now() + PATIENCE;
    let Ok(mut lines) = runtime.log(app, id, &options, redaction).await else {
        return String::new();
    };
    let (mut last, mut size) = (VecDeque::new(), 0);
    while let Ok(Some(Ok(line))) = timeout_at(end, lines.next()).await {
        let line = format!("{} {}\n", line.at, line.text);
        size += line.len();
        last.push_back(line);
        while size > LARGEST {
            size -= last.pop_front().map_or(size, |line: String| line.len());
        }
    }
    last.into_iter().collect()
}

async fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).await?;
    tokio::io::AsyncWriteExt::write_all(&mut file, text.as_bytes()).await?;
    tokio::io::AsyncWriteExt::flush(&mut file).await?;
    tokio::fs::rename(&new, path).await
}

/// The output that was kept in a directory, in the order of its labels.
pub fn list(dir: &Path) -> Vec<Kept> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<Kept> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (_, label) = name.strip_suffix(END)?.split_once(BETWEEN)?;
            Some(Kept {
                label: label.to_owned(),
                path: entry.path(),
            })
        })
        .collect();
    all.sort_by(|one, two| one.label.cmp(&two.label));
    all
}

/// Removes what was kept of a Release.
pub async fn remove(dir: &Path, release: &str) {
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        let is_own = name.to_str().is_some_and(|name| {
            let of = name.strip_suffix(END).and_then(|name| name.split_once(BETWEEN));
            of.is_some_and(|(of, _)| of == release)
        });
        if is_own {
            let _ = tokio::fs::remove_file(entry.path()).await;
        }
    }
}

impl Kept {
    /// The lines of this part of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn lines(&self, options: &LogOptions) -> std::io::Result<Vec<LogLine>> {
        let text = tokio::fs::read_to_string(&self.path).await?;
        let lines = text.lines().filter_map(|line| {
            let (at, text) = line.split_once(' ')?;
            Some(LogLine {
                at: at.parse().ok()?,
                text: text.to_owned(),
            })
        });
        let mut lines: Vec<LogLine> = lines
            .filter(|line| options.since.is_none_or(|since| line.at > since))
            .collect();
        if let Some(tail) = options.tail.and_then(|tail| usize::try_from(tail).ok()) {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_of_a_release_is_listed_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let text = "2026-11-29T15:00:01.5Z one\n2026-11-29T15:00:02Z two words\n";
        for name in ["shop-1~shop-1.0.output", "shop-12~shop-12-x2k9z.output"] {
            write(&dir.path().join(name), text).await.unwrap();
        }
        std::fs::write(dir.path().join("shop-1.log"), "a build").unwrap();
        let labels = |dir: &Path| list(dir).into_iter().map(|kept| kept.label).collect::<Vec<_>>();
        assert_eq!(labels(dir.path()), ["shop-1.0", "shop-12-x2k9z"]);
        let kept = list(dir.path()).remove(0);
        let options = LogOptions::default();
        let texts = |lines: Vec<LogLine>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(kept.lines(&options).await.unwrap()), ["one", "two words"]);
        let since = LogOptions {
            since: "2026-11-29T15:00:01.5Z".parse().ok(),
            ..LogOptions::default()
        };
        assert_eq!(texts(kept.lines(&since).await.unwrap()), ["two words"]);
        let tail = LogOptions {
            tail: Some(1),
            ..LogOptions::default()
        };
        assert_eq!(texts(kept.lines(&tail).await.unwrap()), ["two words"]);
        remove(dir.path(), "shop-1").await;
        assert_eq!(labels(dir.path()), ["shop-12-x2k9z"]);
        assert!(dir.path().join("shop-1.log").exists());
    }
}
