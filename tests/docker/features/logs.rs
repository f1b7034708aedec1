//! Logs through the API server of a real `davit up`: of containers and of builds, live and afterwards.

#![allow(clippy::disallowed_methods, reason = "a test starts the program")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use futures::AsyncBufReadExt as _;

use super::*;
use crate::common::try_run;

fn path(davit: &Davit, rest: &str) -> String {
    let namespace = &davit.namespace;
    format!("/apis/subresources.davit.dev/v1alpha1/namespaces/{namespace}/{rest}")
}

/// What `kubectl get --raw` prints.
fn log(davit: &Davit, rest: &str) -> String {
    let (success, log, refusal) = try_run(davit.kubectl().args(["get", "--raw", &path(davit, rest)]));
    assert!(success, "{rest}: {refusal}");
    log
}

/// `kubectl get --raw` that goes on; its lines come as they are read.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(davit: &Davit, rest: &str) -> Self {
        let mut kubectl = davit.kubectl();
        Self::of(kubectl.args(["get", "--raw", &path(davit, rest)]))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output: ChildStdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line.
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(30));
        line.expect("a line of the log")
    }

    /// Waits for a line that ends so, and returns it.
    fn wait_for(&self, end: &str) -> String {
        loop {
            let line = self.next();
            if line.ends_with(end) {
                return line;
            }
        }
    }

    /// All lines until the end of the log.
    fn rest(self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_mins(1)) {
            rest.push(line);
        }
        rest
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `davit logs` prints: whether it succeeded, standard output and standard error.
fn cli(davit: &Davit, args: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command
        .env("KUBECONFIG", davit.kubeconfig())
        .arg("logs")
        .args(args);
    try_run(command.args(["-n", &davit.namespace]))
}

/// Prints whatever a test writes into `/say` of the container.
const ECHOES: &str = "echo \"key=$KEY\"; echo oops >&2; while :; do if [ -e /say ]; then mv /say /said; cat /said; fi; usleep 50000; done";

#[test]
fn log_of_replicas_is_merged_masked_and_followed_into_the_next_release() {
    let davit = Davit::up("logs");
    davit.create_secret("key", &[("key", "s3cr3t-value")]);
    let env = json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "key", "key": "key"}}}]);
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", ECHOES], "env": env, "replicas": 2}),
    );
    davit.wait_until_done("shop");
    let all = log(&davit, "applications/shop/log?prefix=true");
    let mut lines: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    let expected = [
        "[shop-1.0] key=***",
        "[shop-1.0] oops",
        "[shop-1.1] key=***",
        "[shop-1.1] oops",
    ];
    assert_eq!(lines, expected);

    let say = |container: &str, text: &str| {
        let command = format!("echo '{text}' > /tmp.say && mv /tmp.say /say");
        run(davit.docker().args(["exec", container, "sh", "-c", &command]));
    };
    // With the lines so far: the next ones may be written before the request arrives.
    let follower = Follower::start(&davit, "applications/shop/log?follow=true&prefix=true");
    let containers = davit.containers("shop");
    for (index, container) in containers.iter().enumerate() {
        say(container, &format!("hello {index}"));
        let line = follower.wait_for(&format!("hello {index}"));
        assert!(line.starts_with("[shop-1."), "{line}");
    }
    // In the order of time, with its times, of one replica, from then on.
    let timed = log(&davit, "applications/shop/log?timestamps=true");
    let times: Vec<&str> = timed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(times.is_sorted() && times.len() == 6, "{timed}");
    let last = log(&davit, "applications/shop/log?tailLines=1&replica=shop-1.1");
    assert!(last.starts_with("hello ") && last.lines().count() == 1, "{last}");
    let since = format!("applications/shop/log?sinceTime={}", times[4]);
    assert_eq!(log(&davit, &since), "hello 1\n");

    // The command.
    let (_, printed, _) = cli(&davit, &["shop"]);
    assert_eq!(printed, log(&davit, "applications/shop/log?prefix=true"));
    let (_, printed, _) = cli(
        &davit,
        &[
            "dapp/shop",
            "--replica",
            "shop-1.0",
            "--tail",
            "1",
            "--since",
            "1h",
        ],
    );
    assert_eq!(
        printed,
        log(&davit, "applications/shop/log?replica=shop-1.0&tailLines=1")
    );
    let (_, printed, _) = cli(&davit, &["shop", "--timestamps", "--replica", "shop-1.0"]);
    assert_eq!(
        printed,
        log(&davit, "applications/shop/log?replica=shop-1.0&timestamps=true")
    );
    let (_, printed, _) = cli(&davit, &["shop", "--color", "always"]);
    assert!(printed.starts_with("\u{1b}[36m[shop-1."), "{printed}");
    for (args, expected) in [
        (&["shpo"][..], "did you mean \"shop\"?"),
        (
            &["shop", "--replica", "shop-1.9"],
            "Application \"shop\" has shop-1.0, shop-1.1",
        ),
        (
            &["shop", "--build", "--release", "shop-9"],
            "did you mean \"shop-1\"?",
        ),
    ] {
        let (success, _, error) = cli(&davit, args);
        assert!(!success && error.contains(expected), "{args:?}: {error}");
    }

    // The containers of the next release are followed as they start.
    davit.patch(
        "shop",
        json!({"spec": {"env": env.as_array().unwrap().iter().cloned()
        .chain([json!({"name": "NEXT", "value": "1"})]).collect::<Vec<_>>()}}),
    );
    assert!(follower.wait_for("key=***").starts_with("[shop-2."));
    active(&davit, "shop", 2);
    let container = davit.containers("shop").remove(0);
    say(&container, "from the next release");
    let line = follower.wait_for("from the next release");
    assert!(line.starts_with("[shop-2."), "{line}");
}

