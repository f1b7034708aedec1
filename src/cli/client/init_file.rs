//! The file that `davit init` writes, from what a directory says. Pure.

/// Files of Docker Compose.
pub const COMPOSE: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// What a directory says of its Application.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The name of the Application.
    pub name: String,
    /// The URL of the repository, if there is one.
    pub url: Option<String>,
    /// The branch that is checked out.
    pub branch: Option<String>,
    /// The directory in the repository.
    pub path: String,
    /// The build type in YAML, or why none was found.
    pub build: Result<String, String>,
    /// The file of a language or a tool that railpack may know, if no build type was found.
    pub known: Option<&'static str>,
    /// The ports on which the container listens.
    pub ports: Vec<u16>,
}

/// Returns a URL that `spec.source.git.url` takes in place of that of the remote, and what the user has to know of it.
fn accepted(url: &str) -> (String, Option<&'static str>) {
    let local = "Davit reads this URL only with davit up --allow-local-sources on the same machine: push the repository to a server \
                 for others.";
    if url.starts_with("file:") {
        return (url.to_owned(), Some(local));
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return (url.to_owned(), None);
    };
    let is_here = ["localhost", "127.", "[::1]"]
        .iter()
        .any(|host| rest.starts_with(host));
    if is_here {
        return (url.to_owned(), Some(local));
    }
    let converted = "The remote begins with http://, which Davit refuses, because the network could change the source: check that \
                     https:// works.";
    (format!("https://{rest}"), Some(converted))
}

/// Returns a text as YAML: JSON is YAML.
pub fn quoted(text: &str) -> String {
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

/// The source: the repository, or what an upload takes the place of.
fn source(found: &Found, lines: &mut Vec<String>) {
    let Some(url) = &found.url else {
        lines.extend([
            "  # The directory is in no Git repository with a remote, so there are two ways:".to_owned(),
            format!(
                "  # - Upload it, now and after each change: davit drop {} DIRECTORY",
                found.name
            ),
            "  # - Push it to a Git server, and write its URL here:".to_owned(),
            "  # source: {git: {url: \"https://git.example.com/acme/shop.git\"}}".to_owned(),
        ]);
        return;
    };
    let (url, advice) = accepted(url);
    lines.extend(["  source:".to_owned(), "    git:".to_owned()]);
    lines.extend(advice.map(|advice| format!("      # {advice}")));
    lines.push(format!(
        "      url: {}",
        serde_json::to_string(&url).unwrap_or_default()
    ));
    if let Some(branch) = &found.branch {
        lines.push(format!("      ref: {{branch: {}}}", quoted(branch)));
    }
    if !found.path.is_empty() {
        lines.push(format!("      path: {}", quoted(&found.path)));
    }
    if url.starts_with("ssh://") {
        lines.push("      # A Secret of type kubernetes.io/ssh-auth with ssh-privatekey and known_hosts: examples/06-ssh.".to_owned());
        lines.push("      secretRef: {name: deploy-key}".to_owned());
    }
}

/// What the file says where neither a Dockerfile nor a static site was found.
fn unbuilt(known: Option<&str>) -> String {
    let none = "  # Neither a Dockerfile nor a static site was found";
    match known {
        Some(file) if COMPOSE.contains(&file) => format!(
            "{none}, and {file} is not read: write an Application for each of its services, with source.docker where it names an image."
        ),
        Some(file) => format!("{none}, but {file}, so railpack decides how to build: docs/building.md."),
        None => format!(
            "{none}, so railpack decides how to build; it needs a file such as package.json or go.mod: docs/building.md."
        ),
    }
}

/// Returns the Application in YAML.
pub fn yaml(found: &Found, namespace: Option<&str>) -> String {
    let namespace = namespace.map_or(String::new(), |namespace| {
        format!(", namespace: {}", quoted(namespace))
    });
    let mut lines = vec![
        "apiVersion: davit.dev/v1alpha1".to_owned(),
        "kind: Application".to_owned(),
        format!("metadata: {{name: {}{namespace}}}", quoted(&found.name)),
        "spec:".to_owned(),
    ];
    source(found, &mut lines);
    match &found.build {
        Ok(build) => lines.push(format!("  build: {build}")),
        Err(_) => lines.push(unbuilt(found.known)),
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
    if found.url.is_none() && found.build.is_err() && found.ports.is_empty() {
        // A spec of comments alone would be none.
        lines.push("  replicas: 1".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}
