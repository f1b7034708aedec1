//! `davit init`: inspects a directory and writes the Application for it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::Format;
use super::commands::Init;
use super::init_file::{COMPOSE, Found, quoted, yaml};
use super::output::{note, say, serialized};
use crate::builder::{BuildType, detect};
use crate::cli::failure::Failure;

/// The port of the web server in images of static sites.
const STATIC_PORT: u16 = 8080;

/// The build of a site whose pages are everything in the directory.
const SITE_OF_ALL: &str = "{static: {publishDirectory: \".\"}}";

/// The most that is read of a Dockerfile or of a configuration of Git.
const LARGEST: u64 = 1024 * 1024;

/// Files that tell how railpack builds.
const KNOWN: [&str; 12] = [
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "go.mod",
    "Cargo.toml",
    "Gemfile",
    "composer.json",
    "pom.xml",
    "build.gradle",
    "mix.exs",
    "deno.json",
    "main.py",
];

/// `davit init`.
///
/// # Errors
/// The directory cannot be read, or the file exists or cannot be written.
pub fn init(args: &Init) -> Result<(), Failure> {
    let directory = fs::canonicalize(&args.directory)
        .map_err(|error| Failure::new(format!("cannot inspect {}: {error}", args.directory.display())))?;
    if !directory.is_dir() {
        return Err(Failure::new(format!(
            "{} is not a directory: name the directory of the source",
            directory.display()
        )));
    }
    let mut found = inspect(&directory);
    if let Some(name) = &args.name {
        found.name.clone_from(name);
    }
    if let Some(port) = args.port {
        found.ports = vec![port];
    }
    let text = yaml(&found, args.namespace.as_deref());
    if let Some(Format::Json) = args.output.format {
        let object: Value = serde_saphyr::from_str(&text)
            .map_err(|error| Failure::new(format!("cannot write the object: {error}")))?;
        return serialized(Format::Json, object);
    }
    if args.dry_run || args.output.format == Some(Format::Yaml) {
        return Ok(std::io::stdout().write_all(text.as_bytes())?);
    }
    let file = args.directory.join(&args.file);
    let mut options = fs::OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(&file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format!(
            "{} exists: use --force to replace it, or --file",
            file.display()
        )),
        _ => Failure::new(format!("cannot write {}: {error}", file.display())),
    })?;
    if args.output.format == Some(Format::Name) {
        return say(format!("application.davit.dev/{}", found.name));
    }
    if is_published(&found, &directory, &args.file) {
        note(&format!(
            "{0} is in the directory that is published: add {0} to .dockerignore, or write it elsewhere with --file",
            args.file.display()
        ));
    }
    let apply = format!("{} written; deploy it with: kubectl apply -f {0}", file.display());
    if found.url.is_some() {
        return say(apply);
    }
    let place = args
        .namespace
        .as_ref()
        .map_or(String::new(), |namespace| format!(" -n {namespace}"));
    say(format!(
        "{apply} && davit drop {} {}{place}",
        found.name,
        args.directory.display()
    ))
}

/// Reports whether a file of the directory would become a page of the static site.
fn is_published(found: &Found, directory: &Path, file: &Path) -> bool {
    let is_site = found.build.as_ref().is_ok_and(|build| build == SITE_OF_ALL);
    let ignored = read(&directory.join(".dockerignore"));
    let name = file.display().to_string();
    let is_ignored = ignored
        .lines()
        .any(|line| line.trim().trim_start_matches('/') == name);
    is_site && file.is_relative() && !file.starts_with("..") && !is_ignored
}

