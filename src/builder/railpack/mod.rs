//! Builds with railpack: `railpack prepare` examines the source and writes a plan, which becomes a Dockerfile.

mod dockerfile;
mod plan;
mod prepare;
#[cfg(test)]
mod tests;
mod words;

pub use prepare::{is_installed, prepare};

use super::buildkit::SolveRequest;
use super::contract::BuildRequest;
use super::error::BuildError;
use super::paths::Root;
use super::planned::{self, Variables};
use crate::redact::Secret;
use plan::Plan;

/// The field that chooses this build type.
pub const FIELD: &str = "spec.build.railpack";

/// The build of a plan.
///
/// # Errors
/// The plan cannot be converted, or the source has an unreadable `.dockerignore`.
pub fn solve(
    root: &Root,
    plan: &Plan,
    request: &BuildRequest,
    key: &Secret,
) -> Result<SolveRequest, BuildError> {
    let variables = Variables::new(request, key);
    let context = dockerfile::Context {
        cache_key: &variables.cache_key,
        cache_mark: &variables.cache_mark,
        secrets_hash: &variables.hash,
        find: &|pattern| root.find(pattern),
    };
    let text = dockerfile::convert(plan, &context)
        .map_err(|why| BuildError::Failed(format!("railpack's plan cannot be built: {why}")))?;
    planned::solve(root, FIELD, text, request, variables)
}
