//! A real image registry on loopback (`docker-registry`, the CNCF distribution), with or without a password.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use tempfile::TempDir;

use super::http::{Request, request};
use super::process::{Daemon, Port, User, command};
use super::tls::TestCa;
use super::{docker, run};

fn login() -> (String, String) {
    ("puller".to_owned(), "registry-pass-55e2".to_owned())
}

/// The trust of the machine's engine in a registry's certificate.
pub struct Trusted(PathBuf);

impl Drop for Trusted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running registry. The Docker Engine talks plain HTTP with a registry on loopback without being told to.
pub struct Registry {
    /// Host and port, the first part of an image's name.
    pub address: String,
    /// User and password for pulling and pushing; `None` if the registry requires none.
    pub login: Option<(String, String)>,
    /// The CA of its certificate, as PEM; `None` if it speaks plain HTTP.
    pub ca: Option<String>,
    dir: TempDir,
    _port: Port,
    daemon: Daemon,
}

impl Registry {
    /// Starts a registry that requires a user and a password.
    pub fn start() -> Self {
        Self::with("127.0.0.1", Some(login()), false)
    }

    /// Starts a registry with TLS that requires a user and a password. Engines do not verify certificates on loopback.
    pub fn start_tls() -> Self {
        Self::with("127.0.0.1", Some(login()), true)
    }

    /// The same on the bridge of the machine's engine, where that verifies certificates. Nothing trusts the certificate.
    pub fn start_untrusted() -> Self {
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let bridge = run(docker::docker().args(["network", "inspect", "--format", format, "bridge"]));
        Self::with(&bridge, Some(login()), true)
    }

    /// Lets the machine's engine trust the certificate until this is dropped.
    pub fn trust(&self) -> Trusted {
        let dir = Path::new("/etc/docker/certs.d").join(&self.address);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ca.crt"), self.ca.as_deref().unwrap_or_default()).unwrap();
        Trusted(dir)
    }

    /// Starts a registry without authentication.
    pub fn start_open() -> Self {
        Self::with("127.0.0.1", None, false)
    }

    fn with(ip: &str, login: Option<(String, String)>, tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = Port::take();
        let address = format!("{ip}:{}", port.number());
        let root = dir.path();
        let mut auth = String::new();
        if let Some((user, password)) = &login {
            let file = root.join("htpasswd");
            // bcrypt is the only hash it takes; 4 is the cheapest.
            run(Command::new("htpasswd")
                .args(["-B", "-C", "4", "-b", "-c"])
                .arg(&file)
                .args([user, password]));
            auth = format!("auth: {{htpasswd: {{realm: davit, path: {}}}}}\n", file.display());
        }
        let ca = tls.then(|| TestCa::for_names(root, &[ip]));
        let tls = ca.as_ref().map_or(String::new(), |ca| {
            let (certificate, key) = (ca.cert_file.display(), ca.key_file.display());
            format!(", tls: {{certificate: {certificate}, key: {key}}}")
        });
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {0}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\", secret: only-for-one-test{tls}}}\n{auth}",
            root.display()
        );
        std::fs::write(root.join("config.yml"), text).unwrap();
        let mut serve = command("docker-registry", User::Own);
        serve.arg("serve").arg(root.join("config.yml"));
        let mut daemon = Daemon::start("docker-registry", serve, &root.join("log"));
        let expected = if login.is_some() { 401 } else { 200 };
        let ca_file = ca.as_ref().map(|ca| ca.ca_file.clone());
        let scheme = if ca.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}/v2/");
        daemon.wait_ready(Duration::from_secs(20), || {
            let mut probe = request("GET", &url);
            if let Some(ca) = &ca_file {
                probe = probe.ca(ca);
            }
            probe.send().status == expected
        });
        Self {
            address,
            login,
            ca: ca.map(|ca| ca.ca_pem),
            dir,
            _port: port,
            daemon,
        }
    }

    /// The full name of an image here, for a `name` such as `shop:1.0`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The content of a `kubernetes.io/dockerconfigjson` Secret for this registry.
    pub fn docker_config(&self) -> String {
        let (user, password) = self.login.clone().unwrap_or_default();
        let auth = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
        serde_json::json!({"auths": {&self.address: {"username": user, "password": password, "auth": auth}}})
            .to_string()
    }

    /// Pushes the engine's image `local` as `name`, takes the name away from the engine again, and returns the digest
    /// under which the registry has it.
    pub fn push(&self, local: &str, name: &str) -> String {
        let image = self.image(name);
        let config = self.dir.path().join("docker");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("config.json"), self.docker_config()).unwrap();
        run(docker::docker().args(["tag", local, &image]));
        run(docker::docker_with(&config).args(["push", "--quiet", &image]));
        run(docker::docker().args(["rmi", &image]));
        let (name, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        self.digest(name, tag)
            .unwrap_or_else(|| panic!("{image} was pushed and is not there"))
    }

    /// The digest of an image here, if it is.
    pub fn digest(&self, name: &str, tag: &str) -> Option<String> {
        let types = "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
        let reply = self
            .request("HEAD", &format!("{name}/manifests/{tag}"))
            .header(types)
            .send();
        let header = reply
            .body
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("Docker-Content-Digest"))?
            .1;
        (reply.status == 200).then(|| header.trim().to_owned())
    }

    /// A request with the login, for a path that follows `/v2/`.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        let mut request = request(method, &format!("{scheme}://{}/v2/{path}", self.address));
        if self.ca.is_some() {
            request = request.ca(&self.dir.path().join("ca.pem"));
        }
        match &self.login {
            Some((user, password)) => request.basic(user, password),
            None => request,
        }
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    /// Stops it, so that clients see an unreachable registry.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }
}
