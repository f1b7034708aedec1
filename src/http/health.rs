//! `/livez` and `/readyz`, in the form of Kubernetes' components.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use http::StatusCode;

/// What must be true before the controller is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The API server answered.
    Cluster,
    /// All Applications and GitProviders were listed.
    Caches,
    /// The controller was not asked to stop.
    Running,
}

impl Check {
    const ALL: [Self; 3] = [Self::Cluster, Self::Caches, Self::Running];

    fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Caches => "caches",
            Self::Running => "running",
        }
    }
}

/// The state of all checks. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<[AtomicBool; Check::ALL.len()]>);

impl Default for Health {
    fn default() -> Self {
        let health = Self(Arc::default());
        health.set(Check::Running, true);
        health
    }
}

impl Health {
    /// Records the result of a check.
    pub fn set(&self, check: Check, passed: bool) {
        if let Some(state) = self.0.get(check as usize) {
            state.store(passed, Ordering::Relaxed);
        }
    }

    fn passed(&self, check: Check) -> bool {
        self.0
            .get(check as usize)
            .is_some_and(|state| state.load(Ordering::Relaxed))
    }

    /// Returns the router of `/livez` and `/readyz`. With `?verbose` each check has a line.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(ready))
            .with_state(self)
    }
}

async fn ready(State(health): State<Health>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let all_passed = Check::ALL.iter().all(|check| health.passed(*check));
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("verbose"))
    });
    if all_passed && !verbose {
        return (StatusCode::OK, "ok".to_owned());
    }
    let mut text = String::new();
    for check in Check::ALL {
        let (mark, word) = if health.passed(check) {
            ('+', "ok")
        } else {
            ('-', "failed")
        };
        let _ = writeln!(text, "[{mark}]{} {word}", check.name());
    }
    let (status, result) = if all_passed {
        (StatusCode::OK, "passed")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failed")
    };
    let _ = writeln!(text, "readyz check {result}");
    (status, text)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(health: &Health, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = health.clone().router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_needs_every_check_and_liveness_none() {
        let health = Health::default();
        let failed = "[-]cluster failed\n[-]caches failed\n[+]running ok\nreadyz check failed\n";
        assert_eq!(ask(&health, "/readyz").await, (503, failed.to_owned()));
        assert_eq!(ask(&health, "/livez").await, (200, "ok".to_owned()));
        health.set(Check::Cluster, true);
        health.set(Check::Caches, true);
        assert_eq!(ask(&health, "/readyz").await, (200, "ok".to_owned()));
        let passed = "[+]cluster ok\n[+]caches ok\n[+]running ok\nreadyz check passed\n";
        assert_eq!(ask(&health, "/readyz?verbose").await, (200, passed.to_owned()));
        health.set(Check::Running, false);
        assert_eq!(ask(&health, "/readyz").await.0, 503);
        assert_eq!(ask(&health, "/livez").await.0, 200);
    }
}