#[test]
fn followed_log_continues_after_a_lost_connection_without_a_gap() {
    let mut davit = Davit::up("logs-lost");
    davit.keep_address();
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", ECHOES]}),
    );
    davit.wait_until_done("shop");
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command
        .env("KUBECONFIG", davit.kubeconfig())
        .args(["logs", "shop", "--follow", "-n", &davit.namespace]);
    let mut follower = Follower::of(&mut command);
    follower.wait_for("oops");
    let say = |davit: &Davit, text: &str| {
        let container = davit.containers("shop").remove(0);
        let command = format!("echo '{text}' > /tmp.say && mv /tmp.say /say");
        run(davit.docker().args(["exec", &container, "sh", "-c", &command]));
        wait_for("the container to say it", Duration::from_secs(20), || {
            let container = davit.containers("shop").remove(0);
            let seen = try_run(davit.docker().args(["exec", &container, "test", "-e", "/say"]));
            (!seen.0).then_some(())
        });
    };
    say(&davit, "before");
    follower.wait_for("before");
    davit.kill();
    say(&davit, "while it is away");
    davit.start();
    // Each line once, and in order.
    assert_eq!(follower.next(), "while it is away");
    say(&davit, "after");
    assert_eq!(follower.next(), "after");
    assert!(follower.child.try_wait().unwrap().is_none(), "it follows");
}

#[test]
fn log_of_a_crash_loop_is_available_before_and_after_its_last_start() {
    let davit = Davit::up("logs-crash");
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", "echo dying; exit 3"],
            "rollout": {"progressDeadline": "4s", "autoRollback": false}}),
    );
    davit.wait_until("shop", 60, "failed", |app| app["status"]["phase"] == "error");
    assert!(log(&davit, "applications/shop/log").starts_with("dying\n"));
    wait_for("output of an earlier start", Duration::from_secs(30), || {
        (log(&davit, "applications/shop/log?previous=true").contains("dying\n")).then_some(())
    });
}

