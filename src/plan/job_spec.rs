//! What the job of a Release does, decided before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::ReleaseType;
use crate::builder::{BuildType, Export, env_file};
use crate::error::{Class, Problem};
use crate::image::RegistryLogins;
use crate::model::Revision;
use crate::redact::Secret;

use super::desired::Desired;
use super::state::{JobOwner, ReleaseView};
use super::values::Values;

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// The Release that the job works for.
    pub owner: JobOwner,
    /// The work.
    pub work: JobWork,
    /// Values that the log must not show, besides the credentials of the source.
    pub confidential: Vec<Secret>,
}

/// The work of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobWork {
    /// Fetch a commit, or unpack an upload, and build it. Boxed because it is large.
    Build(Box<BuildSpec>),
    /// Pull an image.
    Pull {
        /// The image by its digest, or the ID of a local image.
        image: String,
        /// The tag that the image gets if Davit pulls it.
        tag: Option<String>,
    },
}

/// How a commit or an upload becomes an image.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildSpec {
    /// The commit or the upload.
    pub revision: Revision,
    /// Whether to fetch submodules.
    pub submodules: bool,
    /// The directory that is built.
    pub path: String,
    /// The build type; detected if `None`.
    pub build_type: Option<BuildType>,
    /// The tag of the image.
    pub tag: String,
    /// Where the image is wanted.
    pub export: Export,
    /// Whether to build although the image exists.
    pub again: bool,
    /// Build arguments.
    pub args: BTreeMap<String, Secret>,
    /// Build secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// The text of `.env` in the build context, if it is wanted.
    pub env_file: Option<Secret>,
    /// Credentials for base images.
    pub registries: RegistryLogins,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Whether to ignore the build cache.
    pub no_cache: bool,
    /// CPU limit in nano-cores.
    pub cpu: Option<u64>,
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// The longest duration of the job.
    pub timeout: Duration,
}

/// Whether a Release builds although its image exists.
fn builds_again(release: &ReleaseView) -> bool {
    release.spec.kind == ReleaseType::Redeploy || release.spec.clean_cache
}

impl JobSpec {
    /// Returns the job that makes the image of `release`.
    ///
    /// # Errors
    /// The revision does not fit the build, or its source kind has no job yet.
    pub fn new(
        application_uid: &str,
        release: &ReleaseView,
        desired: &Desired,
        values: &Values,
    ) -> Result<Self, Problem> {
        let source = &desired.source;
        let work = match (&source.revision, &desired.build, &desired.tag) {
            (Revision::Image(image), _, tag) => JobWork::Pull {
                image: image.to_string(),
                tag: tag.clone(),
            },
            (revision @ (Revision::Commit(_) | Revision::Archive(_)), Some(build), Some(tag)) => {
                JobWork::Build(Box::new(BuildSpec {
                    export: desired.export,
                    again: builds_again(release),
                    revision: revision.clone(),
                    submodules: source.submodules,
                    path: source.path.clone(),
                    build_type: build.build_type.clone(),
                    tag: match desired.export {
                        // A tag of a registry never changes its meaning.
                        Export::Registry | Export::EngineAndRegistry if builds_again(release) => {
                            format!("{tag}-{}", release.uid.split('-').next().unwrap_or_default())
                        }
                        _ => tag.clone(),
                    },
                    args: values.args.clone(),
                    secrets: values.secrets.clone(),
                    env_file: build.env_file.then(|| {
                        env_file::text(values.env.iter().map(|(name, value)| (name.as_str(), value)))
                    }),
                    registries: values.registries.clone(),
                    labels: BTreeMap::from([
                        (
                            "org.opencontainers.image.revision".to_owned(),
                            revision.to_string(),
                        ),
                        (
                            "org.opencontainers.image.source".to_owned(),
                            source.locator.clone(),
                        ),
                    ]),
                    no_cache: release.spec.clean_cache || !build.cache,
                    cpu: build.cpu,
                    memory: build.memory,
                    timeout: build.timeout,
                }))
            }
            (Revision::Commit(_) | Revision::Archive(_), ..) => {
                let message = format!(
                    "revision {} cannot be built: create another Release",
                    source.revision
                );
                return Err(Problem::new(
                    Class::Terminal,
                    crate::api::Reason::NotSupported,
                    message,
                ));
            }
        };
        Ok(Self {
            owner: JobOwner {
                application: application_uid.to_owned(),
                release: release.uid.clone(),
                job_key: desired.job_key(),
            },
            work,
            confidential: values.confidential.clone(),
        })
    }
}
