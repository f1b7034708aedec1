//! watch

use axum::body::Body;
use http::Response;

use super::Call;
use crate::{
    http::watch_stream::{self, Start},
    status::{ApiError, ApiResult},
};

pub(super) fn watch(call: &mut Call) -> ApiResult<Response<Body>> {
    super::list::check_options(call)?;
    let mut selector = call.selector()?;
    if let Some(name) = &call.target.name {
        // The old form: `watch` on one object.
        selector.require_name(name);
    }
    let wanted = call.query.resource_version.as_deref().unwrap_or("0");
    let revision: u64 = wanted
        .parse()
        .map_err(|_| ApiError::plain_internal(format!(
                "resourceVersion: Invalid value: \"{wanted}\": strconv.ParseUint: parsing \"{wanted}\": invalid syntax"
            )))?;
    let newest = call.server.store.view().revision();
    let start = match (call.query.initial_events, revision) {
        (Some(true), revision) if revision > newest => {
            Start::Never(ApiError::too_large_revision(revision, newest))
        }
        (Some(true), _) => Start::State {
            mark_end: call.query.bookmarks,
        },
        (Some(false), 0) => Start::Now,
        (None, 0) => Start::State { mark_end: false },
        (_, revision) => Start::After(revision),
    };
    Ok(watch_stream::respond(watch_stream::Request {
        server: call.server.clone(),
        presenter: call.presenter(),
        namespace: call.target.namespace.clone(),
        selector,
        start,
        bookmarks: call.query.bookmarks,
        timeout: call.query.timeout_seconds,
        warnings: call.warnings.clone(),
    }))
}
