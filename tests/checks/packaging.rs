//! `packaging/`: man pages are generated from the command line, completions ask the program, and `make install` puts everything
//! in place.
//! `UPDATE=1 cargo test --test checks packaging` writes the generated files.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use davit::cli::Cli;
use davit_test_support::{run, try_run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The generated files by their path in packaging/.
fn generated() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let dir = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(Cli::command(), dir.path()).unwrap();
    for page in dir.path().read_dir().unwrap().flatten() {
        files.insert(
            Path::new("man").join(page.file_name()),
            std::fs::read(page.path()).unwrap(),
        );
    }
    files
}

/// Every file below `dir`, relative to it.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in next.read_dir().into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                files.push(entry.path().strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

#[test]
fn man_pages_are_those_of_the_command_line() {
    let packaging = root().join("packaging");
    let expected = generated();
    assert!(expected.len() > 8, "{:?}", expected.keys());
    if std::env::var_os("UPDATE").is_some() {
        let _ = std::fs::remove_dir_all(packaging.join("man"));
        for (path, text) in &expected {
            let path = packaging.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    for (path, text) in &expected {
        assert!(
            std::fs::read(packaging.join(path)).is_ok_and(|found| found == *text),
            "packaging/{} is out of date: run `UPDATE=1 cargo test --test checks packaging`",
            path.display()
        );
    }
    let found = below(&packaging.join("man"));
    assert_eq!(found.len(), expected.len(), "{found:?}");
}

#[test]
fn installed_files_are_complete_and_uninstall_removes_them() {
    let dir = tempfile::tempdir().unwrap();
    let make = |target: &str| {
        run(Command::new("make")
            .arg(target)
            .arg(format!("DESTDIR={}", dir.path().display()))
            .args(["PREFIX=/usr", &format!("BINARY={}", env!("CARGO_BIN_EXE_davit"))])
            .current_dir(root()))
    };
    make("install");
    let installed = below(dir.path());
    for file in [
        "usr/bin/davit",
        "usr/bin/kubectl-davit",
        "usr/bin/kubectl_complete-davit",
        "usr/lib/systemd/system/davit.service",
        "usr/lib/sysusers.d/davit.conf",
        "usr/share/bash-completion/completions/davit",
        "usr/share/fish/vendor_completions.d/davit.fish",
        "usr/share/man/man1/davit-up.1",
        "usr/share/man/man1/davit.1",
        "usr/share/zsh/site-functions/_davit",
    ] {
        assert!(
            installed.contains(&PathBuf::from(file)),
            "{file} is not in {installed:?}"
        );
    }
    for name in ["davit", "kubectl-davit"] {
        run(Command::new(dir.path().join("usr/bin").join(name)).arg("--version"));
    }
    let unit = std::fs::read_to_string(dir.path().join("usr/lib/systemd/system/davit.service")).unwrap();
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    assert_eq!(start.split(' ').next(), Some("/usr/bin/davit"));
    Cli::try_parse_from(start.split(' ')).unwrap();
    make("uninstall");
    assert_eq!(below(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn unit_is_valid_and_hardened() {
    let unit = std::fs::read_to_string(root().join("packaging/davit.service")).unwrap();
    let environment = unit
        .lines()
        .find_map(|line| line.strip_prefix("Environment="))
        .unwrap();
    let mut known = Cli::command();
    known.build();
    let up = known.find_subcommand("up").unwrap();
    for assignment in environment.split(' ') {
        let (name, _) = assignment.split_once('=').unwrap();
        assert!(
            up.get_arguments()
                .any(|argument| argument.get_env().is_some_and(|env| env == name)),
            "{name}"
        );
    }
    for directive in [
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "StateDirectoryMode=0700",
    ] {
        assert!(unit.lines().any(|line| line == directive), "{directive}");
    }
    // Where systemd is installed, it reads the unit too.
    if try_run(Command::new("sh").args(["-c", "command -v systemd-analyze"])).0 {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("davit.service");
        std::fs::write(
            &copy,
            unit.replace("/usr/local/bin/davit", env!("CARGO_BIN_EXE_davit")),
        )
        .unwrap();
        let (_, out, error) = try_run(
            Command::new("systemd-analyze")
                .args(["verify", "--man=no"])
                .arg(&copy),
        );
        let said = out + &error;
        let wrong: Vec<_> = said
            .lines()
            .filter(|line| line.contains("davit.service") && line.contains("nknown"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

/// What the completion of bash offers for a line whose last word is being typed.
fn completed(line: &[&str]) -> Vec<String> {
    let script = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _davit; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = root().join("packaging/completions/bash/davit");
    let out = run(Command::new("bash")
        .args(["-c", script])
        .arg(file)
        .arg(env!("CARGO_BIN_EXE_davit"))
        .args(line));
    out.lines().map(str::to_owned).collect()
}

#[test]
fn completion_of_bash_offers_commands_flags_and_values() {
    assert_eq!(
        completed(&["re"]),
        ["restore", "redeploy", "restart", "resume", "repos"]
    );
    assert_eq!(completed(&["status", "-o", ""]), ["wide", "name", "json", "yaml"]);
    assert!(completed(&["deploy", "shop", "--"]).contains(&"--title".to_owned()));
    assert!(!completed(&[""]).iter().any(|word| word.starts_with(['_', ':'])));
    // bash separates the value of a flag from it.
    assert_eq!(completed(&["status", "--output", "=", "j"]), ["json"]);
    assert_eq!(
        completed(&["status", "--output", "="]),
        ["wide", "name", "json", "yaml"]
    );
    for shell in ["zsh", "fish"] {
        let file = root().join("packaging/completions").join(if shell == "zsh" {
            "zsh/_davit"
        } else {
            "fish/davit.fish"
        });
        assert!(
            std::fs::read_to_string(&file).unwrap().contains("__complete -- "),
            "{shell}"
        );
        // Where the shell is installed, it reads the file.
        if try_run(Command::new("sh").args(["-c", &format!("command -v {shell}")])).0 {
            run(Command::new(shell).arg("-n").arg(&file));
        }
    }
}

#[test]
fn krew_manifest_names_the_archive_with_its_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let printed = run(Command::new(root().join("scripts/krew-manifest"))
        .arg(dir.path())
        .arg("https://example.com/davit/v1/")
        .env("BINARY", env!("CARGO_BIN_EXE_davit")));
    let manifest: serde_json::Value = serde_yaml::from_str(&printed).unwrap();
    let version = manifest["spec"]["version"].as_str().unwrap();
    assert_eq!(version, concat!("v", env!("CARGO_PKG_VERSION")));
    let platform = &manifest["spec"]["platforms"][0];
    let archive = platform["uri"]
        .as_str()
        .unwrap()
        .strip_prefix("https://example.com/davit/v1/")
        .unwrap();
    let sum = run(Command::new("sha256sum").arg(dir.path().join(archive)));
    assert_eq!(platform["sha256"].as_str(), sum.split(' ').next());
    let listed = run(Command::new("tar").arg("-tzf").arg(dir.path().join(archive)));
    assert_eq!(listed, "LICENSE\nkubectl-davit");
    assert!(
        !printed.contains("SHA256") && !printed.contains("VERSION") && !printed.contains("ARCH"),
        "{printed}"
    );
}

/// The flags that every command of daily use has, but for these.
const WITHOUT: [(&str, &[&str], &str); 2] = [
    ("exec", &["output"], "its output is that of the command"),
    (
        "init",
        &["context", "kubeconfig", "wait", "timeout"],
        "it asks no API server",
    ),
];

#[test]
fn commands_of_daily_use_share_their_flags_and_show_examples() {
    let mut known = Cli::command();
    known.build();
    let own = [
        "up",
        "controller",
        "crds",
        "backup",
        "restore",
        "help",
        "completion",
        "__complete",
    ];
    let mut seen = 0;
    for command in known.get_subcommands() {
        let name = command.get_name();
        if !["help", "__complete"].contains(&name) {
            let examples = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(examples.starts_with("Examples:"), "{name} has no examples");
        }
        if own.contains(&name) {
            continue;
        }
        seen += 1;
        let excepted = WITHOUT
            .iter()
            .find(|(of, ..)| *of == name)
            .map_or(&[][..], |(_, flags, _)| flags);
        for flag in ["namespace", "context", "kubeconfig", "output", "wait", "timeout"] {
            let has = command.get_arguments().any(|it| it.get_long() == Some(flag));
            assert_eq!(has, !excepted.contains(&flag), "davit {name} --{flag}");
        }
        for (flag, short) in [("namespace", 'n'), ("output", 'o')] {
            let argument = command.get_arguments().find(|it| it.get_long() == Some(flag));
            assert!(
                argument.is_none_or(|it| it.get_short() == Some(short)),
                "davit {name} -{short}"
            );
        }
    }
    assert_eq!(seen, 21, "a new command has these flags, too");
    let page = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    for (name, _, why) in WITHOUT {
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/cli.md does not explain {name}: {why}"
        );
    }
}
