//! Which file of a crate imports which other one.
//!
//! A path such as `crate::plan::Action` is resolved to the file that defines `Action`, through re-exports. A `pub use` of
//! an item is a name for it and no import, so that a folder's `mod.rs` may name the items of its files.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{File, Named};

/// The files that each file imports.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// The files of one crate by their module paths.
struct Crate<'a> {
    files: BTreeMap<Vec<String>, &'a File>,
    names: BTreeMap<&'a str, Vec<Named>>,
    items: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

/// The imports between `files`, which are all files of one crate; those of tests, `lib.rs` and `main.rs` are left out.
pub fn imports(files: &[File]) -> Imports {
    let product = || files.iter().filter(|file| !file.is_test);
    let all = Crate {
        files: product().map(|file| (file.module_path(), file)).collect(),
        names: product().map(|file| (file.path.as_str(), file.named())).collect(),
        items: product().map(|file| (file.path.as_str(), file.items())).collect(),
    };
    let mut found = Imports::new();
    for file in product().filter(|file| !file.module_path().is_empty()) {
        let into = found.entry(file.path.clone()).or_default();
        for named in all.names[file.path.as_str()].iter().filter(|named| !named.public) {
            if let Some(target) = all
                .resolve(&named.path, 8)
                .filter(|target| target.path != file.path)
            {
                into.insert(target.path.clone());
            }
        }
    }
    found
}

impl<'a> Crate<'a> {
    /// The file in which the item or module of this path is defined; `None` if it is of another crate.
    fn resolve(&self, path: &[String], depth: u32) -> Option<&'a File> {
        let (length, file) = (1..=path.len())
            .rev()
            .find_map(|length| Some((length, *self.files.get(&path[..length])?)))?;
        let Some(item) = path.get(length) else {
            return Some(file);
        };
        let defines = |file: &File| self.items[file.path.as_str()].contains(item.as_str());
        if depth == 0 || defines(file) {
            return Some(file);
        }
        let through = self.names[file.path.as_str()].iter().find_map(|named| {
            let (last, folder) = named.path.split_last()?;
            let target = if named.alias.as_deref() == Some(item) {
                named.path.clone()
            } else if last == "*" && folder != &path[..length] {
                [folder, std::slice::from_ref(item)].concat()
            } else {
                return None;
            };
            let target = self.resolve(&target, depth - 1)?;
            (last != "*" || defines(target)).then_some(target)
        });
        Some(through.unwrap_or(file))
    }
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
    fn circle_of_files_is_found_and_a_folder_that_names_its_items_is_none() {
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
