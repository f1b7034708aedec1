//! The machine's Docker Engine: a base image without a registry, and a namespace per test, which is removed when the test
//! ends.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use super::{run, try_run};

/// The base image of all tests: busybox in an otherwise empty file system.
pub const BASE_IMAGE: &str = "busybox:davit-test";

/// The label with the namespace on every object that Davit creates on an engine.
pub const NAMESPACE_LABEL: &str = "dev.davit.namespace";
/// The label with the instance on every object that Davit creates on an engine.
pub const INSTANCE_LABEL: &str = "dev.davit.instance";

/// `docker`, without the user's configuration.
pub fn docker() -> Command {
    docker_with(Path::new("/nonexistent"))
}

/// `docker` with the configuration in this folder, for its logins.
pub fn docker_with(config: &Path) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_CONFIG", config);
    command
}

/// Creates [`BASE_IMAGE`] if the engine does not have it, and returns its name.
pub fn base_image() -> &'static str {
    let lock = File::create(std::env::temp_dir().join("davit-test-base-image.lock")).unwrap();
    lock.lock().unwrap();
    if !try_run(docker().args(["image", "inspect", BASE_IMAGE])).0 {
        import(BASE_IMAGE, &[]);
    }
    BASE_IMAGE
}

/// Makes an image `name` with these labels (`KEY=VALUE`): Debian's busybox-static, its programs by their names in
/// `/bin`, and the few files that programs expect. Imported, since only some clients of Docker can build.
pub fn import(name: &str, labels: &[&str]) {
    let labels: Vec<String> = labels.iter().map(|label| format!("LABEL {label}")).collect();
    let changes: Vec<&str> = labels.iter().map(String::as_str).collect();
    import_with(name, &changes);
}

/// Makes the same image with these lines of a Dockerfile.
pub fn import_with(name: &str, changes: &[&str]) {
    let mut busybox = File::open("/bin/busybox").expect("busybox-static is installed");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    let mut tar = tar::Builder::new(File::create(&file).unwrap());
    let mut entry = |path: &str, mode: u32, kind: tar::EntryType, data: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        match link {
            Some(target) => tar.append_link(&mut header, path, target).unwrap(),
            None => tar.append_data(&mut header, path, data).unwrap(),
        }
    };
    let mut program = Vec::new();
    busybox.read_to_end(&mut program).unwrap();
    for (path, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("root/", 0o700),
        ("tmp/", 0o1777),
    ] {
        entry(path, mode, tar::EntryType::Directory, b"", None);
    }
    entry("bin/busybox", 0o755, tar::EntryType::Regular, &program, None);
    entry(
        "etc/passwd",
        0o644,
        tar::EntryType::Regular,
        b"root:x:0:0:root:/root:/bin/sh\n",
        None,
    );
    for applet in run(Command::new("/bin/busybox").arg("--list"))
        .lines()
        .filter(|name| *name != "busybox")
    {
        entry(
            &format!("bin/{applet}"),
            0o777,
            tar::EntryType::Symlink,
            b"",
            Some("busybox"),
        );
    }
    tar.finish().unwrap();
    let mut command = docker();
    command.args(["import", "--change", r#"CMD ["sh"]"#]);
    for change in changes {
        command.args(["--change", change]);
    }
    run(command.arg(&file).arg(name));
}

/// The objects of one test on the engine, identified by a label. Dropping it removes every container, network, volume and
/// image with the label and nothing else, because other tests use the same engine at the same time.
pub struct DockerScope {
    /// The label's value: a namespace, valid in Kubernetes, or an instance.
    pub namespace: String,
    key: &'static str,
}

/// The kinds of things that carry labels, in an order in which they can be removed: how each is listed and removed.
const KINDS: [(&str, &[&str], &[&str]); 4] = [
    (
        "containers",
        &["ps", "--all", "--quiet", "--no-trunc"],
        &["rm", "--force", "--volumes"],
    ),
    (
        "networks",
        &["network", "ls", "--quiet", "--no-trunc"],
        &["network", "rm"],
    ),
    (
        "volumes",
        &["volume", "ls", "--quiet"],
        &["volume", "rm", "--force"],
    ),
    (
        "images",
        &["image", "ls", "--all", "--quiet", "--no-trunc"],
        &["rmi", "--force"],
    ),
];

impl DockerScope {
    /// A new namespace; `test` becomes part of its name.
    pub fn new(test: &str) -> Self {
        base_image();
        let namespace = super::unique(&format!("t-{test}"));
        Self {
            namespace,
            key: NAMESPACE_LABEL,
        }
    }

    /// The objects of one instance, in all namespaces.
    pub fn of_instance(instance: &str) -> Self {
        base_image();
        Self {
            namespace: instance.to_owned(),
            key: INSTANCE_LABEL,
        }
    }

    /// The label, as `KEY=VALUE`.
    pub fn label(&self) -> String {
        format!("{}={}", self.key, self.namespace)
    }

    /// The ids of its objects of `kind` (`containers`, `networks`, `volumes`, `images`).
    pub fn list(&self, kind: &str) -> Vec<String> {
        let (_, list, _) = KINDS.iter().find(|(name, ..)| *name == kind).expect("a kind");
        let filter = format!("label={}", self.label());
        let mut ids: Vec<_> = run(docker().args(*list).args(["--filter", &filter]))
            .lines()
            .map(str::to_owned)
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// All its objects, as `KIND ID`; empty if none is left.
    pub fn leftovers(&self) -> Vec<String> {
        KINDS
            .iter()
            .flat_map(|(kind, ..)| self.list(kind).into_iter().map(move |id| format!("{kind} {id}")))
            .collect()
    }
}

impl Drop for DockerScope {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label());
        for (kind, list, remove) in KINDS {
            let ids = || {
                let (_, ids, _) = try_run(docker().args(list).args(["--filter", &filter]));
                let mut ids: Vec<_> = ids.lines().map(str::to_owned).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            };
            let mut left = ids();
            // An image goes only after those that were made from it.
            while !left.is_empty() {
                let (_, _, err) = try_run(docker().args(remove).args(&left));
                let rest = ids();
                if rest.len() == left.len() {
                    eprintln!("{kind} of {} are left on the engine: {err}", self.namespace);
                    break;
                }
                left = rest;
            }
        }
        // A runtime that was dropped while it chose a subnet leaves a network that belongs to no namespace.
        let filter = format!("label={INSTANCE_LABEL}={}", self.namespace);
        let list = ["network", "ls", "--quiet", "--no-trunc", "--filter", &filter];
        let (_, networks, _) = try_run(docker().args(list));
        for network in networks.lines() {
            try_run(docker().args(["network", "rm", network]));
        }
    }
}
