//! Builds with a Dockerfile of the source. It may lie outside of the context, as with `docker build -f`.

use super::buildkit::{Generated, Patterns, SolveRequest, Tree, Trees};
use super::contract::BuildRequest;
use super::error::BuildError;
use super::paths::Root;
use crate::api::{Dockerfile, Reason};

const PATH: &str = "spec.build.dockerfile.path";
const CONTEXT: &str = "spec.build.dockerfile.context";

/// What BuildKit is to be given.
///
/// # Errors
/// The Dockerfile or the context is not there or lies outside of the checkout.
pub fn plan(
    root: &Root,
    dockerfile: &Dockerfile,
    request: &BuildRequest,
) -> Result<SolveRequest, BuildError> {
    let context = root.directory(CONTEXT, &dockerfile.context, Reason::PathNotFound)?;
    let text = root.read(PATH, &dockerfile.path, Reason::DockerfileNotFound)?;
    // BuildKit gets the Dockerfile apart from the context, so that `.dockerignore` may leave it out there.
    let name = dockerfile
        .path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or("Dockerfile")
        .to_owned();
    let context = Tree::checkout(context);
    let context = match ignore_file(root, dockerfile)? {
        Some((path, file)) => {
            context.without(Patterns::parse(&file).map_err(|why| BuildError::ControlFile {
                path,
                why: why.to_string(),
            })?)
        }
        None => context,
    };
    let trees = Trees::from([
        (
            "dockerfile".to_owned(),
            Tree::default().with(&name, Generated::Text(text)),
        ),
        ("context".to_owned(), context),
    ]);
    Ok(SolveRequest {
        trees,
        dockerfile: name,
        target: dockerfile.target.clone(),
        args: request.args.clone(),
        secrets: request.secrets.clone(),
    })
}

/// Path and content of the `.dockerignore` that applies: the one of this Dockerfile, else that of the context. Symbolic
/// links are followed within the checkout.
fn ignore_file(root: &Root, dockerfile: &Dockerfile) -> Result<Option<(String, Vec<u8>)>, BuildError> {
    let of_context = format!("{}/.dockerignore", dockerfile.context.trim_end_matches('/'));
    for path in [format!("{}.dockerignore", dockerfile.path), of_context] {
        if let Some(file) = root.control_file(&path)? {
            return Ok(Some((path, file)));
        }
    }
    Ok(None)
}
