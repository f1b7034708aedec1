//! A route as an Ingress.

use serde_json::{Value, json};

use super::place::{Place, beyond_both, path};
use crate::api::Route;
use crate::proxy::input::RouteInput;

/// The annotation from which cert-manager gets the issuer of an Ingress' certificate.
pub const ISSUER: &str = "cert-manager.io/cluster-issuer";

/// The first field that an Ingress cannot express.
fn beyond(route: &Route) -> Option<&'static str> {
    let fields = [
        (route.strip_prefix, "stripPrefix"),
        (route.add_prefix.is_some(), "addPrefix"),
        (route.headers.is_some(), "headers"),
    ];
    let own = fields.into_iter().find_map(|(used, field)| used.then_some(field));
    own.or_else(|| beyond_both(route))
}

pub fn objects(class: Option<&str>, place: &Place<'_>, input: &RouteInput) -> Result<Vec<Value>, String> {
    let route = &input.route;
    if let Some(field) = beyond(route) {
        return Err(format!(
            "{field} cannot be expressed by an Ingress: remove it, or start davit with --routes gateway or on a Docker Engine"
        ));
    }
    let name = place.name();
    let mut metadata = place.metadata(&name);
    let mut spec = json!({
        "rules": [{
            "host": input.host,
            "http": {"paths": [{
                "path": path(route),
                "pathType": "Prefix",
                "backend": {"service": {"name": place.app.name, "port": {"number": place.port}}},
            }]},
        }],
    });
    if let Some(class) = class {
        spec["ingressClassName"] = json!(class);
    }
    if let Some(tls) = &route.tls {
        if tls.redirect {
            return Err(
                "tls.redirect cannot be expressed by an Ingress: set it to false, and let the Ingress controller redirect all \
                 plain HTTP"
                    .to_owned(),
            );
        }
        let mut entry = json!({"hosts": [input.host]});
        if let Some(secret) = &tls.secret_ref {
            entry["secretName"] = json!(secret.name);
        } else if let Some(issuer) = &tls.cert_resolver {
            entry["secretName"] = json!(format!("{name}-tls"));
            metadata["annotations"] = json!({ISSUER: issuer});
        }
        spec["tls"] = json!([entry]);
    }
    Ok(vec![json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": spec,
    })])
}
