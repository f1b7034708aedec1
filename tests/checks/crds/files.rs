//! The files themselves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use davit::api::crds;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

/// Each file's name with what it should hold.
fn wanted() -> Vec<(String, String)> {
    crds()
        .iter()
        .map(|crd| {
            let yaml = serde_saphyr::to_string(crd).unwrap();
            let text = format!("# Generated from src/api by `make crds`: do not edit.\n---\n{yaml}");
            (format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural), text)
        })
        .collect()
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the test says by it that the files should be written"
)]
fn crd_files_equal_the_generated_types() {
    let wanted = wanted();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        for (name, text) in &wanted {
            std::fs::write(folder().join(name), text).unwrap();
        }
    }
    for (name, text) in &wanted {
        let found = std::fs::read_to_string(folder().join(name)).unwrap_or_default();
        let first = found
            .lines()
            .zip(text.lines())
            .position(|(found, wanted)| found != wanted);
        assert!(
            found == *text,
            "crds/{name} is not what the types generate (first difference at line {:?}): run `make crds`",
            first.map(|line| line + 1)
        );
    }
    let names: BTreeSet<_> = wanted.into_iter().map(|(name, _)| name).collect();
    let found: BTreeSet<_> = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(
        found, names,
        "crds/ holds one file for each kind, the kustomization of them, and nothing else"
    );
}

#[test]
fn crd_files_read_by_any_yaml_parser_are_equal() {
    for ((name, text), crd) in wanted().iter().zip(crds()) {
        let meant = serde_json::to_value(crd).unwrap();
        // serde-saphyr reads `yes` and `on` as booleans as kubectl does, the other one reads them as text: where both
        // agree with what was meant, every such word is quoted.
        let as_kubectl: Value = serde_saphyr::from_str(text).unwrap();
        let as_text: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(as_kubectl, meant, "{name}");
        assert_eq!(as_text, meant, "{name}");
    }
}
