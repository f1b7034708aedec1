//! A real buildkitd for one test, over TCP with mutual TLS. It has no image of the machine's engine: a registry of its own stands in
//! for Docker Hub and has the base image.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::docker::{BASE_IMAGE, base_image};
use super::process::{Daemon, Port, User, command};
use super::registry::Registry;
use super::tls::TestCa;
use super::{is_root, peers, try_run};

/// A running buildkitd.
pub struct Buildkitd {
    /// Host and port.
    pub address: String,
    /// Its socket file, for clients on this machine.
    pub socket: PathBuf,
    /// The certificate authority of its certificate and of its clients.
    pub ca: PathBuf,
    /// The certificate of a client.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    dir: TempDir,
    authority: TestCa,
    registry: Registry,
    _port: Port,
    daemon: Daemon,
}

impl Buildkitd {
    /// Starts one.
    pub fn start() -> Self {
        Self::trusting(&[])
    }

    /// Starts one that trusts the certificates of these registries.
    pub fn trusting(registries: &[&Registry]) -> Self {
        assert!(is_root(), "a buildkitd of one's own is started as root only");
        base_image();
        let registry = Registry::start_open();
        registry.push(BASE_IMAGE, &format!("library/{BASE_IMAGE}"));
        let dir = tempfile::tempdir().unwrap();
        let (root, port) = (dir.path(), Port::take());
        let authority = TestCa::new(root);
        let (certificate, key) = authority.client("davit");
        let file = |name: &str, text: &str| {
            let path = root.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (certificate, key) = (file("client.pem", &certificate), file("client.key", &key));
        let address = format!("127.0.0.1:{}", port.number());
        let mut trust = String::new();
        for (number, registry) in registries.iter().enumerate() {
            let ca = file(
                &format!("registry-{number}.pem"),
                registry.ca.as_deref().unwrap_or_default(),
            );
            trust += "[registry.\"";
            trust += &registry.address;
            trust += "\"]\nhttp = false\nca = [\"";
            trust += &ca.display().to_string();
            trust += "\"]\n";
        }
        let config = file(
            "buildkitd.toml",
            &format!(
                "root = \"{0}/root\"\n[worker.containerd]\nenabled = false\n[worker.oci]\nenabled = true\n\
                 [registry.\"docker.io\"]\nmirrors = [\"{1}\"]\n[registry.\"ghcr.io\"]\nmirrors = [\"{1}\"]\n[registry.\"{1}\"]\nhttp = true\n{trust}",
                root.display(),
                registry.address
            ),
        );
        let mut serve = command(peers::file("buildkit-0.33.0/buildkitd"), User::Own);
        serve.arg("--config").arg(config);
        let socket = root.join("sock");
        serve.args(["--addr", &format!("tcp://{address}")]);
        serve.args(["--addr", &format!("unix://{}", socket.display())]);
        serve.arg("--tlscacert").arg(&authority.ca_file);
        serve.arg("--tlscert").arg(&authority.cert_file);
        serve.arg("--tlskey").arg(&authority.key_file);
        let mut daemon = Daemon::start("buildkitd", serve, &root.join("log"));
        daemon.wait_ready(Duration::from_mins(1), || {
            std::net::TcpStream::connect(&address).is_ok()
                && std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Self {
            ca: authority.ca_file.clone(),
            address,
            socket,
            certificate,
            key,
            dir,
            authority,
            registry,
            _port: port,
            daemon,
        }
    }

    /// `buildctl` as a client of it.
    pub fn buildctl(&self) -> Command {
        let mut command = Command::new(peers::file("buildkit-0.33.0/buildctl"));
        command.args(["--addr", &format!("tcp://{}", self.address)]);
        command.arg("--tlscacert").arg(&self.ca);
        command.arg("--tlscert").arg(&self.certificate);
        command.arg("--tlskey").arg(&self.key);
        command
    }

    /// Puts an image of the machine's engine where it finds `name` of Docker Hub.
    pub fn push(&self, image: &str, name: &str) {
        self.registry.push(image, &format!("library/{name}"));
    }

    /// Puts an image of the machine's engine where it finds `name` of the registry ghcr.io.
    pub fn push_ghcr(&self, image: &str, name: &str) {
        self.registry.push(image, name);
    }

    /// The certificate and key of a client whose authority is another one, as files.
    pub fn stranger(&self) -> (PathBuf, PathBuf) {
        let other = self.dir.path().join("other");
        std::fs::create_dir_all(&other).unwrap();
        let (certificate, key) = TestCa::new(&other).client("stranger");
        let files = (other.join("client.pem"), other.join("client.key"));
        std::fs::write(&files.0, certificate).unwrap();
        std::fs::write(&files.1, key).unwrap();
        files
    }

    /// What it has written.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The authority that it trusts.
    pub fn authority(&self) -> &TestCa {
        &self.authority
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        self.daemon.stop();
        // Mounts of steps that ran when it stopped keep its directory.
        let root = self.dir.path().join("root");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let inside = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let root = root.display().to_string();
        for mount in inside.filter(|path| path.starts_with(&root)) {
            try_run(Command::new("umount").args(["--lazy", mount]));
        }
    }
}
