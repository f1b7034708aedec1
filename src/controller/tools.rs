//! What jobs need.

use std::path::PathBuf;
use std::sync::Arc;

use crate::builder::Builder;
use crate::image;
use crate::source::Git;
use crate::source::uploads::Uploads;

/// What jobs need.
#[derive(Clone)]
pub struct Tools {
    /// Fetches commits.
    pub git: Arc<Git>,
    /// Builds images.
    pub builder: Arc<dyn Builder>,
    /// Pulls images; `None` without a Docker Engine.
    pub docker: Option<image::Docker>,
    /// Stores what is uploaded.
    pub uploads: Uploads,
    /// The directory of checkouts.
    pub work_dir: PathBuf,
}
