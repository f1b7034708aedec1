//! `src/` as flat lists of tokens, with the code of tests left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::LazyLock;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// One token that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Ident(String),
    /// `::`
    Path,
    Comma,
    /// Any other punctuation or literal.
    Other,
    Open(char),
    Close,
}

/// A path that a file names, from the root of its crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `["plan", "action", "Action"]` for `crate::plan::action::Action`; the last one is `*` for all items of a module.
    pub path: Vec<String>,
    /// The name that a `use` gives to it in the file.
    pub alias: Option<String>,
    /// True for `pub use`, which makes a name and uses nothing.
    pub public: bool,
}

/// One file of `src/`.
pub struct File {
    /// From the project's folder, as `src/forge/http.rs`.
    pub path: String,
    /// The module right below the crate: `forge`.
    pub module: String,
    /// True where the whole file is for tests.
    pub is_test: bool,
    /// How many lines it has.
    pub lines: usize,
    /// The words with their lines and how deep in modules of the crate they stand: 1 in `forge`, 2 in `forge::http`.
    words: Vec<(Word, usize, usize)>,
}

/// All files of `src/`, read once.
pub fn files() -> &'static [File] {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(|| sources(Path::new(env!("CARGO_MANIFEST_DIR"))));
    &FILES
}

/// All files of the API server's crate, read once.
pub fn apiserver_files() -> &'static [File] {
    static FILES: LazyLock<Vec<File>> =
        LazyLock::new(|| sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/davit-apiserver")));
    &FILES
}

fn sources(package: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&package.join("src"), &mut paths);
    assert!(paths.len() > 20, "src/ was found");
    paths.iter().map(|path| read(package, path)).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    into.sort();
}

fn read(root: &Path, path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap();
    parse(path.strip_prefix(root).unwrap().to_str().unwrap(), &text)
}

/// The file at `path`, which is relative to its package, with this text.
pub fn parse(path: &str, text: &str) -> File {
    let stream = TokenStream::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let parts: Vec<_> = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .split('/')
        .collect();
    let depth = parts.iter().filter(|part| **part != "mod").count();
    let depth = if matches!(parts[..], ["lib" | "main"]) {
        0
    } else {
        depth
    };
    let mut words = Vec::new();
    flatten(stream, depth, &mut words);
    File {
        module: parts[0].to_owned(),
        is_test: parts
            .iter()
            .any(|part| part.starts_with("tests") || part.ends_with("_tests")),
        lines: text.lines().count(),
        words,
        path: path.to_owned(),
    }
}

/// Appends the words of `stream`; items under `#[cfg(test)]` are left out.
fn flatten(stream: TokenStream, depth: usize, words: &mut Vec<(Word, usize, usize)>) {
    let mut inner = depth;
    // Where an item under `#[cfg(test)]` begins.
    let mut for_tests = None;
    let mut module = false;
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
        let mut ends_item = false;
        match token {
            TokenTree::Ident(ident) => {
                let ident = ident.to_string();
                if ident == "mod" {
                    module = true;
                    inner = depth + 1;
                }
                words.push((Word::Ident(ident), line, depth));
            }
            TokenTree::Punct(punct) => {
                let pair = punct.as_char() == ':'
                    && punct.spacing() == Spacing::Joint
                    && matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == ':');
                let word = match punct.as_char() {
                    _ if pair => {
                        tokens.next();
                        Word::Path
                    }
                    ',' => Word::Comma,
                    _ => Word::Other,
                };
                ends_item = punct.as_char() == ';';
                words.push((word, line, depth));
            }
            TokenTree::Group(group) => {
                let open = match group.delimiter() {
                    Delimiter::Brace => '{',
                    Delimiter::Bracket => '[',
                    Delimiter::Parenthesis => '(',
                    Delimiter::None => ' ',
                };
                if open == '[' && group.stream().to_string().replace(' ', "") == "cfg(test)" {
                    for_tests.get_or_insert(words.len());
                }
                words.push((Word::Open(open), line, depth));
                flatten(group.stream(), if module { inner } else { depth }, words);
                words.push((Word::Close, line, depth));
                ends_item = open == '{';
            }
            TokenTree::Literal(_) => words.push((Word::Other, line, depth)),
        }
        if ends_item {
            if let Some(begin) = for_tests.take() {
                words.truncate(begin);
            }
            (module, inner) = (false, depth);
        }
    }
}

impl File {
    /// The file's module: `["plan", "action"]` for `src/plan/action.rs`; empty for the root of the crate.
    pub fn module_path(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let parts = path
            .split('/')
            .filter(|part| !["mod", "lib", "main"].contains(part));
        parts.map(str::to_owned).collect()
    }

