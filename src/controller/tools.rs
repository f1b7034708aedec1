//! What jobs need.

use std::path::PathBuf;
use std::sync::Arc;

use crate::builder::Builder;
use crate::image;
use crate::source::Git;

use super::build_cache::BuildCache;

/// What jobs need.
#[derive(Clone)]
pub struct Tools {
    /// Fetches commits.
    pub git: Arc<Git>,
    /// Builds images.
    pub builder: Arc<dyn Builder>,
    /// Keeps the cache of builds within its bound.
    pub cache: BuildCache,
    /// Pulls images; `None` without a Docker Engine.
    pub docker: Option<image::Docker>,
    /// The directory of checkouts.
    pub work_dir: PathBuf,
}
