//! Images that no registry here has, made of files of this machine: stand-ins for the bases of the Dockerfile, and for images that
//! manifests name.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::docker::docker;
use super::{peers, run, try_run};

/// A file system that becomes an image.
pub struct FileSystem(TempDir);

impl FileSystem {
    /// busybox with its applets, and the files that programs expect.
    pub fn busybox() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for dir in ["bin", "sbin", "etc", "root", "tmp"] {
            std::fs::create_dir(files.0.path().join(dir)).unwrap();
        }
        files.set_mode("tmp", 0o1777);
        std::fs::set_permissions(files.0.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::copy("/bin/busybox", files.0.path().join("bin/busybox")).unwrap();
        for applet in run(Command::new("/bin/busybox").arg("--list")).lines() {
            if applet != "busybox" {
                std::os::unix::fs::symlink("busybox", files.0.path().join("bin").join(applet)).unwrap();
            }
        }
        files.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        files.write("etc/group", "root:x:0:\n");
        files
    }

    /// In place of an Alpine Linux: git and ssh are there before `apk` is asked for them.
    pub fn alpine() -> Self {
        let files = Self::busybox();
        let exec = PathBuf::from(run(Command::new("git").arg("--exec-path")));
        for program in ["/usr/bin/git", "/usr/bin/ssh"] {
            files.copy(Path::new(program));
        }
        files.copy(&exec.join("git-remote-http"));
        for (link, target) in [("git-remote-https", "git-remote-http"), ("git", "/usr/bin/git")] {
            std::os::unix::fs::symlink(target, files.path(exec.join(link))).unwrap();
        }
        files.copy(Path::new("/etc/ssl/certs/ca-certificates.crt"));
        files.script(
            "sbin/apk",
            "#!/bin/sh\n[ \"$*\" = 'add --no-cache ca-certificates git openssh-client-default' ]\n",
        );
        files
    }

    /// In place of Rust: a cargo that takes the Dockerfile's arguments only, and gives this program.
    pub fn rust(program: &Path) -> Self {
        let files = Self::busybox();
        files.script(
            "bin/cargo",
            "#!/bin/sh\nset -eu\n[ \"$*\" = 'build --release --locked --package davit --bin davit' ]\n\
             [ -f Cargo.lock ] && [ -f src/main.rs ]\nmkdir -p target/host/release\ncp /davit target/host/release/davit\n",
        );
        let target = files.path("davit");
        run(Command::new("strip").arg("-o").arg(target).arg(program));
        files
    }

    /// In place of the image `registry`: Debian's package of the same program, with the configuration of that image.
    pub fn registry() -> Self {
        let files = Self::busybox();
        files.copy(Path::new("/usr/bin/docker-registry"));
        files.write(
            "etc/distribution/config.yml",
            "version: 0.1\nlog: {fields: {service: registry}}\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\n\
             http: {addr: \":5000\"}\n",
        );
        files
    }

    /// What [`FileSystem::registry`] runs.
    pub const REGISTRY: &'static [&'static str] = &[
        r#"ENTRYPOINT ["docker-registry", "serve", "/etc/distribution/config.yml"]"#,
        "ENV PATH=/usr/bin:/bin",
    ];

    /// In place of the rootless image of BuildKit: its programs, with the user and the directories of that image.
    pub fn rootless_buildkit() -> Self {
        let files = Self::busybox();
        for program in [
            "buildkit-0.33.0/buildkitd",
            "buildkit-0.33.0/buildctl",
            "rootlesskit-2.3.6/rootlesskit",
        ] {
            let program = peers::file(program);
            let name = Path::new("usr/bin").join(program.file_name().unwrap());
            std::fs::copy(&program, files.path(name)).unwrap();
        }
        files.copy_to(Path::new("/usr/sbin/runc"), "usr/bin/buildkit-runc");
        // Debian's programs are set-user-ID, and then want a root with CAP_SYS_ADMIN, which a container does not have.
        for (program, right) in [("newuidmap", "cap_setuid=ep"), ("newgidmap", "cap_setgid=ep")] {
            let inside = format!("usr/bin/{program}");
            files.copy_to(&Path::new("/usr/bin").join(program), &inside);
            files.set_mode(&inside, 0o755);
            run(Command::new("setcap").arg(right).arg(files.path(&inside)));
        }
        files.write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        );
        files.write("etc/group", "root:x:0:\nuser:x:1000:\n");
        for map in ["etc/subuid", "etc/subgid"] {
            files.write(map, "user:100000:65536\n");
        }
        for dir in [
            "run/user/1000",
            "home/user/.local/tmp",
            "home/user/.local/share/buildkit",
        ] {
            std::fs::create_dir_all(files.0.path().join(dir)).unwrap();
        }
        let owned = ["run/user/1000", "home/user"].map(|dir| files.0.path().join(dir));
        run(Command::new("chown").args(["-R", "1000:1000"]).args(owned));
        files
    }

    /// What [`FileSystem::rootless_buildkit`] runs.
    pub const ROOTLESS_BUILDKIT: &'static [&'static str] = &[
        r#"ENTRYPOINT ["rootlesskit", "buildkitd"]"#,
        "USER 1000:1000",
        "ENV PATH=/usr/bin:/bin HOME=/home/user USER=user XDG_RUNTIME_DIR=/run/user/1000 TMPDIR=/home/user/.local/tmp \
         BUILDKIT_HOST=unix:///run/user/1000/buildkit/buildkitd.sock",
    ];

    /// Where a file of the image lies here; its directory exists afterwards.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let path = self.0.path().join(inside.strip_prefix("/").unwrap_or(inside));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    /// Writes a program.
    pub fn script(&self, path: &str, text: &str) {
        self.write(path, text);
        self.set_mode(path, 0o755);
    }

    fn set_mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Copies a program or file of this machine to the same place, with the libraries that it is linked to.
    pub fn copy(&self, file: &Path) {
        self.copy_to(file, &file.display().to_string());
    }

    fn copy_to(&self, file: &Path, inside: &str) {
        std::fs::copy(file, self.path(inside)).unwrap();
        let (_, linked, _) = try_run(Command::new("ldd").arg(file));
        for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
            std::fs::copy(library, self.path(library)).unwrap();
        }
    }

    /// Makes the image with these lines of a Dockerfile.
    pub fn import(&self, name: &str, changes: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image.tar");
        // A capability of a file is an extended attribute.
        run(Command::new("tar")
            .args([
                "--create",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=security.capability",
            ])
            .arg("--file")
            .arg(&file)
            .arg("--directory")
            .arg(self.0.path())
            .arg("."));
        let mut import = docker();
        import.arg("import");
        for change in changes {
            import.args(["--change", change]);
        }
        run(import.arg(&file).arg(name));
    }
}