    /// The names of the items that the file defines.
    pub fn items(&self) -> BTreeSet<&str> {
        const KEYWORDS: [&str; 8] = [
            "struct", "enum", "fn", "trait", "type", "const", "static", "union",
        ];
        (1..self.words.len())
            .filter(|at| self.ident(at - 1).is_some_and(|word| KEYWORDS.contains(&word)))
            .filter_map(|at| self.ident(at))
            .collect()
    }

    /// Every path of the own crate that the file names.
    pub fn named(&self) -> Vec<Named> {
        let module = self.module_path();
        let children: Vec<&str> = (1..self.words.len())
            .filter(|at| self.ident(at - 1) == Some("mod"))
            .filter_map(|at| self.ident(at))
            .collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.words.len() {
            let used = self.ident(at) == Some("use") && self.word(at + 1) != Some(&Word::Other);
            let path = self.ident(at).is_some()
                && self.word(at + 1) == Some(&Word::Path)
                && (at == 0 || self.word(at - 1) != Some(&Word::Path))
                && !self.is_visibility(at);
            if !(used || path) {
                at += 1;
                continue;
            }
            let public = used && self.is_public(at);
            let depth = self.words[at].2;
            let mut leaves = Vec::new();
            at = self.leaves(if used { at + 1 } else { at }, used, &[], &mut leaves);
            for (leaf, alias) in leaves {
                let ups = leaf.iter().take_while(|part| *part == "super").count();
                let (base, rest) = match leaf[0].as_str() {
                    "crate" => (0, &leaf[1..]),
                    "super" => (depth - ups.min(depth), &leaf[ups..]),
                    "self" => (depth, &leaf[1..]),
                    first if children.contains(&first) => (module.len(), &leaf[..]),
                    _ => continue,
                };
                // What is further down is a module inside this file.
                if let Some(base) = module.get(..base) {
                    let path = [base, rest].concat();
                    found.push(Named { path, alias, public });
                }
            }
        }
        found
    }

    /// Whether `pub` or `pub(…)` stands before the word at `at`.
    fn is_public(&self, at: usize) -> bool {
        let mut before = at;
        if before > 0 && self.word(before - 1) == Some(&Word::Close) {
            while before > 0 && !matches!(self.word(before - 1), Some(Word::Open('('))) {
                before -= 1;
            }
            before = before.saturating_sub(1);
        }
        before > 0 && self.ident(before - 1) == Some("pub")
    }

    /// Whether the path at `at` is that of `pub(in path)`.
    fn is_visibility(&self, at: usize) -> bool {
        at > 2
            && self.ident(at - 1) == Some("in")
            && self.word(at - 2) == Some(&Word::Open('('))
            && self.ident(at - 3) == Some("pub")
    }

