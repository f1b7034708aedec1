//! Comments name the actor: see "Comments" in CONTRIBUTING.md.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Words that leave the actor or the object of a sentence unnamed.
const UNNAMED: &str = r"(?i)\b(who|whom|whoever|nobody|somebody|is none|nothing where|by hand)\b";

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn comment_lines_name_their_actor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unnamed = Regex::new(UNNAMED).unwrap();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    for package in root.join("crates").read_dir().unwrap() {
        sources(&package.unwrap().path().join("src"), &mut files);
    }
    assert!(files.len() > 200, "sources are found");
    let mut lines = BTreeMap::new();
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let comments = text.lines().enumerate();
        for (number, line) in comments.filter(|(_, line)| line.trim_start().starts_with("//")) {
            // A name in backticks is no wording.
            let prose: String = line.split('`').step_by(2).collect();
            if unnamed.is_match(&prose) {
                let place = path.strip_prefix(root).unwrap().display().to_string();
                lines.insert((place, number + 1), line.trim().to_owned());
            }
        }
    }
    let mut list = String::new();
    for ((place, number), line) in &lines {
        writeln!(list, "{place}:{number}: {line}").unwrap();
    }
    assert!(
        lines.is_empty(),
        "{} comment lines name no actor; reword them:\n{list}",
        lines.len()
    );
}
