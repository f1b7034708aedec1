//! Public addresses of an Application.

use std::collections::BTreeMap;

use garde::Validate;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::route_values::{ascii_host, body_size, expression, header_map, host_name, network};
use super::run::Port;
use super::validation::{field_path, invalid};
use super::values::{Duration, LocalRef, PortRef, Quantity, is_false};

/// The annotation of a Namespace with the hosts that its Applications may have, in place of `--allowed-hosts`.
pub const ALLOWED_HOSTS: &str = "davit.dev/allowed-hosts";

/// A public address of an Application: a host and a path, whose requests the reverse proxy sends to healthy replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.stripPrefix) || !self.stripPrefix || (has(self.path) && self.path != '/')")
        .message("stripPrefix has no effect without path: set path to the prefix, or remove stripPrefix").reason(Reason::FieldValueForbidden).field_path(".stripPrefix"),
    validation = Rule::new("!has(self.sticky) || !self.sticky || !has(self.protocol) || self.protocol != 'H2C'")
        .message("sticky needs a client with cookies, which gRPC clients are not: remove sticky, or protocol").reason(Reason::FieldValueForbidden).field_path(".sticky")
)]
#[garde(allow_unvalidated)]
#[garde(context(Vec<Port>))]
pub struct Route {
    /// The host: `shop.example.com`, or `*.example.com` for all names one level below. Letters of other scripts are allowed.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^(\*\.)?[^\x00-,/:-@\[-`{-\x7f]+$")
    )]
    #[garde(custom(host_name))]
    pub host: String,
    /// The path, with everything below it: `/shop` has `/shop/cart`, not `/shopping`. Default `/`, all paths.
    #[serde(default = "slash")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^/[A-Za-z0-9._~!$&()*+,;=:@/-]*$")
    )]
    pub path: String,
    /// The container port, by number or by its name in `spec.ports`. By name, each replica gets the port of its own Release.
    /// Default: the only TCP port of `spec.ports`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(custom(route_port))]
    pub port: Option<PortRef>,
    /// What the container speaks: HTTP (default, with WebSocket), or H2C, which is HTTP/2 without TLS, for gRPC.
    #[serde(default)]
    pub protocol: RouteProtocol,
    /// HTTPS. Without it the route is plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
    /// Remove `path` from the beginning of each request's path. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strip_prefix: bool,
    /// Put this before each request's path, after `stripPrefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 1024),
        regex(pattern = r"^/[A-Za-z0-9._~!$&()*+,;=:@/-]*$")
    )]
    pub add_prefix: Option<String>,
    /// Redirects by the whole URL, the first that matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[garde(dive)]
    pub redirects: Vec<Redirect>,
    /// Ask for user and password: a Secret with `username` and `password`, or with lines of htpasswd in `auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth_secret_ref: Option<LocalRef>,
    /// Headers to set in requests and responses; an empty value removes the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub headers: Option<RouteHeaders>,
    /// The largest body of a request, in whole bytes. The reverse proxy then holds whole requests and responses, so server-sent
    /// events do not work; WebSocket does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    #[garde(custom(body_size))]
    pub max_body_size: Option<Quantity>,
    /// The addresses of clients that may connect, as addresses or networks: `10.0.0.0/8`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    #[garde(inner(custom(network)))]
    pub allow_from: Vec<String>,
    /// How many requests each client address may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Compress responses for clients that accept it. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub compress: bool,
    /// Send the requests of one client to one replica, by a cookie. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sticky: bool,
    /// Middlewares of the reverse proxy's own configuration, as `name@file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 128),
            regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[a-z]+)?$")
        )
    )]
    pub middlewares: Vec<String>,
}

/// What a container speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteProtocol {
    /// HTTP/1.1, with WebSocket.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP/2 without TLS.
    #[serde(rename = "H2C")]
    H2c,
}

/// The certificate of a route: from a resolver, from a Secret, or with neither one that the reverse proxy has for the host,
/// such as a wildcard certificate of another route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.certResolver) && has(self.secretRef))")
    .message("at most one of certResolver, secretRef must be set").reason(Reason::FieldValueInvalid))]
pub struct RouteTls {
    /// The reverse proxy's certificate resolver that gets the certificate by ACME. That of `--traefik` is `letsencrypt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"))]
    pub cert_resolver: Option<String>,
    /// A Secret with `tls.crt` and `tls.key`, such as one of type `kubernetes.io/tls`. A change of it is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// Redirect plain HTTP to HTTPS. Default true; with false both are served.
    #[serde(default = "yes")]
    pub redirect: bool,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
#[garde(context(Vec<Port>))]
pub struct Redirect {
    /// A regular expression for the whole URL, such as `^https://www\.(.*)`; at most 1024 parts after repetitions like `x{9}` are
    /// written out.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[ -~]+$"))]
    #[garde(custom(expression))]
    pub from: String,
    /// The new URL; `$1` or `${1}` is what the first group matched.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[!-~]+$"))]
    pub to: String,
    /// Answer 301 in place of 302. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permanent: bool,
}

/// Headers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
#[garde(context(Vec<Port>))]
pub struct RouteHeaders {
    /// Set in requests to the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[garde(custom(header_map))]
    pub request: BTreeMap<String, String>,
    /// Set in responses to the client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[garde(custom(header_map))]
    pub response: BTreeMap<String, String>,
}

/// A rate of requests for each client address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.period) || duration(self.period) >= duration('1ms')")
    .message("period must be at least 1ms: remove it for the default, 1s").reason(Reason::FieldValueInvalid).field_path(".period"))]
