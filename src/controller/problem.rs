//! Errors of the API server and the file system as problems of an object.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use crate::api::Reason;
use crate::error::{Class, Problem, chain};

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server could not be reached or refused a request.
    #[error("the API server could not be reached or refused a request")]
    Cluster(#[from] kube::Error),
    /// An error in Davit itself ended it.
    #[error("an error in Davit itself ended it: report it with the lines of the log before this one")]
    Panic,
}

/// Runs to the end of a future. An error in Davit itself that ends the future is an error of one object and not the end of the
/// process. `None` stands for it.
pub async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(future).catch_unwind().await.ok()
}

/// An error in Davit itself as a problem of the object that it concerns.
pub fn panicked(doing: &str) -> Problem {
    let message =
        format!("{doing}: an error in Davit itself ended it: report it with the log; it is tried again");
    Problem::new(Class::Transient, Reason::Internal, message)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_of_one_object_does_not_end_the_process() {
        assert_eq!(caught(async { 7 }).await, Some(7));
        let broken = async { [0_u8; 1].get(usize::MAX).copied().unwrap() };
        assert_eq!(caught(broken).await, None);
    }
}