fn inspect(directory: &Path) -> Found {
    let repository = directory.ancestors().find(|above| above.join(".git").exists());
    let config = repository.map(git_dir);
    let url = config.as_ref().and_then(|git| remote(&read(&git.join("config"))));
    let head = config
        .as_ref()
        .map(|git| read(&git.join("HEAD")))
        .unwrap_or_default();
    let branch = head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned);
    let below = repository.and_then(|root| directory.strip_prefix(root).ok());
    let path = below.map(|path| path.display().to_string()).unwrap_or_default();
    let from_url = url
        .as_deref()
        .and_then(|url| url.trim_end_matches('/').rsplit('/').next());
    let own = directory
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = match (path.is_empty(), from_url) {
        (true, Some(name)) => name.trim_end_matches(".git").to_owned(),
        _ => own.unwrap_or_default(),
    };
    let (build, ports) = match detect(|file| directory.join(file).is_file()) {
        Ok(BuildType::Dockerfile(dockerfile)) => {
            let ports = exposed(&read(&directory.join(&dockerfile.path)));
            (
                Ok(format!("{{dockerfile: {{path: {}}}}}", quoted(&dockerfile.path))),
                ports,
            )
        }
        Ok(BuildType::Static(site)) => {
            let settings = format!(
                "{{static: {{publishDirectory: {}}}}}",
                quoted(&site.publish_directory)
            );
            (Ok(settings), vec![STATIC_PORT])
        }
        Ok(_) => (Err(String::new()), Vec::new()),
        Err(why) => (Err(why), Vec::new()),
    };
    let known = KNOWN
        .into_iter()
        .chain(COMPOSE)
        .find(|file| directory.join(file).is_file());
    Found {
        name: label(&name),
        url,
        branch,
        path,
        build,
        known,
        ports,
    }
}

/// Returns the directory of Git: `.git`, or the one that a file of that name leads to (a worktree or a submodule).
fn git_dir(root: &Path) -> PathBuf {
    let git = root.join(".git");
    let linked = read(&git);
    let Some(target) = linked.trim().strip_prefix("gitdir: ") else {
        return git;
    };
    let target = root.join(target);
    let common = read(&target.join("commondir"));
    if common.is_empty() || target.join("config").exists() {
        return target;
    }
    target.join(common.trim())
}

/// Returns the text of a file; empty if it cannot be read or is too large.
fn read(path: &Path) -> String {
    let small = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
    if small {
        fs::read_to_string(path).unwrap_or_default()
    } else {
        String::new()
    }
}

/// Returns the URL of the remote `origin`, else of the first one, in a form that `spec.source.git.url` takes.
fn remote(config: &str) -> Option<String> {
    let mut remotes: Vec<(String, String)> = Vec::new();
    let mut section = None;
    for line in config.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[') {
            let name = head
                .strip_prefix("remote \"")
                .and_then(|name| name.strip_suffix("\"]"));
            section = name.map(str::to_owned);
        } else if let (Some(name), Some((key, value))) = (&section, line.split_once('='))
            && key.trim() == "url"
        {
            remotes.push((name.clone(), value.trim().to_owned()));
        }
    }
    let origin = remotes
        .iter()
        .find(|(name, _)| name == "origin")
        .or(remotes.first())?;
    Some(without_password(&origin.1))
}

/// Returns a URL without user information of https, in the long form of ssh.
fn without_password(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = match authority.rsplit_once('@') {
            Some((_, host)) if scheme != "ssh" => host,
            Some((user, host)) => {
                return format!(
                    "ssh://{}@{host}/{path}",
                    user.split(':').next().unwrap_or_default()
                );
            }
            None => authority,
        };
        return format!("{scheme}://{host}/{path}");
    }
    match url.split_once(':') {
        // `git@host:path`, unless the colon is part of a path.
        Some((host, path)) if !host.contains('/') => format!("ssh://{host}/{}", path.trim_start_matches('/')),
        _ => format!("file://{url}"),
    }
}

/// Returns the TCP ports of the `EXPOSE` lines of the last stage of a Dockerfile.
fn exposed(dockerfile: &str) -> Vec<u16> {
    let mut ports = Vec::new();
    for line in dockerfile.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("FROM") => ports.clear(),
            Some("EXPOSE") => {
                let tcp = words.filter_map(|word| match word.split_once('/') {
                    Some((port, protocol)) if protocol.eq_ignore_ascii_case("tcp") => Some(port),
                    Some(_) => None,
                    None => Some(word),
                });
                ports.extend(tcp.filter_map(|port| port.parse::<u16>().ok()));
            }
            _ => {}
        }
    }
    ports.dedup();
    ports
}

