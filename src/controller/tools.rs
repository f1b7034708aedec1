//! What jobs and look-ups reach the outside with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::builder::Builder;
use crate::forge::Forges;
use crate::image;
use crate::source::Git;

/// What jobs and look-ups need.
#[derive(Clone)]
pub struct Tools {
    /// The connections of all GitProviders.
    pub forges: Forges,
    /// Fetches commits.
    pub git: Arc<Git>,
    /// Builds images.
    pub builder: Arc<dyn Builder>,
    /// Pulls images; `None` without a Docker Engine.
    pub docker: Option<image::Docker>,
    /// The directory of checkouts.
    pub work_dir: PathBuf,
}
