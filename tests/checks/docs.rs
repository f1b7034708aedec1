//! The documentation says what the code says: tables are generated, examples are taken by the schemas, links lead
//! somewhere. `UPDATE=1 cargo test --test checks docs` writes the tables anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod commands;
mod fields;
mod flags;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use davit::api::{Reason, crds};
use davit_apiserver::internals::Schema;
use serde::Deserialize as _;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with one of these endings below `folder`, which may be missing.
fn below(folder: &Path, endings: &[&str], into: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, endings, into);
        } else if path
            .extension()
            .is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted))
        {
            into.push(path);
        }
    }
    into.sort();
}

/// Every page for people.
fn pages() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["docs", "examples"] {
        below(&root().join(folder), &["md"], &mut all);
    }
    let top = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ];
    all.extend(
        top.map(|name| root().join(name))
            .into_iter()
            .filter(|path| path.exists()),
    );
    all
}

/// The table of all reasons.
fn reasons() -> String {
    let mut table = String::from("| reason | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        writeln!(table, "| `{reason}` | {} |", reason.sentence()).unwrap();
    }
    table
}

/// What belongs between `<!-- WHAT -->` and `<!-- end -->`; `page` is the whole page.
fn generated(what: &str, page: &str) -> String {
    match what.split_once(' ') {
        Some(("generated:", "reasons")) => reasons(),
        Some(("generated:", "flags")) => flags::table(),
        Some(("generated:", "cli")) => flags::commands(),
        Some(("generated:", fields)) => fields::table(fields, page),
        _ => panic!("what is {what:?}?"),
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the test says by it that the tables should be written"
)]
fn generated_table_equals_the_types() {
    const BEGIN: &str = "<!-- generated: ";
    const END: &str = "<!-- end -->";
    let mut count = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        let mut wanted = String::new();
        let mut rest = page.as_str();
        while let Some(begin) = rest.find(BEGIN) {
            let (before, from) = rest.split_at(begin);
            let (mark, _) = from.split_once(" -->").expect("the mark ends");
            let (_, after) = from
                .split_once(END)
                .unwrap_or_else(|| panic!("{} {mark}: no end", path.display()));
            let table = generated(mark.trim_start_matches("<!-- "), &page);
            write!(wanted, "{before}{mark} -->\n{table}{END}").unwrap();
            rest = after;
            count += 1;
        }
        wanted.push_str(rest);
        if std::env::var_os("UPDATE").is_some() && wanted != page {
            std::fs::write(&path, &wanted).unwrap();
        } else {
            assert!(
                wanted == page,
                "{} is not what the types say: run `UPDATE=1 cargo test --test checks docs`",
                path.display()
            );
        }
    }
    assert!(count > 10, "only {count} tables were found");
}

/// The YAML documents of a file, or of the fenced blocks of a page, each with where it is.
fn documents(path: &Path) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<String> = if path.extension().is_some_and(|ending| ending == "md") {
        text.split("```yaml\n")
            .skip(1)
            .map(|block| block.split("```").next().unwrap().to_owned())
            .collect()
    } else {
        vec![text]
    };
    let mut all = Vec::new();
    for block in blocks {
        for document in serde_yaml::Deserializer::from_str(&block) {
            let place = format!("{}: {}", path.display(), block.lines().next().unwrap_or_default());
            let value = Value::deserialize(document).unwrap_or_else(|error| panic!("{place}: {error}"));
            all.push((place, value));
        }
    }
    all
}

#[test]
fn example_is_accepted_by_the_schema() {
    let schemas: Vec<_> = crds()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0]
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref();
            let schema = Schema::compile(&serde_json::to_value(schema).unwrap()).unwrap();
            (crd.spec.names.kind, schema)
        })
        .collect();
    let mut paths = pages();
    below(&root().join("examples"), &["yaml"], &mut paths);
    let mut count = 0;
    for (place, mut object) in paths.iter().flat_map(|path| documents(path)) {
        if object["apiVersion"]
            .as_str()
            .is_none_or(|version| !version.starts_with("davit.dev/"))
        {
            continue;
        }
        count += 1;
        assert_eq!(object["apiVersion"], "davit.dev/v1alpha1", "{place}");
        let kind = object["kind"].as_str().unwrap().to_owned();
        let (_, schema) = schemas
            .iter()
            .find(|(name, _)| *name == kind)
            .unwrap_or_else(|| panic!("{place}: {kind}"));
        assert!(
            object["metadata"]["name"].is_string() || object["metadata"]["generateName"].is_string(),
            "{place}"
        );
        let unknown = schema.prune(&mut object);
        assert!(unknown.is_empty(), "{place}: unknown fields {unknown:?}");
        schema.default(&mut object);
        let errors = schema.validate(&object, None);
        assert!(errors.is_empty(), "{place}: {errors:?}");
    }
    assert!(count > 10, "only {count} objects were found");
}

#[test]
fn commands_of_pages_and_help_exist() {
    // Debian 12 has this one, and the pages promise that it is enough.
    let mut checker = commands::Checker::new(
        root(),
        davit_test_support::peers::file("kubectl-debian-1.20/kubectl"),
    );
    // The changelog names what older versions had.
    let pages = pages().into_iter().filter(|path| !path.ends_with("CHANGELOG.md"));
    let pages = pages.map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    let shown: Vec<_> = pages
        .chain(commands::help_pages())
        .flat_map(|(name, page)| commands::shown(&name, &page))
        .collect();
    assert!(shown.len() > 60, "only {} commands were found", shown.len());
    let wrong: Vec<String> = shown
        .iter()
        .filter_map(|shown| checker.check(shown).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn requests_for_a_check_work_more_than_once() {
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for value in page.split("requestedAt=").skip(1) {
            assert!(
                value.trim_start_matches('"').starts_with("$("),
                "{}: a fixed value is noticed once only: {}",
                path.display(),
                value.lines().next().unwrap_or_default()
            );
        }
    }
}

#[test]
fn link_of_a_page_has_a_target() {
    let mut wrong = Vec::new();
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for link in page.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere && !path.parent().unwrap().join(target).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
