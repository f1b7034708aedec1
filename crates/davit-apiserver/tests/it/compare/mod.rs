//! The same requests on ours and on a real kube-apiserver, and the answers compared.
//!
//! `make test` holds ours to what the real one answered when it was last recorded (`recorded/*.json`); `make test-peers`
//! asks both, and fails where the recording is no longer what the real one answers. `UPDATE=1` records anew.
//! `COMPARE=file,file` asks only those files' cases. What differs on purpose is in docs/apiserver-differences.md.

pub mod case;
pub mod diff;
mod normal;
pub mod run;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use serde_json::Value;

use case::Case;

/// The answers of one file's cases.
pub type Answers = BTreeMap<String, Vec<Value>>;

/// A client with the rights of a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.read_timeout = None;
    // What the server answers is the answer.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Runs the cases of a file one after the other.
pub async fn answers(client: &Client, cases: &[Case]) -> Answers {
    let mut all = Answers::new();
    for case in cases {
        let answers = run::run(client, case).await;
        assert!(
            all.insert(case.name.clone(), answers).is_none(),
            "{} twice",
            case.name
        );
    }
    all
}

/// Where the answers of a file are recorded.
pub fn recording(file: &str) -> PathBuf {
    case::directory().join(format!("recorded/{file}.json"))
}

/// The recorded answers of a file; none if it was never recorded.
pub fn recorded(file: &str) -> Answers {
    std::fs::read_to_string(recording(file))
        .map(|text| serde_json::from_str(&text).unwrap())
        .unwrap_or_default()
}
