//! The build plan that `railpack prepare` writes (railpack's `core/plan`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// A build plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The steps, each a file system of its own.
    pub steps: Vec<Step>,
    /// Cache directories by name.
    pub caches: BTreeMap<String, Cache>,
    /// The names of the variables that every command gets as secrets.
    pub secrets: Vec<String>,
    /// The image.
    pub deploy: Deploy,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What its file system is made of; the first is the base.
    pub inputs: Vec<Layer>,
    /// What is done.
    pub commands: Vec<Command>,
    /// The secrets whose change makes its commands run again; `*` for all.
    pub secrets: Vec<String>,
    /// The content of generated files by name.
    pub assets: BTreeMap<String, String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// The caches that are mounted.
    pub caches: Vec<String>,
}

/// A part of a file system. Exactly one of `image`, `step` and `local` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// From an image.
    pub image: Option<String>,
    /// From another step.
    pub step: Option<String>,
    /// From the source.
    pub local: bool,
    /// The paths that are copied.
    pub include: Vec<String>,
    /// Patterns, relative to an included directory, of what is not copied.
    pub exclude: Vec<String>,
}

/// A command of a step. The variants are told apart by their fields, in railpack's own order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// Runs a program.
    Exec {
        /// The words of the command, as a shell would split them.
        cmd: String,
    },
    /// Writes a generated file.
    File {
        /// Where.
        path: String,
        /// Its name among the assets.
        name: String,
        /// Its mode; 0644 by default.
        #[serde(default)]
        mode: Option<u32>,
    },
    /// Puts a directory in front of `PATH`.
    Path {
        /// The directory.
        path: String,
    },
    /// Copies from the source or from an image.
    Copy {
        /// The image.
        #[serde(default)]
        image: Option<String>,
        /// From.
        src: String,
        /// To.
        dest: String,
    },
}

/// A cache directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Cache {
    /// Where it is mounted.
    pub directory: String,
    /// `shared` or `locked`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// What the image is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// The base.
    pub base: Layer,
    /// What is copied onto it.
    pub inputs: Vec<Layer>,
    /// What a container runs, in a shell.
    #[serde(rename = "startCommand")]
    pub start_command: String,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Directories of `PATH`.
    pub paths: Vec<String>,
}
