//! Limits of one build. BuildKit has none of its own, but puts the steps of a build beneath a control group that the client names:
//! Davit makes one with the limits, if it shares the control groups of the machine with a buildkitd.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::daemon::Daemon;
use super::engine_http::Place;
use crate::builder::error::BuildError;

/// Where Linux has its control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// The group of all builds.
const ALL: &str = "davit-builds";
/// The period of CPU quotas, in microseconds.
const PERIOD: u64 = 100_000;
/// The least quota that Linux takes, in microseconds.
const LEAST_QUOTA: u64 = 1_000;

/// The limits of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Nano-cores.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
}

impl Limits {
    /// Reports whether there is a limit.
    pub fn any(self) -> bool {
        self.cpu.is_some() || self.memory.is_some()
    }

    fn quota(self) -> Option<u64> {
        let quota = |cpu: u64| u128::from(cpu) * u128::from(PERIOD) / 1_000_000_000;
        self.cpu
            .map(|cpu| u64::try_from(quota(cpu)).unwrap_or(u64::MAX).max(LEAST_QUOTA))
    }
}

/// Makes sure that a daemon's builds can be limited.
///
/// # Errors
/// They cannot, and the reason.
pub async fn check(daemon: &Daemon) -> Result<(), BuildError> {
    let refuse = |why: &dyn Display| {
        Err(BuildError::LimitsNotSupported(format!(
            "{why}, so Davit cannot limit a single build there"
        )))
    };
    let path = match daemon {
        Daemon::Engine(_) => {
            return refuse(&"the BuildKit of a Docker Engine takes no control group from its client");
        }
        Daemon::Buildkitd {
            place: Place::Address(address),
            ..
        } => return refuse(&format!("buildkitd at {address} is on another machine")),
        Daemon::Buildkitd {
            place: Place::Socket(path),
            ..
        } => path,
    };
    let stream = UnixStream::connect(path).await;
    let peer = stream.and_then(|stream| stream.peer_cred());
    let peer =
        peer.map_err(|error| BuildError::BuildkitUnavailable(format!("{}: {error}", path.display())))?;
    if peer.uid() != 0 {
        return refuse(&"buildkitd runs without root");
    }
    let groups = |process: String| std::fs::read_link(format!("/proc/{process}/ns/cgroup"));
    let its = peer.pid().map(|pid| groups(pid.to_string()));
    match (its, groups("self".to_owned())) {
        (Some(Ok(its)), Ok(own)) if its == own => Ok(()),
        _ => refuse(
            &"buildkitd has other control groups than Davit, as in a container, or Davit runs without root",
        ),
    }
}

/// The control group of one build, removed when dropped.
#[derive(Debug)]
pub struct ControlGroup {
    /// Its path, as BuildKit takes it.
    pub path: String,
    root: PathBuf,
}

impl ControlGroup {
    /// Makes the group `name` with these limits.
    ///
    /// # Errors
    /// The machine has no control groups that Davit may write.
    pub fn create(name: &str, limits: Limits) -> Result<Self, BuildError> {
        Self::create_in(Path::new(ROOT), name, limits).map_err(|(path, error)| {
            BuildError::LimitsNotSupported(format!(
                "Davit cannot make a control group ({}: {error})",
                path.display()
            ))
        })
    }

    fn create_in(root: &Path, name: &str, limits: Limits) -> Result<Self, (PathBuf, io::Error)> {
        let path = format!("/{ALL}/{name}");
        let group = Self {
            path,
            root: root.to_owned(),
        };
        if root.join("cgroup.controllers").exists() {
            group.unified(limits)?;
        } else {
            group.legacy(limits)?;
        }
        Ok(group)
    }

    /// Control groups of version 2.
    fn unified(&self, limits: Limits) -> Result<(), (PathBuf, io::Error)> {
        let all = self.root.join(ALL);
        let own = self.in_hierarchy(&self.root);
        make(&own)?;
        for parent in [&self.root, &all] {
            write(&parent.join("cgroup.subtree_control"), "+cpu +memory")?;
        }
        if let Some(memory) = limits.memory {
            write(&own.join("memory.max"), &memory.to_string())?;
            // Without it, the steps would use swap space instead.
            write_if_there(&own.join("memory.swap.max"), "0")?;
        }
        if let Some(quota) = limits.quota() {
            write(&own.join("cpu.max"), &format!("{quota} {PERIOD}"))?;
        }
        Ok(())
    }

