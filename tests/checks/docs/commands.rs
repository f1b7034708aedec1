//! Every command that a page or `--help` shows exists: the program, its subcommand and every flag. `tests/examples.rs`
//! runs those that a test machine can run.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use davit::cli::Cli;

/// Programs whose commands are checked flag by flag.
const CHECKED: [&str; 5] = ["kubectl", "davit", "docker", "make", "cargo"];

/// Programs of every machine that the pages use besides.
const TRUSTED: [&str; 18] = [
    "apt-get",
    "cat",
    "cd",
    "cp",
    "curl",
    "echo",
    "export",
    "git",
    "install",
    "journalctl",
    "kill",
    "sed",
    "ssh-keygen",
    "ssh-keyscan",
    "tar",
    "stat",
    "systemctl",
    "systemd-sysusers",
];

/// A command as a page shows it.
#[derive(Debug)]
pub struct Shown {
    /// The page and the command.
    pub place: String,
    /// The command and what follows it on the line, a comment included.
    pub line: String,
}

/// Every command of a page: lines of blocks for a terminal, and code in a sentence that begins with a known program.
pub fn shown(name: &str, page: &str) -> Vec<Shown> {
    let mut lines = Vec::new();
    let mut prose = String::new();
    let mut fence: Option<&str> = None;
    let mut heredoc: Option<String> = None;
    // Whether the line before was empty or code too: anything else is a paragraph, or an item of a list, that goes on.
    let mut apart = true;
    let mut unfinished: Option<String> = None;
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
            continue;
        }
        let typed = match fence {
            Some("console") if unfinished.is_some() => Some(line),
            Some("console") => line.strip_prefix("$ "),
            Some("sh" | "bash") => Some(line),
            Some(_) => None,
            None => line.strip_prefix("    ").filter(|_| apart),
        };
        if fence.is_none() {
            apart = line.is_empty() || typed.is_some();
            if typed.is_none() {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        let Some(typed) = typed else { continue };
        if let Some(end) = &heredoc {
            if typed.trim() == end {
                heredoc = None;
            }
            continue;
        }
        if let Some((_, end)) = typed.split_once("<<") {
            heredoc = Some(end.trim_matches(['\'', '"']).to_owned());
        }
        let whole = unfinished.take().unwrap_or_default() + typed;
        match whole.strip_suffix('\\') {
            Some(begun) => unfinished = Some(begun.to_owned()),
            None => lines.push(whole),
        }
    }
    assert!(unfinished.is_none(), "{name}: a command ends with a backslash");
    lines.extend(prose.split('`').skip(1).step_by(2).filter_map(|code| {
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        let (program, _) = code.split_once(' ').unwrap_or((&code, ""));
        let known = CHECKED.contains(&program) && code.contains(' ');
        (known || (program.starts_with("scripts/") && !program.contains('*'))).then_some(code)
    }));
    lines
        .into_iter()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|line| Shown {
            place: format!("{name}: {line}"),
            line,
        })
        .collect()
}

