//! A route as HTTPRoutes of a Gateway.

use serde_json::{Value, json};

use super::place::{Place, beyond_both, path};
use crate::api::Route;
use crate::proxy::input::RouteInput;

/// The Gateway that routes are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its listener for HTTP.
    pub http: String,
    /// Its listener for HTTPS.
    pub https: String,
}

impl Gateway {
    fn parent(&self, listener: &str) -> Value {
        json!({
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "namespace": self.namespace,
            "name": self.name,
            "sectionName": listener,
        })
    }
}

pub fn objects(gateway: &Gateway, place: &Place<'_>, input: &RouteInput) -> Result<Vec<Value>, String> {
    let route = &input.route;
    if let Some(field) = beyond_both(route) {
        return Err(format!(
            "{field} cannot be expressed by an HTTPRoute: remove it, or attach a policy of your Gateway to the HTTPRoute {}",
            place.name()
        ));
    }
    let name = place.name();
    let Some(tls) = &route.tls else {
        return Ok(vec![serving(
            place,
            &name,
            input,
            &[gateway.parent(&gateway.http)],
        )]);
    };
    let field = [
        (tls.secret_ref.is_some(), "tls.secretRef"),
        (tls.cert_resolver.is_some(), "tls.certResolver"),
    ];
    if let Some((_, field)) = field.into_iter().find(|(used, _)| *used) {
        return Err(format!(
            "{field} cannot be expressed by an HTTPRoute, because a Gateway has its certificates: write tls: {{}}, and name the \
             certificate in listener {} of Gateway {}/{}",
            gateway.https, gateway.namespace, gateway.name
        ));
    }
    let (http, https) = (gateway.parent(&gateway.http), gateway.parent(&gateway.https));
    if !tls.redirect {
        return Ok(vec![serving(place, &name, input, &[https, http])]);
    }
    let redirect = json!([{
        "matches": matches(route),
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 302}}],
    }]);
    Ok(vec![
        serving(place, &name, input, &[https]),
        object(place, &format!("{name}-https"), input, &[http], &redirect),
    ])
}

fn serving(place: &Place<'_>, name: &str, input: &RouteInput, parents: &[Value]) -> Value {
    let filters = filters(&input.route);
    let mut rule = json!({
        "matches": matches(&input.route),
        "backendRefs": [{"name": place.app.name, "port": place.port}],
    });
    if !filters.is_empty() {
        rule["filters"] = Value::Array(filters);
    }
    object(place, name, input, parents, &json!([rule]))
}

fn object(place: &Place<'_>, name: &str, input: &RouteInput, parents: &[Value], rules: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": place.metadata(name),
        "spec": {"parentRefs": parents, "hostnames": [input.host], "rules": rules},
    })
}

fn matches(route: &Route) -> Value {
    json!([{"path": {"type": "PathPrefix", "value": path(route)}}])
}

fn filters(route: &Route) -> Vec<Value> {
    let mut filters = Vec::new();
    let added = route
        .add_prefix
        .as_deref()
        .unwrap_or_default()
        .trim_end_matches('/');
    let strips = route.strip_prefix && !route.prefix().is_empty();
    if strips || !added.is_empty() {
        let kept = if strips { "" } else { route.prefix() };
        let prefix = format!("{added}{kept}");
        let prefix = if prefix.is_empty() { "/" } else { prefix.as_str() };
        filters.push(json!({
            "type": "URLRewrite",
            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": prefix}},
        }));
    }
    let Some(headers) = &route.headers else {
        return filters;
    };
    for (kind, key, values) in [
        ("RequestHeaderModifier", "requestHeaderModifier", &headers.request),
        (
            "ResponseHeaderModifier",
            "responseHeaderModifier",
            &headers.response,
        ),
    ] {
        let (removed, set): (Vec<_>, Vec<_>) = values.iter().partition(|(_, value)| value.is_empty());
        let set: Vec<Value> = set
            .into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let removed: Vec<&String> = removed.into_iter().map(|(name, _)| name).collect();
        let mut modifier = json!({});
        if !set.is_empty() {
            modifier["set"] = Value::Array(set);
        }
        if !removed.is_empty() {
            modifier["remove"] = json!(removed);
        }
        if modifier.as_object().is_some_and(|modifier| !modifier.is_empty()) {
            filters.push(json!({"type": kind, key: modifier}));
        }
    }
    filters
}
