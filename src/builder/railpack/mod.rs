//! Builds with railpack: `railpack prepare` examines the source and writes a plan, which becomes a Dockerfile.

mod dockerfile;
mod plan;
mod prepare;
#[cfg(test)]
mod tests;
mod words;

pub use prepare::{Railpack, is_installed};

use std::collections::BTreeMap;

use super::buildkit::{Generated, Output, Patterns, SolveRequest, Tree, Trees};
use super::contract::BuildRequest;
use super::dockerfile::{base_images, with_env_file};
use super::error::BuildError;
use super::keyed::keyed;
use super::paths::Root;
use crate::api::Reason;
use crate::redact::Secret;
use plan::Plan;

/// The field that chooses this build type.
const FIELD: &str = "spec.build.railpack";

/// The build of a plan. Every command gets the arguments and secrets of the build as secret mounts: a plan names
/// variables and does not say which of them are secret.
///
/// # Errors
/// The plan cannot be converted, or the source has an unreadable `.dockerignore`.
pub fn solve(
    root: &Root,
    plan: &Plan,
    request: &BuildRequest,
    key: &Secret,
) -> Result<SolveRequest, BuildError> {
    let mut secrets = request.args.clone();
    secrets.extend(request.secrets.clone());
    let app = [&*request.app.namespace, &*request.app.name];
    let context = dockerfile::Context {
        cache_key: &keyed(key, "cache", &app.map(str::as_bytes)),
        secrets_hash: &keyed(
            key,
            "secrets",
            &secrets
                .iter()
                .flat_map(|(name, value)| [name.as_bytes(), value.expose()])
                .collect::<Vec<_>>(),
        ),
        find: &|pattern| root.find(pattern),
    };
    let text = dockerfile::convert(plan, &context)
        .map_err(|why| BuildError::Failed(format!("railpack's plan cannot be built: {why}")))?;
    let context = Tree::checkout(root.directory(FIELD, ".", Reason::PathNotFound)?);
    let context = match root.control_file(".dockerignore")? {
        Some(file) => context.without(Patterns::parse(&file).map_err(|why| BuildError::ControlFile {
            path: ".dockerignore".to_owned(),
            why: why.to_string(),
        })?),
        None => context,
    };
    let images = base_images(&text);
    let context = with_env_file(context, request);
    Ok(SolveRequest {
        trees: Trees::from([
            (
                "dockerfile".to_owned(),
                Tree::default().with("Dockerfile", Generated::Text(text.into_bytes())),
            ),
            ("context".to_owned(), context),
        ]),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
        secrets,
        images,
        output: Output::Image,
        names: Vec::new(),
    })
}
