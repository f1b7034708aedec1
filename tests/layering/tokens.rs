//! `src/` as flat lists of tokens, with the code of tests left out.

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
    let stream = TokenStream::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
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
        is_test: parts.contains(&"tests"),
        lines: text.lines().count(),
        words,
        path,
    }
}

/// Appends the words of `stream`; modules under `#[cfg(test)]` are left out.
fn flatten(stream: TokenStream, depth: usize, words: &mut Vec<(Word, usize, usize)>) {
    let mut inner = depth;
    let mut for_tests = false;
    let mut module = false;
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
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
                if punct.as_char() == ';' {
                    (for_tests, module, inner) = (false, false, depth);
                }
                words.push((word, line, depth));
            }
            TokenTree::Group(group) => {
                let attribute = group.delimiter() == Delimiter::Bracket;
                for_tests |= attribute && group.stream().to_string().replace(' ', "") == "cfg(test)";
                let body = group.delimiter() == Delimiter::Brace;
                if !(body && for_tests) {
                    let open = match group.delimiter() {
                        Delimiter::Brace => '{',
                        Delimiter::Bracket => '[',
                        Delimiter::Parenthesis => '(',
                        Delimiter::None => ' ',
                    };
                    words.push((Word::Open(open), line, depth));
                    flatten(group.stream(), if module { inner } else { depth }, words);
                    words.push((Word::Close, line, depth));
                }
                if body {
                    (for_tests, module, inner) = (false, false, depth);
                }
            }
            TokenTree::Literal(_) => words.push((Word::Other, line, depth)),
        }
    }
}

impl File {
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
        let mut words = Vec::new();
        flatten(TokenStream::from_str(text).unwrap(), depth, &mut words);
        File {
            path: String::new(),
            module: "here".to_owned(),
            is_test: false,
            lines: 0,
            words,
        }
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
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
