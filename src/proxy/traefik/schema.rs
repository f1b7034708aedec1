//! The part of Traefik's dynamic configuration that Davit writes, under the names of Traefik's reference.

use std::collections::BTreeMap;

use serde::Serialize;

/// Routers, services and middlewares.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    pub routers: BTreeMap<String, Router>,
    pub services: BTreeMap<String, Service>,
    pub middlewares: BTreeMap<String, Middleware>,
    pub servers_transports: BTreeMap<String, ServersTransport>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    pub entry_points: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<String>,
    pub service: String,
    pub rule: String,
    pub priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouterTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterTls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_resolver: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Domain {
    pub main: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    pub servers: Vec<Url>,
    pub pass_host_header: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    pub servers_transport: String,
}

/// How Traefik connects to replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServersTransport {
    pub max_idle_conns_per_host: u32,
    pub forwarding_timeouts: ForwardingTimeouts,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardingTimeouts {
    pub idle_conn_timeout: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Url {
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sticky {
    pub cookie: Cookie,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    pub name: String,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: String,
}

/// One kind of middleware.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Middleware {
    IpAllowList(IpAllowList),
    RedirectScheme(RedirectScheme),
    RedirectRegex(RedirectRegex),
    RateLimit(RateLimit),
    BasicAuth(BasicAuth),
    Headers(Headers),
    Compress(Compress),
    Buffering(Buffering),
    Retry(Retry),
    StripPrefix(StripPrefix),
    AddPrefix(AddPrefix),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpAllowList {
    pub source_range: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RedirectScheme {
    pub scheme: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    pub permanent: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RedirectRegex {
    pub regex: String,
    pub replacement: String,
    pub permanent: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimit {
    pub average: i32,
    pub period: String,
    pub burst: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    pub users: Vec<String>,
    pub realm: String,
    pub remove_header: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_request_headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_response_headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compress {
    pub min_response_body_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffering {
    pub max_request_body_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    pub attempts: u32,
    pub initial_interval: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StripPrefix {
    pub prefixes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddPrefix {
    pub prefix: String,
}

/// The contents of both files: Traefik takes those in place of paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsCertificate {
    pub cert_file: String,
    pub key_file: String,
}
