//! Builds with a Dockerfile of the source. It may lie outside of the context, as with `docker build -f`.

use std::collections::BTreeMap;

use super::build_options::Plan;
use super::context::{Made, Tree};
use super::filesync::Trees;
use super::paths::Root;
use super::{BuildError, BuildRequest};
use crate::api::{Dockerfile, Reason};

const PATH: &str = "spec.build.dockerfile.path";
const CONTEXT: &str = "spec.build.dockerfile.context";

/// What BuildKit is to be given.
///
/// # Errors
/// The Dockerfile or the context is not there or lies outside of the checkout.
pub fn plan(root: &Root, dockerfile: &Dockerfile, request: &BuildRequest) -> Result<Plan, BuildError> {
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
    let ignore = format!("{}.dockerignore", dockerfile.path);
    let mut files = BTreeMap::new();
    if root.has_file(&ignore) {
        let lines = root.read(PATH, &ignore, Reason::DockerfileNotFound)?;
        files.insert(format!("{name}.dockerignore"), Made::Text(lines));
    }
    files.insert(name.clone(), Made::Text(text));
    let trees = Trees::from([
        ("dockerfile".to_owned(), Tree::Made(files)),
        ("context".to_owned(), Tree::checkout(context)),
    ]);
    Ok(Plan {
        trees,
        dockerfile: name,
        target: dockerfile.target.clone(),
        args: request.args.clone(),
        secrets: request.secrets.clone(),
    })
}
