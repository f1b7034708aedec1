//! Which file of a crate imports which other one.
//!
//! A path such as `crate::plan::Action` is resolved to the file that defines `Action`, through re-exports. A `pub use` of
//! an item is a name for it and no import, so that a folder's `mod.rs` may name the items of its files.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{File, Named};

/// The files that each file imports.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// What a file makes available under which name.
struct Scope<'a> {
    file: &'a File,
    items: BTreeSet<&'a str>,
    aliases: BTreeMap<&'a str, &'a [String]>,
    /// The modules whose items are all imported.
    globs: Vec<&'a [String]>,
}

/// The files of one crate by their module paths.
type Scopes<'a> = BTreeMap<Vec<String>, Scope<'a>>;

/// The imports between `files`, which are all files of one crate; those of tests, `lib.rs` and `main.rs` are left out.
pub fn imports(files: &[File]) -> Imports {
    let product: Vec<(&File, Vec<Named>)> = files
        .iter()
        .filter(|file| !file.is_test)
        .map(|file| (file, file.named()))
        .collect();
    let scopes: Scopes<'_> = product
        .iter()
        .map(|(file, named)| (file.module_path(), scope(file, named)))
        .collect();
    let mut found = Imports::new();
    for (file, named) in product.iter().filter(|(file, _)| !file.module_path().is_empty()) {
        let into = found.entry(file.path.clone()).or_default();
        for named in named.iter().filter(|named| !named.public) {
            let target = resolve(&scopes, &named.path, 3);
            into.extend(
                target
                    .filter(|target| target.path != file.path)
                    .map(|target| target.path.clone()),
            );
        }
    }
    found
}

fn scope<'a>(file: &'a File, named: &'a [Named]) -> Scope<'a> {
    let module = file.module_path();
    let globs = named.iter().filter_map(|named| match named.path.split_last() {
        Some((last, folder)) if last == "*" && folder != module => Some(folder),
        _ => None,
    });
    let aliases = named
        .iter()
        .filter_map(|named| Some((named.alias.as_deref()?, &named.path[..])));
    Scope {
        file,
        items: file.items(),
        aliases: aliases.collect(),
        globs: globs.collect(),
    }
}

/// The file in which the item or module of this path is defined; `None` if it is of another crate.
fn resolve<'a>(scopes: &Scopes<'a>, path: &[String], depth: u32) -> Option<&'a File> {
    let (length, scope) = (1..=path.len())
        .rev()
        .find_map(|length| Some((length, scopes.get(&path[..length])?)))?;
    let Some(item) = path.get(length).filter(|_| depth > 0) else {
        return Some(scope.file);
    };
    if scope.items.contains(item.as_str()) {
        return Some(scope.file);
    }
    let renamed = scope.aliases.get(item.as_str());
    let renamed = renamed.filter(|target| **target != path);
    let glob = || {
        let mut folders = scope.globs.iter().filter_map(|folder| scopes.get(*folder));
        let defining = folders.find(|scope| scope.items.contains(item.as_str()));
        defining.map(|scope| scope.file)
    };
    let through = renamed
        .and_then(|target| resolve(scopes, target, depth - 1))
        .or_else(glob);
    Some(through.unwrap_or(scope.file))
}

/// The imports that are part of a circle, as `importing file -> imported file`.
pub fn circles(imports: &Imports) -> BTreeSet<String> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|from| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.as_str()]);
            while let Some(file) = next.pop() {
                for imported in imports.get(file).into_iter().flatten() {
                    if seen.insert(imported.as_str()) {
                        next.push(imported);
                    }
                }
            }
            (from.as_str(), seen)
        })
        .collect();
    let edges = imports
        .iter()
        .flat_map(|(from, into)| into.iter().map(move |to| (from.as_str(), to.as_str())));
    edges
        .filter(|(from, to)| reach.get(to).is_some_and(|seen| seen.contains(from)))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layering::tokens::parse;

    fn krate(files: &[(&str, &str)]) -> Vec<File> {
        files.iter().map(|(path, text)| parse(path, text)).collect()
    }

    #[test]
    fn import_resolves_to_the_file_that_defines_the_item() {
        for (importing, imported) in [
            ("use crate::a::One;", "src/a/one.rs"),
            ("use super::a::{self as x, One};", "src/a/one.rs"),
            ("fn f() { crate::a::two::go() }", "src/a/two.rs"),
            ("use crate::a::Glob;", "src/a/glob.rs"),
            ("use crate::a::Own;", "src/a/mod.rs"),
            ("mod inner { use super::super::a::one::One; }", "src/a/one.rs"),
        ] {
            let files = krate(&[
                ("src/lib.rs", "pub mod a; mod b;"),
                (
                    "src/a/mod.rs",
                    "mod one; pub mod two; mod glob; pub use one::One; pub use self::glob::*; pub struct Own;",
                ),
                ("src/a/one.rs", "pub struct One;"),
                ("src/a/two.rs", "pub fn go() {}"),
                ("src/a/glob.rs", "pub enum Glob {}"),
                ("src/b.rs", importing),
            ]);
            assert!(imports(&files)["src/b.rs"].contains(imported), "{importing}");
        }
    }

    #[test]
    fn circle_of_files_is_found_but_not_a_re_export() {
        let files = krate(&[
            (
                "src/a/mod.rs",
                "mod one; mod two; pub use one::One; pub struct Own;",
            ),
            ("src/a/one.rs", "use super::{Own, two::Two}; pub struct One;"),
            ("src/a/two.rs", "use super::Own; pub struct Two;"),
        ]);
        assert_eq!(circles(&imports(&files)), BTreeSet::new());
        let files = krate(&[
            ("src/a/mod.rs", "mod one; mod two; pub use one::One;"),
            ("src/a/one.rs", "use super::two::Two; pub struct One;"),
            ("src/a/two.rs", "fn f(_: super::One) {} pub struct Two;"),
        ]);
        let both = ["src/a/one.rs -> src/a/two.rs", "src/a/two.rs -> src/a/one.rs"];
        assert_eq!(circles(&imports(&files)), both.map(str::to_owned).into());
    }
}