/// Returns a name as a DNS label that an Application may have.
fn label(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let label: String = lower
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphabetic())
        .take(52)
        .collect();
    let label = label.trim_end_matches('-');
    if label.is_empty() {
        "app".to_owned()
    } else {
        label.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Application;

    fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let text = yaml(
            &inspect(&fs::canonicalize(dir.path()).unwrap()),
            Some("production"),
        );
        (dir, text)
    }

    #[test]
    fn repository_with_a_dockerfile_becomes_an_application() {
        let config =
            "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@git.example.com:acme/Web_Shop.git\n";
        let (_dir, text) = written(&[
            (".git/config", config),
            (".git/HEAD", "ref: refs/heads/production\n"),
            (
                "Dockerfile",
                "FROM a AS build\nEXPOSE 1\nFROM b\nEXPOSE 3000 9000/udp 3001/tcp\n",
            ),
        ]);
        let application: Application = serde_yaml::from_str(&text).unwrap();
        assert_eq!(application.metadata.name.as_deref(), Some("web-shop"));
        let git = application.spec.source.unwrap().git.unwrap();
        assert_eq!(git.url, "ssh://git@git.example.com/acme/Web_Shop.git");
        assert_eq!(git.git_ref.unwrap().branch.as_deref(), Some("production"));
        assert_eq!(git.secret_ref.unwrap().name, "deploy-key");
        let ports: Vec<i32> = application
            .spec
            .ports
            .iter()
            .map(|port| port.container_port)
            .collect();
        assert_eq!(ports, [3000, 3001]);
    }

    #[test]
    fn directory_without_anything_says_what_is_missing() {
        let (_dir, text) = written(&[("main.go", "package main\n")]);
        let application: Application = serde_yaml::from_str(&text).unwrap();
        assert!(
            application.spec.build.is_none() && application.spec.ports.is_empty(),
            "{text}"
        );
        assert!(application.spec.source.is_none(), "{text}");
        for word in [
            "davit drop",
            "Push it to a Git server",
            "railpack decides",
            "--port",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn remote_that_is_refused_is_converted_or_explained() {
        for (url, written, words) in [
            (
                "http://plain.example.com/a.git",
                "https://plain.example.com/a.git",
                "https:// works",
            ),
            (
                "http://127.0.0.1:3000/a.git",
                "http://127.0.0.1:3000/a.git",
                "--allow-local-sources",
            ),
            ("/srv/x.git", "file:///srv/x.git", "--allow-local-sources"),
            ("https://h.example/a.git", "https://h.example/a.git", "url:"),
        ] {
            let config = format!("[remote \"origin\"]\n\turl = {url}\n");
            let (_dir, text) = written_with(&config);
            let application: Application = serde_yaml::from_str(&text).unwrap();
            let git = application.spec.source.unwrap().git.unwrap();
            assert_eq!(git.url, written, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    fn written_with(config: &str) -> (tempfile::TempDir, String) {
        written(&[(".git/config", config), ("package.json", "{}")])
    }

    #[test]
    fn file_of_a_tool_is_named() {
        let (_dir, text) = written(&[("package.json", "{}")]);
        assert!(text.contains("package.json, so railpack decides"), "{text}");
        let (_dir, text) = written(&[("compose.yaml", "services: {}")]);
        assert!(text.contains("compose.yaml is not read"), "{text}");
    }

    #[test]
    fn file_in_the_published_directory_is_noticed() {
        let (dir, text) = written(&[("index.html", "hello")]);
        assert!(text.contains(SITE_OF_ALL), "{text}");
        let directory = fs::canonicalize(dir.path()).unwrap();
        let found = inspect(&directory);
        assert!(is_published(&found, &directory, Path::new("application.yaml")));
        assert!(!is_published(&found, &directory, Path::new("../shop.yaml")));
        fs::write(directory.join(".dockerignore"), "application.yaml\n").unwrap();
        assert!(!is_published(&found, &directory, Path::new("application.yaml")));
    }

    #[test]
    fn url_loses_its_password_and_gets_a_scheme() {
        for (url, expected) in [
            (
                "https://jane:secret@h.example/a/b.git",
                "https://h.example/a/b.git",
            ),
            ("ssh://git:secret@h.example:22/a", "ssh://git@h.example:22/a"),
            ("git@h.example:a/b", "ssh://git@h.example/a/b"),
            ("/srv/a.git", "file:///srv/a.git"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }

    #[test]
    fn name_becomes_a_label() {
        for (name, expected) in [
            ("Web_Shop", "web-shop"),
            ("1.x", "x"),
            ("---", "app"),
            ("shop.", "shop"),
        ] {
            assert_eq!(label(name), expected);
        }
    }
}
