//! Commands of the real kubectl on ours and on a real kube-apiserver, and what it says compared.
//!
//! The sister of `compare/`, which does the same with single requests: `make test` holds ours to what kubectl said on
//! the real one (`recorded/kubectl/*.json`, and `recorded/kubectl-debian/*.json` with Debian's of five years before);
//! `UPDATE=1 make test-peers` records anew. `COMMANDS=file,file` runs only those files' cases.

pub mod case;
mod normal;
pub mod run;

use std::path::{Path, PathBuf};

use futures::{StreamExt as _, stream};
use kube::Client;

use crate::compare::Answers;
use case::Case;
use davit_test_support::peers;

/// Which kubectl: the name of its recordings' folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kubectl {
    /// 1.36.3, of the same tree as the API server.
    Current,
    /// Debian 12's 1.20.
    Debian,
}

impl Kubectl {
    /// The folder of its recordings, and the first part of the names of its cases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "kubectl",
            Self::Debian => "kubectl-debian",
        }
    }

    fn program(self) -> PathBuf {
        peers::file(match self {
            Self::Current => "kubectl-1.36.3/kubectl",
            Self::Debian => "kubectl-debian-1.20/kubectl",
        })
    }
}

/// Runs the cases of a file, two at a time: kubectl spends its time reading what the server can do.
pub async fn answers(client: &Client, kubectl: Kubectl, kubeconfig: &Path, cases: &[Case]) -> Answers {
    stream::iter(cases)
        .map(|case| async {
            let name = format!("{}/{}", kubectl.name(), case.name());
            (name, run::run(client, kubectl, kubeconfig, case).await)
        })
        .buffer_unordered(2)
        .collect()
        .await
}
