//! What jobs and look-ups reach the outside with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::builder::Builder;
use crate::forge::Forges;
use crate::image;
use crate::source::Git;
use crate::source::uploads::Uploads;

use super::build_cache::BuildCache;

/// What jobs and look-ups need.
#[derive(Clone)]
pub struct Tools {
    /// The connections of all GitProviders.
    pub forges: Forges,
    /// Fetches commits.
    pub git: Arc<Git>,
    /// Builds images.
    pub builder: Arc<dyn Builder>,
    /// Keeps the cache of builds within its bound.
    pub cache: BuildCache,
    /// Pulls images; `None` without a Docker Engine.
    pub docker: Option<image::Docker>,
    /// How registries are asked where nodes pull the images; `None` if the engine looks images up and pulls them.
    pub registries: Option<image::RegistryOptions>,
    /// Stores what is uploaded.
    pub uploads: Uploads,
    /// The directory of checkouts.
    pub work_dir: PathBuf,
}
