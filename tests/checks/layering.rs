//! The tables of ARCHITECTURE.md, enforced: which module may import which, what is pure, where a kind may be named, and
//! which file alone may do what. Sources are read as tokens: comments and strings do not count, macro arguments do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod imports;
mod known;
mod tables;
mod tokens;

use std::collections::BTreeSet;

use davit::api::Reason;
use imports::{Imports, circles, imports};
use known::{CIRCLES, LONGER};
use tables::{kinds, modules};
use tokens::{File, apiserver_files, files};

/// The most lines that a file may have, its tests included.
const LONGEST: usize = 500;

/// What has an effect.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "reqwest",
    "bollard",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "rand",
    "println",
    "eprintln",
];

/// Panics with every breach, so that one run shows them all.
fn none(rule: &str, breaches: impl IntoIterator<Item = String>) {
    let breaches: Vec<_> = breaches.into_iter().collect();
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Every place outside of tests where one of `paths` is named, in files for which `forbidden` is true.
fn uses(forbidden: impl Fn(&File) -> bool, paths: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files().iter().filter(|file| !file.is_test && forbidden(file)) {
        for path in paths {
            found.extend(
                file.find(path)
                    .into_iter()
                    .map(|line| format!("{}:{line}: {path}", file.path)),
            );
        }
    }
    found
}

/// Fails on an entry of `found` that `known` does not list, and on one of `known` that is no longer found.
fn ratchet(rule: &str, known: &[&str], found: &BTreeSet<String>) {
    let new = found.iter().filter(|it| !known.contains(&it.as_str()));
    none(rule, new.cloned());
    let gone = known.iter().filter(|it| !found.contains(**it));
    none(
        "solved: remove it from tests/checks/layering/known.rs",
        gone.map(|it| (*it).to_owned()),
    );
}

#[test]
fn module_imports_only_what_the_table_allows() {
    let table = modules();
    let mut breaches = BTreeSet::new();
    for file in files().iter().filter(|file| !file.is_test) {
        let Some(module) = table.get(&file.module) else {
            breaches.insert(format!("{}: {} is not in the table", file.path, file.module));
            continue;
        };
        let Some(allowed) = &module.imports else {
            continue;
        };
        for (imported, line) in file.imports() {
            if imported != file.module && !allowed.contains(&imported) {
                breaches.insert(format!(
                    "{}:{line}: {} imports {imported}",
                    file.path, file.module
                ));
            }
        }
    }
    none("an import that ARCHITECTURE.md does not allow", breaches);
}

#[test]
fn table_has_no_circle_but_that_of_the_command_line() {
    let table = modules().into_iter();
    let table: Imports = table
        .filter_map(|(name, module)| Some((name, module.imports?)))
        .collect();
    // The flags are declared in cli and made into a Config in config.
    let mut found = circles(&table);
    found.retain(|edge| !["cli -> config", "config -> cli"].contains(&edge.as_str()));
    none("modules of the table import each other", found);
}

#[test]
fn files_import_each_other_in_no_circle() {
    let product = imports(files());
    assert!(
        product.values().map(BTreeSet::len).sum::<usize>() > 200,
        "imports are found"
    );
    let mut found = circles(&product);
    let apiserver = circles(&imports(apiserver_files()));
    found.extend(apiserver.iter().map(|edge| format!("davit-apiserver: {edge}")));
    ratchet("files import each other in a circle", CIRCLES, &found);
}

#[test]
fn every_reason_is_used() {
    let unused = Reason::ALL.iter().filter(|reason| {
        let path = format!("Reason::{reason}");
        uses(|file| file.path != "src/api/condition.rs", &[&path]).is_empty()
    });
    none("a reason is never used", unused.map(ToString::to_string));
}

#[test]
fn pure_module_has_no_effects() {
    let table = modules();
    let pure = |file: &File| table.get(&file.module).is_some_and(|module| module.pure);
    assert!(files().iter().any(pure), "pure modules are found");
    none("a pure module has effects", uses(pure, IMPURE));
}

#[test]
fn only_config_reads_the_environment() {
    let reads = [
        "env::var",
        "env::var_os",
        "env::vars",
        "env::vars_os",
        "env::set_var",
        "env::remove_var",
    ];
    none(
        "only config.rs and config/ read the environment",
        uses(|file| file.module != "config", &reads),
    );
}

#[test]
fn only_process_starts_programs() {
    let starts = ["process::Command", "Command::new", "pre_exec", "CommandExt"];
    // clap's own `Command` is no program, and cli/ starts none.
    let elsewhere = |file: &File| file.path != "src/process.rs" && file.module != "cli";
    none("only process.rs starts programs", uses(elsewhere, &starts));
}

#[test]
fn only_report_writes_status() {
    let writes = [
        "patch_status",
        "replace_status",
        "patch_subresource",
        "replace_subresource",
    ];
    let elsewhere = |file: &File| file.path != "src/controller/report.rs";
    none(
        "only controller/report.rs writes status",
        uses(elsewhere, &writes),
    );
}

#[test]
fn kind_is_named_only_where_the_table_allows() {
    let mut breaches = Vec::new();
    for (name, allowed) in kinds() {
        let elsewhere = |file: &File| !allowed.contains(&file.module);
        breaches.extend(uses(elsewhere, &[&name]));
    }
    none("a kind is named outside its modules", breaches);
}

#[test]
fn clients_of_other_programs_are_imported_by_their_modules_only() {
    let wiring = |file: &File| file.module == "app";
    let elsewhere =
        |file: &File| !matches!(file.module.as_str(), "runtime" | "builder" | "image") && !wiring(file);
    let mut breaches = uses(elsewhere, &["bollard"]);
    let elsewhere = |file: &File| file.module != "runtime" && !wiring(file);
    breaches.extend(uses(elsewhere, &["runtime::docker"]));
    let elsewhere = |file: &File| !matches!(file.module.as_str(), "forge" | "image" | "source");
    breaches.extend(uses(elsewhere, &["reqwest"]));
    none("a client is imported outside its modules", breaches);
}

#[test]
fn path_goes_at_most_one_level_up() {
    none(
        "write crate::… in place of super::super",
        uses(|_| true, &["super::super"]),
    );
}

#[test]
fn file_has_at_most_500_lines() {
    let all = files().iter().map(|file| (String::new(), file));
    let apiserver = apiserver_files().iter();
    let all = all.chain(apiserver.map(|file| ("crates/davit-apiserver/".to_owned(), file)));
    let long = all.filter(|(_, file)| file.lines > LONGEST);
    let long = long.map(|(package, file)| package + &file.path).collect();
    ratchet("a file has one subject and at most 500 lines", LONGER, &long);
}

#[test]
fn code_is_safe() {
    none("unsafe is forbidden", uses(|_| true, &["unsafe"]));
}
