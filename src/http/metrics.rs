//! `/metrics`, in the text format of OpenMetrics, which Prometheus reads.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use http::{StatusCode, header};

use crate::metrics::Metrics;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The end of the document.
const END: &str = "# EOF\n";

/// Further series, made when they are read.
#[derive(Clone)]
pub struct Further(Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>);

impl Further {
    /// Series that `text` writes, without the end of the document.
    pub fn new(text: impl Fn() -> BoxFuture<'static, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(text))
    }
}

impl fmt::Debug for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Further")
    }
}

/// Returns the router of `/metrics`.
pub fn router(metrics: Metrics, further: Option<Further>) -> Router {
    Router::new().route("/metrics", get(move || respond(metrics.clone(), further.clone())))
}

async fn respond(metrics: Metrics, further: Option<Further>) -> Response {
    let mut text = match metrics.encode() {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    if let Some(Further(further)) = further {
        text.truncate(text.strip_suffix(END).unwrap_or(&text).len());
        text.push_str(&further().await);
        text.push_str(END);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}
