//! The files of `src/` import each other in no circle.
//!
//! An import of a name that a module re-exports counts as an import of the file that defines the name, so that a
//! `mod.rs` may re-export its children, and they may use what it defines nothing of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use quote::ToTokens as _;
use syn::{Item, UseTree};

type Segments = Vec<String>;

/// What one file declares and names.
#[derive(Default)]
struct File {
    /// Imported and re-exported names, with absolute paths.
    imports: BTreeMap<String, Segments>,
    /// Modules whose every name is imported.
    globs: Vec<Segments>,
    /// Paths in code, as written.
    paths: BTreeSet<Segments>,
    /// Single identifiers in code.
    words: BTreeSet<String>,
}

struct Sources(BTreeMap<Segments, File>);

fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("test")
    })
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        _ => &[],
    }
}

fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<(Segments, String)>) {
    let with = |name: String| [before, &[name]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(path.ident.to_string()), found),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        UseTree::Glob(_) => found.push((before.to_vec(), "*".to_owned())),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => found.push((with(name.ident.to_string()), name.ident.to_string())),
        UseTree::Rename(name) if name.ident == "self" => {
            found.push((before.to_vec(), name.rename.to_string()));
        }
        UseTree::Rename(name) => found.push((with(name.ident.to_string()), name.rename.to_string())),
    }
}

/// The identifiers and paths of a token stream, also of what macros are given.
fn scan(stream: proc_macro2::TokenStream, file: &mut File) {
    let mut path = Segments::new();
    let mut colons = 0;
    for token in stream {
        match token {
            proc_macro2::TokenTree::Ident(ident) => {
                if colons < 2 {
                    keep(&mut path, file);
                }
                path.push(ident.to_string());
                colons = 0;
            }
            proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                colons += 1;
            }
            other => {
                keep(&mut path, file);
                colons = 0;
                if let proc_macro2::TokenTree::Group(group) = other {
                    scan(group.stream(), file);
                }
            }
        }
    }
    keep(&mut path, file);
}

fn keep(path: &mut Segments, file: &mut File) {
    let path = std::mem::take(path);
    match path.len() {
        0 => {}
        1 => file.words.extend(path),
        _ => {
            file.paths.insert(path);
        }
    }
}

fn absolute(module: &[String], path: &[String], children: impl Fn(&Segments) -> bool) -> Option<Segments> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat()),
        first => {
            let child = [module, &[first.to_owned()]].concat();
            children(&child).then(|| [module, path].concat())
        }
    }
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut modules = BTreeMap::new();
        collect(root, &mut Segments::new(), &mut modules);
        let names: BTreeSet<_> = modules.keys().cloned().collect();
        let read = |(module, text): (Segments, String)| {
            let mut file = File::default();
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{module:?}: {error}"));
            for item in parsed.items.iter().filter(|item| !for_tests(attributes(item))) {
                match item {
                    Item::Use(item) => {
                        let mut found = Vec::new();
                        leaves(&item.tree, &[], &mut found);
                        for (path, name) in found {
                            let Some(path) = absolute(&module, &path, |child| names.contains(child)) else {
                                continue;
                            };
                            if name == "*" {
                                file.globs.push(path);
                            } else {
                                file.imports.insert(name, path);
                            }
                        }
                    }
                    Item::Mod(item) if item.content.is_none() => {}
                    item => scan(item.to_token_stream(), &mut file),
                }
            }
            (module, file)
        };
        Self(modules.into_iter().map(read).collect())
    }

    /// The module of the file in which the name at `path` is defined.
    fn definer(&self, path: &[String], seen: &mut BTreeSet<Segments>) -> Option<Segments> {
        let module = (1..=path.len())
            .rev()
            .map(|end| &path[..end])
            .find(|module| self.0.contains_key(*module))?;
        let Some(name) = path.get(module.len()) else {
            return Some(module.to_vec());
        };
        match self.0[module].imports.get(name) {
            Some(import) if seen.insert(path.to_vec()) => {
                self.definer(&[import, &path[module.len() + 1..]].concat(), seen)
            }
            _ => Some(module.to_vec()),
        }
    }

    fn imports(&self, module: &Segments) -> BTreeSet<Segments> {
        let file = &self.0[module];
        let used = file.imports.iter().filter(|(name, path)| {
            // A module's name alone is no use of the module: the paths below it are.
            file.words.contains(*name) && !self.0.contains_key(*path)
        });
        let used = used.map(|(_, path)| path.clone());
        let paths = file
            .paths
            .iter()
            .filter_map(|path| match file.imports.get(&path[0]) {
                Some(import) => Some([import, &path[1..]].concat()),
                None => absolute(module, path, |child| self.0.contains_key(child)),
            });
        used.chain(paths)
            .chain(file.globs.iter().cloned())
            .filter_map(|path| self.definer(&path, &mut BTreeSet::new()))
            .filter(|found| found != module)
            .collect()
    }

    fn circles(&self) -> Vec<String> {
        fn reach(
            from: &Segments,
            imports: &BTreeMap<Segments, BTreeSet<Segments>>,
            seen: &mut BTreeSet<Segments>,
        ) {
            for next in &imports[from] {
                if seen.insert(next.clone()) {
                    reach(next, imports, seen);
                }
            }
        }
        let imports: BTreeMap<_, _> = self
            .0
            .keys()
            .map(|module| (module.clone(), self.imports(module)))
            .collect();
        let circular = imports.keys().filter(|module| {
            let mut seen = BTreeSet::new();
            reach(module, &imports, &mut seen);
            seen.contains(*module)
        });
        circular.map(|module| module.join("::")).collect()
    }
}

fn collect(folder: &Path, module: &mut Segments, modules: &mut BTreeMap<Segments, String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            module.push(name);
            collect(&path, module, modules);
            module.pop();
        } else if !name.contains("tests") && !["lib", "internals"].contains(&name.as_str()) {
            let own = if name == "mod" {
                module.clone()
            } else {
                [&module[..], &[name]].concat()
            };
            modules.insert(own, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn source_files_import_each_other_in_no_circle() {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let collector = ["controllers", "garbage_collector"].map(str::to_owned).to_vec();
    assert!(
        sources.imports(&collector).contains(&vec!["state".to_owned()]),
        "imports are found"
    );
    assert_eq!(sources.circles(), Vec::<String>::new());
}

#[test]
fn circles_are_found_however_imports_are_written() {
    let circles = |files: &[(&str, &str)]| {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Sources::read(root.path()).circles()
    };
    for back in [
        "use crate::a::f; fn g() { f() }",
        "use super::a; fn g() { a::f() }",
        "fn g() { crate::a::f() }",
        "fn g() { print!(\"{}\", crate::a::f()) }",
        "use crate::a::*;",
    ] {
        let found = circles(&[("a.rs", "use crate::b::g; pub fn f() { g() }"), ("b.rs", back)]);
        assert_eq!(found, ["a", "b"], "{back}");
    }
    let reexported = [
        ("a/mod.rs", "mod b; mod c; pub use b::g; fn f() { c::h() }"),
        ("a/b.rs", "pub fn g() {}"),
        ("a/c.rs", "use super::g; pub fn h() { g() }"),
    ];
    assert_eq!(circles(&reexported), Vec::<String>::new());
    let parent = [
        ("a/mod.rs", "mod c; pub fn g() { c::h() }"),
        ("a/c.rs", "pub fn h() { super::g() }"),
    ];
    assert_eq!(circles(&parent), ["a", "a::c"]);
}
