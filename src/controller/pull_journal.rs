//! Write-ahead record of image pulls. After a crash it distinguishes images pulled by Davit from images that were already on
//! the engine.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::builder::Builder;
use crate::error::chain;

/// The pulls under way: a file each, with the image and the tag that it is to have.
#[derive(Clone, Debug)]
pub struct Pulls {
    dir: PathBuf,
}

impl Pulls {
    /// Kept in `dir`, which is made when it is first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Remembers one, that is not in the engine yet, until the file is dropped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&self, image: &str, tag: &str) -> io::Result<NamedTempFile> {
        std::fs::create_dir_all(&self.dir)?;
        let mut file = NamedTempFile::new_in(&self.dir)?;
        write!(file, "{image}\n{tag}\n")?;
        file.as_file().sync_all()?;
        std::fs::File::open(&self.dir)?.sync_all()?;
        Ok(file)
    }

    /// Tags the images whose pull was interrupted by the last end of Davit.
    pub async fn recover(&self, builder: &dyn Builder) {
        // Where nothing was ever pulled there is nothing.
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Some((image, tag)) = read(&path)
                && let Err(error) = builder.adopt(&image, &tag, true).await
            {
                tracing::warn!(image, error = %chain(&error), "what was pulled has no tag of ours yet");
                continue;
            }
            // One that is not there was not pulled to its end.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn read(path: &Path) -> Option<(String, String)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (image, tag) = text.strip_suffix('\n')?.split_once('\n')?;
    Some((image.to_owned(), tag.to_owned()))
}
