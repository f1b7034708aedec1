//! Requests of Applications, from Traefik's own metrics.

use std::collections::BTreeMap;

use crate::model::AppId;
use crate::model::requests::Requests;

/// The upper bounds of latencies that a Traefik of Davit's own counts, in seconds.
pub const BUCKETS: &str = "0.005,0.025,0.1,0.25,1,2.5,10";

/// Reads the metrics of Traefik, by Application: those of the routers that Davit of this instance made, or those of the services
/// if Traefik has none of routers. Services have no request that Traefik itself answers, such as with 401 or 429.
pub fn requests(text: &str, instance: &str) -> BTreeMap<AppId, Requests> {
    let mut found = of_kind(text, instance, "service");
    // Both kinds have a request that an Application answered.
    found.extend(of_kind(text, instance, "router"));
    found
}

/// Reads the metrics of routers or services.
fn of_kind(text: &str, instance: &str, kind: &str) -> BTreeMap<AppId, Requests> {
    let start = format!("traefik_{kind}_request");
    let mut found: BTreeMap<AppId, Requests> = BTreeMap::new();
    for line in text.lines() {
        let Some((series, value)) = line.strip_prefix(&start).and_then(|rest| rest.split_once('}')) else {
            continue;
        };
        let (Some((name, labels)), Ok(value)) = (series.split_once('{'), value.trim().parse::<f64>()) else {
            continue;
        };
        let label = |wanted: &str| {
            // None of the values that are read contains a comma or a quote.
            labels
                .split(',')
                .find_map(|label| label.strip_prefix(wanted)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        let Some(app) = label(kind).and_then(|name| app_of(name, instance)) else {
            continue;
        };
        let entry = found.entry(app).or_default();
        match name {
            "s_total" => {
                let class = label("code")
                    .and_then(|code| code.bytes().next())
                    .map(|digit| digit.wrapping_sub(b'1'));
                if let Some(count) = class.and_then(|class| entry.answers.get_mut(usize::from(class))) {
                    *count += whole(value);
                }
            }
            "_duration_seconds_sum" => entry.seconds += value,
            "_duration_seconds_bucket" => {
                let bound = match label("le") {
                    Some("+Inf") => Some(u64::MAX),
                    Some(bound) => bound.parse::<f64>().ok().map(|bound| whole(bound * 1e6)),
                    None => None,
                };
                if let Some(bound) = bound {
                    *entry.within.entry(bound).or_default() += whole(value);
                }
            }
            _ => {}
        }
    }
    found
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and positive"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

/// The Application of a service or router that Davit of this instance made.
pub fn app_of(name: &str, instance: &str) -> Option<AppId> {
    let name = name
        .split('@')
        .next()?
        .strip_prefix(instance)?
        .strip_prefix('_')?;
    let mut parts = name.split('_');
    let (namespace, app, index) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = !index.is_empty()
        && index
            .trim_end_matches("-http")
            .bytes()
            .all(|digit| digit.is_ascii_digit());
    (is_number && parts.next().is_none()).then(|| AppId::new(namespace, app))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP traefik_service_requests_total How many HTTP requests processed on a service.
# TYPE traefik_service_requests_total counter
traefik_service_requests_total{code="200",method="GET",protocol="http",service="davit_ns_web_0@file"} 90
traefik_service_requests_total{code="502",method="GET",protocol="http",service="davit_ns_web_1@file"} 10
traefik_service_requests_total{code="200",method="GET",protocol="http",service="other_ns_web_0@file"} 7
traefik_service_requests_total{code="200",method="GET",protocol="http",service="api@internal"} 7
traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="davit_ns_web_0@file",le="0.1"} 50
traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="davit_ns_web_0@file",le="0.25"} 90
traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="davit_ns_web_0@file",le="+Inf"} 100
traefik_service_request_duration_seconds_sum{code="200",method="GET",protocol="http",service="davit_ns_web_0@file"} 12.5
traefik_service_request_duration_seconds_count{code="200",method="GET",protocol="http",service="davit_ns_web_0@file"} 100
"#;

    #[test]
    fn services_of_an_application_are_added_up() {
        let found = requests(TEXT, "davit");
        assert_eq!(found.len(), 1);
        let web = &found[&AppId::new("ns", "web")];
        assert_eq!((web.count(), web.errors(), web.seconds), (100, 10, 12.5));
        assert_eq!(web.answers, [0, 90, 0, 0, 10]);
        assert_eq!(
            web.within,
            BTreeMap::from([(100_000, 50), (250_000, 90), (u64::MAX, 100)])
        );
    }

    #[test]
    fn metrics_of_routers_have_what_the_proxy_answered_itself() {
        let text = format!(
            "{TEXT}traefik_router_requests_total{{code=\"200\",method=\"GET\",protocol=\"http\",router=\"davit_ns_web_0@file\",service=\"davit_ns_web_0@file\"}} 90\n\
             traefik_router_requests_total{{code=\"401\",method=\"GET\",protocol=\"http\",router=\"davit_ns_web_0@file\",service=\"davit_ns_web_0@file\"}} 5\n\
             traefik_router_requests_total{{code=\"302\",method=\"GET\",protocol=\"http\",router=\"davit_ns_web_0-http@file\",service=\"noop@internal\"}} 3\n"
        );
        let found = requests(&text, "davit");
        let web = &found[&AppId::new("ns", "web")];
        assert_eq!(web.answers, [0, 90, 3, 5, 0]);
    }

    #[test]
    fn latency_lies_between_two_bounds() {
        let web = &requests(TEXT, "davit")[&AppId::new("ns", "web")];
        let close = |share: f64, expected: f64| {
            let found = web.quantile(share).unwrap();
            assert!((found - expected).abs() < 1e-9, "{share}: {found}");
        };
        close(0.25, 0.05);
        close(0.5, 0.1);
        close(0.9, 0.25);
        close(0.99, 0.25);
        assert_eq!(Requests::default().quantile(0.5), None);
    }

    #[test]
    fn proxy_that_was_started_again_counts_from_zero() {
        let web = requests(TEXT, "davit").remove(&AppId::new("ns", "web")).unwrap();
        let none = web.since(&web);
        assert_eq!((none.count(), none.quantile(0.5)), (0, None));
        let few = Requests {
            answers: [0, 1, 0, 0, 0],
            ..Requests::default()
        };
        assert_eq!(few.since(&web), few);
        assert_eq!(web.since(&few).answers, [0, 89, 0, 0, 10]);
    }

    #[test]
    fn only_names_of_routes_have_an_application() {
        let web = Some(AppId::new("ns", "web"));
        for (name, expected) in [
            ("davit_ns_web_0@file", web.clone()),
            ("davit_ns_web_12-http@file", web),
            ("davit_ns_web_x@file", None),
            ("davit_api@file", None),
            ("davit_ns_web_0_1@file", None),
            ("test_ns_web_0@file", None),
            ("davitns_web_0", None),
        ] {
            assert_eq!(app_of(name, "davit"), expected, "{name}");
        }
    }
}