    /// Control groups of version 1: a hierarchy for each resource.
    fn legacy(&self, limits: Limits) -> Result<(), (PathBuf, io::Error)> {
        if let Some(memory) = limits.memory {
            let own = self.in_hierarchy(&self.root.join("memory"));
            make(&own)?;
            let text = memory.to_string();
            let file = own.join("memory.limit_in_bytes");
            let with_swap = own.join("memory.memsw.limit_in_bytes");
            // The one with swap is never the smaller one. So in this order when the limit rises, and again when it falls.
            let _ = write_if_there(&with_swap, &text);
            write(&file, &text)?;
            write_if_there(&with_swap, &text)?;
        }
        if let Some(quota) = limits.quota() {
            let own = self.in_hierarchy(&self.root.join("cpu"));
            make(&own)?;
            write(&own.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
            write(&own.join("cpu.cfs_quota_us"), &quota.to_string())?;
        }
        Ok(())
    }

    fn in_hierarchy(&self, root: &Path) -> PathBuf {
        root.join(self.path.trim_start_matches('/'))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let hierarchies = hierarchies.map(|entry| entry.path()).chain([self.root.clone()]);
        for hierarchy in hierarchies {
            remove(&self.in_hierarchy(&hierarchy));
        }
    }
}

/// Removes a group and those beneath it. One in which a process still ends stays, and the next build uses it.
fn remove(group: &Path) {
    let inside = std::fs::read_dir(group).into_iter().flatten().flatten();
    for entry in inside {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(group);
}

fn make(group: &Path) -> Result<(), (PathBuf, io::Error)> {
    std::fs::create_dir_all(group).map_err(|error| (group.to_owned(), error))
}

fn write(file: &Path, text: &str) -> Result<(), (PathBuf, io::Error)> {
    std::fs::write(file, text).map_err(|error| (file.to_owned(), error))
}

fn write_if_there(file: &Path, text: &str) -> Result<(), (PathBuf, io::Error)> {
    if file.exists() { write(file, text) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        cpu: Some(1_500_000_000),
        memory: Some(64 << 20),
    };

    #[test]
    fn limits_are_written_as_each_version_of_control_groups_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let one = ControlGroup::create_in(root, "one", LIMITS).unwrap();
        assert_eq!(one.path, "/davit-builds/one");
        assert_eq!(read("memory/davit-builds/one/memory.limit_in_bytes"), "67108864");
        assert_eq!(read("cpu/davit-builds/one/cpu.cfs_quota_us"), "150000");

        std::fs::write(root.join("cgroup.controllers"), "cpu memory").unwrap();
        let two = ControlGroup::create_in(root, "two", LIMITS).unwrap();
        assert_eq!(read("davit-builds/two/memory.max"), "67108864");
        assert_eq!(read("davit-builds/two/cpu.max"), "150000 100000");
        assert_eq!(read("davit-builds/cgroup.subtree_control"), "+cpu +memory");
        drop((one, two));
        let little = Limits {
            cpu: Some(1),
            memory: None,
        };
        let least = ControlGroup::create_in(root, "least", little).unwrap();
        assert_eq!(read("davit-builds/least/cpu.max"), "1000 100000");
        assert!(!root.join("davit-builds/least/memory.max").exists());
        drop(least);
    }

    #[test]
    fn group_is_removed_with_those_beneath_it() {
        let dir = tempfile::tempdir().unwrap();
        for hierarchy in ["memory", "pids"] {
            let step = dir.path().join(hierarchy).join("davit-builds/one/buildkit/step");
            std::fs::create_dir_all(step).unwrap();
        }
        let group = ControlGroup::create_in(dir.path(), "one", Limits::default()).unwrap();
        drop(group);
        for hierarchy in ["memory", "pids"] {
            let all = dir.path().join(hierarchy).join("davit-builds");
            assert!(all.exists() && !all.join("one").exists());
        }
    }

    #[tokio::test]
    async fn daemon_whose_builds_cannot_be_limited_is_refused_with_the_reason() {
        let socket = Place::Socket("/nonexistent/buildkitd.sock".into());
        let at = |place| Daemon::Buildkitd { place, tls: None };
        for (daemon, words) in [
            (Daemon::Engine(socket.clone()), "BuildKit of a Docker Engine"),
            (
                at(Place::Address("b.example:1234".to_owned())),
                "on another machine",
            ),
            (at(socket), "cannot be reached"),
        ] {
            let error = check(&daemon).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let checked = check(&at(Place::Socket(path))).await;
        // This very process, which is root where the tests of a whole machine run.
        let own =
            std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        assert_eq!(checked.is_ok(), own);
    }
}
