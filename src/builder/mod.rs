//! How a directory becomes an image: one file per build type, one trait, one list in the order of detection.
//!
//! [`DockerBuilder`] builds with the BuildKit of a Docker Engine. During a build, BuildKit calls back over a session for
//! files, secrets and registry credentials ([`buildkit`]). So no context is packed, and no secret is in a command line,
//! an image or the engine's configuration.

mod buildkit;
mod buildpacks;
mod contract;
mod detect;
mod docker;
mod dockerfile;
pub mod env_file;
mod error;
pub mod fake;
mod from_args;
mod image_ownership;
mod images;
mod instructions;
mod keyed;
mod labels;
mod links;
mod nixpacks;
mod none;
mod paths;
mod planned;
mod planner;
mod railpack;
mod run_flags;
mod secret_steps;
mod static_site;
mod words;

pub use buildkit::{Daemon, PatternMatch, Patterns, Place, TlsFiles};
pub use contract::{
    BuildRequest, BuildType, Builder, BuilderDetails, Buildpacks, BuiltImage, Export, Found, Published,
};
pub use detect::detect;
pub use docker::{BuilderOptions, DockerBuilder};
pub use error::BuildError;
pub use image_ownership::{
    is_of_others, mark as image_mark, names_of as image_names_of, prefix as image_prefix,
};
pub use labels::{APPLICATION, BUILDER, INSTANCE, NAMESPACE};
pub use none::NoBuilder;
pub use planner::Planner;