/// The single commands of a line, each as its words.
fn commands(shown: &Shown) -> Vec<Vec<String>> {
    let words = shlex::split(&shown.line).unwrap_or_else(|| panic!("{}: a quote is not closed", shown.place));
    words
        .split(|word| matches!(word.as_str(), "|" | "&&" | "||" | ";" | "&"))
        .map(|words| {
            let assigns = |word: &&String| {
                word.split_once('=')
                    .is_some_and(|(name, _)| name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_'))
            };
            let words = words
                .iter()
                .skip_while(assigns)
                .skip_while(|word| *word == "sudo");
            // What is redirected is no argument.
            let mut kept = Vec::new();
            let mut target = false;
            for word in words {
                if std::mem::take(&mut target) || word.starts_with("<<") {
                    continue;
                }
                if let Some(file) = word.strip_prefix(['>', '<']) {
                    target = file.trim_start_matches('>').is_empty();
                    continue;
                }
                kept.push(word.trim_end_matches(';').to_owned());
            }
            // As a plugin of kubectl.
            if kept.starts_with(&["kubectl".to_owned(), "davit".to_owned()]) {
                kept.remove(0);
            }
            kept
        })
        .filter(|words| !words.is_empty())
        .collect()
}

/// Checks commands, and remembers what programs answer to `--help`.
pub struct Checker {
    kubectl: PathBuf,
    root: PathBuf,
    help: HashMap<Vec<String>, String>,
}

impl Checker {
    /// `kubectl` is the oldest one that the pages promise to work with.
    pub fn new(root: &Path, kubectl: PathBuf) -> Self {
        Self {
            kubectl,
            root: root.to_owned(),
            help: HashMap::new(),
        }
    }

    /// Checks every command of a line.
    pub fn check(&mut self, shown: &Shown) -> Result<(), String> {
        for words in commands(shown) {
            let (program, args) = words.split_first().expect("a command has a first word");
            let checked = match program.as_str() {
                "kubectl" => self.kubectl(args),
                "docker" => self.docker(args),
                "davit" => davit(args),
                "make" => self.make(args),
                "cargo" => self.cargo(args),
                script if script.starts_with("scripts/") => self.script(script, args),
                other if TRUSTED.contains(&other) => Ok(()),
                other => Err(format!("{other} is not in the list of programs")),
            };
            checked.map_err(|error| format!("{}\n  {error}", shown.place))?;
        }
        Ok(())
    }

    fn kubectl(&mut self, args: &[String]) -> Result<(), String> {
        let program = self.kubectl.clone();
        let verb = verbs(args, &["-n", "--namespace", "--kubeconfig", "--context"]);
        let deep = match verb.first().map(String::as_str) {
            Some("create") if verb.get(1).is_some_and(|kind| kind == "secret") => 3,
            Some("create") if verb.len() == 1 => 1,
            Some("create" | "rollout" | "config" | "auth" | "certificate" | "set") => 2,
            _ => 1,
        };
        let verb: Vec<String> = verb.into_iter().take(deep).collect();
        let own = self.help_of(&program, &verb)?;
        let global = self.help_of(&program, &[])?;
        flags(args, &[&own, &global])?;
        let waits = args
            .iter()
            .filter_map(|word| word.strip_prefix("--for="))
            .find(|what| *what != "delete" && !what.starts_with("condition="));
        match waits {
            Some(what) if verb == ["wait"] => Err(format!("kubectl 1.20 does not wait for {what}")),
            _ => Ok(()),
        }
    }

    fn docker(&mut self, args: &[String]) -> Result<(), String> {
        let verb = verbs(args, &["-H", "--host"]);
        let deep = match verb.first().map(String::as_str) {
            Some("volume" | "network" | "system" | "container" | "image") => 2,
            _ => 1,
        };
        // What follows the image of `docker run` belongs to the program in it.
        let help = self.help_of(
            Path::new("docker"),
            &verb.into_iter().take(deep).collect::<Vec<_>>(),
        )?;
        flags(args, &[&help])
    }

    fn make(&self, args: &[String]) -> Result<(), String> {
        let makefile =
            std::fs::read_to_string(self.root.join("Makefile")).map_err(|error| error.to_string())?;
        for target in args.iter().filter(|word| !word.contains('=')) {
            let rule = format!("\n{target}:");
            if !makefile.contains(&rule) {
                return Err(format!("Makefile has no target {target}"));
            }
        }
        Ok(())
    }

    fn cargo(&self, args: &[String]) -> Result<(), String> {
        const SUBCOMMANDS: [&str; 7] = ["build", "check", "test", "bench", "install", "deny", "mutants"];
        let subcommand = args.first().map(String::as_str).unwrap_or_default();
        if !SUBCOMMANDS.contains(&subcommand) {
            return Err(format!("cargo {subcommand} is not in the list of subcommands"));
        }
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--test" => "tests",
                "--bench" => "benches",
                "--" => break,
                _ => continue,
            };
            let name = words.next().ok_or("a name is missing")?;
            if !self.has_target(place, name) {
                return Err(format!("no package has {word} {name}"));
            }
        }
        Ok(())
    }

    fn has_target(&self, place: &str, name: &str) -> bool {
        let members = self
            .root
            .join("crates")
            .read_dir()
            .into_iter()
            .flatten()
            .flatten();
        members
            .map(|entry| entry.path())
            .chain([self.root.clone()])
            .map(|package| package.join(place))
            .any(|folder| {
                folder.join(name).with_extension("rs").exists() || folder.join(name).join("main.rs").exists()
            })
    }

    fn script(&self, script: &str, args: &[String]) -> Result<(), String> {
        let text =
            std::fs::read_to_string(self.root.join(script)).map_err(|error| format!("{script}: {error}"))?;
        let unknown = args
            .iter()
            .find(|word| word.starts_with("--") && !text.contains(word.as_str()));
        unknown.map_or(Ok(()), |flag| Err(format!("{script} has no flag {flag}")))
    }

    /// What a program answers to `VERB --help`.
    fn help_of(&mut self, program: &Path, verb: &[String]) -> Result<String, String> {
        let mut key = vec![program.display().to_string()];
        key.extend_from_slice(verb);
        if let Some(known) = self.help.get(&key) {
            return Ok(known.clone());
        }
        // The flags of every command of kubectl stand in a page of their own.
        let page = if verb.is_empty() { "options" } else { "--help" };
        let output = Command::new(program)
            .args(verb)
            .arg(page)
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || text.is_empty() {
            return Err(format!("{key:?} has no help"));
        }
        self.help.insert(key, text.clone());
        Ok(text)
    }
}

