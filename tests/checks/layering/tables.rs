//! The tables of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A row of the table of modules.
pub struct Module {
    /// Whether it has no effects.
    pub pure: bool,
    /// The modules that it may import; `None` if it may import all.
    pub imports: Option<BTreeSet<String>>,
}

/// The rows of the table whose first column has this title, cell by cell.
fn table(title: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {title} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(rows.len() > 3, "ARCHITECTURE.md has no table of {title}s");
    rows
}

/// The names in backticks, without the ending of a file or folder.
fn names(cell: &str) -> impl Iterator<Item = String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.map(|name| name.trim_end_matches('/').trim_end_matches(".rs").to_owned())
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split_whitespace()
        .filter(|word| *word != "—")
        .map(str::to_owned)
        .collect()
}

/// Every module with what it may import.
pub fn modules() -> BTreeMap<String, Module> {
    let mut all = BTreeMap::new();
    for row in table("module") {
        let [module, pure, _, imports] = &row[..] else {
            panic!("a module has four columns: {row:?}");
        };
        for name in names(module) {
            let imports = (imports != "all").then(|| words(imports));
            let pure = pure == "P";
            all.insert(name, Module { pure, imports });
        }
    }
    all
}

/// The name of every kind with the modules that may name it.
pub fn kinds() -> Vec<(String, BTreeSet<String>)> {
    let rows = table("addition").into_iter();
    rows.flat_map(|row| {
        let allowed = words(&row[2]);
        let kinds: Vec<String> = names(&row[0]).collect();
        kinds.into_iter().map(move |kind| (kind, allowed.clone()))
    })
    .collect()
}

#[test]
fn tables_are_read_from_the_page() {
    let modules = modules();
    assert!(modules["plan"].pure && !modules["controller"].pure);
    assert!(modules["app"].imports.is_none() && modules["api"].imports == Some(BTreeSet::new()));
    assert!(modules["forge"].imports.as_ref().unwrap().contains("redact"));
    let kinds: BTreeMap<_, _> = kinds().into_iter().collect();
    assert!(kinds["github"].contains("forge") && !kinds["railpack"].contains("plan"));
}
