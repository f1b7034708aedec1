//! The table of ARCHITECTURE.md, enforced: who may import whom, what is pure, and which file alone may do what.
//! `src/` is read as tokens, so comments and texts do not count, and what stands inside macros does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

#[path = "layering/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use davit::api::Reason;
use tokens::{File, apiserver_files, files};

/// Each module with what it may import of the crate's. The nouns of `builder` and `runtime` (what is to be built and
/// run) are data that `plan` decides about; their implementations are out of its reach, see `IMPLEMENTATIONS`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("backup", &["cli", "config", "error"]),
    (
        "builder",
        &["api", "error", "job_log", "model", "process", "redact"],
    ),
    ("cli", &["api", "config", "static_server"]),
    ("config", &["cli", "redact"]),
    (
        "controller",
        &[
            "api", "builder", "error", "forge", "job_log", "metrics", "model", "plan", "redact", "runtime",
            "source",
        ],
    ),
    ("error", &["api"]),
    ("forge", &["api", "error", "model", "redact"]),
    ("http", &["api", "error", "job_log", "metrics", "model", "redact"]),
    ("job_log", &["error", "redact"]),
    ("metrics", &["api"]),
    ("model", &["redact"]),
    ("plan", &["api", "builder", "error", "model", "redact", "runtime"]),
    ("process", &["error", "redact"]),
    ("proxy", &["api", "model"]),
    ("redact", &[]),
    ("runtime", &["api", "error", "model", "redact"]),
    (
        "source",
        &["api", "error", "job_log", "model", "process", "redact"],
    ),
    ("static_server", &[]),
    ("telemetry", &[]),
];

/// Those that wire everything together and may import everything.
const WIRING: &[&str] = &["lib", "main", "app"];

/// Modules that decide and never do: no async, no clock, no input or output.
const PURE: &[&str] = &["api", "model", "plan", "proxy", "redact", "error"];

/// What a pure module never says.
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

/// What is behind a trait: imported by its own module and by what wires everything together, and by nobody else.
const IMPLEMENTATIONS: &[(&str, &[&str])] = &[
    ("runtime", &["docker", "swarm", "kubernetes"]),
    ("forge", &["gitea", "github", "gitlab", "bitbucket"]),
];

/// The longest a file may be, in lines.
const LONGEST: usize = 600;

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

#[test]
fn every_module_imports_only_what_stands_below_it() {
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut breaches = BTreeSet::new();
    for file in files()
        .iter()
        .filter(|file| !file.is_test && !WIRING.contains(&file.module.as_str()))
    {
        let Some(allowed) = table.get(file.module.as_str()) else {
            breaches.insert(format!(
                "{}: the module {} is not in the table",
                file.path, file.module
            ));
            continue;
        };
        for (module, line) in file.imports() {
            if module != file.module && !allowed.contains(&module.as_str()) {
                breaches.insert(format!("{}:{line}: {} imports {module}", file.path, file.module));
            }
        }
    }
    none("a module imports what it may not", breaches);
}

/// Whom each imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Those that import themselves in the end.
fn circular(imports: &Imports) -> impl Iterator<Item = &String> {
    fn reach<'a>(imports: &'a Imports, from: &str, seen: &mut BTreeSet<&'a str>) {
        for next in imports.get(from).into_iter().flatten() {
            if seen.insert(next) {
                reach(imports, next, seen);
            }
        }
    }
    imports.keys().filter(|one| {
        let mut seen = BTreeSet::new();
        reach(imports, one, &mut seen);
        seen.contains(one.as_str())
    })
}

#[test]
fn the_table_has_no_circle_but_that_of_the_command_line() {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let table = MAY_IMPORT.iter();
    let table: Imports = table
        .map(|(module, may)| ((*module).to_owned(), owned(may)))
        .collect();
    // The flags are declared in cli and made into a Config in config.
    let circles = circular(&table).filter(|module| !["cli", "config"].contains(&module.as_str()));
    none("modules import each other", circles.cloned());
}

/// It is the largest module: each file and folder of it stands on others, and none on one that stands on it.
#[test]
fn the_api_server_has_no_circle() {
    let mut imports = Imports::new();
    for file in apiserver_files()
        .iter()
        .filter(|file| !file.is_test && file.module != "lib")
    {
        let named = file.imports().into_iter().map(|(named, _)| named);
        let others = named.filter(|named| *named != file.module);
        imports.entry(file.module.clone()).or_default().extend(others);
    }
    assert!(imports["gc"].contains("server"), "imports were found");
    none(
        "parts of the API server import each other",
        circular(&imports).cloned(),
    );
}

/// A word in the table of reasons that nothing ever says would be looked for in vain.
#[test]
fn every_reason_is_given_somewhere() {
    let mute = Reason::ALL.iter().filter(|reason| {
        let path = format!("Reason::{reason}");
        uses(|file| file.path != "src/api/condition.rs", &[&path]).is_empty()
    });
    none("a reason is never given", mute.map(ToString::to_string));
}

#[test]
fn what_decides_never_does() {
    none(
        "a pure module does something",
        uses(|file| PURE.contains(&file.module.as_str()), IMPURE),
    );
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
        "only config.rs reads the environment",
        uses(|file| file.path != "src/config.rs", &reads),
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
fn implementations_are_named_by_their_own_module_and_the_wiring_only() {
    let mut breaches = Vec::new();
    for (module, names) in IMPLEMENTATIONS {
        let paths: Vec<_> = names.iter().map(|name| format!("{module}::{name}")).collect();
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        let foreign = |file: &File| file.module != *module && !WIRING.contains(&file.module.as_str());
        breaches.extend(uses(foreign, &paths));
    }
    let foreign = |file: &File| !matches!(file.module.as_str(), "runtime" | "builder" | "source" | "app");
    breaches.extend(uses(foreign, &["bollard"]));
    let foreign = |file: &File| !matches!(file.module.as_str(), "forge" | "source");
    breaches.extend(uses(foreign, &["reqwest"]));
    let foreign = |file: &File| !matches!(file.module.as_str(), "api" | "forge");
    breaches.extend(uses(foreign, &["gitea", "github", "gitlab", "bitbucket"]));
    none("an implementation is named outside its module", breaches);
}

#[test]
fn nobody_reaches_two_levels_up() {
    none(
        "write crate::… in place of super::super",
        uses(|_| true, &["super::super"]),
    );
}

#[test]
fn no_file_is_too_long() {
    let long = files().iter().filter(|file| file.lines > LONGEST);
    none(
        "a file has one subject",
        long.map(|file| format!("{}: {} lines", file.path, file.lines)),
    );
}

#[test]
fn no_file_is_unsafe() {
    none("unsafe is forbidden", uses(|_| true, &["unsafe"]));
}
