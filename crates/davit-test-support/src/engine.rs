//! A Docker Engine for one test, which may stop, kill and restart it and fill its disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::docker::{BASE_IMAGE, base_image, docker};
use super::process::command;
use super::{is_root, process::User, run, try_run, wait_for};

/// A second `dockerd` in its own network namespace: with `--bridge` in the machine's namespace it would remove the `docker0`
/// of the machine's engine, whose builds would then fail. Its containers therefore reach only each other; tests talk to
/// them by `docker exec`.
pub struct Engine {
    dir: TempDir,
    child: Option<Child>,
}

impl Engine {
    /// Starts an engine with the base image.
    pub fn start() -> Self {
        let mut engine = Self::new();
        engine.up();
        engine
    }

    /// Starts an engine whose data directory is a disk of this size.
    pub fn with_disk(megabytes: u32) -> Self {
        let mut engine = Self::new();
        let data = engine.dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        mount(&data, megabytes);
        engine.up();
        engine
    }

    /// Starts one that is the only node of a Swarm. The Swarm's address is that of an interface pair of its own.
    pub fn swarm() -> Self {
        let engine = Self::start();
        let pid = engine.child.as_ref().expect("it runs").id();
        let ip = |args: &[&str]| {
            let network = format!("--net=/proc/{pid}/ns/net");
            run(Command::new("nsenter").args([&network, "--", "ip"]).args(args));
        };
        ip(&["link", "add", "swarm0", "type", "veth", "peer", "name", "swarm1"]);
        ip(&["address", "add", "10.97.0.2/24", "dev", "swarm0"]);
        ip(&["link", "set", "swarm0", "up"]);
        ip(&["link", "set", "swarm1", "up"]);
        run(engine
            .docker()
            .args(["swarm", "init", "--advertise-addr", "10.97.0.2"]));
        engine
    }

    fn new() -> Self {
        assert!(is_root(), "an engine of one's own is started as root only");
        Self {
            dir: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    fn up(&mut self) {
        self.start_again();
        self.load(base_image());
        run(self.docker().args(["image", "inspect", BASE_IMAGE]));
    }

    /// A command in its network, which follows as arguments.
    pub fn enter(&self) -> Command {
        let pid = self.child.as_ref().expect("it runs").id();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg("--");
        command
    }

    /// Gives it an image of the machine's engine.
    pub fn load(&self, image: &str) {
        let tar = self.dir.path().join("image.tar");
        run(docker().args(["save", "--output"]).arg(&tar).arg(image));
        run(self.docker().args(["load", "--input"]).arg(&tar));
        std::fs::remove_file(&tar).unwrap();
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// The address of its socket, for `--docker-host` and `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// `docker` for this engine.
    pub fn docker(&self) -> Command {
        let mut command = docker();
        command.env("DOCKER_HOST", self.host());
        command
    }

    /// Starts it with its existing data, and waits until it answers.
    pub fn start_again(&mut self) {
        let dir = self.dir.path();
        let nothing = dir.join("config.json");
        std::fs::write(&nothing, "{}").unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let mut dockerd = command("unshare", User::Own);
        dockerd
            .args(["--net", "--", "dockerd", "--iptables=false", "--ip6tables=false"])
            .args(["--shutdown-timeout", "3", "--config-file"])
            .arg(&nothing)
            .arg("--data-root")
            .arg(self.data())
            .arg("--exec-root")
            .arg(dir.join("exec"))
            .arg("--pidfile")
            .arg(dir.join("pid"))
            .args(["--host", &self.host()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = dockerd.spawn().expect("dockerd is installed");
        wait_for("the engine to answer", Duration::from_mins(1), || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = self.log();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(80)..].join("\n");
                panic!("dockerd ended ({status}):\n{tail}");
            }
            try_run(self.docker().arg("version")).0.then_some(())
        });
        self.child = Some(child);
    }

    /// Stops it with SIGTERM; its containers stop too.
    pub fn stop(&mut self) {
        self.end(rustix::process::Signal::TERM);
    }

    /// Kills it with SIGKILL; its containers keep running.
    pub fn kill(&mut self) {
        self.end(rustix::process::Signal::KILL);
        // Its containerd ends with it, but may remain as a zombie if init does not reap it; the next dockerd would take
        // either for a running one.
        let pid_file = self.dir.path().join("exec/containerd/containerd.pid");
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
        wait_for("containerd to end", Duration::from_secs(10), || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        for file in [pid_file, self.dir.path().join("pid")] {
            let _ = std::fs::remove_file(file);
        }
    }

    fn end(&mut self, signal: rustix::process::Signal) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, signal).ok();
            child.wait().unwrap();
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.child.is_none() {
            self.start_again(); // What a killed one left behind ends only with it.
        }
        let (_, containers, _) = try_run(self.docker().args(["ps", "--all", "--quiet"]));
        let containers: Vec<&str> = containers.lines().collect();
        if !containers.is_empty() {
            try_run(self.docker().args(["rm", "--force"]).args(containers));
        }
        let (_, networks, _) =
            try_run(
                self.docker()
                    .args(["network", "ls", "--quiet", "--filter", "type=custom"]),
            );
        let networks: Vec<&str> = networks.lines().collect();
        if !networks.is_empty() {
            try_run(self.docker().args(["network", "rm"]).args(networks));
        }
        self.stop();
        unmount_below(self.dir.path());
    }
}

/// A small disk, removed when dropped.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Creates a disk of this size.
    pub fn new(megabytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(dir.path(), megabytes);
        Self { dir }
    }

    /// Its mount point.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}

/// Fills the disk that `dir` is on to the last byte.
pub fn fill(dir: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("filler"))
        .unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![b'x'; size];
        while file.write_all(&block).is_ok() {}
    }
}

/// Removes what [`fill`] wrote.
pub fn relieve(dir: &Path) {
    std::fs::remove_file(dir.join("filler")).unwrap();
}

/// Makes the disk that is mounted at `dir` so many megabytes large.
pub fn resize(dir: &Path, megabytes: u32) {
    run(Command::new("mount")
        .args(["-o", &format!("remount,size={megabytes}m")])
        .arg(dir));
}

/// A file system in memory: as small as a test needs, and full as a disk is.
fn mount(dir: &Path, megabytes: u32) {
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "davit-test"])
        .arg(dir));
}

/// Unmounts everything below a directory.
pub(super) fn unmount_below(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(dir))
        .collect();
    points.sort_unstable();
    for point in points.iter().rev() {
        try_run(Command::new("umount").args(["--lazy", point]));
    }
}
