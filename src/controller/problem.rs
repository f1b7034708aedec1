//! Errors of the API server and the file system as problems of an object.

use crate::api::Reason;
use crate::error::{Class, Problem, chain};

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server could not be reached or refused a request.
    #[error("the API server could not be reached or refused a request")]
    Cluster(#[from] kube::Error),
}

/// An error of the API server as a problem of the object that needed it.
pub fn cluster_problem(doing: &str, error: &kube::Error) -> Problem {
    let message = match error {
        kube::Error::Api(status) => format!("{doing}: {}", status.message),
        other => format!("{doing}: {}", chain(other)),
    };
    let class = match error {
        kube::Error::Api(status)
            if (400..500).contains(&status.code) && !matches!(status.code, 409 | 429) =>
        {
            Class::Terminal
        }
        _ => Class::Transient,
    };
    Problem::new(class, Reason::ClusterUnavailable, message)
}

/// An error of the file system as a problem of the object that needed it.
pub fn io_problem(doing: &str, error: &std::io::Error) -> Problem {
    let reason = if error.kind() == std::io::ErrorKind::StorageFull {
        Reason::DiskFull
    } else {
        Reason::Internal
    };
    Problem::new(Class::Transient, reason, format!("{doing}: {error}"))
}
