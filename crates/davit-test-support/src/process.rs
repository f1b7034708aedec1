//! A real program in the background, which never outlives the test process, and the loopback port that it listens on.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::{is_root, wait_for};

/// The ids of the user `nobody` and the group `nogroup` on Debian.
pub const NOBODY: u32 = 65534;

/// The user that a daemon runs as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// The user the tests run as.
    Own,
    /// `nobody` if the tests run as root, for programs that refuse root; else the same as `Own`.
    Unprivileged,
}

/// A command for [`Daemon::start`]: `setpriv` makes the kernel end the program when the test process ends in any
/// way, `kill -9` included, where no destructor runs.
pub fn command(program: impl AsRef<Path>, user: User) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if user == User::Unprivileged && is_root() {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    command.arg("--").arg(program.as_ref());
    command
}

type Job = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The kernel sends the signal of `setpriv` when the *thread* that started the program ends, and a test's thread ends with the
/// test. A server that several tests share must outlive it, so one thread, which ends with the process, starts all programs.
static STARTER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::spawn(move || {
        for (mut command, answer) in jobs {
            answer.send(command.spawn()).ok();
        }
    });
    Mutex::new(sender)
});

/// A running program; dropping it ends it.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` (made by [`command`]) in its own process group with both outputs in the file `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("log file of a daemon");
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("log file twice"))
            .stderr(out)
            .process_group(0);
        let (sender, answer) = mpsc::channel();
        STARTER
            .lock()
            .unwrap()
            .send((command, sender))
            .expect("the starter runs");
        let child = answer.recv().expect("the starter answers");
        let child = child.unwrap_or_else(|error| {
            panic!("cannot start {name}: {error} (scripts/install-tools --test installs what the tests need)")
        });
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Waits until `probe` is true; panics with the end of the log if the program ends first or `limit` is over.
    pub fn wait_ready(&mut self, limit: Duration, mut probe: impl FnMut() -> bool) {
        let end = Instant::now() + limit;
        while !probe() {
            if let Some(status) = self.child.try_wait().expect("state of a child") {
                panic!(
                    "{} ended ({status}) before it was ready:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            assert!(
                Instant::now() < end,
                "{} not ready in {limit:?}:\n{}",
                self.name,
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process id, which is that of its process group too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program's output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Ends the whole process group: SIGTERM, and SIGKILL for what is still there 5 s later.
    pub fn stop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        let group = Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        kill_process_group(group, Signal::TERM).ok();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Workers that outlive their master are in the same group; the group's id is ours until we have waited.
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A loopback port that is reserved for one test: a lock on a file of that name holds the port between its selection and the
/// moment at which the program binds it.
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a free port below the kernel's range for outgoing connections.
    pub fn take() -> Self {
        let dir = std::env::temp_dir().join("davit-test-ports");
        std::fs::create_dir_all(&dir).expect("directory of port locks");
        let from: u16 = rand::random_range(20_000..30_000);
        wait_for("a free port", Duration::from_secs(5), || {
            (from..30_000).chain(20_000..from).find_map(|number| {
                let lock = File::create(dir.join(number.to_string())).ok()?;
                lock.try_lock().ok()?;
                TcpListener::bind(("127.0.0.1", number)).ok()?;
                Some(Self { number, _lock: lock })
            })
        })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
