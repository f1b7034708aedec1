//! Real servers for tests: each helper starts one program on loopback, waits until it answers, and removes everything when it
//! is dropped. `tests/harness_selftest.rs` shows what each serves and refuses.
//!
//! `scripts/install-tools --test` installs what these helpers start, `scripts/build-peer` builds what Debian lacks.
#![allow(
    clippy::disallowed_methods,
    reason = "a harness starts real programs and finds them by the environment"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that fails is a failed test"
)]
#![allow(clippy::print_stderr, reason = "a harness reports what it cannot clean up")]

pub mod buildkitd;
pub mod buildpacks;
pub mod clientgo;
pub mod cluster;
pub mod docker;
pub mod engine;
pub mod file_system;
pub mod git_repo;
pub mod git_server;
pub mod gitea;
pub mod http;
pub mod kube_apiserver;
pub mod kwok;
pub mod nixpacks;
pub mod peers;
pub mod process;
pub mod registry;
pub mod services;
pub mod tls;

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Calls `probe` until it returns `Some`; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A name that no other test of this machine uses at the same time: `prefix`, the process and a counter.
/// Fits where Kubernetes wants a DNS label.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs `command` to its end and returns what it printed, trimmed; panics with both of its outputs if it fails.
pub fn run(command: &mut Command) -> String {
    let (ok, stdout, stderr) = try_run(command);
    assert!(ok, "{command:?} failed:\n{stdout}\n{stderr}");
    stdout.trim().to_owned()
}

/// Runs `command` to its end: whether it succeeded, its standard output, its standard error.
pub fn try_run(command: &mut Command) -> (bool, String, String) {
    let out = command
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot start {command:?}: {error} (scripts/install-tools --test installs it)")
        });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

/// Whether the tests run as root: some programs (Gitea) refuse that, others (sshd) then want a directory of root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
