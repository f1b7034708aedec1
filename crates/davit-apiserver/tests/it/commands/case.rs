//! The form of `cases/*.yaml`: a list of cases, each a sequence of commands in a namespace of its own.
//!
//! ```yaml
//! - case: what-it-shows            # unique in the file; the namespace `$ns` is named after both
//!   new: true                      # not for Debian's kubectl, which lacks the command or a flag
//!   widgets: true                  # widgets.yaml is installed: widgets.$group, with status, scale and columns
//!   files: {a.yaml: {kind: …}}     # in the working directory; a document, a list of them, or text
//!   steps:
//!     - run: get configmaps -o name            # split at blanks, or a list of words
//!       in: {kind: ConfigMap}                  # what kubectl reads, as `files`
//!       env: {KUBE_EDITOR: sed -i s/a/b/}
//!       until: text                            # run again until it succeeds and prints this
//!       keep: ^configmap                       # compare only the lines that match this
//!       sort: true                             # in no order, upstream
//!       save: token                            # what it printed is `$token` in later steps; it is not compared
//!       new: true
//!     - run: get configmaps -w                 # a command that does not end
//!       during: {after: 2, steps: [{run: …}], lines: 4}   # at 2 lines run these; at 4 lines it is ended
//!     - files: {a.yaml: {kind: …}}             # write other files
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::compare::case::directory;

/// A sequence of commands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(rename = "case")]
    title: String,
    #[serde(skip)]
    file: String,
    #[serde(default)]
    pub new: bool,
    #[serde(default)]
    pub widgets: bool,
    #[serde(default)]
    pub files: BTreeMap<String, Value>,
    pub steps: Vec<Step>,
}

impl Case {
    /// `file/case`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.file, self.title)
    }
}

/// One command, or files to write.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    pub run: Words,
    #[serde(rename = "in")]
    pub input: Option<Value>,
    pub env: BTreeMap<String, String>,
    pub until: Option<String>,
    pub keep: Option<String>,
    pub sort: bool,
    pub save: Option<String>,
    pub new: bool,
    pub during: Option<During>,
    pub files: BTreeMap<String, Value>,
}

/// What happens while a command runs that does not end.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct During {
    pub after: usize,
    pub steps: Vec<Step>,
    pub lines: usize,
}

/// A command without the program's name.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Words {
    Line(String),
    List(Vec<String>),
}

impl Default for Words {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Words {
    /// One by one.
    pub fn list(&self) -> Vec<String> {
        match self {
            Self::Line(line) => line.split_whitespace().map(ToOwned::to_owned).collect(),
            Self::List(list) => list.clone(),
        }
    }
}

/// What a file or a command's input holds: text as it stands, one document, or several, as JSON: where kubectl's YAML
/// reads `n` as false, there is no doubt.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(documents) => {
            let documents: Vec<String> = documents.iter().map(ToString::to_string).collect();
            documents.join("\n")
        }
        document => document.to_string(),
    }
}

/// All cases, by file name without its ending, in order.
pub fn all() -> Vec<(String, Vec<Case>)> {
    let only = std::env::var("COMMANDS").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory().join("commands/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !only.is_empty() && !only.split(',').any(|wanted| wanted == file) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut cases: Vec<Case> =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in &mut cases {
            case.file.clone_from(&file);
        }
        all.push((file, cases));
    }
    all
}

/// The CRD of the cases with `widgets`.
pub fn widgets() -> String {
    std::fs::read_to_string(directory().join("commands/widgets.yaml")).unwrap()
}