    /// Collects the leaves of the path that begins at `at`, with their aliases; returns where it ends. Only a path in a
    /// `use` has braces, globs and aliases.
    fn leaves(
        &self,
        mut at: usize,
        used: bool,
        prefix: &[String],
        into: &mut Vec<(Vec<String>, Option<String>)>,
    ) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match self.word(at) {
                Some(Word::Ident(ident)) => {
                    // `a::{self, b}` names `a` and `a::b`.
                    if ident != "self" || path.is_empty() {
                        path.push(ident.clone());
                    }
                    at += 1;
                }
                Some(Word::Open('{')) if used => {
                    at += 1;
                    while !matches!(self.word(at), None | Some(Word::Close)) {
                        at = match self.word(at) {
                            Some(Word::Comma | Word::Path) => at + 1,
                            _ => self.leaves(at, used, &path, into).max(at + 1),
                        };
                    }
                    return at + 1;
                }
                Some(Word::Other) if used => {
                    path.push("*".to_owned());
                    at += 1;
                }
                _ => break,
            }
            if self.word(at) != Some(&Word::Path) {
                break;
            }
            at += 1;
        }
        let mut alias = path.last().cloned().filter(|_| used);
        if used && self.ident(at) == Some("as") {
            alias = self.ident(at + 1).map(str::to_owned);
            at += 2;
        }
        if !path.is_empty() {
            into.push((path, alias));
        }
        at
    }

    fn word(&self, at: usize) -> Option<&Word> {
        self.words.get(at).map(|(word, _, _)| word)
    }

    fn ident(&self, at: usize) -> Option<&str> {
        match self.word(at)? {
            Word::Ident(ident) => Some(ident),
            _ => None,
        }
    }

    /// The lines on which `path` (idents joined by `::`) is named, also where its last ident stands in braces.
    pub fn find(&self, path: &str) -> Vec<usize> {
        let parts: Vec<_> = path.split("::").collect();
        let (last, first) = parts.split_last().unwrap();
        let mut lines = Vec::new();
        for at in 0..self.words.len() {
            let mut next = at;
            let prefix = first.iter().all(|part| {
                let here = self.ident(next) == Some(part) && self.word(next + 1) == Some(&Word::Path);
                next += 2;
                here
            });
            if prefix && self.heads(next).iter().any(|(ident, _)| ident == last) {
                lines.push(self.words[at].1);
            }
        }
        lines
    }

    /// The ident at `at`, or those at the beginnings of the branches of the braces that open there.
    fn heads(&self, at: usize) -> Vec<(String, usize)> {
        if self.word(at) != Some(&Word::Open('{')) {
            let line = self.words.get(at).map_or(0, |(_, line, _)| *line);
            return self
                .ident(at)
                .map(|ident| (ident.to_owned(), line))
                .into_iter()
                .collect();
        }
        let (mut depth, mut heads, mut fresh) = (0, Vec::new(), true);
        for (word, line, _) in &self.words[at..] {
            match word {
                Word::Open(_) => depth += 1,
                Word::Close => depth -= 1,
                Word::Comma if depth == 1 => fresh = true,
                Word::Ident(ident) if depth == 1 && fresh => {
                    heads.push((ident.clone(), *line));
                    fresh = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        heads
    }

    /// The modules right below the crate that are named, with lines: by `crate::`, by `super::` from where that is the
    /// crate, and by `davit::`.
    pub fn imports(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for at in 0..self.words.len() {
            let (_, _, depth) = self.words[at];
            let before = at.checked_sub(1).and_then(|before| self.word(before));
            let Some(ident) = self.ident(at).filter(|_| before != Some(&Word::Path)) else {
                continue;
            };
            if self.word(at + 1) != Some(&Word::Path) {
                continue;
            }
            match ident {
                "crate" | "davit" => found.extend(self.heads(at + 2)),
                "super" => {
                    let (mut next, mut ups) = (at, 0);
                    while self.ident(next) == Some("super") && self.word(next + 1) == Some(&Word::Path) {
                        (next, ups) = (next + 2, ups + 1);
                    }
                    if ups >= depth {
                        found.extend(self.heads(next));
                    }
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(depth: usize, text: &str) -> File {
        let path = ["src/lib.rs", "src/here.rs", "src/here/below.rs"][depth];
        parse(path, text)
    }

    #[test]
    fn import_is_found_in_every_notation() {
        for (depth, text, modules) in [
            (1, "use crate::api::Reason;", vec!["api"]),
            (
                1,
                "use crate::{api::{Reason, Class}, model, plan as p};",
                vec!["api", "model", "plan"],
            ),
            (1, "use {crate::api, std::fs};", vec!["api"]),
            (
                1,
                "fn f(x: crate::model::AppId) -> Vec<crate::redact::Secret> {}",
                vec!["model", "redact"],
            ),
            (1, "use super::api;", vec!["api"]),
            (2, "use super::api;", vec![]),
            (2, "use super::super::api;", vec!["api"]),
            (
                1,
                "mod inner { use super::x; use super::super::api; }",
                vec!["api"],
            ),
            (0, "fn main() { davit::cli::run() }", vec!["cli"]),
            (1, "matches!(x, crate::api::Phase::Done)", vec!["api"]),
            (
                1,
                "pub(crate) fn f() {} pub(in crate::api) fn g() {}",
                vec!["api"],
            ),
            (
                1,
                "// use crate::api;\n/// [`crate::api`]\nconst A: &str = \"crate::api\";",
                vec![],
            ),
            (
                1,
                "#[cfg(test)]\nmod tests { use crate::runtime::fake; }\nuse crate::api;",
                vec!["api"],
            ),
            (
                1,
                "#[cfg(test)]\nmod tests;\nmod x { use crate::api; }",
                vec!["api"],
            ),
        ] {
            let found: Vec<_> = file(depth, text)
                .imports()
                .into_iter()
                .map(|(module, _)| module)
                .collect();
            assert_eq!(found, modules, "{text}");
        }
    }

    #[test]
    fn paths_are_found_in_braces_too() {
        for (text, path, lines) in [
            ("use std::process::Command;", "process::Command", vec![1]),
            (
                "use std::process::{Child,\n Command};",
                "process::Command",
                vec![1],
            ),
            ("use std::process::Child;", "process::Command", vec![]),
            ("\nfn f() { std::env::var(\"A\"); }", "env::var", vec![2]),
            ("const A: &str = env!(\"A\");", "env::var", vec![]),
            ("async fn f() {}", "async", vec![1]),
            ("// async\nfn f() { g(\"async\") }", "async", vec![]),
        ] {
            assert_eq!(file(1, text).find(path), lines, "{text}");
        }
    }
}