#[test]
fn output_of_stopped_and_failed_containers_remains() {
    let davit = Davit::up("logs-kept");
    let script = "trap 'echo goodbye; exit 0' TERM; echo serving; sleep 1000 & wait";
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", script]}),
    );
    davit.wait_until_done("shop");
    davit.patch("shop", json!({"spec": {"stopped": true}}));
    davit.wait_until("shop", 60, "stopped", |app| app["status"]["phase"] == "idle");
    wait_for("the output of before", Duration::from_secs(30), || {
        (log(&davit, "applications/shop/log") == "serving\ngoodbye\n").then_some(())
    });
    assert!(davit.containers("shop").is_empty());
    let (_, printed, _) = cli(&davit, &["shop", "--replica", "shop-1.0", "--tail", "1"]);
    assert_eq!(printed, "goodbye\n");

    // What runs again has its own; what failed can be read beside it.
    davit.patch("shop", json!({"spec": {"stopped": false}}));
    active(&davit, "shop", 1);
    assert_eq!(log(&davit, "applications/shop/log"), "serving\n");
    davit.patch(
        "shop",
        json!({"spec": {"command": ["sh", "-c", "echo broken; exec sleep 1000"],
            "healthCheck": {"exec": {"command": ["false"]}, "interval": "200ms"}, "rollout": {"progressDeadline": "2s"},
            "stopGracePeriod": "0s"}}),
    );
    davit.wait_until("shop", 60, "failed", |app| app["status"]["phase"] == "error");
    wait_for(
        "the output of the Release that failed",
        Duration::from_secs(30),
        || {
            let kept = log(&davit, "applications/shop/log?previous=true&prefix=true");
            (kept.contains("[shop-2.0] broken\n") && kept.contains("[shop-1.0] goodbye\n")).then_some(())
        },
    );
    assert_eq!(log(&davit, "applications/shop/log"), "serving\n");
    davit.delete_and_wait("shop");
    let left = std::fs::read_dir(davit.data_dir().join("logs")).unwrap().count();
    assert_eq!(left, 0, "it goes with the Application");
}

#[test]
fn log_of_a_build_is_followed_live_and_kept_over_a_restart() {
    let mut davit = Davit::up("logs-build");
    let repo = GitRepo::with(&[(
        "Dockerfile",
        // A step that the engine's cache has from an earlier run writes nothing.
        &dockerfile(&format!(
            "RUN : {}; for i in 1 2 3 4; do echo step-$i; sleep 1; done\nCMD [\"sleep\", \"10000\"]",
            davit.dir().display()
        )),
    )]);
    davit.apply("shop", json!({"source": git(&repo)}));
    wait_for("the release", Duration::from_secs(30), || {
        (!davit.releases_of("shop").is_empty()).then_some(())
    });
    let follower = Follower::start(&davit, "releases/shop-1/log?follow=true");
    follower.wait_for("step-1");
    let release = davit.releases_of("shop").remove(0);
    assert_eq!(
        phase(&release),
        "Building",
        "the line came while the image was built"
    );
    let rest = follower.rest();
    assert!(rest.iter().any(|line| line.ends_with("step-4")), "{rest:?}");
    davit.wait_until_done("shop");
    davit.stop();
    davit.start();
    let kept = log(&davit, "releases/shop-1/log");
    for number in 1..=4 {
        assert!(kept.contains(&format!("step-{number}\n")), "{kept}");
    }
    assert_eq!(cli(&davit, &["shop", "--build"]).1, kept);
    assert!(kept.ends_with(&log(&davit, "releases/shop-1/log?tailLines=1")));
}

/// The resident memory of Davit, in KiB.
fn resident(davit: &Davit) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", davit.pid())).unwrap();
    let mut lines = status.lines();
    let line = lines.find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn reader_that_stands_still_holds_no_memory_and_delays_no_other_reader() {
    // As much as the engine keeps; lines are long, since it also keeps a time for each.
    let line = "0123456789".repeat(100);
    let bytes = 18_000 * (line.len() + 1);
    let davit = Davit::up("logs-stuck");
    let print = format!("yes {line} | head -c {bytes}; echo end; sleep 10000");
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", print]}),
    );
    davit.wait_until_done("shop");
    wait_for("the whole output", Duration::from_mins(1), || {
        (log(&davit, "applications/shop/log?tailLines=1") == "end\n").then_some(())
    });
    let before = resident(&davit);
    let mut stuck = davit.kubectl();
    stuck.args(["get", "--raw", &path(&davit, "applications/shop/log?follow=true")]);
    let mut stuck = stuck
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    stuck.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let mut kubectl = davit.kubectl();
            kubectl.args(["get", "--raw", &path(&davit, "applications/shop/log")]);
            std::thread::spawn(move || try_run(&mut kubectl).1.len())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), bytes + "end\n".len(), "nothing is lost");
    }
    let grown = resident(&davit).saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB for five readers of {bytes} bytes");
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

