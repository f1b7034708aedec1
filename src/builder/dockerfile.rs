//! Builds with a Dockerfile of the source. It may lie outside of the context, as with `docker build -f`.

use std::collections::BTreeMap;

use super::buildkit::{Generated, Output, Patterns, SolveRequest, Tree, Trees};
use super::contract::BuildRequest;
use super::env_file;
use super::error::BuildError;
use super::from_args::FromArgs;
use super::instructions::instructions;
use super::keyed::keyed;
use super::paths::Root;
use super::secret_steps::with_values;
use crate::api::{Dockerfile, Reason};
use crate::image::ImageName;
use crate::redact::Secret;

const PATH: &str = "spec.build.dockerfile.path";
const CONTEXT: &str = "spec.build.dockerfile.context";

/// The argument that the frontend puts before the id of each cache mount. Without it a mount is shared by all builds that name the
/// same directory: the code of a pull request would read and change what the next build of its Application uses.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The argument that replaces the frontend of a Dockerfile.
const FRONTEND: &str = "BUILDKIT_SYNTAX";

/// What BuildKit is to be given, and the stage of the result.
///
/// # Errors
/// The Dockerfile or the context is not there or lies outside of the checkout.
pub fn plan(
    root: &Root,
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    key: &Secret,
) -> Result<(SolveRequest, String), BuildError> {
    let context = root.directory(CONTEXT, &dockerfile.context, Reason::PathNotFound)?;
    let text = root.read(PATH, &dockerfile.path, Reason::DockerfileNotFound)?;
    // BuildKit refuses one that is not text.
    let (text, images, stage) = match std::str::from_utf8(&text) {
        Ok(valid) => (
            with_values(valid, &request.secrets, key).into_bytes(),
            base_images(valid, &request.args),
            last_stage(valid, dockerfile.target.as_deref()),
        ),
        Err(_) => (text, Vec::new(), String::new()),
    };
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
    let context = with_env_file(context, request);
    let trees = Trees::from([
        (
            "dockerfile".to_owned(),
            Tree::default().with(&name, Generated::Text(text)),
        ),
        ("context".to_owned(), context),
    ]);
    let mut args = request.args.clone();
    // An argument of the user does not replace it: that of an Application would name its caches to its previews.
    let caches = keyed(
        key,
        "cache",
        &[&request.app.namespace, &request.app.name].map(String::as_bytes),
    );
    args.insert(CACHE_NAMESPACE.to_owned(), Secret::from(caches));
    let solve = SolveRequest {
        trees,
        dockerfile: name,
        target: dockerfile.target.clone(),
        args,
        secrets: request.secrets.clone(),
        images,
        output: Output::Image,
        names: Vec::new(),
    };
    Ok((solve, stage))
}

/// The build context with the `.env` of the request, if it has one.
pub fn with_env_file(context: Tree, request: &BuildRequest) -> Tree {
    match &request.env_file {
        Some(text) => context.with(env_file::NAME, Generated::Text(text.expose().to_vec())),
        None => context,
    }
}

/// The images that a Dockerfile names: its base images, those that it copies from, and its frontend. A name with a variable
/// that is not known is left out.
pub fn base_images(text: &str, args: &BTreeMap<String, Secret>) -> Vec<ImageName> {
    let instructions = instructions(text);
    let known = FromArgs::of(&instructions, args);
    let frontend = args.get(FRONTEND).and_then(Secret::expose_str);
    let frontend = frontend.and_then(|text| text.split_whitespace().next());
    let mut names: Vec<String> = frontend.map(str::to_owned).into_iter().collect();
    for instruction in &instructions {
        let words = instruction
            .text
            .split(|char: char| char.is_whitespace() || matches!(char, ',' | '"' | '\''));
        let words = words.filter(|word| !word.is_empty());
        if instruction.text.is_empty() {
            let comment = instruction
                .lines
                .first()
                .and_then(|line| line.trim().strip_prefix('#'));
            let directive = comment.and_then(|comment| comment.split_once('='));
            let frontend = directive.filter(|(name, _)| name.trim().eq_ignore_ascii_case("syntax"));
            names.extend(frontend.and_then(|(_, value)| value.split_whitespace().next().map(str::to_owned)));
        } else if instruction.name().eq_ignore_ascii_case("from") {
            let name = words.skip(1).find(|word| !word.starts_with("--"));
            names.extend(name.and_then(|name| known.expanded(name)));
        } else {
            names.extend(words.filter_map(|word| {
                let word = word.trim_start_matches("--mount=");
                let name = word
                    .strip_prefix("--from=")
                    .or_else(|| word.strip_prefix("from="));
                name.map(str::to_owned)
            }));
        }
    }
    names
        .into_iter()
        .filter_map(|name| ImageName::parse(&name).ok())
        .collect()
}

/// The name of the stage that a build of this Dockerfile ends with: its number, if no target is chosen.
pub fn last_stage(text: &str, target: Option<&str>) -> String {
    let stages = instructions(text)
        .iter()
        .filter(|instruction| instruction.name().eq_ignore_ascii_case("from"))
        .count();
    target.map_or_else(|| stages.saturating_sub(1).to_string(), str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_stage_is_counted_without_what_only_looks_like_one() {
        for (text, target, stage) in [
            ("FROM a\nRUN x\n", None, "0"),
            (
                "FROM a AS one\n# FROM b\nRUN echo \\\n from c\nfrom d\n",
                None,
                "1",
            ),
            (
                "FROM a\nRUN <<END cat\nFROM b\nEND\nFROM c\nCOPY <<-'X' /x\nFROM d\n\tX\nFROM e\n",
                None,
                "2",
            ),
            ("FROM a\nFROM b\n", Some("one"), "one"),
        ] {
            assert_eq!(last_stage(text, target), stage, "{text}");
        }
    }

    #[test]
    fn images_of_a_dockerfile_are_found() {
        let text = "# Syntax = r.example/frontend:1\nARG V=1\nARG BASE=x\nFROM --platform=linux/amd64 r.example/base:1 AS build\n\
                    from q.example/$NAME\nCOPY --from=r.example/files:2 /a /b\n\
                    RUN --mount=type=bind,from=r.example/mounted,target=/x true\nRUN echo from nginx\n\
                    FROM \\\n  \"r.example/quoted:$V\"\nFROM ${BASE}\nRUN <<X\nFROM r.example/text\nX\n";
        let args = [("BASE", "r.example/given:1"), (FRONTEND, "r.example/other:1")]
            .map(|(name, value)| (name.to_owned(), Secret::from(value)))
            .into();
        let found: Vec<String> = base_images(text, &args).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "r.example/other:1",
                "r.example/frontend:1",
                "r.example/base:1",
                "r.example/files:2",
                "r.example/mounted:latest",
                "r.example/quoted:1",
                "r.example/given:1"
            ]
        );
    }
}
