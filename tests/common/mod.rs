//! The test servers of `davit-test-support`, and the real `davit up`.
#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary uses some of the helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the harness starts the program that it tests"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that fails is a failed test"
)]
#![allow(clippy::print_stderr, reason = "the harness reports what it cannot clean up")]

pub mod davit;
pub mod recorded;

pub use davit_test_support::*;

/// Releases as JSON in their order: by number, those that have none yet at the end.
pub fn sorted_by_number(releases: Vec<::davit::api::Release>) -> Vec<serde_json::Value> {
    let mut all: Vec<_> = releases
        .into_iter()
        .map(|release| serde_json::to_value(release).unwrap())
        .collect();
    all.sort_by_key(|release| release["status"]["number"].as_i64().unwrap_or(i64::MAX));
    all
}

/// Runs the calling test, whose path is `test` (`concat!(module_path!(), "::name")`), again as the only test of a new
/// process, for values that a whole process shares, such as its resident memory. Returns true in the new process, and
/// false in the old one once the test has passed there.
pub fn in_own_process(test: &str) -> bool {
    const MARK: &str = "DAVIT_TEST_IN_OWN_PROCESS";
    let (_, name) = test.split_once("::").expect("a path in the test's crate");
    if std::env::var(MARK).is_ok_and(|running| running == name) {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let (passed, out, err) = try_run(command.args(["--exact", name, "--nocapture"]).env(MARK, name));
    assert!(passed && out.contains("1 passed"), "{out}\n{err}");
    false
}

/// The HMAC-SHA256 of a webhook's body in hexadecimal digits, as GitHub, Gitea and Bitbucket sign.
pub fn signature(secret: &str, body: &[u8]) -> String {
    use std::fmt::Write as _;

    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Reports whether what is created now is younger than this object. The API server keeps the second of a creation, and among objects
/// of one second the UID decides.
pub fn is_of_the_past(object: &serde_json::Value) -> bool {
    let created = object["metadata"]["creationTimestamp"].as_str().unwrap();
    let created: jiff::Timestamp = created.parse().unwrap();
    jiff::Timestamp::now().as_second() > created.as_second()
}