/// The lines that a container counts, compared with what a reader gets. Two hundred readers of 1 GiB leave no time to make a text of each.
struct Counted {
    line: Vec<u8>,
    at: usize,
    lines: u64,
}

impl Counted {
    fn from_one(length: usize) -> Self {
        let mut line = vec![b'0'; length];
        line[length - 2] = b'1';
        line[length - 1] = b'\n';
        let (at, lines) = (0, 0);
        Self { line, at, lines }
    }

    /// Takes the next piece of the log.
    fn read(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let expected = &self.line[self.at..];
            let size = expected.len().min(piece.len());
            assert!(
                expected[..size] == piece[..size],
                "line {} is lost",
                self.lines + 1
            );
            piece = &piece[size..];
            self.at += size;
            if self.at == self.line.len() {
                self.at = 0;
                self.lines += 1;
                for digit in self.line.iter_mut().rev().skip(1) {
                    *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
                    if *digit != b'0' {
                        break;
                    }
                }
            }
        }
    }
}

/// `DAVIT_LOG_KIB=1048576 cargo test --release --test docker two_hundred` follows a log of 1 GiB; by default it is short enough for every
/// run. The engine keeps only the last 20 MB, so the container writes the next part when every reader has the one before.
#[test]
fn two_hundred_readers_follow_a_log_and_one_that_is_stuck_holds_up_none() {
    const LINE: u64 = 128;
    // Little by default: neither Davit nor this test is optimised.
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let kibibytes: u64 = number("DAVIT_LOG_KIB", 64);
    let readers: u64 = number("DAVIT_LOG_READERS", 200);
    let part = (kibibytes / 4).clamp(16, 4096) * 1024 / LINE;
    let parts = (kibibytes * 1024 / LINE).div_ceil(part);
    let davit = Davit::up("logs-many");
    let script = format!(
        "echo ready; for part in $(seq 0 {last}); do until test -e /go-$part; do usleep 20000; done; \
         awk -v from=$((part * {part})) 'BEGIN {{ for (i = 1; i <= {part}; i++) printf \"%0127d\\n\", from + i }}'; done; sleep 10000",
        last = parts - 1
    );
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", script]}),
    );
    davit.wait_until_done("shop");
    let before = resident(&davit);
    let path = path(&davit, "applications/shop/log?follow=true");
    let client = davit.client();
    let (report, reports) = mpsc::channel();
    let (stuck, opened) = davit.block_on(async {
        let open = async |client: &kube::Client| {
            let request = http::Request::get(&path).body(Vec::new()).unwrap();
            let mut log = Box::pin(client.request_stream(request).await.unwrap());
            let mut line = String::new();
            log.read_line(&mut line).await.unwrap();
            assert_eq!(line, "ready\n");
            log
        };
        let stuck = open(&client).await;
        let mut opened = Vec::new();
        for _ in 1..readers {
            opened.push(open(&client).await);
        }
        (stuck, opened)
    });
    for mut log in opened {
        let report = report.clone();
        davit.spawn(async move {
            let mut counted = Counted::from_one(usize::try_from(LINE).unwrap());
            loop {
                let before = counted.lines;
                // The connection ends with Davit, at the end of the test.
                let Ok(piece) = log.fill_buf().await else { return };
                let size = piece.len();
                if size == 0 {
                    return;
                }
                counted.read(piece);
                log.consume_unpin(size);
                if counted.lines > before
                    && counted.lines.is_multiple_of(part)
                    && report.send(counted.lines).is_err()
                {
                    return;
                }
            }
        });
    }
    drop(report);
    let container = davit.containers("shop").swap_remove(0);
    let mut most = 0;
    let start = Instant::now();
    for number in 0..parts {
        let go = format!("/go-{number}");
        run(davit.docker().args(["exec", &container, "touch", &go]));
        for _ in 1..readers {
            let read = reports.recv_timeout(Duration::from_mins(5));
            assert_eq!(read, Ok((number + 1) * part), "the other readers are not held up");
        }
        most = most.max(resident(&davit).saturating_sub(before));
    }
    eprintln!(
        "{parts} parts of {} KiB, {readers} readers: {most} KiB more than before, {:?}",
        part * LINE / 1024,
        start.elapsed()
    );
    assert!(most < 200 << 10, "{most} KiB for {readers} readers");
    drop(stuck);
}
