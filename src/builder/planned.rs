//! The build of a Dockerfile that was generated from the plan of a program.
//!
//! A plan names variables and does not say which of them are secret. So the arguments and secrets of the build reach every
//! command as secret mounts, and none is an `ARG` or `ENV`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::buildkit::{Generated, Output, Patterns, SolveRequest, Tree, Trees};
use super::contract::BuildRequest;
use super::dockerfile::{base_images, with_env_file};
use super::error::BuildError;
use super::keyed::keyed;
use super::paths::Root;
use super::words::is_name;
use crate::api::Reason;
use crate::model::AppId;
use crate::redact::Secret;

/// The stage of the image in every generated Dockerfile.
pub const IMAGE: &str = "image";
/// Where source and working directory are in the image of a planned build.
pub const APP: &str = "/app";
/// How much of a generated file one instruction writes; old frontends refuse lines of 64 KiB.
const PIECE: usize = 24 * 1024;

/// The variables of a build.
pub struct Variables {
    values: BTreeMap<String, Secret>,
    /// Changes if a value changes.
    pub hash: String,
    /// Begins the id of every cache mount. A build with this id can use the cache, so it must not be guessable.
    pub cache_key: String,
    /// Is in the text of every command with a cache mount: by it the caches of an Application are found.
    pub cache_mark: String,
}

impl Variables {
    /// The arguments and secrets of a request.
    pub fn new(request: &BuildRequest, key: &Secret) -> Self {
        let mut values = request.args.clone();
        values.extend(request.secrets.clone());
        let parts = values
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.expose()]);
        let app = [&*request.app.namespace, &*request.app.name];
        Self {
            hash: keyed(key, "secrets", &parts.collect::<Vec<_>>()),
            cache_key: keyed(key, "cache", &app.map(str::as_bytes)),
            cache_mark: cache_mark(key, &request.app),
            values,
        }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// The mounts of a command that gets these variables, and the shell script in front of it.
///
/// # Errors
/// A name cannot be that of a variable.
pub fn exported<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(String, String), String> {
    let (mut mounts, mut script) = (String::new(), String::new());
    for name in names {
        if !is_name(name) {
            return Err(format!("the secret {name:?} has no valid name"));
        }
        let _ = write!(mounts, "--mount=type=secret,id={name} ");
        // With its last newlines, which `$(…)` alone would remove.
        let _ = write!(
            script,
            "if [ -f /run/secrets/{name} ]; then {name}=$(cat /run/secrets/{name}; printf x); \
             {name}=${{{name}%x}}; export {name}; fi; "
        );
    }
    Ok((mounts, script))
}

/// The mark of an Application's caches. BuildKit describes a cache directory by the command that made it, and removes it by this.
pub fn cache_mark(key: &Secret, app: &AppId) -> String {
    let parts = [&*app.namespace, &*app.name];
    let digest = keyed(key, "cache mark", &parts.map(str::as_bytes));
    format!("davit-cache-{}", digest.get(..24).unwrap_or_default())
}

/// The mount of a cache directory.
///
/// # Errors
/// The name or the directory cannot be part of the option.
pub fn cache_mount(key: &str, name: &str, directory: &str, sharing: &str) -> Result<String, String> {
    let plain = |text: &str| {
        text.chars()
            .all(|char| char.is_ascii_alphanumeric() || "._-/:@+~".contains(char))
    };
    if !plain(directory) || !plain(name) {
        return Err(format!("the cache {name} cannot be mounted at {directory:?}"));
    }
    Ok(format!(
        "--mount=type=cache,id={key}-{name},target={directory},sharing={sharing} "
    ))
}

/// The instructions that write a generated file, with its content in them: the context may not have it.
pub fn write_file(path: &str, content: &str, mode: u32) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(content);
    let (mut text, mut first, mut rest) = (String::new(), true, encoded.as_str());
    loop {
        let (piece, others) = rest.split_at(rest.len().min(PIECE));
        let script = if first {
            r#"set -e; mkdir -p "$(dirname "$1")"; printf %s "$2" | base64 -d > "$1"; chmod "$3" "$1""#
        } else {
            r#"set -e; printf %s "$2" | base64 -d >> "$1""#
        };
        let words = serde_json::json!(["/bin/sh", "-c", script, "sh", path, piece, format!("{mode:o}")]);
        let _ = writeln!(text, "RUN {words}");
        (first, rest) = (false, others);
        if rest.is_empty() {
            return text;
        }
    }
}

/// The build of a generated Dockerfile, whose image is the stage [`IMAGE`].
///
/// # Errors
/// The source has an unreadable `.dockerignore`.
pub fn solve(
    root: &Root,
    field: &'static str,
    text: String,
    request: &BuildRequest,
    variables: Variables,
) -> Result<SolveRequest, BuildError> {
    let context = Tree::checkout(root.directory(field, ".", Reason::PathNotFound)?);
    let context = match root.control_file(".dockerignore")? {
        Some(file) => context.without(Patterns::parse(&file).map_err(|why| BuildError::ControlFile {
            path: ".dockerignore".to_owned(),
            why: why.to_string(),
        })?),
        None => context,
    };
    let images = base_images(&text, &BTreeMap::new());
    let dockerfile = Tree::default().with("Dockerfile", Generated::Text(text.into_bytes()));
    Ok(SolveRequest {
        trees: Trees::from([
            ("dockerfile".to_owned(), dockerfile),
            ("context".to_owned(), with_env_file(context, request)),
        ]),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: BTreeMap::new(),
        secrets: variables.values,
        images,
        output: Output::Image,
        names: Vec::new(),
    })
}
