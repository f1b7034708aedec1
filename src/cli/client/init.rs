//! `davit init`: inspects a directory and writes the Application for it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::Format;
use super::commands::Init;
use super::output::{say, serialized};
use crate::builder::{BuildType, detect};
use crate::cli::failure::Failure;

/// The port of the web server in images of static sites.
const STATIC_PORT: u16 = 8080;

/// The most that is read of a Dockerfile or of a configuration of Git.
const LARGEST: u64 = 1024 * 1024;

/// What a directory says of its Application.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// The name of the Application.
    name: String,
    /// The URL of the repository, if there is one.
    url: Option<String>,
    /// The branch that is checked out.
    branch: Option<String>,
    /// The directory in the repository.
    path: String,
    /// The build type in YAML, or why none was found.
    build: Result<String, String>,
    ports: Vec<u16>,
}

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
    say(format!(
        "{} written; deploy it with: kubectl apply -f {0}",
        file.display()
    ))
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
    Found {
        name: label(&name),
        url,
        branch,
        path,
        build,
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

/// Returns a text as YAML: JSON is YAML.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'.' | b'-'))
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if plain
        && !matches!(
            text,
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        )
    {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_default()
}

fn yaml(found: &Found, namespace: Option<&str>) -> String {
    let namespace = namespace.map_or(String::new(), |namespace| {
        format!(", namespace: {}", quoted(namespace))
    });
    let mut lines = vec![
        "apiVersion: davit.dev/v1alpha1".to_owned(),
        "kind: Application".to_owned(),
        format!("metadata: {{name: {}{namespace}}}", quoted(&found.name)),
        "spec:".to_owned(),
        "  source:".to_owned(),
        "    git:".to_owned(),
    ];
    if let Some(url) = &found.url {
        lines.push(format!(
            "      url: {}",
            serde_json::to_string(url).unwrap_or_default()
        ));
    } else {
        let advice = "push it to one, and write its URL here.";
        lines.push(format!(
            "      # The directory is in no Git repository with a remote: {advice}"
        ));
        lines.push("      url: https://git.example.com/CHANGE/ME.git".to_owned());
    }
    if let Some(branch) = &found.branch {
        lines.push(format!("      ref: {{branch: {}}}", quoted(branch)));
    }
    if !found.path.is_empty() {
        lines.push(format!("      path: {}", quoted(&found.path)));
    }
    if found.url.as_deref().is_some_and(|url| url.starts_with("ssh://")) {
        lines.push("      # A Secret of type kubernetes.io/ssh-auth with ssh-privatekey and known_hosts: examples/06-ssh.".to_owned());
        lines.push("      secretRef: {name: deploy-key}".to_owned());
    }
    match &found.build {
        Ok(build) => lines.push(format!("  build: {build}")),
        Err(_) => lines.push("  # Neither a Dockerfile nor a static site was found, so railpack decides how to build: docs/building.md.".to_owned()),
    }
    if found.ports.is_empty() {
        lines.push(
            "  # The port on which the container listens was not found; davit init --port NUMBER writes it."
                .to_owned(),
        );
        lines.push("  # ports: [{name: http, containerPort: 8080, hostPort: 8080}]".to_owned());
    } else {
        lines.push("  ports:".to_owned());
        for (at, port) in found.ports.iter().enumerate() {
            let name = if at == 0 {
                "http".to_owned()
            } else {
                format!("port-{port}")
            };
            lines.push(format!(
                "    - {{name: {name}, containerPort: {port}}}   # hostPort: {port} opens it on the machine"
            ));
        }
        lines.push("  healthCheck: {tcp: {port: http}}".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
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
        for word in ["push it to one", "railpack decides", "--port"] {
            assert!(text.contains(word), "{word} in {text}");
        }
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
