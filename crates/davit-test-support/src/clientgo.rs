//! The client of `scripts/peers/clientgo`: client-go's informers, writers and leader election on one API server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{run, try_run};

/// The program that `scripts/build-peer` built; its folder is named after its sources.
fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/build-peer");
    let folder = run(Command::new(script).args(["--path", "clientgo"]));
    let file = PathBuf::from(folder).join("clientgo");
    assert!(
        file.exists(),
        "{} is not there: run `scripts/build-peer clientgo` first",
        file.display()
    );
    file
}

/// Runs the client for this duration and returns its report; panics if the client failed.
pub fn writes_and_watches(kubeconfig: &Path, duration: Duration) -> Value {
    let (ok, report, log) = try_run(
        Command::new("timeout")
            .arg("150")
            .arg(program())
            .arg("-kubeconfig")
            .arg(kubeconfig)
            .arg("-for")
            .arg(format!("{}s", duration.as_secs())),
    );
    assert!(ok, "{report}\n{log}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["leaders"], serde_json::json!(["first", "second", "third"]));
    for resource in ["gadgets", "configmaps", "secrets", "leases"] {
        assert!(report["seen"][resource].as_u64() > Some(5), "{report}");
    }
    report
}