/// The words before the first flag, flags of the whole program (and their values) left out.
fn verbs(args: &[String], global: &[&str]) -> Vec<String> {
    let mut words = args.iter();
    let mut verbs = Vec::new();
    while let Some(word) = words.next() {
        if global.contains(&word.as_str()) {
            words.next();
        } else if word.starts_with('-') {
            break;
        } else {
            verbs.push(word.clone());
        }
    }
    verbs
}

/// Checks that each flag stands in one of these texts.
fn flags(args: &[String], helps: &[&str]) -> Result<(), String> {
    for word in args.iter().take_while(|word| *word != "--") {
        let flag = word.split('=').next().unwrap_or_default();
        let known = |help: &&str| {
            help.lines().any(|line| {
                line.split([' ', ',', '='])
                    .take_while(|part| part.is_empty() || part.starts_with('-'))
                    .any(|part| part == flag)
            })
        };
        if flag.starts_with('-') && flag != "-" && !helps.iter().any(known) {
            return Err(format!("there is no flag {flag}"));
        }
    }
    Ok(())
}

fn davit(args: &[String]) -> Result<(), String> {
    let args = std::iter::once("davit").chain(args.iter().map(String::as_str));
    match Cli::try_parse_from(args) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()), // --help, --version
        // A sentence names a command without what it needs.
        Err(error) if error.kind() == clap::error::ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// `--help` of davit and of each of its subcommands, as pages of sentences.
pub fn help_pages() -> Vec<(String, String)> {
    let mut root = Cli::command();
    root.build();
    // Help is indented, and no part of it is a block of commands.
    let text = |command: &mut clap::Command| {
        let help = command.render_long_help().to_string();
        help.lines()
            .fold(String::new(), |all, line| all + line.trim() + "\n")
    };
    let mut pages = vec![("davit --help".to_owned(), text(&mut root))];
    for command in root.get_subcommands_mut() {
        let name = format!("davit {} --help", command.get_name());
        pages.push((name, text(command)));
    }
    pages
}

#[test]
fn commands_of_a_page_are_found_in_blocks_and_sentences() {
    let page = "Type `kubectl get\npods` or `davit`.\n\n    davit up & # now\n    kubectl apply -f - <<'EOF'\n    a: b\n    EOF\n\n\
                - an item\n    goes on\n\n```console\n$ docker run \\\n    --rm x\nout\n```\n```yaml\nkubectl: no\n```\n";
    let lines: Vec<String> = shown("page", page).into_iter().map(|shown| shown.line).collect();
    assert_eq!(
        lines,
        [
            "davit up & # now",
            "kubectl apply -f - <<'EOF'",
            "docker run     --rm x",
            "kubectl get pods"
        ]
    );
}

#[test]
fn unknown_flags_and_programs_are_reported() {
    let help = "  -n, --namespace='': The namespace\n      --for='': What";
    let words = |line: &str| shlex::split(line).unwrap();
    assert!(flags(&words("get -n x --for=y"), &[help]).is_ok());
    assert!(flags(&words("get --fo=y"), &[help]).is_err());
    assert!(flags(&words("get -o wide"), &[help]).is_err());
    assert!(davit(&words("up --listen 127.0.0.1:0")).is_ok());
    assert!(davit(&words("up --lisen 127.0.0.1:0")).is_err());
    let mut checker = Checker::new(Path::new("/nonexistent"), "/nonexistent".into());
    for line in ["nonsense", "FOO=1 nonsense x", "curl x | nonsense", "cargo dance"] {
        let shown = Shown {
            place: "page".to_owned(),
            line: line.to_owned(),
        };
        assert!(checker.check(&shown).is_err(), "{line}");
    }
}
