//! Lines of Traefik's access log.

use serde::Deserialize;

use super::traffic::app_of;
use crate::model::AppId;

/// One line of the access log in JSON, as far as it is shown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    #[serde(default)]
    router_name: String,
    client_host: String,
    request_method: String,
    request_host: String,
    request_path: String,
    downstream_status: u16,
    #[serde(default)]
    downstream_content_size: u64,
    /// In nanoseconds.
    duration: u64,
    #[serde(default, rename = "ServiceURL")]
    service_url: String,
}

/// Returns a line of the access log as text, if it is one of a route of this Application. Queries are left out: they may hold
/// secrets.
pub fn access_line(text: &str, instance: &str, app: &AppId) -> Option<String> {
    // Other lines of Traefik's log are not parsed.
    if !text.starts_with('{') || !text.contains("\"RouterName\"") {
        return None;
    }
    let line: Line = serde_json::from_str(text).ok()?;
    if app_of(&line.router_name, instance).as_ref() != Some(app) {
        return None;
    }
    let path = line.request_path.split('?').next().unwrap_or_default();
    let replica = match line.service_url.split_once("://") {
        Some((_, address)) => address.trim_end_matches('/'),
        None => "-",
    };
    Some(format!(
        "{} {} {}{} {} {}B {}ms {replica}",
        line.client_host,
        line.request_method,
        line.request_host,
        path,
        line.downstream_status,
        line.downstream_content_size,
        line.duration / 1_000_000,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_route_becomes_text_without_its_query() {
        let line = r#"{"ClientAddr":"192.0.2.1:5","ClientHost":"192.0.2.1","DownstreamContentSize":6,"DownstreamStatus":200,"Duration":12345678,"RequestHost":"shop.example.com","RequestMethod":"GET","RequestPath":"/cart?token=secret","RouterName":"davit_ns_web_0@file","ServiceURL":"http://10.0.0.2:3000","level":"info","time":"2026-11-29T22:00:00Z"}"#;
        let app = AppId::new("ns", "web");
        assert_eq!(
            access_line(line, "davit", &app).unwrap(),
            "192.0.2.1 GET shop.example.com/cart 200 6B 12ms 10.0.0.2:3000"
        );
        assert_eq!(access_line(line, "davit", &AppId::new("other", "web")), None);
        assert_eq!(access_line(line, "other", &app), None);
        assert_eq!(
            access_line("time=... level=info msg=Starting", "davit", &app),
            None
        );
        let refused = line.replace("\"ServiceURL\":\"http://10.0.0.2:3000\",", "");
        assert!(access_line(&refused, "davit", &app).unwrap().ends_with(" -"));
    }
}
