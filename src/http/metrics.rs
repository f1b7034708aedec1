//! `/metrics`, in the text format of OpenMetrics, which Prometheus reads.

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::metrics::Metrics;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the router of `/metrics`.
pub fn router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(move || std::future::ready(respond(&metrics))))
}

fn respond(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
