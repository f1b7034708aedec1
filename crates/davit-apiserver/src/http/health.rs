//! `/healthz`, `/livez` and `/readyz`, with upstream's names, forms and options.

use axum::body::Body;
use http::{Response, header, request::Parts};

use super::{
    negotiation::JSON,
    request::check_timeout,
    response::{error_response, plain},
};
use crate::state::Server;

/// The health paths, without the slash.
pub const NAMES: [&str; 3] = ["healthz", "livez", "readyz"];

/// The checks of a health path.
pub fn checks(name: &str) -> &'static [&'static str] {
    match name {
        "readyz" => &["ping", "log", "etcd", "shutdown"],
        _ => &["ping", "log", "etcd"],
    }
}

/// Answers a health path; `None` for any other path.
pub async fn answer(server: &Server, parts: &Parts) -> Option<Response<Body>> {
    let (name, check) = NAMES.into_iter().find_map(|name| {
        let rest = parts.uri.path().strip_prefix('/')?.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((name, rest))
    })?;
    if let Err(error) = check_timeout(parts.uri.query().unwrap_or_default()) {
        return Some(error_response(&error, JSON, &[]));
    }
    let checks = checks(name);
    if let Some(check) = check.strip_prefix('/') {
        return Some(if !checks.contains(&check) {
            plain(404, "404 page not found\n")
        } else if passes(server, name, check).await {
            let mut answer = plain(200, "ok");
            answer.headers_mut().remove(header::X_CONTENT_TYPE_OPTIONS);
            answer
        } else {
            plain(500, format!("internal server error: {check} failed\n"))
        });
    }
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let verbose = query.iter().any(|(key, _)| key == "verbose");
    let mut excluded: Vec<&str> = query
        .iter()
        .filter(|(key, _)| key == "exclude")
        .map(|(_, value)| value.as_str())
        .collect();
    let (mut lines, mut healthy) = (Vec::new(), true);
    for check in checks.iter().copied() {
        if excluded.contains(&check) {
            excluded.retain(|name| *name != check);
            lines.push(format!("[+]{check} excluded: ok\n"));
        } else if passes(server, name, check).await {
            lines.push(format!("[+]{check} ok\n"));
        } else {
            healthy = false;
            lines.push(format!("[-]{check} failed: reason withheld\n"));
        }
    }
    if !excluded.is_empty() {
        let quoted: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let quoted = quoted.join(",");
        lines.push(format!(
            "warn: some health checks cannot be excluded: no matches for {quoted}\n"
        ));
    }
    let text = lines.concat();
    Some(match (healthy, verbose) {
        (false, _) => plain(500, format!("{text}{name} check failed\n")),
        (true, true) => plain(200, format!("{text}{name} check passed\n")),
        (true, false) => plain(200, "ok"),
    })
}

/// Failing writes are a matter of readiness only: a restart would not make room on a full disk.
async fn passes(server: &Server, name: &str, check: &str) -> bool {
    match check {
        "etcd" if name == "readyz" => server.store.takes_writes().await,
        "shutdown" => !server.closing.is_cancelled(),
        _ => true,
    }
}