pub struct RateLimit {
    /// Requests in each period, on average.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub average: i32,
    /// The period. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Duration>,
    /// How many requests may come at once. Default: `average`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
}

impl Route {
    /// Checks the rules that the schema of the CRD cannot express. `ports` are those of the Application.
    ///
    /// # Errors
    /// The first field whose value cannot work, by its name, and the solution.
    pub fn check(&self, ports: &[Port]) -> Result<(), String> {
        let Err(report) = self.validate_with(&ports.to_vec()) else {
            return Ok(());
        };
        let first = report.into_inner().into_iter().next();
        first.map_or(Ok(()), |(path, error)| {
            let path = field_path(&path.to_string());
            let path = path.strip_prefix("spec.").unwrap_or(&path);
            Err(format!("{path} {}", error.message()))
        })
    }

    /// Returns the port of the container.
    ///
    /// # Errors
    /// What is wrong with the reference, and the solution; the message continues the path of the field.
    pub fn port_number(&self, ports: &[Port]) -> Result<u16, String> {
        if let Some(port) = &self.port {
            return port.number(ports);
        }
        let mut tcp = ports
            .iter()
            .filter(|port| port.protocol == super::run::Protocol::Tcp);
        match (tcp.next(), tcp.next()) {
            (Some(port), None) => PortRef::Number(port.container_port).number(ports),
            (None, _) => Err("is missing, and spec.ports has no TCP port: set it to the port that the container listens on".to_owned()),
            (Some(_), Some(_)) => Err("is missing, and spec.ports has several TCP ports: set it to one of them".to_owned()),
        }
    }

    /// Returns the host in ASCII and lower case; `None` if it is invalid.
    pub fn ascii_host(&self) -> Option<String> {
        ascii_host(&self.host).ok()
    }

    /// Returns the path without a slash at its end; empty for all paths.
    pub fn prefix(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    /// Returns the URL of the route, at these ports for HTTP and HTTPS if they are not the usual ones. `None` for a wildcard,
    /// which is no address.
    pub fn url(&self, ports: [Option<u16>; 2]) -> Option<String> {
        let (scheme, port) = match &self.tls {
            Some(_) => ("https", ports[1]),
            None => ("http", ports[0]),
        };
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let host = self.ascii_host().filter(|host| !host.starts_with('*'))?;
        Some(format!("{scheme}://{host}{port}{}", self.prefix()))
    }
}

/// Checks that the port of a route exists. That it may be left out is checked with all ports.
#[expect(
    clippy::ref_option,
    clippy::ptr_arg,
    reason = "garde passes the fields by reference"
)]
fn route_port(port: &Option<PortRef>, ports: &Vec<Port>) -> garde::Result {
    let route = Route {
        port: port.clone(),
        ..Route::default()
    };
    route.port_number(ports).map_or_else(invalid, |_| Ok(()))
}

/// A quantity without the rule about its form, which costs too much in a list.
fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "maxLength": 32,
        "x-kubernetes-int-or-string": true,
    })
}

fn slash() -> String {
    "/".to_owned()
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_may_be_left_out_where_there_is_one() {
        let ports = |all: &[(&str, i32, &str)]| -> Vec<Port> {
            let of = |(name, number, protocol): &(&str, i32, &str)| serde_json::json!({"name": name, "containerPort": number, "protocol": protocol});
            serde_json::from_value(all.iter().map(of).collect()).unwrap()
        };
        let route = |port: Option<PortRef>| Route {
            port,
            ..Route::default()
        };
        let name = |text: &str| Some(PortRef::Name(text.to_owned()));
        let two = [("http", 80, "TCP"), ("admin", 81, "TCP"), ("dns", 53, "UDP")];
        for (port, all, expected) in [
            (None, &two[..1], Some(80)),
            (None, &two[..2], None),
            (None, &two[2..], None),
            (None, &[], None),
            (name("admin"), &two[..], Some(81)),
            (name("dns"), &two[..], None),
            (name("none"), &two[..], None),
            (Some(PortRef::Number(3000)), &two[..], Some(3000)),
            (Some(PortRef::Number(0)), &two[..], None),
        ] {
            let found = route(port.clone()).port_number(&ports(all));
            assert_eq!(found.ok(), expected, "{port:?} {all:?}");
        }
    }
}
